package process

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Handle watches one process and signals it. Closing it leaves the process alone.
type Handle struct {
	id   Identity
	file *os.File // pidfd
	conn syscall.RawConn

	done    chan struct{} // closed when the process has ended
	exit    Exit          // valid once done is closed
	watched sync.WaitGroup
}

// Open finds the process of that identity again. It wraps ErrGone where it no longer exists.
func Open(id Identity) (*Handle, error) {
	boot, err := BootID()
	if err != nil {
		return nil, err
	}
	if id.PID <= 0 || id.BootID != boot {
		return nil, fmt.Errorf("cannot find process %d: %w", id.PID, ErrGone)
	}
	fd, err := unix.PidfdOpen(id.PID, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil, fmt.Errorf("cannot find process %d: %w", id.PID, ErrGone)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open process %d: %w", id.PID, err)
	}
	// Compared after opening: the descriptor stays with the process that it was opened for.
	now, err := Identify(id.PID)
	if err != nil || now != id {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("cannot find process %d: %w", id.PID, ErrGone)
	}
	return watch(id, fd)
}

// openChild takes over the descriptor that a new child came with; -1 where the kernel gave none.
func openChild(pid, fd int) (*Handle, error) {
	if fd < 0 {
		var err error
		if fd, err = unix.PidfdOpen(pid, 0); err != nil {
			return nil, fmt.Errorf("cannot open process %d: %w", pid, err)
		}
	}
	id, err := Identify(pid)
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return watch(id, fd)
}

func watch(id Identity, fd int) (*Handle, error) {
	// Non-blocking, so that Go's poller waits for it and no thread does.
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("cannot watch process %d: %w", id.PID, err)
	}
	h := &Handle{id: id, file: os.NewFile(uintptr(fd), "pidfd"), done: make(chan struct{})}
	var err error
	if h.conn, err = h.file.SyscallConn(); err != nil {
		_ = h.file.Close()
		return nil, fmt.Errorf("cannot watch process %d: %w", id.PID, err)
	}
	h.watched.Go(h.wait)
	return h, nil
}

// Identity of the process.
func (h *Handle) Identity() Identity { return h.id }

// Done is closed when the process has ended; not when the handle is closed.
func (h *Handle) Done() <-chan struct{} { return h.done }

// Exit says how the process ended, once Done is closed.
func (h *Handle) Exit() Exit {
	select {
	case <-h.done:
		return h.exit
	default:
		return Exit{}
	}
}

// Signal sends a signal to this very process; the error wraps ErrGone where it has ended.
func (h *Handle) Signal(sig unix.Signal) error {
	var err error
	if cerr := h.conn.Control(func(fd uintptr) { err = unix.PidfdSendSignal(int(fd), sig, nil, 0) }); cerr != nil {
		err = cerr
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ESRCH), errors.Is(err, os.ErrClosed):
		return fmt.Errorf("cannot signal process %d: %w", h.id.PID, ErrGone)
	}
	return fmt.Errorf("cannot signal process %d: %w", h.id.PID, err)
}

// Close ends the watch; the process goes on.
func (h *Handle) Close() {
	_ = h.file.Close()
	h.watched.Wait()
}

// wait blocks until the process has ended or the handle is closed.
func (h *Handle) wait() {
	ended := false
	err := h.conn.Read(func(fd uintptr) bool {
		ps := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(ps, 0)
		if err != nil || n == 0 {
			return false
		}
		h.exit, ended = h.reap(int(fd)), true
		return true
	})
	if err == nil && ended {
		close(h.done)
	}
}

// reap asks for the exit status. Only a parent gets one; for others (the process was adopted) it stays
// unknown. Asking through the pidfd first makes sure that no other child of the same pid is reaped.
func (h *Handle) reap(fd int) Exit {
	if err := retry(func() error {
		return unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	}); err != nil {
		return Exit{}
	}
	var ws unix.WaitStatus
	var pid int
	err := retry(func() (err error) {
		pid, err = unix.Wait4(h.id.PID, &ws, unix.WNOHANG, nil)
		return err
	})
	if err != nil || pid != h.id.PID {
		return Exit{}
	}
	if ws.Signaled() {
		return Exit{Known: true, Signal: ws.Signal(), Core: ws.CoreDump()}
	}
	return Exit{Known: true, Status: ws.ExitStatus()}
}

func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
