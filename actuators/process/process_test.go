//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func spec(t *testing.T, args ...string) Spec {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return Spec{
		Argv: append([]string{exe, "program"}, args...), Env: []string{"GORACE=atexit_sleep_ms=0"}, Dir: dir,
		Stdout: filepath.Join(dir, "stdout"), Stderr: filepath.Join(dir, "stderr"),
		LockFile: filepath.Join(dir, "node.lock"), Umask: 0o027,
	}
}

func start(t *testing.T, s Spec) *Handle {
	t.Helper()
	p, err := Prepare(t.Context(), launcher, s)
	if err != nil {
		t.Fatal(err)
	}
	h, err := p.Go(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = h.Signal(unix.SIGKILL)
		<-h.Done()
		h.Close()
	})
	return h
}

func output(t *testing.T, s Spec, want string) string {
	t.Helper()
	var got string
	eventually(t, "output "+want, func() bool {
		b, _ := os.ReadFile(s.Stdout)
		got = string(b)
		return strings.Contains(got, want)
	})
	return got
}

func ended(t *testing.T, h *Handle) Exit {
	t.Helper()
	select {
	case <-h.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("the process did not end")
	}
	return h.Exit()
}

func TestStartSetsWhatWasAsked(t *testing.T) {
	s := spec(t, "state", "wait")
	s.CPUs, s.Nice, s.Limits.OpenFiles = []int{0}, 3, 512
	h := start(t, s)
	got := output(t, s, "ready")
	want := fmt.Sprintf("nofile=512 cpus=1 nice=3 umask=27 wd=%s leader=true env=[\"GORACE=atexit_sleep_ms=0\"] uid=%d fds=%s\n",
		s.Dir, os.Getuid(), s.LockFile)
	if !strings.HasPrefix(got, want) {
		t.Errorf("the program sees\n%s, want\n%s", got, want)
	}
	if !Alive(h.Identity()) {
		t.Error("not alive")
	}
	if u, err := Stat(h.Identity().PID); err != nil || u.RSS == 0 || u.Threads < 2 {
		t.Errorf("Stat: %+v, %v", u, err)
	}
}

func TestExit(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		sig  unix.Signal
		want string
	}{
		{"status", []string{"exit=7"}, 0, "exited with status 7"},
		{"zero", []string{"exit=0"}, 0, "exited with status 0"},
		{"killed", []string{"wait"}, unix.SIGKILL, "killed by SIGKILL"},
		{"terminated", []string{"wait"}, unix.SIGTERM, "killed by SIGTERM"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := spec(t, tt.args...)
			h := start(t, s)
			if tt.sig != 0 {
				output(t, s, "ready")
				if err := h.Signal(tt.sig); err != nil {
					t.Fatal(err)
				}
			}
			if got := ended(t, h).String(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if Alive(h.Identity()) {
				t.Error("alive after its end")
			}
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", h.Identity().PID)); err == nil {
				t.Error("a zombie is left")
			}
			if err := h.Signal(unix.SIGTERM); !errors.Is(err, ErrGone) {
				t.Errorf("signal after its end: %v", err)
			}
		})
	}
	if got := (Exit{}).String(); got != "ended with an unknown status" {
		t.Error(got)
	}
}

func TestErrorsAreReportedInWords(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Spec)
		want   string
	}{
		{"no program", func(s *Spec) { s.Argv[0] = "/nonexistent/zeek" }, "cannot execute /nonexistent/zeek: no such file or directory"},
		{"no folder", func(s *Spec) { s.Dir += "/none" }, "cannot enter the working folder: chdir"},
		{"no user", func(s *Spec) { s.User = "nobody-of-that-name" }, `cannot become user "nobody-of-that-name"`},
		{"no command", func(s *Spec) { s.Argv = nil }, "no command"},
		{"output", func(s *Spec) { s.Stderr = s.Dir }, "cannot open output file"},
		{"lock", func(s *Spec) { s.LockFile = s.Dir + "/none/node.lock" }, "cannot open lock file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := spec(t, "exit=0")
			tt.change(&s)
			_, err := Prepare(t.Context(), launcher, s)
			if err == nil || !strings.HasPrefix(err.Error(), "cannot start: ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	t.Run("not a program", func(t *testing.T) {
		s := spec(t)
		s.Argv[0] = filepath.Join(s.Dir, "text")
		if err := os.WriteFile(s.Argv[0], []byte("\x7fELFbut not really"), 0o755); err != nil {
			t.Fatal(err)
		}
		p, err := Prepare(t.Context(), launcher, s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Go(t.Context()); err == nil || !strings.Contains(err.Error(), "exec format error") {
			t.Errorf("got %v", err)
		}
	})
}

func TestAnUnfulfilledWishIsAWarning(t *testing.T) {
	s := spec(t, "exit=0")
	s.CPUs = []int{1000}
	p, err := Prepare(t.Context(), launcher, s)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Abort()
	if len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], "cannot run on CPUs [1000]") {
		t.Errorf("warnings %q", p.Warnings)
	}
}

func TestLockKeepsASecondProcessOut(t *testing.T) {
	s := spec(t, "wait")
	h := start(t, s)
	_, err := Prepare(t.Context(), launcher, s)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint("process ", h.Identity().PID)) {
		t.Errorf("second start: %v", err)
	}
	if held, err := LockHeld(s.LockFile); err != nil || !held {
		t.Errorf("held %t, %v", held, err)
	}
	_ = h.Signal(unix.SIGKILL)
	ended(t, h)
	if held, err := LockHeld(s.LockFile); err != nil || held {
		t.Errorf("held after its end %t, %v", held, err)
	}
	if held, err := LockHeld(s.LockFile + "-none"); err != nil || held {
		t.Errorf("held though it does not exist: %t, %v", held, err)
	}
}

// The starter dies before it has recorded the process: nothing is executed.
func TestClosedGateExecutesNothing(t *testing.T) {
	s := spec(t, "say=executed")
	p, err := Prepare(t.Context(), launcher, s)
	if err != nil {
		t.Fatal(err)
	}
	id := p.Identity()
	if !Alive(id) {
		t.Error("not there at the gate")
	}
	if held, _ := LockHeld(s.LockFile); !held {
		t.Error("does not hold the lock at the gate")
	}
	p.Abort()
	if Alive(id) {
		t.Error("still there")
	}
	if b, _ := os.ReadFile(s.Stdout); len(b) > 0 {
		t.Errorf("output %q", b)
	}
	if held, _ := LockHeld(s.LockFile); held {
		t.Error("the lock is still held")
	}
}

// As above, but as it happens when the starter is killed: nobody signals the launcher, the pipe just ends.
func TestLauncherLeavesWhenTheStarterIsGone(t *testing.T) {
	s := spec(t, "say=executed")
	p, err := Prepare(t.Context(), launcher, s)
	if err != nil {
		t.Fatal(err)
	}
	closeAll(p.gate, p.report)
	if got := ended(t, p.handle).String(); got != "exited with status 0" {
		t.Error(got)
	}
	p.handle.Close()
	if b, _ := os.ReadFile(s.Stdout); len(b) > 0 {
		t.Errorf("output %q", b)
	}
}

// A launcher that KILL does not end at once, played by a pipe: it "ends" when the other side is closed.
func TestAbortHasADeadline(t *testing.T) {
	var fds, gate, report [2]int
	for _, p := range []*[2]int{&fds, &gate, &report} {
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
	}
	ends := os.NewFile(uintptr(fds[1]), "ends")
	defer closeAll(ends, os.NewFile(uintptr(gate[0]), "gate"), os.NewFile(uintptr(report[1]), "report"))
	h, err := watch(Identity{}, fds[0])
	if err != nil {
		t.Fatal(err)
	}
	p := &Prepared{handle: h, gate: os.NewFile(uintptr(gate[1]), "gate"), report: os.NewFile(uintptr(report[0]), "report")}
	returned := make(chan struct{})
	go func() { p.abort(time.Millisecond); close(returned) }()
	select {
	case <-returned:
	case <-time.After(5 * time.Second):
		t.Error("it waits for what does not end")
	}
	closeAll(ends)
	select { // and is watched until it has ended
	case <-h.Done():
	case <-time.After(5 * time.Second):
		t.Error("the watch was given up")
	}
}

func TestPrepareObeysContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := spec(t, "wait")
	p, err := Prepare(ctx, launcher, s)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	p.Abort()
	if _, err := Prepare(ctx, launcher, s); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	// A launcher that says nothing is given up when the context ends.
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Prepare(ctx, []string{"/bin/sleep", "60"}, s); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestOpenFindsAgainByIdentityAlone(t *testing.T) {
	s := spec(t, "wait")
	h := start(t, s)
	id := h.Identity()
	again, err := Open(id)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	for name, wrong := range map[string]Identity{
		"boot":  {id.PID, id.StartTicks, "another"},
		"ticks": {id.PID, id.StartTicks + 1, id.BootID},
		"pid":   {1 << 22, id.StartTicks, id.BootID},
		"zero":  {},
	} {
		if _, err := Open(wrong); !errors.Is(err, ErrGone) {
			t.Errorf("%s: %v", name, err)
		}
		if Alive(wrong) {
			t.Errorf("%s: alive", name)
		}
	}
	if err := again.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ended(t, again)
	ended(t, h)
}

func TestMarks(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "status")
	s := spec(t, "-U", mark, "wait")
	h := start(t, s)
	output(t, s, "ready")
	pids, err := FindMarked(mark)
	if err != nil || !slices.Equal(pids, []int{h.Identity().PID}) {
		t.Errorf("found %v, %v; want %d", pids, err, h.Identity().PID)
	}
	if pids, _ := FindMarked(mark[:len(mark)-1]); len(pids) > 0 {
		t.Errorf("a part of the path finds %v", pids)
	}
	if !HasMark(h.Identity().PID, mark) || HasMark(h.Identity().PID, mark+"x") || HasMark(h.Identity().PID, "") {
		t.Error("HasMark")
	}
}

func TestFreeLock(t *testing.T) {
	for name, args := range map[string][]string{"TERM": {"child", "wait"}, "KILL": {"child=ignore-term", "wait"}} {
		t.Run(name, func(t *testing.T) {
			s := spec(t, args...)
			h := start(t, s)
			output(t, s, "child")
			_ = h.Signal(unix.SIGKILL)
			ended(t, h)
			if held, _ := LockHeld(s.LockFile); !held {
				t.Fatal("the child was meant to hold the lock")
			}
			n, err := FreeLock(t.Context(), s.LockFile, 100*time.Millisecond)
			if err != nil || n != 1 {
				t.Errorf("ended %d, %v", n, err)
			}
			eventually(t, "the lock is free", func() bool { held, _ := LockHeld(s.LockFile); return !held })
			if n, err := FreeLock(t.Context(), s.LockFile, time.Second); n != 0 || err != nil {
				t.Errorf("nothing was left, yet %d, %v", n, err)
			}
		})
	}
}

// Somebody reads the lock's file, or keeps it open: not a reason to end them.
func TestFreeLockSparesBystanders(t *testing.T) {
	s := spec(t, "child", "wait")
	h := start(t, s)
	output(t, s, "child")
	file, err := os.OpenFile(s.LockFile, os.O_RDWR, 0) // another open file than the one that is locked
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	bystander := exec.Command("/proc/self/exe", "program", "wait")
	bystander.ExtraFiles = []*os.File{file}
	said, err := bystander.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = bystander.Process.Kill()
		_ = bystander.Wait()
	}()
	if _, err := said.Read(make([]byte, 1)); err != nil { // it runs, and has the file open
		t.Fatal(err)
	}
	id, err := Identify(bystander.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}

	_ = h.Signal(unix.SIGKILL)
	ended(t, h)
	if n, err := FreeLock(t.Context(), s.LockFile, time.Second); n != 1 || err != nil {
		t.Errorf("ended %d, %v; want the child alone", n, err)
	}
	eventually(t, "the lock is free", func() bool { held, _ := LockHeld(s.LockFile); return !held })
	if !Alive(id) {
		t.Error("the bystander is gone")
	}
}

func TestHasFlock(t *testing.T) {
	for text, want := range map[string]bool{
		"pos:\t0\nlock:\t1: FLOCK  ADVISORY  WRITE 359 00:13:11691 0 EOF\n": true,
		"lock:\t1: FLOCK  ADVISORY  READ 359 00:13:11691 0 EOF\n":           false,
		"lock:\t1: POSIX  ADVISORY  WRITE 359 00:13:11691 0 EOF\n":          false,
		"pos:\t0\nflags:\t02\nlock:\n":                                      false,
		"":                                                                  false,
	} {
		if got := hasFlock([]byte(text)); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}

func TestFreeLockSparesNodes(t *testing.T) {
	s := spec(t, "-U", "/some/status", "wait")
	h := start(t, s)
	if n, err := FreeLock(t.Context(), s.LockFile, time.Second); n != 0 || err != nil {
		t.Errorf("ended %d, %v", n, err)
	}
	if !Alive(h.Identity()) {
		t.Error("the node is gone")
	}
}

func TestLiveChanges(t *testing.T) {
	s := spec(t, "wait")
	h := start(t, s)
	output(t, s, "ready")
	id := h.Identity()
	if err := SetAffinity(id, []int{0}); err != nil {
		t.Fatal(err)
	}
	if err := SetNice(id, 5); err != nil {
		t.Fatal(err)
	}
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", id.PID))
	if len(tasks) < 2 {
		t.Fatal("the program was meant to have threads")
	}
	for _, e := range tasks {
		var tid int
		fmt.Sscan(e.Name(), &tid)
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(tid, &set); err != nil || set.Count() != 1 || !set.IsSet(0) {
			t.Errorf("thread %d: %v, %d CPUs", tid, err, set.Count())
		}
		if n, err := unix.Getpriority(unix.PRIO_PROCESS, tid); err != nil || 20-n != 5 {
			t.Errorf("thread %d: %v, nice %d", tid, err, 20-n)
		}
	}
	if err := SetAffinity(id, nil); err != nil {
		t.Fatal(err)
	}
	var set, own unix.CPUSet
	_ = unix.SchedGetaffinity(id.PID, &set)
	_ = unix.SchedGetaffinity(0, &own)
	if set.Count() < own.Count() {
		t.Errorf("%d CPUs after lifting the affinity, want %d", set.Count(), own.Count())
	}
	if err := SetOpenFiles(id, 333); err != nil {
		t.Fatal(err)
	}
	var files unix.Rlimit
	if err := unix.Prlimit(id.PID, unix.RLIMIT_NOFILE, nil, &files); err != nil || files.Cur != 333 || files.Max != 333 {
		t.Errorf("open files %+v, %v", files, err)
	}
	wrong := id
	wrong.StartTicks++
	if err := SetNice(wrong, 0); !errors.Is(err, ErrGone) {
		t.Errorf("another process was changed: %v", err)
	}
}

func TestSwitchUser(t *testing.T) {
	s := spec(t, "state", "wait")
	s.User = "nobody"
	if os.Geteuid() != 0 {
		s.User = "root"
		if _, err := Prepare(t.Context(), launcher, s); err == nil || !strings.Contains(err.Error(), "does not run as root") {
			t.Errorf("got %v", err)
		}
		return
	}
	// The test binary lies in a folder of root's alone: a copy of sleep does.
	s.Argv = []string{"/bin/sleep", "60"}
	s.Capabilities = []Capability{CapNetRaw, CapSysNice}
	h := start(t, s)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.Identity().PID))
	if err != nil || !strings.Contains(string(b), "Uid:\t65534\t65534\t65534\t65534") {
		t.Errorf("status %s, %v", b, err)
	}
	// Bits 13 and 23, and no others.
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		if !strings.Contains(string(b), set+":\t0000000000802000\n") {
			t.Errorf("%s is not what was handed on: %s", set, b)
		}
	}
	if held, _ := LockHeld(s.LockFile); !held {
		t.Error("the lock is not held")
	}
}

func TestSwitchUserWithoutCapabilities(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("root is needed to become somebody else")
	}
	s := spec(t)
	s.User, s.Argv = "nobody", []string{"/bin/sleep", "60"}
	h := start(t, s)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.Identity().PID))
	if err != nil || !strings.Contains(string(b), "CapEff:\t0000000000000000\n") || !strings.Contains(string(b), "CapAmb:\t0000000000000000\n") {
		t.Errorf("status %s, %v", b, err)
	}
}

func TestCapabilitiesThatAreNotThere(t *testing.T) {
	granted, warning := permitted([]Capability{CapNetRaw, 63, 62})
	if os.Geteuid() == 0 && !slices.Equal(granted, []Capability{CapNetRaw}) {
		t.Errorf("granted %v", granted)
	}
	if want := "capability 62, capability 63: zeekrec itself does not have it"; !strings.HasPrefix(warning, "cannot hand on ") || !strings.HasSuffix(warning, want) {
		t.Errorf("the warning is %q", warning)
	}
}

func TestParseStat(t *testing.T) {
	line := "4711 (a (b) c) S 1 4700 4690 0 -1 4194560 1 2 3 4 50 25 0 0 20 0 3 0 12345 1000000 77 18446744073709551615"
	got, err := parseStat([]byte(line))
	want := stat{state: 'S', session: 4690, cpu: 75, threads: 3, start: 12345, rss: 77}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "1 (x", "1 (x) S 1 2"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
