//go:build linux

package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/actuators/vitals"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// fakeMetrics is what nodes count.
type fakeMetrics struct {
	mu    sync.Mutex
	c     vitals.Counters
	err   error
	asked []string
}

func (f *fakeMetrics) scrape(_ context.Context, address string) (vitals.Counters, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, address)
	return f.c, f.err
}

func (f *fakeMetrics) set(c vitals.Counters, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.c, f.err = c, err
}

func (f *fakeMetrics) addresses() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Compact(slices.Clone(f.asked))
}

func knownCount(n uint64) vitals.Count { return vitals.Count{N: n, Known: true} }

// A node that loses packets is degraded, and as healthy as before; its next process is not.
func TestDegraded(t *testing.T) {
	m := &fakeMetrics{}
	w := newWorld(t, func(c *Config) { c.Timings.Examine, c.Scrape = 10*time.Millisecond, m.scrape })
	none := vitals.Counters{Received: knownCount(0), Dropped: knownCount(0), Events: knownCount(0), Errors: knownCount(0)}
	m.set(none, nil)
	r := worker(part("metrics", desired.Equal, "127.0.0.1:9003"))
	w.do(order(desired.Start, r, ""))
	v := w.untilState(observed.Running)
	w.eventually("examined", func() bool { return w.Rates()["dmz/w1"].Packets != nil })
	if v.Degraded != nil || v.Notes != nil {
		t.Errorf("%+v", v)
	}
	m.set(vitals.Counters{Received: knownCount(900), Dropped: knownCount(100), Events: knownCount(3), Errors: knownCount(0)}, nil)
	v = w.until("degraded", func(r observed.Resource) bool { return len(r.Degraded) == 2 })
	if !v.Healthy || v.Degraded[0] != "drops 10% of its packets" || !strings.HasPrefix(v.Degraded[1], "has lost 3 events") {
		t.Errorf("%+v", v)
	}
	if r := w.Rates()["dmz/w1"]; r.Dropped == nil || *r.Dropped != 0.1 || *r.Packets <= 0 {
		t.Errorf("%+v", r)
	}
	if got := m.addresses(); !slices.Equal(got, []string{"127.0.0.1:9003"}) {
		t.Errorf("asked %q", got)
	}
	// Without an answer nothing new is known, and what is known stays.
	m.set(vitals.Counters{}, errors.New("connection refused"))
	asked := len(m.asked)
	w.eventually("asked in vain", func() bool { m.mu.Lock(); defer m.mu.Unlock(); return len(m.asked) > asked+3 })
	if v, _ := w.get("dmz/w1"); len(v.Degraded) != 2 {
		t.Errorf("%+v", v)
	}
	m.set(none, nil)
	killPID(t, v.PID)
	w.until("another process", func(r observed.Resource) bool {
		return r.State == observed.Running && r.PID != v.PID && r.Degraded == nil
	})
}

// Without telemetry, errors are counted on stderr.
func TestErrorsWithoutTelemetry(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Timings.Examine = 10 * time.Millisecond })
	w.do(order(desired.Start, worker(), ""))
	w.untilState(observed.Running)
	w.eventually("examined", func() bool {
		c := &w.supervised("dmz/w1").condition
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.errors.began
	})
	f, err := os.OpenFile(filepath.Join(w.state, "clusters", "dmz", "nodes", "w1", "stderr"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("1795259608.941967 error in ./site.zeek, line 8: something bad\nlistening on lo\n"); err != nil {
		t.Fatal(err)
	}
	v := w.until("degraded", func(r observed.Resource) bool { return len(r.Degraded) > 0 })
	if want := []string{"has reported 1 error in the last minute, lately: error in ./site.zeek, line 8: something bad"}; !slices.Equal(v.Degraded, want) || !v.Healthy {
		t.Errorf("%q", v.Degraded)
	}
}

func TestErrorCount(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stderr")
	var c errorCount
	write := func(text string, flags int) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|flags, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string, n uint64) {
		t.Helper()
		if got := c.look(path); got != n {
			t.Errorf("%s: %d, want %d", what, got, n)
		}
	}
	want("no file", 0)
	write("error in x: before\n", os.O_TRUNC)
	want("what was there", 0)
	want("nothing new", 0)
	write("error in x: one\nwarning in x\n1.5 expression error in y, line 3: two\nerror: three\n", os.O_APPEND)
	want("three", 3)
	write("error: after it was cut\n", os.O_TRUNC)
	want("cut", 4)
	write(strings.Repeat("error: x\n", 100_000), os.O_APPEND)
	if n := c.look(path); n < 20_000 || n > 30_000 {
		t.Errorf("%d of very many", n)
	}
	if got := lastReported([]string{"error: first", "1.25 error in x, line 1: " + strings.Repeat("é", 200), "listening on eth0"}); len(got) > latelyWidth+3 || !strings.HasPrefix(got, "error in x, line 1: é") || !strings.HasSuffix(got, "é…") {
		t.Errorf("%q", got)
	}
	if got := lastReported([]string{"listening on eth0"}); got != "" {
		t.Errorf("%q", got)
	}
}

func TestBrokerThatDrops(t *testing.T) {
	w, b, _ := newBrokerWorld(t)
	w.do(order(desired.Start, broker(t), ""))
	v := w.untilBroker("healthy", isHealthy)
	if v.Degraded != nil {
		t.Errorf("%+v", v)
	}
	b.with(func() { b.status.Dropped = 1234 })
	v = w.untilBroker("degraded", func(r observed.Resource) bool { return len(r.Degraded) > 0 })
	if !v.Healthy || v.Degraded[0] != "has dropped about 1200 messages in the last minute, since nodes do not keep up" {
		t.Errorf("%+v", v)
	}
}
