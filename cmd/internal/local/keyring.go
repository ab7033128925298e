package local

import (
	"github.com/zeekrec/zeekrec/actuators/keys"
	"github.com/zeekrec/zeekrec/desired/launch"
)

// keyring is the store of keys in the agent's words.
type keyring struct{ store *keys.Store }

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
