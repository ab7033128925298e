package archive

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Pauses of Run.
const (
	rescan   = 30 * time.Second       // looks at the queue whether or not it is told to
	settling = 200 * time.Millisecond // after a notification: a rotation renames many files
	counting = 10 * time.Second       // of what waits
	expiring = 10 * time.Minute       // looks for what is older than keep
)

// Run archives what is in the queue, and what comes, until ctx ends; then it takes a last look, so that what the loggers
// rotate when they end is archived, and returns nil. Notifications of the file system are a hint; the queue is
// read again every 30 s, which is what is relied on.
func (a *Archiver) Run(ctx context.Context) error {
	var helpers sync.WaitGroup
	defer helpers.Wait()
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	hints := make(chan struct{}, 1)
	helpers.Go(func() { a.watch(within, hints) })
	helpers.Go(func() { a.keepCount(within) })

	said := ""
	var expiry time.Time
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return a.drain(context.WithoutCancel(ctx))
		case <-timer.C:
		case <-a.applied:
		case <-hints:
			if !a.tally.well() {
				continue // the pause is to pass before it is tried again
			}
			if !pause(ctx, settling) {
				continue
			}
		}
		err := a.round(ctx)
		if ctx.Err() == nil {
			said = a.report(err, said)
		}
		if now := a.now(); now.Sub(expiry) >= expiring || now.Before(expiry) || a.tally.wantsRoom(now) {
			expiry = now
			if _, err := a.Expire(); err != nil {
				a.log.Error("Cannot delete what is older than keep", "error", err)
			}
		}
		a.count()
		timer.Reset(rescan)
	}
}

// round is one look at the queue: a pass, or a run of the command that takes its place.
func (a *Archiver) round(ctx context.Context) error {
	if s := a.settings.Load(); s.Command != "" {
		return a.command(ctx, s)
	}
	_, err := a.Pass(ctx)
	return err
}

// report says what is wrong when that changes, and when it is over; it returns what was said.
func (a *Archiver) report(err error, said string) string {
	switch {
	case err == nil && said != "":
		a.log.Info("Archiving works again")
		return ""
	case err == nil:
		return ""
	case err.Error() != said:
		a.log.Error("Archiving does not go on; what waits stays in the queue, and it is tried again", "error", err, "pause", rescan)
	}
	return err.Error()
}

// drain is the last look, with a deadline.
func (a *Archiver) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, a.cfg.Drain, fmt.Errorf("not done within %s of the end", a.cfg.Drain))
	defer cancel()
	if err := a.round(ctx); err != nil {
		a.count()
		a.log.Warn("Ends with logs in the queue; the next start takes them", "waiting", a.tally.queued().String(), "error", err)
	}
	return nil
}

func (a *Archiver) keepCount(ctx context.Context) {
	a.count()
	for pause(ctx, counting) {
		a.count()
	}
}

// pause waits; false: ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// watch has the queue looked at as soon as something comes to it. Where that cannot be, the rescan serves.
func (a *Archiver) watch(ctx context.Context, hints chan<- struct{}) {
	for {
		err := a.watchOnce(ctx, hints)
		if ctx.Err() != nil {
			return
		}
		a.log.Debug("Is not told of what comes to the queue", "error", err)
		if !pause(ctx, rescan) {
			return
		}
	}
}

func (a *Archiver) watchOnce(ctx context.Context, hints chan<- struct{}) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }()
	if err := w.Add(a.queue); err != nil {
		return err
	}
	hint := func() {
		select {
		case hints <- struct{}{}:
		default: // about to be looked at
		}
	}
	hint() // for what came before
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-w.Events:
			if !ok {
				return errors.New("the watch has ended")
			}
			if e.Name == a.queue && e.Has(fsnotify.Remove|fsnotify.Rename) {
				return errors.New("the queue is gone")
			}
			if e.Has(fsnotify.Create) {
				hint()
			}
		case err := <-w.Errors:
			hint()
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return err
			}
		}
	}
}
