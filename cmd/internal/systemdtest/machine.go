//go:build linux

package systemdtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience with a machine on a busy host.
const patience = 60 * time.Second

// Config of a machine.
type Config struct {
	// Share are folders of the host that the machine has as well, at the same path, to write, too. Everything else
	// that is written in the machine is the machine's own; the host's /tmp, /run and /var/tmp are not in it.
	Share []string
	// Files to write before it boots, by absolute path: units, drop-ins, settings. They have mode 0644.
	Files map[string]string
}

// Machine is one that is on, or may be switched on again.
type Machine struct {
	stage  *exec.Cmd
	orders io.WriteCloser
	news   chan string
	errors *os.File
	root   string // of its files, in the stage's mount namespace
	pid1   int    // of its first process, on the host; 0: it is off
}

// Missing is why no machine can be booted here; empty: it can.
func Missing() string {
	if os.Geteuid() != 0 {
		return "root is needed to boot a systemd of its own"
	}
	for _, p := range []string{"/lib/systemd/systemd", "/usr/bin/dbus-daemon", "/usr/bin/nsenter"} {
		if _, err := os.Stat(p); err != nil {
			return p + " is not here (Debian: systemd, dbus, util-linux)"
		}
	}
	b, err := os.ReadFile("/proc/filesystems")
	if err != nil || !strings.Contains(string(b), "overlay") {
		return "the kernel has no overlay file system"
	}
	return ""
}

// Boot makes a machine and waits until its systemd has started what it starts. It ends with the test.
func Boot(t testing.TB, cfg Config) *Machine {
	t.Helper()
	if why := Missing(); why != "" {
		t.Skip(why)
	}
	m, err := newMachine(t, cfg)
	if err != nil {
		t.Fatalf("cannot make a machine: %v", err)
	}
	for path, text := range cfg.Files {
		m.WriteFile(t, path, text)
	}
	m.PowerOn(t)
	return m
}

func newMachine(t testing.TB, cfg Config) (*Machine, error) {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "stage")
	build := exec.Command("go", "build", "-o", bin, "github.com/zeekrec/zeekrec/cmd/internal/systemdtest/stage")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cannot build its stage: %w\n%s", err, out)
	}
	dir := t.TempDir()
	errs, err := os.Create(filepath.Join(t.TempDir(), "stage.log"))
	if err != nil {
		return nil, err
	}
	m := &Machine{news: make(chan string, 4), errors: errs, root: filepath.Join(dir, "root")}
	m.stage = exec.Command(bin, append([]string{"machine", dir}, cfg.Share...)...)
	m.stage.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	m.stage.Stderr = errs
	if m.orders, err = m.stage.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := m.stage.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := m.stage.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(m.news)
		for in := bufio.NewScanner(out); in.Scan(); {
			m.news <- in.Text()
		}
	}()
	t.Cleanup(func() { m.end(t) })
	return m, m.expect("ready")
}

// end switches it off as if the plug was pulled, and waits until nothing of it is left.
func (m *Machine) end(t testing.TB) {
	if t.Failed() && m.On() {
		// Where the log is long, its end says what went wrong.
		out, _ := m.Command(context.Background(), "journalctl", "--no-pager", "-b", "-n", "200", "-o", "short-precise").CombinedOutput()
		t.Logf("the machine's journal:\n%s", out)
	}
	m.orders.Close()
	done := time.AfterFunc(patience, func() { _ = m.stage.Process.Kill() })
	defer done.Stop()
	for range m.news { // drained, so that it is not held up
	}
	if err := m.stage.Wait(); err != nil {
		t.Errorf("the machine's stage: %v\n%s", err, m.complaints())
	}
	m.errors.Close()
}

func (m *Machine) complaints() string {
	b, _ := os.ReadFile(m.errors.Name())
	return string(b)
}

func (m *Machine) expect(word string) error {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	select {
	case line, more := <-m.news:
		if !more {
			return fmt.Errorf("it ended: %s", m.complaints())
		}
		got, rest, _ := strings.Cut(line, " ")
		if got != word {
			return fmt.Errorf("it said %q in place of %q", line, word)
		}
		switch word {
		case "up":
			pid, err := strconv.Atoi(rest)
			m.pid1 = pid
			return err
		case "off":
			m.pid1 = 0
		}
		return nil
	case <-deadline.C:
		return fmt.Errorf("nothing came of %q within %s", word, patience)
	}
}

// On says whether it was switched on, and not off since.
func (m *Machine) On() bool { return m.pid1 != 0 }

// PowerOn boots it, with the files that it had before, and waits until it has started what it starts.
func (m *Machine) PowerOn(t testing.TB) {
	t.Helper()
	if _, err := io.WriteString(m.orders, "boot\n"); err != nil {
		t.Fatalf("cannot switch it on: %v\n%s", err, m.complaints())
	}
	if err := m.expect("up"); err != nil {
		t.Fatalf("cannot switch it on: %v", err)
	}
	m.Eventually(t, "it is booted", func() bool {
		out, _ := m.Command(t.Context(), "systemctl", "is-system-running").CombinedOutput()
		state := strings.TrimSpace(string(out))
		return state == "running" || state == "degraded"
	})
}

// PowerOff lets its systemd stop everything, and waits for the end of it.
func (m *Machine) PowerOff(t testing.TB) {
	t.Helper()
	if out, err := m.Command(t.Context(), "systemctl", "poweroff").CombinedOutput(); err != nil {
		var exit *exec.ExitError
		// The command may be ended by what it asked for.
		if !errors.As(err, &exit) || exit.Exited() {
			t.Fatalf("cannot switch it off: %v\n%s", err, out)
		}
	}
	if err := m.expect("off"); err != nil {
		t.Fatalf("cannot switch it off: %v", err)
	}
}

// Command is one to run in the machine, as root, with nothing of the caller's environment but the language. It belongs
// to no unit of the machine's: what is to be a service has to be started as one.
func (m *Machine) Command(ctx context.Context, argv ...string) *exec.Cmd {
	args := append([]string{"-t", strconv.Itoa(m.pid1), "-m", "-u", "-i", "-n", "-p", "-C", "--"}, argv...)
	c := exec.CommandContext(ctx, "/usr/bin/nsenter", args...)
	c.Dir = "/"
	c.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "SYSTEMD_PAGER=", "TERM=dumb",
	}
	c.WaitDelay = 5 * time.Second
	return c
}

// Run runs a command in it and returns what it wrote to both outputs. One that fails fails the test.
func (m *Machine) Run(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := m.Try(t, argv...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return out
}

// Try is Run for a command that may fail.
func (m *Machine) Try(t testing.TB, argv ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, fmt.Errorf("%s took longer than %s", argv[0], patience))
	defer cancel()
	out, err := m.Command(ctx, argv...).CombinedOutput()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return string(out), err
}

// Property of a unit, as systemctl shows it.
func (m *Machine) Property(t testing.TB, unit, name string) string {
	t.Helper()
	return strings.TrimSpace(m.Run(t, "systemctl", "show", "--value", "-p", name, "--", unit))
}

// Journal has what journalctl says to the arguments, oldest first, with micro seconds.
func (m *Machine) Journal(t testing.TB, args ...string) string {
	t.Helper()
	return m.Run(t, append([]string{"journalctl", "--no-pager", "-o", "short-precise"}, args...)...)
}

// Path is where the host finds a file of the machine's, whether it is on or off. It says nothing of what
// is in /run, /tmp, and other mounts that it has only while it is on, nor of shared folders.
func (m *Machine) Path(path string) string {
	return filepath.Join("/proc", strconv.Itoa(m.stage.Process.Pid), "root", m.root, path)
}

// WriteFile writes a file of the machine's with mode 0644, and the folders to it. In /run, which a boot empties,
// it is written while the machine is on.
func (m *Machine) WriteFile(t testing.TB, path, text string) {
	t.Helper()
	if strings.HasPrefix(path, "/run/") || strings.HasPrefix(path, "/tmp/") {
		c := m.Command(t.Context(), "sh", "-c", `mkdir -p "$(dirname "$1")" && cat > "$1"`, "sh", path)
		c.Stdin = strings.NewReader(text)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("cannot write %s: %v\n%s", path, err, out)
		}
		return
	}
	at := m.Path(path)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Eventually waits until something is so.
func (m *Machine) Eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain: %s", patience, what)
		}
	}
}
