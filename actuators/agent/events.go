package agent

import (
	"slices"
	"sync"
	"time"

	"github.com/zeekrec/zeekrec/observed"
)

// eventLog keeps the latest events. Their numbers go on rising over restarts of the agent, because they
// begin at the time: a reader who has seen some is not confused.
type eventLog struct {
	mu     sync.Mutex
	next   int
	events []observed.Event
}

func newEventLog(now time.Time) *eventLog { return &eventLog{next: int(now.UnixMilli())} }

func (l *eventLog) add(e observed.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Seq = l.next
	l.next++
	l.events = append(l.events, e)
	if extra := len(l.events) - eventsKeep; extra > 0 {
		l.events = slices.Delete(l.events, 0, extra)
	}
}

func (l *eventLog) all() []observed.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}
