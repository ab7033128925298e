package agent

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeekrec/zeekrec/actuators/group"
	"github.com/zeekrec/zeekrec/desired"
)

// fakeGroups are groups in memory.
type fakeGroups struct {
	mu      sync.Mutex
	fail    error
	in      map[int]group.Name
	limits  map[group.Name]desired.GroupLimits
	by      map[string]string // overruled
	sets    []string
	stopped bool
}

func (f *fakeGroups) Unit(n group.Name) string { return "zeek-" + n.Cluster + "-" + string(n.Role) }

func (f *fakeGroups) Join(_ context.Context, n group.Name, l desired.GroupLimits, pid int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	if _, ok := f.limits[n]; !ok {
		f.limits[n] = l
	}
	f.in[pid] = n
	return nil
}

func (f *fakeGroups) Holds(n group.Name, pid int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.in[pid] == n
}

func (f *fakeGroups) State(_ context.Context, n group.Name) (group.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l, ok := f.limits[n]
	return group.State{Exists: ok, Limits: l, Overruled: f.by}, f.fail
}

func (f *fakeGroups) Set(_ context.Context, n group.Name, l desired.GroupLimits, fields []string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.limits[n]
	for _, field := range fields {
		now.Take(field, l)
		f.sets = append(f.sets, field+"="+l.Value(field))
	}
	f.limits[n] = now
	return f.fail
}

func (f *fakeGroups) Stopping(context.Context) bool { return f.stopped }

func (f *fakeGroups) change(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// keeperRig is a keeper on fake groups, with a record on disk that outlives it.
func keeperRig(t *testing.T, f *fakeGroups, dir string) *keeper {
	t.Helper()
	k := newKeeper(&Agent{
		cfg: Config{Groups: f, StateDir: dir, Now: time.Now, Timings: Timings{Tick: time.Second}}, log: slog.New(slog.DiscardHandler), write: writeJSON,
	})
	k.record = func(cluster string) string { return filepath.Join(dir, cluster+".json") }
	return k
}

var workersGroup = group.Name{Cluster: "dmz", Role: desired.RoleWorker}

func ofWorkers(pid int, max int64, told int) member {
	return member{group: workersGroup, limits: desired.GroupLimits{MemoryMax: max}, told: time.Unix(int64(told), 0), pid: pid, poke: func() {}}
}

func newFakeGroups() *fakeGroups {
	return &fakeGroups{in: map[int]group.Name{}, limits: map[group.Name]desired.GroupLimits{}}
}

func TestKeeperFollowsWhoWasToldLast(t *testing.T) {
	f, dir := newFakeGroups(), t.TempDir()
	k := keeperRig(t, f, dir)
	k.join(t.Context(), "dmz/w1", ofWorkers(1, 64<<20, 1))
	k.update("dmz/w2", ofWorkers(2, 128<<20, 2)) // found again, outside of its group
	k.look(t.Context())
	if !f.Holds(workersGroup, 1) || !f.Holds(workersGroup, 2) {
		t.Errorf("in groups are %v", f.in)
	}
	if want := []string{"memory_max=128M"}; !slices.Equal(f.sets, want) {
		t.Errorf("set were %q, want %q", f.sets, want)
	}
	k.look(t.Context())
	if len(f.sets) != 1 {
		t.Errorf("set again: %q", f.sets)
	}
	if unit, wrong := k.says("dmz/w1"); unit != "zeek-dmz-worker" || wrong != nil {
		t.Errorf("it says %q, %q", unit, wrong)
	}
	// Another agent knows what was set, and so what somebody has changed since.
	f.limits[workersGroup] = desired.GroupLimits{MemoryMax: 32 << 20}
	k = keeperRig(t, f, dir)
	k.update("dmz/w2", ofWorkers(2, 128<<20, 2))
	k.look(t.Context())
	if _, wrong := k.says("dmz/w2"); len(wrong) != 1 || !strings.Contains(wrong[0], "memory_max is 32M, and not 128M") || len(f.sets) != 1 {
		t.Errorf("it says %q, and has set %q", wrong, f.sets)
	}
	k.update("dmz/w2", member{})
	if unit, wrong := k.says("dmz/w2"); unit != "" || wrong != nil {
		t.Errorf("of no process it says %q, %q", unit, wrong)
	}
}

// What fails keeps nobody from running, is told, and is tried again, ever more rarely.
func TestKeeperTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeGroups()
		f.fail = errors.New("no answer")
		k := keeperRig(t, f, t.TempDir())
		k.join(t.Context(), "dmz/w1", ofWorkers(1, 0, 1))
		if _, wrong := k.says("dmz/w1"); !slices.Equal(wrong, []string{"no answer"}) {
			t.Errorf("it says %q", wrong)
		}
		f.change(func() { f.fail = nil })
		k.join(t.Context(), "dmz/w2", ofWorkers(2, 0, 1)) // is not held up by what has just failed
		if f.Holds(workersGroup, 2) {
			t.Error("it was tried again at once")
		}
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); k.run(ctx) }()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if !f.Holds(workersGroup, 1) || !f.Holds(workersGroup, 2) {
			t.Errorf("in groups are %v", f.in)
		}
		if _, wrong := k.says("dmz/w1"); wrong != nil {
			t.Errorf("it says %q", wrong)
		}
		end()
		<-ended
	})
}

func TestWithoutGroupsLimitsAreToldOfOnce(t *testing.T) {
	k := keeperRig(t, nil, t.TempDir())
	k.groups, k.why = nil, "there is no systemd"
	k.join(t.Context(), "dmz/w1", ofWorkers(1, 64<<20, 1))
	k.update("dmz/w2", ofWorkers(2, 0, 1))
	if unit, wrong := k.says("dmz/w1"); unit != "" || !slices.Equal(wrong, []string{"memory_max = 64M is not enforced: there is no systemd"}) {
		t.Errorf("it says %q, %q", unit, wrong)
	}
	if _, wrong := k.says("dmz/w2"); wrong != nil {
		t.Errorf("of no limit it says %q", wrong)
	}
	k.run(t.Context()) // has nothing to do, and returns
}
