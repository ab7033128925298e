package agent

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/zeekrec/zeekrec/actuators/cgroup"
	"github.com/zeekrec/zeekrec/actuators/group"
	"github.com/zeekrec/zeekrec/desired"
)

// Groups keep the processes of each role of each cluster together on this host, and bound what they use together. Methods
// may be called at once.
type Groups interface {
	// Unit is the name of a group, as people find it on the host.
	Unit(n group.Name) string
	// Join puts a process that lives into the group, which is made with the limits where there is none.
	Join(ctx context.Context, n group.Name, l desired.GroupLimits, pid int) error
	// Holds reports whether the process is in the group.
	Holds(n group.Name, pid int) bool
	// State is what is so of the group.
	State(ctx context.Context, n group.Name) (group.State, error)
	// Set changes the limits that are named to what they are in l; one that is zero there is taken away.
	Set(ctx context.Context, n group.Name, l desired.GroupLimits, fields []string) error
	// Stopping reports whether the machine is being shut down.
	Stopping(ctx context.Context) bool
}

const (
	// oomFresh is how long a kill for lack of memory may have been counted when the process that it was is seen to be gone.
	oomFresh = 10 * time.Second
	// joinWithin bounds what the start of a process waits for its group: it starts without it then, and joins later.
	joinWithin = 3 * time.Second
	// regroupMax is the longest pause between attempts at a group that fail.
	regroupMax = time.Minute
)

// member is a process of a group, as its unit has it.
type member struct {
	group  group.Name
	limits desired.GroupLimits
	told   time.Time // when it was told these limits: of several, the newest count
	pid    int
	poke   func() // called when something new is said of it
}

// grouped is what the keeper knows of a group.
type grouped struct {
	set     desired.GroupLimits // what was set last; of other zeekrecs, too
	wrong   []string            // what is not as it should be, for status
	trouble string              // why processes could not be put into it, or it could not be asked
	tries   int                 // in vain, one after another
	due     time.Time           // of the next
}

// deaths counts the processes of a cgroup that the kernel has ended for lack of memory.
type deaths struct {
	memory  *cgroup.Memory
	pending uint64 // that no process was found for yet
	at      time.Time
}

// keeper sees to it that processes are in their groups, and groups have their limits. It looks at every tick, and when it
// is woken: nothing has to be told twice, and what failed is tried again.
type keeper struct {
	groups Groups
	why    string // there are none
	log    *slog.Logger
	tick   time.Duration
	now    func() time.Time
	record func(cluster string) string // where limits that were set are recorded
	write  func(path string, v any) error
	wake   chan struct{}

	mu      sync.Mutex
	members map[string]member // by key of the resource
	all     map[group.Name]*grouped
	deaths  map[string]*deaths // by cgroup
	in      map[string]string  // cgroup by key of the resource
}

func newKeeper(a *Agent) *keeper {
	return &keeper{
		groups: a.cfg.Groups, why: a.cfg.Ungrouped, log: a.log, tick: a.cfg.Timings.Tick, now: a.cfg.Now,
		record: func(cluster string) string { return filepath.Join(a.clusterDir(cluster), "limits.json") },
		write:  func(path string, v any) error { return a.write(path, v) },
		wake:   make(chan struct{}, 1), members: map[string]member{}, all: map[group.Name]*grouped{},
		deaths: map[string]*deaths{}, in: map[string]string{},
	}
}

// member of the unit's group: a process of that role.
func (u *unit) member(role desired.Role, pid int) member {
	m := member{group: group.Name{Cluster: clusterOf(u.key), Role: role}, pid: pid, poke: u.poke}
	switch {
	case u.told != nil:
		m.limits, m.told = u.told.Resource.GroupLimits(), u.told.At
	case u.last != nil:
		m.limits = u.last.Resource.GroupLimits()
	}
	return m
}

// groupMember is the unit's process; one without a pid where there is none.
func (u *unit) groupMember() member {
	if u.proc == nil || u.last == nil {
		return member{}
	}
	return u.member(u.last.Resource.Role, u.proc.Identity().PID)
}

// join puts a process that is about to execute Zeek into its group. Nothing that goes wrong keeps it from running.
func (k *keeper) join(ctx context.Context, key string, m member) {
	k.put(key, m)
	if k.groups == nil || m.group.Role == "" {
		return
	}
	k.mu.Lock()
	g := k.of(m.group)
	wait := g.tries > 0 && k.now().Before(g.due)
	k.mu.Unlock()
	if wait {
		return
	}
	within, cancel := context.WithTimeoutCause(ctx, joinWithin, fmt.Errorf("not done within %s", joinWithin))
	defer cancel()
	k.tried(m.group, k.groups.Join(within, m.group, m.limits, m.pid))
	k.count(key, m.pid)
}

// update what is known of a process, and look at its group at once where that is news.
func (k *keeper) update(key string, m member) {
	if k.put(key, m) {
		select {
		case k.wake <- struct{}{}:
		default: // it is about to look
		}
	}
}

func (k *keeper) put(key string, m member) (news bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	was := k.members[key]
	if m.pid == 0 {
		delete(k.members, key)
		return false
	}
	k.members[key] = m
	return was.pid != m.pid || was.limits != m.limits || was.group != m.group
}

// of the group; k.mu is held.
func (k *keeper) of(n group.Name) *grouped {
	g := k.all[n]
	if g == nil {
		g = &grouped{}
		if r, err := readJSON[map[desired.Role]desired.GroupLimits](k.record(n.Cluster)); err != nil {
			k.log.Warn("cannot read which limits were set; they are set again", "cluster", n.Cluster, "error", err)
		} else if r != nil {
			g.set = (*r)[n.Role]
		}
		k.all[n] = g
	}
	return g
}

// run keeps the groups until ctx ends.
func (k *keeper) run(ctx context.Context) {
	if k.groups == nil {
		k.log.Info("Processes are not grouped, and limits of roles are not enforced: " + k.why)
		return
	}
	tick := time.NewTicker(k.tick)
	defer tick.Stop()
	for {
		k.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		case <-tick.C:
		}
	}
}

// look at all groups that have processes.
func (k *keeper) look(ctx context.Context) {
	for n, ms := range k.byGroup() {
		if ctx.Err() != nil {
			return
		}
		k.keep(ctx, n, ms)
	}
	k.countAll()
}

// byGroup lists the members of each group, who was told last in front.
func (k *keeper) byGroup() map[group.Name][]member {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := map[group.Name][]member{}
	for _, key := range slices.Sorted(maps.Keys(k.members)) {
		if m := k.members[key]; m.group.Role != "" {
			out[m.group] = append(out[m.group], m)
		}
	}
	for _, ms := range out {
		slices.SortStableFunc(ms, func(a, b member) int { return b.told.Compare(a.told) })
	}
	return out
}

// keep one group as it should be.
func (k *keeper) keep(ctx context.Context, n group.Name, ms []member) {
	k.mu.Lock()
	g := k.of(n)
	wait, set, was := g.tries > 0 && k.now().Before(g.due), g.set, g.says()
	k.mu.Unlock()
	if wait {
		return
	}
	want := ms[0].limits
	wrong, set, err := k.arrange(ctx, n, ms, want, set)
	if ctx.Err() != nil {
		return
	}
	k.tried(n, err)
	k.mu.Lock()
	changed := g.set != set
	g.set = set
	if err == nil {
		g.wrong = wrong
	}
	says := g.says()
	k.mu.Unlock()
	if changed {
		k.save(n.Cluster)
	}
	if !slices.Equal(says, was) {
		for _, m := range ms {
			m.poke()
		}
	}
}

// arrange puts who is not in the group into it, and sets what is to be set. It returns what stays otherwise than wanted, and
// what is set now.
func (k *keeper) arrange(ctx context.Context, n group.Name, ms []member, want, set desired.GroupLimits) ([]string, desired.GroupLimits, error) {
	for _, m := range ms {
		if k.groups.Holds(n, m.pid) {
			continue
		}
		if err := k.groups.Join(ctx, n, want, m.pid); err != nil {
			return nil, set, err
		}
		k.log.Info("put into its group", "group", k.groups.Unit(n), "pid", m.pid)
	}
	st, err := k.groups.State(ctx, n)
	if err != nil || !st.Exists {
		return nil, set, err
	}
	d := group.Decide(want, set, &st)
	if len(d.Set) > 0 {
		if err := k.groups.Set(ctx, n, want, d.Set); err != nil {
			return nil, set, err
		}
		for _, f := range d.Set {
			k.log.Info("limit set", "group", k.groups.Unit(n), "limit", f, "was", st.Limits.Value(f), "is", want.Value(f))
			st.Limits.Take(f, want)
		}
	}
	for _, f := range desired.GroupFields() {
		if st.Limits.Value(f) == want.Value(f) {
			set.Take(f, want)
		}
	}
	return d.Drift, set, nil
}

// tried notes how an attempt at a group went.
func (k *keeper) tried(n group.Name, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	g := k.of(n)
	if err == nil {
		if g.trouble != "" {
			k.log.Info("its group is as it should be again", "group", n)
		}
		g.trouble, g.tries = "", 0
		return
	}
	if g.trouble == "" {
		k.log.Warn("its group is not as it should be; tried again", "group", n, "error", err)
	}
	g.trouble = err.Error()
	g.due = k.now().Add(min(regroupMax, time.Second<<min(g.tries, 10)))
	g.tries++
}

// save which limits the groups of a cluster have been given.
func (k *keeper) save(cluster string) {
	r := map[desired.Role]desired.GroupLimits{}
	k.mu.Lock()
	for n, g := range k.all {
		if n.Cluster == cluster && g.set != (desired.GroupLimits{}) {
			r[n.Role] = g.set
		}
	}
	k.mu.Unlock()
	if err := k.write(k.record(cluster), r); err != nil {
		k.log.Warn("cannot record which limits were set", "cluster", cluster, "error", err)
	}
}

func (g *grouped) says() []string {
	if g.trouble == "" {
		return g.wrong
	}
	return append(slices.Clone(g.wrong), g.trouble)
}

// says is the unit that keeps a resource's process, and what is wrong with that.
func (k *keeper) says(key string) (unit string, wrong []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m, ok := k.members[key]
	switch {
	case !ok || m.group.Role == "":
		return "", nil
	case k.groups == nil:
		return "", group.Unenforced(m.limits, k.why)
	}
	return k.groups.Unit(m.group), k.of(m.group).says()
}

// count begins to count for the cgroup that a process is in.
func (k *keeper) count(key string, pid int) {
	memory, err := cgroup.WatchMemory(pid)
	if err != nil {
		return // it has ended, or nobody accounts for it
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.deaths[memory.Group()] == nil {
		k.deaths[memory.Group()] = &deaths{memory: memory}
	}
	k.in[key] = memory.Group()
}

// countAll finds in which cgroups processes are, and forgets those of which none is.
func (k *keeper) countAll() {
	k.mu.Lock()
	pids := map[string]int{}
	for key, m := range k.members {
		pids[key] = m.pid
	}
	k.mu.Unlock()
	for key, pid := range pids {
		k.count(key, pid)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.in, func(key, _ string) bool { return pids[key] == 0 && !k.recently(k.in[key]) })
	used := slices.Collect(maps.Values(k.in))
	maps.DeleteFunc(k.deaths, func(dir string, _ *deaths) bool { return !slices.Contains(used, dir) })
	for _, d := range k.deaths {
		d.look(k.now())
	}
}

// recently somebody of the cgroup was ended; k.mu is held.
func (k *keeper) recently(dir string) bool {
	d := k.deaths[dir]
	return d != nil && d.pending > 0 && k.now().Sub(d.at) < oomFresh
}

func (d *deaths) look(now time.Time) {
	if n := d.memory.Killed(); n > 0 {
		d.pending += n
		d.at = now
	}
	if now.Sub(d.at) >= oomFresh {
		d.pending = 0 // it was a process that is none of the agent's
	}
}

// countDeaths counts whom the kernel has ended in a resource's cgroup, while that is there.
func (k *keeper) countDeaths(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if d := k.deaths[k.in[key]]; d != nil {
		d.look(k.now())
	}
}

// outOfMemory says that the kernel has ended a resource's process for lack of memory; empty: it has not, as far as is known.
// Each that was counted explains one process.
func (k *keeper) outOfMemory(key string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	d, m := k.deaths[k.in[key]], k.members[key]
	if d == nil {
		return ""
	}
	d.look(k.now())
	if d.pending == 0 {
		return ""
	}
	d.pending--
	return group.OutOfMemory(m.group, m.limits)
}
