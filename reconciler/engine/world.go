package engine

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler"
)

// World is all that a plan is computed against: what the journal says and what is observed. A running
// engine hands out its own; without one it is read from a state folder, or empty.
type World struct {
	Source   string                     `json:"source,omitempty"`
	State    *State                     `json:"state"`
	Fleet    map[string]observed.Report `json:"fleet"`
	Instance string                     `json:"instance"`
	// Names in nodes' scripts that are known, by instance and desired.NamesKey.
	Names map[string]map[string]desired.ZeekNames `json:"names,omitempty"`
	At    time.Time                               `json:"at"`
	// Note says what the world is, where it is not what runs: the plan's first line.
	Note string `json:"note,omitempty"`
}

// World as the engine sees it.
func (e *Engine) World(ctx context.Context) (*World, error) {
	var answered <-chan struct{}
	if err := e.call(ctx, func() { answered = e.names.answered() }); err != nil {
		return nil, err
	}
	patience := time.NewTimer(namesPatience)
	defer patience.Stop()
	select {
	case <-answered:
	case <-patience.C:
	case <-ctx.Done():
	}
	var w *World
	err := e.call(ctx, func() {
		e.joins.lend(e.fleet)
		w = &World{Source: e.cfg.Source, State: e.state, Fleet: maps.Clone(e.fleet), Instance: e.cfg.Instance, At: time.Now(), Names: e.names.snapshot()}
		w.State = e.state.Copy()
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// Copy makes a copy for another goroutine. Maps that Apply changes in place are copied; what it
// replaces as a whole is shared.
func (s *State) Copy() *State {
	c := *s
	c.Clusters = make(map[string]*History, len(s.Clusters))
	for n, h := range s.Clusters {
		d := *h
		d.Revisions = slices.Clone(h.Revisions)
		d.Quarantined = maps.Clone(h.Quarantined)
		d.Known = maps.Clone(h.Known)
		c.Clusters[n] = &d
	}
	c.Suspended, c.Holds, c.Restarts, c.Drifted = maps.Clone(s.Suspended), maps.Clone(s.Holds), maps.Clone(s.Restarts), maps.Clone(s.Drifted)
	return &c
}

// EmptyWorld is one in which nothing runs and nothing was accepted.
func EmptyWorld(instance string, at time.Time) *World {
	return &World{State: NewState(), Fleet: map[string]observed.Report{}, Instance: instance, At: at}
}

// Preview is the plan for a snapshot in a world: what would be done if it were the source's. It is pure.
// whole says that the snapshot replaces the source: clusters that it lacks would be removed.
func Preview(w *World, s *desired.Snapshot, whole bool, parse Parser, validate Validator) *reconciler.Plan {
	in := judge(s, parse, validate, w.Instance)
	assumeLoads(w.State, &in)
	facts := withNames(factsFrom(w.Fleet, w.Instance), w.Names)
	facts.Keys = w.State.keyFacts()
	out := desired.Compile(clusterList(in.good), facts.WithAssumedKeys(clusterList(in.good)), w.State.Assigned(), w.At)
	in.blame(out.Diagnostics)
	if len(w.Fleet) == 0 {
		assumed := desired.Diagnostic{File: s.URL, Severity: desired.Info, Code: "assumed-facts",
			Message: "nothing is known of the hosts: Zeek " + desired.AssumedVersion + " is assumed, with a local.zeek"}
		in.diagnostics = append(in.diagnostics, assumed)
	}
	desired.SortDiagnostics(in.diagnostics)

	v := &view{state: w.State, fleet: w.Fleet, relation: desired.Relations(), stale: Timings{}.withDefaults().Stale, now: w.At}
	if len(w.Fleet) == 0 {
		v.fleet = emptyHosts(out.Resources, w.At)
	}
	var plans []reconciler.ClusterPlan
	for _, name := range slices.Sorted(maps.Keys(in.good)) {
		want := out.Resources[name]
		p := reconciler.Diff(v.input(name, in.files[name].Revision(), want, in.good[name].Settings.MaxUnavailable))
		p.Held = holdOf(w.State.Clusters[name], want, false)
		p.Paused = w.State.paused(name)
		if w.Note != "" {
			p.Waiting = append(p.Waiting, dead(v, want)...)
		}
		plans = append(plans, p)
	}
	if whole {
		for _, name := range slices.Sorted(maps.Keys(w.State.Clusters)) {
			h := w.State.Clusters[name]
			if t := h.Target(); in.has(name) || t == nil || t.Removed {
				continue
			}
			p := reconciler.Diff(v.input(name, RemovedRevision, nil, desired.Quantity{N: 1}))
			p.Held = holdOf(h, nil, true)
			plans = append(plans, p)
		}
	}
	return reconciler.NewPlan(plans, in.diagnostics)
}

// assumeLoads takes nodes to go on loading the same scripts, as far as it is not known of just this revision: whoever runs it asks Zeek.
func assumeLoads(s *State, in *judged) {
	for name, c := range in.good {
		h := s.look(name)
		rev := h.find(in.files[name].Revision())
		if rev == nil {
			rev = h.Target()
		}
		if rev != nil {
			c.Loaded = in.files[name].Tree.ByNode(rev.Loads)
		}
	}
}

// dead are resources that should run as they are and have no process: their agent starts them again, by
// itself, as soon as there is one.
func dead(v *view, want []desired.Resource) []reconciler.Waiting {
	var out []reconciler.Waiting
	for i := range want {
		if s := v.seen(want[i].Instance, want[i].Key()); s != nil && s.PID == 0 && s.Told == want[i].ID && s.Hold == "" {
			out = append(out, reconciler.Waiting{Resource: want[i].Key(), Why: "it has no process now; zeekrec run starts it again"})
		}
	}
	return out
}

// holdOf is the prune guard's verdict on what would become of a cluster.
func holdOf(h *History, want []desired.Resource, removed bool) *reconciler.Hold {
	if h == nil {
		return nil
	}
	t := h.Target()
	if t == nil || t.Removed {
		return nil
	}
	// Reckoned from what may run, which several revisions may have added to; from what was accepted where
	// nothing was rolled out yet.
	base := h.Known
	if len(base) == 0 {
		base = t.Resources
	}
	var was []desired.Resource
	for name, p := range base {
		was = append(was, desired.Resource{Name: name, Type: p.Type, Role: p.Role, Instance: p.Instance})
	}
	return reconciler.Guard(was, want, t.PruneGuard, removed)
}

// emptyHosts serve every instance that is wanted, and run nothing.
func emptyHosts(resources map[string][]desired.Resource, at time.Time) map[string]observed.Report {
	m := map[string]observed.Report{}
	for _, rs := range resources {
		for i := range rs {
			m[rs[i].Instance] = observed.Report{Instance: rs[i].Instance, At: at}
		}
	}
	return m
}

// Compare is the plan that leads from one snapshot to another, in a world where the first one runs as it
// should and nothing else is known. The first is assigned afresh, the second from the first. All nodes are taken to load all scripts of NAME/.
func Compare(from, to *desired.Snapshot, instance string, parse Parser, validate Validator, at time.Time) (*reconciler.Plan, []desired.Diagnostic) {
	old := judge(from, parse, validate, instance)
	loads := map[string][]desired.Loads{}
	for name, c := range old.good {
		tree := old.files[name].Tree
		loads[name] = everything(c, tree)
		c.Loaded = tree.ByNode(loads[name])
	}
	facts := desired.Facts{Default: instance}.WithAssumedKeys(clusterList(old.good))
	out := desired.Compile(clusterList(old.good), facts, desired.Assignment{}, at)
	old.blame(out.Diagnostics)
	w := EmptyWorld(instance, at)
	w.State.Assignment = out.Assignment
	byInstance := map[string][]observed.Resource{}
	for _, name := range slices.Sorted(maps.Keys(old.good)) {
		rs := out.Resources[name]
		rev := old.files[name].Revision()
		w.State.Clusters[name] = &History{
			Revisions: []Revision{{ID: rev, Resources: placements(rs), PruneGuard: old.good[name].Settings.PruneGuard, Loads: loads[name], Assignment: out.Assignment.Of(name)}},
			Good:      rev, Known: placements(rs),
		}
		for i := range rs {
			byInstance[rs[i].Instance] = append(byInstance[rs[i].Instance], running(&rs[i], at))
		}
	}
	for inst, rs := range byInstance {
		w.Fleet[inst] = observed.Report{Instance: inst, At: at, Resources: rs}
	}
	new := judge(to, parse, validate, instance)
	for _, c := range new.good {
		for _, i := range c.UsedInstances() {
			if _, ok := w.Fleet[i]; !ok {
				w.Fleet[i] = observed.Report{Instance: i, At: at}
			}
		}
	}
	return Preview(w, to, true, parse, validate), old.diagnostics
}

// everything is that all nodes of a cluster load all scripts of a tree; data stay data.
func everything(c *desired.Cluster, t desired.Tree) []desired.Loads {
	all := desired.Loads{Scripts: t.Scripts()}
	for _, n := range c.Nodes {
		all.Nodes = append(all.Nodes, n.Name)
	}
	slices.Sort(all.Nodes)
	return []desired.Loads{all}
}

// running is a resource as an agent would report it.
func running(r *desired.Resource, at time.Time) observed.Resource {
	o := observed.Resource{
		Cluster: r.Cluster, Name: r.Name, Type: string(r.Type), Role: string(r.Role), State: observed.Running, Since: at,
		PID: 1, StartedAt: at, Incarnation: 1, Healthy: true, Told: r.ID, Started: r.ID, Parts: make(observed.Parts, 0, len(r.Parts)),
		Tunable: r.Tunable,
	}
	for _, p := range r.Parts {
		o.Parts = append(o.Parts, &observed.Part{Field: p.Field, Values: p.Values})
	}
	return o
}
