package agent

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/observed"
)

func TestEventNumbersNeverGoBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.json")
	writes := 0
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	last := 0
	for _, run := range []struct {
		name   string
		clock  time.Time
		events int
	}{
		{"the first", noon, 3},
		{"with a clock that was set back", noon.Add(-time.Hour), 3},
		{"set back again, and more than fit in one record", noon.Add(-2 * time.Hour), numbersAtOnce + 1},
		{"at once after it, without an event", noon.Add(-2 * time.Hour), 0},
		{"with a right clock", noon.Add(time.Hour), 3},
		{"set back by years", noon.AddDate(-5, 0, 0), 3},
	} {
		writes = 0
		l := newEventLog(path, run.clock, slog.New(slog.DiscardHandler), func(r *eventNumbers) error {
			writes++
			return writeJSON(path, r)
		})
		for i := range run.events {
			l.add(observed.Event{Kind: "crashed"})
			all := l.all()
			seq := all[len(all)-1].Seq
			if seq <= last || i > 0 && seq != last+1 {
				t.Fatalf("%s: number %d follows %d", run.name, seq, last)
			}
			last = seq
		}
		if most := run.events/numbersAtOnce + 1; writes > most {
			t.Errorf("%s: %d writes for %d events", run.name, writes, run.events)
		}
	}
	if now := int(noon.Add(time.Hour).UnixMilli()); last < now {
		t.Errorf("the last number is %d, and the clock said %d", last, now)
	}
}

func TestEventsAreToldWithoutADisk(t *testing.T) {
	full := true
	var kept int
	l := newEventLog(filepath.Join(t.TempDir(), "events.json"), time.UnixMilli(7), slog.New(slog.DiscardHandler), func(r *eventNumbers) error {
		if full {
			return errors.New("no space left on device")
		}
		kept = r.Next
		return nil
	})
	l.add(observed.Event{})
	full = false
	l.add(observed.Event{})
	if all := l.all(); len(all) != 2 || all[0].Seq != 7 || all[1].Seq != 8 {
		t.Errorf("%+v", all)
	}
	if kept <= 8 {
		t.Errorf("the record says %d once there is room", kept)
	}
}
