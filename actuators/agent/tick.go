package agent

import (
	"context"
	"fmt"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
)

// tick looks at what changes without anybody saying so.
func (u *unit) tick(ctx context.Context) {
	if u.unsaved {
		u.saveLast()
	}
	if u.stale.Swap(false) {
		u.refreshOutdated()
	}
	if marks := u.marked.Swap(nil); marks != nil {
		u.setForeign((*marks)[u.mark()])
	}
	if u.proc != nil {
		u.boundOutputs()
		v := u.watch.look(u.agent.currentLinks())
		if v.kind != "" {
			u.event(v.kind, v.text, u.last.Process.PID, nil)
		}
		if v.replace {
			u.last.InterfaceIndex = u.watch.index
			u.feed(ctx, replace, nil)
		}
	}
	if u.m.phase == failed {
		if now := u.surroundings(); now != u.evidence {
			u.log.Info("tried again, since its surroundings have changed", "were", u.evidence, "are", now)
			u.evidence = now
			u.feed(ctx, causeGone, nil)
		}
	}
}

// setForeign takes from a scan what is not the agent's own and still there: its own process may have been
// another one then.
func (u *unit) setForeign(pids []int) {
	u.foreign = nil
	for _, pid := range pids {
		if (u.proc == nil || pid != u.proc.Identity().PID) && process.HasMark(pid, u.mark()) {
			u.foreign = append(u.foreign, pid)
		}
	}
}

func (u *unit) boundOutputs() {
	for _, path := range []string{u.dir.stdout(), u.dir.stderr()} {
		if _, err := process.RotateOutput(path, outputLimit, outputKeep); err != nil {
			u.log.Warn("cannot bound an output", "error", err)
		}
	}
}

// surroundings is what of the host may be the cause of a failure; another value is a reason to try again.
func (u *unit) surroundings() string {
	if u.told == nil || u.told.Resource.Node == nil {
		return ""
	}
	dev := device(u.told.Resource.Node.Interface)
	l, there := u.agent.currentLinks()[dev]
	var program binary
	if path, err := u.agent.zeeks.resolve(u.told.Resource.Node.Zeek); err == nil {
		program = fileOf(path)
	}
	return fmt.Sprintf("interface %t %t %d, program %d %s, room %t",
		there, l.Up, l.Index, program.Size, program.ModTime, roomFor(u.agent.cfg.StateDir, diskNeeded) == nil)
}

// refreshOutdated finds what a fresh start would take that the process has not (decisions 1).
func (u *unit) refreshOutdated() {
	u.outdated = nil
	if u.proc == nil || u.last == nil || u.last.Resource.Node == nil {
		return
	}
	if _, now, ok := u.agent.zeeks.current(u.last.Resource.Node.Zeek); ok {
		if text := u.last.Zeek.newer(now); text != "" {
			u.outdated = append(u.outdated, text)
		}
	}
	// With the Zeek that it was started with: only what zeekrec itself would do otherwise counts here.
	z := u.last.Zeek
	l, err := launch.Render(&u.last.Resource, u.place(desired.ZeekFacts{
		Path: z.Path, Version: z.Version, ZeekPath: z.ZeekPath, StandIn: z.StandIn,
	}))
	if err == nil && u.last.Command.Hash != "" && l.Hash != u.last.Command.Hash {
		u.outdated = append(u.outdated, "generated files")
	}
}
