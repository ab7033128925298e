//go:build linux

package agent

import (
	"slices"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// Readers search reports by cluster and name, which is not the order of keys: "dmz-2/w1" < "dmz/w1".
func TestReportsAreInOrder(t *testing.T) {
	w := newWorld(t)
	for _, c := range []string{"dmz-2", "dmz"} {
		r := worker(func(r *desired.Resource) { r.Cluster = c })
		o := order(desired.Stop, r, "")
		o.Hold = "maintenance" // a record, and no process
		w.do(o)
	}
	want := []string{"dmz/w1", "dmz-2/w1"}
	keys := func(r observed.Report) (out []string) {
		for i := range r.Resources {
			out = append(out, r.Resources[i].Key())
		}
		return out
	}
	if got := keys(w.Report()); !slices.Equal(got, want) {
		t.Errorf("the agent reports %v, want %v", got, want)
	}
	off, err := Offline(w.state, "agent-a", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if got := keys(off); !slices.Equal(got, want) {
		t.Errorf("without an agent it is %v, want %v", got, want)
	}
}

// A reader takes events with a number that it has passed for old: they would be hidden.
func TestEventsAreNewUnderAClockThatWasSetBack(t *testing.T) {
	var back time.Duration
	w := newWorld(t, func(c *Config) {
		c.Now = func() time.Time { return time.Now().Add(-back) }
	})
	w.do(order(desired.Start, worker(), ""))
	killPID(t, w.untilState(observed.Running).PID)
	was := w.event("restarted").Seq
	w.stop()
	back = time.Hour
	w.start()
	if is := w.event("adopted").Seq; is <= was {
		t.Errorf("%d follows %d", is, was)
	}
}
