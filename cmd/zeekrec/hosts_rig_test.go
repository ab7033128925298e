//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// hostsRig is a controller and agents, each on a host of its own: a network namespace with a state folder. It needs root.
type hostsRig struct {
	*rig  // of the controller's host: state folder, source, status
	ether *ether
	hosts map[string]*hostRig
	watch *watcher
}

// hostRig is one host.
type hostRig struct {
	r       *hostsRig
	name    string
	netns   string
	address string
	args    []string // what runs on it
	log     string
	cmd     *exec.Cmd
	ended   chan struct{}
}

// controllerHost is the name of the controller's.
const controllerHost = "ctl"

// newHostsRig makes hosts with these names beside the controller's, connected and idle. Everything ends with the test.
func newHostsRig(t *testing.T, bin, zeek string, seed uint64, names ...string) *hostsRig {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("hosts are network namespaces, which takes root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("hosts are network namespaces, which takes ip (Debian: iproute2)")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("the network between hosts takes /dev/net/tun")
	}
	dir, err := os.MkdirTemp("", "zh") // short: a socket's path has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	h := &hostsRig{rig: &rig{t: t, bin: bin, zeek: zeek, dir: dir}, ether: newEther(seed), hosts: map[string]*hostRig{}}
	t.Cleanup(h.remove)
	for _, d := range []string{"clusters", "state"} {
		if err := os.Mkdir(h.path(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	prefix := fmt.Sprintf("zh-%d-%d-", os.Getpid(), rigs.Add(1))
	for i, name := range append([]string{controllerHost}, names...) {
		x := &hostRig{r: h, name: name, netns: prefix + name, address: fmt.Sprintf("10.99.0.%d", i+1), log: h.path(name + ".log")}
		h.must(exec.Command("ip", "netns", "add", x.netns))
		h.hosts[name] = x
		if err := h.ether.plug(name, x.netns); err != nil {
			t.Fatal(err)
		}
		for _, c := range []string{
			"link set lo up", "addr add " + x.address + "/24 dev eth0", "link set eth0 up",
			// For workers to listen on: nobody sends anything there.
			"link add mon0 type veth peer name mon1", "link set mon0 up", "link set mon1 up",
		} {
			h.must(x.command(append([]string{"ip"}, strings.Fields(c)...)...))
		}
	}
	h.watch = newWatcher(dir)
	return h
}

// command runs in the host.
func (x *hostRig) command(args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", x.netns}, args...)...)
}

// state folder of the host.
func (x *hostRig) state() string {
	if x.name == controllerHost {
		return x.r.path("state")
	}
	return x.r.path(x.name)
}

// start what runs on the host, and go on.
func (x *hostRig) start() {
	x.r.t.Helper()
	f, err := os.OpenFile(x.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		x.r.t.Fatal(err)
	}
	defer f.Close()
	x.cmd = x.command(x.args...)
	x.cmd.Stdout, x.cmd.Stderr = f, f
	x.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := x.cmd.Start(); err != nil {
		x.r.t.Fatal(err)
	}
	x.ended = make(chan struct{})
	cmd, ended := x.cmd, x.ended
	go func() { _ = cmd.Wait(); close(ended) }()
}

// kill what runs on the host: zeekrec alone, not its nodes.
func (x *hostRig) kill() {
	if x.cmd == nil {
		return
	}
	_ = x.cmd.Process.Kill()
	<-x.ended
	x.cmd = nil
}

// startAll starts the controller, enrols the others, and starts their agents.
func (h *hostsRig) startAll() {
	h.t.Helper()
	ctl := h.hosts[controllerHost]
	ctl.args = []string{h.bin, "controller", h.path("clusters"), "--state-dir", ctl.state(), "--listen", ctl.address + ":2150", "--settings", "", "--log-level", "debug"}
	ctl.start()
	h.eventually("the controller answers", waitLong, func() error { _, err := h.status(); return err })
	for _, name := range slices.Sorted(maps.Keys(h.hosts)) {
		x := h.hosts[name]
		if name == controllerHost {
			continue
		}
		out, code := h.zeekrec("agents", "token", "--name", name, "--settings", "")
		if code != 0 {
			h.t.Fatalf("no token for %s", name)
		}
		h.must(x.command(h.bin, "agent", "join", strings.TrimSpace(out)+"@"+ctl.address, "--name", name, "--state-dir", x.state(), "--settings", ""))
		x.args = []string{
			h.bin, "agent", "--name", name, "--state-dir", x.state(), "--zeek", h.zeek, "--archive-dir", h.path(name + "-archive"), "--settings", "", "--log-level", "debug",
		}
		x.start()
	}
	h.eventually("all agents are connected", waitLong, func() error {
		s, err := h.status()
		if err == nil && len(s.Agents) != len(h.hosts)-1 {
			err = fmt.Errorf("%d agents", len(s.Agents))
		}
		return err
	})
}

// remove everything, also after a failure.
func (h *hostsRig) remove() {
	if h.watch != nil {
		h.watch.stop()
		for _, v := range h.watch.violations {
			h.t.Error(v)
		}
	}
	for _, x := range h.hosts {
		x.kill()
	}
	for _, pid := range below(h.dir) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	h.ether.close()
	for _, x := range h.hosts {
		_ = exec.Command("ip", "netns", "del", x.netns).Run()
		if b, err := os.ReadFile(x.log); err == nil && h.t.Failed() {
			h.t.Logf("log of %s:\n%s", x.name, tail(b, 40))
		}
	}
	_ = os.RemoveAll(h.dir)
}

// below are the nodes' processes whose marks are below a folder.
func below(dir string) []int {
	marks, err := process.Marks()
	if err != nil {
		return nil
	}
	var out []int
	for path, pids := range marks {
		if strings.HasPrefix(path, dir+"/") {
			out = append(out, pids...)
		}
	}
	return out
}

// where are the hosts on which a node has a process, by what the processes themselves say.
func (h *hostsRig) where(node string) (out []string) {
	marks, err := process.Marks()
	if err != nil {
		h.t.Fatal(err)
	}
	for path := range marks {
		if rest, ok := strings.CutPrefix(path, h.dir+"/"); ok && strings.Contains(rest, "/nodes/"+node+"/") {
			host, _, _ := strings.Cut(rest, "/")
			out = append(out, host)
		}
	}
	slices.Sort(out)
	return out
}

// watcher looks for two processes of one node, on all hosts together, all the time: invariant 1.
type watcher struct {
	dir        string
	cancel     context.CancelFunc
	done       chan struct{}
	looks      int
	longest    time.Duration // between two looks
	violations []string
	once       sync.Once
}

// lookEvery is the pause between two looks.
const lookEvery = 20 * time.Millisecond

func newWatcher(dir string) *watcher {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcher{dir: dir, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			w.look()
			w.looks++
			w.longest = max(w.longest, time.Since(last))
			last = time.Now()
		}
	}()
	return w
}

// look takes two processes for a violation when both are there after both were seen: one look takes a while, in which one may end and
// another begin.
func (w *watcher) look() {
	marks, err := process.Marks()
	if err != nil {
		return
	}
	nodes := map[string][]int{}
	paths := map[int]string{}
	for path, pids := range marks {
		rest, ours := strings.CutPrefix(path, w.dir+"/")
		_, of, found := strings.Cut(rest, "/clusters/")
		cluster, node, split := strings.Cut(of, "/nodes/")
		if !ours || !found || !split {
			continue
		}
		node, _, _ = strings.Cut(node, "/")
		key := cluster + "/" + node
		nodes[key] = append(nodes[key], pids...)
		for _, p := range pids {
			paths[p] = path
		}
	}
	for key, pids := range nodes {
		if len(pids) < 2 || len(w.violations) >= 10 {
			continue
		}
		alive := slices.DeleteFunc(slices.Clone(pids), func(p int) bool { return !process.HasMark(p, paths[p]) })
		if len(alive) > 1 {
			var what []string
			for _, p := range alive {
				what = append(what, fmt.Sprintf("%d (%s)", p, paths[p]))
			}
			w.violations = append(w.violations, fmt.Sprintf("two processes of %s at one time, %s: %s", key, time.Now().Format(time.TimeOnly), strings.Join(what, ", ")))
		}
	}
}

func (w *watcher) stop() {
	w.once.Do(w.cancel)
	<-w.done
}

// status asks the controller.
func (h *hostsRig) status() (*engine.Status, error) {
	ctx, cancel := context.WithTimeout(h.t.Context(), 10*time.Second)
	defer cancel()
	var errs bytes.Buffer
	cmd := exec.CommandContext(ctx, h.bin, "status", "--json", "--settings", "", "--state-dir", h.path("state"))
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.Join(err, errors.New(errs.String()))
	}
	var s engine.Status
	return &s, json.Unmarshal(out, &s)
}

// untilSettled waits until the cluster dmz is synced and healthy at another revision than before, and says how long that took.
func (h *hostsRig) untilSettled(before string, wait time.Duration) (engine.ClusterStatus, time.Duration) {
	h.t.Helper()
	began := time.Now()
	var c engine.ClusterStatus
	h.eventually("the cluster is synced and healthy", wait, func() error {
		s, err := h.status()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(s.Clusters, func(c engine.ClusterStatus) bool { return c.Name == "dmz" })
		if i < 0 {
			return fmt.Errorf("there is no cluster dmz (source: %s %s)", s.Source.State, cmp.Or(deref(s.Source.Error), "no error"))
		}
		if c = s.Clusters[i]; !c.Synced || !c.Healthy || c.Revision.Running == before {
			var bad []string
			for _, r := range c.Resources {
				if !r.Healthy {
					bad = append(bad, fmt.Sprintf("%s %s %s", r.Name, r.State, r.Reason))
				}
			}
			return fmt.Errorf("synced %t, healthy %t, running %s (was %s), reason %q, not healthy: %q", c.Synced, c.Healthy, c.Revision.Running, before, c.Reason, bad)
		}
		return nil
	})
	return c, time.Since(began)
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// fleetConfig is a cluster on the hosts a, b and c, with the workers' hosts and further lines.
func (h *hostsRig) fleetConfig(workers map[string]string, version int) string {
	var b strings.Builder
	b.WriteString("[instances]\n")
	for _, n := range slices.Sorted(maps.Keys(h.hosts)) {
		if n != controllerHost {
			b.WriteString(n + "\n")
		}
	}
	b.WriteString("\n[manager]\nrole = manager\ninstance = a\n\n[logger-1]\nrole = logger\ninstance = a\n\n[proxy-1]\nrole = proxy\ninstance = b\n")
	for _, w := range slices.Sorted(maps.Keys(workers)) {
		fmt.Fprintf(&b, "\n[%s]\nrole = worker\ninterface = mon0\ninstance = %s\n", w, workers[w])
		if w == "worker-1" {
			fmt.Fprintf(&b, "env = VERSION=%d\n", version)
		}
	}
	b.WriteString("\n[zeekrec.broker]\ncurve = on\n")
	return b.String()
}

func (h *hostsRig) save(content string) {
	h.t.Helper()
	tmp := filepath.Join(h.path("clusters"), ".dmz.cfg.tmp")
	if err := os.WriteFile(tmp, []byte(content), 0o644); err != nil {
		h.t.Fatal(err)
	}
	rename(h.t, tmp, h.path("clusters", "dmz.cfg"))
}
