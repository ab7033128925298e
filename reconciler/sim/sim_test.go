package sim_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler"
	"github.com/zeekrec/zeekrec/reconciler/sim"
)

// never is a guard threshold that nothing exceeds; the last of a role and the last node still do.
var never = desired.Quantity{N: 100, Percent: true}

// testT is what *testing.T and *rapid.T have in common.
type testT interface {
	Helper()
	Errorf(string, ...any)
	Fatalf(string, ...any)
}

// world draws a world and a source of chance for what happens in it.
func world(t *rapid.T, f sim.Faults) (*sim.World, *rand.Rand) {
	return newWorld(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 3).Draw(t, "max_unavailable"), f)
}

func newWorld(seed uint64, maxUnavailable int, f sim.Faults) (*sim.World, *rand.Rand) {
	return sim.New(sim.Config{Seed: seed, MaxUnavailable: maxUnavailable, Faults: f}), rand.New(rand.NewPCG(seed, 1))
}

// converge steps until nothing is left to do, and fails where that takes longer than it may.
func converge(t testT, w *sim.World, nodes int) {
	t.Helper()
	limit := w.Now + 100 + 60*nodes
	for quiet := 0; quiet < 8; {
		w.Step()
		quiet++
		p := &w.Ctl.Progress
		if len(w.Ctl.Plan.Actions)+len(w.Ctl.Plan.Waiting)+len(p.InFlight)+len(p.Unsettled) > 0 {
			quiet = 0
		}
		if w.Now > limit {
			t.Fatalf("not converged after %ds: plan %+v, waiting %+v, progress %+v", w.Now, w.Ctl.Plan.Actions, w.Ctl.Plan.Waiting, *p)
		}
	}
	intact(t, w)
}

func intact(t testT, w *sim.World) {
	t.Helper()
	if len(w.Broken) > 0 {
		t.Fatalf("broken:\n%s", strings.Join(w.Broken, "\n"))
	}
}

// identity says by brute force whether a process with parts has to be restarted to be r.
func identity(have observed.Parts, r *desired.Resource) bool {
	want := map[string][]string{}
	for _, p := range r.Parts {
		want[p.Field] = p.Values
	}
	for _, f := range []string{"role", "interface", "env", "scripts", "options", "metrics", "listen", "loggers"} {
		if !slices.Equal(have.Get(f), want[f]) {
			return true
		}
	}
	if desired.Follows(have.Get(desired.PartMembership)) {
		return false // it is told
	}
	for _, f := range []string{"workers", "proxies"} {
		for _, v := range want[f] {
			if !slices.Contains(have.Get(f), v) {
				return true
			}
		}
	}
	return false
}

type place struct{ key, instance string }

func running(w *sim.World, instances []string) map[place]observed.Parts {
	m := map[place]observed.Parts{}
	for _, i := range instances {
		for _, o := range w.Seen(i) {
			if o.PID != 0 {
				m[place{o.Key(), i}] = o.Parts
			}
		}
	}
	return m
}

// In a world without faults a plan is carried out, what follows is empty, exactly what the table asks for
// was disturbed, and each of those once.
func TestMinimalAndIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, rng := world(t, sim.Faults{})
		instances := sim.Instances(3)
		c := sim.RandomCluster(rng, "dmz", 3, 12)
		w.Accept(c, never)
		converge(t, w, len(c.Nodes))
		for range 3 {
			next := c
			for range 1 + rng.IntN(3) {
				next = next.Edit(rng, instances)
			}
			before, pids := running(w, instances), w.PIDs()
			if w.Accept(next, never) != nil {
				continue
			}
			c = next
			sent := len(w.Sent)
			converge(t, w, len(c.Nodes))
			after := w.PIDs()
			named := map[string]bool{}
			for _, a := range w.Sent[sent:] {
				if len(a.Reasons) == 0 {
					t.Errorf("%s of %s without a reason", a.Kind, a.Resource)
				}
				if a.Kind != desired.Update {
					named[a.Resource] = true
				}
			}
			want := map[string]bool{}
			for _, r := range c.Resources() {
				want[r.Key()] = true
				have, ran := before[place{r.Key(), r.Instance}]
				restart := !ran || identity(have, &r)
				if changed := pids[r.Key()] != after[r.Key()]; changed != restart {
					t.Errorf("%s: pid changed %t, should %t (%v -> %+v)", r.Key(), changed, restart, have, r.Parts)
				}
				if named[r.Key()] != restart {
					t.Errorf("%s: disturbed %t, should %t", r.Key(), named[r.Key()], restart)
				}
				if after[r.Key()] == 0 {
					t.Errorf("%s does not run", r.Key())
				}
			}
			for key := range after {
				if !want[key] {
					t.Errorf("%s still runs", key)
				}
			}
			if w.Clashes > 0 {
				t.Errorf("%d starts found their port taken", w.Clashes)
			}
		}
	})
}

// On a bad day, with revisions, holds, suspensions and requests at random: no invariant breaks at any moment,
// and when the faults are over, everything comes to be as it should.
func TestConvergesAfterFaults(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, rng := world(t, sim.SomeFaults)
		badDay(t, w, rng, rapid.IntRange(50, 250).Draw(t, "seconds"))
	})
}

func badDay(t testT, w *sim.World, rng *rand.Rand, seconds int) {
	t.Helper()
	instances := sim.Instances(3)
	c := sim.RandomCluster(rng, "dmz", 3, 8)
	orphan := c.Clone()
	orphan.NextPort = 20000
	orphan.Add(desired.RoleWorker, "zz-orphan", instances[0])
	for _, r := range orphan.Resources() {
		if r.Name == "zz-orphan" {
			w.Orphan(r)
		}
	}
	w.Accept(c, never)
	for range seconds {
		w.Step()
		key := "dmz/" + c.Nodes[rng.IntN(len(c.Nodes))].Name
		switch rng.IntN(60) {
		case 0, 1:
			if next := c.Edit(rng, instances); w.Accept(next, never) == nil {
				c = next
			}
		case 2:
			w.Ctl.Held[key] = "because"
		case 3:
			clear(w.Ctl.Held)
		case 4:
			w.Ctl.Suspended[key] = "because"
		case 5:
			clear(w.Ctl.Suspended)
		case 6:
			for _, i := range instances {
				for _, o := range w.Seen(i) {
					if o.Key() == key {
						w.Ctl.Restart[key] = reconciler.Request{Reason: "asked", Incarnation: o.Incarnation}
					}
				}
			}
		}
		intact(t, w)
	}
	w.Calm()
	clear(w.Ctl.Suspended)
	converge(t, w, len(c.Nodes))

	pids := w.PIDs()
	if pids["dmz/zz-orphan"] == 0 || !slices.Contains(w.Ctl.Plan.Orphaned, "dmz/zz-orphan") {
		t.Errorf("the orphan was lost: %v", w.Ctl.Plan.Orphaned)
	}
	delete(pids, "dmz/zz-orphan")
	now := running(w, instances)
	for _, r := range c.Resources() {
		if held := w.Ctl.Held[r.Key()] != ""; held != (pids[r.Key()] == 0) {
			t.Errorf("%s: held %t, pid %d", r.Key(), held, pids[r.Key()])
		} else if have, ok := now[place{r.Key(), r.Instance}]; !held && (!ok || identity(have, &r)) {
			t.Errorf("%s runs as %v, should as %+v", r.Key(), have, r.Parts)
		}
		delete(pids, r.Key())
	}
	if len(pids) > 0 {
		t.Errorf("still running: %v", pids)
	}
}

// The same input gives the same bytes, and is not changed.
func TestDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, rng := world(t, sim.SomeFaults)
		c := sim.RandomCluster(rng, "dmz", 4, 20)
		w.Accept(c, never)
		for range rapid.IntRange(0, 40).Draw(t, "seconds") {
			w.Step()
		}
		w.Accept(c.Edit(rng, sim.Instances(4)), never)
		in := w.Ctl.Input(w)
		first := encode(t, in)
		for range 5 {
			if again := encode(t, w.Ctl.Input(w)); !bytes.Equal(first, again) {
				t.Fatalf("two plans of one world:\n%s\n%s", first, again)
			}
		}
	})
}

func encode(t *rapid.T, in reconciler.Input) []byte {
	p := reconciler.NewPlan([]reconciler.ClusterPlan{reconciler.Diff(in)}, nil)
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back reconciler.Plan
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if back.Digest() != p.Digest() {
		t.Fatal("the digest did not survive JSON")
	}
	return append(b, p.Digest()...)
}

// What the guard holds is never sent.
func TestGuardIsNotBypassed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, rng := world(t, sim.Faults{})
		c := sim.RandomCluster(rng, "dmz", 3, 12)
		threshold := desired.Quantity{N: 30, Percent: true}
		w.Accept(c, threshold)
		converge(t, w, len(c.Nodes))
		next := c
		for range 12 {
			next = next.Edit(rng, sim.Instances(3))
		}
		accepted, candidate := c.Resources(), next.Resources()
		stops := 0
		left := map[desired.Role]int{}
		for _, r := range candidate {
			left[r.Role]++
		}
		last := false
		for _, r := range accepted {
			if !slices.ContainsFunc(candidate, func(o desired.Resource) bool { return o.Name == r.Name }) {
				stops++
				last = last || left[r.Role] == 0
			}
		}
		should := last || stops > 2 && float64(stops) > 0.3*float64(len(accepted))+1e-9
		before := w.PIDs()
		hold := w.Accept(next, threshold)
		if (hold != nil) != should {
			t.Fatalf("held %+v, should %t (%d of %d)", hold, should, stops, len(accepted))
		}
		if hold == nil {
			return
		}
		p := w.Ctl.Plan
		p.Held, p.Actions = hold, []reconciler.Action{{Wave: 1, Kind: desired.Stop, Resource: "dmz/x"}}
		if got := reconciler.Next(&p, reconciler.Progress{}); got != nil {
			t.Fatalf("sent in spite of the guard: %+v", got)
		}
		for range 20 {
			w.Step()
		}
		for key, pid := range w.PIDs() {
			if before[key] != pid {
				t.Fatalf("%s was touched", key)
			}
		}
	})
}
