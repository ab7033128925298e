package systemd

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/zeekrec/zeekrec/actuators/group"
	"github.com/zeekrec/zeekrec/desired"
)

func TestNamesAreSystemdsOwn(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{ScopeName(group.Name{Cluster: "dmz", Role: desired.RoleWorker}), "zeek-dmz-worker.scope"},
		// Of a slice a dash would make it another's child.
		{SliceName(group.Name{Cluster: "dmz-2", Role: desired.RoleWorker}), `zeek-dmz\x2d2-worker.slice`},
		// Cluster a-b with node c is not cluster a with node b-c.
		{ServiceName("a-b", "c"), `zeek-a\x2db-c.service`},
		{ServiceName("a", "b-c"), `zeek-a-b\x2dc.service`},
		{describe(group.Name{Cluster: "dmz", Role: desired.RoleProxy}), "Zeek proxies of cluster dmz"},
		{describe(group.Name{Cluster: "dmz", Role: desired.RoleManager}), "Zeek manager of cluster dmz"},
		{describe(group.Name{Cluster: "dmz", Role: desired.RoleLogger}), "Zeek loggers of cluster dmz"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}

// What is sent to systemd and read back from it is what was wanted, field by field.
func TestLimitsGoToTheBusAndBack(t *testing.T) {
	want := desired.GroupLimits{MemoryMax: 64 << 20, MemoryHigh: 48 << 20, CPUQuota: 150, CPUWeight: 200, IOWeight: 50, TasksMax: 99}
	for _, l := range []desired.GroupLimits{{}, want} {
		props := map[string]any{"Other": "thing"}
		for _, p := range toBus(l, desired.GroupFields()) {
			props[p.Name] = p.Value.Value()
		}
		if len(props) != 1+len(desired.GroupFields()) {
			t.Errorf("not all limits have a property: %v", props)
		}
		if got := fromBus(props); got != l {
			t.Errorf("%+v became %+v", l, got)
		}
	}
	if got := toBus(want, []string{"cpu_quota"}); len(got) != 1 || got[0].Name != "CPUQuotaPerSecUSec" || got[0].Value.Value() != uint64(1_500_000) {
		t.Errorf("a quota of 150%% is %v", got)
	}
	if got := startLimits(desired.GroupLimits{MemoryMax: 1}); !slices.Equal(got, []string{"memory_max", "tasks_max"}) {
		t.Errorf("a unit is made with %q", got)
	}
}

func TestOverruled(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a := file("a.conf", "[Scope]\n MemoryMax = 1G\n# CPUQuota=1%\n;TasksMax=3\nDescription=TasksMax=7\n")
	b := file("b.conf", "[Scope]\nMemoryMax=2G\nCPUQuota=50%\n")
	got := overruled([]string{a, b, filepath.Join(dir, "gone.conf")})
	if want := map[string]string{"memory_max": b, "cpu_quota": b}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if !isRuntime("/run/systemd/transient/zeek-dmz-worker.scope.d/50-MemoryMax.conf") || isRuntime("/etc/systemd/system/zeek-.scope.d/x.conf") || isRuntime("/run/systemd/system/x.scope.d/x.conf") {
		t.Error("an administrator's drop-in is taken for one of systemd's, or the other way round")
	}
}

func FuzzSettings(f *testing.F) {
	f.Add("[Scope]\nMemoryMax=1G\n")
	f.Add("CPUQuota\n=\n;x=\n TasksMax = ")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range settingsOf(text) {
			if !slices.Contains(desired.GroupFields(), s) {
				t.Errorf("%q is no limit", s)
			}
		}
	})
}

func TestVersion(t *testing.T) {
	for text, want := range map[string]int{`"252 (252.38-1~deb12u1)"`: 252, "257.9": 257, `"253~rc1"`: 253, "": 0, "v1": 0} {
		if got := versionOf(text); got != want {
			t.Errorf("%q is %d, want %d", text, got, want)
		}
	}
}
