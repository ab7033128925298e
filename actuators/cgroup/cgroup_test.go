package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

const (
	hybrid = "9:name=systemd:/zeek.slice/zeek-dmz-worker.scope\n4:memory:/zeek.slice/zeek-dmz-worker.scope\n0::/zeek.slice/zeek-dmz-worker.scope\n"
	pure   = "0::/zeek.slice/zeek-dmz-worker.scope\n"

	hybridMounts = "34 30 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n40 30 0:37 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n26 1 254:0 / / rw - ext4 /dev/vda rw\n"
	pureMounts   = "40 30 0:37 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw\n"
	innerMounts  = "40 30 0:37 /zeek.slice /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"
	elsewhere    = "40 30 0:37 /other.slice /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"
)

func TestWhereMemoryIsAccounted(t *testing.T) {
	for _, tt := range []struct{ name, places, mounts, want string }{
		{"both versions, memory with the first", hybrid, hybridMounts, "/sys/fs/cgroup/memory/zeek.slice/zeek-dmz-worker.scope/memory.oom_control"},
		{"version 2", pure, pureMounts, "/sys/fs/cgroup/zeek.slice/zeek-dmz-worker.scope/memory.events"},
		{"a part of it is mounted", pure, innerMounts, "/sys/fs/cgroup/zeek-dmz-worker.scope/memory.events"},
		{"another part is", pure, elsewhere, ""},
		{"nothing is", hybrid, "", ""},
	} {
		m, err := memoryOf(places([]byte(tt.places)), mounts([]byte(tt.mounts)))
		switch {
		case err != nil && tt.want != "":
			t.Errorf("%s: %v", tt.name, err)
		case err == nil && m.own.file != tt.want:
			t.Errorf("%s: %s", tt.name, m.own.file)
		}
	}
}

func TestKilledCountsOnce(t *testing.T) {
	dir := t.TempDir()
	group := filepath.Join(dir, "group")
	if err := os.Mkdir(group, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	own, over := filepath.Join(group, "memory.events"), filepath.Join(dir, "memory.events")
	write(own, "low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
	write(over, "oom_kill 7\n")
	m := &Memory{dir: group, own: counter{file: own}, over: counter{file: over}}
	m.Killed() // what was before
	for i, want := range []uint64{0, 1, 0} {
		if i == 1 {
			write(own, "oom_kill 3\n")
			write(over, "oom_kill 9\n")
		}
		if got := m.Killed(); got != want {
			t.Errorf("look %d: %d, want %d", i, got, want)
		}
	}
	// The last process has taken its group with it.
	if err := os.RemoveAll(group); err != nil {
		t.Fatal(err)
	}
	write(over, "oom_kill 10\n")
	if got := m.Killed(); got != 1 {
		t.Errorf("of a group that is gone: %d", got)
	}
	if got := m.Killed(); got != 0 {
		t.Errorf("and once more: %d", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(hybrid))
	f.Add([]byte(hybridMounts))
	f.Add([]byte("oom_kill 3\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ps, ms := places(b), mounts(b)
		if m, err := memoryOf(ps, ms); err == nil && m.own.file == "" {
			t.Error("found, and nowhere")
		}
		parseKills(b)
	})
}
