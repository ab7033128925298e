package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestBalanced: a worker section with lb_procs is that many workers; one more starts that one, one less stops the last one,
// other CPUs are set in place, and no other process gets another pid.
func TestBalanced(t *testing.T) { balanced(t, build(t, "./testdata/zeek", "")) }

// TestE2EBalanced is TestBalanced with a real Zeek.
func TestE2EBalanced(t *testing.T) {
	if os.Getenv("ZEEKREC_E2E") == "" {
		t.Skip("make e2e")
	}
	zeek, ok := realZeek()
	if !ok {
		t.Skip("needs a real Zeek on the PATH or in /opt/zeek/bin")
	}
	balanced(t, zeek)
}

func balanced(t *testing.T, zeek string) {
	r := newRig(t, build(t, "./cmd/zeekrec", ""), zeek)
	section := func(procs int, cpus string) string {
		return config{all: fmt.Sprintf("[worker]\nrole = worker\ninterface = lo\nlb_method = af_packet\nlb_procs = %d\npin_cpus = %s\n", procs, cpus)}.String()
	}
	r.save(section(2, "0"))
	r.start()
	before := r.settled("")
	if all := pids(before); all["worker-1"] == 0 || all["worker-2"] == 0 || all["worker"] != 0 || all["worker-3"] != 0 {
		t.Fatalf("the workers are %v", all)
	}
	for _, x := range []struct{ what, content, want string }{
		{"one more", section(3, "0"), "worker-3"},
		{"one less", section(2, "0"), "-worker-3"},
		{"other CPUs", section(2, "0,1"), ""},
		{"two more", section(4, "0,1"), "worker-3 worker-4"},
	} {
		planned := disturbed(r.plan(x.content))
		r.save(x.content)
		after := r.settled(before.Revision.Running)
		if got := changed(alive(pids(before)), alive(pids(after))); got != x.want || planned != x.want {
			t.Errorf("%s: %q got another pid, and the plan was %q; want %q", x.what, got, planned, x.want)
		}
		before = after
	}
	for name, pid := range pids(before) {
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); strings.HasPrefix(name, "worker-") && (err != nil || !strings.Contains(string(b), "-i\x00af_packet::lo\x00")) {
			t.Errorf("%s runs as %q, %v", name, b, err)
		}
	}
}

// alive are those with a process.
func alive(pids map[string]int) map[string]int {
	for name, pid := range pids {
		if pid == 0 {
			delete(pids, name)
		}
	}
	return pids
}
