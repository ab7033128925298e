package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/zeekrec/zeekrec/actuators/agent"
	"github.com/zeekrec/zeekrec/actuators/broker"
	"github.com/zeekrec/zeekrec/actuators/broker/admin"
	"github.com/zeekrec/zeekrec/desired/launch"
	"github.com/zeekrec/zeekrec/observed"
)

// brokerControl is the admin socket of a broker in the agent's words.
type brokerControl struct{ client *admin.Client }

// reachBroker is agent.Config.Brokers.
func reachBroker(socket string) agent.BrokerControl { return brokerControl{admin.Dial(socket)} }

// Status asks the broker.
func (c brokerControl) Status(ctx context.Context) (agent.BrokerStatus, error) {
	s, err := c.client.Status(ctx, false)
	if err != nil {
		return agent.BrokerStatus{}, err
	}
	out := agent.BrokerStatus{Version: s.Version, PID: s.PID, Dropped: s.Dropped.Messages}
	for _, m := range s.Members {
		out.Members = append(out.Members, observed.Member{Name: m.Name, Host: m.Host, PID: m.PID})
	}
	return out, nil
}

// Apply changes settings and keys.
func (c brokerControl) Apply(ctx context.Context, settings []byte, keys []launch.CurveKeys) error {
	var s broker.Settings
	if err := json.Unmarshal(settings, &s); err != nil {
		return fmt.Errorf("cannot understand the broker's settings: %w", err)
	}
	ks := make([]admin.Keys, len(keys)) // none is an empty list: then it does not encrypt
	for i, k := range keys {
		ks[i] = admin.Keys{ServerPublic: k.ServerPublic, ServerSecret: k.ServerSecret, ClientPublic: k.ClientPublic}
	}
	return c.client.Apply(ctx, s, ks)
}

// Ping asks nodes for a sign of life.
func (c brokerControl) Ping(ctx context.Context, nodes []string, within time.Duration) (agent.Pinged, error) {
	got, err := c.client.Ping(ctx, admin.Ping{Nodes: nodes, TimeoutMillis: int(within.Milliseconds())})
	if err != nil {
		return agent.Pinged{}, err
	}
	p := agent.Pinged{Answered: make(map[string]time.Duration, len(got.Answered)), Absent: got.Absent}
	for n, s := range got.Answered {
		p.Answered[n] = time.Duration(s * float64(time.Second))
	}
	return p, nil
}

// Ask asks a node. What remains until ctx's deadline is the node's.
func (c brokerControl) Ask(ctx context.Context, q agent.Question) (agent.Answer, error) {
	ask := admin.Question{Node: q.Node, What: q.What, ID: q.ID, TimeoutSeconds: int(askLongest.Seconds())}
	got, err := c.client.Ask(ctx, ask)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%s did not answer in time", q.Node)
	}
	return agent.Answer{Value: got.Value, Refused: got.Refused}, err
}

// askLongest bounds a question whose asker has no deadline.
const askLongest = time.Minute

// Dead says that a node's process has ended.
func (c brokerControl) Dead(ctx context.Context, node string, pid int) error {
	return c.client.Dead(ctx, node, pid)
}
