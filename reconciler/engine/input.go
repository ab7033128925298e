package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler"
)

// view is what plans are made from: the state, the newest reports, and what is wanted. It is used by the
// running engine and, with a world that was read from elsewhere, by Preview.
type view struct {
	state    *State
	fleet    map[string]observed.Report
	relation func(desired.Role, string) desired.Relation
	stale    time.Duration
	patience time.Duration // with a process that runs and is not yet of use
	now      time.Time
	draining bool // everything is to stop: no suspension counts
	// places of clusters: the instances whose reports have something of them; nil: any may.
	places map[string]map[string]bool
}

// input for the plan of one cluster that is to become want at the revision to.
func (v *view) input(name, to string, want []desired.Resource, max desired.Quantity) reconciler.Input {
	h := v.state.Clusters[name]
	if h == nil {
		h = &History{}
	}
	in := reconciler.Input{
		Cluster: name, From: h.Good, To: to, Want: want, Known: h.Known, Held: map[string]string{},
		Restart: map[string]reconciler.Request{}, Suspended: map[string]string{},
		MaxUnavailable: max, Relation: v.relation,
	}
	in.Instances = v.instances(&in)
	for key, w := range v.state.Restarts {
		if strings.HasPrefix(key, name+"/") {
			in.Restart[key] = reconciler.Request{Reason: cmpOr(w.Reason, "asked for by "+w.By), Incarnation: w.Incarnation}
		}
	}
	if len(v.state.Holds) > 0 {
		v.hold(name, &in)
	}
	v.suspend(name, &in)
	return in
}

// hold notes what a person has asked to be stopped.
func (v *view) hold(name string, in *reconciler.Input) {
	for i := range in.Want {
		key := in.Want[i].Key()
		if s, ok := v.state.Holds[key]; ok {
			in.Held[key] = holdText(s)
		} else if s, ok := v.state.Holds[name]; ok {
			in.Held[key] = holdText(s)
		}
	}
}

// holdText is the reason that agents and status show for a hold.
func holdText(s Suspension) string {
	t := "stopped"
	if s.By != "" {
		t += " by " + s.By
	}
	if s.Reason != "" {
		t += ": " + s.Reason
	}
	return t
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// instances with their age, of those that have to do with the cluster.
func (v *view) instances(in *reconciler.Input) map[string]reconciler.Instance {
	m := map[string]reconciler.Instance{}
	for name := range v.instancesOf(in) {
		r, reports := v.fleet[name]
		if !reports {
			continue
		}
		i := reconciler.Instance{Resources: r.Resources}
		if age := v.now.Sub(r.At); age > v.stale {
			i.Silent = fmt.Sprintf("%s has not reported for %s", name, age.Round(time.Second))
		}
		if s, ok := v.state.Suspended["instance:"+name]; ok && !v.draining {
			i.Suspended = suspensionText(s)
		}
		m[name] = i
	}
	return m
}

// silent reports whether nothing has been heard of an instance for a while: what was seen last may not be so any more.
func (v *view) silent(instance string) bool { return v.now.Sub(v.fleet[instance].At) > v.stale }

func suspensionText(s Suspension) string {
	t := "suspended"
	if s.By != "" {
		t += " by " + s.By
	}
	if s.Reason != "" {
		t += ": " + s.Reason
	}
	if !s.Until.IsZero() {
		t += " (until " + s.Until.Format(time.RFC3339) + ")"
	}
	return t
}

// suspend deals with suspensions of single nodes, which stop healing too (decisions 15). The agent has to
// be told so: a live part says it. A change that is pending besides waits until the suspension ends.
func (v *view) suspend(name string, in *reconciler.Input) {
	copied := false
	for scope, s := range v.state.Suspended {
		node, ok := strings.CutPrefix(scope, name+"/")
		if !ok {
			continue
		}
		i := slices.IndexFunc(in.Want, func(r desired.Resource) bool { return r.Name == node })
		if i < 0 {
			continue
		}
		paused := in.Want[i]
		paused.Parts = append(slices.Clone(paused.Parts), &desired.Part{Field: "heal", Relation: desired.Live, Values: []string{"no"}})
		paused.Seal()
		told := v.told(in.Want[i].Instance, scope)
		if told == in.Want[i].ID || told == paused.ID {
			if !copied {
				in.Want, copied = slices.Clone(in.Want), true
			}
			in.Want[i] = paused
			continue
		}
		in.Suspended[scope] = suspensionText(s)
	}
}

// told is the ID of the spec that an agent was last told for a resource.
func (v *view) told(instance, key string) string {
	if r := v.seen(instance, key); r != nil {
		return r.Told
	}
	return ""
}

// seen is a resource in the newest report of an instance; nil where it is not there.
func (v *view) seen(instance, key string) *observed.Resource {
	rs := v.fleet[instance].Resources
	cluster, name, _ := strings.Cut(key, "/")
	i, ok := slices.BinarySearchFunc(rs, key, func(r observed.Resource, _ string) int {
		if c := strings.Compare(r.Cluster, cluster); c != 0 {
			return c
		}
		return strings.Compare(r.Name, name)
	})
	if !ok {
		return nil
	}
	return &rs[i]
}

// factsFrom turns reports into inputs of compiling.
func factsFrom(fleet map[string]observed.Report, instance string) desired.Facts {
	f := desired.Facts{Default: instance, Instances: map[string]desired.InstanceFacts{}}
	for name, r := range fleet {
		i := desired.InstanceFacts{Addresses: r.Host.Addresses, CPUs: r.Host.CPUs, Interfaces: r.Host.Interfaces, Zeek: map[string]desired.ZeekFacts{}}
		for path, z := range r.Host.Zeek {
			i.Zeek[path] = desired.ZeekFacts{Path: z.Path, Version: z.Version, ZeekPath: z.ZeekPath, HasLocal: z.HasLocal, StandIn: z.StandIn, Err: z.Err}
		}
		f.Instances[name] = i
	}
	return f
}
