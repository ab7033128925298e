package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
)

// Keys has the CURVE keys of clusters. It may be called from several goroutines. Its errors are shown to
// people, and hold no part of a key.
type Keys interface {
	Get(cluster, id string) (launch.CurveKeys, error)
}

// brokerKeysVariable has all keys that a broker accepts from its first moment on, as JSON.
const brokerKeysVariable = "ZEEKREC_BROKER_KEYS"

// brokerKey is one element of the list in it.
type brokerKey struct {
	ServerPublic string `json:"server_public"`
	ServerSecret string `json:"server_secret"`
	ClientPublic string `json:"client_public"`
}

// keysOf are the keys with these ids, all of them.
func (a *Agent) keysOf(cluster string, ids []string) ([]launch.CurveKeys, error) {
	var out []launch.CurveKeys
	for _, id := range ids {
		k, err := a.key(cluster, id)
		if err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	return out, nil
}

func (a *Agent) key(cluster, id string) (launch.CurveKeys, error) {
	if a.cfg.Keys == nil {
		return launch.CurveKeys{}, fmt.Errorf("cannot read key %s of %s: this agent has no keys", id, cluster)
	}
	k, err := a.cfg.Keys.Get(cluster, id)
	if err != nil {
		return k, fmt.Errorf("cannot read key %s of %s: %w", id, cluster, err)
	}
	return k, nil
}

// curveIDs are the keys that a resource uses; none: it does not encrypt.
func curveIDs(r *desired.Resource) []string {
	switch {
	case r.Broker != nil:
		return r.Broker.Curve
	case r.Node != nil && r.Node.Curve != "":
		return []string{r.Node.Curve}
	}
	return nil
}

// secrets is what the environment of a resource's process has besides what is on record. It goes to the
// process alone: no record, hash, log or bundle ever has it.
//
// A broker does with fewer keys than it was told to accept, as long as there is one: the warnings name
// those that are missing. It is told of them as soon as they can be read, see brokerLink.
func (a *Agent) secrets(r *desired.Resource) (env, warnings []string, err error) {
	ids := curveIDs(r)
	if len(ids) == 0 {
		return nil, nil, nil
	}
	var keys []launch.CurveKeys
	var missing []error
	for _, id := range ids {
		k, err := a.key(r.Cluster, id)
		if err != nil {
			missing = append(missing, err)
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, nil, errors.Join(missing...)
	}
	for _, err := range missing {
		warnings = append(warnings, err.Error())
	}
	if r.Node != nil {
		return launch.CurveEnv(r.Role, r.Node.BrokerMode, r.Node.Layout.ManagerIsLogger, keys[0]), nil, nil
	}
	list := make([]brokerKey, len(keys))
	for i, k := range keys {
		list[i] = brokerKey{ServerPublic: k.ServerPublic, ServerSecret: k.ServerSecret, ClientPublic: k.ClientPublic}
	}
	b, err := json.Marshal(list)
	if err != nil {
		return nil, nil, err
	}
	// As a logger it gets the secret of the server, and unlike one it is nobody's client.
	env = slices.DeleteFunc(launch.CurveEnv(desired.RoleLogger, "", false, keys[0]), func(e string) bool {
		return strings.Contains(e, "_CLIENT_SECRETKEY=")
	})
	return append(env, brokerKeysVariable+"="+string(b)), warnings, nil
}
