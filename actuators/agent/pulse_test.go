//go:build linux

package agent

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
	"github.com/zeekrec/zeekrec/observed"
)

// TestPulse goes through what may come of questions that are asked every 3 s.
func TestPulse(t *testing.T) {
	begin := time.Unix(1000, 0)
	at := func(s float64) time.Time { return begin.Add(time.Duration(s * float64(time.Second))) }
	const patience = 8 * time.Second
	a, b := observed.Member{Name: "a", PID: 1}, observed.Member{Name: "b", PID: 2}
	both := []observed.Member{a, b}
	answered := func(names ...string) Pinged {
		p := Pinged{Answered: map[string]time.Duration{}}
		for _, n := range names {
			p.Answered[n] = 100 * time.Millisecond
		}
		return p
	}
	var p pulse
	// state is "a+ b?" for a that answers, and b of which nobody can tell, and what has changed.
	state := func(when float64, ms ...observed.Member) string {
		ms = slices.Clone(ms)
		changes := p.fill(ms, at(when), patience)
		var out []string
		for _, m := range ms {
			switch {
			case m.Answers && m.Silent.IsZero():
				m.Name += "+"
			case !m.Silent.IsZero() && !m.Answers:
				m.Name += "-" + m.Silent.Sub(begin).String()
			default:
				m.Name += "?"
			}
			out = append(out, m.Name)
		}
		for _, c := range changes {
			if c.silent {
				out = append(out, "!"+c.member.Name+" is silent")
			} else {
				out = append(out, "!"+c.member.Name+" speaks")
			}
		}
		return strings.Join(out, " ")
	}
	want := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	want("nobody was asked", state(0, both...), "a? b?")
	p.note(both, answered("a", "b"), at(0))
	want("both answer", state(1, both...), "a+ b+")
	p.note(both, answered("a"), at(3))
	want("one question in vain", state(5.5, both...), "a+ b+")
	want("one question is too few, however long ago", state(100, both...), "a+ b+")
	p.note(both, answered("a"), at(6))
	want("two, and not long enough", state(8, both...), "a+ b+")
	want("long enough", state(8.5, both...), "a+ b-100ms !b is silent")
	want("nothing new", state(9, both...), "a+ b-100ms")
	want("no more questions", state(90, both...), "a+ b-100ms")
	p.note(both, answered("a", "b"), at(90))
	want("it is back", state(91, both...), "a+ b+ !b speaks")
	p.note([]observed.Member{b}, Pinged{Absent: []string{"b"}}, at(93))
	want("nobody is there to be asked", state(94, both...), "a+ b?")

	// Who never answers is reckoned from the first question.
	p = pulse{}
	for _, s := range []float64{10, 13} {
		p.note(both, answered("a"), at(s))
	}
	want("from the first question", state(18, both...), "a+ b?")
	want("silent from the start", state(18.1, both...), "a+ b-10s !b is silent")

	// Another process of the node's has nothing to do with the one before.
	b2 := observed.Member{Name: "b", PID: 3}
	want("another process", state(19, a, b2), "a+ b?")
	p.note([]observed.Member{a, b2}, answered("a"), at(20))
	p.note([]observed.Member{a, b2}, answered("a"), at(23))
	want("its own time", state(27, a, b2), "a+ b?")
	want("its own silence", state(29, a, b2), "a+ b-20s !b is silent")
	want("who left is forgotten", state(30, a), "a+")
	want("and begins anew", state(31, a, b2), "a+ b?")
	if len(p.beats) != 1 {
		t.Errorf("%d are remembered", len(p.beats))
	}
}

// TestSilentNode: only nodes that run here with the script are asked; who does not answer is told of.
func TestSilentNode(t *testing.T) {
	w, b, _ := newBrokerWorld(t, func(c *Config) { c.Timings.Ping, c.Timings.Silent = 20*time.Millisecond, 100*time.Millisecond })
	r := broker(t)
	w.do(order(desired.Start, r, ""))
	w.untilBroker("healthy", isHealthy)
	w.do(order(desired.Start, worker(part("broker", desired.Equal, r.Broker.XPub, r.Broker.XSub)), ""))
	node := w.untilState(observed.Running)
	members := []observed.Member{{Name: "elsewhere", PID: 7}, {Name: "w1", PID: node.PID}}
	b.with(func() { b.status.Members = members })
	answers := func(m observed.Member) bool { return m.Answers }
	silent := func(m observed.Member) bool { return !m.Silent.IsZero() }
	untilMember := func(what string, ok func(observed.Member) bool) {
		t.Helper()
		w.untilBroker(what, func(r observed.Resource) bool {
			return len(r.Members) == 2 && !answers(r.Members[0]) && !silent(r.Members[0]) && ok(r.Members[1])
		})
	}
	untilMember("w1 answers", answers)
	b.with(func() { b.hung = []string{"w1"} })
	untilMember("w1 is silent", silent)
	if e := w.event("silent"); e.Resource != "dmz/w1" || e.PID != node.PID || !strings.HasPrefix(e.Text, "does not answer since ") {
		t.Errorf("%+v", e)
	}
	b.with(func() { b.hung = nil })
	untilMember("w1 answers again", answers)
	w.event("answers")
	b.with(func() {
		for _, asked := range b.pinged {
			if !slices.Equal(asked, []string{"w1"}) {
				t.Errorf("asked %q", asked)
			}
		}
		b.pinged = nil
		b.status.Members = []observed.Member{{Name: "w1", PID: node.PID + 1}}
	})
	w.untilBroker("another process", func(r observed.Resource) bool { return len(r.Members) == 1 && !answers(r.Members[0]) })

	// After a restart of the agent it is known from the disk whether there is a script.
	b.with(func() { b.status.Members = members })
	w.stop()
	w.start()
	w.untilBroker("asked by the next agent", func(r observed.Resource) bool { return len(r.Members) == 2 && answers(r.Members[1]) })
	w.stop()
	u := w.supervised("dmz/w1")
	if err := os.Remove(launch.AnswerFile(u.last.Command.GenDir)); err != nil {
		t.Fatal(err)
	}
	w.start()
	b.with(func() { b.pinged = nil })
	asked := 0
	b.with(func() { asked = b.asked })
	b.has(w, "asked for its status", func() bool { return b.asked > asked+20 })
	b.with(func() {
		if b.pinged != nil {
			t.Errorf("pinged %q", b.pinged)
		}
	})
	if _, err := w.Ask(t.Context(), "dmz", Question{Node: "w1", What: AskValue, ID: "x"}); err == nil || !strings.Contains(err.Error(), "zeekrec restart dmz/w1") {
		t.Errorf("ask without a script: %v", err)
	}
}

func TestAsk(t *testing.T) {
	w, b, _ := newBrokerWorld(t)
	ask := func(node, id string) (Answer, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		return w.Ask(ctx, "dmz", Question{Node: node, What: AskValue, ID: id})
	}
	unaskable := func(why string) {
		t.Helper()
		_, err := ask("w1", "X::x")
		if _, ok := errors.AsType[*Unaskable](err); !ok || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), "standalone") {
			t.Errorf("%v, want %q", err, why)
		}
	}
	unaskable("none runs here")
	r := broker(t)
	w.do(order(desired.Start, r, ""))
	w.untilBroker("healthy", isHealthy)
	if got, err := ask("w1", "X::x"); err != nil || got.Value != `"value X::x of w1"` || got.Refused != "" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := ask("w1", "nope"); err != nil || got != (Answer{Refused: "unknown id"}) {
		t.Errorf("%+v, %v", got, err)
	}
	b.with(func() { b.silent = errors.New("connection refused") })
	if _, err := ask("w1", "X::x"); err == nil || err.Error() != "connection refused" {
		t.Error(err)
	}
	b.with(func() { b.silent = nil })
	w.do(order(desired.Stop, r, r.ID))
	w.eventually("the broker is gone", func() bool { v, ok := w.get("dmz/broker"); return !ok || v.PID == 0 })
	w.do(order(desired.Start, worker(part("broker", desired.Equal, "a", "b")), ""))
	w.untilState(observed.Running)
	if v, ok := w.get("dmz/broker"); ok {
		t.Logf("still known: %+v", v)
		unaskable("does not run")
	} else {
		unaskable("mode = external")
	}
	for _, tt := range []struct {
		field, value, why string
	}{{"backend", "broker", "backend = broker"}, {"xpub", "tcp://127.0.0.1:1", "mode = manager"}} {
		v, _ := w.get("dmz/w1")
		w.do(order(desired.Restart, worker(part(tt.field, desired.Equal, tt.value)), v.Started))
		w.until(tt.field, func(r observed.Resource) bool { return r.State == observed.Running && len(r.Parts.Get(tt.field)) > 0 })
		unaskable(tt.why)
	}
}
