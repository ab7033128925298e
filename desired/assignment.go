package desired

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// RemovedKept is how long a removed name keeps what was assigned to it.
const RemovedKept = 30 * 24 * time.Hour

// Assignment is what was chosen for nodes that left it open, and has to stay chosen: a node keeps its
// numbers whatever comes and goes around it. It covers all clusters of a source and is journaled with
// every accepted revision. The zero value is that of a source seen for the first time.
//
// Nobody changes an Assignment after Compile returned it.
type Assignment struct {
	// Ports and Metrics by "cluster/node"; those of brokers and archivers by the name of the resource.
	Ports   map[string]Assigned `json:"ports,omitempty"`
	Metrics map[string]Assigned `json:"metrics,omitempty"`
	// Brokers by cluster: the ports of xpub and xsub.
	Brokers map[string]BrokerPorts `json:"brokers,omitempty"`
	// Fanout ids by "cluster/interface" (decisions 37).
	Fanout map[string]int `json:"fanout,omitempty"`
	// LogSlots by "cluster@instance".
	LogSlots map[string]LogSlots `json:"log_slots,omitempty"`
	// Addresses by instance.
	Addresses map[string]string `json:"addresses,omitempty"`
	// Local by "cluster@instance": whether the scripts default to "local".
	Local map[string]bool `json:"local,omitempty"`
	// Revisions that Local was decided for, by cluster.
	Revisions map[string]string `json:"revisions,omitempty"`
	// Gone says since when a key of Ports, Metrics, Brokers, Fanout or LogSlots is no longer in any file.
	Gone map[string]time.Time `json:"gone,omitempty"`
}

// Assigned is a number on an instance.
type Assigned struct {
	Instance string `json:"instance"`
	Port     int    `json:"port"`
}

// BrokerPorts are those of one cluster's ZeroMQ broker.
type BrokerPorts struct {
	Instance string `json:"instance"`
	XPub     int    `json:"xpub"`
	XSub     int    `json:"xsub"`
}

func (a Assignment) clone() Assignment {
	return Assignment{
		Ports: orEmpty(a.Ports), Metrics: orEmpty(a.Metrics), Brokers: orEmpty(a.Brokers), Fanout: orEmpty(a.Fanout),
		LogSlots: orEmpty(a.LogSlots), Addresses: orEmpty(a.Addresses), Local: orEmpty(a.Local), Revisions: orEmpty(a.Revisions), Gone: orEmpty(a.Gone),
	}
}

func orEmpty[M ~map[K]V, K comparable, V any](m M) M {
	if m == nil {
		return M{}
	}
	return maps.Clone(m)
}

// assigner hands out numbers to the nodes of all clusters of a source.
type assigner struct {
	clusters []*Cluster
	next     Assignment
	// used ports by instance, and by "=address" for those whose instances share one.
	used map[string]map[int]string
	// back has the nodes that were gone before and are there again.
	back  map[string]bool
	diags []Diagnostic
	addr  func(c *Cluster, instance string) string
}

// assign extends prev so that it covers all nodes of clusters (facts/management.md §2 for a cluster
// seen for the first time; sticky from then on).
func assign(clusters []*Cluster, prev Assignment, addr func(*Cluster, string) string, now time.Time) (Assignment, []Diagnostic) {
	a := &assigner{clusters: clusters, next: prev.clone(), used: map[string]map[int]string{}, back: map[string]bool{}, addr: addr}
	a.forget(now)
	a.takeExplicit()
	a.keepSticky()
	for _, c := range clusters {
		a.listenPorts(c)
	}
	for _, c := range clusters {
		a.logSlots(c)
	}
	for _, c := range clusters {
		a.metricsPorts(c)
	}
	for _, c := range clusters {
		a.brokerPorts(c)
	}
	for _, c := range clusters { // after all nodes, whose numbers were there before brokers had any
		a.helperMetrics(c)
	}
	a.fanoutIDs()
	return a.next, a.diags
}

// forget notes which keys are gone, and drops those that are gone for long.
func (a *assigner) forget(now time.Time) {
	present := map[string]bool{}
	for _, c := range a.clusters {
		present[c.Name] = true
		for _, h := range c.helpers() {
			present[c.Name+"/"+h.name] = true
		}
		for _, i := range c.UsedInstances() {
			present[slotsKey(c, i)] = true
		}
		for _, n := range c.Nodes {
			present[c.Name+"/"+n.Name] = true
			present[fanoutKey(c, &n)] = true
		}
	}
	seen := func(key string) (drop bool) {
		switch since, gone := a.next.Gone[key]; {
		case present[key]:
			a.back[key] = a.back[key] || gone
			delete(a.next.Gone, key)
		case !gone:
			a.next.Gone[key] = now
		default:
			return now.Sub(since) > RemovedKept
		}
		return false
	}
	drops := map[string]bool{}
	for k := range a.next.Ports {
		drops[k] = seen(k)
	}
	for k := range a.next.Metrics {
		drops[k] = seen(k)
	}
	for k := range a.next.Brokers {
		drops[k] = seen(k)
	}
	for k := range a.next.Fanout {
		drops[k] = seen(k)
	}
	for k := range a.next.LogSlots {
		drops[k] = seen(k)
	}
	for k, drop := range drops {
		if drop {
			delete(a.next.Ports, k)
			delete(a.next.Metrics, k)
			delete(a.next.Brokers, k)
			delete(a.next.Fanout, k)
			delete(a.next.LogSlots, k)
			delete(a.next.Gone, k)
		}
	}
}

// take marks a port as used on an instance.
func (a *assigner) take(instance string, port int, by string) {
	if port == 0 {
		return
	}
	if a.used[instance] == nil {
		a.used[instance] = map[int]string{}
	}
	if _, ok := a.used[instance][port]; !ok {
		a.used[instance][port] = by
	}
}

func (a *assigner) usedBy(instance string, port int) string { return a.used[instance][port] }

// takeExplicit marks what the files state: it wins over everything.
func (a *assigner) takeExplicit() {
	for _, c := range a.clusters {
		for _, i := range c.Instances {
			a.take(i.Name, i.Port, "the agent of "+i.Name)
		}
		for _, n := range c.Nodes {
			a.take(n.Instance, n.Port, c.Name+"/"+n.Name)
			a.take(n.Instance, n.MetricsPort, c.Name+"/"+n.Name+" metrics")
		}
		inst := c.BrokerInstance()
		for _, e := range []string{c.Settings.Broker.XPub, c.Settings.Broker.XSub} {
			if _, port, err := splitEndpoint(e); err == nil {
				a.take(inst, port, c.Name+" broker")
			}
		}
	}
}

// keepSticky keeps what was assigned before wherever it still fits, present names first.
func (a *assigner) keepSticky() {
	where := map[string]*Node{}
	cluster := map[string]*Cluster{}
	helpers := map[string]bool{}
	for _, c := range a.clusters {
		for _, h := range c.helpers() {
			helpers[c.Name+"/"+h.name] = true
		}
		for i := range c.Nodes {
			where[c.Name+"/"+c.Nodes[i].Name] = &c.Nodes[i]
			cluster[c.Name+"/"+c.Nodes[i].Name] = c
		}
	}
	keep := func(m map[string]Assigned, what string, stated func(*Node) int, moved bool) {
		for _, key := range sortedKeys(m) {
			got, n := m[key], where[key]
			if n == nil || (got.Instance != n.Instance) != moved {
				continue
			}
			if p := stated(n); p != 0 {
				m[key] = Assigned{n.Instance, p}
				continue
			}
			if by := a.usedBy(n.Instance, got.Port); by != "" {
				if !moved {
					a.note(cluster[key], n, "port-moved", fmt.Sprintf("%s's %s port %d is now stated for %s: it gets another", n.Name, what, got.Port, by))
				}
				delete(m, key)
				continue
			}
			m[key] = Assigned{n.Instance, got.Port}
			a.take(n.Instance, got.Port, key)
		}
	}
	// Whoever stays where it is keeps its numbers before somebody who comes from another host.
	for _, moved := range []bool{false, true} {
		keep(a.next.Ports, "listen", func(n *Node) int { return n.Port }, moved)
		keep(a.next.Metrics, "metrics", func(n *Node) int { return n.MetricsPort }, moved)
	}
	for _, m := range []map[string]Assigned{a.next.Ports, a.next.Metrics} {
		for _, key := range sortedKeys(m) {
			if where[key] == nil && !helpers[key] {
				a.take(m[key].Instance, m[key].Port, key)
			}
		}
	}
	a.keepSlots()
	a.keepBrokers()
	a.keepHelperMetrics()
}

// keepBrokers keeps the ports of brokers, but for one that is now stated for something else.
func (a *assigner) keepBrokers() {
	files := map[string]*Cluster{}
	for _, c := range a.clusters {
		files[c.Name] = c
	}
	for _, name := range sortedKeys(a.next.Brokers) {
		b := a.next.Brokers[name]
		c := files[name]
		own := name + " broker"
		by := a.usedBy(b.Instance, b.XPub)
		if by == "" || by == own {
			by = a.usedBy(b.Instance, b.XSub)
		}
		if by != "" && by != own && c != nil {
			a.diags = append(a.diags, Diagnostic{
				File: c.File, Severity: Info, Code: "port-moved",
				Message: fmt.Sprintf("a port of the broker (%d, %d) is now stated for %s: it gets others", b.XPub, b.XSub, by),
			})
			delete(a.next.Brokers, name)
			continue
		}
		a.take(b.Instance, b.XPub, name+" broker")
		a.take(b.Instance, b.XSub, name+" broker")
	}
}

// keepHelperMetrics keeps the metrics ports of brokers and archivers that stay where they are, as far as nobody else has
// them.
func (a *assigner) keepHelperMetrics() {
	for _, c := range a.clusters {
		for _, h := range c.helpers() {
			key := c.Name + "/" + h.name
			got, ok := a.next.Metrics[key]
			if !ok {
				continue
			}
			if got.Instance != h.instance || a.usedBy(got.Instance, got.Port) != "" {
				delete(a.next.Metrics, key)
				continue
			}
			a.take(got.Instance, got.Port, key)
		}
	}
}

func (a *assigner) note(c *Cluster, n *Node, code, msg string) {
	a.diags = append(a.diags, Diagnostic{File: c.File, Line: n.Line, Severity: Info, Code: code, Message: msg})
}

// upstreamOrder is that of zeek's own controller: by instance, role and name.
func upstreamOrder(c *Cluster) []*Node {
	rank := map[Role]int{RoleManager: 0, RoleLogger: 1, RoleProxy: 2, RoleWorker: 3}
	out := make([]*Node, len(c.Nodes))
	for i := range c.Nodes {
		out[i] = &c.Nodes[i]
	}
	slices.SortFunc(out, func(x, y *Node) int {
		return cmp.Or(strings.Compare(x.Instance, y.Instance), cmp.Compare(rank[x.Role], rank[y.Role]), strings.Compare(x.Name, y.Name))
	})
	return out
}

// listenPorts gives manager, loggers and proxies a port: one counter for the whole cluster, so that a
// port is also unique across its instances.
func (a *assigner) listenPorts(c *Cluster) {
	own := map[int]bool{}
	for _, i := range c.Instances {
		own[i.Port] = true
	}
	for _, n := range c.Nodes {
		own[n.Port] = true
	}
	for key, p := range a.next.Ports {
		if strings.HasPrefix(key, c.Name+"/") {
			own[p.Port] = true
		}
	}
	port := cmp.Or(c.Settings.PortsFrom, 2200)
	for _, n := range upstreamOrder(c) {
		key := c.Name + "/" + n.Name
		if n.Port != 0 {
			a.next.Ports[key] = Assigned{n.Instance, n.Port}
			continue
		}
		if n.Role == RoleWorker {
			delete(a.next.Ports, key)
			continue
		}
		was, ok := a.next.Ports[key]
		if ok && !a.missesSlots(c, n, was.Port) {
			continue
		}
		if n.Role == RoleLogger {
			if slot := a.freeSlot(c, n.Instance); slot != 0 {
				a.next.Ports[key] = Assigned{n.Instance, slot}
				continue
			}
		}
		if ok {
			continue
		}
		for port <= 65535 && (own[port] || a.usedBy(n.Instance, port) != "") {
			port++
		}
		if port > 65535 {
			a.exhausted(c, n, "listen")
			return
		}
		own[port] = true
		a.take(n.Instance, port, key)
		a.next.Ports[key] = Assigned{n.Instance, port}
	}
}

// metricsPorts gives every node one, by host address: instances without a known address share one
// name space, as upstream has it.
func (a *assigner) metricsPorts(c *Cluster) {
	if !c.Settings.Metrics {
		return
	}
	taken := a.byAddress(c)
	next := map[string]int{} // instance -> where to go on: below, nothing is free for it
	for _, n := range upstreamOrder(c) {
		key := c.Name + "/" + n.Name
		if n.MetricsPort != 0 {
			a.next.Metrics[key] = Assigned{n.Instance, n.MetricsPort}
			continue
		}
		if _, ok := a.next.Metrics[key]; ok {
			continue
		}
		port := max(next[n.Instance], cmp.Or(c.Settings.MetricsPortsFrom, 9000))
		for port <= 65535 && taken(n.Instance, port) {
			port++
		}
		if port > 65535 {
			a.exhausted(c, n, "metrics")
			return
		}
		next[n.Instance] = port + 1
		a.take(n.Instance, port, key+" metrics")
		a.next.Metrics[key] = Assigned{n.Instance, port}
	}
}

func (a *assigner) exhausted(c *Cluster, n *Node, what string) {
	a.diags = append(a.diags, Diagnostic{
		File: c.File, Line: n.Line, Severity: Error, Code: "no-port-left",
		Message: fmt.Sprintf("no %s port is left for %s on %s", what, n.Name, n.Instance),
		Hint:    "let the numbers begin lower (ports_from, metrics_ports_from)",
	})
}

// helperMetrics gives each cluster's broker one, and its archivers, behind those of the nodes.
func (a *assigner) helperMetrics(c *Cluster) {
	if !c.Settings.Metrics {
		return
	}
	taken := a.byAddress(c)
	for _, h := range c.helpers() {
		key := c.Name + "/" + h.name
		if _, ok := a.next.Metrics[key]; ok {
			continue
		}
		port := cmp.Or(c.Settings.MetricsPortsFrom, 9000)
		for port <= 65535 && taken(h.instance, port) {
			port++
		}
		if port > 65535 {
			a.diags = append(a.diags, Diagnostic{File: c.File, Severity: Error, Code: "no-port-left", Message: fmt.Sprintf("no metrics port is left for the %s on %s", h.name, h.instance), Hint: "let the numbers begin lower (metrics_ports_from)"})
			return
		}
		a.take(h.instance, port, key+" metrics")
		a.next.Metrics[key] = Assigned{h.instance, port}
	}
}

// byAddress reports whether a port is used on an instance, or on another one at the same address.
func (a *assigner) byAddress(c *Cluster) func(instance string, port int) bool {
	group := map[string][]string{} // address -> instances
	at := map[string]string{}      // instance -> address
	for _, i := range c.Instances {
		at[i.Name] = a.addr(c, i.Name)
		group[at[i.Name]] = append(group[at[i.Name]], i.Name)
	}
	return func(instance string, port int) bool {
		if a.usedBy(instance, port) != "" {
			return true
		}
		return slices.ContainsFunc(group[at[instance]], func(i string) bool { return a.usedBy(i, port) != "" })
	}
}

// brokerPorts gives each cluster's ZeroMQ broker two, where the file states none.
func (a *assigner) brokerPorts(c *Cluster) {
	if c.Settings.Backend != BackendZeroMQ || c.BrokerMode() == BrokerExternal {
		delete(a.next.Brokers, c.Name)
		return
	}
	inst := c.BrokerInstance()
	if b, ok := a.next.Brokers[c.Name]; ok && b.Instance == inst {
		return
	}
	b := BrokerPorts{Instance: inst}
	port := cmp.Or(c.Settings.BrokerPortsFrom, 5555)
	for _, p := range []*int{&b.XPub, &b.XSub} {
		for port <= 65535 && a.usedBy(inst, port) != "" {
			port++
		}
		if port > 65535 {
			a.diags = append(a.diags, Diagnostic{File: c.File, Severity: Error, Code: "no-port-left", Message: "no port is left for the broker on " + inst, Hint: "let the numbers begin lower (broker_ports_from)"})
			return
		}
		a.take(inst, port, c.Name+" broker")
		*p = port
	}
	a.next.Brokers[c.Name] = b
}

// firstFanoutID is Zeek's own default, 23, plus one: a Zeek that zeekrec does not know may use that.
const firstFanoutID = 24

// fanoutIDs gives each (cluster, interface) of AF_PACKET workers its own, so that two clusters on one
// interface each see all packets (decisions 37).
func (a *assigner) fanoutIDs() {
	taken := map[int]bool{}
	for _, id := range a.next.Fanout {
		taken[id] = true
	}
	id := firstFanoutID
	for _, c := range a.clusters {
		for i := range c.Nodes {
			key := fanoutKey(c, &c.Nodes[i])
			if key == "" {
				continue
			}
			if _, ok := a.next.Fanout[key]; ok {
				continue
			}
			for taken[id] {
				id++
			}
			taken[id] = true
			a.next.Fanout[key] = id
		}
	}
}

func fanoutKey(c *Cluster, n *Node) string {
	if !strings.HasPrefix(n.Interface, "af_packet::") {
		return ""
	}
	return c.Name + "/" + n.Interface
}

// splitEndpoint takes "tcp://HOST:PORT" apart.
func splitEndpoint(e string) (host string, port int, err error) {
	rest, ok := strings.CutPrefix(e, "tcp://")
	if !ok {
		return "", 0, fmt.Errorf("cannot use endpoint %q: it has to be tcp://HOST:PORT", e)
	}
	host, p, err := net.SplitHostPort(rest)
	if err != nil {
		return "", 0, fmt.Errorf("cannot use endpoint %q: %w", e, err)
	}
	port, err = strconv.Atoi(p)
	if err != nil || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("cannot use endpoint %q: port %q is not a number from 1 to 65535", e, p)
	}
	return host, port, nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
