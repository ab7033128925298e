//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/zeekrec/zeekrec/actuators/journald"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// fakeJournal is systemd's; it takes nothing while it is down.
type fakeJournal struct {
	mu      sync.Mutex
	down    bool
	entries []journald.Entry
}

func (j *fakeJournal) Send(_ context.Context, e journald.Entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.down {
		return errors.New("the journal is down")
	}
	j.entries = append(j.entries, e)
	return nil
}

func (j *fakeJournal) set(down bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.down = down
}

// said by processes, as PID STREAM LINE, without zeekrec's marks.
func (j *fakeJournal) said() (out []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.entries {
		if !strings.HasPrefix(e.Line, startMark) {
			out = append(out, fmt.Sprintf("%d %s %s", e.PID, e.Stream, e.Line))
		}
	}
	return out
}

// TestOutputsReachTheJournal: of each process, from its first line on, once, also what it writes while no agent runs, or no journal.
func TestOutputsReachTheJournal(t *testing.T) {
	j := &fakeJournal{}
	w := newWorld(t, func(c *Config) { c.Journal = j })
	w.do(order(desired.Start, worker(), ""))
	first := w.untilState(observed.Running)
	line := func(pid int) string { return fmt.Sprintf("%d stderr listening on somewhere", pid) }
	w.eventually("the first line is there", func() bool { return slices.Equal(j.said(), []string{line(first.PID)}) })
	j.mu.Lock()
	for _, e := range j.entries { // in which order stdout and stderr are read is left to chance
		if want := (journald.Source{Cluster: "dmz", Node: "w1", Role: "worker", Stream: e.Stream}); e.Source != want || e.PID != first.PID {
			t.Errorf("%+v", e)
		}
	}
	j.mu.Unlock()

	w.stop()
	f, err := os.OpenFile(w.folder("dmz", "w1").stdout(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fmt.Fprintln(f, "while nobody listened")
	j.set(true)
	w.start()
	killPID(t, first.PID)
	next := w.until("a new process", func(r observed.Resource) bool { return r.State == observed.Running && r.PID != first.PID })
	if got := j.said(); len(got) != 1 {
		t.Errorf("a journal that is down has %q", got)
	}
	j.set(false)
	want := []string{line(first.PID), line(next.PID), fmt.Sprintf("%d stdout while nobody listened", first.PID)}
	w.eventually("all of it is there", func() bool { got := j.said(); slices.Sort(got); slices.Sort(want); return slices.Equal(got, want) })
	w.do(order(desired.Stop, worker(), next.Started))
	w.untilGone()
}

// TestJournalOnly: files are kept small once the journal has what was in them, and not before.
func TestJournalOnly(t *testing.T) {
	j := &fakeJournal{down: true}
	w := newWorld(t, func(c *Config) { c.Journal, c.JournalOnly = j, true })
	w.do(order(desired.Start, worker(), ""))
	w.untilState(observed.Running)
	path := w.folder("dmz", "w1").stderr()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	line := strings.Repeat("x", 1000)
	for n := range 300 {
		fmt.Fprintf(f, "%03d %s\n", n, line)
	}
	size := func(p string) int64 {
		info, err := os.Stat(p)
		if err != nil {
			return -1
		}
		return info.Size()
	}
	u := w.supervised("dmz/w1")
	w.eventually("the unit has looked", func() bool { u.poke(); return len(u.ticks) == 0 })
	if size(path) < 300_000 || size(path+".1") != -1 {
		t.Errorf("while the journal was down, it was rotated: %d and %d bytes", size(path), size(path+".1"))
	}
	j.set(false)
	w.eventually("it is small", func() bool { return size(path) == 0 && size(path+".1") > 300_000 })
	w.eventually("all lines are in the journal", func() bool { return len(j.said()) == 301 })
	if size(path+".2") != -1 {
		t.Error("more is kept than asked for")
	}
}

func TestStartedPID(t *testing.T) {
	for line, want := range map[string]int{
		"# 2026-11-28T12:00:00.123Z zeekrec: started pid 4711, incarnation 2": 4711,
		"# 2026-11-28T12:00:00.123Z zeekrec: stopped":                         0,
		"zeekrec: started pid 4711, incarnation 2":                            0,
		"# zeekrec: 12 bytes dropped here":                                    0,
		"":                                                                    0,
	} {
		if got, ok := startedPID(line); got != want || ok != (want != 0) {
			t.Errorf("%q: %d, %v", line, got, ok)
		}
	}
}

func TestPriorities(t *testing.T) {
	for line, want := range map[string]journald.Priority{
		"error in a.zeek, line 8: x": journald.Error, "1795259608.941967 expression error in a.zeek, line 1: x": journald.Error, "fatal error: x": journald.Error,
		"internal error: x": journald.Error, "warning in a.zeek, line 2: x": journald.Warning, "1795259608.941967 warning: x": journald.Warning,
		"listening on eth0": journald.Info, "received termination signal": journald.Info, "there is no error": journald.Info, "": journald.Info,
	} {
		if got := priorityOf(line); got != want {
			t.Errorf("%q: %d, want %d", line, got, want)
		}
	}
}
