package archive

import (
	"context"
	"fmt"
	"os/exec"
	"syscall"
	"time"
)

// commandLongest bounds one run of a command, or two intervals do where that is longer.
const commandLongest = time.Hour

// command runs somebody else's archiver over the queue, as Zeek's management framework does: by the shell, as COMMAND -1
// QUEUE ROOT, and only where something waits. What it does with the logs is its affair.
func (a *Archiver) command(ctx context.Context, s *Settings) (err error) {
	a.passing.Lock()
	defer a.passing.Unlock()
	defer func() { a.tally.passed(a.now(), err) }()
	a.count()
	before := a.tally.queued()
	if before.Files == 0 {
		return nil
	}
	if err := a.makeDir(s.Root); err != nil {
		return fmt.Errorf("cannot make the archive's folder: %w", err)
	}
	limit := max(commandLongest, 2*s.Interval)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it did not end within %s", limit))
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", s.Command+` -1 "$1" "$2"`, "sh", a.queue, s.Root)
	// All that it starts ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var said tail
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("the command %q failed: %w%s", s.Command, err, said.suffix())
	}
	a.count()
	if after := a.tally.queued(); after.Files < before.Files {
		a.tally.taken(a.now(), before, after)
	}
	return nil
}
