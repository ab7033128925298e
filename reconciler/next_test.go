package reconciler_test

import (
	"slices"
	"testing"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/reconciler"
)

func TestNext(t *testing.T) {
	const W = desired.RoleWorker
	act := func(wave int, kind desired.Verb, name string, costs bool) reconciler.Action {
		return reconciler.Action{Wave: wave, Kind: kind, Resource: name, Role: W, Costs: costs}
	}
	plan := []reconciler.Action{act(1, desired.Restart, "w1", true), act(1, desired.Restart, "w2", true), act(2, desired.Restart, "w3", true), act(3, desired.Stop, "w4", false)}
	acted := func(costs bool, names ...string) map[string]reconciler.Acted {
		m := map[string]reconciler.Acted{}
		for _, n := range names {
			m[n] = reconciler.Acted{Role: W, Costs: costs}
		}
		return m
	}
	share := func(wave int, name, what string) reconciler.Action {
		a := act(wave, desired.Restart, name, true)
		a.Shares = what
		return a
	}
	follows := act(2, desired.Start, "w9", false)
	follows.Follows = true
	for _, tt := range []struct {
		name string
		plan []reconciler.Action
		pr   reconciler.Progress
		held bool
		want []string
	}{
		{name: "the first wave", plan: plan, want: []string{"w1", "w2"}},
		{name: "nothing while an order is on its way", plan: plan, pr: reconciler.Progress{InFlight: acted(true, "w1")}},
		{name: "nothing while something has not settled", plan: plan, pr: reconciler.Progress{Unsettled: acted(true, "w0")}},
		{name: "what is done again does not hold up, and counts", plan: plan, pr: reconciler.Progress{Unsettled: acted(true, "w3")}, want: []string{"w1"}},
		{name: "its own account is free", plan: plan, pr: reconciler.Progress{Unsettled: acted(true, "w1")}, want: []string{"w1", "w2"}},
		{name: "what is to go does not count", plan: plan, pr: reconciler.Progress{Unsettled: acted(true, "w4")}, want: []string{"w1", "w2"}},
		{name: "the first wave has no room, a later one makes it", pr: reconciler.Progress{Unsettled: acted(true, "w8", "w9")},
			plan: []reconciler.Action{act(1, desired.Restart, "w1", true), act(2, desired.Start, "w8", false), act(2, desired.Start, "w9", false)}, want: []string{"w8", "w9"}},
		{name: "but not what has to follow", pr: reconciler.Progress{Unsettled: acted(true, "w8", "w9")},
			plan: []reconciler.Action{act(1, desired.Restart, "w1", true), act(2, desired.Start, "w8", false), follows}, want: []string{"w8"}},
		{name: "one of those who share an interface is down", pr: reconciler.Progress{Unsettled: map[string]reconciler.Acted{"w1": {Role: W, Costs: true, Shares: "a 24"}}},
			plan: []reconciler.Action{share(1, "w2", "a 24"), share(1, "w3", "a 25"), act(2, desired.Start, "w1", false)}, want: []string{"w3"}},
		{name: "those who share an interface, one at a time", plan: []reconciler.Action{share(1, "w1", "a 24"), share(1, "w2", "a 24")}, want: []string{"w1"}},
		{name: "held", plan: plan, held: true},
		{name: "empty", plan: nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &reconciler.ClusterPlan{Actions: tt.plan, Limits: map[desired.Role]int{W: 2}}
			if tt.held {
				p.Held = &reconciler.Hold{Reason: "guard"}
			}
			var got []string
			for _, a := range reconciler.Next(p, tt.pr) {
				got = append(got, a.Resource)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// A node that was taken down stays on our account until it settles, whatever is sent to it meanwhile.
func TestProgress(t *testing.T) {
	var p reconciler.Progress
	p.Sent(&reconciler.Action{Resource: "w", Costs: true})
	p.Seen("w")
	p.Sent(&reconciler.Action{Resource: "w"})
	if !p.InFlight["w"].Costs {
		t.Error("a second order wiped the cost of the first")
	}
	p.Lost("w")
	if !p.Unsettled["w"].Costs || len(p.InFlight) != 0 {
		t.Errorf("after a lost order: %+v", p)
	}
	p.Settled("w")
	p.Seen("w")
	if len(p.Unsettled)+len(p.InFlight) != 0 {
		t.Errorf("settled, and still there: %+v", p)
	}
}
