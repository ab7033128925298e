package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
	"github.com/zeekrec/zeekrec/testdata/zeek/bus"
)

// answer is what frameworks/control/controllee answers to an event; false: nothing.
func (n *node) answer(now time.Time, e zeekbus.Event) (bus.Publication, bool) {
	if !n.program.Loaded("/frameworks/control/controllee.zeek") {
		return bus.Publication{}, false
	}
	name, ok := strings.CutPrefix(e.Name, "Control::")
	if !ok {
		return bus.Publication{}, false
	}
	name, ok = strings.CutSuffix(name, "_request")
	if !ok {
		return bus.Publication{}, false
	}
	var args []zeekbus.Value
	switch {
	case name == "id_value" && len(e.Args) == 1:
		id, ok := e.Args[0].(zeekbus.String)
		if !ok {
			return bus.Publication{}, false
		}
		args = []zeekbus.Value{id, zeekbus.String(n.lookup(string(id)))}
	case name == "net_stats" && len(e.Args) == 0:
		args = []zeekbus.Value{zeekbus.String(stamp(now) + " recvd=0 dropped=0 link=0\n")}
	case name == "peer_status" && len(e.Args) == 0:
		args = []zeekbus.Value{zeekbus.String("")} // the peers of Broker: none
	default:
		return bus.Publication{}, false
	}
	return bus.Publication{
		Topic: zeekbus.PrefixControl + name + "_response/" + n.self.Name,
		Event: zeekbus.Event{Name: "Control::" + name + "_response", Args: args},
	}, true
}

// lookup is the value of an identifier as Zeek prints it: of what scripts have redefined and of a few that the stand-in knows.
func (n *node) lookup(id string) string {
	switch id {
	case "Cluster::node", "peer_description":
		return n.self.Name
	case "Cluster::backend":
		return "Cluster::CLUSTER_BACKEND_ZEROMQ"
	case zeromqModule + "my_node_id":
		return n.self.ID
	case "Cluster::active_node_ids":
		return printActive(n.members.Active())
	}
	if v, ok := n.told[id]; ok {
		return v
	}
	if v, ok := n.program.Value(id); ok {
		return v
	}
	for _, z := range zeekNames() {
		if z.name == id && z.value != "" {
			return z.value
		}
	}
	return "<unknown id>"
}

// printActive prints a table[Cluster::NodeType] of set[string].
func printActive(active map[string][]string) string {
	var entries []string
	for _, role := range slices.Sorted(maps.Keys(active)) {
		set := "{\n" + strings.Join(active[role], ",\n") + "\n\t}"
		entries = append(entries, fmt.Sprintf("\t[Cluster::%s] = %s", role, set))
	}
	return "{\n" + strings.Join(entries, ",\n") + "\n}"
}
