package vitals

import (
	"slices"
	"time"
)

// Span is how long ago "lately" is: what happened before does not count any more. It is longer than a burst and shorter than
// an operator's patience.
const Span = time.Minute

// step is the least time between two samples that are kept, so that their number has a bound however often is asked.
const step = Span / 12

// Window is what a counter has gone up by in the last Span. The zero value is ready to use.
type Window struct {
	kept   []sample // oldest first; the first is the newest that is at least Span old, where there is one
	latest sample
}

type sample struct {
	at time.Time
	n  uint64
}

// Add notes what a counter says at a time, not before what was noted last. One that is lower is another's: what was known of it
// is forgotten.
func (w *Window) Add(at time.Time, n uint64) {
	if len(w.kept) > 0 && n < w.latest.n {
		w.kept = nil
	}
	w.latest = sample{at, n}
	if len(w.kept) == 0 || at.Sub(w.kept[len(w.kept)-1].at) >= step {
		w.kept = append(w.kept, w.latest)
	}
	w.forget(at)
}

// forget what is too old to be a beginning.
func (w *Window) forget(now time.Time) {
	first := 0
	for first+1 < len(w.kept) && now.Sub(w.kept[first+1].at) >= Span {
		first++
	}
	w.kept = slices.Delete(w.kept, 0, first)
}

// Sum is by how much the counter went up in the last Span, and in how long that was: less where it is known for less. It is 0
// in no time where fewer than two samples are known, or none is of that Span.
func (w *Window) Sum(now time.Time) (n uint64, over time.Duration) {
	w.forget(now)
	if len(w.kept) == 0 || now.Sub(w.latest.at) >= Span {
		return 0, 0
	}
	first := w.kept[0]
	return w.latest.n - first.n, w.latest.at.Sub(first.at)
}
