//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/zeekrec/zeekrec/cmd/internal/systemdtest"
)

// controllerState is where the state of zeekrec-controller.service is.
const controllerState = "/var/lib/zeekrec-controller"

// newServiceRig is a machine that has what a package has of zeekrec, where a package has it: the units, the user, the folders and the
// settings as they are in the repository. Its Zeek is the real one where there is one.
func newServiceRig(t *testing.T) (r *unitRig, real bool) {
	t.Helper()
	longSystemd(t)
	if why := systemdtest.Missing(); why != "" {
		t.Skip(why)
	}
	files := map[string]string{"/etc/zeek/clusters/dmz.cfg": config{workers: map[string]string{"worker-1": "", "worker-2": "interface = tap1\n"}}.String()}
	for from, to := range map[string]string{
		"systemd/zeekrec.service":            "/lib/systemd/system/zeekrec.service",
		"systemd/zeekrec-agent.service":      "/lib/systemd/system/zeekrec-agent.service",
		"systemd/zeekrec-controller.service": "/lib/systemd/system/zeekrec-controller.service",
		"sysusers.conf":                      "/usr/lib/sysusers.d/zeekrec.conf",
		"tmpfiles.conf":                      "/usr/lib/tmpfiles.d/zeekrec.conf",
		"zeekrec.ini":                        "/etc/zeekrec/zeekrec.ini",
	} {
		b, err := os.ReadFile(filepath.Join("../../packaging", from))
		if err != nil {
			t.Fatal(err)
		}
		files[to] = string(b)
	}
	r = &unitRig{t: t, share: t.TempDir()}
	r.copy(build(t, "./cmd/zeekrec", "-X github.com/zeekrec/zeekrec/cmd/internal/cli.version=1.0.0"), "zeekrec")
	if _, real = realZeek(); !real {
		r.copy(build(t, "./testdata/zeek", ""), "zeek")
	}
	r.Machine = systemdtest.Boot(t, systemdtest.Config{Share: []string{r.share}, Files: files})
	r.Run(t, "install", "-m755", r.path("zeekrec"), "/usr/bin/zeekrec")
	if !real {
		r.Run(t, "install", "-m755", r.path("zeek"), "/usr/local/bin/zeek")
	}
	r.Run(t, "rm", "-rf", "/var/log/zeek") // of the host that this machine has the files of
	r.Run(t, "systemd-sysusers")
	r.Run(t, "systemd-tmpfiles", "--create", "zeekrec.conf")
	r.interfaces()
	return r, real
}

// interfaces that the machine has only while it is on: tap1 hears what is sent to tap0.
func (r *unitRig) interfaces() {
	r.t.Helper()
	r.Run(r.t, "sh", "-ec", "ip link set lo up; ip link add tap0 type veth peer name tap1; ip link set tap0 up; ip link set tap1 up; ip addr add 192.0.2.1/24 dev tap0")
}

// unchanged says that no process of the cluster is another one than before.
func (r *unitRig) unchanged(what string, before map[string]int) {
	r.t.Helper()
	if d := changed(before, pids(r.settled(""))); d != "" {
		r.t.Errorf("%s has restarted %s", what, d)
	}
}

// TestSystemdService runs a cluster with the units of a package, from the first start to a machine that is switched off and on.
func TestSystemdService(t *testing.T) {
	r, real := newServiceRig(t)
	r.Run(t, "systemctl", "enable", "--now", "zeekrec")
	before := pids(r.settled(""))
	r.Eventually(t, "its status tells of the cluster", func() bool {
		return r.Property(t, "zeekrec", "StatusText") == "1 cluster: all synced and healthy"
	})

	t.Run("what processes may do", func(t *testing.T) {
		const none, capture = "0000000000000000", "0000000000803000" // NET_ADMIN, NET_RAW, SYS_NICE
		for name, pid := range before {
			want := none
			if strings.HasPrefix(name, "worker") {
				want = capture
			}
			status := r.Run(t, "cat", fmt.Sprintf("/proc/%d/status", pid))
			for _, field := range []string{"CapPrm", "CapEff", "CapInh", "CapAmb"} {
				if !strings.Contains(status, field+":\t"+want) {
					t.Errorf("%s has not the %s %s:\n%s", name, field, want, status)
				}
			}
			if user := strings.TrimSpace(r.Run(t, "ps", "-o", "user=,group=", "-p", strconv.Itoa(pid))); strings.Join(strings.Fields(user), " ") != "zeek zeek" {
				t.Errorf("%s is run by %q", name, user)
			}
		}
		// A bounding set without SYS_ADMIN, and scopes all the same.
		if got := r.Property(t, "zeekrec", "CapabilityBoundingSet"); strings.Contains(got, "cap_sys_admin") {
			t.Errorf("the service is left %s", got)
		}
		for _, role := range []string{"worker", "proxy", "manager", "logger", "broker", "archiver"} {
			if got := r.Property(t, "zeek-dmz-"+role+".scope", "ActiveState"); got != "active" {
				t.Errorf("the scope of the role %s is %s", role, got)
			}
		}
	})

	t.Run("workers capture", func(t *testing.T) {
		if !real {
			t.Skip("the stand-in captures nothing: needs a real Zeek")
		}
		received := regexp.MustCompile(`dmz/(worker-\d) +(\d+)`)
		r.Eventually(t, "both have received packets", func() bool {
			// To an address that nobody has, so that the interface carries the question who has it.
			_, _ = r.Try(t, "timeout", "0.2", "bash", "-c", "echo > /dev/udp/192.0.2.9/9; echo > /dev/tcp/192.0.2.9/9")
			n := 0
			for _, m := range received.FindAllStringSubmatch(r.zeekrec("netstats"), -1) {
				if m[2] != "0" {
					n++
				}
			}
			return n == 2
		})
		t.Logf("netstats:\n%s", r.zeekrec("netstats"))
	})

	t.Run("main loops that stand still are noticed", func(t *testing.T) {
		r.WriteFile(t, "/run/systemd/system/zeekrec.service.d/watchdog.conf", "[Service]\nWatchdogSec=5\n")
		r.Run(t, "systemctl", "daemon-reload")
		r.Run(t, "systemctl", "restart", "zeekrec")
		r.unchanged("systemctl restart", before)
		was := r.Property(t, "zeekrec", "MainPID")
		r.Run(t, "kill", "-STOP", was)
		r.Eventually(t, "systemd has started another one", func() bool {
			pid := r.Property(t, "zeekrec", "MainPID")
			return pid != was && pid != "0" && r.Property(t, "zeekrec", "ActiveState") == "active"
		})
		if log := r.Journal(t, "-u", "zeekrec"); !strings.Contains(log, "Watchdog timeout (limit 5s)!") {
			t.Errorf("it was not for the watchdog:\n%s", log)
		}
		r.unchanged("the watchdog", before)
		r.Run(t, "rm", "-r", "/run/systemd/system/zeekrec.service.d")
		r.Run(t, "systemctl", "daemon-reload")
	})

	t.Run("a controller and an agent take over", func(t *testing.T) {
		r.Run(t, "systemctl", "disable", "--now", "zeekrec")
		r.Run(t, "systemctl", "enable", "--now", "zeekrec-controller")
		r.Run(t, "sh", "-ec", "zeekrec agents token agent-machine --state-dir "+controllerState+" > /run/token; echo @127.0.0.1 >> /run/token; "+
			"zeekrec agent join \"$(tr -d '\\n' < /run/token)\" --name agent-machine")
		r.Run(t, "systemctl", "enable", "--now", "zeekrec-agent")
		r.Eventually(t, "the controller has all of it", func() bool {
			return r.Property(t, "zeekrec-controller", "StatusText") == "1 cluster: all synced and healthy"
		})
		if got := r.Property(t, "zeekrec-agent", "StatusText"); got != "agent agent-machine: 7 of 7 processes run" {
			t.Errorf("the agent says %q", got)
		}
		r.Run(t, "systemctl", "restart", "zeekrec-agent", "zeekrec-controller")
		for name, pid := range before {
			if state := r.Run(t, "ps", "-o", "stat=", "-p", strconv.Itoa(pid)); strings.HasPrefix(state, "Z") {
				t.Errorf("%s has ended", name)
			}
		}
		if user := strings.TrimSpace(r.Run(t, "ps", "-o", "user:32=", "-p", r.Property(t, "zeekrec-controller", "MainPID"))); user != "zeekrec-controller" {
			t.Errorf("the controller is run by %q", user)
		}
		score(t, r, "zeekrec-controller", 4)
		r.Run(t, "systemctl", "disable", "--now", "zeekrec-agent", "zeekrec-controller")
		r.Run(t, "systemctl", "enable", "--now", "zeekrec")
		r.unchanged("the way back", before)
	})

	t.Run("the machine is switched off and on", func(t *testing.T) {
		r.PowerOff(t)
		r.PowerOn(t)
		r.interfaces()
		off := r.Run(t, "journalctl", "--no-pager", "-b", "-1", "-o", "cat", "_PID=1")
		var order []string
		for _, m := range regexp.MustCompile(`(?m)^zeek-dmz-(\w+)\.scope: Deactivated successfully`).FindAllStringSubmatch(off[strings.LastIndex(off, "Stopping zeekrec.service"):], -1) {
			order = append(order, m[1])
		}
		if want := []string{"worker", "proxy", "manager", "logger", "broker", "archiver"}; !slices.Equal(order, want) {
			t.Errorf("scopes have ended in the order %q, not %q", order, want)
		}
		if got := len(pids(r.settled(""))); got != len(before) {
			t.Errorf("%d of %d processes are back", got, len(before))
		}
		began := map[string]int{}
		for i, line := range strings.Split(r.Run(t, "journalctl", "--no-pager", "-b", "-o", "cat", "_PID=1"), "\n") {
			if m := regexp.MustCompile(`^Started zeek-dmz-(\w+)\.scope`).FindStringSubmatch(line); m != nil && began[m[1]] == 0 {
				began[m[1]] = i + 1
			}
		}
		if began["broker"] == 0 || began["broker"] > began["worker"] {
			t.Errorf("scopes began in the lines %v of the journal: the broker is not before the workers", began)
		}
	})
}

// score is how exposed systemd takes a unit to be, from 0 to 10; it has to be below most.
func score(t *testing.T, r *unitRig, unit string, most float64) {
	t.Helper()
	out := r.Run(t, "systemd-analyze", "security", "--no-pager", unit)
	m := regexp.MustCompile(`Overall exposure level for \S+: ([\d.]+)`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("it does not say how exposed %s is:\n%s", unit, out)
	}
	got, err := strconv.ParseFloat(m[1], 64)
	if err != nil || got >= most {
		t.Errorf("the exposure of %s is %s, not below %g", unit, m[1], most)
	}
	t.Logf("the exposure of %s is %s", unit, m[1])
}
