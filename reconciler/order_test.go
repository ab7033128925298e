package reconciler_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler"
)

// step is a node before and after; an empty side is not there.
type step struct {
	name     string
	role     desired.Role
	from, to string // parts: "metrics=127.0.0.1:9000"
	sick     bool
}

// waves is the plan of a change on one instance, one string per wave: "restart a, start b".
func waves(t *testing.T, limit desired.Quantity, steps ...step) []string {
	t.Helper()
	in := reconciler.Input{Cluster: "dmz", From: "1", To: "2", Known: map[string]desired.Placement{}, MaxUnavailable: limit, Instances: map[string]reconciler.Instance{}}
	var seen []observed.Resource
	slices.SortFunc(steps, func(a, b step) int { return cmpString(a.name, b.name) })
	for _, s := range steps {
		if s.from != "" {
			o := runs(wants(s.name, s.role, "a", s.from))
			if s.sick {
				o.State, o.PID, o.Healthy = observed.Crashed, 0, false
			}
			seen = append(seen, o)
			in.Known[s.name] = desired.Placement{Instance: "a"}
		}
		if s.to != "" {
			in.Want = append(in.Want, wants(s.name, s.role, "a", s.to))
		}
	}
	in.Instances["a"] = on(seen...)
	p := reconciler.Diff(in)
	var out []string
	for _, a := range p.Actions {
		text := string(a.Kind) + " " + a.Resource[len("dmz/"):]
		if len(out) < a.Wave {
			out = append(out, text)
		} else {
			out[a.Wave-1] += ", " + text
		}
	}
	for _, w := range p.Waiting {
		out = append(out, w.Resource+" waits: "+w.Why)
	}
	return out
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func TestWaves(t *testing.T) {
	const (
		B, L, M, P, W, A = desired.RoleBroker, desired.RoleLogger, desired.RoleManager, desired.RoleProxy, desired.RoleWorker, desired.RoleArchiver
	)
	one := desired.Quantity{N: 1}
	for _, tt := range []struct {
		name  string
		limit desired.Quantity
		steps []step
		want  []string
	}{
		{"roles", one, []step{{"w", W, "", "x=1", false}, {"a", A, "", "x=1", false}, {"p", P, "", "x=1", false}, {"m", M, "", "x=1", false}, {"l", L, "", "x=1", false}, {"b", B, "", "x=1", false}},
			[]string{"start b", "start l", "start m, start p", "start a, start w"}},
		{"stops are last, in reverse", one, []step{{"m", M, "x=1", "", false}, {"w", W, "x=1", "", false}, {"l", L, "x=1", "", false}, {"n", W, "", "x=1", false}},
			[]string{"start n", "stop w", "stop m", "stop l"}},
		{"chunks", desired.Quantity{N: 2}, []step{{"w1", W, "x=1", "x=2", false}, {"w2", W, "x=1", "x=2", false}, {"w3", W, "x=1", "x=2", false}, {"w4", W, "x=1", "x=2", false}, {"w5", W, "x=1", "x=2", false}},
			[]string{"restart w1, restart w2", "restart w3, restart w4", "restart w5"}},
		{"a percentage", desired.Quantity{N: 50, Percent: true}, []step{{"w1", W, "x=1", "x=2", false}, {"w2", W, "x=1", "x=2", false}, {"w3", W, "x=1", "x=2", false}, {"w4", W, "x=1", "x=2", false}},
			[]string{"restart w1, restart w2", "restart w3, restart w4"}},
		{"none counts as one", desired.Quantity{}, []step{{"w1", W, "x=1", "x=2", false}, {"w2", W, "x=1", "x=2", false}}, []string{"restart w1", "restart w2"}},
		{"new and broken ones go first, together", one, []step{{"w1", W, "x=1", "x=2", false}, {"w2", W, "x=1", "x=2", true}, {"w3", W, "x=1", "x=2", true}, {"w4", W, "", "x=2", false}},
			[]string{"restart w2, restart w3, start w4", "restart w1"}},
		{"updates are first", one, []step{{"w1", W, "layout=1", "layout=2", false}, {"m", M, "x=1", "x=2", false}}, []string{"update w1", "restart m"}},
		{"a stop that frees a port is first", one, []step{{"m", M, "", "listen=127.0.0.1:9000", false}, {"w1", W, "metrics=127.0.0.1:9000", "", false}, {"w2", W, "metrics=127.0.0.1:9001", "", false}},
			[]string{"stop w1", "start m", "stop w2"}},
		{"another address is no conflict", one, []step{{"m", M, "", "listen=10.0.0.1:9000", false}, {"w1", W, "metrics=127.0.0.1:9000", "", false}}, []string{"start m", "stop w1"}},
		{"all addresses are", one, []step{{"m", M, "", "xpub=tcp://0.0.0.0:9000", false}, {"w1", W, "metrics=127.0.0.1:9000", "", false}}, []string{"stop w1", "start m"}},
		{"a chain within a role", desired.Quantity{N: 3}, []step{{"w1", W, "metrics=:1", "metrics=:2", false}, {"w2", W, "metrics=:2", "metrics=:3", false}, {"w3", W, "metrics=:3", "metrics=:4", false}},
			[]string{"restart w3", "restart w2", "restart w1"}},
		{"a chain against the roles", one, []step{{"m", M, "metrics=:1", "metrics=:2", false}, {"w1", W, "metrics=:2", "metrics=:3", false}, {"w2", W, "x=1", "x=2", false}},
			[]string{"restart w1", "restart m", "restart w2"}},
		{"a knot is cut", one, []step{{"w1", W, "metrics=:1", "metrics=:2", false}, {"w2", W, "metrics=:2", "metrics=:1", false}},
			[]string{"stop w1", "restart w2", "start w1"}},
		{"a port that nobody gives up", one, []step{{"m", M, "", "listen=:1", false}, {"w", W, "metrics=:1", "metrics=:1", false}}, []string{"dmz/m waits: port 1 is in use by dmz/w"}},
		// Those who share the packets of an interface go one at a time.
		{"fan-out", desired.Quantity{N: 3}, []step{
			{"w1", W, "fanout=24 x=1", "fanout=24 x=2", false}, {"w2", W, "fanout=24 x=1", "fanout=24 x=2", false}, {"w3", W, "fanout=25 x=1", "fanout=25 x=2", false},
			{"w4", W, "fanout=24 x=1", "fanout=24 x=2", true}, {"w5", W, "x=1", "x=2", false},
		}, []string{"restart w4", "restart w1, restart w3, restart w5", "restart w2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, waves(t, tt.limit, tt.steps...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What waits for a port makes those wait that need its own.
func TestWaitingSpreads(t *testing.T) {
	w1, w2 := wants("w1", desired.RoleWorker, "a", "metrics=:1"), wants("w2", desired.RoleWorker, "a", "metrics=:2")
	other := runs(wants("x", desired.RoleWorker, "a", "metrics=:3"))
	other.Cluster = "campus"
	p := reconciler.Diff(reconciler.Input{
		Cluster: "dmz", From: "1", To: "2", Instances: map[string]reconciler.Instance{"a": on(other, runs(w1), runs(w2))},
		Want: []desired.Resource{wants("w1", desired.RoleWorker, "a", "metrics=:2"), wants("w2", desired.RoleWorker, "a", "metrics=:3")},
	})
	want := "dmz/w1 waits: a port that it needs is in use by dmz/w2, which waits\ndmz/w2 waits: port 3 is in use by campus/x\n"
	if diff := cmp.Diff(want, short(p)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What is starting may be healthy by the time that an order arrives: it counts, and goes before the healthy ones.
func TestStartingCounts(t *testing.T) {
	in := reconciler.Input{Cluster: "dmz", From: "1", To: "2", MaxUnavailable: desired.Quantity{N: 1}, Instances: map[string]reconciler.Instance{}}
	var seen []observed.Resource
	for _, name := range []string{"w1", "w2"} {
		in.Want = append(in.Want, wants(name, desired.RoleWorker, "a", "x=2"))
		o := runs(wants(name, desired.RoleWorker, "a", "x=1"))
		if name == "w2" {
			o.State, o.Healthy = observed.Pending, false
		}
		seen = append(seen, o)
	}
	in.Instances["a"] = on(seen...)
	p := reconciler.Diff(in)
	if len(p.Actions) != 2 || p.Actions[0].Resource != "dmz/w2" || p.Actions[1].Wave != 2 || !p.Actions[0].Costs || !p.Actions[1].Costs {
		t.Errorf("plan %+v", p.Actions)
	}
}
