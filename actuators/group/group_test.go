package group

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/zeekrec/zeekrec/desired"
)

func TestDecide(t *testing.T) {
	const m = 1 << 20
	type limits = desired.GroupLimits
	for _, tt := range []struct {
		name      string
		want, set limits
		is        State
		sets      []string
		drift     []string
	}{
		{"there is no group", limits{MemoryMax: 64 * m}, limits{}, State{}, nil, nil},
		{"as it should be", limits{MemoryMax: 64 * m}, limits{MemoryMax: 64 * m}, State{Exists: true, Limits: limits{MemoryMax: 64 * m}}, nil, nil},
		{"changed in the file", limits{MemoryMax: 128 * m}, limits{MemoryMax: 64 * m}, State{Exists: true, Limits: limits{MemoryMax: 64 * m}}, []string{"memory_max"}, nil},
		{"taken out of the file", limits{}, limits{CPUQuota: 50}, State{Exists: true, Limits: limits{CPUQuota: 50}}, []string{"cpu_quota"}, nil},
		{"nothing is known of what was set", limits{TasksMax: 9}, limits{}, State{Exists: true}, []string{"tasks_max"}, nil},
		{"a drop-in wins", limits{MemoryMax: 64 * m}, limits{}, State{Exists: true, Limits: limits{MemoryMax: 32 * m}, Overruled: map[string]string{"memory_max": "/etc/x.conf"}},
			nil, []string{"memory_max is 32M by /etc/x.conf, and not 64M as its cluster.cfg says"}},
		{"a drop-in that says the same", limits{MemoryMax: 64 * m}, limits{}, State{Exists: true, Limits: limits{MemoryMax: 64 * m}, Overruled: map[string]string{"memory_max": "/etc/x.conf"}}, nil, nil},
		{"a drop-in for what nobody asked for", limits{}, limits{MemoryMax: m}, State{Exists: true, Limits: limits{MemoryMax: 32 * m}, Overruled: map[string]string{"memory_max": "/etc/x.conf"}}, nil, nil},
		{"set by hand", limits{CPUWeight: 200}, limits{CPUWeight: 200}, State{Exists: true, Limits: limits{CPUWeight: 50}},
			nil, []string{"cpu_weight is 50, and not 200 as its cluster.cfg says: somebody else has set it"}},
		{"taken away by hand", limits{CPUWeight: 200}, limits{CPUWeight: 200}, State{Exists: true},
			nil, []string{"cpu_weight is not set, and not 200 as its cluster.cfg says: somebody else has set it"}},
		{"set by hand, where nobody asked for it", limits{}, limits{}, State{Exists: true, Limits: limits{CPUWeight: 50}}, nil, nil},
	} {
		d := Decide(tt.want, tt.set, &tt.is)
		if !slices.Equal(d.Set, tt.sets) || !slices.Equal(d.Drift, tt.drift) {
			t.Errorf("%s: %q, want sets %q and drift %q", tt.name, d, tt.sets, tt.drift)
		}
	}
}

// What is set is never decided upon twice, and what somebody has overruled is never set.
func TestDecideEnds(t *testing.T) {
	some := rapid.Custom(func(t *rapid.T) desired.GroupLimits {
		n := rapid.IntRange(0, 2)
		return desired.GroupLimits{MemoryMax: int64(n.Draw(t, "max")), MemoryHigh: int64(n.Draw(t, "high")), CPUQuota: n.Draw(t, "quota"), CPUWeight: n.Draw(t, "weight"), IOWeight: n.Draw(t, "io"), TasksMax: n.Draw(t, "tasks")}
	})
	rapid.Check(t, func(t *rapid.T) {
		want, set := some.Draw(t, "want"), some.Draw(t, "set")
		s := State{Exists: true, Limits: some.Draw(t, "is"), Overruled: map[string]string{}}
		for _, f := range desired.GroupFields() {
			if rapid.Bool().Draw(t, f) {
				s.Overruled[f] = "file"
			}
		}
		for _, f := range Decide(want, set, &s).Set {
			if s.Overruled[f] != "" {
				t.Fatalf("%s is overruled, and set", f)
			}
			s.Limits.Take(f, want)
			set.Take(f, want)
		}
		if again := Decide(want, set, &s).Set; len(again) > 0 {
			t.Fatalf("%q is to be set again", again)
		}
	})
}

func TestWords(t *testing.T) {
	l := desired.GroupLimits{MemoryMax: 64 << 20, CPUQuota: 50}
	if got, want := OutOfMemory(Name{"dmz", desired.RoleWorker}, l), "out of memory (memory_max = 64M of role worker)"; got != want {
		t.Errorf("got %q", got)
	}
	if got := OutOfMemory(Name{"dmz", desired.RoleWorker}, desired.GroupLimits{}); got != "out of memory" {
		t.Errorf("got %q", got)
	}
	if got, want := Unenforced(l, "no systemd"), []string{"memory_max = 64M is not enforced: no systemd", "cpu_quota = 50% is not enforced: no systemd"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}
