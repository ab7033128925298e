package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// lockPatience is how long a service waits for the lock: what its predecessor has left behind is just being ended.
const lockPatience = 5 * time.Second

// serviceOrder is what a service is started from, each time that the service manager starts it.
type serviceOrder struct {
	order
	// Outputs are not in Spec's JSON, since the gate's child inherits them.
	Stdout  string `json:"stdout"`
	Stderr  string `json:"stderr"`
	Started string `json:"started"` // where to record each start
}

// Started is what a service records of a start, before it executes the program.
type Started struct {
	Process  Identity `json:"process"`
	Count    int      `json:"count"` // of the starts since WriteService
	Warnings []string `json:"warnings,omitempty"`
}

// WriteService writes what [ExecService] starts a program from, to a file for the owner alone: environments have secrets. started is
// the file to record each start in; a record of before is removed.
func WriteService(path, started string, s Spec) error {
	become, err := LookupUser(s.User)
	if err != nil {
		return err
	}
	b, err := json.Marshal(&serviceOrder{order: order{Spec: s, Become: become}, Stdout: s.Stdout, Stderr: s.Stderr, Started: started})
	if err != nil {
		return err
	}
	if err := os.Remove(started); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return renameio.WriteFile(path, b, 0o600)
}

// ReadStarted reads the record of the last start of a service; false where there is none.
func ReadStarted(path string) (Started, bool) {
	var s Started
	b, err := os.ReadFile(path)
	return s, err == nil && json.Unmarshal(b, &s) == nil && s.Process.PID != 0
}

// ExecService is the launcher of a service: it becomes the program that the file at path describes. As with ExecNode the
// lock is taken, and the process is on record, before anything is executed. It returns only where that fails, with an exit
// status.
func ExecService(path string) int {
	runtime.LockOSThread()
	fmt.Fprintln(os.Stderr, "error: cannot start:", execService(path))
	return 1
}

// execService returns why the program is not executed.
func execService(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var o serviceOrder
	if err := json.Unmarshal(b, &o); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	o.Spec.Stdout, o.Spec.Stderr = o.Stdout, o.Stderr
	stdin, stdout, stderr, err := o.openOutputs()
	if err != nil {
		return err
	}
	for fd, f := range []*os.File{stdin, stdout, stderr} {
		if err := unix.Dup3(int(f.Fd()), fd, 0); err != nil {
			return fmt.Errorf("cannot set its outputs: %w", err)
		}
	}
	lock, err := waitLock(o.LockFile)
	if err != nil {
		return err
	}
	warnings, err := o.settle()
	if err != nil {
		return err
	}
	id, err := Identify(os.Getpid())
	if err != nil {
		return err
	}
	last, _ := ReadStarted(o.Started)
	record, err := json.Marshal(&Started{Process: id, Count: last.Count + 1, Warnings: warnings})
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(o.Started, record, 0o600); err != nil {
		return fmt.Errorf("cannot record it: %w", err)
	}
	if err := o.become(lock); err != nil {
		return err
	}
	return fmt.Errorf("cannot execute %s: %w", o.Argv[0], unix.Exec(o.Argv[0], o.Argv, o.Env))
}

func waitLock(path string) (int, error) {
	for end := time.Now().Add(lockPatience); ; time.Sleep(10 * time.Millisecond) {
		lock, err := takeLock(path)
		if !errors.Is(err, ErrLocked) {
			return lock, err
		}
		if time.Now().After(end) {
			return -1, fmt.Errorf("%w: %s is held by %s", ErrLocked, path, lockHolder(path))
		}
	}
}
