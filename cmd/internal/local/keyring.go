package local

import (
	"github.com/zeekrec/zeekrec/actuators/keys"
	"github.com/zeekrec/zeekrec/desired/launch"
)

// keyring is the store of keys in the agent's words.
type keyring struct{ store *keys.Store }

// keyrings are asked one after the other. The second one is that of the time before, when controller and agent were one process.
type keyrings []keyring

// Get reveals the keys of the first that has them.
func (ks keyrings) Get(cluster, id string) (launch.CurveKeys, error) {
	var first error
	for _, k := range ks {
		got, err := k.Get(cluster, id)
		if err == nil {
			return got, nil
		}
		if first == nil {
			first = err
		}
	}
	return launch.CurveKeys{}, first
}

// Get reveals the keys: they go on into the environment of a process, or over a broker's socket.
func (k keyring) Get(cluster, id string) (launch.CurveKeys, error) {
	p, err := k.store.Get(cluster, id)
	if err != nil {
		return launch.CurveKeys{}, err
	}
	return launch.CurveKeys{
		ServerPublic: p.ServerPublic, ServerSecret: p.ServerSecret.Reveal(),
		ClientPublic: p.ClientPublic, ClientSecret: p.ClientSecret.Reveal(),
	}, nil
}
