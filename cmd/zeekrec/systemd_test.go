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
func TestSystemdScopes(t *testing.T) { scopes(t, newUnitRig(t, "")) }

// TestSystemdScopesOfZeek is the same with a real one.
func TestSystemdScopesOfZeek(t *testing.T) {
	longSystemd(t)
	zeek, ok := realZeek()
	if !ok {
		t.Skip("no Zeek")
	}
	scopes(t, newUnitRig(t, zeek))
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
			fmt.Sprintf("%d %s", before["worker-1"], r.zeek), fmt.Sprintf("%d %s", before["worker-2"], r.zeek),
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

// TestSystemdServices is the same where systemd starts the nodes, and starts them again.
func TestSystemdServices(t *testing.T) {
	longSystemd(t)
	r := newUnitRig(t, "", "--process-backend", "services")
	r.save(unitCluster("\n[zeekrec.limits.worker]\nmemory_max = 900M\n"))
	r.Run(t, "systemctl", "enable", "--now", "zeekrec")
	c := r.settled("")
	before := pids(c)
	const service, slice = `zeek-dmz-worker\x2d1.service`, "zeek-dmz-worker.slice"
	unit := resource(c, "worker-1").Unit
	out := r.Run(t, "systemctl", "status", "--no-pager", "-l", service)
	t.Logf("systemctl status:\n%s", out)
	if unit != service || !strings.Contains(out, fmt.Sprintf("Main PID: %d (zeek)", before["worker-1"])) || !strings.Contains(out, slice) {
		t.Errorf("it is not the service %q", unit)
	}
	if got := r.Property(t, slice, "MemoryMax"); got != strconv.Itoa(900<<20) {
		t.Errorf("its slice has the limit %s", got)
	}
	if text := r.Run(t, "systemctl", "cat", service); strings.Contains(text, "CLUSTER_NODE") || strings.Contains(text, "Environment") {
		t.Errorf("its environment is for everybody to read:\n%s", text)
	}
	if mode := strings.TrimSpace(r.Run(t, "stat", "-c", "%a", unitState+"/clusters/dmz/nodes/worker-1/service.json")); mode != "600" {
		t.Errorf("what it is started from has mode %s", mode)
	}
	r.Run(t, "systemctl", "restart", "zeekrec")
	r.settled("")
	r.Run(t, "systemctl", "kill", "-s", "KILL", "--kill-who=main", "zeekrec")
	r.Eventually(t, "it is another process", func() bool { return r.Property(t, "zeekrec", "NRestarts") == "1" })
	c = r.settled("")
	if d := changed(before, pids(c)); d != "" {
		t.Fatalf("restarted were %s", d)
	}

	back := func(name string, was int) int {
		t.Helper()
		c = r.cluster("it is back", waitLong, func(c engine.ClusterStatus) error {
			if m := resource(c, name); m.PID == was || m.PID == 0 || m.State != "RUNNING" {
				return fmt.Errorf("%s is %s as %d", name, m.State, m.PID)
			}
			return nil
		})
		return pids(c)[name]
	}
	begun := time.Now()
	r.Run(t, "kill", "-9", strconv.Itoa(before["worker-1"]))
	pid := back("worker-1", before["worker-1"])
	t.Logf("its successor ran after %s", time.Since(begun).Round(time.Millisecond))
	if got := r.Property(t, service, "NRestarts"); got != "1" {
		t.Errorf("systemd has restarted it %s times", got)
	}
	if got := resource(c, "worker-1"); got.Incarnation != 2 {
		t.Errorf("its incarnation is %d", got.Incarnation)
	}

	// While zeekrec is away.
	r.Run(t, "systemctl", "stop", "zeekrec")
	r.Run(t, "kill", "-9", strconv.Itoa(before["manager"]))
	r.Eventually(t, "systemd has started it again", func() bool {
		p := r.Property(t, "zeek-dmz-manager.service", "MainPID")
		return p != "0" && p != strconv.Itoa(before["manager"])
	})
	manager := r.Property(t, "zeek-dmz-manager.service", "MainPID")
	r.Run(t, "systemctl", "start", "zeekrec")
	c = r.settled("")
	if got := pids(c); strconv.Itoa(got["manager"]) != manager || got["worker-1"] != pid {
		t.Errorf("found again are %v; the manager was %s, the worker %d", got, manager, pid)
	}
	history := r.zeekrec("history")
	for _, want := range []string{"killed by SIGKILL", "started again by systemd as process", "systemd has started it again as process " + manager + " while zeekrec was away"} {
		if !strings.Contains(history, want) {
			t.Errorf("the history does not say %q:\n%s", want, history)
		}
	}
	now := pids(c)
	r.save(unitCluster("\n[zeekrec.limits.worker]\nmemory_max = 800M\n"))
	r.Eventually(t, "the limit is changed", func() bool { return r.Property(t, slice, "MemoryMax") == strconv.Itoa(800<<20) })
	c = r.settled(c.Revision.Running)
	if d := changed(now, pids(c)); d != "" {
		t.Errorf("a limit has restarted %s", d)
	}
	// What was told since its start is for the next: then the agent starts it itself.
	r.Run(t, "kill", "-9", strconv.Itoa(pid))
	pid = back("worker-1", pid)
	if after := r.Property(t, service, "MainPID"); after != strconv.Itoa(pid) {
		t.Errorf("the service has process %s, and the status %d", after, pid)
	}
	r.zeekrec("restart", "dmz/worker-2")
	c = r.settled("")
	if d := changed(map[string]int{"worker-2": before["worker-2"], "worker-1": pid}, map[string]int{"worker-2": pids(c)["worker-2"], "worker-1": pids(c)["worker-1"]}); d != "worker-2" {
		t.Errorf("restarted were %q", d)
	}
	r.zeekrec("stop", "dmz/worker-1")
	c = r.cluster("it is stopped", waitLong, func(c engine.ClusterStatus) error {
		if m := resource(c, "worker-1"); m.PID != 0 {
			return fmt.Errorf("its pid is %d", m.PID)
		}
		return nil
	})
	if out, _ := r.Try(t, "systemctl", "is-active", service); strings.TrimSpace(out) != "inactive" {
		t.Errorf("its service is %s", out)
	}
}

// TestSystemdShutdown switches the machine off and on again.
func TestSystemdShutdown(t *testing.T) {
	longSystemd(t)
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
	// The machine has begun with what the others wait for.
	began := []string{"broker", "logger-1", "manager", "proxy-1", "worker-1"}
	for i := 1; i < len(began); i++ {
		a, b := resource(after, began[i-1]).StartedAt, resource(after, began[i]).StartedAt
		if a == nil || b == nil || !a.Before(*b) {
			t.Errorf("after the boot %s began at %v, and %s at %v", began[i-1], a, began[i], b)
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
	longSystemd(t)
	t.Run("one of two", func(t *testing.T) { outOfMemory(t, map[string]string{"worker-2": ""}) })
	t.Run("the last of its role", func(t *testing.T) { outOfMemory(t, map[string]string{}) })
}

func outOfMemory(t *testing.T, workers map[string]string) {
	r := newUnitRig(t, "")
	eats := r.path("eats")
	workers["worker-1"] = "env = ZEEK_STANDIN_EATS=300 ZEEK_STANDIN_WHEN=" + eats + "\n"
	r.save(config{workers: workers, all: "\n[zeekrec.limits.worker]\nmemory_max = 200M\n"}.String())
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
