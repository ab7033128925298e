package agent

import (
	"context"
	"fmt"
	"slices"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// The questions that nodes answer.
const (
	AskValue    = "value"    // of the global identifier ID, as JSON
	AskNetStats = "netstats" // the packet counters, as JSON
)

// Question to one node.
type Question struct {
	Node string
	What string // AskValue or AskNetStats
	ID   string // of AskValue
}

// Answer of a node.
type Answer struct {
	Value string
	// Refused is why there is none, in the node's words ("unknown id"); empty: there is one.
	Refused string
}

// Unaskable says why the nodes of a cluster cannot be asked anything.
type Unaskable struct{ Cluster, Why string }

// Error says why.
func (u *Unaskable) Error() string {
	return "cannot ask the nodes of " + u.Cluster + ": " + u.Why + "; that takes the standalone ZeroMQ broker, which zeekrec runs with backend = zeromq and [zeekrec.broker] mode = standalone"
}

// Ask asks a node of a cluster through the cluster's broker, and ends with ctx. Errors: *Unaskable for the whole cluster, else
// those of this node.
func (a *Agent) Ask(ctx context.Context, cluster string, q Question) (Answer, error) {
	link, err := a.brokerOf(cluster, q.Node)
	if err != nil {
		return Answer{}, err
	}
	if u := a.supervised(cluster + "/" + q.Node); u != nil && !u.answers.Load() {
		if v, ok := u.current(); ok && v.PID != 0 {
			return Answer{}, fmt.Errorf("%s was started by another zeekrec, without the script that answers; it does after: zeekrec restart %s/%s", q.Node, cluster, q.Node)
		}
	}
	return link.control.Ask(ctx, q)
}

// brokerOf finds the broker to ask a node by: one that has it as a member, else any that answers.
func (a *Agent) brokerOf(cluster, node string) (*brokerLink, error) {
	a.brokers.mu.Lock()
	links := slices.Clone(a.brokers.links[cluster])
	a.brokers.mu.Unlock()
	var best *brokerLink
	for _, l := range links {
		ms := l.current().members
		if slices.ContainsFunc(ms, func(m observed.Member) bool { return m.Name == node }) {
			return l, nil
		}
		if best == nil || ms != nil {
			best = l
		}
	}
	if best == nil {
		return nil, &Unaskable{cluster, a.whyNoBroker(cluster)}
	}
	return best, nil
}

// whyNoBroker says why there is no broker of zeekrec's for a cluster.
func (a *Agent) whyNoBroker(cluster string) string {
	nodes := false
	for _, u := range a.allUnits() {
		v, ok := u.current()
		if !ok || v.Cluster != cluster {
			continue
		}
		nodes = nodes || v.Type == string(desired.TypeNode)
		switch {
		case v.Type == string(desired.TypeBroker):
			return "its broker does not run"
		case slices.Equal(v.Parts.Get("backend"), []string{string(desired.BackendBroker)}):
			return "they talk by Zeek's Broker (backend = broker)"
		case len(v.Parts.Get("xpub")) > 0:
			return "its broker is a thread of Zeek's manager (mode = manager)"
		}
	}
	if !nodes {
		return "none runs here"
	}
	return "its broker is not zeekrec's (mode = external)"
}
