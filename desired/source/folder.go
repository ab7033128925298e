package source

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

// Options of a Folder; what is zero has the default.
type Options struct {
	Quiet   time.Duration // 300ms: how long files must be unchanged, and events silent
	MaxWait time.Duration // 5s: how long events alone can put off an update
	Hold    time.Duration // 10s: how long a cluster that does not settle holds up the others
	Rescan  time.Duration // 30s: how often to look without a hint; whether the folder is in its place is looked at every Poll
	Poll    time.Duration // 2s: the same where events do not tell of everything, or something is wrong
	Timeout time.Duration // 30s: how long a look may take before the source counts as unresponsive
	Log     *slog.Logger  // nil: silent
}

func (o Options) withDefaults() Options {
	o.Quiet = cmp.Or(o.Quiet, 300*time.Millisecond)
	o.MaxWait = cmp.Or(o.MaxWait, 5*time.Second)
	o.Hold = cmp.Or(o.Hold, 10*time.Second)
	o.Rescan = cmp.Or(o.Rescan, 30*time.Second)
	o.Poll = cmp.Or(o.Poll, 2*time.Second)
	o.Timeout = cmp.Or(o.Timeout, 30*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// An Update is the whole state of the source as it was found; the newest replaces all before.
type Update struct {
	// Snapshot of what has settled; nil exactly when Err is set. It is the same pointer as in the update
	// before while the content is the same.
	Snapshot *desired.Snapshot
	// Err, an *Error, says why the source as a whole cannot be read: whatever was last good stays.
	Err error
	// Commit that Err is about; nil where it is about none, and for a folder.
	Commit *desired.Commit
	// CheckedAt is when the look began that this rests on: every change made before is in it, or pending.
	CheckedAt time.Time
	// Pending are clusters, sorted, whose newest content is not in Snapshot since it does not settle.
	Pending []Pending
	// Degraded says why changes are looked for every Options.Poll, instead of being told by events.
	Degraded error
}

// Pending is a cluster whose files do not settle. The snapshot has what last did, or, where nothing ever
// did, a ClusterFile with an *Error of kind Busy.
type Pending struct {
	Cluster string
	File    string
	Since   time.Time
	Reason  string
}

// A Folder follows a folder of NAME.cfg files, or a single NAME.cfg.
type Folder struct {
	path    string
	opts    Options
	updates chan Update
	asked   chan struct{}

	hints   *hints
	look    func(context.Context) *scan
	inPlace func() bool
}

// NewFolder makes a Folder of a path, which need not exist yet. Nothing happens before Run.
func NewFolder(path string, opts Options) *Folder {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	h := newHints()
	s := &scanner{path: path, watch: h.want}
	return &Folder{
		path: path, opts: opts.withDefaults(),
		updates: make(chan Update, 1), asked: make(chan struct{}, 1),
		hints: h, look: s.scan, inPlace: s.inPlace,
	}
}

// Updates is where updates come from: the first state, each change of content, of the error, of what is
// pending; and at least every Options.Rescan, and after each Sync, the same again with a newer CheckedAt.
// There is room for one: an update that nobody took is replaced by the next. It is never closed.
func (f *Folder) Updates() <-chan Update { return f.updates }

// Sync asks for a look now. An Update follows whose CheckedAt is not before the call, as soon as the
// source has settled or is found to be unreadable. It does not block.
func (f *Folder) Sync() {
	select {
	case f.asked <- struct{}{}:
	default: // asked already
	}
}

// A look is what came of one: a scan, or just whether the folder is in its place.
type look struct {
	scan    *scan
	inPlace bool
}

// Run follows the folder until ctx ends, and then returns nil. It is to be called once.
func (f *Folder) Run(ctx context.Context) error {
	defer f.hints.close()
	var (
		s       = newSettler(f.path, f.opts)
		looks   = make(chan look, 1)
		looking bool
		until   time.Time // looking: when it counts as unresponsive
		timer   = time.NewTimer(0)
	)
	defer timer.Stop()
	for {
		events, errs := f.hints.channels()
		select {
		case <-ctx.Done():
			if looking {
				f.wait(looks)
			}
			return nil

		case ev, ok := <-events:
			if !ok {
				f.hints.close()
			}
			if ok && !f.hints.matters(ev) {
				continue
			}
			s.hint(time.Now())

		case err, ok := <-errs:
			if !ok {
				f.hints.close()
			} else {
				f.opts.Log.Debug("events of the source were lost, looking again", "source", f.path, "error", err)
				f.hints.fail(err)
			}
			s.hint(time.Now())

		case <-f.asked:
			s.ask(time.Now())

		case <-timer.C:
			if looking {
				before := s.sent
				f.deliver(before, s.silent(time.Now()))
				until = until.Add(f.opts.Timeout)
				break
			}
			now := time.Now()
			looking, until = true, now.Add(f.opts.Timeout)
			if s.due().After(now) {
				go func() { looks <- look{inPlace: f.inPlace()} }()
				break
			}
			s.begin()
			f.hints.begin()
			go func() { looks <- look{scan: f.look(ctx)} }()

		case l := <-looks:
			looking = false
			if ctx.Err() != nil {
				return nil
			}
			if l.scan == nil {
				s.glance(time.Now(), l.inPlace)
				break
			}
			before := s.sent
			out := s.take(l.scan, f.degraded(l.scan, f.hints.end()))
			for _, p := range out.slow {
				f.opts.Log.Warn("waiting for a file to be written to its end", "source", f.path, "file", p.File, "since", p.Since, "reason", p.Reason)
			}
			f.deliver(before, out.update)
		}
		if looking {
			timer.Reset(time.Until(until))
		} else {
			timer.Reset(time.Until(s.next()))
		}
	}
}

// wait gives a look that is under way the time to end, but not longer: a file system that hangs must not
// keep a program from ending.
func (f *Folder) wait(looks <-chan look) {
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-looks:
	case <-t.C:
	}
}

func (f *Folder) degraded(sc *scan, trouble error) error {
	switch {
	case trouble != nil:
		return fmt.Errorf("cannot watch the source, looking every %v instead: %w", f.opts.Poll, trouble)
	case sc.remote:
		return fmt.Errorf("the source is on a network file system, whose events do not tell of all changes: looking every %v instead", f.opts.Poll)
	}
	return nil
}

// deliver puts an update where it is taken from, in place of one that nobody took, and logs what is new.
func (f *Folder) deliver(before, u *Update) {
	if u == nil {
		return
	}
	f.record(before, u)
	select {
	case <-f.updates:
	default:
	}
	f.updates <- *u // nobody else sends
}

// record logs changes of state; what stays the same is not repeated.
func (f *Folder) record(before, u *Update) {
	if before == nil {
		before = &Update{}
	}
	log := f.opts.Log.With("source", f.path)
	switch {
	case u.Err != nil && text(u.Err) != text(before.Err):
		log.Error("cannot read the source: what was last good stays", "error", u.Err)
	case u.Err == nil && before.Err != nil:
		log.Info("the source can be read again")
	}
	if u.Snapshot != nil && u.Snapshot != before.Snapshot {
		log.Debug("the source has changed", "clusters", len(u.Snapshot.Files))
	}
	if text(u.Degraded) != text(before.Degraded) {
		if u.Degraded != nil {
			log.Warn("changes of the source are polled", "reason", u.Degraded)
		} else {
			log.Info("events tell of changes of the source again")
		}
	}
}
