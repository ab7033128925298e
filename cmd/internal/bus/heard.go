package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// NATS fails a call at once where nobody is there, but not one that was on its way when the agent was cut off: neither the call nor its
// answer survives a connection, be it the agent's, the controller's or one between servers, of which neither of the two hears. Some calls
// may take minutes, and a rollout waits for them, on all other hosts, too. So agents say with each notice which calls they work on.

// Why a call is not waited for any longer.
var (
	errReconnected = errors.New("its connection was lost meanwhile") // the agent is there again, but what it was asked before is lost
	errLost        = errors.New("it does not work on what it was asked: that, or the answer, was lost on the way")
)

// A call is lost when the agent does not work on it arrivesWithin after it was sent, nor answersWithin after that was first seen: until
// then the one may be on its way, or the other. Who takes one for lost that only took its time does no harm, as with what is late.
const (
	arrivesWithin = 2 * Beat
	answersWithin = Beat / 2
)

// waiting is a call whose answer is waited for.
type waiting struct {
	sent   time.Time
	missed time.Time // since when the agent does not work on it; zero: it does, or has not had the time to begin
	cancel context.CancelCauseFunc
}

// connected notes over which connection a notice came.
func (s *seat) connected(n *notice) {
	again := s.boot != "" && (n.Boot != s.boot || n.Conn > s.conn)
	if n.Boot != s.boot || n.Conn > s.conn {
		s.conn = n.Conn
	}
	if again && s.lost != nil {
		close(s.lost)
		s.lost = make(chan struct{})
	}
}

// works gives up the calls that an agent does not work on.
func (s *seat) works(n *notice, now time.Time) {
	if n.Calls == nil {
		return // an older agent does not say
	}
	for id, w := range s.calls {
		switch {
		case slices.Contains(n.Calls, id):
			w.missed = time.Time{}
		case now.Sub(w.sent) < arrivesWithin:
		case w.missed.IsZero():
			w.missed = now
		case now.Sub(w.missed) >= answersWithin:
			w.cancel(errLost)
		}
	}
}

// whileHeard is ctx as long as an agent is heard of, over one connection, and works on a call. done has to be called.
func (f *Fleet) whileHeard(ctx context.Context, instance, call string) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	began := time.Now()
	f.mu.Lock()
	s := f.seat(token(instance))
	lost := s.lost
	s.calls[call] = &waiting{sent: began, cancel: cancel}
	f.mu.Unlock()
	go func() {
		for left := f.cfg.Silence; left > 0; {
			select {
			case <-ctx.Done():
				return
			case <-lost:
				cancel(errReconnected)
				return
			case <-time.After(left):
			}
			heard := began
			f.mu.Lock()
			if s.report.At.After(began) {
				heard = s.report.At
			}
			f.mu.Unlock()
			left = f.cfg.Silence - time.Since(heard)
		}
		cancel(fmt.Errorf("it has said nothing for %s", f.cfg.Silence))
	}()
	return ctx, func() {
		cancel(nil)
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(s.calls, call)
	}
}
