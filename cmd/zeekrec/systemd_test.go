//go:build linux

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// TestSystemdScopes runs a cluster of five in a machine with its own systemd.
func TestSystemdScopes(t *testing.T) {
	r := newUnitRig(t, "")
	scopes(t, r)
}

func scopes(t *testing.T, r *unitRig) {
	limits := "\n[zeekrec.limits.worker]\nmemory_max = 900M\ncpu_quota = 150%%\ntasks_max = 400\n" + "%s"
	r.save(unitCluster(fmt.Sprintf(limits, "")))
	r.Run(t, "systemctl", "enable", "--now", "zeekrec")
	c := r.settled("")
	before := pids(c)
	const scope = "zeek-dmz-worker.scope"

	t.Run("roles are in their scopes", func(t *testing.T) {
		out := r.Run(t, "systemctl", "status", "--no-pager", "-l", scope)
		t.Logf("systemctl status:\n%s", out)
		for _, want := range []string{
			"zeek-dmz-worker.scope - Zeek workers of cluster dmz", "Transient: yes", "active (running)", "limit: 400", "max: 900.0M",
			fmt.Sprintf("%d %s", before["worker-1"], r.path("zeek")), fmt.Sprintf("%d %s", before["worker-2"], r.path("zeek")),
		} {
			if !strings.Contains(out, want) {
				t.Errorf("it does not say %q", want)
			}
		}
		tree := r.Run(t, "systemd-cgls", "--no-pager", "-l", "-u", "zeek.slice")
		t.Logf("systemd-cgls:\n%s", tree)
		for _, role := range []string{"worker", "proxy", "manager", "logger", "broker", "archiver"} {
			if !strings.Contains(tree, "zeek-dmz-"+role+".scope") {
				t.Errorf("zeek.slice has no scope of role %s", role)
			}
		}
		for name := range before {
			if u := resource(c, name).Unit; !strings.HasPrefix(u, "zeek-dmz-") || !strings.HasSuffix(u, ".scope") {
				t.Errorf("the status of %s has the unit %q", name, u)
			}
		}
		if got := r.kernel(scope, "memory/memory.limit_in_bytes", "memory.max"); got != strconv.Itoa(900<<20) {
			t.Errorf("the kernel bounds their memory by %q", got)
		}
	})

	t.Run("a limit is changed while they run", func(t *testing.T) {
		begun := time.Now()
		r.save(strings.Replace(unitCluster(fmt.Sprintf(limits, "")), "900M", "800M", 1))
		r.Eventually(t, "the kernel has it", func() bool {
			return r.kernel(scope, "memory/memory.limit_in_bytes", "memory.max") == strconv.Itoa(800<<20)
		})
		took := time.Since(begun)
		c = r.settled(c.Revision.Running)
		t.Logf("it took %s; restarted: %q", took.Round(time.Millisecond), changed(before, pids(c)))
		if took > 2*time.Second && os.Getenv("ZEEKREC_E2E") != "" {
			t.Errorf("it took %s", took)
		}
		if d := changed(before, pids(c)); d != "" {
			t.Errorf("it has restarted %s", d)
		}
		r.save(unitCluster("\n[zeekrec.limits.worker]\nmemory_max = 800M\n"))
		r.Eventually(t, "what is taken out of the file is taken away", func() bool {
			return r.Property(t, scope, "CPUQuotaPerSecUSec") == "infinity" && r.Property(t, scope, "TasksMax") == "infinity"
		})
		c = r.settled(c.Revision.Running)
	})

	t.Run("zeekrec is restarted and killed", func(t *testing.T) {
		r.Run(t, "systemctl", "restart", "zeekrec")
		c = r.settled("")
		if d := changed(before, pids(c)); d != "" {
			t.Errorf("systemctl restart has restarted %s", d)
		}
		r.Run(t, "systemctl", "kill", "-s", "KILL", "--kill-who=main", "zeekrec")
		r.Eventually(t, "it is another process", func() bool { return r.Property(t, "zeekrec", "NRestarts") == "1" })
		c = r.settled("")
		if d := changed(before, pids(c)); d != "" {
			t.Errorf("kill -9 has restarted %s", d)
		}
		if got := r.Property(t, scope, "MemoryMax"); got != strconv.Itoa(800<<20) {
			t.Errorf("afterwards the limit is %s", got)
		}
	})

	t.Run("a node that is killed comes back", func(t *testing.T) {
		was := before["manager"]
		begun := time.Now()
		r.Run(t, "kill", "-9", strconv.Itoa(was))
		c = r.cluster("it is back", waitLong, func(c engine.ClusterStatus) error {
			if m := resource(c, "manager"); m.PID == was || m.PID == 0 {
				return fmt.Errorf("its pid is %d", m.PID)
			}
			return nil
		})
		t.Logf("its successor ran after %s", time.Since(begun).Round(time.Millisecond))
		c = r.settled("")
		out := r.Run(t, "systemctl", "status", "--no-pager", "zeek-dmz-manager.scope")
		if !strings.Contains(out, strconv.Itoa(pids(c)["manager"])) {
			t.Errorf("it is not in its scope:\n%s", out)
		}
		before = pids(c)
	})

	t.Run("a process outside of its scope is put back", func(t *testing.T) {
		pid := strconv.Itoa(before["worker-1"])
		r.Run(t, "sh", "-c", "echo "+pid+" > $(ls -d /sys/fs/cgroup/systemd/system.slice /sys/fs/cgroup/system.slice 2>/dev/null | head -1)/cgroup.procs; "+
			"echo "+pid+" > /sys/fs/cgroup/unified/system.slice/cgroup.procs || true")
		r.Eventually(t, "it is back in its scope", func() bool {
			return strings.Contains(r.Run(t, "cat", "/proc/"+pid+"/cgroup"), "zeek.slice/"+scope)
		})
	})

	t.Run("what an administrator sets wins, and is told", func(t *testing.T) {
		const file = "/etc/systemd/system/" + scope + ".d/site.conf"
		r.WriteFile(t, file, "[Scope]\nMemoryMax=700M\n")
		r.Run(t, "systemctl", "daemon-reload")
		drift := func(want string) {
			t.Helper()
			c = r.cluster("the status tells", waitLong, func(c engine.ClusterStatus) error {
				for _, name := range []string{"worker-1", "worker-2"} {
					if got := strings.Join(resource(c, name).Degraded, "; "); !strings.Contains(got, want) {
						return fmt.Errorf("%s is degraded by %q", name, got)
					}
				}
				return nil
			})
		}
		drift("memory_max is 700M by " + file + ", and not 800M as its cluster.cfg says")
		if !c.Healthy {
			t.Error("the cluster is not healthy")
		}
		r.save(unitCluster("\n[zeekrec.limits.worker]\nmemory_max = 850M\n"))
		drift("and not 850M as its cluster.cfg says")
		if got := r.Property(t, scope, "MemoryMax"); got != strconv.Itoa(700<<20) {
			t.Errorf("it was fought: %s", got)
		}
		r.Run(t, "rm", file)
		r.Run(t, "systemctl", "daemon-reload")
		r.Eventually(t, "what is in the file counts again", func() bool { return r.Property(t, scope, "MemoryMax") == strconv.Itoa(850<<20) })
		r.Run(t, "systemctl", "set-property", "--runtime", scope, "MemoryMax=600M")
		drift("memory_max is 600M, and not 850M as its cluster.cfg says: somebody else has set it")
		r.save(unitCluster("\n[zeekrec.limits.worker]\nmemory_max = 500M\n"))
		r.Eventually(t, "a new wish counts", func() bool { return r.Property(t, scope, "MemoryMax") == strconv.Itoa(500<<20) })
		c = r.cluster("nothing is told any more", waitLong, func(c engine.ClusterStatus) error {
			if d := resource(c, "worker-1").Degraded; len(d) > 0 {
				return fmt.Errorf("degraded by %q", d)
			}
			return nil
		})
	})
}

// TestSystemdShutdown switches the machine off and on again.
func TestSystemdShutdown(t *testing.T) {
	r := newUnitRig(t, "")
	r.save(unitCluster(""))
	r.Run(t, "systemctl", "enable", "--now", "zeekrec")
	r.settled("")
	r.PowerOff(t)
	r.PowerOn(t)
	after := r.settled("")
	log := r.Journal(t, "-b", "-1", "-o", "short-monotonic")
	t.Logf("the end of the first boot's journal:\n%s", tail([]byte(log), 60))
	for _, want := range []string{"The machine is being shut down: stopping all processes, in order", "All processes are stopped"} {
		if !strings.Contains(log, want) {
			t.Errorf("zeekrec did not log %q", want)
		}
	}
	if strings.Contains(log, "msg=started") && strings.Contains(log[strings.Index(log, "being shut down"):], "msg=started") {
		t.Error("something was started during the shutdown")
	}
	for _, res := range after.Resources {
		if strings.Contains(strings.Join(res.Degraded, ""), "cannot") {
			t.Errorf("%s: %q", res.Name, res.Degraded)
		}
	}
	// Which ended when, by the lines of the agent.
	at := func(name string) int { return strings.LastIndex(log, "resource=dmz/"+name+" pid=") }
	order := []string{"worker-1", "proxy-1", "manager", "logger-1"}
	for i := 1; i < len(order); i++ {
		if a, b := at(order[i-1]), at(order[i]); a < 0 || b < a {
			t.Errorf("%s did not end before %s", order[i-1], order[i])
		}
	}
}

// TestSystemdOutOfMemory lets the kernel end a worker.
func TestSystemdOutOfMemory(t *testing.T) {
	r := newUnitRig(t, "")
	eats := r.path("eats")
	content := config{
		workers: map[string]string{"worker-1": "env = ZEEK_STANDIN_EATS=300 ZEEK_STANDIN_WHEN=" + eats + "\n", "worker-2": ""},
		all:     "\n[zeekrec.limits.worker]\nmemory_max = 200M\n",
	}.String()
	r.save(content)
	r.Run(t, "systemctl", "enable", "--now", "zeekrec")
	c := r.settled("")
	before := pids(c)
	if err := os.WriteFile(eats, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r.Run(t, "kill", "-9", strconv.Itoa(before["worker-1"])) // by hand: that is no lack of memory
	want := "killed by SIGKILL: out of memory (memory_max = 200M of role worker)"
	history := ""
	r.Eventually(t, "the history tells", func() bool {
		history = r.zeekrec("history")
		return strings.Contains(history, want)
	})
	if err := os.Remove(eats); err != nil {
		t.Fatal(err)
	}
	if strings.Count(history, "killed by SIGKILL") == strings.Count(history, want) {
		t.Errorf("the kill by hand is told as one for lack of memory:\n%s", history)
	}
	t.Logf("history:\n%s", history)
	c = r.settled("")
	if pids(c)["worker-2"] != before["worker-2"] {
		t.Error("the other worker was ended, too")
	}
}
