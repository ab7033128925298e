package process

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// ticksPerSecond of /proc/PID/stat: USER_HZ, the same on every architecture that Go runs Linux on.
const ticksPerSecond = 100

// stat is what of /proc/PID/stat is of use here.
type stat struct {
	state   byte
	session int
	cpu     uint64 // ticks, user and system
	threads int
	start   uint64 // ticks after boot
	rss     uint64 // pages
}

func readStat(pid int) (stat, error) {
	s, err := readStatOf(strconv.Itoa(pid))
	if err != nil {
		return stat{}, fmt.Errorf("cannot ask for process %d: %w", pid, err)
	}
	return s, nil
}

// readStatOf a process, or of a thread: PID or PID/task/TID.
func readStatOf(what string) (stat, error) {
	b, err := os.ReadFile("/proc/" + what + "/stat")
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			err = ErrGone
		}
		return stat{}, err
	}
	return parseStat(b)
}

// parseStat reads the fields behind the command's name, which may itself hold blanks and parentheses.
func parseStat(b []byte) (stat, error) {
	i := bytes.LastIndexByte(b, ')')
	f := strings.Fields(string(b[i+1:]))
	if i < 0 || len(f) < 22 || len(f[0]) != 1 {
		return stat{}, errors.New("/proc/PID/stat is not understood")
	}
	num := func(field int) uint64 { // numbered from 1, as in proc(5)
		n, _ := strconv.ParseUint(f[field-3], 10, 64)
		return n
	}
	return stat{
		state: f[0][0], session: int(num(6)), cpu: num(14) + num(15),
		threads: int(num(20)), start: num(22), rss: num(24),
	}, nil
}

// BootID is the kernel's name for this boot of the machine.
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot ask for the boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// Identify returns the identity of the process that has the pid now; also of one that has ended and was
// not yet reaped.
func Identify(pid int) (Identity, error) {
	boot, err := BootID()
	if err != nil {
		return Identity{}, err
	}
	s, err := readStat(pid)
	if err != nil {
		return Identity{}, err
	}
	return Identity{PID: pid, StartTicks: s.start, BootID: boot}, nil
}

// Alive reports whether the process of that identity runs; one that has ended and was not reaped does not.
func Alive(id Identity) bool {
	now, err := Identify(id.PID)
	if err != nil || now != id {
		return false
	}
	s, err := readStat(id.PID)
	return err == nil && s.state != 'Z' && s.state != 'X'
}

// Cmdline returns the arguments of a process. They can be read even where its environment cannot, as with
// a process that has capabilities.
func Cmdline(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return nil, fmt.Errorf("cannot ask for the arguments of process %d: %w", pid, err)
	}
	if len(b) == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00"), nil
}

// mark is the argument of -U, by which a Zeek process is known; empty for none.
func mark(argv []string) string {
	for i := 1; i+1 < len(argv); i++ {
		if argv[i] == "-U" && filepath.IsAbs(argv[i+1]) {
			return argv[i+1]
		}
	}
	return ""
}

// HasMark reports whether the process was started with "-U path".
func HasMark(pid int, path string) bool {
	argv, err := Cmdline(pid)
	return err == nil && path != "" && mark(argv) == path
}

// Marks finds all processes on this machine that were started with an absolute -U, by its path. Processes
// that one of them forked (its session leader bears the same mark) are left out.
func Marks() (map[string][]int, error) {
	pids, err := allPIDs()
	if err != nil {
		return nil, err
	}
	found := map[string][]int{}
	for _, pid := range pids {
		argv, err := Cmdline(pid)
		if err != nil {
			continue // gone meanwhile
		}
		m := mark(argv)
		if m == "" {
			continue
		}
		s, err := readStat(pid)
		if err != nil || s.state == 'Z' || s.session != pid && HasMark(s.session, m) {
			continue
		}
		found[m] = append(found[m], pid)
	}
	return found, nil
}

// FindMarked returns the pids of the processes that bear this very mark.
func FindMarked(path string) ([]int, error) {
	all, err := Marks()
	return all[path], err
}

// Stat returns what a process uses.
func Stat(pid int) (Usage, error) {
	s, err := readStat(pid)
	if err != nil {
		return Usage{}, err
	}
	main, err := readStatOf(fmt.Sprintf("%d/task/%d", pid, pid))
	if err != nil {
		return Usage{}, fmt.Errorf("cannot ask for process %d: %w", pid, err)
	}
	return Usage{
		RSS:         s.rss * uint64(os.Getpagesize()),
		CPUSeconds:  float64(s.cpu) / ticksPerSecond,
		MainSeconds: float64(main.cpu) / ticksPerSecond,
		Threads:     s.threads,
	}, nil
}

// Held says what keeps a process from running.
func Held(pid int) (Hold, error) {
	s, err := readStat(pid)
	if err != nil {
		return Hold{}, err
	}
	h := Hold{Stopped: s.state == 'T' || s.state == 't'}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Hold{}, fmt.Errorf("cannot ask for process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "TracerPid:"); ok {
			h.Tracer, _ = strconv.Atoi(strings.TrimSpace(v))
		}
	}
	return h, nil
}

// HostMemory is how much memory the machine has.
func HostMemory() (Memory, error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return Memory{}, fmt.Errorf("cannot ask for the memory: %w", err)
	}
	m, err := fs.Meminfo()
	if err != nil || m.MemTotalBytes == nil || m.MemAvailableBytes == nil {
		return Memory{}, fmt.Errorf("cannot ask for the memory: %w", cmp.Or(err, errors.New("/proc/meminfo does not say")))
	}
	return Memory{Total: *m.MemTotalBytes, Available: *m.MemAvailableBytes}, nil
}

// FreeLock ends what a node's process, itself gone, has left behind with its lock: a command that it ran
// inherits the descriptor, and would keep the next one from starting. TERM, then KILL after grace. A
// process that bears a mark of its own is a node and is spared, and so is one that merely has the file open,
// without the lock. It returns how many were ended.
func FreeLock(ctx context.Context, lockFile string, grace time.Duration) (int, error) {
	if held, err := LockHeld(lockFile); err != nil || !held {
		return 0, err
	}
	holders, err := lockHolders(lockFile)
	if err != nil {
		return 0, err
	}
	defer func() {
		for _, h := range holders {
			h.Close()
		}
	}()
	for _, h := range holders {
		_ = h.Signal(unix.SIGTERM)
	}
	deadline := time.NewTimer(grace)
	defer deadline.Stop()
	for _, h := range holders {
		select {
		case <-h.Done():
			continue
		case <-deadline.C:
			deadline.Reset(0) // for the others too
		case <-ctx.Done():
		}
		_ = h.Signal(unix.SIGKILL)
	}
	return len(holders), nil
}

// lockHolders opens all processes that hold the lock and bear no mark.
func lockHolders(lockFile string) ([]*Handle, error) {
	lock, err := os.Stat(lockFile)
	if err != nil {
		return nil, fmt.Errorf("cannot ask for the lock: %w", err)
	}
	pids, err := allPIDs()
	if err != nil {
		return nil, err
	}
	var out []*Handle
	for _, pid := range pids {
		if argv, err := Cmdline(pid); pid == os.Getpid() || err != nil || mark(argv) != "" {
			continue
		}
		// The identity first: what is found of the pid then is true of it, or it is gone.
		id, err := Identify(pid)
		if err != nil || !holdsLock(pid, lock) {
			continue
		}
		if h, err := Open(id); err == nil {
			out = append(out, h)
		}
	}
	return out, nil
}

// holdsLock reports whether one of the process's descriptors is of the file and has it locked. The kernel
// shows a lock with the open file that it was taken through, so with every inherited descriptor as well, and
// not with those of others who opened the file by its name.
func holdsLock(pid int, file os.FileInfo) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		return false // not ours to look into
	}
	for _, fd := range fds {
		info, err := os.Stat(filepath.Join(dir, fd.Name()))
		if err != nil || !os.SameFile(info, file) {
			continue
		}
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, fd.Name())); err == nil && hasFlock(b) {
			return true
		}
	}
	return false
}

// hasFlock looks in /proc/PID/fdinfo/N for an exclusive flock(2):
//
//	lock:	1: FLOCK  ADVISORY  WRITE 359 00:13:11691 0 EOF
func hasFlock(fdinfo []byte) bool {
	for line := range strings.Lines(string(fdinfo)) {
		f := strings.Fields(line)
		if len(f) > 4 && f[0] == "lock:" && f[2] == "FLOCK" && f[4] == "WRITE" {
			return true
		}
	}
	return false
}

func allPIDs() ([]int, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	var pids []int
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
