package reconciler

import (
	"cmp"
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

// FormatVersion of the plan's JSON.
const FormatVersion = 1

// Plan is what is to be done in all clusters. Its JSON form is a promise (zeekrec plan --json).
type Plan struct {
	FormatVersion int                  `json:"format_version"`
	Clusters      []ClusterPlan        `json:"clusters"`
	Summary       Summary              `json:"summary"`
	Diagnostics   []desired.Diagnostic `json:"diagnostics"`
}

// ClusterPlan is what is to be done in one cluster.
type ClusterPlan struct {
	Name      string   `json:"name"`
	Revision  Revision `json:"revision"`
	Unchanged int      `json:"unchanged"`
	// Actions, sorted by wave, then by resource.
	Actions []Action `json:"actions"`
	// Orphaned are resources (by key) that run, are not wanted, and were never accepted: left alone.
	Orphaned []string `json:"orphaned,omitempty"`
	// Waiting are resources that nothing can be done about now, and why. Sorted by resource.
	Waiting []Waiting `json:"waiting,omitempty"`
	// Held is set where a guard stops the whole revision. Diff leaves it nil: see Guard.
	Held *Hold `json:"held,omitempty"`
	// Paused is why nothing of it is done for now, in words: somebody rolled the cluster back, or suspended it. Diff leaves it empty.
	Paused string `json:"paused,omitempty"`
	// Basis stands for all that the plan was computed from, so that a saved plan is known to be stale.
	Basis string `json:"basis"`
	// Limits is how many nodes of a role may be unavailable through restarts.
	Limits map[desired.Role]int `json:"-"`
}

// Revision says where a plan leads from and to.
type Revision struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Cause of an action.
type Cause string

// Change: the configuration says so. Drift: the world is no longer as it was told to be. Asked: a
// person asked for it.
const (
	CauseChange Cause = "change"
	CauseDrift  Cause = "drift"
	CauseAsked  Cause = "asked"
)

// Action is one thing to do to one resource on one instance.
type Action struct {
	// Wave it belongs to, from 1. The actions of a wave may run at the same time.
	Wave     int          `json:"wave"`
	Kind     desired.Verb `json:"kind"`
	Resource string       `json:"resource"` // key
	Type     desired.Type `json:"type"`
	Role     desired.Role `json:"role"`
	Instance string       `json:"instance"`
	// Disruptive: a process that runs is ended by it.
	Disruptive bool     `json:"disruptive"`
	Cause      Cause    `json:"cause"`
	Reasons    []Reason `json:"reasons"` // never empty

	// Target is what it leads to; nil on the stop of what is no longer wanted there.
	Target *desired.Resource `json:"-"`
	// Expect is the ID of the spec that the agent had been told, Incarnation the one that was seen:
	// the action is to be refused by an agent where they no longer hold.
	Expect      string `json:"-"`
	Incarnation int    `json:"-"`
	// Hold is why the resource shall stay stopped, on a stop that is not a removal.
	Hold string `json:"-"`
	// Costs says that it takes down a resource that is healthy, or may be by then, and is to come back:
	// that counts against max_unavailable.
	Costs bool `json:"-"`
	// Shares names what packets the resource shares with others while it runs (fan-out of an interface): of those
	// who share, one is taken down at a time, whatever max_unavailable says. Empty: it shares none.
	Shares string `json:"-"`
	// Follows says that it can only be done after an earlier action of the same plan: one that frees a
	// port for it, or that stops the resource where it ran before.
	Follows bool `json:"-"`
}

// Reason is one difference that an action mends, in words for a person, without secrets.
type Reason struct {
	Field string `json:"field"`
	From  string `json:"from"`
	To    string `json:"to"`
}

// Waiting is a resource that nothing can be done about now.
type Waiting struct {
	Resource string `json:"resource"`
	Why      string `json:"why"`
}

// Summary counts actions by kind, and what is as it should be.
type Summary struct {
	Start     int `json:"start"`
	Stop      int `json:"stop"`
	Restart   int `json:"restart"`
	Update    int `json:"update"`
	Unchanged int `json:"unchanged"`
}

// NewPlan puts the plans of clusters together, in the order given, and counts.
func NewPlan(clusters []ClusterPlan, diagnostics []desired.Diagnostic) *Plan {
	p := &Plan{FormatVersion: FormatVersion, Clusters: clusters, Diagnostics: diagnostics}
	if p.Clusters == nil {
		p.Clusters = []ClusterPlan{}
	}
	if p.Diagnostics == nil {
		p.Diagnostics = []desired.Diagnostic{}
	}
	for i := range clusters {
		s := clusters[i].Summary()
		p.Summary.Start += s.Start
		p.Summary.Stop += s.Stop
		p.Summary.Restart += s.Restart
		p.Summary.Update += s.Update
		p.Summary.Unchanged += s.Unchanged
	}
	return p
}

// Summary of one cluster.
func (c *ClusterPlan) Summary() Summary {
	s := Summary{Unchanged: c.Unchanged}
	for i := range c.Actions {
		switch c.Actions[i].Kind {
		case desired.Start:
			s.Start++
		case desired.Stop:
			s.Stop++
		case desired.Restart:
			s.Restart++
		case desired.Update:
			s.Update++
		}
	}
	return s
}

// Empty reports whether nothing is to be done in any cluster.
func (p *Plan) Empty() bool {
	for i := range p.Clusters {
		if len(p.Clusters[i].Actions) > 0 {
			return false
		}
	}
	return true
}

// Order is the action on its way to the agent of its instance. A stop of what is no longer wanted
// carries only what it takes to name the resource.
func (a *Action) Order(plan string, deadline time.Time) desired.Order {
	o := desired.Order{
		Plan: plan, Verb: a.Kind, Expect: a.Expect, Incarnation: a.Incarnation,
		Hold: a.Hold, Deadline: deadline, Reason: a.why(),
	}
	if a.Target != nil {
		o.Resource = *a.Target
		return o
	}
	cluster, name := splitKey(a.Resource)
	o.Resource = desired.Resource{Cluster: cluster, Name: name, Type: a.Type, Role: a.Role, Instance: a.Instance}
	return o
}

// why is the first reason in one line.
func (a *Action) why() string {
	if len(a.Reasons) == 0 {
		return string(a.Cause)
	}
	r := a.Reasons[0]
	return r.Field + ": " + cmp.Or(r.From, "none") + " -> " + cmp.Or(r.To, "none")
}
