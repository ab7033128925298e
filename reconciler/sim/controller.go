package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler"
)

// Controller is the least that can act on plans. It keeps Progress as reconciler asks for it, and that is
// all that it remembers besides what was accepted.
type Controller struct {
	Held      map[string]string
	Restart   map[string]reconciler.Request
	Suspended map[string]string
	Plan      reconciler.ClusterPlan
	Progress  reconciler.Progress

	cluster      string
	from, to     string
	revision     int
	want         []desired.Resource
	known        map[string]desired.Placement
	reports      map[string]report
	deadlines    map[string]time.Time // of the orders in flight
	sent         map[string]reconciler.Action
	healthySince map[string]int
}

type report struct {
	at        int
	resources []observed.Resource
}

// Accept makes a cluster's resources the target, unless the prune guard holds them.
func (w *World) Accept(c *Cluster, guard desired.Quantity) *reconciler.Hold {
	ctl := &w.Ctl
	want := c.Resources()
	if h := reconciler.Guard(ctl.want, want, guard, false); h != nil {
		return h
	}
	for i := range ctl.want {
		ctl.known[ctl.want[i].Name] = desired.Placement{Instance: ctl.want[i].Instance}
	}
	ctl.revision++
	ctl.cluster, ctl.to, ctl.want = c.Name, fmt.Sprintf("rev-%d", ctl.revision), want
	for i := range want {
		w.agent(want[i].Instance)
	}
	return nil
}

func (c *Controller) wants(key string) bool { return c.find(key) != nil }

func (c *Controller) find(key string) *desired.Resource {
	_, name, _ := strings.Cut(key, "/")
	i, ok := slices.BinarySearchFunc(c.want, name, func(r desired.Resource, n string) int { return strings.Compare(r.Name, n) })
	if !ok {
		return nil
	}
	return &c.want[i]
}

// Input is what the controller knows at a moment.
func (c *Controller) Input(w *World) reconciler.Input {
	in := reconciler.Input{
		Cluster: c.cluster, From: c.from, To: c.to, Want: c.want, Known: c.known,
		Instances: map[string]reconciler.Instance{},
		Held:      c.Held, Restart: c.Restart, Suspended: c.Suspended,
		MaxUnavailable: desired.Quantity{N: w.cfg.MaxUnavailable},
		Relation: func(role desired.Role, field string) desired.Relation {
			switch field {
			case "workers", "proxies":
				return desired.Cover
			case "layout", "cpus":
				return desired.Live
			}
			return desired.Equal
		},
	}
	for n, r := range c.reports {
		inst := reconciler.Instance{Resources: r.resources}
		if age := w.Now - r.at; age > staleAfter {
			inst.Silent = fmt.Sprintf("%s has not reported for %ds", n, age)
		}
		in.Instances[n] = inst
	}
	return in
}

// step is one round of the controller: what has become of what was sent, a new plan, what may be sent.
func (c *Controller) step(w *World) {
	c.Plan = reconciler.Diff(c.Input(w))
	c.account(w)
	for _, a := range reconciler.Next(&c.Plan, c.Progress) {
		deadline := w.time().Add(orderLife * time.Second)
		c.Progress.Sent(&a)
		if c.sent == nil {
			c.sent = map[string]reconciler.Action{}
		}
		c.sent[a.Resource], c.deadlines[a.Resource] = a, deadline
		delete(c.healthySince, a.Resource)
		w.send(&a, a.Order("sim", deadline))
	}
	if len(c.Plan.Actions) == 0 && len(c.Plan.Waiting) == 0 && len(c.Progress.InFlight) == 0 && len(c.Progress.Unsettled) == 0 {
		c.from = c.to
	}
}

// account moves resources through Progress by what was reported.
func (c *Controller) account(w *World) {
	for _, key := range sortedKeys(c.Progress.InFlight) {
		a := c.sent[key]
		r := c.reports[a.Instance]
		o := lookup(r.resources, key)
		changed := o.Told != a.Expect || o.Incarnation != a.Incarnation || (o.Hold != "") != (a.Hold != "")
		switch deadline := c.deadlines[key]; {
		case w.Now-r.at > staleAfter:
		case changed:
			c.Progress.Seen(key)
		case time.Unix(int64(r.at), 0).After(deadline):
			c.Progress.Lost(key)
		}
	}
	pending := map[string]bool{}
	for i := range c.Plan.Actions {
		pending[c.Plan.Actions[i].Resource] = true
	}
	for _, key := range sortedKeys(c.Progress.Unsettled) {
		acted := c.Progress.Unsettled[key]
		want := c.find(key)
		if a := c.sent[key]; a.Kind == desired.Stop && !acted.Costs {
			r, ok := c.reports[a.Instance]
			if o := lookup(r.resources, key); ok && w.Now-r.at <= staleAfter && (o.PID == 0 || !pending[key]) {
				c.Progress.Settled(key)
			}
			continue
		}
		if c.sent[key].Kind == desired.Update && !acted.Costs {
			c.Progress.Settled(key) // it was told, and nothing was disturbed
			continue
		}
		if want == nil || c.Held[key] != "" {
			if !pending[key] {
				c.Progress.Settled(key)
			}
			continue
		}
		r := c.reports[want.Instance]
		if o := lookup(r.resources, key); w.Now-r.at > staleAfter || !o.Healthy {
			delete(c.healthySince, key)
			continue
		}
		if c.healthySince[key] == 0 {
			c.healthySince[key] = w.Now
		}
		over := time.Unix(int64(r.at), 0).After(c.deadlines[key]) // the agent may no longer begin with it
		if w.Now-c.healthySince[key] >= healthyFor && (!pending[key] || over) {
			c.Progress.Settled(key)
			delete(c.healthySince, key)
		}
	}
}

// lookup is a resource of a report; a zero one where the report has none of that key.
func lookup(rs []observed.Resource, key string) observed.Resource {
	for i := range rs {
		if rs[i].Cluster+"/"+rs[i].Name == key {
			return rs[i]
		}
	}
	return observed.Resource{}
}
