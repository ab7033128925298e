package bus

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// NATS fails a call at once where nobody is there, but not one that was on its way when the agent was cut off: neither the call nor its
// answer survives a connection. Some calls may take minutes, and a rollout waits for them, on all other hosts, too.

// errReconnected: the agent is there again, but what it was asked before is lost.
var errReconnected = errors.New("its connection was lost meanwhile")

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

// whileHeard is ctx as long as an agent is heard of, over one connection. done has to be called.
func (f *Fleet) whileHeard(ctx context.Context, instance string) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	began := time.Now()
	f.mu.Lock()
	s := f.seat(token(instance))
	lost := s.lost
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
	return ctx, func() { cancel(nil) }
}
