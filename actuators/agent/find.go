package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
)

// findPatience is how long a process may be on its way: executed just when the last agent was killed.
const (
	findPatience = 2 * time.Second
	findPoll     = 20 * time.Millisecond
)

// find reads the records of a resource and looks for its process. It touches no process; what there is
// to start or stop is left to loop, as u.first.
func (u *unit) find(ctx context.Context) {
	defer u.publish()
	var err error
	if u.told, err = readJSON[toldRecord](u.dir.told()); err != nil {
		// Not a wish to stop: its process goes on, and waits to be told again.
		u.damage = "its record cannot be read: " + err.Error()
		u.event("damaged", u.damage, 0, nil)
	}
	if u.last, err = readJSON[runningRecord](u.dir.running()); err != nil {
		u.event("damaged", "its record cannot be read, and is set aside: "+err.Error(), 0, nil)
		if err := os.Rename(u.dir.running(), u.dir.running()+".damaged"); err != nil {
			u.log.Error("cannot set aside", "error", err)
		}
	}
	u.m.noHeal = u.healingIsOff()

	if r := u.about(); r != nil {
		u.agent.scribe.follow(u, r.Role) // before anything is rotated
	} else if u.last != nil {
		u.agent.scribe.follow(u, u.last.Resource.Role)
	}
	wanted := u.told != nil && u.told.Hold == ""
	switch found := u.findProcess(ctx); {
	case found && u.told == nil:
		u.m.step(orphaned, nil, u.now())
		u.event("adopted", fmt.Sprintf("found as process %d; nothing says that it should run", u.last.Process.PID), u.last.Process.PID, nil)
	case found:
		t := unready
		if u.isReady() {
			t = adopted
		}
		u.m.step(t, nil, u.now())
		u.event("adopted", fmt.Sprintf("found again as process %d, incarnation %d", u.last.Process.PID, u.last.Incarnation), u.last.Process.PID, nil)
		if !wanted {
			u.first = halt // it was told to stop just before
		}
	case wanted && (u.last == nil || u.last.Resource.ID != u.told.Resource.ID):
		u.first = run // told, and not begun
	case wanted:
		u.first = replaceLost
		u.firstWhy = &fault{Kind: faultOther, Text: u.lostText(), Tail: lastOutput(u.dir.stderr())}
		u.event("lost", u.firstWhy.Text, u.last.Process.PID, u.firstWhy.Tail)
		u.tellEnding(u.last.Process.PID)
	}
	if u.proc != nil {
		u.watch = watchOf(u.last)
		u.refreshOutdated()
	}
	if u.first == "" {
		u.sweepLogs()
	}
}

func (u *unit) lostText() string {
	if boot, err := process.BootID(); err == nil && boot != u.last.Process.BootID {
		return "the machine was restarted"
	}
	return fmt.Sprintf("process %d ended while zeekrec was away", u.last.Process.PID)
}

// findProcess looks for the process of the last start: first by its identity, then, where the record does
// not tell, by its lock and its mark. It sets u.proc.
func (u *unit) findProcess(ctx context.Context) bool {
	u.catchUp()
	mark := u.mark()
	for patience := u.now().Add(findPatience); ; {
		known := u.last != nil && process.Alive(u.last.Process)
		if known && process.HasMark(u.last.Process.PID, mark) && u.open(u.last.Process) {
			return true
		}
		held, err := process.LockHeld(u.dir.lock())
		if err != nil {
			u.log.Warn("cannot ask for the lock", "error", err)
		}
		if held && u.findMarked(mark) {
			return true
		}
		// A launcher that waits for a starter that is gone ends by itself; one that was let go is
		// about to bear the mark.
		if !held && !known || u.now().After(patience) || ctx.Err() != nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(findPoll):
		}
	}
	if u.last != nil {
		u.reapLast(ctx)
		u.freeLock(ctx)
	}
	return false
}

// findMarked adopts the one process that bears the mark, while the lock is held: its start could not be
// recorded, so it is an incarnation more than is known.
func (u *unit) findMarked(mark string) bool {
	pids, err := process.FindMarked(mark)
	if err != nil || len(pids) != 1 {
		return false
	}
	id, err := process.Identify(pids[0])
	if err != nil || !u.open(id) {
		return false
	}
	next := runningRecord{StartedAt: u.now().UTC()}
	if u.last != nil {
		next = *u.last
	} else if u.told != nil {
		next.Resource = u.told.Resource
	} else {
		next.Resource = desired.Resource{Cluster: clusterOf(u.key), Name: u.dir.resource(), Type: typeOf(id.PID)}
	}
	next.Process = id
	next.Incarnation++
	next.Command.StatusFile = mark
	if len(next.Command.Argv) == 0 {
		next.Command.Argv, _ = process.Cmdline(id.PID)
	}
	u.last = &next
	u.saveLast()
	return true
}

// typeOf a process of which no record speaks, by its arguments.
func typeOf(pid int) desired.Type {
	if argv, err := process.Cmdline(pid); err == nil && len(argv) > 1 {
		switch argv[1] {
		case "broker":
			return desired.TypeBroker
		case "archive":
			return desired.TypeArchiver
		}
	}
	return desired.TypeNode
}

func (u *unit) open(id process.Identity) bool {
	h, err := process.Open(id)
	if err != nil {
		if !errors.Is(err, process.ErrGone) {
			u.log.Error("cannot watch", "pid", id.PID, "error", err)
		}
		return false
	}
	u.proc = h
	return true
}

// reapLast takes leave of a process that has ended: where it was a child of this very process, it is
// reaped. One whose first thread alone has ended is not waited for any longer than for leftovers.
func (u *unit) reapLast(ctx context.Context) {
	h, err := process.Open(u.last.Process)
	if err != nil {
		return
	}
	defer h.Close()
	if process.Alive(u.last.Process) {
		return
	}
	deadline := time.NewTimer(u.agent.cfg.Timings.Leftovers)
	defer deadline.Stop()
	select {
	case <-h.Done():
	case <-deadline.C:
		u.log.Warn("has ended, and is not gone", "pid", u.last.Process.PID)
	case <-ctx.Done():
	}
}

// mark is the -U argument of the resource's processes.
func (u *unit) mark() string {
	if u.last != nil && u.last.Command.StatusFile != "" {
		return u.last.Command.StatusFile
	}
	r := &desired.Resource{Node: &desired.NodeSpec{}}
	// It depends on the folder alone.
	l, err := launch.Render(r, u.place(desired.ZeekFacts{Path: "/zeek", Version: desired.AssumedVersion}))
	if err != nil {
		return ""
	}
	return l.StatusFile
}
