package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A service is on record before it is executed, each time that it is started, and has all that a child would have.
func TestServiceRecordsEachStart(t *testing.T) {
	s := spec(t, "state", "wait")
	s.CPUs, s.Nice, s.Limits.OpenFiles = []int{0}, 3, 512
	dir := t.TempDir()
	file, record := filepath.Join(dir, "service.json"), filepath.Join(dir, "started.json")
	if err := WriteService(file, record, s); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("what it is started from has mode %v, %v", info.Mode(), err)
	}
	if _, ok := ReadStarted(record); ok {
		t.Error("a start is on record before there was one")
	}
	for count := 1; count <= 2; count++ {
		cmd := exec.Command("/proc/self/exe", "exec-service", file)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		got := output(t, s, "ready")
		if want := fmt.Sprintf("nofile=512 cpus=1 nice=3 umask=27 wd=%s", s.Dir); !strings.Contains(got, want) {
			t.Errorf("the program sees\n%s, want\n%s", got, want)
		}
		started, ok := ReadStarted(record)
		if !ok || started.Process.PID != cmd.Process.Pid || started.Count != count || !Alive(started.Process) {
			t.Errorf("start %d is recorded as %+v, %t", count, started, ok)
		}
		if held, err := LockHeld(s.LockFile); err != nil || !held {
			t.Errorf("the lock is held: %t, %v", held, err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if err := os.Truncate(s.Stdout, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteService(file, record, s); err != nil {
		t.Fatal(err)
	}
	if _, ok := ReadStarted(record); ok {
		t.Error("a record of before outlives what it was started from")
	}
}

// What cannot be executed is on nobody's record, and says why where people look.
func TestServiceThatCannotStart(t *testing.T) {
	s := spec(t, "wait")
	s.Argv = []string{"/nowhere/zeek"}
	dir := t.TempDir()
	file, record := filepath.Join(dir, "service.json"), filepath.Join(dir, "started.json")
	if err := WriteService(file, record, s); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "exec-service", file)
	begun := time.Now()
	if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("it ended with %v", err)
	}
	if _, ok := ReadStarted(record); ok {
		t.Error("it is on record")
	}
	b, err := os.ReadFile(s.Stderr)
	if err != nil || !strings.Contains(string(b), "error: cannot start: cannot execute /nowhere/zeek: no such file or directory") {
		t.Errorf("after %s it says %q, %v", time.Since(begun), b, err)
	}
}

func FuzzReadStarted(f *testing.F) {
	f.Add([]byte(`{"process":{"pid":7,"start_ticks":3,"boot_id":"x"},"count":2}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "started.json")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, ok := ReadStarted(path); ok && s.Process.PID == 0 {
			t.Error("a start of no process")
		}
	})
}
