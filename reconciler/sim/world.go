package sim

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler"
)

// Config of a world.
type Config struct {
	Seed           uint64
	Faults         Faults
	MaxUnavailable int
}

// Faults are chances in a thousand: per process and second, start, message or agent and second.
type Faults struct {
	Crash, SlowStart, StartFails  int
	LoseOrder, DelayOrder, Double int
	LoseReport                    int
	AgentDies, CutOff             int // an agent ends (its processes go on), or cannot be reached
	Forget                        int // an agent loses what it was told of a resource
}

// SomeFaults is a bad day.
var SomeFaults = Faults{
	Crash: 3, SlowStart: 100, StartFails: 100,
	LoseOrder: 100, DelayOrder: 200, Double: 200, LoseReport: 100,
	AgentDies: 10, CutOff: 5, Forget: 1,
}

const (
	staleAfter = 5 // seconds without a report
	orderLife  = 6 // seconds in which an order may be begun with
	healthyFor = 2 // seconds until what was restarted has settled
)

// World is agents, a network and a controller.
type World struct {
	Now int // seconds
	// Broken has what was violated of the invariants, as it happened.
	Broken []string
	// Clashes counts starts that failed because another process had the port.
	Clashes int
	// Sent has all actions that were sent.
	Sent []reconciler.Action

	cfg    Config
	rng    *rand.Rand
	agents map[string]*agent
	wire   []message
	pid    int

	living map[string][]int        // pids of the processes of a resource, all instances
	down   map[string]desired.Role // taken down by an order while healthy, and not healthy since
	orphan map[string]bool         // not to be touched
	Ctl    Controller
}

// message is an order on its way.
type message struct {
	to string
	at int
	o  desired.Order
}

// New is an empty world.
func New(cfg Config) *World {
	return &World{
		cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 7)), agents: map[string]*agent{},
		living: map[string][]int{}, down: map[string]desired.Role{}, orphan: map[string]bool{},
		Ctl: Controller{
			known: map[string]desired.Placement{}, reports: map[string]report{}, healthySince: map[string]int{}, deadlines: map[string]time.Time{},
			Held: map[string]string{}, Restart: map[string]reconciler.Request{}, Suspended: map[string]string{},
		},
	}
}

// Calm ends all faults, those in progress too.
func (w *World) Calm() {
	w.cfg.Faults = Faults{}
	for _, a := range w.agents {
		a.downUntil, a.cutUntil = 0, 0
	}
}

// Orphan lets a process run that nobody was asked for.
func (w *World) Orphan(r desired.Resource) {
	rec := &record{key: r.Key(), told: &r, role: r.Role}
	w.agent(r.Instance).records[r.Key()] = rec
	w.orphan[r.Key()] = true
}

func (w *World) agent(name string) *agent {
	if w.agents[name] == nil {
		w.agents[name] = &agent{w: w, name: name, records: map[string]*record{}}
	}
	return w.agents[name]
}

func (w *World) chance(perMille int) bool { return perMille > 0 && w.rng.IntN(1000) < perMille }

// time of the simulated clock, which all share.
func (w *World) time() time.Time { return time.Unix(int64(w.Now), 0) }

// names of the agents, in order.
func (w *World) names() []string { return sortedKeys(w.agents) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Step lets a second pass.
func (w *World) Step() {
	w.Now++
	f := w.cfg.Faults
	for _, n := range w.names() {
		a := w.agents[n]
		if w.chance(f.AgentDies) {
			a.downUntil = w.Now + 1 + w.rng.IntN(10)
		}
		if w.chance(f.CutOff) {
			a.cutUntil = w.Now + 1 + w.rng.IntN(20)
		}
		for _, r := range a.sorted() {
			if !w.orphan[r.key] && w.chance(f.Forget) {
				r.told = nil
			}
		}
	}
	var later []message
	for _, m := range w.wire {
		a := w.agent(m.to)
		switch {
		case m.at > w.Now:
			later = append(later, m)
		case w.Now >= a.downUntil && w.Now >= a.cutUntil:
			a.obey(m.o)
		}
	}
	w.wire = later
	for _, n := range w.names() {
		a := w.agents[n]
		a.processes()
		if w.Now < a.downUntil {
			continue
		}
		a.supervise()
		if w.Now >= a.cutUntil && !w.chance(f.LoseReport) {
			w.Ctl.reports[n] = report{at: w.Now, resources: a.report()}
		}
	}
	w.check()
	w.Ctl.step(w)
}

// send puts an order on the wire.
func (w *World) send(a *reconciler.Action, o desired.Order) {
	w.Sent = append(w.Sent, *a)
	f := w.cfg.Faults
	m := message{to: a.Instance, at: w.Now + 1, o: o}
	if w.chance(f.Double) {
		w.wire = append(w.wire, message{m.to, m.at + w.rng.IntN(3*orderLife), o})
	}
	if w.chance(f.DelayOrder) {
		m.at += w.rng.IntN(2 * orderLife)
	}
	if !w.chance(f.LoseOrder) {
		w.wire = append(w.wire, m)
	}
	if w.orphan[a.Resource] {
		w.broken("%s of the orphan %s", a.Kind, a.Resource)
	}
	if r, ok := w.Ctl.reports[a.Instance]; !ok || w.Now-r.at > staleAfter {
		w.broken("%s of %s on the silent %s", a.Kind, a.Resource, a.Instance)
	}
	if a.Kind == desired.Stop && w.Ctl.known[a.Resource[len(w.Ctl.cluster)+1:]].Instance == "" && a.Hold == "" && !w.Ctl.wants(a.Resource) {
		w.broken("stop of %s, which no accepted revision had", a.Resource)
	}
}

func (w *World) broken(format string, args ...any) {
	w.Broken = append(w.Broken, fmt.Sprintf("%ds: ", w.Now)+fmt.Sprintf(format, args...))
}

// check asks the invariants that hold at every moment.
func (w *World) check() {
	for key, pids := range w.living {
		if len(pids) > 1 {
			w.broken("%d processes of %s", len(pids), key)
		}
	}
	count := map[desired.Role]int{}
	for key, role := range w.down {
		if w.Ctl.Held[key] != "" {
			delete(w.down, key) // a person wants it down: from here on it is on nobody's account
		} else if w.Ctl.wants(key) {
			count[role]++
		}
	}
	for role, n := range count {
		if n > max(1, w.cfg.MaxUnavailable) {
			w.broken("%d of role %s taken down at a time", n, role)
		}
	}
}

func (w *World) began(r *record, p *process) { w.living[r.key] = append(w.living[r.key], p.pid) }

func (w *World) ended(r *record, p *process) {
	var left []int
	for _, pid := range w.living[r.key] {
		if pid != p.pid {
			left = append(left, pid)
		}
	}
	w.living[r.key] = left
}

func (w *World) tookDown(r *record) { w.down[r.key] = r.role }
func (w *World) healthy(r *record)  { delete(w.down, r.key) }

// portTaken reports whether another process on the agent has a port that the resource needs.
func (w *World) portTaken(a *agent, r *record) bool {
	for _, f := range []string{"listen", "metrics"} {
		for _, v := range r.told.Part(f) {
			for _, o := range a.records {
				if o == r || o.proc == nil {
					continue
				}
				for _, g := range []string{"listen", "metrics"} {
					for _, u := range o.proc.spec.Part(g) {
						if u == v {
							w.Clashes++
							return true
						}
					}
				}
			}
		}
	}
	return false
}

// PIDs of all processes, by key.
func (w *World) PIDs() map[string]int {
	m := map[string]int{}
	for k, pids := range w.living {
		if len(pids) > 0 {
			m[k] = pids[0]
		}
	}
	return m
}

// Seen is what an agent would report now.
func (w *World) Seen(instance string) []observed.Resource { return w.agent(instance).report() }
