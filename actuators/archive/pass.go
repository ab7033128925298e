package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/zeekrec/zeekrec/actuators/archive/logname"
)

// Outcome is what a pass has done.
type Outcome struct {
	Files int
	// Read and Written are bytes of the logs that were archived, before and after.
	Read, Written int64
	// Refused are the names of logs that cannot be archived, sorted.
	Refused []string
	// Changed are logs that somebody was still writing; they are looked at again.
	Changed int
}

// Pass archives all that waits in the queue. One log that cannot be archived keeps no other waiting; an error says why
// the pass ended early, which leaves the rest in the queue: the archive cannot be written, is full (*Full), the queue is
// somebody else's (ErrBusy), or ctx has ended.
func (a *Archiver) Pass(ctx context.Context) (out Outcome, err error) {
	a.passing.Lock()
	defer a.passing.Unlock()
	defer func() { a.tally.passed(a.now(), err) }()
	s := a.settings.Load()
	lock, err := a.disk.Lock(a.queue)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil // nothing was rotated yet
	}
	if err != nil {
		return out, fmt.Errorf("cannot take the queue %s: %w", a.queue, err)
	}
	defer lock.Close()
	if err := a.tidy(s.Root); err != nil {
		return out, err
	}
	waiting, err := a.scan(s)
	if err != nil {
		return out, err
	}
	err = a.work(ctx, s, waiting, &out)
	if _, said := errors.AsType[*Full](err); !said && isFull(err) {
		err = &Full{Root: s.Root, Err: err}
	}
	out.Refused = a.tally.refusedNames()
	return out, err
}

// job is a log that waits.
type job struct {
	name string
	log  logname.Rotated
	info fs.FileInfo
}

// scan reads the queue: what is to be archived, the oldest first, and of one hour the largest. What has no name of a
// log is refused.
func (a *Archiver) scan(s *Settings) ([]job, error) {
	entries, err := a.disk.ReadDir(a.queue)
	if err != nil {
		return nil, fmt.Errorf("cannot read the queue: %w", err)
	}
	var jobs []job
	there := make(map[string]bool, len(entries))
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || e.IsDir() {
			continue
		}
		there[e.Name()] = true
		info, err := e.Info()
		if err != nil {
			continue // it has just gone
		}
		r, err := s.Format.Parse(e.Name())
		if err == nil && !info.Mode().IsRegular() {
			err = errors.New("it is no regular file")
		}
		if err != nil {
			a.refuse(e.Name(), err)
			continue
		}
		jobs = append(jobs, job{e.Name(), r, info})
	}
	a.tally.forget(there)
	slices.SortFunc(jobs, func(x, y job) int {
		if c := x.log.Close.Compare(y.log.Close); c != 0 {
			return c
		}
		if c := y.info.Size() - x.info.Size(); c != 0 {
			return int(max(min(c, 1), -1))
		}
		return strings.Compare(x.name, y.name)
	})
	return jobs, nil
}

// work archives jobs, several at a time, until all are done or something is wrong that concerns them all.
func (a *Archiver) work(ctx context.Context, s *Settings, jobs []job, out *Outcome) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	storing, ctx := errgroup.WithContext(ctx)
	storing.SetLimit(s.Parallel)
	done := make(chan kept, 4*s.Parallel)
	committed := make(chan error, 1)
	go func() { committed <- a.commitAll(done, out, cancel) }()

	for _, j := range jobs {
		if ctx.Err() != nil {
			break
		}
		storing.Go(func() error {
			k, err := a.storeOne(ctx, s, j)
			if err != nil || k.source == "" {
				return err
			}
			done <- k
			return nil
		})
	}
	err := storing.Wait()
	close(done)
	if cerr := <-committed; cerr != nil {
		return cerr
	}
	if err == nil || errors.Is(err, context.Canceled) {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			return cause
		}
	}
	return err
}

// storeOne stores one log, and deals with what is wrong with that log alone: nothing is returned then.
func (a *Archiver) storeOne(ctx context.Context, s *Settings, j job) (kept, error) {
	if err := a.makeRoom(s, j.info.Size()); err != nil {
		return kept{}, err
	}
	k, err := a.store(ctx, s, j)
	if err == nil {
		return k, nil
	}
	if f, ok := errors.AsType[*flaw](err); ok {
		if f.gone {
			return kept{}, nil
		}
		a.refuse(j.name, f.err)
		return kept{}, nil
	}
	return kept{}, fmt.Errorf("cannot archive %s: %w", j.name, err)
}

// flaw is what is wrong with one log, and with no other.
type flaw struct {
	err error
	// gone: it is no longer there, or is being written; there is nothing to say.
	gone bool
}

// Error says what.
func (f *flaw) Error() string { return f.err.Error() }

// refuse says once of a log that it cannot be archived.
func (a *Archiver) refuse(name string, why error) {
	if a.tally.refuse(name, why.Error(), a.now()) {
		a.log.Warn("Cannot archive a file of the queue; it stays there, and others are not kept waiting", "file", filepath.Join(a.queue, name), "reason", why)
	}
}
