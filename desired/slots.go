package desired

import (
	"cmp"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
)

// LogSlots are the ports of an instance that the loggers of a cluster listen on, or will: whoever sends logs connects to all
// of them at its start, so a logger that takes one of them, or leaves it, restarts nobody (logger_slots in [zeekrec],
// decisions 35). Ports are only ever added: what a running node is connected to has to cover what is desired.
type LogSlots struct {
	// Spare is how many were to be free when ports were added last.
	Spare int `json:"spare"`
	// Ports, sorted.
	Ports []int `json:"ports"`
}

func (s LogSlots) equal(o LogSlots) bool { return s.Spare == o.Spare && slices.Equal(s.Ports, o.Ports) }

// slotsKey of the slots of a cluster on an instance.
func slotsKey(c *Cluster, instance string) string { return c.Name + "@" + instance }

// hasSlots reports whether loggers come and go without restarts.
func (c *Cluster) hasSlots() bool {
	return c.Settings.Backend == BackendZeroMQ && c.Settings.LoggerSlots > 0
}

// keepSlots keeps the ports of slots, but for those that are now stated for something else.
func (a *assigner) keepSlots() {
	here := map[string]*Cluster{}
	for _, c := range a.clusters {
		for _, i := range c.UsedInstances() {
			here[slotsKey(c, i)] = c
		}
	}
	for _, key := range sortedKeys(a.next.LogSlots) {
		name, instance, _ := strings.Cut(key, "@")
		if c := here[key]; c != nil && !c.hasSlots() {
			delete(a.next.LogSlots, key)
			continue
		}
		s := a.next.LogSlots[key]
		kept := make([]int, 0, len(s.Ports))
		for _, p := range s.Ports {
			if by := a.usedBy(instance, p); by != "" && !a.mayLog(name, by) {
				continue
			}
			a.take(instance, p, name+" log slot")
			kept = append(kept, p)
		}
		a.next.LogSlots[key] = LogSlots{Spare: s.Spare, Ports: kept}
	}
}

// mayLog reports whether who uses a port is a logger of the cluster, or was a node of it.
func (a *assigner) mayLog(cluster, by string) bool {
	node, ok := strings.CutPrefix(by, cluster+"/")
	if !ok || strings.Contains(node, " ") {
		return false
	}
	for _, c := range a.clusters {
		if c.Name != cluster {
			continue
		}
		for _, n := range c.Nodes {
			if n.Name == node {
				return n.Role == RoleLogger
			}
		}
	}
	return true
}

// freeSlot is a slot for a logger that has no port: one that was never used before one whose logger is gone, which has to
// find another one when it comes back. 0 where there is none.
func (a *assigner) freeSlot(c *Cluster, instance string) int {
	present := map[string]bool{}
	for _, n := range c.Nodes {
		present[c.Name+"/"+n.Name] = true
	}
	left := map[int]string{} // by those who are gone
	used := map[int]bool{}
	for _, key := range sortedKeys(a.next.Ports) {
		p := a.next.Ports[key]
		switch {
		case p.Instance != instance || !strings.HasPrefix(key, c.Name+"/"):
		case present[key]:
			used[p.Port] = true
		default:
			left[p.Port] = key
		}
	}
	free := func(p int) bool { return !used[p] }
	ports := a.next.LogSlots[slotsKey(c, instance)].Ports
	i := slices.IndexFunc(ports, func(p int) bool { return free(p) && left[p] == "" })
	if i < 0 {
		if i = slices.IndexFunc(ports, free); i < 0 {
			return 0
		}
		delete(a.next.Ports, left[ports[i]])
		if _, metrics := a.next.Metrics[left[ports[i]]]; !metrics {
			delete(a.next.Gone, left[ports[i]])
		}
	}
	return ports[i]
}

// missesSlots reports whether a logger that comes back would come back to a port of the time before there were slots, which
// nobody is connected to.
func (a *assigner) missesSlots(c *Cluster, n *Node, port int) bool {
	slots, ok := a.next.LogSlots[slotsKey(c, n.Instance)]
	return ok && n.Role == RoleLogger && c.hasSlots() && a.back[c.Name+"/"+n.Name] && !slices.Contains(slots.Ports, port)
}

// logSlots gives each instance that has a logger its slots: as many spare ones as are asked for, when the senders of
// logs have to be restarted anyway, because a logger has a port that they do not know, or more are asked for than before.
func (a *assigner) logSlots(c *Cluster) {
	if !c.hasSlots() {
		return
	}
	loggers := map[string][]int{} // by instance
	for _, n := range c.Nodes {
		if p := a.next.Ports[c.Name+"/"+n.Name].Port; n.Role == RoleLogger && p != 0 {
			loggers[n.Instance] = append(loggers[n.Instance], p)
		}
	}
	for _, instance := range slices.Sorted(maps.Keys(loggers)) {
		key := slotsKey(c, instance)
		s := a.next.LogSlots[key]
		known := !slices.ContainsFunc(loggers[instance], func(p int) bool { return !slices.Contains(s.Ports, p) })
		if known && s.Spare >= c.Settings.LoggerSlots {
			s.Spare = c.Settings.LoggerSlots
			a.next.LogSlots[key] = s
			continue
		}
		ports := slices.Concat(s.Ports, loggers[instance])
		slices.Sort(ports)
		ports = slices.Compact(ports)
		spare := len(ports) - len(loggers[instance])
		for port := cmp.Or(c.Settings.PortsFrom, 2200); spare < c.Settings.LoggerSlots; port++ {
			if port > 65535 {
				a.diags = append(a.diags, Diagnostic{File: c.File, Severity: Error, Code: "no-port-left", Message: "no port is left for a spare logger on " + instance, Hint: "let the numbers begin lower (ports_from), or lower logger_slots"})
				return
			}
			if a.usedBy(instance, port) != "" {
				continue
			}
			a.take(instance, port, c.Name+" log slot")
			ports = append(ports, port)
			spare++
		}
		slices.Sort(ports)
		a.next.LogSlots[key] = LogSlots{Spare: c.Settings.LoggerSlots, Ports: ports}
	}
}

// logEndpoints are all addresses that loggers of the cluster listen on or may come to listen on without a restart of
// those who send to them: ADDRESS:PORT, sorted. Nil where the cluster has no slots, or the manager logs.
func (k *compiler) logEndpoints(c *Cluster, layout Layout, addr map[string]string) []string {
	if !c.hasSlots() || layout.ManagerIsLogger {
		return nil
	}
	with := map[string]bool{}
	for _, n := range c.Nodes {
		if n.Role == RoleLogger {
			with[n.Instance] = true
		}
	}
	var out []string
	for instance := range with {
		for _, p := range k.next.LogSlots[slotsKey(c, instance)].Ports {
			out = append(out, net.JoinHostPort(addr[instance], strconv.Itoa(p)))
		}
	}
	slices.Sort(out)
	return out
}
