package broker

import (
	"testing"
	"time"
)

// TestStarves: a publisher waits for a full queue only while nobody else is out of work.
func TestStarves(t *testing.T) {
	b, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	slow, busy, idle := &subscriber{}, &subscriber{}, &subscriber{}
	for _, s := range []*subscriber{slow, busy, idle} {
		s.q = newQueue(&b.pools)
	}
	busy.q.msgs = 1000
	for _, tt := range []struct {
		name    string
		hearers []*subscriber
		want    bool
	}{
		{"alone", []*subscriber{slow}, false},
		{"with one who has something", []*subscriber{slow, busy}, false},
		{"with one who has nothing", []*subscriber{slow, busy, idle}, true},
	} {
		d := delivery{hearers: tt.hearers}
		if got := d.starves(slow, limits{msgs: 8}); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
	// The others having something, it waits; but not for one who takes nothing.
	d := delivery{hearers: []*subscriber{slow, busy}}
	slow.q.full = true
	slow.b, busy.b = b, b
	if !d.wait(&busy.link, slow) {
		t.Error("does not wait although that costs nobody anything")
	}
	slow.stalled.Store(b.now().Add(-2 * stallTime).UnixNano())
	begun := time.Now()
	if d.wait(&busy.link, slow) || time.Since(begun) > stallTime {
		t.Error("waits for one who takes nothing")
	}
}
