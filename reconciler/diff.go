package reconciler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// Diff returns what is to be done so that the cluster runs as in.Want says. It is deterministic, takes
// time linear in the number of resources and parts, and returns no actions where nothing is to do.
//
// What an agent does by itself is not the plan's business: a node that crashed is restarted by its agent
// from what it was told, and as long as that is what is wanted there is no action for it.
func Diff(in Input) ClusterPlan {
	d := &differ{in: &in, basis: newBasis(), here: make([]*observed.Resource, len(in.Want))}
	d.plan = ClusterPlan{Name: in.Cluster, Revision: Revision{From: in.From, To: in.To}, Actions: []Action{}}
	d.basis.settings(&in)
	d.sight()
	d.wanted()
	d.unwanted()
	d.plan.Limits = limits(in.Want, in.MaxUnavailable)
	sortItems(d.items)
	d.linkPorts()
	separate(d.items)
	d.plan.Actions = arrange(d.items, d.plan.Limits)
	slices.SortFunc(d.plan.Waiting, func(a, b Waiting) int {
		return cmp.Or(strings.Compare(a.Resource, b.Resource), strings.Compare(a.Why, b.Why))
	})
	slices.Sort(d.plan.Orphaned)
	d.plan.Waiting = slices.Compact(d.plan.Waiting)
	d.plan.Orphaned = slices.Compact(d.plan.Orphaned)
	d.plan.Basis = d.basis.sum()
	return d.plan
}

type differ struct {
	in    *Input
	plan  ClusterPlan
	basis *basis
	// here[i] is Want[i] as seen on the instance where it is wanted; nil where it is not seen.
	here []*observed.Resource
	// strays are seen where they are not wanted; elsewhere has those of them that are wanted on another
	// instance, by name.
	strays    []sighting
	elsewhere map[string][]sighting
	items     []item
}

// sighting is a resource as seen on an instance.
type sighting struct {
	*observed.Resource
	at string
}

// sight matches what is seen with what is wanted. Reports and Want are both sorted by name, so most
// matches are found at the cursor, without a search and without a map.
func (d *differ) sight() {
	for _, at := range sortedKeys(d.in.Instances) {
		inst := d.in.Instances[at]
		d.basis.text(at)
		d.basis.text(inst.Suspended)
		d.basis.flag(inst.Silent != "")
		rs := inst.Resources
		first, _ := slices.BinarySearchFunc(rs, d.in.Cluster, func(o observed.Resource, c string) int { return strings.Compare(o.Cluster, c) })
		cursor := 0
		for i := first; i < len(rs) && rs[i].Cluster == d.in.Cluster; i++ {
			o := &rs[i]
			d.basis.seen(at, o)
			if cursor >= len(d.in.Want) || d.in.Want[cursor].Name != o.Name {
				cursor, _ = slices.BinarySearchFunc(d.in.Want, o.Name, func(w desired.Resource, n string) int { return strings.Compare(w.Name, n) })
			}
			if cursor == len(d.in.Want) || d.in.Want[cursor].Name != o.Name {
				d.strays = append(d.strays, sighting{o, at})
				continue
			}
			if d.in.Want[cursor].Instance == at {
				d.here[cursor] = o
			} else if s := (sighting{o, at}); !gone(o) {
				d.strays = append(d.strays, s)
				if d.elsewhere == nil {
					d.elsewhere = map[string][]sighting{}
				}
				d.elsewhere[o.Name] = append(d.elsewhere[o.Name], s)
			}
			cursor++
		}
	}
}

// wanted decides what is to be done with each wanted resource.
func (d *differ) wanted() {
	in := d.in
	for i := range in.Want {
		w := &in.Want[i]
		d.basis.want(w)
		inst, known := in.Instances[w.Instance]
		switch {
		case !known:
			d.wait(w.Key(), "no agent of that name: "+w.Instance)
			continue
		case inst.Silent != "":
			d.wait(w.Key(), inst.Silent)
			continue
		}
		o := d.here[i]
		if o == nil {
			o = &observed.Resource{}
		}
		// The usual case first: it runs as it was told, which is what is wanted, and nobody asks for more.
		if o.Told == w.ID && o.Started == w.ID && o.Hold == "" && o.State != observed.Unknown &&
			len(in.Held) == 0 && len(in.Restart) == 0 && len(o.Outdated) == 0 {
			d.plan.Unchanged++
			continue
		}
		if o.State == observed.Unknown {
			d.wait(w.Key(), cmp.Or(o.Reason, "its state is unknown"))
			continue
		}
		a, todo := d.decide(w, o)
		if !todo {
			d.plan.Unchanged++
			continue
		}
		if why := cmp.Or(in.Suspended[a.Resource], inst.Suspended); why != "" {
			d.wait(a.Resource, why)
			continue
		}
		d.propose(a, o)
	}
}

// decide compares one wanted resource with what its instance says of it. It is not asked where the
// resource may still be running elsewhere: see propose.
func (d *differ) decide(w *desired.Resource, o *observed.Resource) (Action, bool) {
	key := w.Key()
	a := Action{
		Resource: key, Type: w.Type, Role: w.Role, Instance: w.Instance,
		Target: w, Expect: o.Told, Incarnation: o.Incarnation, Cause: CauseChange,
	}
	runs := alive(o)
	if why, held := d.in.Held[key]; held {
		if gone(o) || (o.Hold != "" && !runs) {
			return a, false
		}
		a.Kind, a.Hold, a.Cause, a.Disruptive = desired.Stop, cmp.Or(why, "held"), CauseAsked, runs
		a.Reasons = []Reason{{Field: "hold", To: a.Hold}}
		return a, true
	}
	if o.Hold != "" && !runs {
		a.Kind, a.Cause = desired.Start, CauseAsked
		a.Reasons = []Reason{{Field: "hold", From: o.Hold}}
		return a, true
	}
	if gone(o) {
		a.Kind = desired.Start
		a.Reasons = []Reason{{Field: "resource", To: "new"}}
		if d.settled() {
			a.Cause = CauseDrift
			a.Reasons = []Reason{{Field: "resource", From: "neither running nor told to run", To: "running"}}
		}
		return a, true
	}

	// It was told something, or runs without having been told. Where it was told what is wanted and does not
	// run, its agent starts it from that.
	var diff delta
	if o.Told != w.ID || (runs && o.Started != w.ID) {
		diff = compare(w, o, d.in.Relation)
	}
	if (o.Told == "" || o.Told == w.ID) && d.settled() {
		a.Cause = CauseDrift // only zeekrec tells an agent something else, and it did not
	}
	a.Reasons = reasons(diff.identity)
	if req, asked := d.in.Restart[key]; asked && o.Incarnation <= req.Incarnation {
		if len(a.Reasons) == 0 {
			a.Cause = CauseAsked
		}
		a.Reasons = append(a.Reasons, Reason{Field: "asked", To: cmp.Or(req.Reason, "restart")})
	}
	if r, roll := upgrade(w, o); roll && runs {
		a.Reasons = append(a.Reasons, r)
	}
	if len(a.Reasons) > 0 {
		a.Kind, a.Disruptive = desired.Restart, runs
		a.Costs, a.Shares = mayServe(o), shares(o, w.Instance)
		if o.Incarnation == 0 && !runs { // told, and never started
			a.Kind = desired.Start
		}
		return a, true
	}
	if o.Told == w.ID && len(diff.live) == 0 {
		return a, false
	}
	a.Kind = desired.Update
	a.Reasons = append(reasons(diff.live), reasons(diff.covered)...)
	if len(a.Reasons) == 0 {
		a.Reasons = []Reason{{Field: "told", From: cmp.Or(o.Told, "nothing"), To: w.ID}}
	}
	return a, true
}

// settled reports whether the target has been rolled out, so that a difference is drift.
func (d *differ) settled() bool { return d.in.From != "" && d.in.From == d.in.To }

// upgrade says whether a new Zeek at the same path is to be rolled out to a resource (zeek_upgrade =
// rolling). What a newer zeekrec would render differently restarts nothing (decisions 1).
func upgrade(w *desired.Resource, o *observed.Resource) (Reason, bool) {
	if w.Node == nil || w.Node.ZeekUpgrade != "rolling" {
		return Reason{}, false
	}
	i := slices.IndexFunc(o.Outdated, func(s string) bool { return strings.HasPrefix(strings.ToLower(s), "zeek") })
	if i < 0 || strings.HasPrefix(strings.ToLower(o.Outdated[i]), "zeekrec") {
		return Reason{}, false
	}
	return Reason{Field: "zeek_upgrade", From: o.Version, To: o.Outdated[i]}, true
}

// propose adds an action to the plan, unless it would start what may be running already.
func (d *differ) propose(a Action, o *observed.Resource) {
	it := item{Action: a, seen: o}
	if a.Kind == desired.Start || a.Kind == desired.Restart {
		if len(o.Foreign) > 0 {
			d.wait(a.Resource, fmt.Sprintf("process %d bears its mark and was not started by the agent", o.Foreign[0]))
			return
		}
		_, name := splitKey(a.Resource)
		others := d.elsewhere[name]
		if why := d.mayRunElsewhere(&a, name, others); why != "" {
			d.wait(a.Resource, why)
			return
		}
		for _, s := range others {
			it.first = append(it.first, d.moveAway(s, a.Instance))
			it.leaves = append(it.leaves, s.Resource)
			it.Cause, it.Follows = CauseChange, true
			it.Reasons = append([]Reason{{Field: "instance", From: s.at, To: a.Instance}}, withoutNew(it.Reasons)...)
		}
		if len(others) > 0 {
			delete(d.elsewhere, name) // its strays are dealt with
		}
	}
	d.items = append(d.items, it)
}

// mayRunElsewhere says why the resource cannot be started yet: never two processes of one node.
func (d *differ) mayRunElsewhere(a *Action, name string, others []sighting) string {
	was, known := d.in.Known[name]
	for _, s := range others {
		inst := d.in.Instances[s.at]
		switch {
		case inst.Silent != "":
			return "it last ran on " + s.at + ": " + inst.Silent
		case s.State == observed.Unknown:
			return "its state on " + s.at + " is unknown"
		case !known:
			return "it runs on " + s.at + ", orphaned: no accepted revision had it"
		case inst.Suspended != "":
			return "it still runs on " + s.at + ": " + inst.Suspended
		}
	}
	if before := was.Instance; before != "" && before != a.Instance && a.Expect == "" {
		inst, reports := d.in.Instances[before]
		switch {
		case !reports:
			return "it was last placed on " + before + ", which has not reported"
		case inst.Silent != "":
			return "it was last placed on " + before + ": " + inst.Silent
		}
	}
	return ""
}

// moveAway is the stop on the old instance that goes before the start on the new one.
func (d *differ) moveAway(s sighting, to string) Action {
	a := stop(s)
	a.Reasons = []Reason{{Field: "instance", From: s.at, To: to}}
	a.Costs, a.Shares = mayServe(s.Resource), shares(s.Resource, s.at)
	return a
}

// shares names the packets that a running worker shares with others of its fan-out group: when one leaves, the kernel gives its
// flows to those who are left (packet(7), PACKET_FANOUT).
func shares(o *observed.Resource, at string) string {
	if len(o.Parts.Get("fanout")) == 0 {
		return ""
	}
	return at + " " + strings.Join(o.Parts.Get("fanout"), " ")
}

// unwanted decides what is to be done with what is seen where it is not wanted.
func (d *differ) unwanted() {
	for _, s := range d.strays {
		if gone(s.Resource) {
			continue
		}
		key := s.Key()
		w, wanted := slices.BinarySearchFunc(d.in.Want, s.Name, func(w desired.Resource, n string) int { return strings.Compare(w.Name, n) })
		if wanted && d.elsewhere[s.Name] == nil {
			continue // its move is in the plan
		}
		inst := d.in.Instances[s.at]
		_, known := d.in.Known[s.Name]
		switch {
		case !known:
			d.plan.Orphaned = append(d.plan.Orphaned, key)
		case inst.Silent != "":
			d.wait(key, inst.Silent)
		case s.State == observed.Unknown:
			d.wait(key, cmp.Or(s.Reason, "its state is unknown"))
		case d.in.Suspended[key] != "" || inst.Suspended != "":
			d.wait(key, cmp.Or(d.in.Suspended[key], inst.Suspended))
		case wanted && !d.settledHere(w) && !d.isHeld(key):
			// It is to move, and its new place is not ready for it: it goes on where it is.
		default:
			a := stop(s)
			a.Reasons = []Reason{{Field: "resource", From: cmp.Or(d.in.From, "an earlier revision"), To: "removed"}}
			held := d.isHeld(key)
			switch {
			case held:
				a.Cause, a.Reasons = CauseAsked, []Reason{{Field: "hold", To: cmp.Or(d.in.Held[key], "held")}}
			case wanted:
				a.Reasons = []Reason{{Field: "instance", From: s.at, To: d.in.Want[w].Instance}}
			}
			d.items = append(d.items, item{Action: a, seen: s.Resource, early: wanted && !held})
		}
	}
}

// settledHere reports whether Want[i] is known to be at home where it is wanted.
func (d *differ) settledHere(i int) bool {
	inst := d.in.Instances[d.in.Want[i].Instance]
	return d.here[i] != nil && inst.Silent == "" && d.here[i].State != observed.Unknown && !gone(d.here[i])
}

func (d *differ) isHeld(key string) bool {
	_, held := d.in.Held[key]
	return held
}

// stop is the removal of a resource from an instance.
func stop(s sighting) Action {
	return Action{
		Kind: desired.Stop, Resource: s.Key(), Type: desired.Type(s.Type), Role: desired.Role(s.Role), Instance: s.at,
		Disruptive: alive(s.Resource), Cause: CauseChange, Expect: s.Told, Incarnation: s.Incarnation,
	}
}

func (d *differ) wait(key, why string) {
	d.plan.Waiting = append(d.plan.Waiting, Waiting{Resource: key, Why: why})
}

// withoutNew drops the reason of a first start: what moves is not new.
func withoutNew(rs []Reason) []Reason {
	return slices.DeleteFunc(slices.Clone(rs), func(r Reason) bool { return r.Field == "resource" })
}

// limits is how many resources of each role may be unavailable through restarts; at least one, or
// nothing could ever be restarted.
func limits(want []desired.Resource, q desired.Quantity) map[desired.Role]int {
	count := map[desired.Role]int{}
	for i := range want {
		count[want[i].Role]++
	}
	for r, n := range count {
		count[r] = max(1, q.Of(n))
	}
	return count
}
