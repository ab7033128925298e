package reconciler_test

import (
	"fmt"
	"testing"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler"
	"github.com/zeekrec/zeekrec/reconciler/sim"
)

var sizes = []int{100, 1_000, 10_000}

// world in which a cluster of n workers runs, on an instance per fifty.
func world(c *sim.Cluster) reconciler.Input {
	in := reconciler.Input{
		Cluster: "dmz", From: "1", To: "1", Want: c.Resources(), Instances: map[string]reconciler.Instance{}, Known: map[string]desired.Placement{},
		MaxUnavailable: desired.Quantity{N: 1}, Relation: desired.Relations(),
	}
	reports := map[string][]observed.Resource{}
	for _, r := range in.Want {
		reports[r.Instance] = append(reports[r.Instance], runs(r))
	}
	for name, rs := range reports {
		in.Instances[name] = reconciler.Instance{Resources: rs}
	}
	return in
}

func bench(b *testing.B, perInstance int, change func(*sim.Cluster), check func(testing.TB, reconciler.ClusterPlan, int)) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			c := sim.NewCluster("dmz", sim.Instances(1+n/perInstance), n)
			in := world(c)
			change(c)
			in.Want = c.Resources()
			check(b, reconciler.Diff(in), n)
			b.ReportAllocs()
			for b.Loop() {
				reconciler.Diff(in)
			}
		})
	}
}

// BenchmarkDiff is the worst case: every node is restarted, in waves of one.
func BenchmarkDiff(b *testing.B) {
	bench(b, 50, func(c *sim.Cluster) { c.Shared = "Site::x = 1" }, func(t testing.TB, p reconciler.ClusterPlan, n int) {
		if len(p.Actions) < n || p.Unchanged != 0 {
			t.Fatalf("%d actions", len(p.Actions))
		}
	})
}

// BenchmarkDiffPorts moves every worker's metrics port on by one: one chain through all of them, on one instance, last first.
func BenchmarkDiffPorts(b *testing.B) {
	shift := func(c *sim.Cluster) {
		for i := range c.Nodes {
			if c.Nodes[i].Role == desired.RoleWorker {
				c.Nodes[i].Metrics++
			}
		}
	}
	bench(b, sizes[len(sizes)-1]+1, shift, func(t testing.TB, p reconciler.ClusterPlan, n int) {
		if first := fmt.Sprintf("dmz/worker-%05d", n-1); len(p.Actions) != n || p.Actions[0].Resource != first || p.Actions[n-1].Wave != n {
			t.Fatalf("%d actions, %s first", len(p.Actions), p.Actions[0].Resource)
		}
	})
}

// BenchmarkDiffOne adds a worker: one start, and what has to know of it.
func BenchmarkDiffOne(b *testing.B) {
	bench(b, 50, func(c *sim.Cluster) { c.Add(desired.RoleWorker, "worker-new", c.Nodes[0].Instance) }, func(t testing.TB, p reconciler.ClusterPlan, n int) {
		if s := p.Summary(); s.Start != 1 || s.Restart != 1 {
			t.Fatalf("%+v", s)
		}
	})
}

// BenchmarkDiffUnchanged is the usual reconcile.
func BenchmarkDiffUnchanged(b *testing.B) {
	bench(b, 50, func(*sim.Cluster) {}, func(t testing.TB, p reconciler.ClusterPlan, n int) {
		if len(p.Actions) > 0 || p.Unchanged < n {
			t.Fatalf("%d actions", len(p.Actions))
		}
	})
}

// BenchmarkDiffSettled is the usual reconcile after updates in place: all were started from another spec.
func BenchmarkDiffSettled(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			in := world(sim.NewCluster("dmz", sim.Instances(1+n/50), n))
			for _, i := range in.Instances {
				for k := range i.Resources {
					i.Resources[k].Started = "earlier"
				}
			}
			if p := reconciler.Diff(in); len(p.Actions) > 0 {
				b.Fatalf("%d actions", len(p.Actions))
			}
			b.ReportAllocs()
			for b.Loop() {
				reconciler.Diff(in)
			}
		})
	}
}
