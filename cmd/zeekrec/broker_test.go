package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// TestBroker is a cluster of real Zeeks on zeekrec's own broker, encrypted: it forms, events and logs arrive, nodes
// answer, settings change in place, and neither the death of a node nor that of the broker confuses anybody.
// TestE2EBroker… have more of that, for longer.
func TestBroker(t *testing.T) {
	b := newBus(t)
	c := b.run(b.content("curve = on\n"))
	before := pids(c)

	b.sub("forms", func(t *testing.T) {
		formed, last := b.knowEachOther(nodePIDs(c))
		var started time.Time
		for _, r := range c.Resources {
			if r.Joined == nil && r.Type == "node" || r.Joined != nil && !*r.Joined {
				t.Errorf("%s has not joined, says the status", r.Name)
			}
			if r.StartedAt != nil && r.StartedAt.After(started) {
				started = *r.StartedAt
			}
		}
		took := formed.Sub(started)
		t.Logf("every node knows every other %s after the start of the last, %s after it began to run scripts (%s)", round(took), round(formed.Sub(last)), load())
		if took > 3*time.Second+slack {
			t.Errorf("every node knows every other after %s", took)
		}
		st, err := b.brokerStatus()
		if err != nil {
			t.Fatal(err)
		}
		if len(st.Curve) != 1 || len(st.Peers) != 2*len(busNodes) {
			t.Errorf("%d keys, %d connections", len(st.Curve), len(st.Peers))
		}
		for _, p := range st.Peers {
			if p.Mechanism != "CURVE" || p.Node == "" {
				t.Errorf("connection %+v", p)
			}
		}
	})

	b.sub("a node answers", func(t *testing.T) {
		for _, n := range busNodes {
			began := time.Now()
			out, err := exec.Command(b.bin, "broker", "ask", "--admin", b.admin(), n, "Cluster::node").CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != n {
				t.Errorf("%s answers %q, %v", n, out, err)
			}
			t.Logf("%s answered within %s", n, round(time.Since(began)))
		}
		out, err := exec.Command(b.bin, "broker", "ask", "--admin", b.admin(), "worker-1").CombinedOutput()
		if err != nil || !strings.Contains(string(out), " recvd=") {
			t.Errorf("worker-1 counts %q, %v", out, err)
		}
		b.listensAsItShould(pids(c))
	})

	b.sub("logs arrive", func(*testing.T) { b.logsArrive(before) })

	b.sub("settings change in place", func(t *testing.T) {
		for _, tt := range []struct {
			lines string
			want  broker.Settings
		}{
			{"sndhwm = 500\n", broker.Settings{SndHWM: 500, Policy: broker.Drop}},
			{"sndhwm = 500\npolicy = disconnect\n", broker.Settings{SndHWM: 500, Policy: broker.Disconnect}},
			{"", broker.Settings{SndHWM: broker.DefaultSndHWM, Policy: broker.Drop}},
		} {
			b.change(tt.lines, "", b.content("curve = on\n"+tt.lines))
			out, err := exec.Command(b.bin, "broker", "status", "--json", "--admin", b.admin()).Output()
			var st broker.Status
			if err == nil {
				err = json.Unmarshal(out, &st)
			}
			if err != nil || st.Settings.SndHWM != tt.want.SndHWM || st.Settings.Policy != tt.want.Policy || st.PID != before["broker"] {
				t.Errorf("after %q: %+v, process %d, %v", tt.lines, st.Settings, st.PID, err)
			}
		}
	})

	b.sub("kill -9 of the broker", func(t *testing.T) {
		began := time.Now()
		killed := b.killBroker()
		b.flowing(nodePIDs(c), killed)
		if got := changed(before, pids(b.settled(""))); got != "broker" {
			t.Errorf("disturbed: %q, want the broker alone", got)
		}
		b.quiet(busNodes, began)
		b.fewLost(nodePIDs(c), 1, 200, began)
	})

	b.sub("kill -9 of a worker", func(t *testing.T) {
		old := pids(b.settled(""))
		killed := b.killNode("worker-3", old["worker-3"])
		now := b.again("worker-3", old["worker-3"])
		if got := changed(old, pids(now)); got != "worker-3" {
			t.Errorf("disturbed: %q, want worker-3 alone", got)
		}
		b.knowEachOther(nodePIDs(now))
		b.quiet(busNodes[:5], killed, "worker-3")
		b.flowing(nodePIDs(now), time.Now())
	})
	b.kill(syscall.SIGTERM)
}

// TestBrokerOfStandIns is the same from the outside, for machines without a Zeek.
func TestBrokerOfStandIns(t *testing.T) {
	b := busOf(t, build(t, "./testdata/zeek", "-s -w"))
	for _, n := range busNodes[3:] {
		b.workers[n] = ""
	}
	content := func(broker string) string {
		return config{workers: b.workers, all: "\n[zeekrec.broker]\ncurve = on\n" + broker}.String()
	}
	b.save(content(""))
	b.start()
	before := pids(b.joined())

	b.sub("a node answers", func(t *testing.T) {
		out, err := exec.Command(b.bin, "broker", "ask", "--admin", b.admin(), "worker-1", "Cluster::node").CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != "worker-1" {
			t.Errorf("worker-1 answers %q, %v", out, err)
		}
	})
	b.sub("settings change in place", func(t *testing.T) {
		b.change("policy", "", content("policy = disconnect\n"))
		if st := must(b.brokerStatus())(t); st.Settings.Policy != broker.Disconnect || st.PID != before["broker"] {
			t.Errorf("%+v, process %d", st.Settings, st.PID)
		}
	})
	b.sub("kill -9 of the broker", func(t *testing.T) {
		b.killBroker()
		b.again("broker", before["broker"])
		if got := changed(before, pids(b.joined())); got != "broker" {
			t.Errorf("disturbed: %q, want the broker alone", got)
		}
	})
	b.sub("kill -9 of a worker", func(t *testing.T) {
		old := pids(b.joined())
		b.signal(old["worker-3"], syscall.SIGKILL)
		b.again("worker-3", old["worker-3"])
		if got := changed(old, pids(b.joined())); got != "worker-3" {
			t.Errorf("disturbed: %q, want worker-3 alone", got)
		}
	})
	b.kill(syscall.SIGTERM)
}

// joined waits until all is well, and each node has joined by its process of now.
func (b *bus) joined() engine.ClusterStatus {
	b.t.Helper()
	return b.cluster("every node has joined", waitLong, func(c engine.ClusterStatus) error {
		if !c.Synced || !c.Healthy {
			return fmt.Errorf("synced %t, healthy %t: %s", c.Synced, c.Healthy, c.Reason)
		}
		for _, r := range c.Resources {
			if r.Type == "node" && (r.Joined == nil || !*r.Joined) {
				return errors.New(r.Name + " has not")
			}
		}
		st, err := b.brokerStatus()
		if err != nil {
			return err
		}
		for _, m := range st.Members {
			if pid := pids(c)[m.Name]; m.PID != pid {
				return fmt.Errorf("%s has joined as process %d, and is %d", m.Name, m.PID, pid)
			}
		}
		return allJoined(st, busNodes, true)
	})
}

// killNode kills a node's process as kill -9 does, and waits until all others have heard.
func (b *bus) killNode(name string, pid int) (at time.Time) {
	b.t.Helper()
	at = time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		b.t.Fatal(err)
	}
	var slowest time.Duration
	soon(b.t, "all hear of its end", 20*time.Second, func() error {
		slowest = 0
		for _, n := range busNodes {
			if n == name {
				continue
			}
			es := b.since(n, at)
			i := slices.IndexFunc(es, func(e note) bool {
				return e.what == "down" && e.args[0] == name && strings.Contains(e.args[1], fmt.Sprintf("_%d_", pid))
			})
			if i < 0 {
				return errors.New(n + " has not")
			}
			slowest = max(slowest, es[i].at.Sub(at))
		}
		return nil
	})
	b.t.Logf("%s was killed: down at all others after %s (%s)", name, round(slowest), load())
	if slowest > 500*time.Millisecond+slack {
		b.t.Errorf("%s was killed: down at all others after %s", name, slowest)
	}
	return at
}

// fewLost checks what is missing of the events after the broker was killed some times. What publishers hold has to arrive: so
// nothing is dropped by the broker, and what they drop themselves, because the outage was too long for their queues, they
// count. What had left a publisher's queue, and was in the kernel's buffers or the broker's memory, is gone: of each flow
// a tenth of a second's worth at most.
func (b *bus) fewLost(pids map[string]int, kills, rate int, began time.Time) {
	b.t.Helper()
	fs := b.flows(pids, began)
	missing, sent, longest, where := lost(fs)
	dropped := must(b.brokerStatus())(b.t).Dropped.Messages
	b.t.Logf("%d killed: %d of %d events lost, %d of them dropped by the broker; the longest pause was %s, from %s (%s)",
		kills, missing, sent, dropped, round(longest), where, load())
	for _, f := range fs {
		own := b.ownDrops(f.from, pids[f.from])
		if len(f.missing) > 0 {
			b.t.Logf("from %s to %s: %d lost between %d and %d, %d of them dropped by %s itself", f.from, f.to, len(f.missing), f.missing[0], f.missing[len(f.missing)-1], own, f.from)
		}
		if n := len(f.missing) - own; n > 20+kills*rate/10 {
			b.t.Errorf("from %s to %s: %d lost", f.from, f.to, n)
		}
	}
	if dropped > 0 {
		b.t.Errorf("the broker dropped %d messages, which publishers had kept for it", dropped)
	}
}

// ownDrops is how many events a process has dropped because the queue of its socket was full.
func (b *bus) ownDrops(name string, pid int) int {
	b.t.Helper()
	drops := 0
	for _, e := range b.notes(name) {
		for _, a := range e.args {
			if v, ok := strings.CutPrefix(a, "zeek_cluster_zeromq_xpub_drops_total="); ok && e.what == "drops" && e.pid == pid {
				n, err := strconv.Atoi(v)
				if err != nil {
					b.t.Fatal(err)
				}
				drops = n
			}
		}
	}
	return drops
}

// logsArrive waits until all lines that the workers write are in the logger's file, and checks that each is there
// once.
func (b *bus) logsArrive(pids map[string]int) {
	b.t.Helper()
	const lines = 1000 // Bus::lines
	began := time.Now()
	count := func() map[string]map[int]int {
		got := map[string]map[int]int{}
		for _, l := range strings.Split(b.read("logger-1", "bus.log"), "\n") {
			f := strings.Split(l, "\t")
			if len(f) != 3 || strings.HasPrefix(l, "#") || f[1] != strconv.Itoa(pids[f[0]]) {
				continue
			}
			if got[f[0]] == nil {
				got[f[0]] = map[int]int{}
			}
			n, err := strconv.Atoi(f[2])
			if err != nil {
				b.t.Errorf("line %q", l)
			}
			got[f[0]][n]++
		}
		return got
	}
	b.eventually("all lines are there", waitLong, func() error {
		for _, w := range busNodes[3:] {
			if n := len(count()[w]); n < lines {
				return fmt.Errorf("%d of %s", n, w)
			}
		}
		return nil
	})
	total := 0
	for w, ns := range count() {
		for n, times := range ns {
			total += times
			if times != 1 || n < 1 || n > lines {
				b.t.Errorf("line %d of %s is there %d times", n, w, times)
			}
		}
	}
	b.t.Logf("%d lines of %d workers arrived, waited %s for the last", total, len(busNodes)-3, round(time.Since(began)))
	if total != 3*lines {
		b.t.Errorf("%d lines", total)
	}
}

// listensAsItShould checks that Zeeks listen for metrics and logs, on loopback, and for nothing else.
func (b *bus) listensAsItShould(pids map[string]int) {
	b.t.Helper()
	if b.netns == "" {
		return
	}
	out, err := exec.Command("ip", "netns", "exec", b.netns, "ss", "-Hltnup").Output()
	if err != nil {
		b.t.Fatal(err)
	}
	n := 0
	for l := range strings.Lines(string(out)) {
		if !strings.Contains(l, `("zeek",`) {
			continue
		}
		n++
		if !strings.Contains(l, " 127.0.0.1:251") {
			b.t.Errorf("a node listens: %s", l)
		}
	}
	if n != len(busNodes)+1 { // metrics of each, and the logger's port
		b.t.Errorf("nodes listen on %d ports:\n%s", n, out)
	}
	for _, name := range busNodes {
		for l := range strings.Lines(b.read(name, "..", "stderr")) {
			if strings.Contains(l, "warning") || strings.Contains(l, "error") {
				b.t.Errorf("%s says: %s", name, l)
			}
		}
	}
}
