package bus

import (
	"time"

	"github.com/zeekrec/zeekrec/observed"
)

// An agent's clock may be another than the controller's, by an hour or a year, and a controller has to tell for how long a node has been
// running. So the times of a report are put into the controller's time when it arrives.

// sameClock is how far clocks may be apart and count as equal: messages take their time, too, and what a report says must not change with
// that from one to the next.
const sameClock = time.Second

// skewOf is how far an agent's clock is behind, from what it was taken for and how long ago a report seems to have been made.
func skewOf(was, age time.Duration) time.Duration {
	switch {
	case (age - was).Abs() <= sameClock:
		return was
	case age.Abs() <= sameClock:
		return 0
	}
	return age
}

// shift moves all times of a report.
func shift(r *observed.Report, by time.Duration) {
	if by == 0 {
		return
	}
	move := func(ts ...*time.Time) {
		for _, t := range ts {
			if !t.IsZero() {
				*t = t.Add(by)
			}
		}
	}
	for i := range r.Resources {
		s := &r.Resources[i]
		move(&s.Since, &s.StartedAt, &s.Silent)
		for j := range s.Members {
			move(&s.Members[j].Silent)
		}
		if a := s.Archive; a != nil {
			move(&a.Oldest, &a.LastErrorAt)
		}
	}
	for i := range r.Events {
		move(&r.Events[i].At)
	}
}
