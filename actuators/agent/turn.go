package agent

import (
	"context"
	"time"
)

// After the machine was restarted, everything that is told has to start, and in order: a logger before those who send it logs, workers when there is somebody to
// report to. Each waits for the roles before its own in its cluster, those of them that have to start as well, and no longer than a start may take: one that does
// not come up keeps nobody from running.

// starts reports whether the trigger that find has found is a start.
func (t trigger) starts() bool { return t == run || t == replaceLost }

// takeTurns gives each unit that has to start its turn. It is for Run, before the units' loops begin.
func (a *Agent) takeTurns(ctx context.Context, units []*unit) {
	for _, u := range units {
		if !u.first.starts() || u.told == nil {
			continue
		}
		var before []*unit
		for _, v := range units {
			if v.first.starts() && v.told != nil && clusterOf(v.key) == clusterOf(u.key) && v.told.Resource.Role.Rank() < u.told.Resource.Role.Rank() {
				before = append(before, v)
			}
		}
		if len(before) == 0 {
			continue
		}
		turn := make(chan struct{})
		u.turn = turn
		a.tasks.Go(func() {
			defer close(turn)
			patience := time.NewTimer(a.cfg.Timings.StartDeadline)
			defer patience.Stop()
			for _, v := range before {
				select {
				case <-v.beginning:
				case <-patience.C:
					u.log.Warn("starts, though what comes before it is not up", "before", v.key)
					return
				case <-ctx.Done():
					return
				}
			}
		})
	}
}

// beginFirst does what find has found to be done.
func (u *unit) beginFirst(ctx context.Context) {
	t := u.first
	u.first, u.turn = "", nil
	if t != "" {
		u.feed(ctx, t, u.firstWhy)
	}
}

// noteBegun tells those who wait when the first start has come to something, good or bad.
func (u *unit) noteBegun() {
	if u.first == "" && u.m.phase != starting {
		u.beganOnce.Do(func() { close(u.beginning) })
	}
}
