package agent

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/zeekrec/zeekrec/actuators/vitals"
)

// The thresholds above which a process is degraded. What they are of is vitals.Span, the last minute.
const (
	// dropShare of the packets: a tenth of what Zeek's own capture-loss calls too much, since that is the share at which
	// what is missed begins to show in logs. Of very few packets no share says anything.
	dropShare = 0.01
	dropLeast = 10
	// usualRate of packets in a second, over the life of the process, makes a minute without any one that is not by chance.
	usualRate = 1.0
	// mainShare of a CPU: the main loop is one thread, and does not get more.
	mainShare = 0.95
	// memoryLeft of the machine's memory is when the kernel soon ends somebody; memoryShare is what makes a process one of
	// those that it is for.
	memoryLeft  = 0.05
	memoryShare = 0.10
	// lateTwice and unaskedThrice: once is chance.
	lateTwice     = 2
	unaskedThrice = 3
)

// condition is how the process of a unit fares, by what an examiner found. Nothing follows from it but words. Its methods may be
// called at once.
type condition struct {
	mu  sync.Mutex
	pid int // whose it is; 0: there is no process

	received, dropped, events vitals.Window
	reported                  vitals.Window // errors, by telemetry
	written                   vitals.Window // errors, by stderr
	main                      vitals.Window // milliseconds of the main loop's CPU time
	counters                  vitals.Counters
	errors                    errorCount
	late, unasked             int

	rates    Rates
	degraded []string
	notes    []string
}

// begin forgets everything: there is another process, or none. Of one that was started a moment ago, counters began at 0.
func (c *condition) begin(e *examiner, fresh bool, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pid = e.pid
	c.received, c.dropped, c.events, c.reported, c.written, c.main = vitals.Window{}, vitals.Window{}, vitals.Window{}, vitals.Window{}, vitals.Window{}, vitals.Window{}
	c.counters, c.errors, c.late, c.unasked = vitals.Counters{}, errorCount{}, 0, 0
	c.rates, c.degraded, c.notes = Rates{}, nil, nil
	if !fresh {
		return
	}
	// Packets are left out: what a source drops before the main loop turns says nothing.
	c.events.Add(now, 0)
	c.reported.Add(now, 0)
	if e.node {
		c.written.Add(now, c.errors.look(e.stderr))
	}
}

// current rates.
func (c *condition) current() Rates {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rates
}

// says what is wrong with the process, the worst first, and what else may be of interest.
func (c *condition) says() (degraded, notes []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.degraded, c.notes
}

// note a finding, and report whether what is said has changed. That of another process says nothing.
func (c *condition) note(e *examiner, f finding) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pid != e.pid {
		return false
	}
	c.count(e, &f)
	degraded, notes := c.judge(e, &f)
	same := slices.Equal(degraded, c.degraded) && slices.Equal(notes, c.notes)
	c.degraded, c.notes = degraded, notes
	return !same
}

// count what was found. A question without an answer adds nothing, and what is known stays.
func (c *condition) count(e *examiner, f *finding) {
	for _, n := range []struct {
		to   *vitals.Window
		is   vitals.Count
		keep *vitals.Count
	}{
		{&c.received, f.counters.Received, &c.counters.Received}, {&c.dropped, f.counters.Dropped, &c.counters.Dropped},
		{&c.events, f.counters.Events, &c.counters.Events}, {&c.reported, f.counters.Errors, &c.counters.Errors},
	} {
		if n.is.Known {
			n.to.Add(f.at, n.is.N)
			*n.keep = n.is
		}
	}
	if e.node {
		c.written.Add(f.at, c.errors.look(e.stderr))
	}
	if f.usage != nil {
		c.main.Add(f.at, uint64(1000*f.usage.MainSeconds))
	}
	switch {
	case !f.asked:
	case f.late():
		c.late++
		c.unasked = 0
	case f.err != nil:
		c.unasked++
	default:
		c.late, c.unasked = 0, 0
	}
	c.rates = Rates{Counters: c.counters}
	received, over := c.received.Sum(f.at)
	if dropped, _ := c.dropped.Sum(f.at); over > 0 {
		c.rates.Packets = new(float64(received) / over.Seconds())
		if all := received + dropped; all > 0 && c.counters.Dropped.Known {
			c.rates.Dropped = new(float64(dropped) / float64(all))
		}
	}
	if ms, over := c.main.Sum(f.at); over > 0 && e.node {
		c.rates.Main = new(float64(ms) / 1000 / over.Seconds())
	}
}

// judge what is known.
func (c *condition) judge(e *examiner, f *finding) (degraded, notes []string) {
	bad := func(format string, args ...any) { degraded = append(degraded, fmt.Sprintf(format, args...)) }
	if n, _ := c.dropped.Sum(f.at); n >= dropLeast && c.rates.Dropped != nil && *c.rates.Dropped >= dropShare {
		bad("drops %s of its packets", percent(*c.rates.Dropped))
	}
	if n, _ := c.events.Sum(f.at); n > 0 {
		bad("has lost %s in the last minute, since a queue was full", about(n, "event"))
	}
	if c.late >= lateTwice {
		bad("its telemetry does not answer within %s: its main loop hangs or is far behind", scrapeSlow)
	}
	if received, over := c.received.Sum(f.at); e.packets && received == 0 && over >= vitals.Span {
		switch age := f.at.Sub(e.began).Seconds(); {
		case float64(c.counters.Received.N) >= usualRate*age:
			bad("has received no packets for a minute")
		case c.counters.Received.N == 0:
			notes = append(notes, "has received no packets yet")
		}
	}
	if n := c.recentErrors(f.at); n > 0 {
		text := "has reported " + about(n, "error") + " in the last minute"
		if last := lastReported(lastOutput(e.stderr)); last != "" {
			text += ", lately: " + last
		}
		bad("%s", text)
	}
	if m := f.memory; m != nil && f.usage != nil && m.Total > 0 {
		left, share := float64(m.Available)/float64(m.Total), float64(f.usage.RSS)/float64(m.Total)
		if left < memoryLeft && share >= memoryShare {
			bad("uses %s of the host's memory, of which %s is left", percent(share), percent(left))
		}
	}
	if _, over := c.main.Sum(f.at); c.rates.Main != nil && over >= vitals.Span && *c.rates.Main >= mainShare {
		bad("its main loop is never idle (%s of a CPU)", percent(min(1, *c.rates.Main)))
	}
	switch {
	case f.hold.Tracer != 0:
		notes = append(notes, fmt.Sprintf("a debugger holds it (process %d)", f.hold.Tracer))
	case f.hold.Stopped:
		notes = append(notes, "it was stopped by a signal (kill -CONT lets it go on)")
	}
	if c.unasked >= unaskedThrice && f.err != nil {
		notes = append(notes, whyUnasked(f.err))
	}
	return degraded, notes
}

// recentErrors by telemetry, and without it by stderr.
func (c *condition) recentErrors(now time.Time) uint64 {
	if n, _ := c.reported.Sum(now); c.counters.Errors.Known {
		return n
	}
	n, _ := c.written.Sum(now)
	return n
}

// percent with two digits, so that what is said does not change all the time.
func percent(share float64) string {
	p := 100 * share
	if p >= 9.95 {
		return strconv.FormatFloat(math.Round(p), 'f', -1, 64) + "%"
	}
	return strconv.FormatFloat(p, 'g', 2, 64) + "%"
}

// about is a number of things, exact below a hundred, else to two digits: "3 events", "about 1200 events".
func about(n uint64, thing string) string {
	if n != 1 {
		thing += "s"
	}
	if n < 100 {
		return fmt.Sprintf("%d %s", n, thing)
	}
	unit := uint64(1)
	for n/unit >= 100 {
		unit *= 10
	}
	return fmt.Sprintf("about %d %s", (n+unit/2)/unit*unit, thing)
}
