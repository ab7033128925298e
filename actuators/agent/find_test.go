//go:build linux

package agent

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
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

func TestAgentRestartAdopts(t *testing.T) {
	w := newWorld(t)
	r := worker()
	w.do(order(desired.Start, r, ""))
	was := w.untilState(observed.Running)
	w.stop()
	if !process.Alive(mustIdentify(t, was.PID)) {
		t.Fatal("the process has ended with the agent")
	}
	if err := w.Do(t.Context(), order(desired.Stop, r, r.ID)); err == nil || !strings.Contains(err.Error(), "the agent has ended") {
		t.Errorf("an order after the end: %v", err)
	}
	w.start()
	// At once, not only after a while.
	now, ok := w.get("dmz/w1")
	if !ok || now.PID != was.PID || now.State != observed.Running || now.Incarnation != was.Incarnation || !now.Healthy {
		t.Errorf("after restart %+v", now)
	}
	if !now.StartedAt.Equal(was.StartedAt) {
		t.Errorf("started at %s, was %s", now.StartedAt, was.StartedAt)
	}
	w.event("adopted")
	// It is supervised as before.
	killPID(t, was.PID)
	w.until("replaced", func(r observed.Resource) bool { return r.State == observed.Running && r.PID != was.PID })
	w.do(order(desired.Stop, r, r.ID))
	w.untilGone()
}

func mustIdentify(t *testing.T, pid int) process.Identity {
	t.Helper()
	id, err := process.Identify(pid)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestCrashWhileAwayIsReplaced(t *testing.T) {
	w := newWorld(t)
	w.do(order(desired.Start, worker(), ""))
	was := w.untilState(observed.Running)
	w.stop()
	killPID(t, was.PID)
	w.start()
	now := w.until("replaced", func(r observed.Resource) bool { return r.State == observed.Running })
	if now.PID == was.PID || now.Incarnation != 2 {
		t.Errorf("%+v", now)
	}
	if e := w.event("lost"); !strings.Contains(e.Text, "ended while zeekrec was away") {
		t.Errorf("%+v", e)
	}
}

// The record speaks of another process (it could not be renewed): the lock and the mark find the right one.
func TestAdoptionByLockAndMark(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, f folder){
		"stale": func(t *testing.T, f folder) {
			l, err := readJSON[runningRecord](f.running())
			if err != nil {
				t.Fatal(err)
			}
			l.Process.PID, l.Process.StartTicks = 1, 1
			if err := writeJSON(f.running(), l); err != nil {
				t.Fatal(err)
			}
		},
		"missing": func(t *testing.T, f folder) {
			if err := os.Remove(f.running()); err != nil {
				t.Fatal(err)
			}
		},
		"damaged": func(t *testing.T, f folder) {
			if err := os.WriteFile(f.running(), []byte(`{"incar`), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r := worker()
			w.do(order(desired.Start, r, ""))
			was := w.untilState(observed.Running)
			w.stop()
			spoil(t, w.folder("dmz", "w1"))
			w.start()
			now, ok := w.get("dmz/w1")
			if !ok || now.PID != was.PID || now.State != observed.Running || now.Started != r.ID {
				t.Errorf("%+v", now)
			}
			if name == "stale" && now.Incarnation != 2 {
				t.Errorf("incarnation %d", now.Incarnation)
			}
		})
	}
}

func TestToldChangedWhileAway(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(t *testing.T, f folder)
		want   func(w *world, pid int)
	}{
		"orphan": {
			func(t *testing.T, f folder) {
				if err := os.Remove(f.told()); err != nil {
					t.Fatal(err)
				}
			},
			func(w *world, pid int) {
				r, _ := w.get("dmz/w1")
				if r.PID != pid || r.Told != "" || r.State != observed.Running || !strings.HasPrefix(r.Reason, "orphaned") {
					w.t.Errorf("%+v", r)
				}
				// It is not started again.
				killPID(w.t, pid)
				w.untilGone()
				if e := w.event("crashed"); !strings.Contains(e.Text, "not started again") {
					w.t.Errorf("%+v", e)
				}
			},
		},
		"unreadable": {
			func(t *testing.T, f folder) {
				if err := os.WriteFile(f.told(), []byte("{"), 0o600); err != nil {
					t.Fatal(err)
				}
			},
			func(w *world, pid int) {
				r, _ := w.get("dmz/w1")
				if r.PID != pid || r.State != observed.Running || !strings.Contains(r.Reason, "cannot be read") {
					w.t.Errorf("%+v", r)
				}
				// Told again, all is well, and nothing was disturbed.
				w.do(order(desired.Update, worker(), ""))
				if r, _ = w.get("dmz/w1"); r.PID != pid || r.Reason != "" || r.Told == "" {
					w.t.Errorf("%+v", r)
				}
			},
		},
		"hold": {
			func(t *testing.T, f folder) {
				told, err := readJSON[toldRecord](f.told())
				if err != nil {
					t.Fatal(err)
				}
				told.Hold = "maintenance"
				if err := writeJSON(f.told(), told); err != nil {
					t.Fatal(err)
				}
			},
			func(w *world, _ int) {
				r := w.untilState(observed.Stopped)
				if r.Hold != "maintenance" || r.Reason != "held: maintenance" {
					w.t.Errorf("%+v", r)
				}
			},
		},
		"another spec": {
			func(t *testing.T, f folder) {
				told, err := readJSON[toldRecord](f.told())
				if err != nil {
					t.Fatal(err)
				}
				told.Resource = worker(fake("ignore-term"))
				if err := writeJSON(f.told(), told); err != nil {
					t.Fatal(err)
				}
			},
			func(w *world, pid int) {
				// Only running speaks of the process; the restart is the reconciler's to plan.
				r, _ := w.get("dmz/w1")
				if r.PID != pid || r.Told == r.Started || r.State != observed.Running {
					w.t.Errorf("%+v", r)
				}
			},
		},
		"an update that was recorded and not applied": {
			func(t *testing.T, f folder) {
				told, err := readJSON[toldRecord](f.told())
				if err != nil {
					t.Fatal(err)
				}
				told.Resource = worker(part("data", desired.Live, "newer"))
				if err := writeJSON(f.told(), told); err != nil {
					t.Fatal(err)
				}
			},
			func(w *world, pid int) {
				// The order is not carried out twice, so this is the last chance.
				r := w.until("the update is applied", func(r observed.Resource) bool { return slices.Equal(r.Parts.Get("data"), []string{"newer"}) })
				if r.PID != pid || r.Incarnation != 1 {
					w.t.Errorf("%+v", r)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.do(order(desired.Start, worker(part("data", desired.Live, "older")), ""))
			was := w.untilState(observed.Running)
			w.stop()
			tt.change(t, w.folder("dmz", "w1"))
			w.start()
			tt.want(w, was.PID)
		})
	}
}

// The agent is killed when the start is on disk and nothing was executed yet.
func TestAgentKilledBeforeTheGate(t *testing.T) {
	w := newWorld(t)
	w.stop()
	r := worker()
	f := w.folder("dmz", "w1")
	if err := os.MkdirAll(string(f), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeJSON(f.told(), &toldRecord{Resource: r}); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command(exe, "agent", w.state, w.zeek)
	other.Stderr = os.Stderr
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "recorded\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if err := other.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait()
	last, err := readJSON[runningRecord](f.running())
	if err != nil || last.Process.PID == 0 {
		t.Fatalf("%+v, %v", last, err)
	}
	w.eventually("the launcher leaves", func() bool { return !process.Alive(last.Process) })
	if b, err := os.ReadFile(f.stderr()); err == nil && strings.Contains(string(b), "listening") {
		t.Errorf("it was executed: %s", b)
	}
	w.start()
	if got := w.untilState(observed.Running); got.Incarnation != 2 {
		t.Errorf("%+v", got)
	}
}

func TestASecondProcessIsNeverStarted(t *testing.T) {
	w := newWorld(t)
	r := worker()
	w.do(order(desired.Start, r, ""))
	was := w.untilState(observed.Running)
	w.stop()
	// All that zeekrec knows is lost, even the lock's file.
	if err := os.RemoveAll(filepath.Join(w.state, "clusters")); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.do(order(desired.Start, r, ""))
	got := w.untilState(observed.Failed)
	if !strings.Contains(got.Reason, "was started with the same -U") {
		t.Errorf("%+v", got)
	}
	if !process.Alive(mustIdentify(t, was.PID)) {
		t.Error("the first was ended")
	}
	w.until("shown", func(r observed.Resource) bool { return slices.Equal(r.Foreign, []int{was.PID}) })
	killPID(t, was.PID)
	w.scan(t.Context())
	w.until("no longer shown", func(r observed.Resource) bool { return len(r.Foreign) == 0 })
}

func TestFullDisk(t *testing.T) {
	w := newWorld(t)
	one := worker()
	w.do(order(desired.Start, one, ""))
	was := w.untilState(observed.Running)
	w.stop()
	full := make(chan bool, 1)
	full <- true
	isFull := func() bool { f := <-full; full <- f; return f }
	w.start(func(a *Agent) {
		a.write = func(path string, v any) error {
			if isFull() {
				return syscall.ENOSPC
			}
			return writeJSON(path, v)
		}
	})
	// Nothing new is begun, nothing is stopped.
	for _, o := range []desired.Order{order(desired.Restart, worker(fake("x")), one.ID), order(desired.Update, worker(part("nice", desired.Live, "1")), one.ID)} {
		if err := w.Do(t.Context(), o); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "so nothing is done") {
			t.Errorf("%s: %v", o.Verb, err)
		}
	}
	if r, _ := w.get("dmz/w1"); r.PID != was.PID || r.Told != one.ID || r.State != observed.Running {
		t.Errorf("%+v", r)
	}
	// Healing goes on.
	killPID(t, was.PID)
	now := w.until("replaced", func(r observed.Resource) bool { return r.State == observed.Running && r.PID != was.PID })
	// Its record is missing: found by lock and mark.
	w.stop()
	w.start()
	if r, _ := w.get("dmz/w1"); r.PID != now.PID || r.Incarnation != 2 {
		t.Errorf("%+v", r)
	}
	<-full
	full <- false
}

// The agent's end in the middle of a stop: it is done by the next one.
func TestStopGoesOnAfterARestartOfTheAgent(t *testing.T) {
	w := newWorld(t)
	r := worker(fake("ignore-term"))
	w.do(order(desired.Start, r, ""))
	was := w.untilState(observed.Running)
	o := order(desired.Stop, r, r.ID)
	o.Hold = "maintenance"
	w.do(o)
	w.stop()
	w.cfg.Timings.StopDeadline = 50 * time.Millisecond
	w.start()
	if got := w.untilState(observed.Stopped); got.Hold != "maintenance" || process.Alive(process.Identity{PID: was.PID}) {
		t.Errorf("%+v", got)
	}
}
