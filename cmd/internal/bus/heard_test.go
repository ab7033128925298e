package bus

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Who waits for an agent waits as long as something is heard of it, and no longer.
func TestWhileHeard(t *testing.T) {
	const silence = 15 * time.Second
	for _, c := range []struct {
		name string
		last time.Duration // after which nothing is heard any more; 0: nothing ever is
		want time.Duration
	}{
		{"it is not known", 0, silence},
		{"it falls silent", 7 * time.Second, 7*time.Second + silence},
		{"it falls silent late", 10 * time.Minute, 10*time.Minute + silence},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &Fleet{cfg: FleetConfig{Silence: silence}, agents: map[string]*seat{}}
				began := time.Now()
				ctx, done := f.whileHeard(t.Context(), "agent-a.example.org")
				defer done()
				go func() {
					for n := time.Duration(0); n < c.last; n += time.Second {
						time.Sleep(time.Second)
						f.mu.Lock()
						f.agents[token("agent-a.example.org")] = &seat{}
						f.agents[token("agent-a.example.org")].report.At = time.Now()
						f.mu.Unlock()
					}
				}()
				<-ctx.Done()
				if got := time.Since(began); got != c.want {
					t.Errorf("it was waited for %s, want %s", got, c.want)
				}
				if why := context.Cause(ctx).Error(); why != "it has said nothing for 15s" {
					t.Errorf("because %s", why)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // and nothing is left behind when the answer is there
		f := &Fleet{cfg: FleetConfig{Silence: silence}, agents: map[string]*seat{}}
		whole, cancel := context.WithCancelCause(t.Context())
		ctx, done := f.whileHeard(whole, "a")
		done()
		if !errors.Is(context.Cause(ctx), context.Canceled) {
			t.Errorf("because %v", context.Cause(ctx))
		}
		again, done := f.whileHeard(whole, "a")
		defer done()
		mine := errors.New("the caller has had enough")
		cancel(mine)
		if <-again.Done(); !errors.Is(context.Cause(again), mine) {
			t.Errorf("because %v", context.Cause(again))
		}
	})
}
