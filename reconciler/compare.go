package reconciler

import (
	"slices"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// delta is how a running resource differs from the desired one, by relation. Only identity asks for a
// restart. Covered differences ask for nothing: the process knows more than it needs to, or its next start is early
// enough.
type delta struct {
	identity, live, covered []part
}

// constantsField names the lines of [zeekrec.options] that are a reason for a restart; those that are changed in place are
// desired.PartOptions.
const constantsField = "constants"

// part is a field with its values on both sides.
type part struct {
	field    string
	relation desired.Relation
	from, to []string
}

// compare goes through the parts of both sides once: both are sorted. A part that one side lacks is compared with an
// empty one, since an input that has its default is no part at all.
func compare(want *desired.Resource, seen *observed.Resource, relation func(desired.Role, string) desired.Relation) delta {
	var d delta
	have, gone := seen.Parts, observed.Parts(nil)
	for _, w := range want.Parts {
		for len(have) > 0 && have[0].Field < w.Field {
			gone, have = append(gone, have[0]), have[1:]
		}
		var from []string
		if len(have) > 0 && have[0].Field == w.Field {
			from, have = have[0].Values, have[1:]
		}
		if !slices.Equal(from, w.Values) {
			d.add(part{w.Field, settle(w.Relation, seen), from, w.Values}, want, seen)
		}
	}
	for _, g := range append(gone, have...) {
		if len(g.Values) == 0 {
			continue
		}
		rel := desired.Equal
		if relation != nil {
			rel = relation(want.Role, g.Field)
		}
		d.add(part{field: g.Field, relation: settle(rel, seen), from: g.Values}, want, seen)
	}
	return d
}

// settle is what a relation comes to for the process that is seen: only one that was started to follow does, and only
// one that can be told options is.
func settle(r desired.Relation, seen *observed.Resource) desired.Relation {
	switch {
	case r == desired.Tune && seen.Tunable == nil:
		return desired.Equal
	case r != desired.Follow:
		return r
	case desired.Follows(seen.Parts.Get(desired.PartMembership)):
		return desired.Live
	}
	return desired.Cover
}

func (d *delta) add(p part, want *desired.Resource, seen *observed.Resource) {
	switch p.relation {
	case desired.Tune:
		fixed, live := p, p
		fixed.from, live.from = desired.SplitOptions(p.from, want.Tunable, seen.Tunable)
		fixed.to, live.to = desired.SplitOptions(p.to, want.Tunable, seen.Tunable)
		if !slices.Equal(fixed.from, fixed.to) {
			fixed.field = constantsField
			d.identity = append(d.identity, fixed)
		}
		if !slices.Equal(live.from, live.to) {
			d.live = append(d.live, live)
		}
	case desired.Equal:
		d.identity = append(d.identity, p)
	case desired.Cover:
		if covers(p.from, p.to) {
			d.covered = append(d.covered, p)
		} else {
			d.identity = append(d.identity, p)
		}
	case desired.Live:
		d.live = append(d.live, p)
	case desired.Later:
		d.covered = append(d.covered, p)
	}
}

// covers reports whether have holds everything of want. Both are sorted as a rule, so that the names of
// ten thousand workers are compared in one walk; where they are not, a set serves.
func covers(have, want []string) bool {
	if len(want) == 0 {
		return true
	}
	if !slices.IsSorted(have) || !slices.IsSorted(want) {
		set := make(map[string]struct{}, len(have))
		for _, v := range have {
			set[v] = struct{}{}
		}
		for _, v := range want {
			if _, ok := set[v]; !ok {
				return false
			}
		}
		return true
	}
	i := 0
	for _, v := range want {
		for i < len(have) && have[i] < v {
			i++
		}
		if i == len(have) || have[i] != v {
			return false
		}
	}
	return true
}

// alive reports whether a process of the resource runs.
func alive(o *observed.Resource) bool {
	return o.PID > 0 || o.State == observed.Running
}

// gone reports whether the instance has neither a process of the resource nor the task to have one.
func gone(o *observed.Resource) bool { return o.Told == "" && !alive(o) }

// mayServe reports whether taking the resource down may take something from anybody: it is healthy, or is
// starting and may be healthy by the time the order arrives. What is known to be broken is free.
func mayServe(o *observed.Resource) bool {
	return alive(o) && (o.Healthy || o.State == observed.Pending)
}
