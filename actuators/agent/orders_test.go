//go:build linux

package agent

import (
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

func TestJudge(t *testing.T) {
	one, two := worker(), worker(fake("x"))
	live := worker(part("nice", desired.Live, "1"))
	told := func(r desired.Resource, hold string) *toldRecord { return &toldRecord{Resource: r, Hold: hold} }
	ran := func(r desired.Resource, inc int) *runningRecord {
		return &runningRecord{Resource: r, Incarnation: inc}
	}
	held := func(o desired.Order, hold string) desired.Order { o.Hold = hold; return o }
	at := func(o desired.Order, inc int) desired.Order { o.Incarnation = inc; return o }
	nothing := situation{phase: stopped}
	runs := situation{told: told(one, ""), running: ran(one, 3), phase: running}
	orphan := situation{running: ran(one, 3), phase: running}
	with := func(s situation, change func(*situation)) situation { change(&s); return s }

	done := decision{done: true}
	for _, tt := range []struct {
		name    string
		o       desired.Order
		s       situation
		want    decision
		refused bool
	}{
		{"start", order(desired.Start, one, ""), nothing, decision{then: run}, false},
		{"start, expecting more", order(desired.Start, one, "x"), nothing, decision{}, true},
		{"start again", order(desired.Start, one, ""), runs, done, false},
		{"start of another spec while one runs", order(desired.Start, two, one.ID), runs, decision{}, true},
		{"start what failed", order(desired.Start, one, one.ID), with(runs, func(s *situation) { s.phase = failed }), decision{then: run}, false},
		{"start what failed, told otherwise", order(desired.Start, two, one.ID), with(runs, func(s *situation) { s.phase = failed }), decision{then: run}, false},
		{"start what backs off", order(desired.Start, one, one.ID), with(runs, func(s *situation) { s.phase = backoff }), done, false},
		{"start what is held", order(desired.Start, one, one.ID), situation{told: told(one, "h"), phase: stopped}, decision{then: run}, false},
		{"start of an orphan, same spec", order(desired.Start, one, ""), orphan, decision{then: run}, false},
		{"start of an orphan, live parts differ", order(desired.Start, live, ""), orphan, decision{then: run}, false},
		{"start of an orphan, another spec", order(desired.Start, two, ""), orphan, decision{}, true},

		{"stop", order(desired.Stop, one, one.ID), runs, decision{then: halt, forget: true}, false},
		{"stop, expecting another", order(desired.Stop, one, two.ID), runs, decision{}, true},
		{"stop again, under way", order(desired.Stop, one, one.ID), situation{running: ran(one, 3), phase: stopping}, done, false},
		{"stop again", order(desired.Stop, one, one.ID), situation{running: ran(one, 3), phase: stopped}, done, false},
		{"stop during a restart", order(desired.Stop, one, one.ID), situation{told: told(one, ""), phase: stopping, renewing: true}, decision{then: halt, forget: true}, false},
		{"stop an orphan", order(desired.Stop, one, ""), orphan, decision{then: halt, forget: true}, false},
		{"stop an orphan, expecting more", order(desired.Stop, one, one.ID), orphan, decision{}, true},
		{"hold", held(order(desired.Stop, one, one.ID), "h"), runs, decision{then: halt, hold: "h"}, false},
		{"hold again", held(order(desired.Stop, one, one.ID), "h"), situation{told: told(one, "h"), phase: stopped}, done, false},
		{"hold for another reason", held(order(desired.Stop, one, one.ID), "i"), situation{told: told(one, "h"), phase: stopped}, decision{then: halt, hold: "i"}, false},
		{"hold what is not there", held(order(desired.Stop, one, ""), "h"), nothing, decision{then: halt, hold: "h"}, false},
		{"hold, expecting more", held(order(desired.Stop, one, "x"), "h"), nothing, decision{}, true},
		{"remove what is held", order(desired.Stop, one, one.ID), situation{told: told(one, "h"), phase: stopped}, decision{then: halt, forget: true}, false},

		{"restart", at(order(desired.Restart, one, one.ID), 3), runs, decision{then: again}, false},
		{"restart, whichever incarnation", order(desired.Restart, one, one.ID), runs, decision{then: again}, false},
		{"restart, done before", at(order(desired.Restart, one, one.ID), 2), runs, done, false},
		{"restart what failed since", at(order(desired.Restart, one, one.ID), 2), with(runs, func(s *situation) { s.phase = failed }), decision{then: again}, false},
		{"restart onto another spec", at(order(desired.Restart, two, one.ID), 3), runs, decision{then: again}, false},
		{"restart onto another spec, crashed since", at(order(desired.Restart, two, one.ID), 2), runs, decision{then: again}, false},
		{"restart, told otherwise since", order(desired.Restart, one, two.ID), with(runs, func(s *situation) { s.told = told(live, "") }), decision{}, true},
		{"restart, under way", at(order(desired.Restart, two, one.ID), 3), situation{told: told(two, ""), running: ran(one, 3), phase: stopping, renewing: true}, done, false},
		{"restart, done", at(order(desired.Restart, two, one.ID), 3), situation{told: told(two, ""), running: ran(two, 4), phase: running}, done, false},
		{"restart, accepted, never begun", at(order(desired.Restart, two, one.ID), 3), situation{told: told(two, ""), running: ran(one, 3), phase: running}, decision{then: again}, false},
		{"restart, accepted, being tried", at(order(desired.Restart, two, one.ID), 3), situation{told: told(two, ""), running: ran(one, 3), phase: backoff}, done, false},
		{"restart what is held", order(desired.Restart, one, one.ID), situation{told: told(one, "h"), phase: stopped}, decision{}, true},
		{"restart an orphan", order(desired.Restart, two, ""), orphan, decision{then: again}, false},

		{"update", order(desired.Update, live, one.ID), runs, decision{}, false},
		{"update again", order(desired.Update, one, two.ID), runs, done, false},
		{"update, expecting another", order(desired.Update, live, two.ID), runs, decision{}, true},
		{"update of what takes a restart", order(desired.Update, two, one.ID), runs, decision{}, true},
		{"update of what is held", order(desired.Update, two, one.ID), situation{told: told(one, "h"), phase: stopped}, decision{hold: "h"}, false},
		{"update of an orphan", order(desired.Update, one, ""), orphan, decision{then: run}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := judge(&tt.o, "agent-a", &tt.s, time.Now())
			if observed.IsRefused(err) != tt.refused || err != nil && !tt.refused {
				t.Fatalf("got %v, want refused %t", err, tt.refused)
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}
