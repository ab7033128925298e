package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/actuators/vitals"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// Deadlines of examining one process.
const (
	// scrapeWithin is a second more than what Zeek waits for its own main loop before it answers with old numbers
	// (Telemetry::callback_timeout).
	scrapeWithin = 6 * time.Second
	scrapeSlow   = 5 * time.Second
	askWithin    = 3 * time.Second // for the packet counters, through the broker
)

// examiner looks at one process now and then, how it fares.
type examiner struct {
	agent   *Agent
	log     *slog.Logger
	key     string
	name    string
	cluster string
	node    bool   // a node; else a broker
	packets bool   // it has packets to count
	metrics string // ADDRESS:PORT of its telemetry; empty: it has none
	pid     int
	began   time.Time
	stderr  string
	to      *condition
	// changed is called after what is said of the process has.
	changed func()
}

// openCondition begins to examine the unit's process: one that was started now, or was found again.
func (u *unit) openCondition(ctx context.Context, fresh bool) {
	if u.proc == nil || u.last == nil {
		return
	}
	r := &u.last.Resource
	e := &examiner{
		agent: u.agent, log: u.log, key: u.key, name: u.dir.resource(), cluster: clusterOf(u.key),
		node: r.Type == desired.TypeNode, packets: r.Node != nil && r.Node.Interface != "",
		pid: u.proc.Identity().PID, began: u.last.StartedAt, stderr: u.dir.stderr(), to: &u.condition,
		changed: func() {
			select {
			case u.news <- struct{}{}:
			default: // the unit is about to look
			}
		},
	}
	if m := r.Part("metrics"); e.node && len(m) == 1 {
		e.metrics = m[0]
	}
	u.condition.begin(e, fresh, u.now())
	ctx, u.unexamined = context.WithCancel(ctx)
	u.talks.Go(func() { e.run(ctx) })
}

// closeCondition: the process has ended.
func (u *unit) closeCondition() {
	if u.unexamined == nil {
		return
	}
	u.unexamined()
	u.unexamined = nil
	u.condition.begin(&examiner{}, false, u.now())
}

// run examines until ctx ends. The first time is any within the pause, so that not all are asked at once.
func (e *examiner) run(ctx context.Context) {
	pause := e.agent.cfg.Timings.Examine
	timer := time.NewTimer(rand.N(pause))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		timer.Reset(pause)
		if u := e.agent.supervised(e.key); u == nil {
			continue
		} else if v, ok := u.current(); !ok || v.State != observed.Running || v.PID != e.pid {
			continue // not yet, or no longer
		}
		f := e.look(ctx)
		if ctx.Err() == nil && e.to.note(e, f) {
			e.changed()
		}
	}
}

// finding is what one look at a process has shown.
type finding struct {
	at       time.Time
	counters vitals.Counters
	asked    bool // its telemetry was asked
	err      error
	took     time.Duration
	usage    *process.Usage
	memory   *process.Memory
	hold     process.Hold
}

func (e *examiner) look(ctx context.Context) finding {
	f := finding{at: e.agent.cfg.Now()}
	if use, err := process.Stat(e.pid); err == nil {
		f.usage = &use
	}
	if m, err := process.HostMemory(); err == nil {
		f.memory = &m
	}
	f.hold, _ = process.Held(e.pid)
	if e.agent.isSilent(e.cluster, e.name, e.pid) {
		return f // nobody would answer, and a Zeek whose loop hangs writes a line to stderr for each question
	}
	if e.metrics != "" {
		f.asked = true
		within, cancel := context.WithTimeout(ctx, scrapeWithin)
		f.counters, f.err = e.agent.cfg.Scrape(within, e.metrics)
		cancel()
		f.took = e.agent.cfg.Now().Sub(f.at)
	}
	if e.packets && f.err == nil && !f.counters.Received.Known {
		e.askPackets(ctx, &f.counters)
	}
	return f
}

// askPackets asks a node without telemetry for its packet counters, where its cluster's broker can.
func (e *examiner) askPackets(ctx context.Context, c *vitals.Counters) {
	u := e.agent.supervised(e.key)
	if u == nil || !u.answers.Load() {
		return
	}
	within, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	a, err := e.agent.Ask(within, e.cluster, Question{Node: e.name, What: AskNetStats})
	if err == nil && a.Refused != "" {
		err = errors.New(a.Refused)
	}
	if _, no := errors.AsType[*Unaskable](err); no {
		return
	}
	var s struct {
		Stats struct {
			Received *uint64 `json:"pkts_recvd"`
			Dropped  *uint64 `json:"pkts_dropped"`
		} `json:"stats"`
	}
	if err == nil {
		err = json.Unmarshal([]byte(a.Value), &s)
	}
	if err != nil {
		e.log.Debug("cannot ask for the packet counters", "error", err)
		return
	}
	for _, n := range []struct {
		from *uint64
		to   *vitals.Count
	}{{s.Stats.Received, &c.Received}, {s.Stats.Dropped, &c.Dropped}} {
		if n.from != nil {
			*n.to = vitals.Count{N: *n.from, Known: true}
		}
	}
}

// isSilent reports whether a broker that runs here says that a process does not answer.
func (a *Agent) isSilent(cluster, name string, pid int) bool {
	a.brokers.mu.Lock()
	links := slices.Clone(a.brokers.links[cluster])
	a.brokers.mu.Unlock()
	return slices.ContainsFunc(links, func(l *brokerLink) bool {
		return slices.ContainsFunc(l.current().members, func(m observed.Member) bool {
			return m.Name == name && m.PID == pid && !m.Silent.IsZero()
		})
	})
}

// Rates is how a process fares, over the last minute or what is known of it. What is nil is not known.
type Rates struct {
	// Packets that were received, in a second.
	Packets *float64 `json:"packets_per_second,omitempty"`
	// Dropped is the share of the packets that came which were dropped, 0 to 1.
	Dropped *float64 `json:"dropped,omitempty"`
	// Main is how much of one CPU its first thread took, Zeek's main loop, 0 to 1.
	Main *float64 `json:"main_loop,omitempty"`
	// Since the process began.
	Counters vitals.Counters `json:"counters"`
}

// Rates of the processes that run, by the key of their resource.
func (a *Agent) Rates() map[string]Rates {
	out := map[string]Rates{}
	for _, u := range a.allUnits() {
		if v, ok := u.current(); ok && v.PID != 0 {
			out[u.key] = u.condition.current()
		}
	}
	return out
}

// late reports whether nobody served it in time, which says something of the main loop; a refused connection does not.
func (f *finding) late() bool {
	return f.err == nil && f.took >= scrapeSlow || errors.Is(f.err, context.DeadlineExceeded)
}

// whyUnasked is in a few words why telemetry did not answer.
func whyUnasked(err error) string {
	return fmt.Sprintf("its telemetry does not answer: %v", rootOf(err))
}

// rootOf is the innermost error: the outer ones repeat the address.
func rootOf(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
