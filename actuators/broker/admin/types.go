package admin

import (
	"fmt"
	"log/slog"

	"github.com/zeekrec/zeekrec/actuators/broker"
	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

// Keys are one pair of pairs as text (Z85): what a broker has to know of it.
type Keys struct {
	ServerPublic string `json:"server_public"`
	ServerSecret string `json:"server_secret"`
	ClientPublic string `json:"client_public"`
}

// String and LogValue keep the secret out of logs.
func (k Keys) String() string { return "keys of server " + k.ServerPublic }

// LogValue is String.
func (k Keys) LogValue() slog.Value { return slog.StringValue(k.String()) }

// Keyring of several keys, the one to use first. None: no encryption.
func Keyring(ks []Keys) (broker.Keyring, error) {
	var r broker.Keyring
	for i, k := range ks {
		var pair zmtp.KeyPair
		var client zmtp.Key
		var err error
		if pair.Public, err = zmtp.ParseKey(k.ServerPublic); err == nil {
			if pair.Secret, err = zmtp.ParseKey(k.ServerSecret); err == nil {
				client, err = zmtp.ParseKey(k.ClientPublic)
			}
		}
		if err != nil {
			return broker.Keyring{}, fmt.Errorf("cannot use keys %d: %w", i+1, err)
		}
		if pair.Secret.Public() != pair.Public {
			return broker.Keyring{}, fmt.Errorf("cannot use keys %d: the server's secret key is not that of its public key", i+1)
		}
		r.Servers = append(r.Servers, pair)
		r.Clients = append(r.Clients, client)
	}
	return r, nil
}

// Change is what is changed in place.
type Change struct {
	Settings broker.Settings `json:"settings"`
	// Keys replace all that there were; null leaves them as they are, an empty list ends encryption.
	Keys *[]Keys `json:"keys,omitempty"`
}

// Death says that a node's process has ended.
type Death struct {
	Name string `json:"name"`
	PID  int    `json:"pid,omitempty"` // 0: whichever it was
}

// Question is about one node.
type Question struct {
	Node string `json:"node"`
	// What: empty for what Zeek's control framework answers, on nodes that have frameworks/control/controllee; "value",
	// "netstats" or "ping" for what zeekrec's own script does, on nodes that have that.
	What string `json:"what,omitempty"`
	// ID is the name of a global value of Zeek's: "Cluster::node". Without What and ID: the node's packet counters.
	ID string `json:"id,omitempty"`
	// Format of events in the cluster: broker-bin-v1 or broker-json-v1. Empty: that of the events that pass.
	Format string `json:"format,omitempty"`
	// TimeoutSeconds; 0: 5.
	TimeoutSeconds int `json:"timeout_seconds,omitempty"`
}

// Answer is what a node said.
type Answer struct {
	Node string `json:"node"`
	ID   string `json:"id,omitempty"`
	// Value as Zeek prints it, or, where What was stated, as JSON.
	Value string `json:"value"`
	// Refused is why there is none, in the node's words: "unknown id".
	Refused string `json:"refused,omitempty"`
}

// Ping asks nodes for a sign of life, all at once. They have to have zeekrec's own script.
type Ping struct {
	Nodes []string `json:"nodes"`
	// TimeoutMillis is how long to wait for the last of them; 0: 5 s.
	TimeoutMillis int `json:"timeout_millis,omitempty"`
}

// Pinged is what came of it. Nodes that are in neither did not answer.
type Pinged struct {
	// Answered has how many seconds each took.
	Answered map[string]float64 `json:"answered"`
	// Absent are nodes that are not there to be asked.
	Absent []string `json:"absent,omitempty"`
}
