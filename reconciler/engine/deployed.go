package engine

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/reconciler"
)

// Deployed is what was last accepted of a cluster, whether or not it runs, with what was assigned to its nodes.
type Deployed struct {
	Revision string
	// Cluster has its nodes' ports filled in. It is the caller's.
	Cluster *desired.Cluster
	// Pending are the nodes, by name, that do not run as this revision says, with the first reason of each.
	Pending map[string]string
}

// Deployed returns the newest accepted revision of a cluster that does not wait for a confirmation; nil where there is
// none, or where it is that there shall be no such cluster.
func (e *Engine) Deployed(ctx context.Context, name string) (*Deployed, error) {
	var d *Deployed
	err := e.call(ctx, func() { d = e.deployed(ctx, name, time.Now()) })
	return d, err
}

func (e *Engine) deployed(ctx context.Context, name string, now time.Time) *Deployed {
	h := e.state.look(name)
	i := len(h.Revisions) - 1
	for i >= 0 && h.Revisions[i].Guard != "" {
		i--
	}
	if i < 0 || h.Revisions[i].Removed {
		return nil
	}
	rev := &h.Revisions[i]
	c := e.clusterOf(ctx, rev)
	if c == nil {
		return nil
	}
	d := &Deployed{Revision: rev.ID, Cluster: withPorts(c, rev.Assignment), Pending: map[string]string{}}
	v, cs := e.view(now), []*desired.Cluster{c}
	want := desired.Compile(cs, e.facts().WithAssumedKeys(cs), e.state.Assigned().With(name, rev.Assignment), now).Resources[name]
	plan := reconciler.Diff(v.input(name, rev.ID, want, c.Settings.MaxUnavailable))
	for i := range plan.Actions {
		a := &plan.Actions[i]
		if a.Kind != desired.Update {
			d.Pending[a.Resource[len(name)+1:]] = reasonText(a.Reasons[:min(1, len(a.Reasons))])
		}
	}
	for _, w := range plan.Waiting {
		d.Pending[w.Resource[len(name)+1:]] = w.Why
	}
	return d
}

// withPorts is a cluster with what was assigned in the place of what was left open.
func withPorts(c *desired.Cluster, a desired.Assignment) *desired.Cluster {
	out := *c
	out.Instances, out.Nodes = slices.Clone(c.Instances), slices.Clone(c.Nodes)
	for i := range out.Nodes {
		n := &out.Nodes[i]
		n.Keys, n.Env = slices.Clone(n.Keys), maps.Clone(n.Env)
		n.Port = cmp.Or(n.Port, a.Ports[c.Name+"/"+n.Name].Port)
		if c.Settings.Metrics {
			n.MetricsPort = cmp.Or(n.MetricsPort, a.Metrics[c.Name+"/"+n.Name].Port)
		}
	}
	return &out
}
