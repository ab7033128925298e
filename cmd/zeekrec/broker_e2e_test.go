package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// watched is how long nothing wrong may be seen after something happened to the broker.
const watched = 10 * time.Second

// e2eBus is a bus for the tests that take long.
func e2eBus(t *testing.T) *bus {
	t.Helper()
	if os.Getenv("ZEEKREC_E2E") == "" {
		t.Skip("takes minutes: make e2e")
	}
	return newBus(t)
}

// TestE2EBrokerDeaths kills and restarts what there is of a cluster of real Zeeks, encrypted, while events flow.
func TestE2EBrokerDeaths(t *testing.T) {
	b := e2eBus(t)
	b.run(b.content("curve = on\n"))

	b.sub("zeekrec restart manager", func(*testing.T) {
		b.managerGone(func(int) { b.zeekrec("restart", "dmz/manager") })
	})
	b.sub("kill -9 of the manager", func(t *testing.T) {
		b.managerGone(func(pid int) {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		})
	})
	for _, name := range []string{"worker-2", "proxy-1", "logger-1"} {
		b.sub("kill -9 of "+name, func(t *testing.T) {
			old := pids(b.settled(""))
			killed := b.killNode(name, old[name])
			now := b.again(name, old[name])
			if got := changed(old, pids(now)); got != name {
				t.Errorf("disturbed: %q, want %s alone", got, name)
			}
			b.knowEachOther(nodePIDs(now))
			b.flowing(nodePIDs(now), time.Now())
			b.quiet(others(name), killed, name)
		})
	}
	b.sub("a node ends while there is no broker", func(t *testing.T) { b.endsUnseen("worker-3") })
	b.sub("connections are cut", func(*testing.T) {
		if b.netns == "" {
			b.t.Skip("needs a network namespace of its own")
		}
		b.cut("worker-3", "subscriber")
		b.cut("worker-3", "publisher")
		b.cut("worker-3", "subscriber", "publisher")
		b.cut("proxy-1", "subscriber", "publisher")
		b.cut("manager", "subscriber")
	})
	b.kill(syscall.SIGTERM)
}

// TestE2EBrokerKilledUnderLoad kills the broker again and again while 3750 events a second pass through it.
func TestE2EBrokerKilledUnderLoad(t *testing.T) {
	b := e2eBus(t)
	c := b.run(b.content("curve = on\n", "Bus::rate = 1000.0"))
	before := pids(c)
	for kills := 1; kills <= 3; kills++ {
		began := time.Now()
		b.killBroker()
		b.flowing(nodePIDs(c), time.Now())
		time.Sleep(time.Until(began.Add(watched))) // nothing may happen in this time
		b.quiet(busNodes, began)
		if got := changed(before, pids(b.settled(""))); got != "broker" {
			t.Errorf("disturbed: %q, want the broker alone", got)
		}
		b.fewLost(nodePIDs(c), kills, 1000, began)
	}
	b.kill(syscall.SIGTERM)
}

func others(name string) []string {
	return slices.DeleteFunc(slices.Clone(busNodes), func(n string) bool { return n == name })
}

// managerGone has the manager restarted, and checks that nobody else notices more than its absence: what workers and the
// proxy send each other keeps arriving.
func (b *bus) managerGone(restart func(pid int)) {
	b.t.Helper()
	old := pids(b.settled(""))
	began := time.Now()
	restart(old["manager"])
	now := b.again("manager", old["manager"])
	if got := changed(old, pids(now)); got != "manager" {
		b.t.Errorf("disturbed: %q, want the manager alone", got)
	}
	b.knowEachOther(nodePIDs(now))
	b.flowing(nodePIDs(now), time.Now())
	var down, up time.Time
	for _, e := range b.since("proxy-1", began) {
		switch {
		case e.what == "down" && e.args[0] == "manager":
			down = e.at
		case e.what == "up" && e.args[0] == "manager":
			up = e.at
		}
	}
	away := up.Sub(down)
	missing, sent, longest, where := lost(b.flows(nodePIDs(now), began))
	b.t.Logf("the manager was away for %s; of %d events of the others %d were lost, the longest pause was %s, from %s (%s)",
		round(away), sent, missing, round(longest), where, load())
	if down.IsZero() || up.Before(down) || missing > 0 || longest > away {
		b.t.Errorf("the manager's absence was felt: down %s, up %s", down, up)
	}
	b.quiet(others("manager"), began, "manager")
}

// endsUnseen ends a node while there is no broker: zeekrec is stopped, so that nothing is healed. All others have
// to hear of it from the next broker.
func (b *bus) endsUnseen(name string) {
	b.t.Helper()
	old := pids(b.settled(""))
	st, err := b.brokerStatus()
	if err != nil {
		b.t.Fatal(err)
	}
	b.signal(b.rig.run.Process.Pid, syscall.SIGSTOP)
	began := time.Now()
	b.signal(st.PID, syscall.SIGKILL)
	b.signal(old[name], syscall.SIGTERM)
	soon(b.t, name+" has ended", 20*time.Second, func() error {
		s, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", old[name]))
		if err == nil && !bytes.Contains(s, []byte(") Z ")) {
			return errors.New("it runs")
		}
		return nil
	})
	outage := time.Since(began)
	b.signal(b.rig.run.Process.Pid, syscall.SIGCONT)
	healed := time.Now()
	b.brokerBack(st, healed)
	now := b.again(name, old[name])
	if got := changed(old, pids(now)); got != "broker "+name {
		b.t.Errorf("disturbed: %q, want the broker and %s", got, name)
	}
	b.knowEachOther(nodePIDs(now))
	b.flowing(nodePIDs(now), time.Now())
	var slowest time.Duration
	for _, n := range others(name) {
		es := b.since(n, began)
		i := slices.IndexFunc(es, func(e note) bool {
			return e.what == "down" && e.args[0] == name && strings.Contains(e.args[1], fmt.Sprintf("_%d_", old[name]))
		})
		if i < 0 {
			b.t.Errorf("%s never heard of the end of %s", n, name)
			continue
		}
		slowest = max(slowest, es[i].at.Sub(healed))
	}
	b.t.Logf("no broker for %s, in which %s ended; all others heard of it %s after zeekrec went on (%s)", round(outage), name, round(slowest), load())
	b.quiet(others(name), began, name)
	b.fewLost(nodePIDs(now), 1, 200, began)
}

func (b *bus) signal(pid int, sig syscall.Signal) {
	b.t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		b.t.Fatal(err)
	}
}

// cut breaks a node's connections to the broker, as a network that drops them does. Nobody may take the node for
// gone, and what it sends and is sent has to arrive again.
func (b *bus) cut(name string, kinds ...string) {
	b.t.Helper()
	c := b.settled("")
	before, err := b.brokerStatus()
	if err != nil {
		b.t.Fatal(err)
	}
	old := map[string]string{}
	for _, p := range before.Peers {
		if p.Node == name && slices.Contains(kinds, p.Kind) {
			old[p.Kind] = p.Address
		}
	}
	if len(old) != len(kinds) {
		b.t.Fatalf("%s has the connections %v", name, old)
	}
	lostBefore, _, _, _ := lost(b.flows(nodePIDs(c), time.Now()))
	began := time.Now()
	for _, addr := range old {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			b.t.Fatal(err)
		}
		out, _ := exec.Command("ip", "netns", "exec", b.netns, "ss", "-HKt", "sport = :"+port).CombinedOutput() // it complains of the other half
		if !strings.Contains(string(out), port) {
			b.t.Skipf("this kernel ends no connections: %s", out)
		}
	}
	soon(b.t, "it is back", 20*time.Second, func() error {
		st, err := b.brokerStatus()
		if err != nil {
			return err
		}
		for _, p := range st.Peers { // whose a publisher's is, is not known before it has said something
			if p.Address == old[p.Kind] {
				return fmt.Errorf("the %s at %s is still there", p.Kind, p.Address)
			}
		}
		if len(st.Peers) != 2*len(busNodes) {
			return fmt.Errorf("%d connections", len(st.Peers))
		}
		return allJoined(st, busNodes, true)
	})
	back := time.Since(began)
	b.flowing(nodePIDs(c), time.Now())
	time.Sleep(time.Until(began.Add(watched))) // nothing may happen in this time
	b.quiet(busNodes, began)
	if got := changed(pids(c), pids(b.settled(""))); got != "" {
		b.t.Errorf("disturbed: %q", got)
	}
	missing, sent, longest, where := lost(b.flows(nodePIDs(c), began))
	b.t.Logf("%s lost its connections (%s) and was back after %s; %d of %d events lost, the longest pause was %s, from %s (%s)",
		name, strings.Join(kinds, ", "), round(back), missing-lostBefore, sent, round(longest), where, load())
}

// TestE2EBrokerKeys rotates the keys of a cluster that runs.
func TestE2EBrokerKeys(t *testing.T) {
	b := e2eBus(t)
	c := b.run(b.content("curve = on\n"))
	before, st := pids(c), must(b.brokerStatus())(t)
	oldEnv, code := b.zeekrec("keys", "export", "dmz", "--for", "node")
	if code != 0 {
		t.Fatal("no keys to export")
	}
	seen := len(b.runLog())
	began := time.Now()
	if out, code := b.zeekrec("keys", "rotate", "dmz", "--reason", "test"); code != 0 {
		t.Fatal(out)
	}
	now := b.cluster("the rotation is over", 3*time.Minute, func(n engine.ClusterStatus) error {
		if n.Keys == nil || n.Keys.ID == c.Keys.ID || len(n.Keys.Accepted) != 1 || n.Rollout != nil || !n.Healthy || !n.Synced {
			return fmt.Errorf("keys %+v, healthy %t, synced %t, reason %q", n.Keys, n.Healthy, n.Synced, n.Reason)
		}
		return nil
	})
	t.Logf("a rotation took %s (%s)", round(time.Since(began)), load())
	if got := changed(before, pids(now)); got != strings.Join(busNodes, " ") {
		t.Errorf("disturbed: %q, want all nodes and not the broker", got)
	}
	var started []string
	at := map[string]time.Time{}
	was := map[string]int{}
	for _, r := range c.Resources {
		was[r.Name] = r.Incarnation
	}
	for _, r := range now.Resources {
		if r.Type != "node" {
			continue
		}
		started, at[r.Name] = append(started, r.Name), *r.StartedAt
		if r.Incarnation != was[r.Name]+1 {
			t.Errorf("%s was started %d times", r.Name, r.Incarnation-was[r.Name])
		}
	}
	slices.SortFunc(started, func(x, y string) int { return at[x].Compare(at[y]) })
	t.Logf("order of the restarts: %v", started)
	if started[0] != "logger-1" {
		t.Error("the loggers were not the first")
	}
	if log := b.runLog()[seen:]; strings.Contains(log, "kind=crashed") || strings.Contains(log, "kind=failed") {
		t.Error("something crashed")
	}
	warned := 0
	for _, n := range busNodes {
		for l := range strings.Lines(b.read(n, "..", "stderr")) {
			switch {
			case !strings.Contains(l, "Handshake for socket"):
			case strings.Contains(l, "tcp://127.0.0.1:25101 failed: event=0x800 "):
				warned++ // by the logger, which has the new keys alone: it is tried again
			default:
				t.Errorf("%s says: %s", n, l)
			}
		}
	}
	t.Logf("nodes with the old keys were refused by the restarted logger %d times, and by the broker never", warned)
	b.knowEachOther(nodePIDs(now))
	b.flowing(nodePIDs(now), time.Now())
	b.logsArrive(nodePIDs(now))

	after := must(b.brokerStatus())(t)
	if len(after.Curve) != 1 || after.Curve[0] == st.Curve[0] || after.PID != st.PID {
		t.Errorf("accepted: %v, before %v", after.Curve, st.Curve)
	}
	newEnv, _ := b.zeekrec("keys", "export", "dmz", "--for", "node")
	b.sub("who comes with which keys", func(t *testing.T) {
		if err := exec.Command("/usr/bin/python3", "-c", "import zmq").Run(); err != nil || b.netns == "" {
			t.Skip("needs libzmq with Python's binding, and a network namespace")
		}
		mixed := bytes.Join([][]byte{line(newEnv, "SERVER_PUBLICKEY"), line(oldEnv, "CLIENT_PUBLICKEY"), line(oldEnv, "CLIENT_SECRETKEY")}, []byte("\n"))
		for _, tt := range []struct {
			what, env string
			want      bool
		}{
			{"the new keys", newEnv, true},
			{"the old keys", oldEnv, false},
			{"the new server's and the old client's", string(mixed), false},
		} {
			if got := b.letsIn(after.XPub, tt.env); got != tt.want {
				t.Errorf("%s: let in %t, want %t", tt.what, got, tt.want)
			}
		}
		t.Logf("refused: %v", must(b.brokerStatus())(t).Refused)
	})
	b.kill(syscall.SIGTERM)
}

// letsIn asks libzmq whether it is let in with the keys in env.
func (b *bus) letsIn(endpoint, env string) bool {
	b.t.Helper()
	const script = `
import os, sys, zmq
from zmq.utils.monitor import recv_monitor_message
p = "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_"
s = zmq.Context().socket(zmq.SUB)
s.curve_serverkey, s.curve_publickey, s.curve_secretkey = (os.environ[p + k].encode() for k in ("SERVER_PUBLICKEY", "CLIENT_PUBLICKEY", "CLIENT_SECRETKEY"))
m = s.get_monitor_socket()
m.rcvtimeo = 20000
s.connect(sys.argv[1])
while True:
    e = recv_monitor_message(m)["event"]
    if e == zmq.EVENT_HANDSHAKE_SUCCEEDED:
        print("in"); break
    if e in (zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL):
        print("told off"); break
    if e in (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, zmq.EVENT_DISCONNECTED):
        print("out"); break
s.close(0)
`
	cmd := exec.Command("ip", "netns", "exec", b.netns, "/usr/bin/python3", "-c", script, endpoint)
	for l := range strings.Lines(env) {
		k, v, ok := strings.Cut(strings.TrimSpace(l), "=")
		if ok {
			cmd.Env = append(cmd.Env, k+"="+strings.Trim(v, "'"))
		}
	}
	out, err := cmd.Output()
	if err != nil {
		b.t.Fatal(err)
	}
	switch answer := strings.TrimSpace(string(out)); answer {
	case "in", "out":
		return answer == "in"
	default:
		b.t.Errorf("the broker said why it refuses: %s; Zeek would exit", answer)
		return false
	}
}

func line(text, with string) []byte {
	for l := range strings.Lines(text) {
		if strings.Contains(l, with) {
			return []byte(strings.TrimSpace(l))
		}
	}
	return nil
}

// must is for what is only wrong when the test is: must(f())(t).
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestE2EBrokerMoves changes what is a restart: endpoints, and whose the broker is. And it gives a node endpoints at
// which nobody is.
func TestE2EBrokerMoves(t *testing.T) {
	b := e2eBus(t)
	b.script("nobody", `redef Cluster::Backend::ZeroMQ::connect_xsub_endpoint = "tcp://127.0.0.1:25198";
redef Cluster::Backend::ZeroMQ::connect_xpub_endpoint = "tcp://127.0.0.1:25199";
`)
	b.run(b.content("curve = on\n"))
	const elsewhere = "curve = on\nxpub = tcp://127.0.0.1:25190\nxsub = tcp://127.0.0.1:25191\n"
	for _, tt := range []struct {
		what, lines, want string
	}{
		{"not encrypted", "", strings.Join(busNodes, " ")},
		{"other endpoints, and encrypted", elsewhere, "broker " + strings.Join(busNodes, " ")},
		// A node that went on would know the old manager, for whom nobody says goodbye, and might take the new one for gone.
		{"the manager's", elsewhere + "mode = manager\n", "-broker " + strings.Join(busNodes, " ")},
		{"standalone again", elsewhere, "broker " + strings.Join(busNodes, " ")},
	} {
		b.sub(tt.what, func(t *testing.T) {
			before := b.settled("")
			planned := disturbed(b.plan(b.content(tt.lines)))
			began := time.Now()
			b.save(b.content(tt.lines))
			c := b.settled(before.Revision.Running)
			if got := changed(pids(before), pids(c)); got != tt.want {
				t.Errorf("disturbed: %q, want %q; planned was %q", got, tt.want, planned)
			}
			b.flowing(nodePIDs(c), time.Now())
			formed, _ := b.knowEachOther(nodePIDs(c))
			t.Logf("all know each other %s after the change, planned was %q (%s)", round(formed.Sub(began)), planned, load())
		})
	}
	b.sub("all anew", func(t *testing.T) {
		before := pids(b.settled(""))
		b.zeekrec("restart", "dmz")
		c := b.cluster("all have new processes", 3*time.Minute, func(c engine.ClusterStatus) error {
			if got := changed(before, pids(c)); got != "broker "+strings.Join(busNodes, " ") || !c.Healthy || !c.Synced || c.Rollout != nil {
				return fmt.Errorf("restarted: %q, healthy %t", got, c.Healthy)
			}
			return nil
		})
		b.knowEachOther(nodePIDs(c))
		b.flowing(nodePIDs(c), time.Now())
	})
	b.sub("nobody there", func(t *testing.T) { b.nobodyThere(elsewhere) })
	b.kill(syscall.SIGTERM)
}

// nobodyThere is a revision by which a worker looks for the broker elsewhere. It runs, and is of no use: the rollout waits,
// and goes back.
func (b *bus) nobodyThere(lines string) {
	b.t.Helper()
	before := b.settled("")
	good := b.workers
	b.workers = copyOf(good)
	b.workers["worker-3"] += "scripts = nobody\n"
	began := time.Now()
	b.save(b.content(lines))
	b.workers = good
	b.cluster("the worker runs and has not joined", waitLong, func(c engine.ClusterStatus) error {
		for _, r := range c.Resources {
			if r.Name == "worker-3" && r.State == observed.Running && r.Joined != nil && !*r.Joined && r.Reason == "has not joined the broker" && c.Rollout != nil {
				b.t.Logf("after %s: %s, %q", round(time.Since(began)), r.State, r.Reason)
				return nil
			}
		}
		return errors.New("not yet")
	})
	c := b.cluster("it is reverted and quarantined", 3*time.Minute, func(c engine.ClusterStatus) error {
		if c.Quarantined == "" || !c.Healthy || c.Rollout != nil || c.Revision.Running != before.Revision.Running {
			return fmt.Errorf("quarantined %q, healthy %t, running %s: %s", c.Quarantined, c.Healthy, c.Revision.Running, c.Reason)
		}
		return nil
	})
	b.t.Logf("reverted after %s: %s", round(time.Since(began)), c.Reason)
	if !strings.Contains(c.Reason, "has not joined") {
		b.t.Errorf("the reason is %q", c.Reason)
	}
	if got := changed(pids(before), pids(c)); got != "worker-3" {
		b.t.Errorf("disturbed: %q, want worker-3 alone", got)
	}
	b.knowEachOther(nodePIDs(c))
}

// runLog is what zeekrec run has logged.
func (b *bus) runLog() string {
	b.t.Helper()
	out, err := os.ReadFile(b.log.Name())
	if err != nil {
		b.t.Fatal(err)
	}
	return string(out)
}
