package agent

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/actuators/vitals"
)

// TestCondition goes through what a process may have come to, by findings that are made 10 s apart.
func TestCondition(t *testing.T) {
	begin := time.Unix(100_000, 0)
	count := func(n uint64) vitals.Count { return vitals.Count{N: n, Known: true} }
	worker := &examiner{node: true, packets: true, pid: 7, began: begin, stderr: filepath.Join(t.TempDir(), "stderr")}
	manager := &examiner{node: true, pid: 7, began: begin}
	packets := func(received, dropped uint64) finding {
		return finding{asked: true, counters: vitals.Counters{Received: count(received), Dropped: count(dropped), Events: count(0), Errors: count(0)}}
	}
	events := func(n uint64) finding { return finding{asked: true, counters: vitals.Counters{Events: count(n)}} }
	errs := func(n uint64) finding { return finding{asked: true, counters: vitals.Counters{Errors: count(n)}} }
	cpu := func(seconds float64) finding { return finding{usage: &process.Usage{MainSeconds: seconds}} }
	memory := func(rss, available uint64) finding {
		return finding{usage: &process.Usage{RSS: rss}, memory: &process.Memory{Total: 1000, Available: available}}
	}
	repeat := func(n int, f finding) []finding { return slices.Repeat([]finding{f}, n) }
	late := finding{asked: true, took: 5 * time.Second}
	refused := finding{asked: true, err: errors.New("connection refused")}
	for _, tt := range []struct {
		name  string
		of    *examiner
		found []finding
		bad   string
		note  string
	}{
		{"nothing is known", worker, []finding{{}}, "", ""},
		{"few drops", worker, []finding{packets(0, 0), packets(99_500, 500)}, "", ""},
		{"too many", worker, []finding{packets(0, 0), packets(98_500, 1500)}, "drops 1.5% of its packets", ""},
		{"of few packets", worker, []finding{packets(0, 0), packets(10, 9)}, "", ""},
		{"all", worker, []finding{packets(0, 0), packets(0, 20)}, "drops 100% of its packets", ""},
		{"a minute ago", worker, append(append([]finding{packets(0, 0), packets(900, 100)}, repeat(6, packets(2000, 100))...), packets(2001, 100)), "", ""},
		{"before anybody looked", worker, []finding{packets(900, 900), packets(2000, 900)}, "", ""},
		{"none come any more", worker, append([]finding{packets(100_000, 0)}, repeat(6, packets(100_000, 0))...), "has received no packets for a minute", ""},
		{"hardly any came before", worker, append([]finding{packets(3, 0)}, repeat(6, packets(3, 0))...), "", ""},
		{"none ever came", worker, append([]finding{packets(0, 0)}, repeat(6, packets(0, 0))...), "", "has received no packets yet"},
		{"who has no interface", manager, append([]finding{packets(0, 0)}, repeat(6, packets(0, 0))...), "", ""},
		{"events", manager, []finding{events(0), events(1)}, "has lost 1 event in the last minute, since a queue was full", ""},
		{"many events", manager, []finding{events(0), events(15_499)}, "has lost about 15000 events in the last minute, since a queue was full", ""},
		{"errors", manager, []finding{errs(3), errs(105)}, "has reported about 100 errors in the last minute", ""},
		{"busy, for less than a minute", manager, []finding{cpu(0), cpu(10), cpu(20)}, "", ""},
		{"busy", manager, []finding{cpu(0), cpu(10), cpu(20), cpu(30), cpu(40), cpu(50), cpu(59)}, "its main loop is never idle (98% of a CPU)", ""},
		{"now and then", manager, []finding{cpu(0), cpu(10), cpu(20), cpu(30), cpu(40), cpu(50), cpu(55)}, "", ""},
		{"memory", manager, []finding{memory(410, 30)}, "uses 41% of the host's memory, of which 3% is left", ""},
		{"memory of others", manager, []finding{memory(90, 30)}, "", ""},
		{"much memory, and enough is left", manager, []finding{memory(900, 60)}, "", ""},
		{"slow once", manager, []finding{late, events(0)}, "", ""},
		{"slow", manager, []finding{events(0), late, late}, "its telemetry does not answer within 5s: its main loop hangs or is far behind", ""},
		{"no telemetry for a moment", manager, []finding{refused, refused, events(0)}, "", ""},
		{"no telemetry", manager, []finding{refused, refused, refused}, "", "its telemetry does not answer: connection refused"},
		{"stopped", manager, []finding{{hold: process.Hold{Stopped: true}}}, "", "it was stopped by a signal (kill -CONT lets it go on)"},
		{"debugged", manager, []finding{{hold: process.Hold{Stopped: true, Tracer: 12}}}, "", "a debugger holds it (process 12)"},
	} {
		var c condition
		c.begin(tt.of, false, begin)
		for i := range tt.found {
			f := tt.found[i]
			f.at = begin.Add(time.Duration(i) * 10 * time.Second)
			c.note(tt.of, f)
		}
		degraded, notes := c.says()
		if len(degraded) > 1 || len(notes) > 1 || first(degraded) != tt.bad || first(notes) != tt.note {
			t.Errorf("%s: %q, %q", tt.name, degraded, notes)
		}
	}
}

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

// What was found of a process that has ended is not taken for the next one's.
func TestConditionOfAnother(t *testing.T) {
	var c condition
	old, now := &examiner{pid: 7}, time.Unix(1000, 0)
	c.begin(old, false, now)
	c.begin(&examiner{pid: 8}, false, now)
	if c.note(old, finding{at: now, hold: process.Hold{Stopped: true}}) {
		t.Error("noted")
	}
	if _, notes := c.says(); notes != nil {
		t.Errorf("%q", notes)
	}
}

func TestAbout(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 events", 1: "1 event", 99: "99 events", 100: "about 100 events", 1234: "about 1200 events", 1250: "about 1300 events", 99_500: "about 100000 events"} {
		if got := about(n, "event"); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	for share, want := range map[float64]string{0.01: "1%", 0.0149: "1.5%", 0.0999: "10%", 0.1: "10%", 0.996: "100%", 1: "100%", 0: "0%"} {
		if got := percent(share); got != want {
			t.Errorf("%g: %q, want %q", share, got, want)
		}
	}
}
