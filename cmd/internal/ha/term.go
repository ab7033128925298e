package ha

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Term is a lead that lasts until Done. Its methods may be called from several goroutines.
type Term struct {
	l       *Lease
	value   holding
	counted uint64 // revision of the counter's entry
	stop    context.CancelCauseFunc
	kept    chan struct{} // closed when nothing is renewed any more
	done    chan struct{}

	mu      sync.Mutex
	rev     uint64    // of the lease's entry
	renewed time.Time // when the last renewal that got through was sent
	err     error
}

// begin starts to renew a lease that was taken at a time.
func begin(ctx context.Context, l *Lease, value holding, rev, counted uint64, at time.Time) *Term {
	// The campaign's context bounds the campaign; a term ends by itself.
	ctx, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	t := &Term{l: l, value: value, rev: rev, counted: counted, renewed: at, stop: stop, kept: make(chan struct{}), done: make(chan struct{})}
	go t.guard()
	go t.keep(ctx)
	return t
}

// Epoch is the term's number, higher than that of all before: with it, others tell who led last.
func (t *Term) Epoch() uint64 { return t.value.Epoch }

// Since is when it began.
func (t *Term) Since() time.Time { return t.value.Since }

// Done is closed when the term is over. Who leads has to have stopped within the margin then.
func (t *Term) Done() <-chan struct{} { return t.done }

// Err is nil while the term lasts, and then a *Lost or ErrResigned. It looks at the clock: who asks right before he does something does not rely on
// Done having been closed in time.
func (t *Term) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil && t.l.now().Sub(t.renewed) >= t.l.held() {
		t.endLocked(t.late())
	}
	return t.err
}

func (t *Term) late() error {
	return &Lost{Why: fmt.Sprintf("it could not be renewed for %v", t.l.held())}
}

func (t *Term) end(why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.endLocked(why)
	}
}

func (t *Term) endLocked(why error) {
	t.err = why
	close(t.done)
	t.stop(why)
}

// guard ends the term by the clock. It is by itself, since a request may hang in spite of its context: the client holds its lock while it
// writes to a socket that takes nothing.
func (t *Term) guard() {
	for t.Err() == nil {
		t.mu.Lock()
		left := t.renewed.Add(t.l.held()).Sub(t.l.now())
		t.mu.Unlock()
		timer := time.NewTimer(left)
		select {
		case <-t.done:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// keep renews until the term is over.
func (t *Term) keep(ctx context.Context) {
	defer close(t.kept)
	var tried time.Time                                    // when the first attempt was made of those that had no answer
	wait := max(0, t.l.cfg.TTL/3-t.l.now().Sub(t.renewed)) // an attempt that was only found later has less left
	for pause(ctx, wait) {
		at := t.l.now()
		rev, err := put(ctx, t.l.lease, leaseKey, t.value, t.revision(), t.l.cfg.TTL/6)
		if conflict(err) {
			if rev, err = t.adopt(ctx); err == nil && !tried.IsZero() {
				at = tried // it may be the first that got through
			}
		}
		if t.Err() != nil {
			return
		}
		if err != nil {
			if tried.IsZero() {
				tried = at
			}
			wait = t.l.cfg.TTL / 40
			continue
		}
		t.mu.Lock()
		t.rev, t.renewed = rev, at
		t.mu.Unlock()
		tried, wait = time.Time{}, max(0, t.l.cfg.TTL/3-t.l.now().Sub(at))
	}
}

// adopt finds an earlier renewal that got through without an answer, and ends the term where there is none and the lease is not ours.
func (t *Term) adopt(ctx context.Context) (rev uint64, err error) {
	v, err := t.l.look(ctx)
	switch {
	case err != nil:
		return 0, err
	case v.ID != t.value.ID:
		t.end(&Lost{Why: whose(v)})
		return 0, t.Err()
	case v.rev <= t.revision():
		return 0, errNoAnswer // the servers have one before them, which may yet come to nothing
	}
	return v.rev, nil
}

func whose(v view) string {
	if v.Holder == "" {
		return "the lease was given up or ran out"
	}
	return fmt.Sprintf("%s leads, with epoch %d", v.Holder, v.Epoch)
}

func (t *Term) revision() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rev
}

// Resign ends the term and gives the lease to whoever waits for it. It has to be called once the work of the term has stopped, also where the
// term was lost. Where it fails, the lease runs out by itself.
func (t *Term) Resign(ctx context.Context) error {
	t.end(ErrResigned)
	select {
	case <-t.kept:
	case <-ctx.Done():
		return fmt.Errorf("cannot give up the lead: %w", context.Cause(ctx))
	}
	for {
		_, err := put(ctx, t.l.lease, leaseKey, holding{}, t.revision(), t.l.cfg.TTL/3)
		if err == nil {
			break
		}
		if !conflict(err) {
			return fmt.Errorf("cannot give up the lead: %w", err)
		}
		v, err := t.l.look(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("cannot give up the lead: %w", err)
		case v.ID != t.value.ID:
			return nil // it is another's, or nobody's
		}
		t.mu.Lock()
		t.rev = v.rev // a renewal got through whose answer was lost
		t.mu.Unlock()
	}
	// The lease's entry is cleared away in a while; this stays.
	over := counter{Epoch: t.value.Epoch, ID: t.value.ID, Over: true}
	if _, err := put(ctx, t.l.epochs, epochKey, over, t.counted, t.l.cfg.TTL/3); err != nil && !conflict(err) {
		return fmt.Errorf("cannot note that the lead was given up: %w", err)
	}
	return nil
}
