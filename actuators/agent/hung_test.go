//go:build linux

package agent

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// TestHungPulse: it takes time, questions, and others that answer.
func TestHungPulse(t *testing.T) {
	begin := time.Unix(1000, 0)
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	const patience, pause = 30 * time.Second, 3 * time.Second
	all := []observed.Member{{Name: "a", PID: 1}, {Name: "b", PID: 2}, {Name: "c", PID: 3}}
	// ask asks all at these seconds; only these answer.
	ask := func(p *pulse, from, to int, answer ...string) {
		for s := from; s <= to; s += 3 {
			got := Pinged{Answered: map[string]time.Duration{}}
			for _, n := range answer {
				got.Answered[n] = 0
			}
			p.note(all, got, at(s))
			p.fill(append([]observed.Member(nil), all...), at(s), 8*time.Second)
		}
	}
	want := func(what string, p *pulse, pid, now int, since time.Time) {
		t.Helper()
		if got, ok := p.hung("c", pid, at(now), patience, pause); !got.Equal(since) || ok == since.IsZero() {
			t.Errorf("%s: %s, %t", what, got, ok)
		}
	}
	never := time.Time{}
	p := &pulse{}
	want("nobody was asked", p, 3, 100, never)
	ask(p, 0, 0, "a", "b", "c")
	ask(p, 3, 27, "a", "b")
	want("silent for less", p, 3, 29, never)
	want("for long enough", p, 3, 30, begin)
	want("another process", p, 4, 30, never)
	ask(p, 30, 30, "a", "b", "c")
	want("it is back", p, 3, 30, never)

	p = &pulse{}
	ask(p, 0, 0, "a", "b", "c")
	ask(p, 3, 9, "a", "b")
	want("few questions, long ago: the agent was held up", p, 3, 1000, never)

	p = &pulse{}
	ask(p, 0, 0, "a", "b", "c")
	ask(p, 3, 60, "a")
	want("most are silent", p, 3, 60, never)
	ask(p, 63, 63, "a", "b")
	want("most answer again", p, 3, 63, begin)
}

func TestHungPatience(t *testing.T) {
	for _, tt := range []struct {
		told *toldRecord
		want time.Duration
	}{
		{nil, 0},
		{&toldRecord{Resource: desired.Resource{Broker: &desired.BrokerSpec{}}}, 0},
		{&toldRecord{Resource: worker()}, time.Minute},
		{&toldRecord{Resource: worker(hungAfter(-1))}, 0},
		{&toldRecord{Resource: worker(hungAfter(15))}, 15 * time.Second},
	} {
		if got := (&unit{told: tt.told}).hungPatience(); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.told, got, tt.want)
		}
	}
}

func hungAfter(seconds int) func(*desired.Resource) {
	return func(r *desired.Resource) { r.Node.HungSeconds = seconds }
}

func named(name string) func(*desired.Resource) {
	return func(r *desired.Resource) { r.Name = name }
}

// TestHungNode: of two nodes that are stopped by a signal, the one whose cluster says so is replaced.
func TestHungNode(t *testing.T) {
	w, b, _ := newBrokerWorld(t, func(c *Config) { c.Timings.Ping, c.Timings.Silent = 20*time.Millisecond, 100*time.Millisecond })
	r := broker(t)
	w.do(order(desired.Start, r, ""))
	w.untilBroker("healthy", isHealthy)
	joins := part("broker", desired.Equal, r.Broker.XPub, r.Broker.XSub)
	pids := map[string]int{}
	for name, seconds := range map[string]int{"w1": 1, "w2": -1, "w3": 0, "w4": 0} {
		w.do(order(desired.Start, worker(named(name), joins, hungAfter(seconds)), ""))
		w.eventually(name, func() bool { v, _ := w.get("dmz/" + name); pids[name] = v.PID; return v.State == observed.Running })
	}
	members := func() (ms []observed.Member) {
		for _, n := range []string{"w1", "w2", "w3", "w4"} {
			ms = append(ms, observed.Member{Name: n, PID: pids[n]})
		}
		return ms
	}
	b.with(func() { b.status.Members = members() })
	for _, n := range []string{"w1", "w2"} {
		if err := unix.Kill(pids[n], unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	b.with(func() { b.hung = []string{"w1", "w2"} })
	e := w.event("hung")
	if e.Resource != "dmz/w1" || e.PID != pids["w1"] || !strings.HasPrefix(e.Text, "killed, since it did not answer for 1") || !strings.HasSuffix(e.Text, ", stopped by a signal") ||
		len(e.Tail) == 0 {
		t.Errorf("%+v", e)
	}
	v := w.until("another process", func(r observed.Resource) bool { return r.State == observed.Running && r.PID != pids["w1"] })
	pids["w1"] = v.PID
	b.with(func() { b.hung, b.status.Members = []string{"w2"}, members() })
	w.untilBroker("w1 answers, and w2 does not", func(r observed.Resource) bool {
		return len(r.Members) == 4 && r.Members[0].Answers && !r.Members[1].Silent.IsZero()
	})
	for _, n := range []string{"w2", "w3", "w4"} {
		if v, _ := w.get("dmz/" + n); v.PID != pids[n] {
			t.Errorf("%s: %+v", n, v)
		}
	}
	if err := unix.Kill(pids["w2"], unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
}
