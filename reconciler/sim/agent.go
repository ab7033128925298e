package sim

import (
	"slices"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// agent runs processes on one instance.
type agent struct {
	w       *World
	name    string
	records map[string]*record
	// away until then: down (its processes go on), or cut off.
	downUntil, cutUntil int
}

// record is what an agent has of one resource on its disk, with the process.
type record struct {
	key         string
	told        *desired.Resource // written before it is acted on
	role        desired.Role
	hold        string
	incarnation int
	obeyed      time.Time // deadline of the last order obeyed: none is obeyed twice, nor out of turn
	proc        *process
	last        observed.Parts // parts of the last process
	started     string
	failures    int
	retryAt     int
}

type process struct {
	pid      int
	spec     desired.Resource
	readyAt  int
	diesAt   int // 0: does not
	stopping bool
	byOrder  bool // it is being stopped by an order
}

func (p *process) ready(now int) bool { return now >= p.readyAt && !p.stopping }

// obey is what an agent does with an order; it reports whether it was not refused.
func (a *agent) obey(o desired.Order) bool {
	key := o.Resource.Key()
	r := a.records[key]
	if r == nil {
		r = &record{key: key}
		a.records[key] = r
	}
	told := ""
	if r.told != nil {
		told = r.told.ID
	}
	switch {
	case a.w.time().After(o.Deadline), !o.Deadline.After(r.obeyed), told != o.Expect:
		return false
	case o.Verb == desired.Restart && r.incarnation > o.Incarnation:
		return false
	}
	r.obeyed = o.Deadline
	spec := o.Resource
	r.role = spec.Role
	switch o.Verb {
	case desired.Start, desired.Update:
		r.told, r.hold = &spec, ""
	case desired.Restart:
		r.told, r.hold = &spec, ""
		r.failures, r.retryAt = 0, 0
		if a.w.chance(a.w.cfg.Faults.AgentDies) { // after writing, before acting
			a.downUntil = a.w.Now + 1 + a.w.rng.IntN(8)
			return true
		}
		a.terminate(r)
	case desired.Stop:
		if o.Hold == "" {
			r.told = nil
		}
		r.hold = o.Hold
		a.terminate(r)
		if o.Hold != "" || a.w.Ctl.Held[key] != "" {
			a.w.healthy(r) // down because a person wants it to be: on nobody's account
		}
	}
	return true
}

// terminate asks the process to end, which takes a moment.
func (a *agent) terminate(r *record) {
	if p := r.proc; p != nil && !p.stopping {
		if p.ready(a.w.Now) {
			a.w.tookDown(r)
		}
		p.stopping, p.byOrder = true, true
		p.diesAt = a.w.Now + a.w.rng.IntN(3)
	}
}

// processes go their way, whether the agent is there or not.
func (a *agent) processes() {
	for _, r := range a.sorted() {
		p := r.proc
		if p == nil {
			continue
		}
		if !p.stopping && p.diesAt == 0 && a.w.chance(a.w.cfg.Faults.Crash) {
			p.diesAt = a.w.Now
		}
		if p.diesAt > 0 && a.w.Now >= p.diesAt {
			if !p.byOrder {
				r.failures++
				r.retryAt = a.w.Now + min(r.failures, 8)
			}
			r.proc, r.last = nil, overlay(&p.spec, r.told)
			a.w.ended(r, p)
		} else if p.ready(a.w.Now) {
			r.failures = 0
			a.w.healthy(r)
		}
	}
}

// supervise starts what was told and does not run.
func (a *agent) supervise() {
	for _, r := range a.sorted() {
		if r.proc != nil || r.told == nil || r.hold != "" || a.w.Now < r.retryAt {
			continue
		}
		r.incarnation++
		a.w.pid++
		f := a.w.cfg.Faults
		p := &process{pid: a.w.pid, spec: *r.told, readyAt: a.w.Now + 1}
		if a.w.chance(f.SlowStart) {
			p.readyAt += 5 + a.w.rng.IntN(10)
		}
		if a.w.chance(f.StartFails) || a.w.portTaken(a, r) {
			p.readyAt, p.diesAt = a.w.Now+100, a.w.Now+1
		}
		r.proc, r.started = p, p.spec.ID
		a.w.began(r, p)
	}
}

func (a *agent) sorted() []*record {
	rs := make([]*record, 0, len(a.records))
	for _, r := range a.records {
		rs = append(rs, r)
	}
	slices.SortFunc(rs, func(a, b *record) int { return strings.Compare(a.key, b.key) })
	return rs
}

// report is all that the agent knows.
func (a *agent) report() []observed.Resource {
	var out []observed.Resource
	for _, r := range a.sorted() {
		if r.told == nil && r.proc == nil {
			continue // a tombstone is the agent's own business
		}
		cluster, name, _ := strings.Cut(r.key, "/")
		o := observed.Resource{
			Cluster: cluster, Name: name, Type: string(desired.TypeNode), Role: string(r.role),
			Incarnation: r.incarnation, Started: r.started, Hold: r.hold,
		}
		if r.told != nil {
			o.Told = r.told.ID
		}
		switch p := r.proc; {
		case p != nil:
			o.PID, o.State = p.pid, observed.Pending
			if p.ready(a.w.Now) {
				o.State, o.Healthy = observed.Running, true
			}
			o.Parts = overlay(&p.spec, r.told)
		case r.hold != "":
			o.State = observed.Stopped
		case r.failures > 4:
			o.State = observed.Failed
		default:
			o.State = observed.Crashed
		}
		if o.Parts == nil {
			o.Parts = r.last
		}
		if o.Parts == nil && r.told != nil {
			o.Parts = overlay(r.told, nil)
		}
		out = append(out, o)
	}
	return out
}

// overlay is what a process was started with, and what it was told since.
func overlay(started, told *desired.Resource) observed.Parts {
	m := make(map[string][]string, len(started.Parts))
	for _, p := range started.Parts {
		if told == nil || p.Relation != desired.Live && p.Relation != desired.Follow {
			m[p.Field] = p.Values
		}
	}
	if told != nil {
		for _, p := range told.Parts {
			if p.Relation == desired.Live || p.Relation == desired.Follow { // a cluster's membership does not change here
				m[p.Field] = p.Values
			}
		}
	}
	return observed.PartsOf(m)
}
