package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
)

// tick looks at what changes without anybody saying so.
func (u *unit) tick(ctx context.Context) {
	if u.unsaved {
		u.saveLast()
	}
	if u.unwritten != "" {
		u.tellMembers()
		if u.unwritten == "" {
			u.log.Info("told the nodes of its cluster at last")
		}
	}
	if u.unshown != "" {
		u.showFiles()
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
		u.replaceHung(ctx)
	}
	if u.m.phase == failed {
		if now := u.surroundings(ctx); now != u.evidence {
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

// surroundings is what of the host may be the cause of a failure; another value is a reason to try again.
func (u *unit) surroundings(ctx context.Context) string {
	if u.told == nil || !known(&u.told.Resource) {
		return ""
	}
	_, keysErr := u.agent.keysOf(clusterOf(u.key), curveIDs(&u.told.Resource))
	common := fmt.Sprintf("room %t, keys %t", roomFor(u.agent.cfg.StateDir, diskNeeded) == nil, keysErr == nil)
	if u.told.Resource.Node == nil {
		// Without it the whole cluster is dumb: it is tried again as soon as its ports are free.
		free := 0
		for _, at := range u.told.Resource.Listens() {
			if checkPort(ctx, at, nil) == nil {
				free++
			}
		}
		self := fileOf(u.agent.cfg.Self)
		return fmt.Sprintf("ports free %d, program %d %s, %s", free, self.Size, self.ModTime, common)
	}
	dev := device(u.told.Resource.Node.Interface)
	l, there := u.agent.currentLinks()[dev]
	var program binary
	if path, err := u.agent.zeeks.resolve(u.told.Resource.Node.Zeek); err == nil {
		program = fileOf(path)
	}
	return fmt.Sprintf("interface %t %t %d, program %d %s, %s", there, l.Up, l.Index, program.Size, program.ModTime, common)
}

// refreshOutdated finds what a fresh start would take that the process has not (decisions 1).
func (u *unit) refreshOutdated() {
	u.outdated = nil
	switch {
	case u.proc == nil || u.last == nil || !known(&u.last.Resource):
		return
	case u.last.Resource.Node == nil:
		u.outdated = u.helperOutdated()
		return
	}
	if _, now, ok := u.agent.zeeks.current(u.last.Resource.Node.Zeek); ok {
		if text := u.last.Zeek.newer(now); text != "" {
			u.outdated = append(u.outdated, text)
		}
	}
	if u.told != nil && u.told.Resource.Node != nil {
		if was, is := u.last.Resource.Node.Membership, u.told.Resource.Node.Membership; was != is {
			const restart = desired.MembershipRestart
			u.outdated = append(u.outdated, fmt.Sprintf("membership %s -> %s", cmp.Or(was, restart), cmp.Or(is, restart)))
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

// helperOutdated is the same for a broker or an archiver. It says itself which version it is: the program may have been replaced
// between its start and ours.
func (u *unit) helperOutdated() (out []string) {
	if !u.last.Zeek.sameFile(fileOf(u.agent.cfg.Self)) {
		if was, is := u.helperVersion(), u.agent.cfg.Version; was != "" && is != "" && was != is {
			out = append(out, fmt.Sprintf("zeekrec %s -> %s", was, is))
		}
	}
	l, err := launch.Render(&u.last.Resource, u.place(desired.ZeekFacts{}))
	if err == nil && len(u.last.Command.Argv) > 0 && !slices.Equal(l.Argv, u.last.Command.Argv) {
		out = append(out, "command line")
	}
	return out
}
