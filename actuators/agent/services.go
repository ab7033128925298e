package agent

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zeekrec/zeekrec/actuators/group"
	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/desired"
)

// Services are Groups whose processes a service manager starts, and starts again at once when they end, also while the agent
// is away. Who restarts what is settled so: the service manager does what can be done at once; as soon as a pause is due, or
// nothing is to run, the agent stops the service, and starts it when the time has come.
type Services interface {
	Groups
	// Service is the name of a node's unit.
	Service(cluster, node string) string
	// Start runs argv as the service of a node, with the limits of its group where that is new.
	Start(ctx context.Context, n group.Name, node string, l desired.GroupLimits, argv []string) error
	// Stop begins to end the service; false: there is none.
	Stop(ctx context.Context, cluster, node string) (bool, error)
	// Runs reports whether the service runs, or is about to be started again.
	Runs(ctx context.Context, cluster, node string) (bool, error)
	// Exit is how a process of the service has ended; not known where the service has had another one since.
	Exit(ctx context.Context, cluster, node string, pid int) process.Exit
}

const (
	// serviceStarts is how long a service may take until its process is on record.
	serviceStarts = 20 * time.Second
	// serviceReturns is how long the service manager may take to start one again.
	serviceReturns = 5 * time.Second
	servicePoll    = 20 * time.Millisecond
)

func (f folder) service() string { return string(f) + "/service.json" }
func (f folder) started() string { return string(f) + "/started.json" }

// services of the agent; nil: it starts processes itself.
func (u *unit) services() Services {
	s, _ := u.agent.cfg.Groups.(Services)
	return s
}

// startService lets the service manager start the process, and waits until it is on record, which is before it executes
// anything but zeekrec's launcher.
func (u *unit) startService(ctx context.Context, s Services, spec process.Spec) (process.Started, error) {
	if err := process.WriteService(u.dir.service(), u.dir.started(), spec); err != nil {
		return process.Started{}, fmt.Errorf("cannot start: %w", err)
	}
	argv := []string{u.agent.cfg.Self, u.agent.cfg.Launcher[len(u.agent.cfg.Launcher)-1], u.dir.service()}
	m := u.member(u.told.Resource.Role, 0)
	if err := s.Start(ctx, m.group, u.dir.resource(), m.limits, argv); err != nil {
		return process.Started{}, err
	}
	var started process.Started
	ok, err := u.await(ctx, s, serviceStarts, func() (found bool) {
		started, found = process.ReadStarted(u.dir.started())
		return found
	})
	if err == nil && !ok {
		name := s.Service(clusterOf(u.key), u.dir.resource())
		err = fmt.Errorf("cannot start: %s ended before it was on record; see: journalctl -u '%s'", name, name)
	}
	return started, err
}

// await looks until there is what is waited for; false: the service does not run any more, or it took too long.
func (u *unit) await(ctx context.Context, s Services, within time.Duration, there func() bool) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	look := time.NewTicker(servicePoll)
	defer look.Stop()
	for {
		if there() {
			return true, nil
		}
		runs, err := s.Runs(ctx, clusterOf(u.key), u.dir.resource())
		if ctx.Err() != nil {
			return there(), nil
		}
		if err != nil || !runs {
			return there(), err
		}
		select {
		case <-ctx.Done():
		case <-look.C:
		}
	}
}

// returned adopts the process that the service manager has started, or is about to start, in place of the last one. What was
// updated in place since its start is not in what the service manager starts: then the agent does it.
func (u *unit) returned(ctx context.Context, s Services) bool {
	if u.last == nil || u.told == nil || u.last.Resource.ID != u.told.Resource.ID {
		return false
	}
	var next process.Started
	ok, err := u.await(ctx, s, serviceReturns, func() bool {
		var found bool
		next, found = process.ReadStarted(u.dir.started())
		return found && next.Process != u.last.Process && process.Alive(next.Process)
	})
	if err != nil || !ok || !u.open(next.Process) {
		return false
	}
	u.succeed(&next)
	u.markOutputs(u.last)
	u.event("restarted", fmt.Sprintf("started again by systemd as process %d, incarnation %d", next.Process.PID, u.last.Incarnation), next.Process.PID, nil)
	return true
}

// succeed records the process that took the last one's place.
func (u *unit) succeed(next *process.Started) {
	now := *u.last
	now.Process, now.StartedAt = next.Process, u.now().UTC()
	if u.last.Process.PID != 0 { // else the agent was killed before it knew which process it had started
		now.Incarnation++
		now.Restarts++
	}
	now.Live, now.Known = nil, nil
	u.last = &now
	u.warnings = next.Warnings
	u.saveLast()
}

// catchUp takes over what the service manager has started while the agent was away.
func (u *unit) catchUp() {
	if u.services() == nil || u.last == nil {
		return
	}
	next, ok := process.ReadStarted(u.dir.started())
	if !ok || next.Process == u.last.Process || !process.Alive(next.Process) || !process.HasMark(next.Process.PID, u.mark()) {
		return
	}
	was := u.last.Process.PID
	if u.succeed(&next); was == 0 {
		return
	}
	u.event("restarted", fmt.Sprintf("systemd has started it again as process %d while zeekrec was away", next.Process.PID), next.Process.PID, nil)
}

// endProcess asks the process to end: by its service manager where that would start it again otherwise.
func (u *unit) endProcess(ctx context.Context, proc *process.Handle) error {
	if s := u.services(); s != nil {
		there, err := s.Stop(ctx, clusterOf(u.key), u.dir.resource())
		if there && err == nil {
			return nil
		}
		if err != nil {
			u.log.Warn("cannot stop the service; its process is sent TERM", "error", err)
		}
	}
	return proc.Signal(unix.SIGTERM)
}

// restService keeps the service manager from starting what the agent waits with, or does not want to run.
func (u *unit) restService(ctx context.Context) {
	s := u.services()
	if s == nil || u.m.phase.alive() {
		return
	}
	if _, err := s.Stop(ctx, clusterOf(u.key), u.dir.resource()); err != nil {
		u.log.Warn("cannot stop the service", "error", err)
	}
	if !u.m.want {
		// It has secrets, and nobody needs it until the next start.
		if err := os.Remove(u.dir.service()); err != nil && !os.IsNotExist(err) {
			u.log.Warn("cannot remove what the service was started from", "error", err)
		}
	}
}

// exit is how the unit's process has ended.
func (u *unit) exit(ctx context.Context) process.Exit {
	e := u.proc.Exit()
	if s := u.services(); s != nil && !e.Known {
		return s.Exit(ctx, clusterOf(u.key), u.dir.resource(), u.proc.Identity().PID)
	}
	return e
}
