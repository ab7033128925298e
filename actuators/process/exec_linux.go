package process

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The pipes of the launcher, and what travels on them.
const (
	gateFD   = 3
	reportFD = 4

	gateOpen      = 'g'
	reportReady   = "ready"
	reportWarning = "warning: "
	reportLocked  = "locked: "
	reportError   = "error: "
)

// ExecNode is the launcher: the part of Prepare that runs in the new process. The program's main calls
// it when it was started as the launcher, and exits with what it returns; on success it never returns,
// because the process has become another program.
func ExecNode() int {
	// Priority and affinity belong to threads; the one that calls exec hands its own on.
	runtime.LockOSThread()
	unix.CloseOnExec(gateFD)
	unix.CloseOnExec(reportFD)
	gate, report := os.NewFile(gateFD, "gate"), os.NewFile(reportFD, "report")
	say := func(prefix string, what any) {
		fmt.Fprintf(report, "%s%s\n", prefix, strings.ReplaceAll(fmt.Sprint(what), "\n", " "))
	}

	in := bufio.NewReader(gate)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return 0 // the starter is gone: so was the wish
	}
	var o order
	if err := json.Unmarshal(line, &o); err != nil {
		say(reportError, err)
		return 1
	}
	lock, err := takeLock(o.LockFile)
	if err != nil {
		if errors.Is(err, ErrLocked) {
			say(reportLocked, o.LockFile+" is held by "+lockHolder(o.LockFile))
		} else {
			say(reportError, err)
		}
		return 1
	}
	warnings, err := o.settle()
	for _, w := range warnings {
		say(reportWarning, w)
	}
	if err != nil {
		say(reportError, err)
		return 1
	}
	say(reportReady, "")

	if b, err := in.ReadByte(); err != nil || b != gateOpen {
		return 0
	}
	if err := o.become(lock); err != nil {
		say(reportError, err)
		return 1
	}
	err = syscall.Exec(o.Argv[0], o.Argv, o.Env)
	say(reportError, fmt.Errorf("cannot execute %s: %w", o.Argv[0], err))
	return 1
}

// settle does all that can fail and be seen before the gate.
func (o *order) settle() (warnings []string, err error) {
	if err := os.Chdir(o.Dir); err != nil {
		return nil, fmt.Errorf("cannot enter the working folder: %w", err)
	}
	if err := unix.Access(o.Argv[0], unix.X_OK); err != nil {
		return nil, fmt.Errorf("cannot execute %s: %w", o.Argv[0], err)
	}
	unix.Umask(o.Umask)
	if err := setOpenFiles(o.Limits.OpenFiles); err != nil {
		warnings = append(warnings, fmt.Sprintf("cannot allow %d open files: %v", o.Limits.OpenFiles, err))
	}
	if err := allowCores(); err != nil {
		warnings = append(warnings, fmt.Sprintf("cannot allow core dumps: %v", err))
	}
	if o.Nice != 0 {
		if err := setNice(0, o.Nice); err != nil {
			warnings = append(warnings, fmt.Sprintf("cannot set nice %d: %v", o.Nice, err))
		}
	}
	if o.Become != nil {
		granted, warning := permitted(o.Capabilities)
		if o.Capabilities = granted; warning != "" {
			warnings = append(warnings, warning)
		}
	}
	if len(o.CPUs) > 0 {
		if err := unix.SchedSetaffinity(0, cpuSet(o.CPUs)); err != nil {
			warnings = append(warnings, fmt.Sprintf("cannot run on CPUs %v: %v", o.CPUs, err))
		}
	}
	return warnings, nil
}

// become leaves only the standard descriptors and the lock open beyond exec, and gives up root.
func (o *order) become(lock int) error {
	if err := closeOnExecFrom(3); err != nil {
		return fmt.Errorf("cannot close descriptors: %w", err)
	}
	if lock >= 0 {
		if _, err := unix.FcntlInt(uintptr(lock), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("cannot hand on the lock: %w", err)
		}
	}
	if o.Become == nil {
		return nil
	}
	if len(o.Capabilities) > 0 {
		if err := keepCapabilities(); err != nil {
			return err
		}
	}
	groups := make([]int, len(o.Become.Groups))
	for i, g := range o.Become.Groups {
		groups[i] = int(g)
	}
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("cannot set groups: %w", err)
	}
	if err := syscall.Setgid(int(o.Become.Gid)); err != nil {
		return fmt.Errorf("cannot set group %d: %w", o.Become.Gid, err)
	}
	if err := syscall.Setuid(int(o.Become.Uid)); err != nil {
		return fmt.Errorf("cannot set user %d: %w", o.Become.Uid, err)
	}
	if len(o.Capabilities) == 0 {
		return nil
	}
	return handOn(o.Capabilities)
}

// closeOnExecFrom marks all descriptors from first on, also those that zeekrec itself was given by
// whoever started it.
func closeOnExecFrom(first int) error {
	err := unix.CloseRange(uint(first), math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil || !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	// Linux before 5.11.
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range fds {
		var fd int
		if _, err := fmt.Sscan(e.Name(), &fd); err == nil && fd >= first {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

func setOpenFiles(n uint64) error {
	var now syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now); err != nil {
		return err
	}
	want := syscall.Rlimit{Cur: now.Max, Max: now.Max}
	if n > 0 {
		want = syscall.Rlimit{Cur: n, Max: n}
	}
	// syscall's and not unix's: Go's runtime gives the program the limit it found itself, unless it was
	// set through this very function.
	err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want)
	if err != nil {
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: now.Max, Max: now.Max})
	}
	return err
}

func allowCores() error {
	all := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &all); err == nil {
		return nil
	}
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &now); err != nil {
		return err
	}
	now.Cur = now.Max
	return unix.Setrlimit(unix.RLIMIT_CORE, &now)
}

// takeLock returns the descriptor that holds the lock; -1 where no lock is asked for.
func takeLock(path string) (int, error) {
	if path == "" {
		return -1, nil
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o640)
	if err != nil {
		return -1, fmt.Errorf("cannot open lock file %s: %w", path, err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = unix.Close(fd)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return -1, ErrLocked
		}
		return -1, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	// The content is for people: who holds it.
	if err := unix.Ftruncate(fd, 0); err == nil {
		_, _ = unix.Pwrite(fd, fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	return fd, nil
}

func lockHolder(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return "another process"
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, 32))
	if pid := strings.TrimSpace(string(b)); pid != "" {
		return "process " + pid
	}
	return "another process"
}

// LockHeld reports whether a process holds the lock file. A file that does not exist is held by nobody.
// It asks by trying a shared lock, which it gives back at once.
func LockHeld(path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot ask for the lock: %w", err)
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	switch {
	case err == nil:
		return false, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return true, nil
	}
	return false, fmt.Errorf("cannot ask for the lock %s: %w", path, err)
}
