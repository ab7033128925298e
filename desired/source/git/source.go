package git

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/source"
)

// retryFirst is the pause after a look that failed; it doubles up to the interval.
const retryFirst = time.Second

// A Source follows a repository.
type Source struct {
	looker  *looker
	updates chan source.Update
	asked   chan struct{}
}

// New makes the folder for fetched repositories, and clears it.
func New(u URL, o Options) (*Source, error) {
	o = o.withDefaults()
	err := os.MkdirAll(o.Dir, 0o700)
	if err == nil {
		err = sweep(o.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use the folder for fetched repositories: %w", err)
	}
	return &Source{
		looker: &looker{url: u, opts: o}, updates: make(chan source.Update, 1), asked: make(chan struct{}, 1),
	}, nil
}

// Updates has an update after each look, with the same Snapshot as long as the commit is the same. There is room for one: one that
// nobody took is replaced by the next. It is never closed.
func (s *Source) Updates() <-chan source.Update { return s.updates }

// Sync asks for a look now; an update follows whose CheckedAt is not before the call. It does not block. Any number of calls while a
// look is under way lead to one more.
func (s *Source) Sync() {
	select {
	case s.asked <- struct{}{}:
	default: // asked already
	}
}

// Run looks until ctx ends, and then returns nil. It is to be called once.
func (s *Source) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer s.looker.close()
	var before source.Update
	var retry time.Duration
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.asked:
		case <-timer.C:
		}
		u, ok := s.look(ctx)
		if !ok {
			return nil
		}
		s.record(&before, &u)
		s.deliver(u)
		before = u
		pause := s.looker.opts.Interval
		if u.Err == nil || u.Commit != nil {
			retry = 0 // what is wrong with a commit is mended by another
		} else {
			retry = min(max(retryFirst, 2*retry), pause)
			pause = retry
		}
		timer.Reset(jitter(pause))
	}
}

// jitter is a tenth more or less: many that start together do not ask together for ever.
func jitter(d time.Duration) time.Duration {
	if d < 10 {
		return d
	}
	return d - d/10 + rand.N(d/5)
}

// look looks once, in a goroutine of its own: a file system that hangs must not keep a program from ending.
func (s *Source) look(ctx context.Context) (source.Update, bool) {
	began := time.Now()
	done := make(chan source.Update, 1)
	go func() {
		snap, commit, err := s.looker.look(ctx, began)
		if err == nil {
			commit = nil
		}
		done <- source.Update{Snapshot: snap, Commit: commit, Err: err, CheckedAt: began}
	}()
	select {
	case u := <-done:
		return u, ctx.Err() == nil
	case <-ctx.Done():
	}
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
	return source.Update{}, false
}

func (s *Source) deliver(u source.Update) {
	select {
	case <-s.updates:
	default:
	}
	s.updates <- u // nobody else sends
}

// record logs changes; what stays the same is not repeated.
func (s *Source) record(before, u *source.Update) {
	log := s.looker.opts.Log.With("source", s.looker.url.String())
	switch {
	case u.Err != nil && (before.Err == nil || u.Err.Error() != before.Err.Error()):
		log.Error("cannot use the source: what was last good stays", "error", u.Err)
	case u.Err == nil && before.Err != nil:
		log.Info("the source can be used again")
	}
	if u.Snapshot != nil && u.Snapshot != before.Snapshot {
		log.Info("a commit was read", "commit", u.Snapshot.Commit.ID, "author", u.Snapshot.Commit.Author, "took", time.Since(u.CheckedAt).Round(time.Millisecond))
	}
}

// Read looks once. dir is a folder in which a repository may be fetched for a moment. The error is a *source.Error, or ctx's.
func Read(ctx context.Context, u URL, o Options) (*desired.Snapshot, error) {
	o = o.withDefaults()
	dir, err := os.MkdirTemp(o.Dir, "zeekrec-git-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a folder to fetch into: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	o.Dir = dir
	type answer struct {
		s   *desired.Snapshot
		err error
	}
	done := make(chan answer, 1)
	go func() {
		l := &looker{url: u, opts: o}
		defer l.close()
		s, _, err := l.look(ctx, time.Now())
		done <- answer{s, err}
	}()
	select {
	case a := <-done:
		return a.s, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
