package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/testdata/zeek/script"
)

// With -zeek, tests that record Zeek's behaviour are run against that Zeek as well:
// go test ./testdata/zeek -zeek /opt/zeek/bin/zeek
var realZeek = flag.String("zeek", "", "a real Zeek `binary` to hold the same expectations against")

const patience = 10 * time.Second

// binary builds the stand-in once for all tests.
var binary = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "zeek-stand-in")
	if err != nil {
		panic(err)
	}
	path := filepath.Join(dir, "zeek")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		panic(string(out))
	}
	return path
})

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	os.RemoveAll(filepath.Dir(binary()))
	os.Exit(code)
}

// process is a running stand-in (or Zeek) in a folder of its own.
type process struct {
	t      *testing.T
	dir    string
	cmd    *exec.Cmd
	stdout bytes.Buffer
	stderr bytes.Buffer
	ended  chan error
}

// world is where a process is started: a folder with files, and an environment.
type world struct {
	t    *testing.T
	dir  string
	env  []string
	zeek string
}

func newWorld(t *testing.T, files map[string]string, env ...string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), env: env, zeek: binary()}
	for name, content := range files {
		path := filepath.Join(w.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) start(args ...string) *process {
	w.t.Helper()
	p := w.prepare(args...)
	p.begin()
	return p
}

func (w *world) prepare(args ...string) *process {
	p := &process{t: w.t, dir: w.dir, ended: make(chan error, 1)}
	p.cmd = exec.Command(w.zeek, args...)
	p.cmd.Dir = w.dir
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TZ=UTC"}, w.env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	return p
}

func (p *process) begin() {
	p.t.Helper()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	p.t.Cleanup(func() { _ = p.cmd.Process.Kill() })
}

// run starts and waits; it returns the exit status.
func (w *world) run(args ...string) (*process, int) {
	w.t.Helper()
	p := w.start(args...)
	return p, p.wait()
}

// wait returns the exit status, or minus the signal.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case err := <-p.ended:
		exit, ok := errors.AsType[*exec.ExitError](err)
		if err != nil && !ok {
			p.t.Fatal(err)
		}
		if !ok {
			return 0
		}
		if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
			return -int(status.Signal())
		}
		return exit.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("still runs after %v, status %q", patience, p.status())
		return 0
	}
}

func (p *process) file(name string) string {
	data, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil {
		return ""
	}
	return string(data)
}

func (p *process) status() string { return strings.TrimSuffix(p.file("status"), "\n") }

// waitFor polls until the status file says so.
func (p *process) waitFor(status string) {
	p.t.Helper()
	eventually(p.t, "status "+status, func() bool { return p.status() == status })
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// eventually polls a condition until it holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// withoutPlace makes texts comparable between installations.
func withoutPlace(s, zeek string) string {
	s = strings.ReplaceAll(s, script.Prefix, "PREFIX")
	s = strings.ReplaceAll(s, filepath.Join(filepath.Dir(filepath.Dir(zeek)), "share/zeek"), "PREFIX")
	return strings.ReplaceAll(s, zeek, "ZEEK")
}
