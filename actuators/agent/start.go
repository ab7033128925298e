package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
)

// nodeUmask of node processes: logs are for everybody to read, as Zeek itself has it.
const nodeUmask = 0o022

// start starts a process from told. Healing takes the very command and files that the last process was
// started with, as long as it is told the same: a newer zeekrec does not change by a crash what it would
// not change by itself.
//
// What is started is on disk before it runs. Only healing goes on where the disk takes no more: the
// process is then known by its lock and its mark, and its incarnation is put right at the next find.
func (u *unit) start(ctx context.Context, healing bool) error {
	if u.told == nil {
		return fmt.Errorf("cannot start %s: nothing says how", u.key)
	}
	cmd, zeek, err := u.command(ctx, healing)
	if err != nil {
		return err
	}
	if err := u.makeRoom(&cmd, healing); err != nil {
		return fmt.Errorf("cannot start: %w", err)
	}
	secrets, missing, err := u.agent.secrets(&u.told.Resource)
	if err != nil {
		return fmt.Errorf("cannot start: %w", err)
	}
	if s := u.services(); s != nil && healing && u.returned(ctx, s) {
		u.begun(ctx)
		return nil
	}
	// The lock does not help where somebody removed its file: nothing runs twice, not even then.
	if pids, err := process.FindMarked(cmd.StatusFile); err != nil {
		return err
	} else if len(pids) > 0 {
		u.foreign = pids
		return fmt.Errorf("cannot start: process %d was started with the same -U %s, and not by this agent", pids[0], cmd.StatusFile)
	}
	spec := process.Spec{
		Argv: cmd.Argv, Env: slices.Concat(cmd.Env, secrets), Dir: cmd.Dir, Stdout: u.dir.stdout(), Stderr: u.dir.stderr(),
		LockFile: u.dir.lock(), User: cmd.User, Capabilities: capabilitiesOf(u.told.Resource.Role), CPUs: cmd.CPUs, Nice: cmd.Nice, Umask: nodeUmask,
		Limits: process.Limits{OpenFiles: cmd.OpenFiles},
	}
	before, next := u.last, u.next(cmd, zeek, healing)
	if s := u.services(); s != nil {
		err = u.runService(ctx, s, spec, next)
	} else {
		err = u.runChild(ctx, spec, next, healing)
	}
	if err != nil {
		return err
	}
	u.warnings = append(u.warnings, missing...)
	u.begun(ctx)
	u.log.Info("started", "pid", next.Process.PID, "incarnation", next.Incarnation, "program", zeek.Path, "version", zeek.Version, "healing", healing)
	if healing {
		text := fmt.Sprintf("started again as process %d, incarnation %d", next.Process.PID, next.Incarnation)
		switch {
		case before == nil:
		case before.Zeek.Version != "" && before.Zeek.Version != zeek.Version:
			text += fmt.Sprintf(", with Zeek %s (it was %s)", zeek.Version, before.Zeek.Version)
		case next.Resource.Node == nil && before.Zeek.Path != "" && !before.Zeek.sameFile(zeek):
			text += ", with another zeekrec"
		}
		u.event("restarted", text, next.Process.PID, nil)
	}
	return nil
}

// capabilitiesOf a role are those that its process keeps when it is not root's: what captures has to be allowed to.
func capabilitiesOf(r desired.Role) []process.Capability {
	if r != desired.RoleWorker {
		return nil
	}
	return []process.Capability{process.CapNetRaw, process.CapNetAdmin, process.CapSysNice}
}

// runChild starts the process itself.
func (u *unit) runChild(ctx context.Context, spec process.Spec, next *runningRecord, healing bool) error {
	p, err := process.Prepare(ctx, u.agent.cfg.Launcher, spec)
	if err != nil {
		return err
	}
	next.Process = p.Identity()
	// Before it executes anything, so that all of its memory counts there.
	u.agent.keeper.join(ctx, u.key, u.member(u.told.Resource.Role, next.Process.PID))
	if err := u.agent.write(u.dir.running(), next); err != nil {
		if !healing || u.last == nil || u.last.Resource.ID != u.told.Resource.ID {
			p.Abort()
			return fmt.Errorf("cannot start: cannot record it: %w", err)
		}
		u.unsaved = true
		u.log.Error("cannot renew running.json; healing goes on", "error", err)
	} else {
		u.unsaved = false
	}
	u.last = next
	u.markOutputs(next)
	h, err := p.Go(ctx)
	if err != nil {
		return err
	}
	u.proc, u.warnings = h, slices.Clone(p.Warnings)
	return nil
}

// runService lets a service manager start it. The record is first without a process, then with the one that recorded itself.
func (u *unit) runService(ctx context.Context, s Services, spec process.Spec, next *runningRecord) error {
	if err := u.agent.write(u.dir.running(), next); err != nil {
		return fmt.Errorf("cannot start: cannot record it: %w", err)
	}
	u.last = next
	u.markOutputs(next)
	started, err := u.startService(ctx, s, spec)
	if err != nil {
		return err
	}
	next.Process = started.Process
	u.saveLast()
	if !u.open(started.Process) {
		return fmt.Errorf("cannot start: process %d ended at once", started.Process.PID)
	}
	u.warnings = started.Warnings
	return nil
}

// begun: there is a process.
func (u *unit) begun(ctx context.Context) {
	u.watch = watchOf(u.last)
	u.openBroker(ctx)
	u.openCondition(ctx, true)
	u.openArchiver(ctx)
	u.answers.Store(u.hasAnswers())
	u.refreshOutdated()
}

// watchOf is the watch over the interface of a process; one of nothing where it has none.
func watchOf(r *runningRecord) watch {
	if r.Resource.Node == nil {
		return watch{}
	}
	return watch{dev: device(r.Resource.Node.Interface), index: r.InterfaceIndex}
}

// next is the record of the process that is about to run.
func (u *unit) next(cmd command, zeek binary, healing bool) *runningRecord {
	n := &runningRecord{
		Resource: u.told.Resource, Incarnation: 1, StartedAt: u.now().UTC(), Zeek: zeek, Command: cmd,
		Tuned: optionsHash(&u.told.Resource),
	}
	if _, err := os.Stat(launch.TuneScript(cmd.GenDir)); err != nil {
		n.Resource.Tunable = nil // healed as an older zeekrec started it
	}
	if u.last != nil {
		n.Incarnation = u.last.Incarnation + 1
		if healing {
			n.Restarts = u.last.Restarts + 1
		}
	}
	if w := watchOf(n); w.dev != "" {
		n.InterfaceIndex = listLinks(u.agent.cfg.Interfaces)[w.dev].Index
	}
	return n
}

// command is what to execute, its files being on disk.
func (u *unit) command(ctx context.Context, healing bool) (command, binary, error) {
	r := &u.told.Resource
	if !known(r) {
		return command{}, binary{}, fmt.Errorf("cannot start a resource of type %q", r.Type)
	}
	facts, program, err := u.agent.program(ctx, r)
	if err != nil {
		return command{}, binary{}, err
	}
	if healing && u.last != nil && u.last.Resource.ID == r.ID && u.last.Zeek.Path == program.Path &&
		u.last.Zeek.Version == program.Version && (r.Node == nil || isDir(u.last.Command.GenDir)) {
		return u.last.Command, program, nil
	}
	l, err := launch.Render(r, u.place(facts))
	if err != nil {
		return command{}, binary{}, err
	}
	if err := u.agent.putGenerated(ctx, l); err != nil {
		return command{}, binary{}, err
	}
	return commandOf(l), program, nil
}

// program is what a resource is started with: a Zeek, or zeekrec itself.
func (a *Agent) program(ctx context.Context, r *desired.Resource) (desired.ZeekFacts, binary, error) {
	if r.Node == nil {
		self := fileOf(a.cfg.Self)
		if self.Size == 0 {
			return desired.ZeekFacts{}, self, fmt.Errorf("cannot find zeekrec itself, which is to be the "+string(r.Type)+": there is no program at %q", a.cfg.Self)
		}
		return desired.ZeekFacts{}, self, nil
	}
	facts, zeek := a.zeeks.facts(ctx, r.Node.Zeek)
	if facts.Err != "" {
		return facts, zeek, errors.New(facts.Err)
	}
	return facts, zeek, nil
}

func (u *unit) place(facts desired.ZeekFacts) launch.Place { return u.agent.place(u.dir, facts) }

func (a *Agent) place(f folder, facts desired.ZeekFacts) launch.Place {
	return launch.Place{ClusterDir: f.cluster(), NodeDir: string(f), Zeek: facts, Self: a.cfg.Self, User: a.cfg.DefaultUser}
}

// putGenerated puts the generated files of a launch where it expects them.
func (a *Agent) putGenerated(ctx context.Context, l launch.Launch) error {
	if len(l.Files) == 0 {
		return nil
	}
	files := make(map[string]desired.TreeFile, len(l.Files))
	for name, text := range l.Files {
		if err := checkPath(name); err != nil {
			return fmt.Errorf("cannot write generated files: %w", err)
		}
		files[name] = desired.TreeFile{Data: []byte(text)}
	}
	if err := a.putDir(ctx, l.GenDir, files); err != nil {
		return fmt.Errorf("cannot write generated files: %w", err)
	}
	return nil
}

// makeRoom makes the working folder and the queue, and removes the last process's status.
func (u *unit) makeRoom(cmd *command, healing bool) error {
	for _, d := range []string{cmd.Dir, cmd.QueueDir} {
		if d == "" {
			continue
		}
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
		if err := handOver(d, cmd.User); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(cmd.StatusFile), 0o755); err != nil {
		return err
	}
	if err := os.Remove(cmd.StatusFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if u.told.Resource.Broker != nil {
		return u.makeBrokerRoom(healing)
	}
	if u.told.Resource.Archiver != nil {
		return u.makeArchiverRoom(healing)
	}
	u.writeMembers()
	if u.showFiles(); u.unshown != "" {
		return errors.New(u.unshown)
	}
	return u.clearOptions()
}

// handOver gives a folder to the user that the process becomes.
func handOver(dir, name string) error {
	c, err := process.LookupUser(name)
	if err != nil || c == nil {
		return err
	}
	return os.Chown(dir, int(c.Uid), int(c.Gid))
}

// markOutputs adds a line to both outputs: what follows is the new process's (decisions 9).
func (u *unit) markOutputs(r *runningRecord) {
	line := fmt.Sprintf("%s%s zeekrec: started pid %d, incarnation %d",
		startMark, u.now().UTC().Format(time.RFC3339Nano), r.Process.PID, r.Incarnation)
	for _, path := range []string{u.dir.stdout(), u.dir.stderr()} {
		if err := process.AppendLine(path, line); err != nil {
			u.log.Warn("cannot mark the start in the output", "error", err)
		}
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
