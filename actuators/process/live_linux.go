package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// SetAffinity moves a running process, with all its threads, to the CPUs; none means all.
func SetAffinity(id Identity, cpus []int) error {
	set := cpuSet(cpus)
	err := eachThread(id, func(tid int) error { return unix.SchedSetaffinity(tid, set) })
	if err != nil {
		return fmt.Errorf("cannot move process %d to CPUs %v: %w", id.PID, cpus, err)
	}
	return nil
}

// SetNice changes the priority of a running process and all its threads.
func SetNice(id Identity, nice int) error {
	if err := eachThread(id, func(tid int) error { return setNice(tid, nice) }); err != nil {
		return fmt.Errorf("cannot set nice %d of process %d: %w", nice, id.PID, err)
	}
	return nil
}

// SetOpenFiles changes how many files a running process may open, soft and hard; 0 leaves it as it is.
func SetOpenFiles(id Identity, n uint64) error {
	if n == 0 {
		return nil
	}
	if !Alive(id) {
		return fmt.Errorf("cannot allow %d open files: %w", n, ErrGone)
	}
	if err := unix.Prlimit(id.PID, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: n}, nil); err != nil {
		return fmt.Errorf("cannot allow process %d %d open files: %w", id.PID, n, err)
	}
	return nil
}

// setNice sets it for one thread (0: the calling one) and, as far as that is possible, for the group of
// its session: where the kernel groups by session, a thread's own value only counts within.
func setNice(tid, nice int) error {
	if err := unix.Setpriority(unix.PRIO_PROCESS, tid, nice); err != nil {
		return err
	}
	who := "self"
	if tid != 0 {
		who = strconv.Itoa(tid)
	}
	_ = os.WriteFile("/proc/"+who+"/autogroup", []byte(strconv.Itoa(nice)), 0)
	return nil
}

// cpuSet is the kernel's form; for no CPUs, all that there may be: the kernel takes those that exist.
func cpuSet(cpus []int) *unix.CPUSet {
	var set unix.CPUSet
	if len(cpus) == 0 {
		set.Fill()
	}
	for _, c := range cpus {
		set.Set(c)
	}
	return &set
}

// eachThread calls f for every thread, until it has met no new one: threads may be made meanwhile, and
// take after the one that made them.
func eachThread(id Identity, f func(tid int) error) error {
	if !Alive(id) {
		return ErrGone
	}
	seen := map[int]bool{}
	for range 10 {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", id.PID))
		if err != nil {
			return ErrGone
		}
		fresh := false
		for _, e := range entries {
			tid, err := strconv.Atoi(e.Name())
			if err != nil || seen[tid] {
				continue
			}
			seen[tid], fresh = true, true
			if err := f(tid); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
		if !fresh {
			break
		}
	}
	return nil
}

// StepBack makes this process nice, where nice is not 0, and has all its threads read and write only when nobody else
// does (the idle class of ionice). What the system does not grant is left: it is a courtesy.
func StepBack(nice int) {
	const idle = 3 << 13 // IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0)
	id, err := Identify(os.Getpid())
	if err != nil {
		return
	}
	_ = eachThread(id, func(tid int) error {
		if nice != 0 {
			_ = setNice(tid, nice)
		}
		_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, 1 /* IOPRIO_WHO_PROCESS */, uintptr(tid), idle)
		return nil
	})
}
