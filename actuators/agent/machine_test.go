package agent

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// step is one line of a story: after so long, this happens, and the machine answers.
type step struct {
	after time.Duration
	t     trigger
	f     *fault
	want  []effect
	phase phase
}

var (
	died = &fault{Kind: faultOther, Text: "killed by SIGKILL"}
	bad  = &fault{Kind: faultScript, Text: "syntax error", Permanent: true}
)

// hungAt is the fault of a process that has not answered since so many seconds after a story began.
func hungAt(s int64) *fault {
	return &fault{Kind: faultHung, Text: "did not answer", Since: time.Unix(1000+s, 0)}
}

func TestMachine(t *testing.T) {
	e := func(es ...effect) []effect { return es }
	second := time.Second
	for name, story := range map[string][]step{
		"start and stop": {
			{0, run, nil, e(spawn), starting},
			{second, ready, nil, nil, running},
			{second, run, nil, nil, running},
			{second, halt, nil, e(terminate), stopping},
			{second, halt, nil, nil, stopping},
			{second, ended, died, nil, stopped},
		},
		"restart": {
			{0, run, nil, e(spawn), starting},
			{second, again, nil, e(terminate), stopping},
			{second, ended, died, e(spawn), starting},
			{second, ready, nil, nil, running},
		},
		"stop wins over a restart under way": {
			{0, run, nil, e(spawn), starting},
			{second, again, nil, e(terminate), stopping},
			{0, halt, nil, nil, stopping},
			{second, ended, died, nil, stopped},
		},
		"start wins over a stop under way": {
			{0, run, nil, e(spawn), starting},
			{second, halt, nil, e(terminate), stopping},
			{0, run, nil, nil, stopping},
			{second, ended, died, e(spawn), starting},
		},
		"TERM, then KILL, again and again": {
			{0, run, nil, e(spawn), starting},
			{second, ready, nil, nil, running},
			{second, halt, nil, e(terminate), stopping},
			{59 * second, due, nil, nil, stopping},
			{second, due, nil, e(tooLate, kill), killing},
			{60 * second, due, nil, e(tooLate, kill), killing},
			{second, ended, died, nil, stopped},
		},
		"back-off doubles, five crashes within a minute fail": {
			{0, run, nil, e(spawn), starting},
			{second, ended, died, e(crashed, respawn), starting},
			{second, ended, died, e(crashed), backoff},
			{second, due, nil, e(respawn), starting},
			{second, ended, died, e(crashed), backoff},
			{2 * second, due, nil, e(respawn), starting},
			{second, ended, died, e(crashed), backoff},
			{3 * second, due, nil, nil, backoff},
			{second, due, nil, e(respawn), starting},
			{second, ended, died, e(crashed, gaveUp), failed},
			{299 * second, due, nil, nil, failed},
			{second, due, nil, e(respawn), starting},
		},
		"a minute up forgets": {
			{0, run, nil, e(spawn), starting},
			{second, ended, died, e(crashed, respawn), starting},
			{second, ended, died, e(crashed), backoff},
			{second, due, nil, e(respawn), starting},
			{second, ready, nil, nil, running},
			{60 * second, ended, died, e(crashed, respawn), starting},
		},
		"permanent": {
			{0, run, nil, e(spawn), starting},
			{second, ended, bad, e(crashed, gaveUp), failed},
			{second, causeGone, nil, e(respawn), starting},
			{second, ended, bad, e(crashed, gaveUp), failed},
			{second, run, nil, e(spawn), starting},
			{second, ended, bad, e(crashed, gaveUp), failed},
			{second, halt, nil, nil, stopped},
		},
		"not ready in time counts as a crash": {
			{0, run, nil, e(spawn), starting},
			{60 * second, due, nil, e(tooLate, kill), killing},
			{0, ended, died, e(crashed, respawn), starting},
		},
		"halted while it is killed for not being ready": {
			{0, run, nil, e(spawn), starting},
			{60 * second, due, nil, e(tooLate, kill), killing},
			{0, halt, nil, nil, killing},
			{0, ended, died, nil, stopped},
		},
		"healing suspended": {
			{0, run, nil, e(spawn), starting},
			{second, ready, nil, nil, running},
			{0, healingOff, nil, nil, running},
			{second, ended, died, e(crashed), backoff},
			{time.Hour, due, nil, nil, backoff},
			{0, healingOn, nil, e(respawn), starting},
		},
		"hung: killed, and healed like a crash": {
			{0, run, nil, e(spawn), starting},
			{0, hung, hungAt(0), nil, starting}, // it has its deadline
			{second, ready, nil, nil, running},
			{61 * second, hung, hungAt(2), e(kill), killing},
			{0, hung, hungAt(2), nil, killing},
			{60 * second, due, nil, e(tooLate, kill), killing},
			{second, ended, died, e(crashed, respawn), starting},
		},
		"one that hangs after each start is backed off, however long that takes": {
			{0, run, nil, e(spawn), starting},
			{second, ready, nil, nil, running},
			{60 * second, hung, hungAt(1), e(kill), killing},
			{0, ended, died, e(crashed, respawn), starting},
			{second, ready, nil, nil, running},
			{60 * second, hung, hungAt(62), e(kill), killing},
			{0, ended, died, e(crashed), backoff},
			{second, due, nil, e(respawn), starting},
			{second, ready, nil, nil, running},
			{200 * second, hung, hungAt(262), e(kill), killing}, // it did work for 138 s
			{0, ended, died, e(crashed, respawn), starting},
		},
		"hung, while healing is suspended": {
			{0, run, nil, e(spawn), starting},
			{second, ready, nil, nil, running},
			{0, healingOff, nil, nil, running},
			{60 * second, hung, hungAt(1), nil, running},
		},
		"halted while it is killed for hanging": {
			{0, adopted, nil, nil, running},
			{60 * second, hung, hungAt(1), e(kill), killing},
			{0, halt, nil, nil, killing},
			{0, ended, died, nil, stopped},
		},
		"orphan": {
			{0, orphaned, nil, nil, running},
			{0, replace, nil, nil, running},
			{second, ended, died, e(crashed), stopped},
		},
		"orphan that is told again": {
			{0, orphaned, nil, nil, running},
			{0, run, nil, nil, running},
			{second, ended, died, e(crashed, respawn), starting},
		},
		"adopted": {
			{0, adopted, nil, nil, running},
			{0, replace, nil, e(terminate), stopping},
			{second, ended, died, e(respawn), starting},
		},
		"adopted in the middle of its start": {
			{0, unready, nil, nil, starting},
			{second, ready, nil, nil, running},
		},
		"lost": {
			{0, replaceLost, died, e(respawn), starting},
		},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(1000, 0)
			m := machine{timings: Timings{}.withDefaults(), phase: stopped}
			for i, s := range story {
				now = now.Add(s.after)
				got := m.step(s.t, s.f, now)
				if !slices.Equal(got, s.want) || m.phase != s.phase {
					t.Fatalf("step %d, %s: %v, %s; want %v, %s", i+1, s.t, got, m.phase, s.want, s.phase)
				}
			}
		})
	}
}

// Whatever happens in whatever order: there is one process at most, a stop is never answered with a start,
// and a wanted process is started in the end.
func TestMachineProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1000, 0)
		m := machine{timings: Timings{}.withDefaults(), phase: stopped}
		process, wanted := false, false
		do := func(tr trigger, f *fault) {
			for _, e := range m.step(tr, f, now) {
				switch e {
				case spawn, respawn:
					if process {
						t.Fatalf("%s: a second process", tr)
					}
					if !wanted {
						t.Fatalf("%s: started, though it is not wanted", tr)
					}
					process = true
				case terminate, kill:
					if !process {
						t.Fatalf("%s: a signal to nobody", tr)
					}
				}
			}
			if m.phase.alive() != process {
				t.Fatalf("%s: phase %s, process %t", tr, m.phase, process)
			}
		}
		end := func(f *fault) {
			if process {
				process = false
				do(ended, f)
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "seconds")) * time.Second)
			switch tr := rapid.SampledFrom([]trigger{run, again, halt, ready, ended, due, causeGone, replace, hung, healingOn, healingOff}).Draw(t, "trigger"); tr {
			case run, again:
				wanted = true
				do(tr, nil)
			case halt:
				wanted = false
				do(tr, nil)
			case hung:
				do(tr, hungAt(0))
			case ended:
				end(rapid.SampledFrom([]*fault{died, bad}).Draw(t, "fault"))
			default:
				do(tr, nil)
			}
		}
		// Left to itself, the world comes to rest as it is wanted.
		do(healingOn, nil)
		for range 10 {
			now = now.Add(10 * time.Minute)
			if m.phase == stopping || m.phase == killing {
				end(died)
			}
			do(due, nil)
			do(ready, nil)
		}
		if want := map[bool]phase{true: running, false: stopped}[wanted]; m.phase != want {
			t.Fatalf("at rest in %s, want %s", m.phase, want)
		}
	})
}
