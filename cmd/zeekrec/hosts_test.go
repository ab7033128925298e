//go:build linux

package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// convergesWithin is how soon a first cluster on three hosts runs.
const convergesWithin = 10 * time.Second

// partition is something that happens to the network.
type partition struct {
	name string
	do   func(e *ether)
}

func partitions() []partition {
	return []partition{
		{"b is cut off", func(e *ether) { e.cut("b") }},
		{"nothing comes from b", func(e *ether) { e.silence("b") }},
		{"nothing gets to b", func(e *ether) { e.deafen("b") }},
		{"the controller is cut off", func(e *ether) { e.cut(controllerHost) }},
		{"the controller and a here, b and c there", func(e *ether) { e.split(controllerHost, "a") }},
		{"30 % of everything is lost", func(e *ether) { e.weather(rule{loss: 0.3}) }},
		{"2 s of latency", func(e *ether) { e.weather(rule{delay: time.Second}) }}, // there and back
	}
}

// TestHosts has a cluster on three hosts, and what happens to networks, agents and the controller. At every instant no node has two
// processes; afterwards the cluster is what its file says.
func TestHosts(t *testing.T) {
	seed := rand.Uint64()
	h := quickstart(t, build(t, "./testdata/zeek", "-s -w"), seed)
	r := rand.New(rand.NewPCG(seed, 2))
	all := partitions()
	// Short ones: what was on its way gets there when TCP tries again. An order that is lost for good is given up at its deadline only.
	h.during(all[r.IntN(5)], controllerHost, 500*time.Millisecond)
	h.during(all[5+r.IntN(2)], controllerHost, 500*time.Millisecond)
}

// TestHostsLong goes through all of it, again and again, with each Zeek that there is.
func TestHostsLong(t *testing.T) {
	if os.Getenv("ZEEKREC_E2E") == "" {
		t.Skip("takes minutes; set ZEEKREC_E2E=1 (make test-hosts)")
	}
	zeeks := map[string]string{"stand-in": build(t, "./testdata/zeek", "-s -w")}
	if zeek, real := realZeek(); real {
		zeeks["zeek"] = zeek
	}
	for _, name := range slices.Sorted(maps.Keys(zeeks)) {
		t.Run(name, func(t *testing.T) {
			seed := rand.Uint64()
			h := quickstart(t, zeeks[name], seed)
			r := rand.New(rand.NewPCG(seed, 2))
			for range 3 {
				for _, p := range partitions() {
					h.during(p, []string{controllerHost, "a", "b", "c"}[r.IntN(4)], time.Duration(1+r.IntN(5))*time.Second)
				}
			}
		})
	}
}

// quickstart brings a first cluster up on three hosts.
func quickstart(t *testing.T, zeek string, seed uint64) *fleetRig {
	t.Helper()
	t.Logf("seed %d", seed)
	h := &fleetRig{hostsRig: newHostsRig(t, build(t, "./cmd/zeekrec", "-s -w"), zeek, seed, "a", "b", "c"), workers: map[string]string{"worker-1": "b", "worker-2": "b", "worker-3": "c"}}
	h.startAll()
	h.write()
	c, took := h.untilSettled("", waitLong)
	t.Logf("a cluster on three hosts runs %.1f s after its file was saved", took.Seconds())
	if took > convergesWithin {
		t.Errorf("it took %s until it ran, want less than %s", took, convergesWithin)
	}
	if c.Keys == nil || c.Keys.ID == "" {
		t.Error("its traffic is not encrypted")
	}
	h.runs(c)
	return h
}

// fleetRig is a hostsRig with the file that it has last been given.
type fleetRig struct {
	*hostsRig
	workers map[string]string // to hosts
	version int
}

func (h *fleetRig) write() { h.save(h.fleetConfig(h.workers, h.version)) }

// runs checks that each node has one process, on its host, by the processes themselves.
func (h *fleetRig) runs(c engine.ClusterStatus) {
	h.t.Helper()
	for _, r := range c.Resources {
		if got := h.where(r.Name); strings.Join(got, " ") != r.Instance {
			h.t.Errorf("%s has processes on %v, want one on %s", r.Name, got, r.Instance)
		}
	}
}

// during a partition a worker is changed, another one is to move from b to c or back, zeekrec is killed on a host, and started again;
// then the network heals. pause is before and after the kill.
func (h *fleetRig) during(p partition, where string, pause time.Duration) {
	h.t.Helper()
	before, _ := h.untilSettled("", waitLong)
	was := pids(before)
	p.do(h.ether)
	h.version++
	to := map[string]string{"b": "c", "c": "b"}
	h.workers["worker-2"] = to[h.workers["worker-2"]]
	h.write()
	victim := h.hosts[where]
	time.Sleep(pause) // the partition lasts; nothing is waited for
	victim.kill()
	time.Sleep(time.Second)
	victim.start()
	time.Sleep(pause)
	h.ether.heal()
	began := time.Now()
	c, _ := h.untilSettled(before.Revision.Running, 5*waitLong)
	h.t.Logf("%s, and zeekrec is killed on %s: as it should be %.1f s after the network was", p.name, victim.name, time.Since(began).Seconds())
	h.runs(c)
	// What was neither changed nor told others was not disturbed. The broker's neighbours may have lost patience with it.
	now := pids(c)
	for _, n := range []string{"manager", "logger-1", "worker-3"} {
		if now[n] != was[n] {
			h.t.Errorf("%s: %s was restarted, by %s", p.name, n, fmt.Sprint(was[n], " -> ", now[n]))
		}
	}
}
