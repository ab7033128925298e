package archive

import "time"

// growth follows how much waits, and tells a backlog that grows from one that comes and goes with each rotation: what
// counts is the least that waited within an interval. Its zero value is ready.
type growth struct {
	samples []sample // the least of each part of an interval, oldest first
}

type sample struct {
	at    time.Time // when its part of an interval began
	least int64
}

// partsOf an interval are told apart.
const partsOf = 8

// add records what waits now.
func (g *growth) add(now time.Time, waits int64, interval time.Duration) {
	n := len(g.samples)
	if n > 0 && now.Sub(g.samples[n-1].at) < interval/partsOf && !now.Before(g.samples[n-1].at) {
		g.samples[n-1].least = min(g.samples[n-1].least, waits)
		return
	}
	g.samples = append(g.samples, sample{now, waits})
	if most := 4 * partsOf; len(g.samples) > most {
		g.samples = append(g.samples[:0], g.samples[len(g.samples)-most:]...)
	}
}

// grows reports whether the least that waited rose from each interval to the next for longer than two of them.
func (g *growth) grows(now time.Time, interval time.Duration) bool {
	var least [3]int64 // of the last interval, of the one before, and of the one before that
	var seen [3]bool
	for _, s := range g.samples {
		i := int(now.Sub(s.at) / interval)
		if i < 0 || i > 2 {
			continue
		}
		if !seen[i] || s.least < least[i] {
			least[i], seen[i] = s.least, true
		}
	}
	return seen[0] && seen[1] && seen[2] && least[0] > least[1] && least[1] > least[2]
}
