package agent

import (
	"slices"
	"testing"
	"time"
)

// TestBrokerIsNeverGivenUp: one that is killed again and again returns soon the first times, and is tried for ever.
func TestBrokerIsNeverGivenUp(t *testing.T) {
	m := machine{timings: Timings{}.withDefaults(), phase: stopped, vital: true}
	now := time.Unix(1000, 0)
	m.step(run, nil, now)
	m.step(ready, nil, now)
	var pauses []time.Duration
	for range 30 {
		got := m.step(ended, died, now)
		if m.phase == failed || slices.Contains(got, gaveUp) {
			t.Fatalf("given up after %v", pauses)
		}
		pause := time.Duration(0)
		if m.phase == backoff {
			pause = m.due.Sub(now)
			now = m.due
			m.step(due, nil, now)
		}
		pauses = append(pauses, pause)
		m.step(ready, nil, now)
	}
	want := []time.Duration{0, 100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond}
	if !slices.Equal(pauses[:5], want) || pauses[29] != time.Minute {
		t.Errorf("pauses: %v", pauses)
	}

	// One that cannot even begin is like any other.
	m = machine{timings: Timings{}.withDefaults(), phase: stopped, vital: true}
	m.step(run, nil, now)
	for n := 1; m.phase != failed; n++ {
		if n > 5 {
			t.Fatal("not given up")
		}
		m.step(ended, died, now)
		if m.phase == backoff {
			now = m.due
			m.step(due, nil, now)
		}
	}
}
