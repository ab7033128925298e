package vitals

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestWindow(t *testing.T) {
	begin := time.Unix(1000, 0)
	at := func(s float64) time.Time { return begin.Add(time.Duration(s * float64(time.Second))) }
	var w Window
	want := func(what string, now float64, n uint64, over float64) {
		t.Helper()
		if got, d := w.Sum(at(now)); got != n || d != time.Duration(over*float64(time.Second)) {
			t.Errorf("%s: %d in %s, want %d in %gs", what, got, d, n, over)
		}
	}
	want("nothing is known", 0, 0, 0)
	w.Add(at(0), 500)
	want("one sample is a beginning", 1, 0, 0)
	w.Add(at(1), 503)
	want("two", 1, 3, 1)
	w.Add(at(2), 510)
	want("the newest counts at once", 2, 10, 2)
	w.Add(at(30), 511)
	w.Add(at(60), 511)
	want("a whole span", 60, 11, 60)
	w.Add(at(70), 511)
	want("until there is a later beginning", 70, 11, 70)
	want("what is over does not count any more", 91, 0, 40)
	want("long ago", 151, 0, 0)
	w.Add(at(160), 7)
	want("another process", 160, 0, 0)
	w.Add(at(161), 9)
	want("its own", 161, 2, 1)
}

// However often is asked, a window keeps few samples, and says no more than there was.
func TestWindowIsBoundedAndTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w Window
		now, n := time.Unix(1000, 0), uint64(0)
		all := []sample{}
		for range rapid.IntRange(1, 300).Draw(t, "samples") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20_000).Draw(t, "ms")) * time.Millisecond)
			n += uint64(rapid.IntRange(0, 5).Draw(t, "more"))
			w.Add(now, n)
			all = append(all, sample{now, n})
			got, over := w.Sum(now)
			if len(w.kept) > int(Span/step)+2 {
				t.Fatalf("%d samples are kept", len(w.kept))
			}
			// It reaches back to a sample that there was, at most one step beyond the span.
			from := now.Add(-over)
			var first *sample
			for i := range all {
				if all[i].at.Equal(from) {
					first = &all[i]
					break
				}
			}
			if first == nil {
				t.Fatalf("nothing was noted %s ago", over)
			}
			if got > n-first.n {
				t.Fatalf("%d in %s, and there were %d", got, over, n-first.n)
			}
			// Nothing of the last span is left out, but what came within a step of a beginning.
			if over < Span && !from.Equal(all[0].at) {
				t.Fatalf("only %s of %s is looked at", over, Span)
			}
		}
	})
}
