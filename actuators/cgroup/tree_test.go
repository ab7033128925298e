package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zeekrec/zeekrec/actuators/group"
	"github.com/zeekrec/zeekrec/desired"
)

// fakeTree is a folder with a cgroup's files, of one that has only this process in it.
func fakeTree(t *testing.T, procs string) *Tree {
	t.Helper()
	tr := &Tree{dir: t.TempDir(), path: "/x"}
	for name, text := range map[string]string{"cgroup.controllers": "cpuset cpu io memory pids\n", "cgroup.procs": procs, "cgroup.type": "domain\n"} {
		if err := os.WriteFile(filepath.Join(tr.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func (t *Tree) has(tt *testing.T, name string) string {
	tt.Helper()
	b, err := os.ReadFile(filepath.Join(t.dir, name))
	if err != nil {
		tt.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func TestTree(t *testing.T) {
	tr := fakeTree(t, "7\n")
	if err := tr.divide(7); err != nil {
		t.Fatal(err)
	}
	if got := tr.has(t, "zeekrec/cgroup.procs"); got != "7" {
		t.Errorf("zeekrec's own group has %q", got)
	}
	n := group.Name{Cluster: "dmz", Role: desired.RoleWorker}
	want := desired.GroupLimits{MemoryMax: 64 << 20, MemoryHigh: 48 << 20, CPUQuota: 150, CPUWeight: 200, IOWeight: 50, TasksMax: 99}
	if s, err := tr.State(t.Context(), n); err != nil || s.Exists {
		t.Errorf("before there was a process: %+v, %v", s, err)
	}
	if err := tr.Join(t.Context(), n, want, 8); err != nil {
		t.Fatal(err)
	}
	if got := tr.has(t, "zeek/dmz/worker/cgroup.procs"); got != "8" {
		t.Errorf("the group has %q", got)
	}
	if s, err := tr.State(t.Context(), n); err != nil || s.Limits != want {
		t.Errorf("limits are %+v, %v", s.Limits, err)
	}
	for name, text := range map[string]string{"memory.max": "67108864", "cpu.max": "150000 100000", "pids.max": "99"} {
		if got := tr.has(t, "zeek/dmz/worker/"+name); got != text {
			t.Errorf("%s is %q, want %q", name, got, text)
		}
	}
	if err := tr.Set(t.Context(), n, desired.GroupLimits{}, []string{"memory_max", "cpu_quota", "cpu_weight"}); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"memory.max": "max", "cpu.max": "max 100000", "cpu.weight": "100", "pids.max": "99"} {
		if got := tr.has(t, "zeek/dmz/worker/"+name); got != text {
			t.Errorf("taken away, %s is %q, want %q", name, got, text)
		}
	}
	// As the kernel writes it.
	if err := os.WriteFile(filepath.Join(tr.group(n), "io.weight"), []byte("default 70\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, _ := tr.State(t.Context(), n); s.Limits.IOWeight != 70 || s.Limits.MemoryMax != 0 || s.Limits.CPUQuota != 0 {
		t.Errorf("limits are %+v", s.Limits)
	}
}

func TestTreeThatCannotBe(t *testing.T) {
	if err := fakeTree(t, "7\n8\n").divide(7); err == nil || !strings.Contains(err.Error(), "is not for zeekrec alone: process 8 is in it, too") {
		t.Errorf("with others in it: %v", err)
	}
	tr := fakeTree(t, "7\n")
	if err := os.WriteFile(filepath.Join(tr.dir, "cgroup.controllers"), []byte("hugetlb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := tr.divide(7); err == nil || !strings.Contains(err.Error(), "accounts for no memory in version 2") {
		t.Errorf("without memory: %v", err)
	}
	if _, err := treeOf(places([]byte("4:memory:/a\n")), nil); err == nil {
		t.Error("there is a tree without version 2")
	}
	if got, err := treeOf(places([]byte("0::/a/zeekrec\n")), mounts([]byte(pureMounts))); err != nil || got.path != "/a" {
		t.Errorf("a second zeekrec finds %+v, %v", got, err)
	}
}
