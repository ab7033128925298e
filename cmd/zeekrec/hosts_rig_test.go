package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// Hosts of the rig: a controller, and three agents. Their addresses are 10.99.0.1 to 10.99.0.4, in each rig: namespaces keep rigs apart.
const controllerHost = "ctl"

var (
	agentHosts = []string{"a", "b", "c"}
	allHosts   = []string{controllerHost, "a", "b", "c"}
)

// quiet is a network interface of each host on which nothing happens, for workers.
const quiet = "mon0"

// hosts are machines, as network namespaces of this one, with a fabric between them.
type hosts struct {
	t      *testing.T
	bin    string            // of zeekrec
	other  map[string]string // by host: a binary of its own
	zeek   string
	dir    string // has a folder for each host, and clusters/
	prefix string // of the namespaces' names
	net    *fabric
	procs  map[string]*hostProc
	env    map[string]string // of workers, by name
	place  map[string]string // nodes, by name: where
	all    string            // more of the file
	watch  *watcher
	long   bool
}

// hostProc is a controller or an agent.
type hostProc struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// newHosts makes the machines, and nothing runs on them yet.
func newHosts(t *testing.T, seed uint64) *hosts {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("hosts are network namespaces, and those are root's to make")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("hosts are network namespaces, which ip (iproute2) makes, and there is none")
	}
	dir, err := os.MkdirTemp("", "zh") // short: a socket's path has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	h := &hosts{
		t: t, dir: dir, prefix: fmt.Sprintf("zrh-%d-%d-", os.Getpid(), rigs.Add(1)), net: newFabric(seed), procs: map[string]*hostProc{},
		env:   map[string]string{"worker-1": "", "worker-2": "", "worker-3": ""},
		place: map[string]string{"manager": "a", "logger-1": "b", "proxy-1": "c", "worker-1": "a", "worker-2": "b", "worker-3": "c"},
	}
	removeStale()
	h.watch = watch(t, dir)
	t.Cleanup(h.end)
	for i, host := range allHosts {
		h.machine(i+1, host)
	}
	if err := os.Mkdir(h.path("clusters"), 0o755); err != nil {
		t.Fatal(err)
	}
	return h
}

// removeStale removes the namespaces of tests that were killed, with all that runs in them: nobody else is there.
func removeStale() {
	out, _ := exec.Command("ip", "netns", "list").Output()
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		p := strings.Split(name, "-")
		if len(p) != 4 || p[0] != "zrh" {
			continue
		}
		if pid, err := strconv.Atoi(p[1]); err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			pids, _ := exec.Command("ip", "netns", "pids", name).Output()
			for p := range strings.FieldsSeq(string(pids)) {
				if pid, err := strconv.Atoi(p); err == nil {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
			_ = exec.Command("ip", "netns", "del", name).Run()
		}
	}
}

// machine makes a host.
func (h *hosts) machine(n int, host string) {
	h.t.Helper()
	ns, device := h.prefix+host, fmt.Sprintf("zh%x-%s", os.Getpid(), host)
	if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
		h.t.Skipf("network namespaces cannot be made here: %v: %s", err, out)
	}
	h.net.plug(h.t, host, device, macOf(n))
	for _, c := range [][]string{
		{"link", "set", device, "netns", ns},
		{"-n", ns, "link", "set", "lo", "up"},
		{"-n", ns, "link", "set", device, "name", "eth0"},
		{"-n", ns, "link", "set", "eth0", "address", macText(macOf(n))},
		{"-n", ns, "addr", "add", address(host) + "/24", "dev", "eth0"},
		{"-n", ns, "link", "set", "eth0", "up"},
		{"-n", ns, "link", "add", quiet, "type", "veth", "peer", "name", "mon1"},
		{"-n", ns, "link", "set", quiet, "up"},
		{"-n", ns, "link", "set", "mon1", "up"},
	} {
		if out, err := exec.Command("ip", c...).CombinedOutput(); err != nil {
			h.t.Fatalf("ip %s: %v: %s", strings.Join(c, " "), err, out)
		}
	}
}

// address of a host.
func address(host string) string { return fmt.Sprintf("10.99.0.%d", slices.Index(allHosts, host)+1) }

func (h *hosts) path(p ...string) string { return filepath.Join(append([]string{h.dir}, p...)...) }

// end ends everything that was started, nodes included, and removes the hosts.
func (h *hosts) end() {
	for _, p := range h.procs {
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	h.watch.end(h.t)
	for range 3 { // one may be in the middle of becoming a node
		marks, err := process.Marks()
		if err != nil {
			h.t.Error(err)
		}
		for m, pids := range marks {
			for _, pid := range pids {
				if strings.HasPrefix(m, h.dir+"/") {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
		}
	}
	for _, host := range allHosts {
		_ = exec.Command("ip", "netns", "del", h.prefix+host).Run()
	}
	h.net.close()
	if h.t.Failed() {
		logs, _ := filepath.Glob(h.path("*.log"))
		for _, l := range logs {
			b, _ := os.ReadFile(l)
			h.t.Logf("%s:\n%s", filepath.Base(l), tail(b, 60))
		}
		if out, err := h.ask("status"); err == nil {
			h.t.Logf("status:\n%s", out)
		}
	}
	if os.Getenv("ZEEKREC_KEEP") == "" {
		_ = os.RemoveAll(h.dir)
	}
}

// on is a command on a host.
func (h *hosts) on(ctx context.Context, host string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.prefix + host}, args...)...)
}

// run starts a controller or an agent.
func (h *hosts) run(host, bin string, args ...string) {
	h.t.Helper()
	log, err := os.OpenFile(h.path(host+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	defer log.Close()
	cmd := h.on(context.WithoutCancel(h.t.Context()), host, append([]string{bin}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	p := &hostProc{cmd, make(chan struct{})}
	go func() { _ = cmd.Wait(); close(p.ended) }()
	h.procs[host] = p
}

// controller starts it.
func (h *hosts) controller() {
	h.t.Helper()
	h.run(controllerHost, h.bin, "controller", h.path("clusters"), "--state-dir", h.path(controllerHost), "--settings", "", "--listen", "0.0.0.0:2150", "--log-level", "debug")
}

// agent starts that of a host.
func (h *hosts) agent(host string) {
	h.t.Helper()
	h.run(host, h.binOf(host), "agent", "--state-dir", h.path(host), "--settings", "", "--zeek", h.zeek, "--archive-dir", h.path("archive-"+host), "--log-level", "debug")
}

func (h *hosts) binOf(host string) string {
	if b := h.other[host]; b != "" {
		return b
	}
	return h.bin
}

// join enrols a host.
func (h *hosts) join(host string) {
	h.t.Helper()
	var token string
	h.eventually("a token is made", waitLong, func() error {
		out, err := h.ask("agents", "token", host)
		token = strings.TrimSpace(out)
		return err
	})
	if out, err := h.joinWith(host, host, h.path(host), token); err != nil {
		h.t.Fatalf("%s cannot join: %v: %s", host, err, out)
	}
}

// joinWith runs the join, and returns what it says.
func (h *hosts) joinWith(host, name, state, token string) (string, error) {
	ctx, cancel := context.WithTimeout(h.t.Context(), waitLong)
	defer cancel()
	cmd := h.on(ctx, host, h.binOf(host), "agent", "join", "@"+address(controllerHost), "--name", name, "--state-dir", state, "--settings", "", "--wait", "30s")
	cmd.Stdin = strings.NewReader(token + "\n")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// stop ends a controller or an agent by a signal, and waits for it.
func (h *hosts) stop(host string, sig syscall.Signal) {
	h.t.Helper()
	p := h.procs[host]
	delete(h.procs, host)
	if err := p.cmd.Process.Signal(sig); err != nil {
		h.t.Fatal(err)
	}
	<-p.ended
}

// ask has the controller answer a command.
func (h *hosts) ask(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.t.Context()), waitLong)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.bin, append(args, "--state-dir", h.path(controllerHost), "--settings", "")...)
	var why strings.Builder
	cmd.Stderr = &why
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, why.String())
	}
	return string(out), err
}

func (h *hosts) eventually(what string, wait time.Duration, ok func() error) time.Duration {
	h.t.Helper()
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		err := ok()
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > wait {
			h.t.Fatalf("not within %s: %s: %v", wait, what, err)
		}
	}
}

// status is the controller's. It is asked for often, so no process is started for it.
func (h *hosts) status() (*engine.Status, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.t.Context()), waitLong)
	defer cancel()
	return api.NewClient(api.SocketPath(h.path(controllerHost))).Status(ctx)
}

// save writes the file.
func (h *hosts) save() {
	h.t.Helper()
	var b strings.Builder
	b.WriteString("[instances]\n")
	for _, host := range agentHosts {
		fmt.Fprintf(&b, "%s = %s:9\n", host, address(host)) // nobody listens at port 9
	}
	b.WriteString("[zeekrec]\nports_from = 27100\nmetrics_ports_from = 27140\nbroker_ports_from = 27180\n" + h.all)
	for _, node := range []string{"manager", "logger-1", "proxy-1", "worker-1", "worker-2", "worker-3"} {
		role, _, _ := strings.Cut(node, "-")
		fmt.Fprintf(&b, "[%s]\nrole = %s\ninstance = %s\n", node, role, h.place[node])
		if role == "worker" {
			b.WriteString("interface = " + quiet + "\n")
			if e := h.env[node]; e != "" {
				b.WriteString("env = " + e + "\n")
			}
		}
	}
	if err := os.WriteFile(h.path("clusters", ".dmz.cfg"), []byte(b.String()), 0o600); err != nil {
		h.t.Fatal(err)
	}
	rename(h.t, h.path("clusters", ".dmz.cfg"), h.path("clusters", "dmz.cfg"))
}

// settled waits until the newest content of the file runs everywhere, and says how long that took.
func (h *hosts) settled(wait time.Duration) (took time.Duration) {
	h.t.Helper()
	return h.eventually("it has settled", wait, func() error {
		s, err := h.status()
		if err != nil {
			return err
		}
		if len(s.Clusters) != 1 || !s.Clusters[0].Synced || !s.Clusters[0].Healthy {
			return fmt.Errorf("%+v, agents %+v", s.Clusters, s.Agents)
		}
		for node, host := range h.place {
			if err := h.runs(node, host); err != nil {
				return err
			}
		}
		return nil
	})
}

// runs reports whether a node runs on a host, with its newest environment.
func (h *hosts) runs(node, host string) error {
	at, pid := h.watch.hostOf(node)
	if at != host {
		return fmt.Errorf("%s runs on %q, want %q", node, at, host)
	}
	want := h.env[node]
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err == nil && want != "" && !slices.Contains(strings.Split(string(b), "\x00"), want) {
		err = fmt.Errorf("%s runs without %s", node, want)
	}
	return err
}

// dial connects from a host: a socket belongs to the namespace that it was made in, whoever uses it then.
func (h *hosts) dial(host, to string) (net.Conn, error) {
	var c net.Conn
	err := h.within(host, func() (err error) {
		c, err = (&net.Dialer{Timeout: 10 * time.Second}).DialContext(h.t.Context(), "tcp", to)
		return err
	})
	return c, err
}

// within has f run on a host, on a thread that ends with it. What f leaves to other goroutines is not on the host, so what it dials has to
// be an address, with one family.
func (h *hosts) within(host string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread is of no use to others
		ns, err := os.Open("/var/run/netns/" + h.prefix + host)
		if err == nil {
			defer ns.Close()
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		if err != nil {
			done <- fmt.Errorf("cannot be on %s: %w", host, err)
			return
		}
		done <- f()
	}()
	return <-done
}
