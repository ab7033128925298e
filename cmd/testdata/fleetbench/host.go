package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/bus"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

var _ bus.Agent = (*host)(nil)

// How long what is simulated takes. A broker is asked for its members now and then, so its agent learns of several together; an
// archiver's disk is looked at every examination.
const (
	startTakes = 300 * time.Millisecond // and up to twice as long
	stopTakes  = 100 * time.Millisecond
	joinsSeen  = 500 * time.Millisecond
	diskSeen   = 10 * time.Second
	zeekTakes  = time.Second // to name its options
)

// host is an agent whose nodes are entries of a map.
type host struct {
	name    string
	address string
	net     *network
	changes chan struct{}

	mu      sync.Mutex
	records map[string]*record // by key
	pid     int
	free    int64 // bytes of the archive's disk
}

// record is one resource. Its spec is kept without what a process would be rendered from.
type record struct {
	told, started *desired.Resource
	state         observed.State
	since         time.Time
	pid           int
	incarnation   int
	hold          string
	timer         *time.Timer // of the next change of state
}

func newHost(name, address string, h *network) *host {
	return &host{name: name, address: address, net: h, changes: make(chan struct{}, 1), records: map[string]*record{}, free: 1 << 40}
}

// run lets the archive's disk fill until ctx ends.
func (h *host) run(ctx context.Context) {
	pause := rand.N(diskSeen)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = diskSeen
		h.mu.Lock()
		archives := false
		for _, r := range h.records {
			archives = archives || r.pid != 0 && r.started.Type == desired.TypeArchiver
		}
		h.free -= 4096
		h.mu.Unlock()
		if archives {
			h.changed()
		}
	}
}

func (h *host) changed() {
	select {
	case h.changes <- struct{}{}:
	default:
	}
}

// Changes tells of changes of the report.
func (h *host) Changes() <-chan struct{} { return h.changes }

// Do carries an order out, by its rules: it is conditional on what was told before.
func (h *host) Do(_ context.Context, o desired.Order) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := o.Resource.Key()
	r := h.records[key]
	if r == nil {
		r = &record{state: observed.Stopped}
		h.records[key] = r
	}
	told := ""
	if r.told != nil {
		told = r.told.ID
	}
	if told != o.Expect {
		return &observed.Refused{Why: fmt.Sprintf("it was told %q, not %q", told, o.Expect)}
	}
	spec := o.Resource
	spec.Node = nil // of what it is started from, the layout alone has all of the cluster
	r.hold = o.Hold
	switch o.Verb {
	case desired.Update:
		r.told = &spec
	case desired.Start:
		r.told = &spec
		if r.pid == 0 {
			h.start(key, r)
		}
	case desired.Restart:
		r.told = &spec
		h.stop(key, r, func() { h.start(key, r) })
	case desired.Stop:
		h.stop(key, r, func() {
			if o.Hold == "" {
				delete(h.records, key)
			}
		})
	}
	h.changed()
	return nil
}

// start a process, which is ready a moment later. h.mu is held.
func (h *host) start(key string, r *record) {
	h.pid++
	r.incarnation++
	r.pid, r.started, r.state, r.since = h.pid, r.told, observed.Pending, time.Now()
	h.after(r, startTakes+rand.N(startTakes), func() {
		r.state, r.since = observed.Running, time.Now()
		if r.started.Type == desired.TypeBroker {
			h.net.serve(r.started.Cluster, h.changed)
		} else {
			h.net.join(key, h.name, r.pid)
		}
	})
}

// stop a process, and go on with then when it has ended. h.mu is held.
func (h *host) stop(key string, r *record, then func()) {
	if r.pid == 0 {
		then()
		return
	}
	h.after(r, stopTakes, func() {
		h.net.leave(key)
		r.pid, r.state, r.since = 0, observed.Stopped, time.Now()
		then()
	})
}

// after has the next change of a record's state happen, in the place of one that was due. h.mu is held, also by what happens.
func (h *host) after(r *record, wait time.Duration, f func()) {
	if r.timer != nil {
		r.timer.Stop()
	}
	var t *time.Timer
	t = time.AfterFunc(wait, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if r.timer == t {
			f()
			h.changed()
		}
	})
	r.timer = t
}

// Report says what runs.
func (h *host) Report() observed.Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := observed.Report{Instance: h.name, At: time.Now(), Host: observed.Host{
		Hostname: h.name, Addresses: []string{h.address}, CPUs: 64, Interfaces: []string{"eth0", "eth1", "eth2", "eth3", "eth4", "eth5", "eth6", "eth7"}, Version: "bench",
		Zeek: map[string]observed.Zeek{"": {Path: "/opt/zeek/bin/zeek", Version: desired.AssumedVersion, ZeekPath: "/opt/zeek/share/zeek", HasLocal: true}},
	}}
	for _, r := range h.records {
		about := cmp.Or(r.started, r.told)
		if about == nil {
			continue // it was held before it was ever told
		}
		o := observed.Resource{
			Cluster: about.Cluster, Name: about.Name, Type: string(about.Type), Role: string(about.Role), State: r.state, Since: r.since,
			PID: r.pid, Incarnation: r.incarnation, Healthy: r.state == observed.Running, Hold: r.hold, Parts: partsOf(r.started, r.told),
		}
		if r.told != nil {
			o.Told = r.told.ID
		}
		if r.pid != 0 {
			o.StartedAt, o.Started, o.Version, o.Tunable = r.since, r.started.ID, desired.AssumedVersion, about.Tunable
		}
		switch {
		case r.state != observed.Running:
		case about.Type == desired.TypeBroker:
			o.Members = h.net.membersOf(about.Cluster)
		case about.Type == desired.TypeArchiver:
			o.Archive = &observed.Archive{FreeBytes: h.free, TotalBytes: 1 << 41}
		}
		out.Resources = append(out.Resources, o)
	}
	slices.SortFunc(out.Resources, func(a, b observed.Resource) int { return a.Compare(&b) })
	return out
}

// partsOf are what a process was started with, with what it was told since.
func partsOf(started, told *desired.Resource) observed.Parts {
	m := map[string][]string{}
	live := func(p *desired.Part) bool { return p.Relation == desired.Live || p.Relation == desired.Follow }
	if started == nil {
		started = told
	}
	for _, p := range started.Parts {
		if told == nil || !live(p) {
			m[p.Field] = p.Values
		}
	}
	if told != nil {
		for _, p := range told.Parts {
			if live(p) {
				m[p.Field] = p.Values
			}
		}
	}
	return observed.PartsOf(m)
}

// PutFiles takes files for put.
func (h *host) PutFiles(context.Context, string, desired.Tree) error { return nil }

// LearnZeek has nothing to learn.
func (h *host) LearnZeek(context.Context, string) {}

// Loads says nothing: no cluster has scripts.
func (h *host) Loads(context.Context, []desired.Resource, bool) (map[string][]string, error) {
	return nil, nil
}

// Check finds nothing wrong.
func (h *host) Check(context.Context, []desired.Resource) ([]observed.Problem, error) {
	return nil, nil
}

// CheckUpdate finds nothing wrong.
func (h *host) CheckUpdate(context.Context, []desired.Resource) ([]observed.Problem, error) {
	return nil, nil
}

// Names are about as many as Zeek 8.2 has. To ask it takes a run.
func (h *host) Names(ctx context.Context, _ desired.Resource) (desired.ZeekNames, error) {
	select {
	case <-time.After(zeekTakes):
		return zeekNames(), nil
	case <-ctx.Done():
		return desired.ZeekNames{}, context.Cause(ctx)
	}
}

var zeekNames = sync.OnceValue(func() desired.ZeekNames {
	kinds := map[string]desired.NameKind{}
	for i := range 2000 {
		kinds[fmt.Sprintf("Module%02d::a_name_that_can_be_redefined_%04d", i%50, i)] = []desired.NameKind{desired.NameOption, desired.NameConstant}[i%2]
	}
	return desired.ZeekNames{Kinds: kinds}
})

// network has the brokers' members of all clusters: what a cluster's nodes on several hosts have in common.
type network struct {
	mu       sync.Mutex
	clusters map[string]*membership
}

type membership struct {
	members map[string]observed.Member // by node
	changed func()                     // tells the broker's host; nil: there is no broker
	due     bool                       // it will be told
}

func (b *network) of(cluster string) *membership {
	m := b.clusters[cluster]
	if m == nil {
		m = &membership{members: map[string]observed.Member{}}
		b.clusters[cluster] = m
	}
	return m
}

func (b *network) serve(cluster string, changed func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of(cluster).changed = changed
}

func (b *network) join(key, host string, pid int) {
	cluster, name, _ := strings.Cut(key, "/")
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.of(cluster)
	m.members[name] = observed.Member{Name: name, Host: host, PID: pid, Answers: true}
	b.tell(m)
}

func (b *network) leave(key string) {
	cluster, name, _ := strings.Cut(key, "/")
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.of(cluster)
	delete(m.members, name)
	b.tell(m)
}

// tell the broker's host, when it looks the next time. b.mu is held.
func (b *network) tell(m *membership) {
	if m.due || m.changed == nil {
		return
	}
	m.due = true
	time.AfterFunc(joinsSeen, func() {
		b.mu.Lock()
		m.due = false
		changed := m.changed
		b.mu.Unlock()
		changed()
	})
}

func (b *network) membersOf(cluster string) []observed.Member {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.of(cluster)
	out := make([]observed.Member, 0, len(m.members))
	for _, n := range slices.Sorted(maps.Keys(m.members)) {
		out = append(out, m.members[n])
	}
	return out
}
