package archive

import (
	"slices"
	"sync"
	"time"
)

// tally counts what the archiver does and sees.
type tally struct {
	mu sync.Mutex

	files, read, written, deletions, failures uint64
	minutes                                   [60]minute
	last                                      time.Time // something was archived
	trouble                                   Trouble   // the last error
	failing                                   time.Time // since when passes fail; zero: the last one did not
	growth                                    growth
	backlog                                   Backlog
	refused                                   map[string]refused
	free                                      Space
	room                                      roominess
	lowSince                                  time.Time
}

// minute is what was archived in one.
type minute struct {
	of    int64 // Unix time over 60
	files uint64
	bytes uint64
}

// refused is a file of the queue that cannot be archived.
type refused struct {
	why string
	at  time.Time
}

// mostRefused are remembered.
const mostRefused = 1000

func (t *tally) archived(now time.Time, read, written int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.files++
	t.read += uint64(read)
	t.written += uint64(written)
	t.last = now
	m := now.Unix() / 60
	slot := &t.minutes[m%60]
	if slot.of != m {
		*slot = minute{of: m}
	}
	slot.files++
	slot.bytes += uint64(read)
	if t.backlog.Files > 0 {
		t.backlog.Files--
		t.backlog.Bytes = max(0, t.backlog.Bytes-read)
	}
}

func (t *tally) deleted(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deletions += uint64(n)
}

// passed records the end of a pass.
func (t *tally) passed(now time.Time, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.failing = time.Time{}
		return
	}
	t.failures++
	if t.failing.IsZero() {
		t.failing = now
	}
	t.trouble = Trouble{At: now, Text: err.Error()}
}

// refuse remembers a file; it returns whether that is news.
func (t *tally) refuse(name, why string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was, known := t.refused[name]
	if known && was.why == why {
		return false
	}
	if !known && len(t.refused) >= mostRefused {
		return false
	}
	t.refused[name] = refused{why, now}
	t.trouble = Trouble{At: now, Text: name + ": " + why}
	return true
}

// forget what is no longer in the queue.
func (t *tally) forget(there map[string]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name := range t.refused {
		if !there[name] {
			delete(t.refused, name)
		}
	}
}

func (t *tally) refusedNames() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var names []string
	for n := range t.refused {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func (t *tally) isRefused(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, is := t.refused[name]
	return is
}

func (t *tally) space(s Space, r roominess, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.free, t.room = s, r
	switch {
	case r == enough:
		t.lowSince = time.Time{}
	case t.lowSince.IsZero():
		t.lowSince = now
	}
}

// waits records what is in the queue.
func (t *tally) waits(b Backlog, now time.Time, interval time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.backlog = b
	t.growth.add(now, b.Bytes, interval)
}

// queued is what waits, as it was seen last.
func (t *tally) queued() Backlog {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.backlog
}

// well reports whether the last pass went to its end.
func (t *tally) well() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failing.IsZero()
}

// wantsRoom reports whether there is too little room, and that has been said for a while.
func (t *tally) wantsRoom(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.room == spent && now.Sub(t.lowSince) >= warnFirst
}

// taken counts what a command has taken out of the queue; what it made of it is not known.
func (t *tally) taken(now time.Time, before, after Backlog) {
	for range before.Files - after.Files {
		t.archived(now, (before.Bytes-after.Bytes)/int64(before.Files-after.Files), 0)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.backlog = after
}
