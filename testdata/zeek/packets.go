package main

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// packetRate is how many packets in a second a node with ZEEK_STANDIN_DROPS makes up.
const packetRate = 1000

// packets are counters of packets that never were. Its methods may be called at once.
type packets struct {
	mu                sync.Mutex
	at                time.Time
	received, dropped float64
}

// count goes on until now. drops is the share that is dropped; nil: there are no packets.
func (p *packets) count(now time.Time, drops *float64) (received, dropped uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if all := packetRate * now.Sub(p.at).Seconds(); drops != nil && !p.at.IsZero() {
		p.received += all * (1 - *drops)
		p.dropped += all * *drops
	}
	p.at = now
	return uint64(p.received), uint64(p.dropped)
}

// countPackets as a packet source would; of a node without one there are none.
func (n *node) countPackets(now time.Time) (received, dropped uint64) {
	if !n.options.hasIface {
		return 0, 0
	}
	drops := n.faults.drops
	if drops != nil && !n.faults.apply() {
		drops = new(0.0)
	}
	return n.packets.count(now, drops)
}

// metrics is the page of Telemetry::metrics_port, as far as zeekrec reads it.
func (n *node) metrics(now time.Time) string {
	var b strings.Builder
	say := func(name, kind, help, labels string, value uint64) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n%s{%snode=%q} %d\n", name, help, name, kind, name, labels, n.getenv("CLUSTER_NODE"), value)
	}
	say("zeek_version_info", "gauge", "The Zeek version", fmt.Sprintf("version_string=%q,", version()), 1)
	say("zeek_event_handler_invocations_total", "counter", "Number of times the given event handler was called", `name="zeek_init",`, 1)
	if n.program.Loaded("/frameworks/cluster/backend/zeromq/__load__.zeek") {
		say("zeek_cluster_zeromq_onloop_drops_total", "counter", "Number of received events dropped due to OnLoop queue full.", "", 0)
		say("zeek_cluster_zeromq_xpub_drops_total", "counter", "Number of published events that were dropped due to XPUB socket HWM", "", 0)
	}
	if n.program.Loaded("/zeekrec-telemetry.zeek") || n.program.Loaded("/misc/stats.zeek") {
		received, dropped := n.countPackets(now)
		say("zeek_net_received_packets_total", "counter", "Total number of packets received", "", received)
		if n.options.hasIface {
			say("zeek_net_dropped_packets_total", "counter", "Total number of packets dropped", "", dropped)
		}
	}
	return b.String()
}
