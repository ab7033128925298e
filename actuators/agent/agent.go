package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// Agent supervises the resources of one instance. Make one with New; Run does the work.
type Agent struct {
	cfg    Config
	log    *slog.Logger
	events *eventLog
	zeeks  *zeeks
	probes *probes
	parsed parsed
	// brokers that run here.
	brokers brokers
	keeper  *keeper
	scribe  *scribe
	links   atomic.Pointer[links]
	host    atomic.Pointer[observed.Host]

	changes chan struct{}
	asked   chan chan<- struct{} // for a sign of life
	ready   chan struct{}        // closed when all processes of earlier runs were found again
	dirs    sync.Mutex           // of putDir

	mu    sync.Mutex
	ctx   context.Context // of Run; nil before and after
	units map[string]*unit
	tasks sync.WaitGroup // one for each unit
	began bool

	// write puts a record on disk; tests make it fail.
	write func(path string, v any) error
}

// New makes an agent; it does nothing before Run.
func New(cfg Config) (*Agent, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	a := &Agent{
		cfg: cfg, log: cfg.Log,
		zeeks:  &zeeks{fallback: cfg.DefaultZeek, ask: cfg.AskZeek, known: map[string]*zeekEntry{}},
		probes: newProbes(), changes: make(chan struct{}, 1), asked: make(chan chan<- struct{}), ready: make(chan struct{}),
		units: map[string]*unit{}, write: writeJSON,
	}
	numbers := a.eventsFile()
	a.events = newEventLog(numbers, cfg.Now(), cfg.Log, func(r *eventNumbers) error { return a.write(numbers, r) })
	a.keeper = newKeeper(a)
	a.scribe = &scribe{agent: a, to: cfg.Journal, outputs: map[string]*journaled{}}
	a.look()
	a.host.Store(hostNow(cfg.Version))
	return a, nil
}

// Run finds the processes of earlier runs again, without touching them, replaces what has ended
// meanwhile, and supervises until ctx ends. The processes go on then; only where the machine is being shut down it stops
// them first, in order. It can be called once.
func (a *Agent) Run(ctx context.Context) error {
	a.mu.Lock()
	if a.began {
		a.mu.Unlock()
		return errors.New("cannot run an agent twice")
	}
	a.began = true
	a.mu.Unlock()

	units, err := a.load()
	if err != nil {
		return err
	}
	ended := ctx
	ctx, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	stop := context.AfterFunc(ended, func() {
		a.leave(ctx)
		end(context.Cause(ended))
	})
	defer stop()
	var finding sync.WaitGroup
	for _, u := range units {
		finding.Go(func() { u.find(ctx) })
	}
	finding.Wait()
	a.takeTurns(ctx, units)

	a.mu.Lock()
	a.ctx = ctx
	for _, u := range units {
		a.units[u.key] = u
		a.tasks.Go(func() { u.loop(ctx) })
	}
	a.mu.Unlock()
	close(a.ready)
	a.changed()

	// What is asked of programs takes a moment; nothing waits for it but what needs it.
	a.tasks.Go(func() { a.background(ctx) })
	a.tasks.Go(func() { a.keeper.run(ctx) })
	a.tasks.Go(func() { a.scribe.run(ctx) })
	a.everyTick(ctx)

	a.mu.Lock()
	a.ctx = nil // from here on nothing is added to tasks
	a.mu.Unlock()
	a.tasks.Wait()
	return nil
}

// Ready is closed when the processes of earlier runs were found again: from then on Report speaks of all.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// Alive returns nil when the main loop has answered, which begins when Ready is closed. It waits for that until ctx ends.
func (a *Agent) Alive(ctx context.Context) error {
	answer := make(chan struct{}, 1)
	select {
	case a.asked <- answer:
	case <-ctx.Done():
		return fmt.Errorf("cannot reach the agent's main loop: %w", context.Cause(ctx))
	}
	select {
	case <-answer:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot hear from the agent's main loop: %w", context.Cause(ctx))
	}
}

// Changes has a value whenever something in the report has changed; several changes may be one value.
func (a *Agent) Changes() <-chan struct{} { return a.changes }

func (a *Agent) changed() {
	select {
	case a.changes <- struct{}{}:
	default: // one is waiting already
	}
}

// Do takes an order: what it tells is on disk when Do returns without an error, and its carrying out has
// begun. An order that was carried out before is a success; one whose precondition does not hold is
// refused with *observed.Refused.
func (a *Agent) Do(ctx context.Context, o desired.Order) error {
	if err := errors.Join(checkName("cluster", o.Resource.Cluster), checkName("resource", o.Resource.Name)); err != nil {
		return err
	}
	// Before that, it is not known what runs.
	select {
	case <-a.ready:
	case <-ctx.Done():
		return fmt.Errorf("cannot %s %s: %w", o.Verb, o.Resource.Key(), context.Cause(ctx))
	}
	u, running := a.unit(o.Resource.Cluster, o.Resource.Name)
	if running == nil {
		return fmt.Errorf("cannot %s %s: the agent has ended", o.Verb, o.Resource.Key())
	}
	req := request{order: o, reply: make(chan error, 1)}
	select {
	case u.inbox <- req:
	case <-running.Done():
		return fmt.Errorf("cannot %s %s: the agent has ended", o.Verb, o.Resource.Key())
	case <-ctx.Done():
		return fmt.Errorf("cannot %s %s: %w", o.Verb, o.Resource.Key(), context.Cause(ctx))
	}
	select {
	case err := <-req.reply:
		return err
	case <-running.Done():
		return fmt.Errorf("cannot tell whether %s of %s was begun: the agent has ended", o.Verb, o.Resource.Key())
	case <-ctx.Done():
		return fmt.Errorf("cannot tell whether %s of %s was begun: %w", o.Verb, o.Resource.Key(), context.Cause(ctx))
	}
}

// unit returns the supervision of a resource, which it makes where there is none, and the context that
// it runs under; nil where the agent does not run any more.
func (a *Agent) unit(cluster, name string) (*unit, context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx == nil {
		return nil, nil
	}
	key := cluster + "/" + name
	u := a.units[key]
	if u == nil {
		u = a.newUnit(a.folder(cluster, name))
		a.units[key] = u
		ctx := a.ctx
		a.tasks.Go(func() { u.loop(ctx) })
	}
	return u, a.ctx
}

// load makes the units of all resources that have a folder.
func (a *Agent) load() ([]*unit, error) {
	dirs, err := filepath.Glob(filepath.Join(globEscape(a.cfg.StateDir), "clusters", "*", "nodes", "*"))
	if err != nil {
		return nil, fmt.Errorf("cannot read the state folder: %w", err)
	}
	removeLeftovers(a.eventsFile())
	var units []*unit
	for _, d := range dirs {
		f := folder(d)
		if checkName("cluster", filepath.Base(f.cluster())) != nil || checkName("resource", f.resource()) != nil {
			continue
		}
		if info, err := os.Stat(d); err != nil || !info.IsDir() {
			continue
		}
		removeLeftovers(f.told(), f.running())
		units = append(units, a.newUnit(f))
	}
	return units, nil
}

func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// removeLeftovers removes records that were being written when an earlier run was killed.
func removeLeftovers(records ...string) {
	for _, p := range records {
		old, _ := filepath.Glob(filepath.Join(globEscape(filepath.Dir(p)), "."+filepath.Base(p)+"*"))
		for _, o := range old {
			_ = os.Remove(o)
		}
	}
}

// everyTick drives what is looked at from time to time, until ctx ends.
func (a *Agent) everyTick(ctx context.Context) {
	tick := time.NewTicker(a.cfg.Timings.Tick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case answer := <-a.asked:
			answer <- struct{}{}
		case <-tick.C:
			a.look()
			for _, u := range a.allUnits() {
				u.poke()
			}
		}
	}
}

// background asks programs for what they are, looks for processes of others, and sweeps.
func (a *Agent) background(ctx context.Context) {
	a.zeeks.facts(ctx, "")
	scan := time.NewTicker(a.cfg.Timings.Scan)
	defer scan.Stop()
	sweep := time.NewTicker(a.cfg.Timings.Sweep)
	defer sweep.Stop()
	for {
		a.scan(ctx)
		a.changed()
		select {
		case <-ctx.Done():
			return
		case <-scan.C:
		case <-sweep.C:
			a.sweep()
		}
	}
}

// scan looks for programs that were replaced, and for processes that bear a resource's mark and are not
// the agent's.
func (a *Agent) scan(ctx context.Context) {
	a.host.Store(hostNow(a.cfg.Version))
	a.zeeks.refresh(ctx)
	marks, err := process.Marks()
	if err != nil {
		a.log.Warn("cannot look for other processes", "error", err)
	}
	for _, u := range a.allUnits() {
		if err == nil {
			u.marked.Store(&marks)
		}
		u.stale.Store(true)
		u.poke()
	}
}

func (a *Agent) allUnits() []*unit {
	a.mu.Lock()
	defer a.mu.Unlock()
	units := make([]*unit, 0, len(a.units))
	for _, u := range a.units {
		units = append(units, u)
	}
	return units
}

// look lists the machine's network interfaces.
func (a *Agent) look() {
	l := listLinks(a.cfg.Interfaces)
	if l == nil {
		return // no news
	}
	was := a.links.Swap(&l)
	if was != nil && !slices.Equal(was.names(), l.names()) {
		a.changed()
	}
}

func (a *Agent) currentLinks() links {
	if l := a.links.Load(); l != nil {
		return *l
	}
	return nil
}

// Report is all that the agent knows. Before Ready its time is zero: what runs is not known then, and an
// empty list of resources says nothing.
func (a *Agent) Report() observed.Report {
	r := observed.Report{Instance: a.cfg.Instance, Host: *a.host.Load()}
	r.Host.Interfaces, r.Host.Zeek = a.currentLinks().names(), a.zeeks.report()
	select {
	case <-a.ready:
		r.At = a.cfg.Now()
	default:
		return r
	}
	for _, u := range a.allUnits() {
		if v, ok := u.current(); ok {
			r.Resources = append(r.Resources, v)
		}
	}
	slices.SortFunc(r.Resources, func(x, y observed.Resource) int { return x.Compare(&y) })
	r.Events = a.events.all()
	return r
}
