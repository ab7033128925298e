package main

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// bare is a `zeekrec broker` by itself, and Zeeks that are started by hand: nothing looks after them.
type bare struct {
	*notebook
	t          *testing.T
	bin, zeek  string
	zeekPath   string
	xpub, xsub string
	env        []string
	pids       map[string]int
}

func newBare(t *testing.T, encrypted bool, nodes ...string) *bare {
	t.Helper()
	if os.Getenv("ZEEKREC_E2E") == "" {
		t.Skip("takes minutes: make e2e")
	}
	zeek, ok := realZeek()
	if !ok {
		t.Skip("needs a real Zeek on the PATH or in /opt/zeek/bin")
	}
	dir, err := os.MkdirTemp("", "zr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	help, _ := exec.Command(zeek, "--help").CombinedOutput() // ends with 1
	path := regexp.MustCompile(`\$ZEEKPATH.*\((.*)\)`).FindSubmatch(help)
	if path == nil {
		t.Fatalf("no ZEEKPATH in %s", help)
	}
	b := &bare{
		notebook: newNotebook(t, dir), t: t, bin: build(t, "./cmd/zeekrec", "-s -w"), zeek: zeek, zeekPath: dir + ":" + string(path[1]),
		xpub: "tcp://127.0.0.1:" + freePort(t), xsub: "tcp://127.0.0.1:" + freePort(t), pids: map[string]int{},
	}
	if encrypted {
		for _, role := range []string{"SERVER", "CLIENT"} {
			out, err := exec.Command(b.bin, "keys", "generate").Output()
			pair := regexp.MustCompile(`public +(\S+)\s+secret +(\S+)`).FindSubmatch(out)
			if err != nil || pair == nil {
				t.Fatalf("no keys: %v", err)
			}
			for i, kind := range []string{"PUBLIC", "SECRET"} {
				b.env = append(b.env, fmt.Sprintf("ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_%s_%sKEY=%s", role, kind, pair[i+1]))
			}
		}
	}
	var layout strings.Builder
	for _, n := range nodes {
		role, _, _ := strings.Cut(n, "-")
		fmt.Fprintf(&layout, "[%q] = [$node_type=Cluster::%s, $ip=127.0.0.1, $p=%s/tcp],\n", n, strings.ToUpper(role), freePort(t))
	}
	b.write("cluster-layout.zeek", "redef Cluster::nodes += {\n"+layout.String()+"};\nredef Cluster::manager_is_logger = F;\n")
	b.write("bus.zeek", string(busScript))
	b.write("here.zeek", fmt.Sprintf("redef Cluster::Backend::ZeroMQ::connect_xsub_endpoint = %q;\nredef Cluster::Backend::ZeroMQ::connect_xpub_endpoint = %q;\n"+
		"redef Cluster::Backend::ZeroMQ::run_proxy_thread = F;\nredef Telemetry::metrics_port = 0/unknown;\n", b.xpub, b.xsub))
	b.pids["broker"] = b.spawn("broker", b.bin, "broker", "--xpub", b.xpub, "--xsub", b.xsub, "--state", b.file("broker", "state.json"), "--admin", b.admin())
	soon(t, "the broker serves", 20*time.Second, func() error {
		_, err := askBroker(t, b.admin())
		return err
	})
	return b
}

func (b *bare) admin() string { return b.file("broker", "admin.sock") }

func (b *bare) write(name, content string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(content), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// node starts a Zeek.
func (b *bare) node(name string) {
	b.t.Helper()
	b.pids[name] = b.spawn(name, b.zeek, "frameworks/cluster/backend/zeromq", "here", "bus")
}

// spawn starts a process, which ends with the test.
func (b *bare) spawn(name string, args ...string) (pid int) {
	b.t.Helper()
	if err := os.MkdirAll(b.file(name), 0o755); err != nil {
		b.t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(b.dir, name, "output"))
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.file(name), out, out
	cmd.Env = append(os.Environ(), "CLUSTER_NODE="+name, "ZEEKPATH="+b.zeekPath)
	cmd.Env = append(cmd.Env, b.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	b.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if b.t.Failed() {
			text, _ := os.ReadFile(out.Name())
			b.t.Logf("%s said:\n%s", name, tail(text, 20))
		}
		_ = out.Close()
	})
	return cmd.Process.Pid
}

// zeeks are the pids without the broker's.
func (b *bare) zeeks() map[string]int {
	m := maps.Clone(b.pids)
	delete(m, "broker")
	return m
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// TestE2EBareBrokerForms starts six Zeeks at the same time, with CURVE, on a broker that is there.
func TestE2EBareBrokerForms(t *testing.T) {
	b := newBare(t, true, busNodes...)
	began := time.Now()
	for _, n := range busNodes {
		b.node(n)
	}
	formed, last := b.knowEachOther(b.zeeks())
	t.Logf("six Zeeks that are started together know each other after %s, %s after the last began to run scripts (%s)",
		round(formed.Sub(began)), round(formed.Sub(last)), load())
	if took := formed.Sub(last); took > time.Second+slack {
		t.Errorf("it took %s", took)
	}
	if st := must(askBroker(t, b.admin()))(t); len(st.Curve) != 1 || allJoined(st, busNodes, true) != nil || len(st.Refused) > 0 {
		t.Errorf("keys %v, members %v, refused %v", st.Curve, st.Members, st.Refused)
	}
	b.flowing(b.zeeks(), time.Now())
}

// TestE2EBareBrokerUnderAttack serves a cluster while ten thousand connections say nothing and others say anything.
func TestE2EBareBrokerUnderAttack(t *testing.T) {
	const silent = 10000
	nodes := []string{"manager", "logger-1", "proxy-1", "worker-1"}
	b := newBare(t, false, nodes...)
	for _, n := range nodes {
		b.node(n)
	}
	b.knowEachOther(b.zeeks())
	b.flowing(b.zeeks(), time.Now())
	began := time.Now()
	before := b.memory()
	quiet, slowest := b.probes(20)
	t.Logf("before: %v, a probe took %s, the slowest of 20 %s (%s)", before, quiet, slowest, load())

	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	opening := time.Now()
	for i := range silent {
		c, err := net.Dial("tcp", strings.TrimPrefix([]string{b.xpub, b.xsub}[i%2], "tcp://"))
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		conns = append(conns, c)
	}
	t.Logf("%d connections that say nothing, opened within %s", silent, round(time.Since(opening)))
	stop := make(chan struct{})
	var attackers sync.WaitGroup
	sent := make([]int64, 8)
	for i := range sent {
		attackers.Go(func() { sent[i] = babble(uint64(i), []string{b.xpub, b.xsub}[i%2], stop) })
	}
	busy, slowest := b.probes(40)
	during := b.memory()
	close(stop)
	attackers.Wait()
	total := int64(0)
	for _, n := range sent {
		total += n
	}
	st := must(askBroker(t, b.admin()))(t)
	t.Logf("during: %v, a probe took %s, the slowest of 40 %s; %d connections said anything (%s)", during, busy, slowest, total, load())
	t.Logf("refused: %v", st.Refused)
	if grown := during.peak - before.now; grown >= 100<<20 {
		t.Errorf("it takes %d MiB more", grown>>20)
	}
	if busy > 4*quiet+20*time.Millisecond {
		t.Errorf("a probe took %s, %s before", busy, quiet)
	}
	if st.PID != b.pids["broker"] {
		t.Error("another broker answers")
	}
	b.flowing(b.zeeks(), time.Now())
	b.quiet(nodes, began)
	missing, sum, longest, where := lost(b.flows(b.zeeks(), began))
	t.Logf("of %d events of the cluster %d were lost, the longest pause was %s, from %s", sum, missing, round(longest), where)
	if missing > 0 {
		t.Error("events were lost")
	}
}

// babble connects and writes random bytes, after what is good in some, until stop. It returns how often.
func babble(seed uint64, endpoint string, stop chan struct{}) (times int64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	greeting := make([]byte, 64)
	copy(greeting, "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01NULL")
	ready := []byte("\x04\x1a\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB")
	for {
		select {
		case <-stop:
			return times
		default:
		}
		c, err := net.Dial("tcp", strings.TrimPrefix(endpoint, "tcp://"))
		if err != nil {
			continue
		}
		times++
		_ = c.SetDeadline(time.Now().Add(2 * time.Second))
		var good []byte
		switch rnd.IntN(3) {
		case 1:
			good = greeting
		case 2:
			good = append(append(good, greeting...), ready...)
		}
		noise := make([]byte, 1+rnd.IntN(4096))
		for i := range noise {
			noise[i] = byte(rnd.Uint32())
		}
		_, _ = c.Write(append(good, noise...))
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, io.LimitReader(c, 1<<20))
		_ = c.Close()
	}
}

// probes runs `zeekrec broker probe` some times, and returns the median and the slowest of what it measured.
func (b *bare) probes(n int) (median, slowest time.Duration) {
	b.t.Helper()
	var took []time.Duration
	for range n {
		out, err := exec.Command(b.bin, "broker", "probe", "--xpub", b.xpub, "--xsub", b.xsub).CombinedOutput()
		word := regexp.MustCompile(`took (\S+)`).FindSubmatch(out)
		if err != nil || word == nil {
			b.t.Fatalf("probe: %v, %s", err, out)
		}
		d, err := time.ParseDuration(string(word[1]))
		if err != nil {
			b.t.Fatal(err)
		}
		took = append(took, d)
	}
	slices.Sort(took)
	return took[n/2], took[n-1]
}

// memory of the broker's process, in bytes: what it has, and the most it had.
func (b *bare) memory() (m struct{ now, peak int64 }) {
	b.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.pids["broker"]))
	if err != nil {
		b.t.Fatal(err)
	}
	for l := range strings.Lines(string(text)) {
		for name, to := range map[string]*int64{"VmRSS:": &m.now, "VmHWM:": &m.peak} {
			if f := strings.Fields(l); len(f) == 3 && f[0] == name {
				n, err := strconv.ParseInt(f[1], 10, 64)
				if err != nil {
					b.t.Fatal(err)
				}
				*to = n << 10
			}
		}
	}
	return m
}
