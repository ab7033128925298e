package agent

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/zeekrec/zeekrec/observed"
)

// numbersAtOnce is how many numbers of events are taken with one write.
const numbersAtOnce = 1000

// eventNumbers is events.json: all numbers below Next may have been given away.
type eventNumbers struct {
	Next int `json:"next"`
}

// eventLog keeps the latest events. Their numbers rise over restarts of the agent too, so that a reader who
// has seen some is not confused. They begin at the time in milliseconds, or where the record says that earlier
// ones may have come to, whichever is more: a clock that was set back hides nothing. The record is written
// before the numbers are used, many at once, so that events cost no write each. A disk that takes no record
// does not keep events from being told: the clock alone is relied on then.
type eventLog struct {
	keep func(*eventNumbers) error // writes the record
	log  *slog.Logger

	mu     sync.Mutex
	next   int
	taken  int // numbers below are on record
	events []observed.Event
}

// newEventLog goes on from the record at path.
func newEventLog(path string, now time.Time, log *slog.Logger, keep func(*eventNumbers) error) *eventLog {
	l := &eventLog{keep: keep, log: log, next: int(now.UnixMilli())}
	switch r, err := readJSON[eventNumbers](path); {
	case err != nil:
		log.Warn("cannot read the last event's number; they begin at the time", "error", err)
	case r != nil:
		l.next = max(l.next, r.Next)
	}
	return l
}

func (l *eventLog) add(e observed.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next >= l.taken {
		if err := l.take(); err != nil {
			l.log.Error("events are told, but their numbers may come again after a restart", "error", err)
		}
	}
	e.Seq = l.next
	l.next++
	l.events = append(l.events, e)
	if extra := len(l.events) - eventsKeep; extra > 0 {
		l.events = slices.Delete(l.events, 0, extra)
	}
}

func (l *eventLog) take() error {
	r := eventNumbers{Next: l.next + numbersAtOnce}
	if err := l.keep(&r); err != nil {
		return fmt.Errorf("cannot record the numbers of events: %w", err)
	}
	l.taken = r.Next
	return nil
}

func (l *eventLog) all() []observed.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}
