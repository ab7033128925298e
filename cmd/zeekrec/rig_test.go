package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/reconciler"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// rig is a folder of clusters, a state folder, and a `zeekrec run` between them that can be killed and
// started again. Where the test may make network namespaces, it runs in one of its own.
type rig struct {
	t       *testing.T
	bin     string
	zeek    string
	dir     string // holds clusters/, state/
	netns   string
	source  string // what is run; empty: clusters/
	run     *exec.Cmd
	log     *os.File
	ended   chan struct{}
	running bool
	more    []string // further arguments of `zeekrec run`
	// confirms what zeekrec asks about, as a person would who means it.
	confirms bool
}

// waitLong is for what takes seconds, on a machine that is busy.
const waitLong = time.Minute

var rigs atomic.Int32

func newRig(t *testing.T, bin, zeek string) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "zr") // short: a socket's path has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, bin: bin, zeek: zeek, dir: dir}
	for _, d := range []string{"clusters", "state", "elsewhere"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	name := fmt.Sprintf("zr-%d-%d", os.Getpid(), rigs.Add(1))
	if os.Getuid() == 0 && exec.Command("ip", "netns", "add", name).Run() == nil {
		r.netns = name
		r.must(exec.Command("ip", "netns", "exec", name, "ip", "link", "set", "lo", "up"))
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	}
	t.Cleanup(func() {
		r.stopAll()
		if t.Failed() {
			b, _ := os.ReadFile(r.log.Name())
			t.Logf("log of zeekrec run:\n%s", tail(b, 60))
		}
		_ = os.RemoveAll(dir)
	})
	return r
}

func tail(b []byte, n int) []byte {
	lines := bytes.Split(b, []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-n):], []byte("\n"))
}

func (r *rig) must(c *exec.Cmd) {
	r.t.Helper()
	if out, err := c.CombinedOutput(); err != nil {
		r.t.Fatalf("%v: %v\n%s", c.Args, err, out)
	}
}

func (r *rig) path(p ...string) string { return filepath.Join(append([]string{r.dir}, p...)...) }

// start runs `zeekrec run`, and waits until it answers.
func (r *rig) start() {
	r.t.Helper()
	source := r.source
	if source == "" {
		source = r.path("clusters")
	}
	args := []string{r.bin, "run", source, "--zeek", r.zeek, "--state-dir", r.path("state"), "--name", "agent-test", "--archive-dir", r.path("archive"), "--log-level", "debug"}
	args = append(args, r.more...)
	if r.netns != "" {
		args = append([]string{"ip", "netns", "exec", r.netns}, args...)
	}
	f, err := os.OpenFile(r.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		r.t.Fatal(err)
	}
	r.log = f
	r.run = exec.Command(args[0], args[1:]...)
	r.run.Stdout, r.run.Stderr = f, f
	r.run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := r.run.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.ended, r.running = make(chan struct{}), true
	cmd, ended := r.run, r.ended
	go func() { _ = cmd.Wait(); close(ended) }()
	r.eventually("zeekrec answers", 10*time.Second, func() error {
		_, err := r.status()
		return err
	})
}

// kill ends zeekrec itself, as kill -9 does.
func (r *rig) kill(sig syscall.Signal) {
	r.t.Helper()
	if err := r.run.Process.Signal(sig); err != nil {
		r.t.Fatal(err)
	}
	<-r.ended
	r.running = false
}

// stopAll leaves no process behind.
func (r *rig) stopAll() {
	if r.running {
		_ = r.run.Process.Kill()
		<-r.ended
	}
	for _, pid := range r.marked() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// marked are the processes that run below the state folder, found by their command lines.
func (r *rig) marked() []int {
	var pids []int
	dirs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, d := range dirs {
		b, err := os.ReadFile(d)
		if err == nil && bytes.Contains(b, []byte("-U\x00"+r.path("state")+"/")) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(d)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// zeekrec runs another command and returns what it printed, and its exit code.
func (r *rig) zeekrec(args ...string) (stdout string, code int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.bin, append(args, "--state-dir", r.path("state"))...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil {
		var e *exec.ExitError
		if !errors.As(err, &e) {
			r.t.Fatalf("%v: %v", args, err)
		}
		code = e.ExitCode()
	}
	if code != 0 {
		r.t.Logf("zeekrec %s: exit %d\n%s", strings.Join(args, " "), code, errs.String())
	}
	return out.String(), code
}

func (r *rig) status() (*engine.Status, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, r.bin, "status", "--json", "--state-dir", r.path("state")).Output()
	if err != nil {
		return nil, err
	}
	var s engine.Status
	return &s, json.Unmarshal(out, &s)
}

// cluster waits until ok says nil of the cluster.
func (r *rig) cluster(what string, wait time.Duration, ok func(engine.ClusterStatus) error) engine.ClusterStatus {
	r.t.Helper()
	var c engine.ClusterStatus
	r.eventually(what, wait, func() error {
		s, err := r.status()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(s.Clusters, func(c engine.ClusterStatus) bool { return c.Name == "dmz" })
		if i < 0 {
			return errors.New("there is no cluster dmz")
		}
		c = s.Clusters[i]
		r.confirm(&c)
		return ok(c)
	})
	return c
}

// confirm a revision that waits for it.
func (r *rig) confirm(c *engine.ClusterStatus) {
	r.t.Helper()
	if _, what, asked := strings.Cut(c.Reason, "confirm with: zeekrec apply --confirm "); asked && r.confirms {
		if out, code := r.zeekrec("apply", "--confirm", what); code != 0 {
			r.t.Fatalf("cannot confirm %s (exit %d): %s", what, code, out)
		}
	}
}

func (r *rig) eventually(what string, wait time.Duration, ok func() error) {
	r.t.Helper()
	end := time.Now().Add(wait)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("%s: not within %s: %v", what, wait, err)
		}
		time.Sleep(50 * time.Millisecond) // the pause between two looks, not a wait for something to be done
	}
}

// settled is synced and healthy, at another revision than before.
func (r *rig) settled(before string) engine.ClusterStatus {
	r.t.Helper()
	return r.cluster("the cluster is synced and healthy", 3*waitLong, func(c engine.ClusterStatus) error {
		if !c.Synced || !c.Healthy || c.Revision.Running == before {
			return fmt.Errorf("synced %t, healthy %t, running %s (was %s), reason %q", c.Synced, c.Healthy, c.Revision.Running, before, c.Reason)
		}
		return nil
	})
}

func pids(c engine.ClusterStatus) map[string]int {
	m := map[string]int{}
	for _, r := range c.Resources {
		m[r.Name] = r.PID
	}
	return m
}

// changed are the names whose pid differs, or is there on one side only; sorted.
func changed(before, after map[string]int) string {
	var out []string
	for n, p := range after {
		if before[n] != p {
			out = append(out, n)
		}
	}
	for n := range before {
		if _, ok := after[n]; !ok {
			out = append(out, "-"+n)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// config is a cluster.cfg of manager, logger, proxy and workers.
type config struct {
	workers map[string]string // name -> further lines
	all     string            // a [zeekrec] section and the like
}

func (c config) String() string {
	var b strings.Builder
	b.WriteString("[manager]\nrole = manager\n\n[logger-1]\nrole = logger\n\n[proxy-1]\nrole = proxy\n\n")
	names := make([]string, 0, len(c.workers))
	for n := range c.workers {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		lines := c.workers[n]
		if !strings.Contains(lines, "interface") {
			lines = "interface = lo\n" + lines
		}
		fmt.Fprintf(&b, "[%s]\nrole = worker\n%s\n", n, lines)
	}
	b.WriteString("[zeekrec]\nports_from = 25100\nmetrics_ports_from = 25140\nbroker_ports_from = 25180\n" + c.all)
	return b.String()
}

func (r *rig) save(content string) {
	r.t.Helper()
	tmp := r.path("clusters", ".dmz.cfg.tmp")
	if err := os.WriteFile(tmp, []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(tmp, r.path("clusters", "dmz.cfg")); err != nil {
		r.t.Fatal(err)
	}
}

// plan asks what a content would do, before it is saved.
func (r *rig) plan(content string) *reconciler.Plan {
	r.t.Helper()
	if err := os.WriteFile(r.path("elsewhere", "dmz.cfg"), []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
	_ = os.RemoveAll(r.path("elsewhere", "dmz"))
	if _, err := os.Stat(r.path("clusters", "dmz")); err == nil {
		if err := os.CopyFS(r.path("elsewhere", "dmz"), os.DirFS(r.path("clusters", "dmz"))); err != nil {
			r.t.Fatal(err)
		}
	}
	out, code := r.zeekrec("plan", "--json", r.path("elsewhere"))
	if code != 0 {
		r.t.Fatalf("plan ended with %d: %s", code, out)
	}
	var p reconciler.Plan
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		r.t.Fatal(err)
	}
	return &p
}

// disturbed are the names that a plan starts, restarts or stops; what it stops and starts again is restarted.
func disturbed(p *reconciler.Plan) string {
	var out []string
	for _, c := range p.Clusters {
		for _, a := range c.Actions {
			name := strings.TrimPrefix(a.Resource, "dmz/")
			switch a.Kind {
			case "update":
				continue
			case "stop":
				name = "-" + name
			}
			out = append(out, name)
		}
	}
	again := slices.Clone(out)
	out = slices.DeleteFunc(out, func(name string) bool {
		stopped, yes := strings.CutPrefix(name, "-")
		return yes && slices.Contains(again, stopped)
	})
	slices.Sort(out)
	return strings.Join(out, " ")
}

// change saves a content, and checks that exactly what the plan said before has another pid afterwards,
// and that nothing is left to do.
func (r *rig) change(what, want, content string) {
	r.t.Helper()
	before := r.settled("")
	if got := disturbed(r.plan(content)); got != want {
		r.t.Errorf("%s: the plan disturbs %q, want %q", what, got, want)
	}
	r.save(content)
	after := r.settled(before.Revision.Running)
	if got := changed(pids(before), pids(after)); got != want {
		r.t.Errorf("%s: disturbed %q, want %q", what, got, want)
	}
	if _, code := r.zeekrec("plan", "--detailed-exitcode"); code != 0 {
		r.t.Errorf("%s: something is left to do afterwards (exit %d)", what, code)
	}
}

func copyOf(m map[string]string) map[string]string {
	c := map[string]string{}
	for k, v := range m {
		c[k] = v
	}
	return c
}

// builds are made once for all tests.
func build(t *testing.T, pkg string, ldflags string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", ldflags, "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Dir = "../.."
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build %s: %v\n%s", pkg, err, b)
	}
	return out
}

// realZeek finds a Zeek that is one.
func realZeek() (string, bool) {
	path, err := exec.LookPath("zeek")
	if err != nil {
		path = "/opt/zeek/bin/zeek"
	}
	out, err := exec.Command(path, "--version").CombinedOutput()
	return path, err == nil && !bytes.Contains(out, []byte("stand-in"))
}

// has looks into the environment that a running node was started with.
func (r *rig) has(node, value string) bool {
	s, err := r.status()
	if err != nil {
		return false
	}
	for _, c := range s.Clusters {
		if p := pids(c)[node]; p != 0 {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p))
			return err == nil && bytes.Contains(append([]byte{0}, b...), []byte("\x00"+value+"\x00"))
		}
	}
	return false
}

func invalid(s *engine.Status) bool    { return s.Source.State == "invalid" && s.Source.Since != nil }
func unreadable(s *engine.Status) bool { return s.Source.State == "error" && s.Source.Since != nil }

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}
