//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/systemdtest"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// The capabilities of a worker, as /proc/PID/status shows them: CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_NICE.
const workerCaps = "0000000000803000"

// packages builds the Debian packages of versions into the folder.
func packages(t *testing.T, dir string, versions ...string) {
	t.Helper()
	for _, v := range versions {
		c := exec.Command("../../packaging/build", dir, v)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("cannot make packages of %s: %v\n%s", v, err, out)
		}
	}
}

// packageRig is a machine that packages are installed in. In it, its clusters are in /etc/zeek/clusters.
type packageRig struct{ *unitRig }

func newPackageRig(t *testing.T, zeek string, versions ...string) *packageRig {
	t.Helper()
	if why := systemdtest.Missing(); why != "" {
		t.Skip(why)
	}
	r := &packageRig{&unitRig{t: t, share: t.TempDir(), zeek: zeek}}
	packages(t, r.share, versions...)
	if err := os.Symlink("/usr/bin/zeekrec", r.path("zeekrec")); err != nil {
		t.Fatal(err)
	}
	r.Machine = systemdtest.Boot(t, systemdtest.Config{Share: []string{r.share}})
	r.Run(t, "rm", "-f", "/usr/sbin/policy-rc.d") // of hosts that are containers, where packages may start nothing
	return r
}

// apt runs apt-get on the package of a version.
func (r *packageRig) apt(args ...string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeoutCause(r.t.Context(), 5*time.Minute, errors.New("apt-get does not end"))
	defer cancel()
	out, err := r.Command(ctx, append([]string{"apt-get", "-y", "-o", "Dpkg::Use-Pty=0", "--no-install-recommends"}, args...)...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("apt-get %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	r.t.Logf("apt-get %s:\n%s", strings.Join(args, " "), out)
	return string(out)
}

func (r *packageRig) install(version string) string {
	r.t.Helper()
	debs, err := filepath.Glob(r.path("zeekrec_" + version + "_*.deb"))
	if err != nil || len(debs) != 1 {
		r.t.Fatalf("packages of %s: %v, %v", version, debs, err)
	}
	return r.apt("install", debs[0])
}

// kernelSays is a line of /proc/PID/status, without its name.
func (r *packageRig) kernelSays(pid int, name string) string {
	r.t.Helper()
	for l := range strings.Lines(r.Run(r.t, "cat", "/proc/"+strconv.Itoa(pid)+"/status")) {
		if k, v, _ := strings.Cut(l, ":"); k == name {
			return strings.Join(strings.Fields(v), " ")
		}
	}
	r.t.Fatalf("/proc/%d/status has no %s", pid, name)
	return ""
}

// same says that all processes are those of before, and no other Zeek runs.
func (r *packageRig) same(before map[string]int, after string) {
	r.t.Helper()
	c := r.settled("")
	if now := pids(c); !maps.Equal(now, before) {
		r.t.Errorf("after %s other processes run: %v, before %v", after, now, before)
	}
}

// running counts the processes of a cluster.
func running(c engine.ClusterStatus) (n int) {
	for _, pid := range pids(c) {
		if pid != 0 {
			n++
		}
	}
	return n
}

// exists in the machine.
func (r *packageRig) exists(path string) bool {
	_, err := r.Try(r.t, "test", "-e", path)
	return err == nil
}

// TestSystemdPackage follows the Debian package through its life, with a real Zeek in a machine with the real systemd.
func TestSystemdPackage(t *testing.T) {
	longSystemd(t)
	zeek, ok := realZeek()
	if !ok {
		t.Skip("needs a real Zeek on the PATH or in /opt/zeek/bin")
	}
	r := newPackageRig(t, zeek, "1.0.0", "1.1.0")
	r.install("1.0.0")
	if out, err := r.Try(t, "systemctl", "is-enabled", "zeekrec"); err == nil {
		t.Errorf("a mere installation enables it: %s", out)
	}
	r.WriteFile(t, "/etc/zeek/clusters/dmz.cfg", config{workers: map[string]string{"worker-1": "", "worker-2": ""}}.String())
	r.Run(t, "systemctl", "enable", "--now", "zeekrec")
	c := r.settled("")
	before := pids(c)

	t.Run("it says how it is", func(t *testing.T) {
		r.Eventually(t, "the status of the service", func() bool {
			return r.Property(t, "zeekrec", "StatusText") == "1 cluster: all synced and healthy"
		})
		t.Logf("systemctl status:\n%s", r.Run(t, "systemctl", "status", "--no-pager", "-n", "0", "zeekrec"))
	})
	t.Run("nodes are zeek's, and workers may capture", func(t *testing.T) {
		uid := strings.TrimSpace(r.Run(t, "id", "-u", "zeek"))
		for name, pid := range before {
			if got, want := r.kernelSays(pid, "Uid"), strings.Repeat(uid+" ", 3)+uid; got != want {
				t.Errorf("%s has the users %s in place of %s", name, got, want)
			}
			want := "0000000000000000"
			if strings.HasPrefix(name, "worker") {
				want = workerCaps
			}
			if got := r.kernelSays(pid, "CapEff"); got != want {
				t.Errorf("%s has the capabilities %s in place of %s", name, got, want)
			}
			if got := r.kernelSays(pid, "NoNewPrivs"); got != "1" {
				t.Errorf("%s can get more privileges", name)
			}
			if u := resource(c, name).Unit; !strings.HasPrefix(u, "zeek-dmz-") {
				t.Errorf("%s is in the unit %q", name, u)
			}
		}
	})
	t.Run("Zeek outlives the service", func(t *testing.T) {
		r.Run(t, "systemctl", "restart", "zeekrec")
		r.same(before, "a restart of zeekrec")
		r.Run(t, "systemctl", "kill", "-s", "KILL", "--kill-who=main", "zeekrec")
		r.same(before, "kill -9 of zeekrec")
	})
	t.Run("the watchdog ends what hangs", func(t *testing.T) {
		r.WriteFile(t, "/etc/systemd/system/zeekrec.service.d/fast.conf", "[Service]\nWatchdogSec=6\n")
		r.Run(t, "systemctl", "daemon-reload")
		r.Run(t, "systemctl", "restart", "zeekrec")
		r.settled("")
		was := r.Property(t, "zeekrec", "MainPID")
		r.Run(t, "systemctl", "kill", "-s", "STOP", "--kill-who=main", "zeekrec")
		r.Eventually(t, "another zeekrec runs", func() bool {
			now := r.Property(t, "zeekrec", "MainPID")
			return now != was && now != "0"
		})
		if out := r.Journal(t, "-u", "zeekrec"); !strings.Contains(out, "Watchdog timeout") {
			t.Errorf("it was not the watchdog:\n%s", out)
		}
		r.same(before, "the watchdog")
		r.Run(t, "rm", "/etc/systemd/system/zeekrec.service.d/fast.conf")
	})
	t.Run("an upgrade restarts zeekrec and no Zeek", func(t *testing.T) {
		was := r.Property(t, "zeekrec", "MainPID")
		r.Run(t, "sh", "-c", "echo '# mine' >> /etc/zeekrec/zeekrec.ini")
		r.install("1.1.0")
		r.same(before, "an upgrade")
		if now := r.Property(t, "zeekrec", "MainPID"); now == was {
			t.Error("the old zeekrec goes on")
		}
		s, err := r.status()
		if err != nil || s.Version != "1.1.0" {
			t.Errorf("the version that runs: %v, %v", s, err)
		}
		if out := r.Run(t, "tail", "-1", "/etc/zeekrec/zeekrec.ini"); out != "# mine\n" {
			t.Errorf("what was written into the settings is gone: %s", out)
		}
	})
	t.Run("a boot brings the cluster back", func(t *testing.T) {
		r.PowerOff(t)
		r.PowerOn(t)
		c := r.settled("")
		if n := running(c); n != len(before) {
			t.Errorf("after a boot %d processes run of %d: %v", n, len(before), pids(c))
		}
		before = pids(c)
	})
	t.Run("the controller's exposure", func(t *testing.T) {
		r.Run(t, "systemctl", "start", "zeekrec-controller")
		out := r.Run(t, "systemd-analyze", "security", "--no-pager", "zeekrec-controller.service")
		m := regexp.MustCompile(`Overall exposure level for zeekrec-controller.service: ([0-9.]+)`).FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("no exposure in:\n%s", out)
		}
		if score, err := strconv.ParseFloat(m[1], 64); err != nil || score >= 4 {
			t.Errorf("its exposure is %s:\n%s", m[1], out)
		}
		t.Logf("exposure %s", m[1])
		if got := r.Property(t, "zeekrec-controller", "StatusText"); !strings.Contains(got, "cluster") {
			t.Errorf("its status is %q", got)
		}
		pid, err := strconv.Atoi(r.Property(t, "zeekrec-controller", "MainPID"))
		if err != nil || strings.HasPrefix(r.kernelSays(pid, "Uid"), "0 ") {
			t.Errorf("it runs as root: %v", err)
		}
		r.Run(t, "env", "ZEEKREC_STATE_DIR=/var/lib/zeekrec-controller", "zeekrec", "history")
		r.Run(t, "systemctl", "stop", "zeekrec-controller")
	})
	t.Run("removal leaves Zeek, settings and state", func(t *testing.T) {
		out := r.apt("remove", "zeekrec")
		if !strings.Contains(out, "Zeek's processes that it started go on") {
			t.Errorf("it does not say that Zeek goes on:\n%s", out)
		}
		for name, pid := range before {
			if !r.exists(fmt.Sprintf("/proc/%d", pid)) {
				t.Errorf("%s ended with the removal", name)
			}
		}
		for path, want := range map[string]bool{
			"/usr/bin/zeekrec": false, "/lib/systemd/system/zeekrec.service": false,
			"/etc/zeekrec/zeekrec.ini": true, "/var/lib/zeekrec/clusters/dmz": true, "/etc/zeek/clusters/dmz.cfg": true,
		} {
			if r.exists(path) != want {
				t.Errorf("after removal it is %t that there is %s", !want, path)
			}
		}
	})
	t.Run("who installs it again finds all as it was", func(t *testing.T) {
		r.install("1.1.0")
		r.Run(t, "systemctl", "start", "zeekrec")
		r.same(before, "removal and installation")
	})
	t.Run("a purge leaves logs, clusters' files and what runs", func(t *testing.T) {
		out := r.apt("purge", "zeekrec")
		if !strings.Contains(out, "processes of Zeek still run") || !r.exists("/var/lib/zeekrec/clusters/dmz/nodes") {
			t.Errorf("a purge with processes does not say that it leaves their state:\n%s", out)
		}
		r.install("1.1.0")
		r.Run(t, "systemctl", "start", "zeekrec")
		r.settled("")
		r.zeekrec("stop", "--all", "--reason", "test")
		r.cluster("all are stopped", 3*waitLong, func(c engine.ClusterStatus) error {
			if n := running(c); n > 0 {
				return fmt.Errorf("%d run", n)
			}
			return nil
		})
		r.Run(t, "sh", "-c", "echo kept > /var/log/zeek/kept.log; echo kept > /var/lib/zeekrec/clusters/dmz/nodes/logger-1/work/kept.log")
		r.apt("purge", "zeekrec")
		for path, want := range map[string]bool{
			"/etc/zeekrec": false, "/var/lib/zeekrec/journal": false, "/var/lib/zeekrec/clusters/dmz/nodes/manager": false, "/var/lib/zeekrec-controller": false,
			"/var/log/zeek/kept.log": true, "/var/lib/zeekrec/clusters/dmz/nodes/logger-1/work/kept.log": true, "/etc/zeek/clusters/dmz.cfg": true,
		} {
			if r.exists(path) != want {
				t.Errorf("after a purge it is %t that there is %s", !want, path)
			}
		}
		t.Logf("left:\n%s", r.Run(t, "sh", "-c", "find /var/lib/zeekrec /var/log/zeek -type f | head -50"))
	})
}

// TestSystemdPackagesAreTheSame: the same sources make the same packages.
func TestSystemdPackagesAreTheSame(t *testing.T) {
	longSystemd(t)
	a, b := t.TempDir(), t.TempDir()
	packages(t, a, "1.0.0")
	packages(t, b, "1.0.0")
	for _, pattern := range []string{"*.deb", "*.rpm"} {
		names, err := filepath.Glob(filepath.Join(a, pattern))
		if err != nil || len(names) != 1 {
			t.Fatalf("%s: %v, %v", pattern, names, err)
		}
		one, err := os.ReadFile(names[0])
		two, err2 := os.ReadFile(filepath.Join(b, filepath.Base(names[0])))
		if errors.Join(err, err2) != nil || string(one) != string(two) {
			t.Errorf("%s differs from its twin: %v", filepath.Base(names[0]), errors.Join(err, err2))
		}
	}
}
