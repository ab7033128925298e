package main

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// membersScript lets nodes write down what they know of their cluster.
//
//go:embed testdata/members.zeek
var membersScript string

// membersSlack is what a machine that is busy with other things may add to the times that are asked for. What was
// measured is logged.
const membersSlack = 8 * time.Second

// community is a rig with a cluster of real Zeeks that load membersScript.
type community struct {
	*rig
	workers map[string]string
	proxies []string
	// loggers besides logger-1, for which there is room.
	loggers []string
	// changed is a further line of worker-2.
	changed string
}

func newCommunity(t *testing.T) *community {
	t.Helper()
	zeek, ok := realZeek()
	if !ok {
		t.Skip("needs a real Zeek on the PATH or in /opt/zeek/bin")
	}
	c := &community{rig: newRig(t, build(t, "./cmd/zeekrec", "-s -w"), zeek), workers: map[string]string{}}
	if err := os.Mkdir(c.path("clusters", "dmz"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.path("clusters", "dmz", "members.zeek"), []byte(membersScript), 0o644); err != nil {
		t.Fatal(err)
	}
	if c.netns != "" { // an interface without traffic
		for _, args := range [][]string{{"add", "zr0", "type", "veth", "peer", "name", "zr1"}, {"set", "zr0", "up"}, {"set", "zr1", "up"}} {
			c.must(exec.Command("ip", append([]string{"netns", "exec", c.netns, "ip", "link"}, args...)...))
		}
	}
	return c
}

// has says which workers and proxies there are besides proxy-1, and saves that. It returns the moment.
func (c *community) has(workers, proxies []string) time.Time {
	c.t.Helper()
	c.workers, c.proxies = map[string]string{}, proxies
	for _, w := range workers {
		c.workers[w] = "interface = lo\n"
		if c.netns != "" {
			c.workers[w] = "interface = zr0\n"
		}
		if w == "worker-2" {
			c.workers[w] += c.changed
		}
	}
	all := "scripts = local members\nprune_guard = 100%\nlogger_slots = 2\n"
	for _, l := range c.loggers {
		all += fmt.Sprintf("\n[%s]\nrole = logger\n", l)
	}
	for _, p := range proxies {
		all += fmt.Sprintf("\n[%s]\nrole = proxy\n", p)
	}
	all += "\n[zeekrec.archive]\nenabled = no\n"
	c.save(config{workers: c.workers, all: all}.String())
	return time.Now()
}

// view is what a node knows, and since when.
type view struct {
	at time.Time
	// what: counts; hrw: the hashes of the topics of the proxies' pool; whole: the line but for the time.
	what, hrw, whole string
}

// views of a node's process, the last one last.
func (c *community) views(node string, pid int) []view {
	c.t.Helper()
	b, err := os.ReadFile(c.path("state", "clusters", "dmz", "nodes", node, "work", fmt.Sprintf("members-%d.txt", pid)))
	if err != nil {
		return nil // not yet
	}
	var out []view
	for l := range strings.Lines(string(b)) {
		f := strings.Fields(l)
		if len(f) != 11 {
			continue // not whole yet
		}
		at, err := strconv.ParseFloat(f[0], 64)
		if err != nil {
			c.t.Fatalf("%s: %q", node, l)
		}
		out = append(out, view{time.UnixMicro(int64(at * 1e6)), strings.Join(f[1:5], " "), f[6], strings.Join(f[1:], " ")})
	}
	return out
}

func (c *community) last(node string, pid int) view {
	c.t.Helper()
	vs := c.views(node, pid)
	if len(vs) == 0 {
		return view{}
	}
	return vs[len(vs)-1]
}

// know waits until each node knows as many workers and proxies as there are, but for itself, and returns when the last of them
// came to know that. Zeek's own pools leave a node out of its own view.
func (c *community) know(pids map[string]int) (at time.Time) {
	c.t.Helper()
	ws, ps := len(c.workers), len(c.proxies)+1
	c.eventually(fmt.Sprintf("all know %d workers and %d proxies", ws, ps), waitLong, func() error {
		at = time.Time{}
		for name, pid := range pids {
			w, p := ws, ps
			switch {
			case name == "broker":
				continue
			case strings.HasPrefix(name, "worker"):
				w--
			case strings.HasPrefix(name, "proxy"):
				p--
			}
			v := c.last(name, pid)
			if want := fmt.Sprintf("workers %d/%d proxies %d/%d", w, ws, p, ps); v.what != want {
				return fmt.Errorf("%s knows %q, want %q", name, v.what, want)
			}
			if v.at.After(at) {
				at = v.at
			}
		}
		return nil
	})
	return at
}

// counts waits until a node counts so many workers.
func (c *community) counts(node string, pid, workers int) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("%s counts %d workers", node, workers), waitLong, func() error {
		if v := c.last(node, pid); !strings.HasPrefix(v.what, fmt.Sprintf("workers %d/", workers)) {
			return fmt.Errorf("it knows %q", v.what)
		}
		return nil
	})
}

// agree checks that all of these nodes but proxies give keys to the same proxies, and returns the hash of what they
// agree on and for how long they did not, since that moment.
func (c *community) agree(pids map[string]int, since time.Time) (hrw string, apart time.Duration) {
	c.t.Helper()
	var first, last time.Time
	for name, pid := range pids {
		if name == "broker" || strings.HasPrefix(name, "proxy") {
			continue
		}
		vs := c.views(name, pid)
		v := vs[len(vs)-1]
		if hrw == "" {
			hrw = v.hrw
		}
		if v.hrw != hrw {
			c.t.Errorf("%s gives keys to other proxies: %s, not %s", name, v.hrw, hrw)
		}
		for i := len(vs) - 1; i > 0 && vs[i].at.After(since); i-- {
			if vs[i].hrw != vs[i-1].hrw {
				if first.IsZero() || vs[i].at.Before(first) {
					first = vs[i].at
				}
				if vs[i].at.After(last) {
					last = vs[i].at
				}
				break
			}
		}
	}
	return hrw, last.Sub(first)
}

// earlyLogs is Zeek's word for a log batch that it cannot hand to anybody. With logger_slots, batches wait for nobody, so one
// that a node writes within the first instants of its life, before it is connected to a logger, is lost: a cluster
// that is started afresh says so, too. Of a node that has been up for a while it is an error.
const earlyLogs = "Failed to send log write. HWM reached?"

// noErrors looks into reporter.log and what was written to stderr.
func (c *community) noErrors() {
	c.t.Helper()
	nodes := c.path("state", "clusters", "dmz", "nodes")
	files, err := filepath.Glob(filepath.Join(nodes, "*", "stderr"))
	if err != nil || len(files) < 5 {
		c.t.Fatalf("%q, %v", files, err)
	}
	logs, err := filepath.Glob(filepath.Join(nodes, "*", "work", "reporter*.log"))
	if err != nil {
		c.t.Fatal(err)
	}
	queue, err := filepath.Glob(c.path("state", "clusters", "dmz", "queue", "reporter*"))
	if err != nil {
		c.t.Fatal(err)
	}
	early := 0
	for _, f := range slices.Concat(files, logs, queue) {
		b, err := os.ReadFile(f)
		if err != nil {
			c.t.Fatal(err)
		}
		var started time.Time
		for l := range strings.Lines(string(b)) {
			if at, _, ok := strings.Cut(strings.TrimPrefix(l, "# "), " zeekrec: started"); ok {
				if started, err = time.Parse(time.RFC3339Nano, at); err != nil {
					c.t.Fatal(err)
				}
			}
			at, _, _ := strings.Cut(l, " ")
			switch {
			case strings.Contains(l, earlyLogs) && (filepath.Base(f) != "stderr" || stamp(at).Before(started.Add(waitLong/6))):
				early++ // reporter.log repeats what is in stderr
			case strings.Contains(strings.ToLower(l), "error"), strings.Contains(l, "invalidation"):
				c.t.Errorf("%s: %s", f, l)
			}
		}
	}
	if early > 0 {
		c.t.Logf("%d lines about log batches of the first instants of a node", early)
	}
}

// logs waits until loggers have what a node writes from now on.
func (c *community) logs(node string) {
	c.t.Helper()
	if node == "broker" {
		return
	}
	since := time.Now()
	c.eventually("logs of "+node+" arrive", waitLong, func() error {
		files, err := filepath.Glob(c.path("state", "clusters", "dmz", "nodes", "logger-*", "work", "members.log"))
		if err != nil {
			return err
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				return err
			}
			for l := range strings.Lines(string(b)) {
				if at, who, _ := strings.Cut(strings.TrimSpace(l), "\t"); who == node && stamp(at).After(since) {
					return nil
				}
			}
		}
		return errors.New("there is nothing new of it")
	})
}

// disturbs checks that the processes of before are the ones of now, but for those named.
func (c *community) disturbs(before engine.ClusterStatus, want string) map[string]int {
	c.t.Helper()
	after := c.settled(before.Revision.Running)
	if got := changed(pids(before), pids(after)); got != want {
		c.t.Errorf("disturbed: %q, want %q", got, want)
	}
	if _, code := c.zeekrec("plan", "--detailed-exitcode"); code != 0 {
		c.t.Errorf("something is left to do afterwards (exit %d)", code)
	}
	return pids(after)
}

// TestLiveMembership: workers and proxies join a running cluster and leave it, and no process but theirs is touched.
func TestLiveMembership(t *testing.T) {
	c := newCommunity(t)
	c.has([]string{"worker-1", "worker-2"}, nil)
	c.start()
	before := c.settled("")
	c.know(pids(before))
	one, _ := c.agree(pids(before), time.Now())

	// A plan waits for what a cluster that has just come up is asked: the times are those of one that has run for a while.
	if out, code := c.zeekrec("plan"); code != 0 {
		t.Fatal(out)
	}
	if c.netns != "" { // workers have something to do
		defer c.send("zr1", packetsPerSecond).end()
	}
	saved := c.has([]string{"worker-1", "worker-2", "worker-3"}, nil)
	c.counts("manager", pids(before)["manager"], 3) // without asking zeekrec meanwhile, which costs what Zeek's start needs
	now := c.disturbs(before, "worker-3")
	c.know(now)
	manager := c.last("manager", now["manager"]).at.Sub(saved)
	t.Logf("a worker more: the manager counts it %s after the file was saved (%s)", manager.Round(time.Millisecond), loadavg())
	if manager > 2*time.Second+membersSlack {
		t.Errorf("the manager counts it after %s", manager)
	}
	c.logs("worker-3")

	before = c.settled("")
	saved = c.has([]string{"worker-1", "worker-2", "worker-3"}, []string{"proxy-2"})
	now = c.disturbs(before, "proxy-2")
	all := c.know(now)
	two, apart := c.agree(now, saved)
	t.Logf("a proxy more: all know it %s after the file was saved, and disagreed for %s", all.Sub(saved).Round(time.Millisecond), apart.Round(time.Millisecond))
	if two == one {
		t.Error("nobody gives keys to the new proxy")
	}
	if apart > time.Second+membersSlack {
		t.Errorf("they disagreed for %s", apart)
	}

	before = c.settled("")
	saved = c.has([]string{"worker-1", "worker-2", "worker-3"}, nil)
	now = c.disturbs(before, "-proxy-2")
	all = c.know(now)
	again, apart := c.agree(now, saved)
	t.Logf("a proxy less: all know it %s after the file was saved, and disagreed for %s", all.Sub(saved).Round(time.Millisecond), apart.Round(time.Millisecond))
	if again != one {
		t.Errorf("they give keys to others than before: %s, not %s", again, one)
	}
	if apart > time.Second+membersSlack {
		t.Errorf("they disagreed for %s", apart)
	}

	before = c.settled("")
	saved = c.has([]string{"worker-1", "worker-2"}, nil)
	now = c.disturbs(before, "-worker-3")
	t.Logf("a worker less: all know it %s after the file was saved", c.know(now).Sub(saved).Round(time.Millisecond))
	c.noErrors()

	c.randomly(t, 12)
}

// TestE2EChanges is the same a hundred times.
func TestE2EChanges(t *testing.T) {
	if os.Getenv("ZEEKREC_E2E") == "" {
		t.Skip("takes minutes: make e2e")
	}
	c := newCommunity(t)
	c.has([]string{"worker-1", "worker-2"}, nil)
	c.start()
	c.settled("")
	if c.netns != "" {
		defer c.send("zr1", packetsPerSecond/4).end()
	}
	c.randomly(t, 100)
}

// randomly changes the members, often before the change before is done, and now and then what worker-2 is started with, and
// compares what all know then with what they know when they are started afresh.
func (c *community) randomly(t *testing.T, changes int) {
	const seed = 7
	rnd := rand.New(rand.NewPCG(seed, 0))
	before := pids(c.settled(""))
	for i := range changes {
		pick := func(from ...string) (out []string) {
			for _, n := range from {
				if rnd.IntN(2) == 0 {
					out = append(out, n)
				}
			}
			return out
		}
		c.loggers = pick("logger-2", "logger-3")
		if rnd.IntN(4) == 0 {
			c.changed = fmt.Sprintf("env = A=%d\n", i)
		}
		c.has(append(pick("worker-3", "worker-4", "worker-5"), "worker-1", "worker-2"), pick("proxy-2", "proxy-3"))
		if i%3 == 2 {
			c.settled("")
		}
		time.Sleep(time.Duration(rnd.IntN(1500)) * time.Millisecond) // the pace of whoever saves
	}
	c.loggers = []string{"logger-3"}
	c.has([]string{"worker-1", "worker-2", "worker-4", "worker-6"}, []string{"proxy-3"})
	now := pids(c.cluster("the last change is done", waitLong, func(s engine.ClusterStatus) error {
		if pids(s)["worker-6"] == 0 || !s.Synced || !s.Healthy {
			return errors.New(s.Reason)
		}
		return nil
	}))
	c.know(now)
	c.agree(now, time.Now())
	for n := range now {
		c.logs(n)
	}
	for _, n := range []string{"broker", "logger-1", "manager", "proxy-1", "worker-1"} {
		if now[n] != before[n] {
			t.Errorf("%s was disturbed", n)
		}
	}
	c.noErrors()
	live := map[string]string{}
	for n, pid := range now {
		live[n] = c.last(n, pid).whole
	}

	if out, code := c.zeekrec("restart", "dmz", "--reason", "to compare"); code != 0 {
		t.Fatal(out)
	}
	fresh := pids(c.cluster("all are restarted", 2*waitLong, func(s engine.ClusterStatus) error {
		for n, pid := range pids(s) {
			if n != "broker" && pid == now[n] {
				return fmt.Errorf("%s is the same", n)
			}
		}
		if !s.Synced || !s.Healthy {
			return errors.New(s.Reason)
		}
		return nil
	}))
	c.know(fresh)
	for _, n := range slices.Sorted(maps.Keys(fresh)) {
		if got := c.last(n, fresh[n]).whole; got != live[n] {
			t.Errorf("%s knew\n%s\nand when it is started afresh\n%s", n, live[n], got)
		}
	}
	c.noErrors()
}

// loadavg of the machine, for those who read figures.
func loadavg() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "load unknown"
	}
	return "load " + strings.Fields(string(b))[0]
}

// unhurried is d on a machine that is not busy, and as many times longer as each CPU has processes that want it.
func unhurried(d time.Duration) time.Duration {
	load, err := strconv.ParseFloat(strings.TrimPrefix(loadavg(), "load "), 64)
	if err != nil {
		return d
	}
	return time.Duration(max(1, load/float64(runtime.NumCPU())) * float64(d))
}
