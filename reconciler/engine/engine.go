package engine

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler"
)

// Config is what an Engine is made of.
type Config struct {
	// Source is the source's URL, to which the state folder is bound.
	Source string
	// Observations of the source. May be nil: then only what was accepted before is reconciled.
	Observations <-chan Observation
	// Look asks the source to look now.
	Look func()
	// Took is told which commit of a Git source counts, whenever that changes: the next is compared with it. It may be nil, and must
	// not block.
	Took    func(commit string)
	Agents  Agents
	Journal Journal
	// Keys may be nil: then no cluster has any, and those that need some are left alone.
	Keys     Keys
	State    *State // what the journal adds up to; owned by the engine from here on
	Parse    Parser
	Validate Validator
	// HoldsOnly: carry out the stops that were asked for, and nothing else (zeekrec stop without a run).
	HoldsOnly bool
	// Instance is the name of the instance that a file without instances means.
	Instance string
	Log      *slog.Logger
	Timings  Timings
}

// Engine reconciles. Run has to be called once; every other method may be called from any goroutine
// while it runs.
type Engine struct {
	cfg     Config
	log     *slog.Logger
	timings Timings
	state   *State
	calls   chan func()
	stopped chan struct{} // closed when Run has ended

	// All below belongs to the goroutine of Run.
	reports    map[string]*observed.Report // as agents sent them
	heard      []*observed.Report          // the newest, as Agents has them
	fleet      map[string]observed.Report  // with what only all of them together show
	joins      joins
	pending    *Observation // waits for the first report of the own instance
	seen       sourceView
	held       *Observation // whose commit waits for a person
	loadings   map[string]*loading
	loadMemory map[string]loadAnswer       // by loadKey
	parsed     map[string]*desired.Cluster // by object
	files      map[string]desired.ClusterFile
	compiled   desired.Compiled
	compiledAs map[string]string                // by cluster: what it was compiled from, but for what is assigned
	draft      *draft                           // of the newest snapshot, until it is the target
	targetsAs  string                           // of which revisions and keys compiled is
	hosts      map[string]desired.InstanceFacts // of the newest reports; nil: to be made
	factsNew   bool                             // what is known of hosts may ask for other resources
	readings   map[string]reading               // by cluster: the newest file
	options    bool                             // a target has options, so that names matter to what it is compiled to
	attention  attention
	undrifted  map[string]bool // instances whose events may not be in the journal
	relation   func(desired.Role, string) desired.Relation
	works      map[string]*work                  // by cluster
	plans      map[string]reconciler.ClusterPlan // by cluster
	keyrings   map[string]*keyring               // by cluster, of those that need keys
	asked      map[string]bool                   // instance and path of a Zeek: false while the agent looks at it
	names      names
	recorded   uint64 // counts what was added to the state
	sums       sums
	journalErr string
	rollErr    string // told last
	draining   bool
	drained    []chan error
	intakeAt   time.Time // not before: the journal could not be written
	intakeWait time.Duration
}

// New returns an engine that is not running yet.
func New(cfg Config) *Engine {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.State == nil {
		cfg.State = NewState()
	}
	return &Engine{
		cfg: cfg, log: cfg.Log, timings: cfg.Timings.withDefaults(), state: cfg.State,
		calls: make(chan func(), 64), stopped: make(chan struct{}), reports: map[string]*observed.Report{},
		fleet: map[string]observed.Report{}, parsed: map[string]*desired.Cluster{},
		files: map[string]desired.ClusterFile{}, relation: desired.Relations(), works: map[string]*work{}, asked: map[string]bool{},
		plans: map[string]reconciler.ClusterPlan{}, keyrings: map[string]*keyring{},
		names: newNames(), attention: newAttention(), undrifted: map[string]bool{}, readings: map[string]reading{},
		loadings: map[string]*loading{}, loadMemory: map[string]loadAnswer{}, recorded: 1,
	}
}

// ErrStopped is what a call gets from an engine that no longer runs.
var ErrStopped = errors.New("the engine has stopped")

// Run reconciles until ctx ends. Whatever it started goes on without it.
func (e *Engine) Run(ctx context.Context) error {
	defer close(e.stopped)
	if e.state.Source == "" && e.cfg.Source != "" {
		e.record(ctx, &Record{Kind: KindBound, Source: e.cfg.Source})
	}
	e.tellTaken()
	timer, rest := time.NewTimer(0), time.NewTimer(0)
	defer timer.Stop()
	defer rest.Stop()
	resting := true
	for {
		changed := e.cfg.Agents.Changed()
		if resting {
			changed = nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case o := <-e.cfg.Observations:
			e.pending = &o
		case <-changed:
		case f := <-e.calls:
			f()
		case <-timer.C:
		case <-rest.C:
			resting = false
			continue
		}
		began := time.Now()
		e.step(ctx, began)
		timer.Reset(e.pause())
		resting = true
		rest.Reset(restAfter(time.Since(began)))
	}
}

// restAfter is how long reports may wait after a step that took so long: what many hosts say within that time is one step's work. On a
// few hosts nobody will notice; with thousands of nodes a step takes milliseconds, and there are many reports.
func restAfter(step time.Duration) time.Duration { return min(19*step, 100*time.Millisecond) }

// pause until the next step if nothing happens: soon while something is under way.
func (e *Engine) pause() time.Duration {
	if e.draining || e.pending != nil {
		return busy
	}
	for _, w := range e.works {
		if w.rollout != nil {
			return busy
		}
	}
	return idle
}

// How long the loop waits for something to happen: gates and deadlines are looked at this often.
const (
	busy = 200 * time.Millisecond
	idle = 2 * time.Second
)

// call runs f in the loop and waits for it. When it returns an error f was not run and never will be, or
// is being run and what it has to say must not be read.
func (e *Engine) call(ctx context.Context, f func()) error {
	done := make(chan struct{})
	var abandoned atomic.Bool
	select {
	case e.calls <- func() {
		defer close(done)
		if !abandoned.Load() {
			f()
		}
	}:
	case <-e.stopped:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-done:
		return nil
	case <-e.stopped:
		return ErrStopped
	case <-ctx.Done():
		abandoned.Store(true)
		return context.Cause(ctx)
	}
}

// later hands the end of something slow back to the loop.
func (e *Engine) later(ctx context.Context, f func()) {
	select {
	case e.calls <- f:
	case <-ctx.Done():
	}
}

// record appends to the journal and applies to the state. False: it is not on disk, and must not be
// acted on.
func (e *Engine) record(ctx context.Context, rs ...*Record) bool {
	now := time.Now()
	for _, r := range rs {
		if r.At.IsZero() {
			r.At = now
		}
	}
	if err := e.cfg.Journal.Append(ctx, rs...); err != nil {
		if e.journalErr != err.Error() {
			e.log.Error("Cannot write the journal; nothing new is deployed until it can be", "error", err)
		}
		e.journalErr = err.Error()
		return false
	}
	if e.journalErr != "" {
		e.log.Info("The journal can be written again")
		e.journalErr = ""
	}
	if err := e.cfg.Journal.RollError(); err != nil && e.rollErr != err.Error() {
		e.rollErr = err.Error()
		e.log.Warn("The journal is written, and grows beyond its bound", "error", err)
	}
	for _, r := range rs {
		e.state.Apply(*r)
		e.recorded++
	}
	e.noteRecords(rs)
	return true
}

// step brings the world one step nearer to the target.
func (e *Engine) step(ctx context.Context, now time.Time) {
	wasReady := e.ready()
	news := e.hear(now)
	e.joins.see(e.reports, e.fleet, news, &e.attention, now, e.timings.Stale)
	if e.ready() != wasReady {
		e.attention.all, e.factsNew = true, true
	}
	e.expire(ctx, now)
	e.drift(ctx, news)
	if e.pending != nil && e.ready() && !now.Before(e.intakeAt) {
		o := *e.pending
		e.pending = nil
		e.observe(ctx, o)
	}
	e.compile(ctx, now)
	for _, name := range e.due(now) {
		e.reconcile(ctx, name, now)
	}
	e.finishDraining()
}

// ready reports whether the facts that compiling needs are there.
func (e *Engine) ready() bool {
	_, ok := e.fleet[e.cfg.Instance]
	return ok || e.cfg.Instance == ""
}

// expire ends suspensions and holds whose time is over.
func (e *Engine) expire(ctx context.Context, now time.Time) {
	var rs []*Record
	for _, scope := range slices.Sorted(maps.Keys(e.state.Suspended)) {
		if e.state.Suspended[scope].Over(now) {
			rs = append(rs, &Record{Kind: KindResumed, Scope: scope, By: "zeekrec", Reason: "its time is over"})
		}
	}
	for _, scope := range slices.Sorted(maps.Keys(e.state.Holds)) {
		if e.state.Holds[scope].Over(now) {
			rs = append(rs, &Record{Kind: KindStarted, Scope: scope, By: "zeekrec", Reason: "its time is over"})
		}
	}
	if len(rs) > 0 {
		e.record(ctx, rs...)
	}
}
