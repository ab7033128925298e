package engine_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

const six = "manager logger-1 proxy-1 worker-1 worker-2 worker-3"

func TestFirstRollout(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		b.want("orders", b.hosts.took(), "start dmz/logger-1, start dmz/manager, start dmz/proxy-1, start dmz/worker-1, start dmz/worker-2, start dmz/worker-3")
		s := b.status("dmz")
		if !s.Synced || !s.Healthy || s.Revision.Wanted != s.Revision.Running {
			t.Errorf("status %+v", s)
		}
		b.want("outcomes", b.journal.outcomes(), "Succeeded")
		b.settle()
		b.want("orders later", b.hosts.took(), "")
	})
}

func TestOnlyWhatAChangeNames(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		b.hosts.took()
		b.see(map[string]string{"dmz": "manager logger-1 proxy-1 worker-1 worker-2=x worker-3"})
		b.want("one env", b.hosts.took(), "restart dmz/worker-2")
		b.see(map[string]string{"dmz": "manager logger-1 proxy-1 worker-1 worker-2=x worker-3 #comment"})
		b.want("a comment", b.hosts.took(), "")
		if s := b.status("dmz"); !s.Synced || s.Revision.Running != s.Revision.Wanted {
			t.Errorf("after a comment: %+v", s)
		}
		b.want("outcomes", b.journal.outcomes(), "Succeeded Succeeded Succeeded")
	})
}

func TestRestartOfZeekrecChangesNothing(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		b.hosts.took()
		b.stop()
		b.start()
		b.settle()
		b.want("without a source", b.hosts.took(), "")
		b.see(map[string]string{"dmz": six})
		b.want("with it", b.hosts.took(), "")
		if s := b.status("dmz"); !s.Synced || !s.Healthy {
			t.Errorf("status %+v", s)
		}
	})
}

func TestBadRevisionIsRevertedAndQuarantined(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		b.hosts.took()
		b.hosts.mu.Lock()
		b.hosts.fails = func(r *desired.Resource) string {
			if r.Node.Env["E"] == "die" {
				return "exited with status 1"
			}
			return ""
		}
		b.hosts.mu.Unlock()
		b.see(map[string]string{"dmz": "manager logger-1 proxy-1 worker-1=die worker-2=die worker-3=die"})
		b.want("orders", b.hosts.took(), "restart dmz/worker-1, restart dmz/worker-1")
		s := b.status("dmz")
		if s.Quarantined == "" || !s.Healthy || s.Synced || s.Revision.Running == s.Revision.Wanted || !strings.Contains(s.Reason, "exited with status 1") {
			t.Errorf("status %+v", s)
		}
		b.want("outcomes", b.journal.outcomes(), "Succeeded Failed RolledBack")

		// It is not tried again by itself, nor by a restart of zeekrec; new content lifts it.
		b.stop()
		b.start()
		b.see(map[string]string{"dmz": "manager logger-1 proxy-1 worker-1=die worker-2=die worker-3=die"})
		b.want("orders later", b.hosts.took(), "")
		b.see(map[string]string{"dmz": "manager logger-1 proxy-1 worker-1=ok worker-2 worker-3"})
		b.want("new content", b.hosts.took(), "restart dmz/worker-1")
		if s := b.status("dmz"); !s.Synced {
			t.Errorf("status %+v", s)
		}
	})
}

// TestFirstRolloutThatFails has nothing to go back to. It is called a failure, also by the zeekrec after this
// one, until what failed comes right.
func TestFirstRolloutThatFails(t *testing.T) {
	run(t, func(b *bench) {
		b.hosts.mu.Lock()
		b.hosts.fails = func(r *desired.Resource) string {
			if r.Name == "worker-2" {
				return "no permission to capture"
			}
			return ""
		}
		b.hosts.mu.Unlock()
		b.see(map[string]string{"dmz": six})
		b.hosts.set("dmz/worker-2", func(r *observed.Resource) { r.State = observed.Failed })
		b.settle()
		for range 2 {
			s := b.status("dmz")
			if s.Synced || s.Healthy || s.Revision.Running != "" || !strings.Contains(s.Reason, "no permission to capture") {
				t.Errorf("status %+v", s)
			}
			b.want("outcomes", b.journal.outcomes(), "Failed")
			b.stop()
			b.start()
			b.settle()
		}
		b.hosts.set("dmz/worker-2", func(r *observed.Resource) { r.State, r.Healthy, r.PID = observed.Running, true, 7 })
		b.settle()
		if s := b.status("dmz"); !s.Synced || !s.Healthy {
			t.Errorf("status %+v", s)
		}
		b.want("outcomes", b.journal.outcomes(), "Failed Succeeded")
	})
}

// TestRolloutGoesOnAfterARestart: zeekrec is killed when the first of three has just been restarted with what
// makes it fail. The next zeekrec neither goes on to the second, nor forgets to go back.
func TestRolloutGoesOnAfterARestart(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		b.hosts.took()
		b.hosts.mu.Lock()
		b.hosts.fails = func(r *desired.Resource) string {
			if r.Node.Env["E"] == "die" {
				return "exited with status 1"
			}
			return ""
		}
		b.hosts.mu.Unlock()
		bad := desired.ClusterFile{Name: "dmz", File: "dmz.cfg", Data: []byte("manager logger-1 proxy-1 worker-1=die worker-2=die worker-3=die")}
		b.obs <- engine.Observation{Snapshot: &desired.Snapshot{Files: []desired.ClusterFile{bad}}, CheckedAt: time.Now()}
		for b.hosts.count() == 0 {
			time.Sleep(time.Millisecond)
		}
		b.stop()
		b.want("before", b.hosts.took(), "restart dmz/worker-1")
		b.hosts.mu.Lock()
		b.hosts.res["dmz/worker-1"].State = observed.Failed // its agent has given up meanwhile
		b.hosts.mu.Unlock()
		b.start()
		b.settle()
		b.want("after", b.hosts.took(), "restart dmz/worker-1")
		if s := b.status("dmz"); s.Quarantined == "" || !s.Healthy {
			t.Errorf("status %+v", s)
		}
	})
}

func TestZeeksAreAskedFirst(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": "manager !zeek=/opt/other/bin/zeek"})
		b.want("orders", b.hosts.took(), "start dmz/manager")
		b.hosts.mu.Lock()
		defer b.hosts.mu.Unlock()
		if len(b.hosts.asked) != 1 || b.hosts.asked[0] != "/opt/other/bin/zeek" {
			t.Errorf("asked about %v", b.hosts.asked)
		}
	})
}

func TestRetryLiftsAQuarantine(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		bad := true
		b.hosts.mu.Lock()
		b.hosts.fails = func(r *desired.Resource) string {
			if bad && r.Node.Env["E"] != "" {
				return "boom"
			}
			return ""
		}
		b.hosts.mu.Unlock()
		b.see(map[string]string{"dmz": six + "=x"})
		b.hosts.took()
		b.hosts.mu.Lock()
		bad = false
		b.hosts.mu.Unlock()
		if err := b.e.Retry(b.ctx, "dmz", "ann"); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.want("orders", b.hosts.took(), "restart dmz/worker-3")
	})
}

func TestPreflightDisturbsNothing(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		b.hosts.took()
		b.hosts.mu.Lock()
		b.hosts.problems = func(r *desired.Resource) *observed.Problem {
			if r.Node.Env["E"] == "syntax" {
				return &observed.Problem{Permanent: true, Message: "syntax error, at or near \"}\""}
			}
			return nil
		}
		b.hosts.mu.Unlock()
		b.see(map[string]string{"dmz": "manager logger-1 proxy-1 worker-1=syntax worker-2 worker-3"})
		b.want("orders", b.hosts.took(), "")
		if s := b.status("dmz"); !strings.Contains(s.Reason, "syntax error, at or near") || !s.Healthy {
			t.Errorf("status %+v", s)
		}
	})
}

func TestPreflightWaitsForTheHost(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		b.hosts.took()
		down := true
		b.hosts.mu.Lock()
		b.hosts.problems = func(r *desired.Resource) *observed.Problem {
			if down && r.Node.Env["E"] == "x" {
				return &observed.Problem{Message: "interface eth9 does not exist"}
			}
			return nil
		}
		b.hosts.mu.Unlock()
		b.see(map[string]string{"dmz": six + "=x"})
		b.want("while it is down", b.hosts.took(), "")
		if s := b.status("dmz"); !strings.Contains(s.Reason, "eth9 does not exist") {
			t.Errorf("status %+v", s)
		}
		b.hosts.mu.Lock()
		down = false
		b.hosts.mu.Unlock()
		b.settle()
		b.want("when it is up", b.hosts.took(), "restart dmz/worker-3")
	})
}

func TestSourceFailureStopsNothing(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		b.hosts.took()
		b.obs <- engine.Observation{Err: errors.New("cannot read /etc/zeek/clusters: no such file or directory"), CheckedAt: time.Now()}
		b.settle()
		b.want("orders", b.hosts.took(), "")
		s, err := b.e.Status(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if s.Source.State != "error" || s.Source.Since == nil || time.Since(*s.Source.Since) < time.Minute || !strings.Contains(*s.Source.Error, "no such file") {
			t.Errorf("source %+v", s.Source)
		}
		b.see(map[string]string{"dmz": "!bad"})
		b.want("orders after a bad file", b.hosts.took(), "")
		if s := b.status("dmz"); s.Synced || s.Since == nil || !strings.Contains(s.Reason, "dmz.cfg:1: error: it is bad") || !s.Healthy {
			t.Errorf("status %+v", s)
		}
		b.see(map[string]string{"dmz": six})
		if s := b.status("dmz"); !s.Synced || s.Reason != "" {
			t.Errorf("status %+v", s)
		}
		b.want("orders in the end", b.hosts.took(), "")
	})
}

func TestRemovedFileWaitsForConfirmation(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six, "lab": "manager worker-1"})
		b.hosts.took()
		b.see(map[string]string{"lab": "manager worker-1"})
		b.want("orders", b.hosts.took(), "")
		s := b.status("dmz")
		if s.Waiting != engine.RemovedRevision || !s.Healthy {
			t.Errorf("status %+v", s)
		}
		if err := b.e.Confirm(b.ctx, "dmz", "another", "ann"); err == nil {
			t.Error("another revision was confirmed")
		}
		if err := b.e.Confirm(b.ctx, "dmz", "", "ann"); err != nil {
			t.Fatal(err)
		}
		b.settle()
		got := b.hosts.took()
		if !strings.HasPrefix(got, "stop dmz/worker-1, stop dmz/worker-2, stop dmz/worker-3, stop dmz/proxy-1, stop dmz/manager") || !strings.HasSuffix(got, "stop dmz/logger-1") {
			t.Errorf("orders %s", got)
		}
		if up := b.hosts.up(); strings.Contains(up, "proxy") {
			t.Errorf("still up: %s", up)
		}
		// A new file of that name is a new cluster.
		b.see(map[string]string{"dmz": six, "lab": "manager worker-1"})
		if !strings.HasPrefix(b.hosts.took(), "start dmz/logger-1") {
			t.Error("not started again")
		}
	})
}

func TestRemovedFileThatReturnsIsForgotten(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		b.hosts.took()
		b.see(map[string]string{})
		b.see(map[string]string{"dmz": six})
		if err := b.e.Confirm(b.ctx, "dmz", "", "ann"); err == nil {
			t.Error("a removal that is no longer wished for was confirmed")
		}
		b.settle()
		b.want("orders", b.hosts.took(), "")
		if s := b.status("dmz"); !s.Synced {
			t.Errorf("status %+v", s)
		}
	})
}

func TestPruneGuard(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six + " worker-4"})
		b.hosts.took()
		b.see(map[string]string{"dmz": "manager logger-1 proxy-1 worker-1"}) // 3 of 7
		b.want("held", b.hosts.took(), "")
		if s := b.status("dmz"); s.Waiting == "" || s.Synced {
			t.Errorf("status %+v", s)
		}
		b.see(map[string]string{"dmz": "manager logger-1 proxy-1 worker-1 worker-2 worker-4"})
		b.want("a smaller step passes", b.hosts.took(), "stop dmz/worker-3")
	})
}

func TestNewRevisionSupersedesARollout(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		b.hosts.took()
		s := &desired.Snapshot{URL: "/etc/zeek/clusters", Files: []desired.ClusterFile{{Name: "dmz", File: "dmz.cfg", Data: []byte("manager logger-1 proxy-1 worker-1=a worker-2=a worker-3=a")}}}
		b.obs <- engine.Observation{Snapshot: s, CheckedAt: time.Now()}
		time.Sleep(time.Second) // in the middle: the first worker is restarted and not yet stable
		b.see(map[string]string{"dmz": "manager logger-1 proxy-1 worker-1=a worker-2=b worker-3"})
		b.want("orders", b.hosts.took(), "restart dmz/worker-1, restart dmz/worker-2")
		b.want("outcomes", b.journal.outcomes(), "Succeeded Superseded Succeeded")
	})
}

func TestSuspension(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		b.hosts.took()
		if err := b.e.Suspend(b.ctx, "dmz", "forensics", "ann", time.Now().Add(10*time.Minute)); err != nil {
			t.Fatal(err)
		}
		b.see(map[string]string{"dmz": six + "=x"})
		b.want("suspended", b.hosts.took(), "")
		if s := b.status("dmz"); !s.Suspended || !strings.Contains(s.Reason, "forensics") {
			t.Errorf("status %+v", s)
		}
		time.Sleep(10 * time.Minute)
		b.settle()
		b.want("when its time is over", b.hosts.took(), "restart dmz/worker-3")
		if n := len(b.journal.kinds(engine.KindResumed)); n != 1 {
			t.Errorf("%d resumptions in the journal", n)
		}
		b.see(map[string]string{"dmz": "!suspend " + six})
		b.want("by the file", b.hosts.took(), "")
	})
}

func TestHoldsRestartsAndPins(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		b.hosts.took()
		first := b.status("dmz").Revision.Running

		if err := b.e.Hold(b.ctx, []string{"worker-2"}, "cable work", "ann", time.Time{}); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.want("hold", b.hosts.took(), "stop dmz/worker-2")
		if err := b.e.Release(b.ctx, []string{"worker-2"}, "ann"); err != nil {
			t.Fatal(err)
		}
		b.settle()
		if got := b.hosts.took(); got != "start dmz/worker-2" && got != "restart dmz/worker-2" {
			t.Errorf("release: %s", got)
		}

		keys, err := b.e.Restart(b.ctx, []string{"worker-1", "worker-3"}, false, "", "ann")
		if err != nil || len(keys) != 2 {
			t.Fatal(keys, err)
		}
		b.settle()
		b.want("restart", b.hosts.took(), "restart dmz/worker-1, restart dmz/worker-3")

		b.see(map[string]string{"dmz": six + "=x"})
		b.want("change", b.hosts.took(), "restart dmz/worker-3")
		if err := b.e.Rollback(b.ctx, "dmz", first[:6], "worse", "ann"); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.want("rollback", b.hosts.took(), "restart dmz/worker-3")
		if s := b.status("dmz"); s.Pinned != first || s.Synced || !strings.Contains(s.Reason, "ann") {
			t.Errorf("status %+v", s)
		}
		b.see(map[string]string{"dmz": six + "=y"})
		b.want("pinned", b.hosts.took(), "")
		if err := b.e.Unpin(b.ctx, "dmz", "ann"); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.want("unpinned", b.hosts.took(), "restart dmz/worker-3")

		if err := b.e.Rollback(b.ctx, "dmz", first[:6], "worse", "ann"); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.want("rollback again", b.hosts.took(), "restart dmz/worker-3")
		if err := b.e.Resume(b.ctx, "dmz", "ann"); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.want("resumed", b.hosts.took(), "restart dmz/worker-3")
		if err := b.e.Resume(b.ctx, "dmz", "ann"); err == nil {
			t.Error("resumed twice")
		}
	})
}

func TestNothingIsDeployedThatIsNotJournaled(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		b.hosts.took()
		b.journal.mu.Lock()
		b.journal.fail = errors.New("no space left on device")
		b.journal.mu.Unlock()
		b.see(map[string]string{"dmz": six + "=x"})
		b.want("on a full disk", b.hosts.took(), "")
		if s, _ := b.e.Status(b.ctx); !strings.Contains(s.Journal, "no space left") {
			t.Errorf("journal error %q", s.Journal)
		}
		b.journal.mu.Lock()
		b.journal.fail = nil
		b.journal.mu.Unlock()
		b.settle()
		b.want("when there is room again", b.hosts.took(), "restart dmz/worker-3")
	})
}

func TestSilentAgentIsLeftAlone(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		b.hosts.took()
		b.hosts.mu.Lock()
		b.hosts.silent = true
		b.hosts.mu.Unlock()
		b.see(map[string]string{"dmz": six + "=x worker-4"})
		b.want("orders", b.hosts.took(), "")
		for _, r := range b.status("dmz").Resources {
			if r.Name != "worker-4" && r.State != observed.Unknown {
				t.Errorf("%s is shown as %s", r.Name, r.State)
			}
		}
	})
}

func TestRefusedOrderIsPlannedAgain(t *testing.T) {
	run(t, func(b *bench) {
		refuse := 3
		b.hosts.mu.Lock()
		b.hosts.doErr = func(desired.Order) error {
			if refuse > 0 {
				refuse--
				return &observed.Refused{Why: "another incarnation"}
			}
			return nil
		}
		b.hosts.mu.Unlock()
		b.see(map[string]string{"dmz": "manager"})
		b.want("orders", b.hosts.took(), "start dmz/manager")
		b.want("outcomes", b.journal.outcomes(), "Succeeded")
	})
}

func TestDriftIsJournaledOnce(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		b.hosts.mu.Lock()
		b.hosts.events = append(b.hosts.events, observed.Event{Seq: 7, At: time.Now(), Resource: "dmz/worker-1", Kind: "crashed", Text: "killed by SIGKILL"})
		b.hosts.mu.Unlock()
		b.settle()
		b.stop()
		b.start()
		b.settle()
		if rs := b.journal.kinds(engine.KindDrift); len(rs) != 1 || rs[0].Drift.Text != "killed by SIGKILL" {
			t.Errorf("drift records: %+v", rs)
		}
	})
}

func TestOrphansAreLeftAlone(t *testing.T) {
	run(t, func(b *bench) {
		b.hosts.mu.Lock()
		b.hosts.res["dmz/stranger"] = &observed.Resource{Cluster: "dmz", Name: "stranger", Type: "node", Role: "worker", State: observed.Running, PID: 9, Told: "x", Healthy: true, Incarnation: 1}
		b.hosts.res["gone/worker"] = &observed.Resource{Cluster: "gone", Name: "worker", Type: "node", Role: "worker", State: observed.Running, PID: 8, Told: "x", Healthy: true, Incarnation: 1}
		b.hosts.mu.Unlock()
		b.see(map[string]string{"dmz": "manager"})
		b.want("orders", b.hosts.took(), "start dmz/manager")
		for _, c := range []string{"dmz", "gone"} {
			orphan := false
			for _, r := range b.status(c).Resources {
				orphan = orphan || r.Orphaned
			}
			if !orphan {
				t.Errorf("no orphan shown in %s: %+v", c, b.status(c))
			}
		}
	})
}

func TestStopAllGoesWorkersFirst(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": "manager logger-1 worker-1"})
		b.hosts.took()
		if err := b.e.StopAll(b.ctx); err != nil {
			t.Fatal(err)
		}
		b.want("orders", b.hosts.took(), "stop dmz/worker-1, stop dmz/manager, stop dmz/logger-1")
	})
}

// A person's stop of a cluster loses no log lines either.
func TestHoldGoesWorkersFirst(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": "manager logger-1 worker-1 worker-2"})
		b.hosts.took()
		if err := b.e.Hold(b.ctx, []string{"dmz"}, "cable work", "ann", time.Time{}); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.want("orders", b.hosts.took(), "stop dmz/worker-1, stop dmz/worker-2, stop dmz/manager, stop dmz/logger-1")
	})
}

// TestAnotherSource finds what runs to be orphaned, whatever it is told: no revision of it ever had that.
func TestAnotherSource(t *testing.T) {
	run(t, func(b *bench) {
		b.see(map[string]string{"dmz": six})
		b.hosts.took()
		b.stop()
		if err := b.journal.Append(b.t.Context(), &engine.Record{Kind: engine.KindBound, Source: "/elsewhere"}); err != nil {
			t.Fatal(err)
		}
		b.start()
		b.see(map[string]string{"lab": "manager"})
		b.want("orders", b.hosts.took(), "start lab/manager")
		for _, r := range b.status("dmz").Resources {
			if !r.Orphaned {
				t.Errorf("%s is not orphaned", r.Name)
			}
		}
		if err := b.e.StopAll(b.ctx); err != nil {
			t.Fatal(err)
		}
		b.want("stop all", b.hosts.took(), "stop lab/manager")
	})
}
