package desired_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

func TestArchiverResources(t *testing.T) {
	nice := 0
	for _, tt := range []struct {
		name   string
		words  []string
		change func(*desired.Settings)
		want   string // name, instance, parts of each
	}{
		{"by default", []string{"manager m", "logger l", "worker w"}, func(s *desired.Settings) { s.Metrics = false }, "archiver agent-a\n"},
		{"the manager logs", []string{"manager m", "worker w"}, func(s *desired.Settings) { s.Metrics = false }, "archiver agent-a\n"},
		{"none is wanted", []string{"manager m", "logger l"}, func(s *desired.Settings) { s.Archive.Enabled = false }, ""},
		{"where the loggers are", []string{"manager m@i1", "logger l1@i2", "logger l2@i2", "logger l3@i3"}, func(s *desired.Settings) {
			s.Metrics = false
		}, "archiver-i2 i2\narchiver-i3 i3\n"},
		{"a node has its name", []string{"manager m", "worker archiver"}, func(s *desired.Settings) { s.Metrics = false }, "zeekrec.archiver agent-a\n"},
		{"everything", []string{"manager m", "logger l"}, func(s *desired.Settings) {
			s.User = "zeek"
			s.Limits = map[desired.Role]desired.Limits{desired.RoleArchiver: {CPUs: []int{1}, Nice: &nice, OpenFiles: 4096}}
			s.Archive = desired.ArchiveSettings{
				Enabled: true, Dir: "/logs", Layout: "{day}", Interval: time.Minute, Compress: "zstd", Keep: 90 * 24 * time.Hour,
				MinFree: desired.Quantity{N: 1 << 30}, Command: "mine", Timezone: "UTC", Parallel: 3, Rate: 1 << 20,
			}
		}, `archiver agent-a
command live mine
compress live zstd
cpus live 1
dir live /logs
interval live 1m0s
keep live 2160h0m0s
layout live {day}
metrics equal 127.0.0.1:9003
min_free live 1073741824
nice live 0
open_files live 4096
parallel live 3
rate live 1048576
timezone live UTC
user equal zeek
`},
	} {
		c := nodes("c", tt.words...)
		c.Settings.Archive = desired.ArchiveSettings{Enabled: true, MinFree: desired.DefaultMinFree}
		tt.change(&c.Settings)
		got := ""
		for _, r := range compile(desired.Assignment{}, c).Resources["c"] {
			if r.Type == desired.TypeArchiver {
				got += r.Name + " " + r.Instance + "\n" + text(&r)
			}
		}
		if got != tt.want {
			t.Errorf("%s: got\n%swant\n%s", tt.name, got, tt.want)
		}
	}
}

func TestArchiveRoot(t *testing.T) {
	for _, tt := range []struct{ layout, want string }{
		{"", "/logs/dmz"}, {"{day}", "/logs"}, {"{cluster}/{instance}/{day}", "/logs/dmz/agent-a"}, {"zeek-{cluster}/{day}", "/logs/zeek-dmz"},
	} {
		if got := desired.ArchiveRoot("/logs", tt.layout, "dmz", "agent-a"); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.layout, got, tt.want)
		}
	}
}

// Every row says why, and no field is there twice.
func TestRelationsOfAnArchiver(t *testing.T) {
	rel := desired.Relations()
	for field, want := range map[string]desired.Relation{
		"dir": desired.Live, "keep": desired.Live, "compress": desired.Live, "metrics": desired.Equal, "user": desired.Equal, "xpub": "", "rotation": "",
	} {
		if got := rel(desired.RoleArchiver, field); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	order := []desired.Role{desired.RoleWorker, desired.RoleProxy, desired.RoleManager, desired.RoleLogger, desired.RoleBroker, desired.RoleArchiver}
	if !slices.IsSortedFunc(order, func(a, b desired.Role) int { return a.StopRank() - b.StopRank() }) {
		t.Error("stops are out of order")
	}
	if !strings.Contains(desired.DefaultArchiveLayout, "{day}") {
		t.Error("the default layout has no day")
	}
}
