//go:build linux

package systemdtest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestMachine tries what others rely on: limits hold, files outlive a boot, nothing reaches the host.
func TestMachine(t *testing.T) {
	share := t.TempDir()
	m := Boot(t, Config{
		Share: []string{share},
		Files: map[string]string{"/etc/systemd/system/hello.service": "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo hello from a unit'\n"},
	})
	if got := strings.TrimSpace(m.Run(t, "systemctl", "is-system-running")); got != "running" {
		t.Errorf("its state is %q, with\n%s", got, m.Run(t, "systemctl", "--failed"))
	}
	m.Run(t, "systemctl", "start", "hello")
	m.Eventually(t, "the journal has its line", func() bool {
		return strings.Contains(m.Journal(t, "-u", "hello"), "hello from a unit")
	})

	m.Run(t, "systemd-run", "--unit=limited.service", "-p", "MemoryMax=32M", "sleep", "1000")
	limit := m.Run(t, "sh", "-c", "cat /sys/fs/cgroup/memory/system.slice/limited.service/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/system.slice/limited.service/memory.max")
	if strings.TrimSpace(limit) != "33554432" {
		t.Errorf("the kernel's limit is %q", limit)
	}
	if out, err := m.Try(t, "systemd-run", "--wait", "-p", "MemoryMax=32M", "sh", "-c", "x=$(head -c 100000000 /dev/zero | tr '\\0' x)"); err == nil {
		t.Errorf("100 MB fit into 32 MB:\n%s", out)
	}

	m.WriteFile(t, "/run/gone", "1")
	m.WriteFile(t, "/var/lib/stays", "1")
	m.Run(t, "sh", "-c", "echo shared > "+filepath.Join(share, "file"))
	if b, err := os.ReadFile(filepath.Join(share, "file")); err != nil || string(b) != "shared\n" {
		t.Errorf("the host reads %q, %v from the shared folder", b, err)
	}
	m.PowerOff(t)
	if m.On() {
		t.Error("it is on after it was switched off")
	}
	m.PowerOn(t)
	if out, err := m.Try(t, "cat", "/run/gone"); err == nil {
		t.Errorf("/run outlived a boot: %s", out)
	}
	if got := m.Run(t, "cat", "/var/lib/stays"); got != "1" {
		t.Errorf("a file did not outlive a boot: %q", got)
	}
	if !strings.Contains(m.Journal(t, "-b", "-1", "-u", "hello"), "hello from a unit") {
		t.Error("the journal of the boot before is gone")
	}
	if _, err := os.Stat("/var/lib/stays"); !os.IsNotExist(err) {
		t.Errorf("it is on the host: %v", err)
	}
	if l := leaves(t, m); len(l) == 0 {
		t.Error("it has no cgroups while it is on")
	}
	m.PowerOff(t)
	if l := leaves(t, m); len(l) > 0 {
		t.Errorf("it has left cgroups behind: %v", l)
	}
}

// leaves of the machine, in the hierarchies of the host.
func leaves(t *testing.T, m *Machine) (found []string) {
	t.Helper()
	name := "zeekrec-systemd-" + strconv.Itoa(m.stage.Process.Pid)
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == name {
			found = append(found, path)
		}
		return nil // a group may go while it is looked at
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
