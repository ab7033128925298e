package engine_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

func TestClustersWhoseNamesBeginAlike(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six, "dmz-2": six})
		b.hosts.took()
		b.see(map[string]string{"dmz": six + "=x", "dmz-2": six})
		b.want("orders", b.hosts.took(), "restart dmz/worker-3")
		for _, c := range []string{"dmz", "dmz-2"} {
			if s := b.status(c); !s.Synced {
				t.Errorf("%s is not synced: %s", c, s.Reason)
			}
		}
	})
}

func TestPreflightThatTakesTooLong(t *testing.T) {
	run(t, func(b *bench) {
		slow := true
		b.hosts.behave(func() {
			b.hosts.check = func(ctx context.Context) error {
				b.hosts.mu.Lock()
				wait := slow
				b.hosts.mu.Unlock()
				if !wait {
					return nil
				}
				<-ctx.Done()
				return context.Cause(ctx)
			}
		})
		b.see(map[string]string{"dmz": six})
		time.Sleep(time.Hour)
		b.hosts.behave(func() { slow = false })
		time.Sleep(time.Hour)
		b.settle()
		if s := b.status("dmz"); !s.Synced {
			t.Errorf("an hour after the host is quick again: %q", s.Reason)
		}
	})
}

// What was assigned for a revision that is quarantined or held counts for nothing.
func TestAssignmentOfWhatDoesNotRun(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": "manager logger-1 logger-2 proxy-1 worker-1 worker-2 worker-3"})
		b.hosts.took()
		b.hosts.behave(func() {
			b.hosts.problems = func(r *desired.Resource) *observed.Problem {
				if r.Node.Env["E"] == "syntax" {
					return &observed.Problem{Permanent: true, Message: "syntax error"}
				}
				return nil
			}
		})
		// logger-2 states the port that logger-1 has.
		b.see(map[string]string{"dmz": "manager logger-1 logger-2:2200 proxy-1 worker-1=syntax worker-2 worker-3"})
		b.settle()
		b.want("quarantined", b.hosts.took(), "")
		b.see(map[string]string{"dmz": "manager logger-1 logger-2:2200 proxy-1"})
		b.want("held", b.hosts.took(), "")
		b.stop()
		b.start()
		b.settle()
		b.want("held, after a restart of zeekrec", b.hosts.took(), "")
	})
}

func TestPinnedRevisionThatNoLongerParses(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		first := b.status("dmz").Revision.Running
		b.see(map[string]string{"dmz": six + "=x"})
		b.hosts.took()
		b.hosts.behave(func() {
			b.hosts.problems = func(*desired.Resource) *observed.Problem {
				return &observed.Problem{Permanent: true, Message: "syntax error"}
			}
		})
		if err := b.e.Rollback(b.ctx, "dmz", first, "", "ann"); err != nil {
			t.Fatal(err)
		}
		before := b.journal.count()
		b.settle()
		if n := b.journal.count() - before; n > 3 {
			t.Errorf("%d records in a minute", n)
		}
		if s := b.status("dmz"); !s.Healthy || !strings.Contains(s.Reason, "pinned") {
			t.Errorf("status %+v", s)
		}
	})
}

func TestRemovalThatTakesLong(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six, "lab": "manager"})
		b.hosts.took()
		b.hosts.behave(func() { b.hosts.stuck = map[string]bool{"dmz/worker-1": true} })
		b.see(map[string]string{"lab": "manager"})
		if err := b.e.Confirm(b.ctx, "dmz", "", "ann"); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			b.settle()
		}
		if got := b.hosts.took(); strings.Contains(got, "start ") {
			t.Errorf("a removal was taken back: %s", got)
		}
		if s := b.status("dmz"); s.Quarantined != "" || !strings.Contains(s.Reason, "does not stop") {
			t.Errorf("status %+v", s)
		}
		// It ends at last. The file comes back, and is removed once more.
		b.hosts.behave(func() { b.hosts.stuck = nil; delete(b.hosts.res, "dmz/worker-1") })
		for range 3 {
			b.settle()
		}
		b.see(map[string]string{"dmz": six + "=y", "lab": "manager"})
		b.see(map[string]string{"lab": "manager"})
		if err := b.e.Confirm(b.ctx, "dmz", "", "ann"); err != nil {
			t.Fatal(err)
		}
		b.settle()
		if up := b.hosts.up(); strings.Contains(up, "worker") {
			t.Errorf("still up: %s", up)
		}
	})
}

func TestCrashLongAfterARolloutThatWaits(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		if err := b.e.Suspend(b.ctx, "dmz/worker-3", "looking", "ann", time.Time{}); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.hosts.took()
		b.see(map[string]string{"dmz": "manager logger-1 proxy-1 worker-1=a worker-2=a worker-3=a"})
		b.want("two of three", b.hosts.took(), "restart dmz/worker-1, restart dmz/worker-2")
		time.Sleep(2 * time.Hour)
		b.hosts.set("dmz/worker-1", func(r *observed.Resource) { r.Incarnation++; r.Restarts = 1 }) // healed
		b.settle()
		b.want("orders", b.hosts.took(), "")
		if s := b.status("dmz"); s.Quarantined != "" {
			t.Errorf("status %+v", s)
		}
	})
}

func TestRestartWishDies(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		for range 5 {
			if _, err := b.e.Restart(b.ctx, []string{"dmz/worker-1"}, false, "", "ann"); err != nil {
				t.Fatal(err)
			}
			b.settle()
		}
		b.hosts.took()
		b.hosts.set("dmz/worker-1", func(r *observed.Resource) { r.Incarnation = 1 }) // its record was damaged
		b.settle()
		b.want("orders", b.hosts.took(), "")
	})
}

func TestRestartInMidRolloutBlamesNobodyElse(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		b.hosts.set("dmz/worker-3", func(r *observed.Resource) {
			r.State, r.Healthy, r.PID, r.Reason = observed.Failed, false, 0, "interface is down"
		})
		b.settle()
		b.hosts.took()
		f := desired.ClusterFile{Name: "dmz", File: "dmz.cfg", Data: []byte("manager logger-1 proxy-1 worker-1=a worker-2=a worker-3")}
		b.obs <- engine.Observation{Snapshot: &desired.Snapshot{Files: []desired.ClusterFile{f}}, CheckedAt: time.Now()}
		for b.hosts.count() == 0 {
			time.Sleep(time.Millisecond)
		}
		b.stop()
		b.start()
		b.settle()
		if s := b.status("dmz"); s.Quarantined != "" {
			t.Errorf("status %+v", s)
		}
	})
}

func TestPruneGuardReckonsFromWhatMayRun(t *testing.T) {
	run(t, func(b *bench) {
		all := strings.Fields("manager logger-1 proxy-1 worker-1 worker-2 worker-3 worker-4 worker-5 worker-6 worker-7")
		b.see(map[string]string{"dmz": strings.Join(all, " ")})
		b.hosts.took()
		if err := b.e.Suspend(b.ctx, "dmz", "work", "ann", time.Time{}); err != nil {
			t.Fatal(err)
		}
		for n := len(all) - 2; n >= 4; n -= 2 {
			b.see(map[string]string{"dmz": strings.Join(all[:n], " ")})
		}
		if err := b.e.Resume(b.ctx, "dmz", "ann"); err != nil {
			t.Fatal(err)
		}
		b.settle()
		if got := b.hosts.took(); strings.Count(got, "stop ") > 3 {
			t.Errorf("stopped without a confirmation: %s", got)
		}
	})
}

func TestHoldWaitsForNothing(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		b.hosts.behave(func() {
			b.hosts.problems = func(r *desired.Resource) *observed.Problem {
				if r.Name == "worker-4" {
					return &observed.Problem{Message: "interface eth9 does not exist"}
				}
				return nil
			}
		})
		b.see(map[string]string{"dmz": six + " worker-4"})
		b.hosts.took()
		if err := b.e.Hold(b.ctx, []string{"dmz/worker-1"}, "maintenance", "ann", time.Time{}); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.want("while a preflight fails", b.hosts.took(), "stop dmz/worker-1")
		if err := b.e.Suspend(b.ctx, "dmz", "", "ann", time.Time{}); err != nil {
			t.Fatal(err)
		}
		if err := b.e.Hold(b.ctx, []string{"dmz/worker-2"}, "maintenance", "ann", time.Time{}); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.want("while suspended", b.hosts.took(), "stop dmz/worker-2")
	})
}

func TestStopAllHeedsNoSuspension(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		if err := b.e.Suspend(b.ctx, "instance:agent-a", "", "ann", time.Time{}); err != nil {
			t.Fatal(err)
		}
		if err := b.e.StopAll(b.ctx); err != nil {
			t.Fatal(err)
		}
		b.want("up", b.hosts.up(), "")
	})
}

func TestCallsEndWithTheEngine(t *testing.T) {
	run(t, func(b *bench) {
		b.settle()
		b.stop()
		if _, err := b.e.Status(b.t.Context()); err != engine.ErrStopped { //nolint:errorlint // exactly this
			t.Errorf("error %v", err)
		}
	})
}

// A host falls silent while a node starts there. Nothing is made of that, for however long; when it is heard of again, the node has as long as
// any other to become ready.
func TestHostFallsSilentInARollout(t *testing.T) {
	for _, becomesReady := range []bool{true, false} {
		run(t, func(b *bench) {
			b.see(map[string]string{"dmz": six})
			b.hosts.took()
			good := b.status("dmz").Revision.Running
			b.hosts.behave(func() {
				b.hosts.fails = func(*desired.Resource) string {
					b.hosts.silent = true
					go b.hosts.set("dmz/worker-3", func(r *observed.Resource) { r.State, r.Healthy = observed.Pending, false })
					return ""
				}
			})
			b.see(map[string]string{"dmz": six + "=x"})
			time.Sleep(time.Hour)
			b.want("orders", b.hosts.took(), "restart dmz/worker-3")
			s := b.status("dmz")
			if s.Quarantined != "" || s.Rollout == nil || s.Revision.Wanted == good || s.Revision.Running != good {
				t.Errorf("after an hour of silence: %+v", s)
			}
			wanted := s.Revision.Wanted
			b.hosts.behave(func() { b.hosts.silent, b.hosts.fails = false, nil; b.hosts.touch() })
			time.Sleep(45 * time.Second)
			b.want("orders", b.hosts.took(), "")
			if becomesReady {
				b.hosts.set("dmz/worker-3", func(r *observed.Resource) { r.State, r.Healthy, r.Since = observed.Running, true, time.Now() })
			}
			b.settle()
			s = b.status("dmz")
			if becomesReady && (!s.Synced || s.Quarantined != "" || s.Revision.Running != wanted) {
				t.Errorf("it became ready: %+v", s)
			}
			if !becomesReady && s.Quarantined != wanted {
				t.Errorf("it did not become ready: %+v", s)
			}
		})
	}
}
