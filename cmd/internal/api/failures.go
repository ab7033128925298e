package api

import (
	"net/netip"
	"sync"
	"time"
)

// Bounds of failures.
const (
	failuresMost   = 10          // of one source within failuresWithin
	failuresWithin = time.Minute // from the first of them
	failuresTable  = 1024        // sources
)

// failures counts who has failed how often. When there are more sources than it has room for, the oldest is forgotten: a token has 160
// random bits, so nobody finds one by being many; what is bounded is work and the log.
type failures struct {
	now func() time.Time

	mu sync.Mutex
	of map[netip.Prefix]failed
}

type failed struct {
	since time.Time
	n     int
	told  bool // that it has to wait
}

func newFailures(now func() time.Time) *failures {
	return &failures{now: now, of: map[netip.Prefix]failed{}}
}

// blocked says how long a source has to wait; 0: it has not. first is true once for each time that it has to.
func (f *failures) blocked(from netip.Prefix) (wait time.Duration, first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, ok := f.of[from]
	age := f.now().Sub(e.since)
	if !ok || e.n < failuresMost || age >= failuresWithin || age < 0 { // a clock that was set back forgives
		return 0, false
	}
	first = !e.told
	e.told = true
	f.of[from] = e
	return failuresWithin - age, first
}

// add counts one.
func (f *failures) add(from netip.Prefix) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	e, ok := f.of[from]
	if age := now.Sub(e.since); !ok || age >= failuresWithin || age < 0 {
		e = failed{since: now}
		if !ok && len(f.of) >= failuresTable {
			f.forget()
		}
	}
	e.n++
	f.of[from] = e
}

// forget makes room: the oldest goes.
func (f *failures) forget() {
	var oldest netip.Prefix
	var since time.Time
	for p, e := range f.of {
		if since.IsZero() || e.since.Before(since) {
			oldest, since = p, e.since
		}
	}
	delete(f.of, oldest)
}
