package agent

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// unit is the supervision of one resource: a machine, what it is about, and one goroutine that owns both.
type unit struct {
	agent *Agent
	log   *slog.Logger
	dir   folder
	key   string

	inbox chan request
	ticks chan struct{}
	// goodbye: the machine is being shut down, and its process is to end.
	goodbye chan struct{}

	// Set from outside, read by the goroutine.
	marked atomic.Pointer[map[string][]int] // processes by mark, of a scan; taken by the next tick
	stale  atomic.Bool                      // programs may have been replaced
	news   chan struct{}                    // something new is known of its process

	// Owned by the goroutine.
	m        machine
	told     *toldRecord
	last     *runningRecord // of the last start
	unsaved  bool           // last is not on disk
	damage   string         // a record cannot be read
	first    trigger        // what find found
	firstWhy *fault
	// turn is closed when first may be done; nil: at once. beginning is closed when it has come to something.
	turn      <-chan struct{}
	beginning chan struct{}
	beganOnce sync.Once
	proc      *process.Handle // nil without a process
	watch     watch
	broker    *brokerLink        // to the process of a broker; nil where there is none
	archiver  *archiverLink      // to that of an archiver
	leave     context.CancelFunc // ends the talk with it
	talks     sync.WaitGroup
	// unexamined ends the examination of the process; nil where there is none.
	unexamined context.CancelFunc
	warnings   []string
	// unwritten is why the table that the process follows is not as it was told; empty: it is.
	unwritten string
	// untaken is why the process has not the options that it was told; empty: it has. tuner sees to that, until endTuning.
	untaken   string
	tuner     *tuner
	endTuning context.CancelFunc
	tuneNews  chan tuneNews
	// unshown is why its link to NAME/ does not lead to what it was told.
	unshown  string
	outdated []string
	foreign  []int  // processes that bear the mark and are not the agent's
	evidence string // of the host when it became FAILED

	// bounding is held while an output is rotated, and while it is read for the journal.
	bounding sync.Mutex

	answers   atomic.Bool // its process was started with the script that answers questions
	condition condition

	mu      sync.Mutex
	view    observed.Resource
	visible bool
}

type request struct {
	order desired.Order
	reply chan error
}

func (a *Agent) newUnit(f folder) *unit {
	key := filepath.Base(f.cluster()) + "/" + f.resource()
	return &unit{
		agent: a, log: a.log.With("resource", key), dir: f, key: key,
		inbox: make(chan request), ticks: make(chan struct{}, 1), goodbye: make(chan struct{}), news: make(chan struct{}, 1),
		tuneNews: make(chan tuneNews), beginning: make(chan struct{}),
		m: machine{timings: a.cfg.Timings, phase: stopped, since: a.cfg.Now()},
	}
}

func (u *unit) now() time.Time { return u.agent.cfg.Now() }

// poke lets the unit look at its surroundings; several pokes may be one.
func (u *unit) poke() {
	select {
	case u.ticks <- struct{}{}:
	default:
	}
}

// loop supervises until ctx ends; the process goes on then.
func (u *unit) loop(ctx context.Context) {
	defer func() {
		u.closeBroker()
		u.closeCondition()
		u.stopTuning()
		u.closeArchiver()
		u.talks.Wait()
		if u.proc != nil {
			u.proc.Close()
		}
	}()
	// Of one that was found again.
	u.openBroker(ctx)
	u.reopenDoor()
	u.openCondition(ctx, false)
	u.openArchiver(ctx)
	u.answers.Store(u.hasAnswers())
	u.tellMembers()
	u.showFiles()
	if u.last != nil && u.told != nil && (u.last.Live != nil || u.last.Resource.ID != u.told.Resource.ID) {
		u.applyLive() // the last agent may have ended between recording an update and applying it
	}
	u.tune(ctx)
	if u.turn == nil {
		u.beginFirst(ctx)
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		u.publish()
		timer.Reset(u.pause())
		var ended <-chan struct{}
		if u.proc != nil {
			ended = u.proc.Done()
		}
		select {
		case <-ctx.Done():
			return
		case <-u.turn:
			u.beginFirst(ctx)
		case r := <-u.inbox:
			u.beginFirst(ctx) // an order is about what is, and does not wait
			err := u.order(ctx, &r.order)
			u.publish() // whoever gave the order sees it in the report
			r.reply <- err
		case <-ended:
			u.over(ctx)
		case <-timer.C:
			if u.m.phase == starting && u.isReady() {
				u.feed(ctx, ready, nil)
			}
			u.feed(ctx, due, nil)
		case <-u.ticks:
			u.tick(ctx)
		case <-u.goodbye:
			u.first, u.turn = "", nil
			u.feed(ctx, halt, nil)
		case n := <-u.tuneNews:
			u.tuneHeard(n)
		case <-u.news:
			if u.broker != nil || u.archiver != nil {
				u.refreshOutdated() // it may have said which version it is
			}
		}
	}
}

// pause is how long nothing is to be done by the clock.
func (u *unit) pause() time.Duration {
	d := time.Hour
	if !u.m.due.IsZero() {
		d = max(0, u.m.due.Sub(u.now()))
	}
	if u.m.phase == starting {
		d = min(d, u.agent.cfg.Timings.Poll)
	}
	return d
}

// feed hands the machine what happened, and does what it says.
func (u *unit) feed(ctx context.Context, t trigger, f *fault) {
	was := u.m.phase
	effects := u.m.step(t, f, u.now())
	if was != u.m.phase {
		u.log.Debug("state", "was", was, "is", u.m.phase, "because", t)
	}
	for _, e := range effects {
		switch e {
		case spawn, respawn:
			err := u.start(ctx, e == respawn)
			if ctx.Err() != nil && u.proc == nil {
				return // the agent ends; nothing was started
			}
			if err != nil {
				u.feed(ctx, ended, unstartable(err))
				return
			}
		case terminate:
			u.terminate(ctx, was == running)
		case kill:
			u.signal(unix.SIGKILL)
		case crashed:
			u.recordCrash(f)
		case gaveUp:
			u.evidence = u.surroundings(ctx)
			u.event("failed", u.failedText(), 0, nil)
		case tooLate:
			u.recordTooLate()
		}
	}
}

func (u *unit) signal(sig unix.Signal) {
	if u.proc == nil {
		return
	}
	if err := u.proc.Signal(sig); err != nil {
		u.log.Warn("cannot signal", "signal", unix.SignalName(sig), "error", err)
	}
}

// isReady reads the status file, which says so only for a process that lives (decisions 33).
func (u *unit) isReady() bool {
	if u.proc == nil || u.last == nil {
		return false
	}
	select {
	case <-u.proc.Done():
		return false
	default:
	}
	b, err := os.ReadFile(u.last.Command.StatusFile)
	return err == nil && strings.HasPrefix(string(b), "RUNNING")
}

// over: the process has ended.
func (u *unit) over(ctx context.Context) {
	// Before anything else: its cgroup goes with the last process, and with version 1 so does what was counted there.
	u.agent.keeper.countDeaths(u.key)
	id, exit := u.proc.Identity(), u.exit(ctx)
	u.proc.Close()
	u.proc = nil
	u.closeBroker()
	u.closeCondition()
	u.stopTuning()
	u.closeArchiver()
	u.watch, u.warnings, u.unwritten = watch{}, nil, ""
	u.tellEnding(id.PID)
	u.freeLock(ctx)
	f := classify(exit, u.m.phase == running, lastOutput(u.dir.stderr()), u.last.Command.program())
	if exit.Signal == unix.SIGKILL || !exit.Known {
		if why := u.agent.keeper.outOfMemory(u.key); why != "" {
			f.Text += ": " + why
		}
	}
	u.log.Info("ended", "pid", id.PID, "how", f.Text, "phase", u.m.phase)
	if u.agent.leaving(ctx) {
		// Whoever shuts the machine down ends all processes; what is healed now would only be in the way.
		u.m.noHeal = true
	}
	u.feed(ctx, ended, f)
	u.restService(ctx)
	u.sweepLogs()
}

// freeLock ends what a process has left behind, which would hold its lock. A service manager sees to that itself, and who
// holds the lock may be the next process already.
func (u *unit) freeLock(ctx context.Context) {
	if u.services() != nil {
		return
	}
	n, err := process.FreeLock(ctx, u.dir.lock(), u.agent.cfg.Timings.Leftovers)
	if n > 0 || err != nil {
		u.log.Info("ended what it left behind", "processes", n, "error", err)
	}
}

// order judges, records and begins.
func (u *unit) order(ctx context.Context, o *desired.Order) error {
	d, err := judge(o, u.agent.cfg.Instance, &situation{
		told: u.told, running: u.last, phase: u.m.phase, renewing: u.m.renew != "",
	}, u.now())
	if err != nil || d.done {
		return err
	}
	if d.forget {
		if err := removeFile(u.dir.told()); err != nil {
			return fmt.Errorf("cannot record the order for %s, so nothing is done: %w", u.key, err)
		}
		u.told = nil
	} else {
		t := &toldRecord{Resource: o.Resource, Hold: d.hold, Plan: o.Plan, Reason: o.Reason, At: u.now().UTC()}
		if o.Verb == desired.Stop && u.told != nil {
			t.Resource = u.told.Resource // a hold changes nothing else
		}
		if err := u.saveTold(t); err != nil {
			return fmt.Errorf("cannot record the order for %s, so nothing is done: %w", u.key, err)
		}
		u.told = t
	}
	u.damage = ""
	u.log.Info("told", "verb", o.Verb, "plan", o.Plan, "reason", o.Reason, "hold", d.hold)
	if o.Verb == desired.Update || d.then == run {
		u.applyLive()
		u.tune(ctx)
		u.tellBroker()
		u.tellArchiver()
	}
	if d.then != "" {
		// What follows decides on the process alone: healing that begins again must not start one first.
		u.m.noHeal = u.healingIsOff()
		u.feed(ctx, d.then, nil)
	} else {
		u.setHealing(ctx)
	}
	u.refreshOutdated()
	return nil
}

func (u *unit) saveTold(t *toldRecord) error {
	if err := os.MkdirAll(string(u.dir), 0o755); err != nil {
		return err
	}
	return u.agent.write(u.dir.told(), t)
}

// healingIsOff is what the part "heal" says: with "no" a crash is shown and not healed.
func (u *unit) healingIsOff() bool {
	return u.told != nil && slices.Equal(u.told.Resource.Part("heal"), []string{"no"})
}

// setHealing obeys the part "heal" where nothing else is ordered; what has crashed meanwhile is healed.
func (u *unit) setHealing(ctx context.Context) {
	off := u.healingIsOff()
	switch {
	case off && !u.m.noHeal:
		u.feed(ctx, healingOff, nil)
	case !off && u.m.noHeal:
		u.feed(ctx, healingOn, nil)
	}
}

// applyLive changes in place what can be, and remembers what the process was told since its start.
func (u *unit) applyLive() {
	if u.proc == nil || u.last == nil || u.told == nil || !known(&u.told.Resource) {
		return
	}
	id := u.proc.Identity()
	cpus, nice, openFiles := limitsOf(&u.told.Resource)
	u.warnings = nil
	for _, err := range []error{
		ifChanged(u, "cpus", func() error { return process.SetAffinity(id, cpus) }),
		ifChanged(u, "nice", func() error { return process.SetNice(id, nice) }),
		ifChanged(u, "open_files", func() error { return process.SetOpenFiles(id, openFiles) }),
	} {
		if err != nil {
			u.warnings = append(u.warnings, err.Error())
			u.log.Warn("cannot change in place", "error", err)
		}
	}
	u.showFiles()
	if u.tellMembers(); u.unwritten != "" {
		u.log.Error("not told", "why", u.unwritten)
	}
	was, known, live := u.last.parts(), maps.Clone(u.last.Known), map[string][]string{}
	for _, p := range u.told.Resource.Parts {
		switch {
		case p.Relation == desired.Live, p.Relation == desired.Follow && u.follows(), p.Relation == desired.Tune && u.tunes():
			live[p.Field] = p.Values
			delete(known, p.Field)
		case p.Relation == desired.Cover, p.Relation == desired.Follow:
			all := slices.Concat(was.Get(p.Field), p.Values)
			slices.Sort(all)
			if known == nil {
				known = map[string][]string{}
			}
			known[p.Field] = slices.Compact(all)
		}
	}
	if u.last.Live != nil && maps.EqualFunc(live, u.last.Live, slices.Equal) && maps.EqualFunc(known, u.last.Known, slices.Equal) {
		return
	}
	u.last.Known, u.last.Live = known, live
	u.saveLast()
}

// limitsOf a resource that is known.
func limitsOf(r *desired.Resource) (cpus []int, nice int, openFiles uint64) {
	switch {
	case r.Broker != nil:
		return r.Broker.CPUs, r.Broker.Nice, r.Broker.OpenFiles
	case r.Archiver != nil:
		return r.Archiver.CPUs, r.Archiver.Nice, r.Archiver.OpenFiles
	}
	return r.Node.CPUs, r.Node.Nice, r.Node.OpenFiles
}

// userOf is whom the process of a resource that is known becomes.
func (a *Agent) userOf(r *desired.Resource) string {
	return cmp.Or(userNamed(r), a.cfg.DefaultUser)
}

// userNamed by the cluster; empty: it names nobody.
func userNamed(r *desired.Resource) string {
	switch {
	case r.Broker != nil:
		return r.Broker.User
	case r.Archiver != nil:
		return r.Archiver.User
	}
	return r.Node.User
}

// ifChanged calls set where the process has another value of the part than it is told.
func ifChanged(u *unit, field string, set func() error) error {
	if slices.Equal(u.last.parts().Get(field), u.told.Resource.Part(field)) {
		return nil
	}
	return set()
}

// saveLast renews running.json; where that fails, it is tried again at each tick.
func (u *unit) saveLast() {
	err := u.agent.write(u.dir.running(), u.last)
	if err != nil && !u.unsaved {
		u.log.Error("cannot renew running.json; the process goes on", "error", err)
	}
	u.unsaved = err != nil
}

// event records something that happened without an order.
func (u *unit) event(kind, text string, pid int, tail []string) {
	u.agent.events.add(observed.Event{At: u.now(), Resource: u.key, Kind: kind, Text: text, PID: pid, Tail: tail})
	u.log.Info("event", "kind", kind, "text", text, "pid", pid)
	u.agent.changed()
}

func (u *unit) recordCrash(f *fault) {
	if u.m.want && u.m.cause != nil {
		f = u.m.cause // it was killed for this
	}
	kind, text, pid := "crashed", f.Text, 0
	if f.Kind == faultHung {
		kind, text = "hung", "killed, since it "+f.Text
	}
	switch {
	case !u.m.want:
		text += "; it is not started again, since nothing says that it should run"
	case u.m.noHeal:
		text += "; it is not started again, since healing is suspended"
	}
	if u.last != nil && f.Kind != faultStart {
		pid = u.last.Process.PID
	}
	u.event(kind, text, pid, f.Tail)
}

func (u *unit) recordTooLate() {
	pid := 0
	if u.proc != nil {
		pid = u.proc.Identity().PID
	}
	switch {
	case u.now().Sub(u.m.since) >= u.m.timings.StopDeadline:
		u.event("unkillable", "it does not end, "+u.now().Sub(u.m.since).Round(time.Second).String()+" after KILL", pid, nil)
	case u.m.cause != nil && u.m.cause.Kind == faultTimeout:
		u.m.cause.Tail = lastOutput(u.dir.stderr())
		u.event("start-timeout", u.m.cause.Text+": killed", pid, u.m.cause.Tail)
	default:
		u.event("stop-timeout", "it did not end within "+u.m.timings.StopDeadline.String()+" of TERM: killed", pid, nil)
	}
}
