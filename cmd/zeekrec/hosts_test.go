package main

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestHosts: one controller and three agents on four hosts, a cluster over three of them, encrypted. It comes up, one host is cut off and
// comes back, agents and the controller are killed in rollouts, and a host that has turned against the others gets nowhere. At every
// instant no node runs twice.
func TestHosts(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	h := newHosts(t, seed)
	h.bin, h.zeek = build(t, "./cmd/zeekrec", "-s -w"), build(t, "./testdata/zeek", "-s -w")
	h.quickstart()
	h.trouble(trouble{name: "an agent is cut off", cut: func() { h.net.between([]string{"c"}, allHosts, silent); h.net.between(allHosts, []string{"c"}, silent) }, gone: []string{"c"}})
	h.kills(seed, 5)
	h.rogue()
	h.tokens()
	h.ports()
}

// longHosts are those of a test that takes long.
func longHosts(t *testing.T) *hosts {
	t.Helper()
	if os.Getenv("ZEEKREC_E2E") == "" {
		t.Skip("takes long: ZEEKREC_E2E=1 runs it")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	h := newHosts(t, seed)
	h.long = true
	h.bin, h.zeek = build(t, "./cmd/zeekrec", "-s -w"), build(t, "./testdata/zeek", "-s -w")
	return h
}

// silent loses everything.
var silent = link{cut: true}

// TestE2EHostsTroubles is every way in which the network can be bad.
func TestE2EHostsTroubles(t *testing.T) {
	h, whole := longHosts(t), t
	h.quickstart()
	c, ctl, rest := []string{"c"}, []string{controllerHost}, []string{controllerHost, "a", "b"}
	both := func(x, y []string, l link) func() {
		return func() { h.net.between(x, y, l); h.net.between(y, x, l) }
	}
	for _, x := range []trouble{
		{name: "an agent is cut off", cut: both(c, rest, silent), gone: c},
		{name: "the controller is cut off", cut: both(ctl, agentHosts, silent), gone: agentHosts},
		{name: "halves", cut: both([]string{controllerHost, "a"}, []string{"b", "c"}, silent), gone: []string{"b", "c"}},
		{name: "an agent is not heard", cut: func() { h.net.between(c, rest, silent) }, gone: c},
		{name: "an agent does not hear", cut: func() { h.net.between(rest, c, silent) }, gone: c},
		{name: "the controller is not heard", cut: func() { h.net.between(ctl, agentHosts, silent) }, gone: agentHosts},
		{name: "the controller does not hear", cut: func() { h.net.between(agentHosts, ctl, silent) }, gone: agentHosts},
		{name: "30% of what an agent says and hears is lost", cut: both(c, rest, link{loss: 0.3}), bad: true, gone: c},
		{name: "30% of everything is lost", cut: both(allHosts, allHosts, link{loss: 0.3}), bad: true, gone: agentHosts},
		{name: "an agent is 2 s away", cut: both(c, rest, link{delay: time.Second}), bad: true, gone: c},
		{name: "an agent is 2 s away in each direction", cut: both(c, rest, link{delay: 2 * time.Second}), bad: true, gone: c},
	} {
		t.Run(x.name, func(t *testing.T) {
			h.t = t
			defer func() { h.t = whole }()
			h.trouble(x)
		})
	}
}

// TestE2EHostsKills kills a hundred times.
func TestE2EHostsKills(t *testing.T) {
	h := longHosts(t)
	h.quickstart()
	h.kills(uint64(time.Now().UnixNano()), 100)
}

// TestE2EHostsCuts: hosts are cut off at any moment of a rollout, for as long as it takes, the last time for longer than any deadline of an
// action. The revision is not to blame: it is never taken back, and when all is well again all have it.
func TestE2EHostsCuts(t *testing.T) {
	h := longHosts(t)
	h.quickstart()
	dice := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 3))
	for n, lasts := range []time.Duration{time.Second, 3 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, 170 * time.Second} {
		before := h.watch.starts()
		for w := range h.env {
			h.env[w] = fmt.Sprintf("N=cut-%d", n)
		}
		h.save()
		after := time.Duration(dice.IntN(4000)) * time.Millisecond
		time.Sleep(after) // somewhere in the rollout
		host := agentHosts[dice.IntN(len(agentHosts))]
		h.net.between([]string{host}, allHosts, silent)
		h.net.between(allHosts, []string{host}, silent)
		for end := time.Now().Add(lasts); time.Now().Before(end); time.Sleep(time.Second) {
			if s, err := h.status(); err != nil || len(s.Clusters) != 1 || s.Clusters[0].Quarantined != "" {
				t.Fatalf("while %s is cut off: %+v, %v", host, s, err)
			}
		}
		h.net.heal()
		t.Logf("%s was cut off for %s, %s after a push: settled %s after that", host, lasts, after, h.settled(h.soon()))
		h.onlyStarted("a cut", before, map[string]int{"worker-1": 1, "worker-2": 1, "worker-3": 1})
	}
}

// TestE2EHostsMoves: a node moves away from a host that is cut off. It does not start elsewhere as long as nobody knows that it has ended.
func TestE2EHostsMoves(t *testing.T) {
	h := longHosts(t)
	h.quickstart()
	rest := []string{controllerHost, "a", "b"}
	for _, at := range []string{"at once", "when it is known"} {
		before := h.watch.starts()
		h.net.between([]string{"c"}, rest, silent)
		h.net.between(rest, []string{"c"}, silent)
		if at != "at once" {
			h.hushed("c")
		}
		_, pid := h.watch.hostOf("worker-3")
		h.place["worker-3"] = "a"
		h.save()
		// It would be started within a second.
		for end := time.Now().Add(25 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			if host, now := h.watch.hostOf("worker-3"); host != "c" || now != pid {
				t.Fatalf("%s: worker-3 runs as %d on %q while its host is cut off, was %d", at, now, host, pid)
			}
		}
		h.net.heal()
		t.Logf("%s: moved %s after the network was healed", at, h.settled(h.soon()))
		h.onlyStarted(at, before, map[string]int{"worker-3": 1})
		h.place["worker-3"] = "c"
		h.save()
		h.settled(waitLong)
	}
}

// TestE2EHostsAlone: the controller is gone for long. Agents go on without it, and nothing is restarted when it is back. Nor is anything when
// all of it is replaced by another version.
func TestE2EHostsAlone(t *testing.T) {
	h := longHosts(t)
	h.quickstart()
	before := h.watch.starts()
	h.stop(controllerHost, syscall.SIGKILL)
	_, pid := h.watch.hostOf("worker-2")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	h.eventually("the agent has healed it", waitLong, func() error {
		if _, now := h.watch.hostOf("worker-2"); now == pid || now == 0 {
			return errors.New("it has not")
		}
		return nil
	})
	time.Sleep(40 * time.Second) // that is long: longer than anything waits for a controller
	h.controller()
	t.Logf("settled %s after the controller was back", h.settled(h.soon()))
	h.onlyStarted("the controller was gone", before, map[string]int{"worker-2": 1})

	next := build(t, "./cmd/zeekrec", "-s -w -X github.com/zeekrec/zeekrec/cmd/internal/cli.version=v99.0.0")
	before = h.watch.starts()
	h.bin = next
	h.stop(controllerHost, syscall.SIGTERM)
	h.controller()
	for _, host := range agentHosts {
		h.stop(host, syscall.SIGTERM)
		h.agent(host)
	}
	h.settled(h.soon())
	h.onlyStarted("an upgrade", before, nil)
	if s, err := h.status(); err != nil || s.Version != "v99.0.0" {
		t.Errorf("version %+v, %v", s, err)
	}
}

// TestE2EHostsClocks: one agent's clock is an hour fast, another's an hour slow. They join, and do as all others.
func TestE2EHostsClocks(t *testing.T) {
	h := longHosts(t)
	h.other = map[string]string{}
	for host, skew := range map[string]string{"b": "1h", "c": "-1h"} {
		h.other[host] = build(t, "./cmd/zeekrec", "-s -w -X github.com/zeekrec/zeekrec/cmd/internal/cli.clockSkew="+skew)
	}
	h.quickstart()
	for n := range 3 {
		before := h.watch.starts()
		w := fmt.Sprintf("worker-%d", n+1)
		h.env[w] = fmt.Sprintf("N=clock-%d", n)
		h.save()
		h.settled(waitLong)
		h.onlyStarted("a change of "+w, before, map[string]int{w: 1})
	}
	before := h.watch.starts()
	for _, host := range agentHosts {
		h.stop(host, syscall.SIGKILL)
		h.agent(host)
	}
	h.settled(waitLong)
	h.onlyStarted("agents with wrong clocks began anew", before, nil)
	s, err := h.status()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range s.Agents {
		if age := s.At.Sub(a.LastReport); age < 0 || age > time.Minute {
			t.Errorf("the report of %s is %s old", a.Name, age)
		}
	}
}

// TestE2EHostsZeek is the quick start with Zeek itself.
func TestE2EHostsZeek(t *testing.T) {
	h := longHosts(t)
	zeek, ok := realZeek()
	if !ok {
		t.Skip("there is no Zeek")
	}
	h.zeek = zeek
	h.quickstart()
	h.ports()
}

// quickstart is from nothing to a cluster that runs on three hosts.
func (h *hosts) quickstart() {
	h.t.Helper()
	h.save()
	began := time.Now()
	h.controller()
	for _, host := range agentHosts {
		h.join(host)
		h.agent(host)
	}
	h.settled(2 * waitLong)
	took := time.Since(began)
	h.t.Logf("from the controller's start to a cluster on three hosts: %s (load %s)", took, loadNow())
	limit := 10 * time.Second
	if !h.long || h.soon() == waitLong {
		limit = 30 * time.Second // others work here, too
	}
	if z, ok := realZeek(); ok && h.zeek == z && limit > 10*time.Second {
		limit = 2 * waitLong // each of six nodes, and several checks, read all of Zeek's scripts
	}
	if took > limit {
		h.t.Errorf("the quick start took %s, want %s", took, limit)
	}
	for _, node := range slices.Sorted(maps.Keys(h.watch.starts())) {
		if n := h.watch.starts()[node]; n != 1 {
			h.t.Errorf("%s was started %d times", node, n)
		}
	}
	if out, err := h.ask("status", "--json"); err != nil || !strings.Contains(out, `"keys"`) {
		h.t.Errorf("it is not encrypted: %v", err)
	}
}

// trouble with the network.
type trouble struct {
	name string
	cut  func()
	// gone are the hosts that cannot be reached; bad: they can, now and then.
	gone []string
	bad  bool
}

// trouble makes some, and pushes changes meanwhile: what can be reached follows, nothing else is touched, and when all is well again
// everything follows soon.
func (h *hosts) trouble(x trouble) {
	h.t.Helper()
	defer h.net.heal() // also where it goes wrong
	before, began := h.watch.starts(), time.Now()
	h.t.Logf("%s: begins (load %s)", x.name, loadNow())
	x.cut()
	pushes := []string{"at once"}
	if h.long {
		pushes = append(pushes, "when it is known")
	}
	for _, when := range pushes {
		if when != "at once" && !x.bad {
			h.hushed(x.gone...)
		}
		away := map[string]map[string]int{}
		for _, host := range x.gone {
			away[host] = h.watch.running(host)
		}
		for _, w := range []string{"worker-1", "worker-3"} {
			h.env[w] = fmt.Sprintf("N=%d", time.Now().UnixNano())
		}
		h.save()
		for _, w := range []string{"worker-1", "worker-3"} {
			if host := h.place[w]; !slices.Contains(x.gone, host) {
				took := h.eventually(x.name+": "+w+" follows, whose host is reached", waitLong, func() error { return h.runs(w, host) })
				h.t.Logf("%s, %s: %s followed after %s", x.name, when, w, took)
			}
		}
		if when != "at once" && !x.bad {
			for host, was := range away {
				if got := changed(was, h.watch.running(host)); got != "" {
					h.t.Errorf("%s: on %s, which cannot be reached, %q was disturbed", x.name, host, got)
				}
			}
		}
		if x.bad {
			time.Sleep(20 * time.Second) // whatever happens
		}
	}
	h.net.heal()
	took := h.settled(h.soon())
	h.t.Logf("%s: settled %s after it was over; it lasted %s (load %s)", x.name, took, time.Since(began)-took, loadNow())
	h.onlyStarted(x.name, before, map[string]int{"worker-1": len(pushes), "worker-3": len(pushes)})
}

// hushed waits until the controller knows that hosts are silent.
func (h *hosts) hushed(names ...string) {
	h.t.Helper()
	h.eventually("the controller knows who is silent", waitLong, func() error {
		s, err := h.status()
		if err != nil {
			return err
		}
		for _, a := range s.Agents {
			if want := slices.Contains(names, a.Name); want != (a.State == "silent") {
				return fmt.Errorf("%s is %s", a.Name, a.State)
			}
		}
		return nil
	})
}

// onlyStarted checks how often nodes were started since: those named at least once and at most so often, all others never.
func (h *hosts) onlyStarted(what string, before, most map[string]int) {
	h.t.Helper()
	for node, n := range h.watch.starts() {
		got := n - before[node]
		if limit, named := most[node]; got > limit || named && got < 1 {
			h.t.Errorf("%s: %s was started %d times, want %d", what, node, got, limit)
		}
	}
}

// kills ends agents and the controller somewhere in rollouts.
func (h *hosts) kills(seed uint64, times int) {
	h.t.Helper()
	dice := rand.New(rand.NewPCG(seed, 2))
	var longest time.Duration
	for n := range times {
		before := h.watch.starts()
		w := fmt.Sprintf("worker-%d", n%3+1)
		h.env[w] = fmt.Sprintf("N=kill-%d", n)
		h.save()
		time.Sleep(time.Duration(dice.IntN(1200)) * time.Millisecond) // somewhere in the rollout
		victim := allHosts[dice.IntN(len(allHosts))]
		h.stop(victim, syscall.SIGKILL)
		if victim == controllerHost {
			h.controller()
		} else {
			h.agent(victim)
		}
		took := h.settled(2 * waitLong)
		longest = max(longest, took)
		if took > 10*time.Second {
			h.t.Logf("kill %d, of %s: settled after %s", n, victim, took)
		}
		h.onlyStarted(fmt.Sprintf("kill %d of %s", n, victim), before, map[string]int{w: 1})
	}
	h.t.Logf("killed %d times; settled after %s at most (load %s)", times, longest, loadNow())
}

// soon is for how long things may take when all is well again.
func (h *hosts) soon() time.Duration {
	var one float64
	if _, err := fmt.Sscan(loadNow(), &one); h.long && err == nil && one <= float64(runtime.NumCPU()) {
		return 15 * time.Second
	}
	return waitLong
}

// loadNow is the load of this machine within the last minute.
func loadNow() string {
	b, _ := os.ReadFile("/proc/loadavg")
	one, _, _ := strings.Cut(string(b), " ")
	return one
}
