package bus

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeekrec/zeekrec/observed"
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
				ctx, done := f.whileHeard(t.Context(), "agent-a.example.org", "1")
				defer done()
				go func() {
					for n := time.Duration(0); n < c.last; n += time.Second {
						time.Sleep(time.Second)
						f.mu.Lock()
						f.seat(token("agent-a.example.org")).report.At = time.Now()
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
		ctx, done := f.whileHeard(whole, "a", "1")
		done()
		if !errors.Is(context.Cause(ctx), context.Canceled) {
			t.Errorf("because %v", context.Cause(ctx))
		}
		again, done := f.whileHeard(whole, "a", "1")
		defer done()
		mine := errors.New("the caller has had enough")
		cancel(mine)
		if <-again.Done(); !errors.Is(context.Cause(again), mine) {
			t.Errorf("because %v", context.Cause(again))
		}
	})
}

// What was asked over a connection that has ended is not waited for, when there is another one, or another life of the agent.
func TestReconnected(t *testing.T) {
	for _, c := range []struct {
		name       string
		was, comes notice
		lost       bool
	}{
		{"the first notice ever", notice{}, notice{Boot: "1"}, false},
		{"as before", notice{Boot: "1", Conn: 2}, notice{Boot: "1", Conn: 2}, false},
		{"another connection", notice{Boot: "1", Conn: 2}, notice{Boot: "1", Conn: 3}, true},
		{"one from before that was late", notice{Boot: "1", Conn: 2}, notice{Boot: "1", Conn: 1}, false},
		{"another life", notice{Boot: "1", Conn: 2}, notice{Boot: "2"}, true},
	} {
		f := &Fleet{cfg: FleetConfig{Silence: time.Hour}, agents: map[string]*seat{}}
		s := f.seat("a")
		s.boot, s.conn = c.was.Boot, c.was.Conn
		ctx, done := f.whileHeard(t.Context(), "a", "1")
		lost := s.lost
		f.mu.Lock()
		s.connected(&c.comes)
		f.mu.Unlock()
		select {
		case <-lost:
			if !c.lost {
				t.Errorf("%s: calls are lost", c.name)
			}
			if <-ctx.Done(); !errors.Is(context.Cause(ctx), errReconnected) {
				t.Errorf("%s: %v", c.name, context.Cause(ctx))
			}
		default:
			if c.lost {
				t.Errorf("%s: calls go on", c.name)
			}
		}
		done()
	}
}

// A call that an agent does not work on is given up after a while, and no other is.
func TestLostCalls(t *testing.T) {
	const mine = "mine"
	type at struct {
		after time.Duration // since the call was sent
		calls []string
	}
	others, all := []string{"another"}, []string{"another", mine}
	for _, tt := range []struct {
		name    string
		notices []at
		lost    bool
	}{
		{"it has not arrived", []at{{5 * time.Second, others}, {10 * time.Second, others}, {15 * time.Second, others}}, true},
		{"nor has it from an agent that does nothing else", []at{{10 * time.Second, []string{}}, {15 * time.Second, []string{}}}, true},
		{"the answer was lost", []at{{5 * time.Second, all}, {10 * time.Second, all}, {15 * time.Second, others}, {20 * time.Second, others}}, true},
		{"it is on its way", []at{{0, others}, {5 * time.Second, others}, {9 * time.Second, others}}, false},
		{"the answer is on its way", []at{{time.Minute, others}, {time.Minute + time.Second, others}}, false},
		{"it takes a while", []at{{5 * time.Second, all}, {10 * time.Second, all}, {time.Minute, all}, {2 * time.Minute, all}}, false},
		{"it arrived late", []at{{10 * time.Second, others}, {15 * time.Second, all}, {20 * time.Second, others}, {20*time.Second + pace, others}}, false},
		{"an older agent does not say", []at{{10 * time.Second, nil}, {time.Minute, nil}, {2 * time.Minute, nil}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &Fleet{cfg: FleetConfig{Silence: time.Hour}, agents: map[string]*seat{}}
				s, began := f.seat("a"), time.Now()
				ctx, done := f.whileHeard(t.Context(), "a", mine)
				for _, n := range tt.notices {
					time.Sleep(time.Until(began.Add(n.after)))
					if ctx.Err() != nil {
						t.Fatalf("it was given up before %s: %v", n.after, context.Cause(ctx))
					}
					f.mu.Lock()
					s.works(&notice{Calls: n.calls}, time.Now())
					f.mu.Unlock()
				}
				if lost := errors.Is(context.Cause(ctx), errLost); lost != tt.lost {
					t.Errorf("it is lost: %t (%v), should be: %t", lost, context.Cause(ctx), tt.lost)
				}
				done()
				if len(s.calls) != 0 {
					t.Errorf("%d calls are still waited for", len(s.calls))
				}
			})
		})
	}
}

func TestSkew(t *testing.T) {
	const h = time.Hour
	for _, c := range []struct{ was, age, want time.Duration }{
		{0, 0, 0},
		{0, 900 * time.Millisecond, 0},
		{0, -900 * time.Millisecond, 0},
		{0, h, h},
		{0, -h, -h},
		{h, h + 900*time.Millisecond, h}, // the message took its time
		{h, h + 2*time.Second, h + 2*time.Second},
		{h, 10 * time.Millisecond, 0}, // it was put right
		{900 * time.Millisecond, 1200 * time.Millisecond, 900 * time.Millisecond},
	} {
		if got := skewOf(c.was, c.age); got != c.want {
			t.Errorf("was %s, %s old: %s, want %s", c.was, c.age, got, c.want)
		}
	}
}

// The times of an agent whose clock is wrong are put right when its report arrives; those that it does not know stay unknown.
func TestWrongClock(t *testing.T) {
	arrives := time.Unix(1_000_000, 0)
	for _, wrong := range []time.Duration{-time.Hour, time.Hour, 500 * time.Millisecond, 0} {
		at := func(ago time.Duration) time.Time { return arrives.Add(wrong - ago) }
		n := notice{Boot: "1", Number: 1, Report: &observed.Report{
			At:     at(0),
			Events: []observed.Event{{At: at(time.Minute)}},
			Resources: []observed.Resource{
				{Since: at(3 * time.Second), StartedAt: at(4 * time.Second), Silent: at(time.Second), Members: []observed.Member{{Silent: at(2 * time.Second)}, {}}},
				{Since: at(5 * time.Second), Archive: &observed.Archive{Oldest: at(6 * time.Second), LastErrorAt: at(7 * time.Second)}},
			},
		}}
		var s seat
		s.take(&n, arrives)
		right := arrives
		if wrong.Abs() < time.Second {
			right = arrives.Add(wrong) // as good as right
		}
		r, ago := s.report, func(x time.Time) time.Duration { return right.Sub(x) }
		a := r.Resources[1].Archive
		got := []time.Duration{ago(r.Events[0].At), ago(r.Resources[0].Since), ago(r.Resources[0].StartedAt), ago(r.Resources[0].Silent), ago(r.Resources[0].Members[0].Silent), ago(r.Resources[1].Since), ago(a.Oldest), ago(a.LastErrorAt)}
		want := []time.Duration{time.Minute, 3 * time.Second, 4 * time.Second, time.Second, 2 * time.Second, 5 * time.Second, 6 * time.Second, 7 * time.Second}
		if !slices.Equal(got, want) || !r.At.Equal(arrives) {
			t.Errorf("wrong by %s: %s, want %s", wrong, got, want)
		}
		if !r.Resources[0].Members[1].Silent.IsZero() || !r.Resources[1].StartedAt.IsZero() {
			t.Errorf("wrong by %s: what is not known is known", wrong)
		}
	}
}
