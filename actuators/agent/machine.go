package agent

import (
	"time"
)

// phase is the state of a resource's supervision. doc.go has the drawing.
type phase string

const (
	stopped  phase = "stopped"  // no process, and none is wanted
	starting phase = "starting" // a process, which is not yet ready
	running  phase = "running"  // a process, which said that it is ready
	stopping phase = "stopping" // a process, which was sent TERM
	killing  phase = "killing"  // a process, which was sent KILL
	backoff  phase = "backoff"  // no process; a start is due
	failed   phase = "failed"   // no process; waits for its cause to change
)

// alive reports whether the phase has a process.
func (p phase) alive() bool {
	return p == starting || p == running || p == stopping || p == killing
}

// trigger is what happened.
type trigger string

const (
	run         trigger = "run"          // it is told to run
	halt        trigger = "halt"         // it is told to stop
	again       trigger = "again"        // it is told to be started afresh
	replace     trigger = "replace"      // its process is of no use any more: healing
	hung        trigger = "hung"         // its process lives, and does nothing any more: healing
	unready     trigger = "unready"      // adopted, and not ready yet
	adopted     trigger = "adopted"      // adopted, and ready
	ready       trigger = "ready"        // the process said that it is ready
	ended       trigger = "ended"        // the process is gone, or could not be started
	due         trigger = "due"          // the deadline of the phase has passed
	causeGone   trigger = "cause-gone"   // what made it fail has changed
	healingOn   trigger = "healing-on"   // crashes are to be healed again
	healingOff  trigger = "healing-off"  // crashes are not to be healed for now
	orphaned    trigger = "orphaned"     // its process goes on, but nothing says that it should
	replaceLost trigger = "replace-lost" // it ended while nobody watched
)

// effect is what is to be done about it, by whoever runs the machine.
type effect string

const (
	spawn     effect = "spawn"     // start a process afresh
	respawn   effect = "respawn"   // start a process as it was started before: healing
	terminate effect = "terminate" // send TERM
	kill      effect = "kill"      // send KILL
	crashed   effect = "crashed"   // record: it ended without being told to
	gaveUp    effect = "gave-up"   // record: it is FAILED
	tooLate   effect = "too-late"  // record: a deadline has passed
)

// machine is the supervision of one resource, without a process, a clock or a disk: step takes what
// happened and returns what to do.
type machine struct {
	timings Timings

	phase phase
	since time.Time
	due   time.Time // when the phase's deadline passes; zero for none

	want   bool   // a process is wanted
	renew  effect // spawn or respawn once it has stopped; empty for neither
	noHeal bool   // crashes are not healed

	begun   time.Time   // of the last start
	crashes []time.Time // the latest, within CrashWindow
	delay   time.Duration
	vital   bool // see pace
	// cause is the fault that led to backoff or failed, or that a process is being killed for.
	cause *fault
}

// step is the one transition function. f is the fault with ended and hung, else nil.
func (m *machine) step(t trigger, f *fault, now time.Time) []effect {
	switch t {
	case run:
		return m.told("", now)
	case again:
		return m.told(spawn, now)
	case replace:
		if m.want && !m.noHeal && (m.phase == starting || m.phase == running) {
			return m.told(respawn, now)
		}
	case hung:
		// TERM is for the main loop to take, which does not turn.
		if m.want && !m.noHeal && m.phase == running {
			m.cause = f
			m.enter(killing, now, m.timings.StopDeadline)
			return []effect{kill}
		}
	case halt:
		return m.halted(now)
	case adopted, unready:
		m.want, m.begun = true, now
		m.enter(running, now, 0)
		if t == unready {
			m.enter(starting, now, m.timings.StartDeadline)
		}
	case orphaned:
		m.want = false
		m.enter(running, now, 0)
	case replaceLost:
		m.want = true
		if m.noHeal {
			m.cause = f
			m.enter(backoff, now, 0)
			return nil
		}
		return m.begin(respawn, now)
	case ready:
		if m.phase == starting {
			m.enter(running, now, 0)
		}
	case ended:
		return m.over(f, now)
	case due:
		return m.elapsed(now)
	case causeGone:
		if m.phase == failed && m.want && !m.noHeal {
			m.crashes, m.delay = nil, 0
			return m.begin(respawn, now)
		}
	case healingOff:
		m.noHeal = true
		if m.phase == backoff || m.phase == failed {
			m.enter(m.phase, now, 0)
		}
	case healingOn:
		m.noHeal = false
		if (m.phase == backoff || m.phase == failed) && m.due.IsZero() {
			return m.begin(respawn, now)
		}
	}
	return nil
}

// told: it is to run. A process that runs is left alone, unless it is to be replaced, by what.
func (m *machine) told(by effect, now time.Time) []effect {
	m.want = true
	switch m.phase {
	case starting, running:
		if by == "" {
			return nil
		}
		m.renew = by
		m.enter(stopping, now, m.timings.StopDeadline)
		return []effect{terminate}
	case stopping, killing:
		m.renew = spawn
		return nil
	}
	m.crashes, m.delay = nil, 0
	return m.begin(spawn, now)
}

func (m *machine) halted(now time.Time) []effect {
	m.want, m.renew = false, ""
	switch m.phase {
	case starting, running:
		m.enter(stopping, now, m.timings.StopDeadline)
		return []effect{terminate}
	case backoff, failed:
		m.cause = nil
		m.enter(stopped, now, 0)
	case killing:
		m.cause = nil // it is no longer a failed start
	}
	return nil
}

// over: the process is gone.
func (m *machine) over(f *fault, now time.Time) []effect {
	switch m.phase {
	case stopping, killing:
		if m.cause != nil && m.want && m.renew == "" { // it was killed because it did not become ready, or hung
			return m.crash(m.cause, now)
		}
		m.cause, m.crashes, m.delay = nil, nil, 0
		if m.renew != "" {
			return m.begin(m.renew, now)
		}
		m.enter(stopped, now, 0)
	case starting, running:
		if !m.want {
			m.enter(stopped, now, 0)
			return []effect{crashed}
		}
		return m.crash(f, now)
	}
	return nil
}

// crash decides between healing at once, healing later, and waiting for the cause to change.
func (m *machine) crash(f *fault, now time.Time) []effect {
	m.cause = f
	worked := now
	if f != nil && f.Kind == faultHung {
		worked = f.Since // one that hangs soon after each start is a crash loop, however long it lives
	}
	if worked.Sub(m.begun) >= m.timings.CrashReset {
		m.delay, m.crashes = 0, nil
	}
	m.crashes = append(m.crashes, now)
	for now.Sub(m.crashes[0]) > m.timings.CrashWindow {
		m.crashes = m.crashes[1:]
	}
	step, limit := m.pace()
	switch {
	case m.noHeal:
		m.enter(backoff, now, 0)
		return []effect{crashed}
	case f.Permanent || len(m.crashes) >= limit:
		m.enter(failed, now, m.timings.RetryFailed)
		return []effect{crashed, gaveUp}
	}
	delay := m.delay
	m.delay = min(max(2*m.delay, step), m.timings.BackoffMax)
	if delay > 0 {
		m.enter(backoff, now, delay)
		return []effect{crashed}
	}
	return append([]effect{crashed}, m.begin(respawn, now)...)
}

// pace of healing: the first pause that is not none, and how many crashes in a row are enough. What is vital (a broker:
// nobody hears anybody without it, and publishers keep a thousand events and no more) and did run is not given up, and is
// back soon; its restart disturbs no node.
func (m *machine) pace() (step time.Duration, limit int) {
	if m.vital && m.phase == running {
		return m.timings.BackoffStep / 10, 10 * m.timings.CrashLimit
	}
	return m.timings.BackoffStep, m.timings.CrashLimit
}

func (m *machine) elapsed(now time.Time) []effect {
	if m.due.IsZero() || now.Before(m.due) {
		return nil
	}
	switch m.phase {
	case starting:
		m.cause = &fault{Kind: faultTimeout, Text: "not ready within " + m.timings.StartDeadline.String()}
		m.enter(killing, now, m.timings.StopDeadline)
		return []effect{tooLate, kill}
	case stopping, killing:
		// A process in uninterruptible sleep takes its time: KILL is repeated, nothing is assumed.
		m.enter(killing, now, m.timings.StopDeadline)
		return []effect{tooLate, kill}
	case backoff, failed:
		return m.begin(respawn, now)
	}
	m.due = time.Time{}
	return nil
}

func (m *machine) begin(e effect, now time.Time) []effect {
	m.renew, m.begun = "", now
	m.enter(starting, now, m.timings.StartDeadline)
	return []effect{e}
}

// enter a phase, with a deadline after d; 0 for none.
func (m *machine) enter(p phase, now time.Time, d time.Duration) {
	if m.phase != p {
		m.phase, m.since = p, now
	}
	m.due = time.Time{}
	if d > 0 {
		m.due = now.Add(d)
	}
	if p == running {
		m.cause = nil
	}
}
