package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/clustercfg"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// clusterFile has n nodes: a manager, two loggers, two proxies and workers.
func clusterFile(n int, extra string) *desired.Snapshot {
	var b strings.Builder
	b.WriteString("[manager]\nrole = manager\n\n[logger-1]\nrole = logger\n\n[logger-2]\nrole = logger\n\n[proxy-1]\nrole = proxy\n\n[proxy-2]\nrole = proxy\n\n")
	for i := range n - 5 {
		fmt.Fprintf(&b, "[worker-%05d]\nrole = worker\ninterface = eth%d\nenv = A=1 B=2\n\n", i, i%8)
	}
	b.WriteString(extra)
	return &desired.Snapshot{URL: "/etc/zeek/clusters", Files: []desired.ClusterFile{{Name: "big", File: "big.cfg", Data: []byte(b.String())}}}
}

// BenchmarkPlan is all of `zeekrec plan` but the reading of files: parse, validate, assign ports, compile and
// diff, against a world in which everything runs as it should, for a revision that adds one worker and
// changes another.
func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			w := worldOf(b, clusterFile(n, ""))
			next := clusterFile(n, "[worker-new]\nrole = worker\ninterface = eth0\n")
			next.Files[0].Data = []byte(strings.Replace(string(next.Files[0].Data), "eth3", "eth9", 1))
			b.ReportAllocs()
			for b.Loop() {
				p := engine.Preview(w, next, true, clustercfg.Parse, clustercfg.ValidateAll)
				if p.Summary.Start != 1 || p.Summary.Restart != 2 {
					b.Fatalf("plan %+v", p.Summary)
				}
			}
		})
	}
}

// worldOf runs a snapshot as it should.
func worldOf(b *testing.B, s *desired.Snapshot) *engine.World {
	b.Helper()
	now := time.Unix(1_700_000_000, 0)
	c, ds := clustercfg.Parse(s.Files[0], "agent-a")
	if desired.HasErrors(ds) {
		b.Fatal(ds)
	}
	out := desired.Compile([]*desired.Cluster{c}, desired.Facts{}, desired.Assignment{}, now)
	w := engine.EmptyWorld("agent-a", now)
	w.State.Assignment = out.Assignment
	known := map[string]engine.Placement{}
	r := observed.Report{Instance: "agent-a", At: now}
	for _, res := range out.Resources["big"] {
		known[res.Name] = engine.Placement{Type: res.Type, Role: res.Role, Instance: res.Instance}
		o := observed.Resource{
			Cluster: "big", Name: res.Name, Type: string(res.Type), Role: string(res.Role), State: observed.Running, PID: 1, Incarnation: 1,
			Healthy: true, Told: res.ID, Started: res.ID,
		}
		for _, p := range res.Parts {
			o.Parts = o.Parts.With(p.Field, p.Values...)
		}
		r.Resources = append(r.Resources, o)
	}
	w.Fleet["agent-a"] = r
	rev := s.Files[0].Revision()
	w.State.Clusters["big"] = &engine.History{Revisions: []engine.Revision{{ID: rev, Resources: known, Assignment: out.Assignment.Of("big"), PruneGuard: desired.Quantity{N: 30, Percent: true}}}, Good: rev, Known: known}
	return w
}

// still are hosts on which nothing changes, and whose reports cost nothing to make.
type still struct {
	engine.Agents
	report []*observed.Report
}

func (s *still) Reports() []*observed.Report { return s.report }
func (s *still) Changed() <-chan struct{}    { return nil }

// BenchmarkReconcileUnchanged is one whole step of the running engine in which nothing has changed. What the
// status call adds to it is measured beside it.
func BenchmarkReconcileUnchanged(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			s := clusterFile(n, "")
			w := worldOf(b, s)
			j := &memory{}
			object, err := j.PutFile(b.Context(), s.Files[0])
			if err != nil {
				b.Fatal(err)
			}
			w.State.Clusters["big"].Revisions[0].Object = object
			report := w.Fleet["agent-a"]
			report.At = time.Now().Add(time.Hour)
			a := &still{report: []*observed.Report{&report}}
			e := engine.New(engine.Config{Agents: a, Journal: j, State: w.State, Parse: clustercfg.Parse, Validate: clustercfg.ValidateAll, Instance: "agent-a"})
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			go func() { _ = e.Run(ctx) }()
			if st, err := e.Status(ctx); err != nil || len(st.Clusters) != 1 {
				b.Fatalf("status: %v", err)
			}
			for b.Loop() {
				// Each call is followed by a step, and waits for the one before. Of a cluster that is not there nothing is to be looked up.
				if _, err := e.Deployed(ctx, "none"); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			p, err := e.Plan(ctx)
			if err != nil || !p.Empty() || p.Summary.Unchanged != n {
				b.Fatalf("plan %+v, %v", p.Summary, err)
			}
		})
	}
}
