//go:build linux

package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

func TestStartStop(t *testing.T) {
	w := newWorld(t)
	r := worker(part("workers", desired.Cover, "w1"))
	w.do(order(desired.Start, r, ""))
	got := w.untilState(observed.Running)
	if !got.Healthy || got.PID == 0 || got.Incarnation != 1 || got.Told != r.ID || got.Started != r.ID || got.Version != "8.2.2" || !got.StandIn {
		t.Errorf("running: %+v", got)
	}
	if !slices.Equal(got.Parts.Get("interface"), []string{"eth0"}) || len(got.Outdated) > 0 {
		t.Errorf("parts %v, outdated %v", got.Parts, got.Outdated)
	}
	stderr, err := os.ReadFile(w.folder("dmz", "w1").stderr())
	if err != nil || !strings.Contains(string(stderr), "zeekrec: started pid ") || !strings.Contains(string(stderr), "incarnation 1\nlistening on") {
		t.Errorf("stderr %q, %v", stderr, err)
	}

	w.do(order(desired.Start, r, "")) // repeated
	w.do(order(desired.Start, r, r.ID))
	w.do(order(desired.Stop, r, r.ID))
	w.do(order(desired.Stop, r, r.ID)) // repeated
	w.untilGone()
	if process.Alive(process.Identity{PID: got.PID}) {
		t.Error("alive")
	}
	w.do(order(desired.Stop, r, r.ID))

	// The incarnation goes on where it was.
	w.do(order(desired.Start, r, ""))
	if again := w.untilState(observed.Running); again.Incarnation != 2 || again.Restarts != 0 {
		t.Errorf("started again: %+v", again)
	}
	if k := w.kinds(); len(k) > 0 {
		t.Errorf("events of mere orders: %v", k)
	}
}

func TestKilledProcessIsReplaced(t *testing.T) {
	w := newWorld(t)
	begun := time.Now()
	w.do(order(desired.Start, worker(), ""))
	was := w.untilState(observed.Running)
	limit := time.Second + 2*time.Since(begun) // a second, where nothing else keeps the machine busy
	begun = time.Now()
	killPID(t, was.PID)
	now := w.until("a new process", func(r observed.Resource) bool { return r.State == observed.Running && r.PID != was.PID })
	t.Logf("replaced within %s", time.Since(begun))
	if d := time.Since(begun); d > limit {
		t.Errorf("took %s", d)
	}
	if now.Incarnation != 2 || now.Restarts != 1 {
		t.Errorf("%+v", now)
	}
	if e := w.event("crashed"); e.Text != "killed by SIGKILL" || e.PID != was.PID || e.Resource != "dmz/w1" {
		t.Errorf("%+v", e)
	}
	if e := w.event("restarted"); e.PID != now.PID {
		t.Errorf("%+v", e)
	}
	if gens, _ := os.ReadDir(filepath.Join(w.state, "clusters", "dmz", "gen")); len(gens) != 1 {
		t.Errorf("generated files: %d folders", len(gens))
	}
}

func TestCrashLoopBecomesFailed(t *testing.T) {
	w := newWorld(t)
	r := worker(fake("port"))
	w.do(order(desired.Start, r, ""))
	got := w.untilState(observed.Failed)
	want := "5 times within 1m0s, lastly: exited with status 1: fatal error: Failed to setup Prometheus endpoint"
	if !strings.HasPrefix(got.Reason, want) || got.PID != 0 || got.Healthy || got.Incarnation != 5 {
		t.Errorf("%+v", got)
	}
	if e := w.event("failed"); !strings.HasPrefix(e.Text, want) {
		t.Errorf("%+v", e)
	}
	// An order is a reason to try again.
	w.do(order(desired.Restart, r, r.ID))
	w.until("tried again", func(r observed.Resource) bool { return r.Incarnation > 5 })
}

func TestPermanentErrorFailsAtOnce(t *testing.T) {
	for mode, want := range map[string]string{
		"syntax":    `exited with status 1: error in /x/local.zeek, line 3: syntax error, at or near "}"`,
		"interface": "exited with status 1: fatal error: problem with interface eth9 (eth9: No such device exists (pcap_activate))",
	} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t)
			bad := worker(fake(mode))
			w.do(order(desired.Start, bad, ""))
			got := w.untilState(observed.Failed)
			if got.Reason != want || got.Incarnation != 1 {
				t.Errorf("%+v", got)
			}
			if e := w.event("crashed"); len(e.Tail) == 0 || !strings.Contains(want, e.Tail[0]) {
				t.Errorf("tail %q", e.Tail)
			}
			// Told something else, it starts.
			w.do(order(desired.Restart, worker(), bad.ID))
			w.untilState(observed.Running)
		})
	}
}

func TestFailedIsTriedAgainWhenItsInterfaceAppears(t *testing.T) {
	w := newWorld(t)
	w.links.set()
	r := worker(fake("interface"))
	w.do(order(desired.Start, r, ""))
	if got := w.untilState(observed.Failed); got.Incarnation != 1 {
		t.Errorf("%+v", got)
	}
	w.links.set(up("eth0", 7))
	w.until("a second try", func(r observed.Resource) bool { return r.Incarnation == 2 && r.State == observed.Failed })
}

func TestTermIgnoredIsKilled(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Timings.StopDeadline = 100 * time.Millisecond })
	r := worker(fake("ignore-term"))
	w.do(order(desired.Start, r, ""))
	w.untilState(observed.Running)
	w.do(order(desired.Stop, r, r.ID))
	w.untilGone()
	if e := w.event("stop-timeout"); !strings.Contains(e.Text, "did not end within 100ms of TERM: killed") {
		t.Errorf("%+v", e)
	}
}

func TestNotReadyInTimeIsAFailedStart(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Timings.StartDeadline = 100 * time.Millisecond; c.Timings.CrashLimit = 2 })
	r := worker(fake("hang"))
	w.do(order(desired.Start, r, ""))
	got := w.untilState(observed.Failed)
	if !strings.Contains(got.Reason, "2 times within 1m0s, lastly: not ready within 100ms") {
		t.Errorf("%+v", got)
	}
	w.event("start-timeout")
}

func TestMissingProgramIsSaid(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.DefaultZeek = "/nonexistent/zeek" })
	w.do(order(desired.Start, worker(), ""))
	got := w.untilState(observed.Failed)
	if !strings.Contains(got.Reason, "/nonexistent/zeek") {
		t.Errorf("%+v", got)
	}
	w.eventually("reported", func() bool { return w.Report().Host.Zeek[""].Err != "" })
}

func TestRestart(t *testing.T) {
	w := newWorld(t)
	one := worker()
	w.do(order(desired.Start, one, ""))
	was := w.untilState(observed.Running)

	two := worker(fake("whatever"))
	o := order(desired.Restart, two, one.ID)
	o.Incarnation = was.Incarnation
	w.do(o)
	w.do(o) // repeated while under way
	now := w.until("restarted", func(r observed.Resource) bool { return r.State == observed.Running && r.Started == two.ID })
	if now.Incarnation != 2 || now.Restarts != 0 || now.PID == was.PID {
		t.Errorf("%+v", now)
	}
	w.do(o) // repeated, late
	if again, _ := w.get("dmz/w1"); again.PID != now.PID || again.State != observed.Running {
		t.Errorf("done twice: %+v", again)
	}
	w.refused(order(desired.Restart, one, "another"), "was told "+two.ID)

	// A crash between the plan and the order changes nothing about it.
	killPID(t, now.PID)
	w.until("replaced", func(r observed.Resource) bool { return r.Incarnation == 3 && r.State == observed.Running })
	o = order(desired.Restart, one, two.ID)
	o.Incarnation = 2
	w.do(o)
	w.until("restarted", func(r observed.Resource) bool {
		return r.Incarnation == 4 && r.State == observed.Running && r.Started == one.ID
	})
}

func TestUpdateInPlace(t *testing.T) {
	w := newWorld(t)
	one := worker(part("workers", desired.Cover, "w1", "w2"), part("layout", desired.Live, "a"))
	w.do(order(desired.Start, one, ""))
	was := w.untilState(observed.Running)
	two := worker(part("workers", desired.Cover, "w1", "w3"), part("nice", desired.Live, "4"), part("cpus", desired.Live, "0"),
		func(r *desired.Resource) { r.Node.Nice, r.Node.CPUs = 4, []int{0} })
	w.do(order(desired.Update, two, one.ID))
	w.do(order(desired.Update, two, one.ID)) // repeated
	check := func(now observed.Resource) {
		t.Helper()
		if now.PID != was.PID || now.Told != two.ID || now.Started != one.ID || now.Incarnation != 1 {
			t.Errorf("%+v", now)
		}
		want := map[string][]string{"interface": {"eth0"}, "workers": {"w1", "w2", "w3"}, "nice": {"4"}, "cpus": {"0"}}
		for f, v := range want {
			if !slices.Equal(now.Parts.Get(f), v) {
				t.Errorf("part %s: %q, want %q", f, now.Parts.Get(f), v)
			}
		}
		if len(now.Parts) != len(want) {
			t.Errorf("parts %v", now.Parts)
		}
	}
	now, _ := w.get("dmz/w1")
	check(now)
	if n, err := syscall.Getpriority(syscall.PRIO_PROCESS, was.PID); err != nil || 20-n != 4 {
		t.Errorf("nice %d, %v", 20-n, err)
	}
	// It is known after a restart of the agent too.
	w.stop()
	w.start()
	now, _ = w.get("dmz/w1")
	check(now)
	w.refused(order(desired.Update, worker(fake("x")), two.ID), "another env")
	// Back to the defaults: what covers stays known, what is live is as it is told.
	three := worker(part("workers", desired.Cover, "w1"))
	w.do(order(desired.Update, three, two.ID))
	now, _ = w.get("dmz/w1")
	if len(now.Parts) != 2 || !slices.Equal(now.Parts.Get("workers"), []string{"w1", "w2", "w3"}) || now.PID != was.PID {
		t.Errorf("%+v", now)
	}
	n, err := syscall.Getpriority(syscall.PRIO_PROCESS, was.PID)
	if os.Geteuid() != 0 { // what cannot be done is said, and the node is none the worse for it
		if !now.Healthy || !strings.Contains(now.Reason, "cannot set nice 0") {
			t.Errorf("%+v", now)
		}
	} else if err != nil || 20-n != 0 {
		t.Errorf("nice %d, %v", 20-n, err)
	}
	w.refused(order(desired.Update, one, one.ID), "was told")
}

func TestHold(t *testing.T) {
	w := newWorld(t)
	r := worker()
	w.do(order(desired.Start, r, ""))
	w.untilState(observed.Running)
	o := order(desired.Stop, r, r.ID)
	o.Hold = "maintenance"
	w.do(o)
	w.do(o)
	got := w.untilState(observed.Stopped)
	if got.Hold != "maintenance" || got.Told != r.ID || got.Healthy {
		t.Errorf("%+v", got)
	}
	w.refused(order(desired.Restart, r, r.ID), "held stopped: maintenance")
	w.stop()
	w.start()
	if got := w.untilState(observed.Stopped); got.Hold != "maintenance" {
		t.Errorf("after a restart of the agent: %+v", got)
	}
	w.do(order(desired.Start, r, r.ID))
	if got := w.untilState(observed.Running); got.Hold != "" || got.Incarnation != 2 {
		t.Errorf("%+v", got)
	}
}

func TestSuspendedHealing(t *testing.T) {
	w := newWorld(t)
	one, off := worker(), worker(part("heal", desired.Live, "no"))
	w.do(order(desired.Start, one, ""))
	was := w.untilState(observed.Running)
	w.do(order(desired.Update, off, one.ID))
	killPID(t, was.PID)
	got := w.untilState(observed.Crashed)
	if got.Reason != "healing is suspended: killed by SIGKILL" {
		t.Errorf("%+v", got)
	}
	w.do(order(desired.Update, one, off.ID))
	w.untilState(observed.Running)
}

// An order that ends the suspension of healing and says itself what is to become of the process is all that
// happens: it is not healed as well.
func TestOrdersForWhatCrashedUnhealed(t *testing.T) {
	for name, tt := range map[string]struct {
		verb desired.Verb
		incs int // processes that there were in the end
	}{
		"removed": {desired.Stop, 1},
		"renewed": {desired.Restart, 2},
		"started": {desired.Start, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			off, on := worker(part("heal", desired.Live, "no")), worker()
			w.do(order(desired.Start, off, ""))
			killPID(t, w.untilState(observed.Running).PID)
			w.untilState(observed.Crashed)
			w.do(order(tt.verb, on, off.ID))
			if tt.verb == desired.Stop {
				w.untilGone()
			} else {
				w.untilState(observed.Running)
			}
			if kinds := w.kinds(); !slices.Equal(kinds, []string{"crashed"}) {
				t.Errorf("events %v, want the crash alone", kinds)
			}
			last, err := readJSON[runningRecord](w.folder("dmz", "w1").running())
			if err != nil {
				t.Fatal(err)
			}
			if last.Incarnation != tt.incs || last.Restarts != 0 {
				t.Errorf("incarnation %d, restarts %d; want %d and none", last.Incarnation, last.Restarts, tt.incs)
			}
		})
	}
}

func TestRefusedAndImpossibleOrders(t *testing.T) {
	w := newWorld(t)
	r := worker()
	w.refused(order(desired.Start, r, "something"), "was told nothing, and the order expects something")
	w.refused(order(desired.Update, r, "something"), "was told nothing")
	w.refused(order(desired.Stop, worker(func(r *desired.Resource) { r.Instance = "agent-b" }), ""), "belongs to instance agent-b")
	late := order(desired.Start, r, "")
	late.Deadline = time.Now().Add(-time.Second)
	w.refused(late, "too late")
	for _, name := range []string{"", ".", "..", "a/b", "../../etc", ".hidden", "a\x00b"} {
		bad := worker(func(r *desired.Resource) { r.Name = name })
		if err := w.Do(t.Context(), order(desired.Start, bad, "")); err == nil || !strings.Contains(err.Error(), "no name for a folder") {
			t.Errorf("%q: %v", name, err)
		}
		bad = worker(func(r *desired.Resource) { r.Cluster = name })
		if err := w.Do(t.Context(), order(desired.Start, bad, "")); err == nil || !strings.Contains(err.Error(), "no name for a folder") {
			t.Errorf("cluster %q: %v", name, err)
		}
	}
	for _, typ := range []desired.Type{desired.TypeBroker, desired.TypeArchiver} {
		other := r
		other.Type = typ
		if err := w.Do(t.Context(), order(desired.Start, other, "")); err == nil || !strings.Contains(err.Error(), "does not know how to run") {
			t.Errorf("a %s: %v", typ, err)
		}
	}
	if rs := w.Report().Resources; len(rs) > 0 {
		t.Errorf("resources %+v", rs)
	}
}

func TestInterfaceWatch(t *testing.T) {
	w := newWorld(t)
	w.do(order(desired.Start, worker(func(r *desired.Resource) { r.Node.Interface = "af_packet::eth0" }), ""))
	was := w.untilState(observed.Running)

	down := up("eth0", 2)
	down.Flags = 0
	w.links.set(up("lo", 1), down)
	w.until("down", func(r observed.Resource) bool { return !r.Healthy && r.Reason == "interface eth0 is down" })
	w.links.set(up("lo", 1), up("eth0", 2))
	if r := w.until("up", func(r observed.Resource) bool { return r.Healthy }); r.PID != was.PID {
		t.Error("restarted because the interface was down for a moment")
	}

	w.links.set(up("lo", 1))
	r := w.until("gone", func(r observed.Resource) bool { return !r.Healthy && r.Reason == "interface eth0 is gone" })
	if r.PID != was.PID || r.State != observed.Running {
		t.Errorf("%+v", r)
	}
	down.Index = 3
	w.links.set(up("lo", 1), down)
	w.links.set(up("lo", 1), up("eth0", 3))
	r = w.until("restarted", func(r observed.Resource) bool { return r.Healthy && r.PID != was.PID })
	if r.Incarnation != 2 || r.Restarts != 1 {
		t.Errorf("%+v", r)
	}
	w.event("interface-gone")
	w.event("interface-back")
	// While the agent is away, too.
	w.stop()
	w.links.set(up("eth0", 4))
	w.start()
	w.until("restarted", func(n observed.Resource) bool { return n.Healthy && n.PID != r.PID && n.Incarnation == 3 })
}

func TestOutdated(t *testing.T) {
	version := make(chan string, 1)
	version <- "8.2.1"
	w := newWorld(t, func(c *Config) {
		c.AskZeek = func(_ context.Context, path string) desired.ZeekFacts {
			v := <-version
			version <- v
			return desired.ZeekFacts{Path: path, Version: v, ZeekPath: "/usr/share/zeek"}
		}
	})
	r := worker()
	w.do(order(desired.Start, r, ""))
	was := w.untilState(observed.Running)
	if len(was.Outdated) > 0 || was.Version != "8.2.1" {
		t.Errorf("%+v", was)
	}
	// Another Zeek at the same path, and a zeekrec that renders otherwise.
	w.stop()
	f := w.folder("dmz", "w1")
	last, err := readJSON[runningRecord](f.running())
	if err != nil {
		t.Fatal(err)
	}
	last.Command.Hash, last.Zeek.Size = "0123456789abcdef", last.Zeek.Size+1
	if err := writeJSON(f.running(), last); err != nil {
		t.Fatal(err)
	}
	<-version
	version <- "8.2.2"
	w.start()
	want := []string{"Zeek 8.2.1 -> 8.2.2", "generated files"}
	now := w.until("outdated", func(r observed.Resource) bool { return slices.Equal(r.Outdated, want) })
	if now.PID != was.PID || !now.Healthy {
		t.Errorf("%+v", now)
	}
	w.do(order(desired.Restart, r, r.ID))
	w.until("no longer outdated", func(r observed.Resource) bool {
		return r.State == observed.Running && r.Incarnation == 2 && len(r.Outdated) == 0 && r.Version == "8.2.2"
	})
}

func TestOutputsAreBounded(t *testing.T) {
	w := newWorld(t)
	w.do(order(desired.Start, worker(), ""))
	w.untilState(observed.Running)
	_, stderr, err := w.Outputs("dmz", "w1")
	if err != nil {
		t.Fatal(err)
	}
	if err := process.AppendLine(stderr, strings.Repeat("x", outputLimit)); err != nil {
		t.Fatal(err)
	}
	w.eventually("rotated", func() bool {
		now, err1 := os.Stat(stderr)
		old, err2 := os.Stat(stderr + ".1")
		return err1 == nil && err2 == nil && now.Size() == 0 && old.Size() > outputLimit
	})
}

func TestReportBeforeReadySaysSo(t *testing.T) {
	a, err := New(Config{StateDir: t.TempDir(), Instance: "agent-a", Launcher: launcher})
	if err != nil {
		t.Fatal(err)
	}
	if r := a.Report(); !r.At.IsZero() || r.Host.CPUs == 0 {
		t.Errorf("%+v", r)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("no error without a state folder")
	}
}

func TestChangesAreAnnounced(t *testing.T) {
	w := newWorld(t)
	r := worker()
	w.do(order(desired.Start, r, ""))
	w.untilState(observed.Running)
	w.do(order(desired.Stop, r, r.ID))
	for {
		select {
		case <-w.Changes():
			if _, ok := w.get("dmz/w1"); !ok {
				return
			}
		case <-time.After(time.Minute):
			t.Fatal("the last change was not announced")
		}
	}
}

// The sign of life is the main loop's own: it stays away when the loop hangs.
func TestAliveIsTheMainLoops(t *testing.T) {
	w := newWorld(t)
	if err := w.Alive(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock() // what the loop needs at its next tick
	w.eventually("a loop that hangs gives no sign of life", func() bool {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("in vain"))
		defer cancel()
		err := w.Alive(ctx)
		return err != nil && err.Error() == "cannot reach the agent's main loop: in vain"
	})
	w.mu.Unlock()
	if err := w.Alive(t.Context()); err != nil {
		t.Errorf("the loop goes on, and yet: %v", err)
	}
}
