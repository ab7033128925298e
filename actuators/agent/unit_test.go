//go:build linux

package agent

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zeekrec/zeekrec/actuators/process"
)

// idleUnit is a unit of an agent that does not run.
func idleUnit(t *testing.T) *unit {
	t.Helper()
	a, err := New(Config{
		StateDir: t.TempDir(), Instance: "agent-a", Launcher: launcher, AskZeek: askFake,
		Timings: Timings{Leftovers: 10 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	return a.newUnit(a.folder("dmz", "w1"))
}

// other runs a program that is no child of the agent's making.
func other(t *testing.T, name string, args ...string) process.Identity {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.StartProcess(path, append([]string{name}, args...), &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Kill()
		_, _ = p.Wait() // an error where it was reaped through a handle
	})
	id, err := process.Identify(p.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A process that was found by its mark, and ended before its arguments could be read.
func TestEndOfAProcessWithoutAKnownCommand(t *testing.T) {
	u := idleUnit(t)
	id := other(t, "sleep", "60")
	u.last = &runningRecord{Process: id}
	if !u.open(id) {
		t.Fatal("cannot open")
	}
	u.m.step(orphaned, nil, u.now())
	if err := u.proc.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-u.proc.Done()
	u.over(t.Context())
	if u.proc != nil || u.m.phase != stopped {
		t.Errorf("phase %s, process %v", u.m.phase, u.proc)
	}
	if all := u.agent.events.all(); len(all) != 1 || all[0].Kind != "crashed" {
		t.Errorf("events %+v", all)
	}
}

func TestReapLastHasADeadline(t *testing.T) {
	u := idleUnit(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	id := other(t, exe, "headless")
	for deadline := time.Now().Add(time.Minute); process.Alive(id); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("its first thread does not end")
		}
	}
	u.last = &runningRecord{Process: id}
	returned := make(chan struct{})
	go func() { u.reapLast(t.Context()); close(returned) }()
	select {
	case <-returned:
	case <-time.After(time.Minute):
		t.Fatal("it waits for a process that does not go")
	}
}
