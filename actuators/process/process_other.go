//go:build !linux

package process

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

var errNotLinux = errors.New("cannot run nodes on this system: it takes Linux")

// Prepared is a process that waits at the gate; only on Linux there is one.
type Prepared struct{ Warnings []string }

// Prepare makes the process; only on Linux.
func Prepare(context.Context, []string, Spec) (*Prepared, error) { return nil, errNotLinux }

// Identity of the process.
func (p *Prepared) Identity() Identity { return Identity{} }

// Go opens the gate.
func (p *Prepared) Go(context.Context) (*Handle, error) { return nil, errNotLinux }

// Abort ends the process.
func (p *Prepared) Abort() {}

// ExecNode is the launcher; only on Linux.
func ExecNode() int { return 1 }

// Handle watches one process; only on Linux there is one.
type Handle struct{}

// Open finds a process again; only on Linux.
func Open(Identity) (*Handle, error) { return nil, errNotLinux }

// Identity of the process.
func (h *Handle) Identity() Identity { return Identity{} }

// Done is closed when the process has ended.
func (h *Handle) Done() <-chan struct{} { return nil }

// Exit says how the process ended.
func (h *Handle) Exit() Exit { return Exit{} }

// Signal sends a signal to this very process.
func (h *Handle) Signal(unix.Signal) error { return errNotLinux }

// Close ends the watch.
func (h *Handle) Close() {}

// LockHeld reports whether a process holds the lock file; only on Linux.
func LockHeld(string) (bool, error) { return false, errNotLinux }

// BootID is the kernel's name for this boot; only on Linux.
func BootID() (string, error) { return "", errNotLinux }

// Identify returns the identity of the process that has the pid now; only on Linux.
func Identify(int) (Identity, error) { return Identity{}, errNotLinux }

// Alive reports whether the process of that identity runs.
func Alive(Identity) bool { return false }

// Cmdline returns the arguments of a process; only on Linux.
func Cmdline(int) ([]string, error) { return nil, errNotLinux }

// HasMark reports whether the process was started with "-U path".
func HasMark(int, string) bool { return false }

// Marks finds all processes that bear a mark; only on Linux.
func Marks() (map[string][]int, error) { return nil, errNotLinux }

// FindMarked returns the pids of the processes that bear this very mark; only on Linux.
func FindMarked(string) ([]int, error) { return nil, errNotLinux }

// Stat returns what a process uses; only on Linux.
func Stat(int) (Usage, error) { return Usage{}, errNotLinux }

// Held says what keeps a process from running; only on Linux.
func Held(int) (Hold, error) { return Hold{}, errNotLinux }

// HostMemory is how much memory the machine has; only on Linux.
func HostMemory() (Memory, error) { return Memory{}, errNotLinux }

// FreeLock ends what a node's process has left behind with its lock; only on Linux.
func FreeLock(context.Context, string, time.Duration) (int, error) { return 0, errNotLinux }

// SetAffinity moves a running process to the CPUs; only on Linux.
func SetAffinity(Identity, []int) error { return errNotLinux }

// SetNice changes the priority of a running process; only on Linux.
func SetNice(Identity, int) error { return errNotLinux }

// SetOpenFiles changes how many files a running process may open; only on Linux.
func SetOpenFiles(Identity, uint64) error { return errNotLinux }

// CloseDoor lets a process finish what it collects; only on Linux.
func CloseDoor(context.Context, Identity, int) (int, error) { return 0, errNotLinux }

// OpenDoor takes back CloseDoor.
func OpenDoor(Identity, int) error { return errNotLinux }

// Visitors counts the connections of a process at its port; only on Linux.
func Visitors(Identity, int, uint64) (int, error) { return 0, errNotLinux }

// Started is what a service records of a start; only on Linux there is one.
type Started struct {
	Process  Identity
	Count    int
	Warnings []string
}

// WriteService writes what a service is started from; only on Linux.
func WriteService(string, string, Spec) error { return errNotLinux }

// ReadStarted reads the record of the last start; only on Linux there is one.
func ReadStarted(string) (Started, bool) { return Started{}, false }

// ExecService is the launcher of a service; only on Linux.
func ExecService(string) int { return 1 }
