package process

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Errors that callers tell apart.
var (
	// ErrLocked: another process holds the lock file, so the node runs already.
	ErrLocked = errors.New("already running")
	// ErrGone: there is no such process any more.
	ErrGone = errors.New("no such process")
)

// Spec is what a process is started from. All paths are absolute.
type Spec struct {
	Argv []string `json:"argv"` // Argv[0] is the program's path
	Env  []string `json:"env"`  // all of it; nothing is inherited
	Dir  string   `json:"dir"`  // working folder; has to exist
	// Stdout and Stderr are files to append to; they are made where they do not exist.
	Stdout string `json:"-"`
	Stderr string `json:"-"`
	// LockFile is locked by the process for as long as it lives.
	LockFile string `json:"lock_file"`
	// User to become; empty: the one that zeekrec runs as.
	User string `json:"-"`
	// Capabilities that it keeps when it becomes User, as far as zeekrec has them; who stays zeekrec's user has what that one has.
	Capabilities []Capability `json:"capabilities,omitempty"`
	// CPUs to run on; empty: all.
	CPUs   []int  `json:"cpus,omitempty"`
	Nice   int    `json:"nice,omitempty"`
	Umask  int    `json:"umask"`
	Limits Limits `json:"limits"`
}

// Limits are the resource limits that are set in the new process.
type Limits struct {
	// OpenFiles is RLIMIT_NOFILE, soft and hard; 0: the soft limit is raised to the hard one.
	OpenFiles uint64 `json:"open_files,omitempty"`
	// Core dumps are always allowed, as large as the hard limit permits.
}

// Identity of a process, for all time: a pid alone is used again.
type Identity struct {
	PID        int    `json:"pid"`
	StartTicks uint64 `json:"start_ticks"` // clock ticks after boot, /proc/PID/stat
	BootID     string `json:"boot_id"`
}

// Exit is how a process ended.
type Exit struct {
	// Known is false for a process that this run of zeekrec did not start.
	Known  bool
	Status int
	Signal unix.Signal // 0 where it exited
	Core   bool
}

// String is a phrase for a sentence: "exited with status 1", "killed by SIGKILL".
func (e Exit) String() string {
	switch {
	case !e.Known:
		return "ended with an unknown status"
	case e.Signal != 0:
		name := unix.SignalName(e.Signal)
		if name == "" {
			name = fmt.Sprintf("signal %d", int(e.Signal))
		}
		if e.Core {
			return "killed by " + name + ", core dumped"
		}
		return "killed by " + name
	}
	return fmt.Sprintf("exited with status %d", e.Status)
}

// Hold is what keeps a process from running, though it lives.
type Hold struct {
	// Stopped: by a signal, SIGSTOP or the like, or by its tracer.
	Stopped bool
	// Tracer is the pid of the debugger that is attached to it, stopped or not; 0: none.
	Tracer int
}

// Memory of the machine, in bytes.
type Memory struct {
	Total     uint64
	Available uint64 // without swapping
}

// Usage is what a process uses.
type Usage struct {
	RSS        uint64  `json:"rss"` // bytes
	CPUSeconds float64 `json:"cpu_seconds"`
	// MainSeconds is the CPU time of its first thread, in which Zeek's main loop runs.
	MainSeconds float64 `json:"main_seconds"`
	Threads     int     `json:"threads"`
}

func (s *Spec) openOutputs() (stdin, stdout, stderr *os.File, err error) {
	var opened []*os.File
	defer func() {
		if err != nil {
			closeAll(opened...)
		}
	}()
	stdin, err = os.Open(os.DevNull)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("cannot open standard input: %w", err)
	}
	opened = append(opened, stdin)
	stdout, err = appendTo(s.Stdout)
	if err != nil {
		return nil, nil, nil, err
	}
	opened = append(opened, stdout)
	stderr, err = appendTo(s.Stderr)
	if err != nil {
		return nil, nil, nil, err
	}
	return stdin, stdout, stderr, nil
}

func appendTo(path string) (*os.File, error) {
	if path == "" {
		path = os.DevNull
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("cannot open output file: %w", err)
	}
	return f, nil
}

func closeAll(fs ...*os.File) {
	for _, f := range fs {
		if f != nil {
			_ = f.Close()
		}
	}
}
