package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

// leaveWithin bounds the stop of all processes when the machine is shut down. Service managers wait a minute and a half.
const leaveWithin = 80 * time.Second

// leavePoll is how often is looked whether the processes of a role are gone.
const leavePoll = 50 * time.Millisecond

// leaving reports whether the machine is being shut down.
func (a *Agent) leaving(ctx context.Context) bool {
	return a.cfg.Groups != nil && a.cfg.Groups.Stopping(ctx)
}

// leave stops all processes in order where the machine is being shut down: who sends before who takes, loggers after all
// that send to them. What they were told stays, so that the next boot starts them. Otherwise it leaves them alone.
func (a *Agent) leave(ctx context.Context) {
	select {
	case <-a.ready:
	default:
		return // it is not known what runs; whoever shuts down ends it
	}
	if !a.leaving(ctx) {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, leaveWithin, fmt.Errorf("not done within %s", leaveWithin))
	defer cancel()
	a.log.Info("The machine is being shut down: stopping all processes, in order")
	for _, role := range []desired.Role{
		desired.RoleWorker, desired.RoleProxy, desired.RoleManager, desired.RoleLogger, desired.RoleBroker, desired.RoleArchiver,
	} {
		if err := a.endRole(ctx, role); err != nil {
			a.log.Warn("cannot stop all in order; the rest is left to who shuts down", "error", err)
			return
		}
	}
	a.log.Info("All processes are stopped")
}

// endRole lets the processes of a role end, and waits for it.
func (a *Agent) endRole(ctx context.Context, role desired.Role) error {
	var units []*unit
	for _, u := range a.allUnits() {
		if v, ok := u.current(); ok && v.Role == string(role) {
			units = append(units, u)
		}
	}
	for _, u := range units {
		select {
		case u.goodbye <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	look := time.NewTicker(leavePoll)
	defer look.Stop()
	for _, u := range units {
		for {
			if v, ok := u.current(); !ok || v.PID == 0 {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s: %w", u.key, context.Cause(ctx))
			case <-look.C:
			}
		}
	}
	return nil
}
