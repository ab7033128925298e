package process

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// prepareTimeout bounds what the launcher may take before the gate, and the exec after it.
const prepareTimeout = 20 * time.Second

// abortTimeout bounds the wait for a launcher that was sent KILL.
const abortTimeout = 5 * time.Second

// order is what the launcher reads from the gate, as one line of JSON: not through its arguments or
// environment, where others could read it.
type order struct {
	Spec
	// Become is whom to become; nil: nobody else.
	Become *syscall.Credential `json:"become,omitempty"`
}

// Prepared is a process that waits at the gate. Exactly one of Go and Abort is to be called.
type Prepared struct {
	// Warnings are wishes that could not be granted and do not keep the program from running:
	// CPUs, nice.
	Warnings []string

	handle *Handle
	gate   *os.File
	report *os.File
	lines  *bufio.Reader
}

// Prepare makes the process: launcher is the command that ends in ExecNode, usually
// {"/proc/self/exe", "exec-node"}. When Prepare returns without an error, the process holds the lock,
// has its limits, and waits. An error wraps ErrLocked where another process has the lock.
func Prepare(ctx context.Context, launcher []string, s Spec) (*Prepared, error) {
	p, err := prepare(ctx, launcher, s)
	if err != nil {
		return nil, fmt.Errorf("cannot start: %w", err)
	}
	return p, nil
}

func prepare(ctx context.Context, launcher []string, s Spec) (_ *Prepared, err error) {
	if len(launcher) == 0 || len(s.Argv) == 0 {
		return nil, errors.New("no command")
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	// Looked up here and not in the new process, so that an unknown user is known before anything is made.
	become, err := LookupUser(s.User)
	if err != nil {
		return nil, err
	}
	o := order{Spec: s, Become: become}
	msg, err := json.Marshal(&o)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the command: %w", err)
	}
	path, err := exec.LookPath(launcher[0])
	if err != nil {
		return nil, fmt.Errorf("cannot find the launcher: %w", err)
	}

	stdin, stdout, stderr, err := s.openOutputs()
	if err != nil {
		return nil, err
	}
	defer closeAll(stdin, stdout, stderr)
	gateR, gateW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	defer closeAll(gateR)
	reportR, reportW, err := os.Pipe()
	if err != nil {
		closeAll(gateW)
		return nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	defer closeAll(reportW)

	pidfd := -1
	child, err := os.StartProcess(path, launcher, &os.ProcAttr{
		Files: []*os.File{stdin, stdout, stderr, gateR, reportW},
		Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd},
	})
	if err != nil {
		closeAll(gateW, reportR)
		return nil, fmt.Errorf("cannot run the launcher: %w", err)
	}
	handle, err := openChild(child.Pid, pidfd)
	_ = child.Release()
	if err != nil {
		// The launcher reads the end of the gate and leaves; nothing was executed.
		closeAll(gateW, reportR)
		return nil, err
	}
	p := &Prepared{handle: handle, gate: gateW, report: reportR, lines: bufio.NewReader(reportR)}
	defer p.deadline(ctx)()
	if _, err := gateW.Write(append(msg, '\n')); err != nil && !errors.Is(err, syscall.EPIPE) {
		p.Abort()
		return nil, fmt.Errorf("cannot hand over the command: %w", waitErr(ctx, err))
	}
	if err := p.untilReady(); err != nil {
		p.Abort()
		return nil, waitErr(ctx, err)
	}
	return p, nil
}

// Identity of the process, before and after the gate.
func (p *Prepared) Identity() Identity { return p.handle.Identity() }

// Go opens the gate and returns when the program was executed. On an error nothing runs.
func (p *Prepared) Go(ctx context.Context) (*Handle, error) {
	defer p.deadline(ctx)()
	_, err := p.gate.Write([]byte{gateOpen})
	if err == nil || errors.Is(err, syscall.EPIPE) {
		// The pipe's end is closed by exec itself: silence is success.
		err = p.untilClosed()
	}
	if err != nil {
		p.Abort()
		return nil, fmt.Errorf("cannot start: %w", waitErr(ctx, err))
	}
	closeAll(p.gate, p.report)
	return p.handle, nil
}

// Abort ends the process, which has executed nothing, and waits until it is gone and reaped. Where the kernel
// does not let go of it in time (a disk that does not answer), it is reaped whenever that comes to pass, and
// has the lock until then.
func (p *Prepared) Abort() { p.abort(abortTimeout) }

func (p *Prepared) abort(patience time.Duration) {
	closeAll(p.gate, p.report)
	// It would leave by itself now that the gate is closed; there is nothing in it to wait for.
	_ = p.handle.Signal(unix.SIGKILL)
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	select {
	case <-p.handle.Done():
		p.handle.Close()
	case <-deadline.C:
		go func() {
			<-p.handle.Done()
			p.handle.Close()
		}()
	}
}

func (p *Prepared) untilReady() error {
	for {
		line, err := p.line()
		switch {
		case err != nil:
			return fmt.Errorf("the launcher ended without a word: %w", err)
		case line == reportReady:
			return nil
		}
		if w, ok := strings.CutPrefix(line, reportWarning); ok {
			p.Warnings = append(p.Warnings, w)
			continue
		}
		return reported(line)
	}
}

func (p *Prepared) untilClosed() error {
	line, err := p.line()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return reported(line)
}

func (p *Prepared) line() (string, error) {
	line, err := p.lines.ReadString('\n')
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(line, "\n"), nil
}

// deadline bounds reads and writes of the pipes, also by ctx; the returned func lifts it.
func (p *Prepared) deadline(ctx context.Context) func() {
	set := func(t time.Time) {
		_ = p.gate.SetWriteDeadline(t)
		_ = p.report.SetReadDeadline(t)
	}
	set(time.Now().Add(prepareTimeout))
	stop := context.AfterFunc(ctx, func() { set(time.Unix(1, 0)) })
	return func() {
		if stop() {
			set(time.Time{})
		}
	}
}

func waitErr(ctx context.Context, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("the launcher gave no answer within %s", prepareTimeout)
	}
	return err
}

func reported(line string) error {
	if text, ok := strings.CutPrefix(line, reportLocked); ok {
		return fmt.Errorf("%w: %s", ErrLocked, text)
	}
	return errors.New(strings.TrimPrefix(line, reportError))
}
