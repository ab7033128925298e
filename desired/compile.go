package desired

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Compiled is the outcome of Compile.
type Compiled struct {
	// Resources of each cluster, sorted by name. A cluster with errors among Diagnostics is left out.
	Resources map[string][]Resource
	// Assignment to be journaled with the revision and handed in the next time.
	Assignment Assignment
	// Diagnostics that only show once all clusters and the facts are seen together.
	Diagnostics []Diagnostic

	// said are the diagnostics of each cluster by itself, by name; assigned those of assigning.
	said     map[string][]Diagnostic
	assigned []Diagnostic
	// of are the clusters, with their revisions.
	of []compiledOf
}

type compiledOf struct{ name, revision string }

// Compile turns clusters (all of one source, each free of errors) into resources. It is pure: facts are
// what is known of the hosts, prev what was assigned before, now only dates what is gone.
func Compile(clusters []*Cluster, facts Facts, prev Assignment, now time.Time) Compiled {
	return Recompile(clusters, facts, prev, now, Compiled{}, func(*Cluster) bool { return false })
}

// Recompile is Compile, and takes from before what was compiled then of clusters for which same says that they, and the facts about
// their instances and keys, are what they were. What is assigned is looked at here. Resources may be shared with before.
func Recompile(clusters []*Cluster, facts Facts, prev Assignment, now time.Time, before Compiled, same func(*Cluster) bool) Compiled {
	clusters = slices.Clone(clusters)
	slices.SortFunc(clusters, func(a, b *Cluster) int { return strings.Compare(a.Name, b.Name) })

	k := &compiler{facts: facts, prev: prev, addresses: orEmpty(prev.Addresses)}
	k.next, k.diags = reassign(clusters, prev, k.address, now, &before)
	next, assigned := k.next, slices.Clone(k.diags)

	out := Compiled{Resources: make(map[string][]Resource, len(clusters)), said: make(map[string][]Diagnostic, len(clusters)), assigned: assigned}
	for _, c := range clusters {
		out.of = append(out.of, compiledOf{c.Name, c.Revision})
	}
	moved := map[string]bool{}
	if before.said != nil {
		moved = next.differs(before.Assignment)
	}
	for _, c := range clusters {
		if said, was := before.said[c.Name]; was && same(c) && !moved[c.Name] && k.reachedAsBefore(c, before.Assignment.Addresses) {
			out.said[c.Name] = said
			k.diags = append(k.diags, said...)
			if rs, ok := before.Resources[c.Name]; ok {
				out.Resources[c.Name] = rs
			}
			continue
		}
		first := len(k.diags)
		rs := k.cluster(c)
		out.said[c.Name] = slices.Clone(k.diags[first:])
		if !HasErrors(k.diags[first:]) {
			out.Resources[c.Name] = rs
		}
	}
	k.next.Addresses = k.addresses
	out.Assignment, out.Diagnostics = k.next, k.diags
	SortDiagnostics(out.Diagnostics)
	return out
}

// reachedAsBefore reports whether the addresses of a cluster's instances are what they were.
func (k *compiler) reachedAsBefore(c *Cluster, before map[string]string) bool {
	if !c.severalInstances() {
		return true
	}
	for _, i := range c.UsedInstances() {
		// One that the file states is the cluster's own, and none of those that stick.
		if now := k.address(c, i); k.addresses[i] == now && before[i] != now {
			return false
		}
	}
	return true
}

// compiler holds what is the same for all clusters of one Compile.
type compiler struct {
	facts     Facts
	prev      Assignment
	next      Assignment
	addresses map[string]string // sticky, by instance
	diags     []Diagnostic
}

// address of an instance as its nodes of cluster c are to be reached by each other: loopback while the
// cluster is on one instance, and sticky once chosen (decisions 18). Empty: none is known yet.
func (k *compiler) address(c *Cluster, instance string) string {
	if !c.severalInstances() {
		return cmp.Or(c.Settings.Address, "127.0.0.1")
	}
	for _, i := range c.Instances {
		if i.Name == instance && i.Host != "" {
			return i.Host
		}
	}
	if ad := k.addresses[instance]; ad != "" {
		return ad
	}
	if f := k.facts.Instances[instance]; len(f.Addresses) > 0 {
		k.addresses[instance] = f.Addresses[0]
		return f.Addresses[0]
	}
	return ""
}

func (k *compiler) cluster(c *Cluster) []Resource {
	addr := map[string]string{}
	for _, i := range c.UsedInstances() {
		addr[i] = k.address(c, i)
		if addr[i] == "" {
			k.diags = append(k.diags, Diagnostic{
				File: c.File, Severity: Error, Code: "no-address",
				Message: fmt.Sprintf("no address of instance %q is known, and the cluster is on several instances", i),
				Hint:    fmt.Sprintf("state it in [instances] (%s = 10.0.0.1:2151), or wait until its agent has connected", i),
			})
		}
	}
	curve := k.curve(c)
	layout := k.layout(c, addr)
	xpub, xsub := k.endpoints(c, addr)
	pe := newPeers(layout)
	slots := k.logEndpoints(c, layout, addr)
	t, shared := table(), &sharer{lists: map[string][]string{}}
	byRole := map[Role][]use{}
	local := map[string]bool{}
	for _, n := range c.Nodes {
		if _, known := local[n.Instance]; !known {
			local[n.Instance] = k.local(c, n.Instance)
		}
	}

	rs := make([]Resource, 0, len(c.Nodes)+1)
	if b := k.broker(c, xpub, xsub); b != nil {
		rs = append(rs, *b)
	}
	for i := range c.Nodes {
		n := &c.Nodes[i]
		if byRole[n.Role] == nil {
			byRole[n.Role] = rows(t, n.Role, c.Settings.Backend)
		}
		spec := k.node(c, n, layout, local[n.Instance])
		spec.XPub, spec.XSub, spec.Curve = xpub, xsub, curve
		if n.Role != RoleLogger {
			spec.LogEndpoints = slots
		}
		if n.Role == RoleLogger && c.Nodes[i].Port == 0 && k.next.Ports[c.Name+"/"+n.Name].Port == 0 {
			k.diags = append(k.diags, Diagnostic{
				File: c.File, Line: n.Line, Severity: Error, Code: "logger-without-port",
				Message: fmt.Sprintf("logger %q has no port after assignment", n.Name), Hint: "state one: port = 2200",
			})
		}
		r := Resource{Cluster: c.Name, Name: n.Name, Type: TypeNode, Role: n.Role, Instance: n.Instance, Node: spec, Tunable: []string{}}
		r.Parts = shared.apply(byRole[n.Role], &nodeInput{node: n, spec: spec, peer: pe})
		r.Seal()
		rs = append(rs, r)
	}
	k.options(c, rs)
	rs = append(rs, k.archivers(c)...)
	slices.SortFunc(rs, func(a, b Resource) int { return strings.Compare(a.Name, b.Name) })
	return rs
}

// curve is the id of the keys that the cluster's nodes use; empty where nothing is encrypted.
func (k *compiler) curve(c *Cluster) string {
	if !c.UsesCurve() {
		return ""
	}
	complain := func(code, message, hint string) {
		k.diags = append(k.diags, Diagnostic{File: c.File, Severity: Error, Code: code, Message: message, Hint: hint})
	}
	// A Zeek that does not know the variables of CURVE would connect in plain text, and never be heard.
	for _, i := range c.UsedInstances() {
		z := k.facts.Instances[i].Zeek[c.Settings.Zeek]
		if predatesCurve(z.Version) && slices.ContainsFunc(c.Nodes, func(n Node) bool { return n.Instance == i }) {
			complain("old-zeek", fmt.Sprintf("encryption (CURVE) needs Zeek 8.2, and instance %q has %s", i, z.Version),
				"update Zeek, or write curve = off in [zeekrec.broker]: whoever can reach the broker's ports can then read and publish")
		}
	}
	keys := k.facts.Keys[c.Name]
	if len(keys) == 0 {
		complain("no-keys", "the cluster's traffic is to be encrypted (CURVE), and there are no keys for it",
			"zeekrec run makes them by itself; where it cannot, zeekrec status says why")
		return ""
	}
	return keys[0]
}

// local decides whether "local" is among the scripts where the file states none. Once it was, it
// stays: that site/local.zeek cannot be seen for a while must not restart anything (invariant 2).
// That it appears counts from the next revision on.
func (k *compiler) local(c *Cluster, instance string) bool {
	key := c.Name + "@" + instance
	if c.HasLocal {
		return true
	}
	was, known := k.prev.Local[key]
	if known && (was || k.prev.Revisions[c.Name] == c.Revision) {
		return was
	}
	f, ok := k.facts.Instances[instance]
	z, asked := f.Zeek[c.Settings.Zeek]
	if !ok || !asked || z.Err != "" {
		return true // Zeek installs one; nothing is known to the contrary, so nothing is decided either
	}
	k.next.Local[key] = z.HasLocal
	k.next.Revisions[c.Name] = c.Revision
	return z.HasLocal
}

func (k *compiler) layout(c *Cluster, addr map[string]string) Layout {
	l := Layout{ManagerIsLogger: true}
	for i := range c.Nodes {
		n := &c.Nodes[i]
		key := c.Name + "/" + n.Name
		ln := LayoutNode{Name: n.Name, Role: n.Role, Address: addr[n.Instance], Port: k.next.Ports[key].Port}
		if c.Settings.Metrics {
			ln.MetricsPort = k.next.Metrics[key].Port
		}
		if n.Role == RoleLogger {
			l.ManagerIsLogger = false
		}
		l.Nodes = append(l.Nodes, ln)
	}
	slices.SortFunc(l.Nodes, func(a, b LayoutNode) int { return strings.Compare(a.Name, b.Name) })
	return l
}

// endpoints of the ZeroMQ broker.
func (k *compiler) endpoints(c *Cluster, addr map[string]string) (xpub, xsub string) {
	if c.Settings.Backend != BackendZeroMQ {
		return "", ""
	}
	b := k.next.Brokers[c.Name]
	host := addr[c.BrokerInstance()]
	xpub, xsub = c.Settings.Broker.XPub, c.Settings.Broker.XSub
	if xpub == "" {
		xpub = "tcp://" + net.JoinHostPort(host, strconv.Itoa(b.XPub))
	}
	if xsub == "" {
		xsub = "tcp://" + net.JoinHostPort(host, strconv.Itoa(b.XSub))
	}
	return xpub, xsub
}

// node fills in what one node is started from.
func (k *compiler) node(c *Cluster, n *Node, layout Layout, local bool) *NodeSpec {
	s := &c.Settings
	spec := &NodeSpec{
		Zeek: s.Zeek, Backend: s.Backend, Layout: layout, Interface: n.Interface, Env: n.Env, User: s.User,
		LocalNets: s.LocalNets, Options: s.Options, Files: c.Files, Loaded: c.Loaded[n.Name], ZeekUpgrade: s.ZeekUpgrade,
		Args: append(slices.Clone(s.Args), n.Args...),
	}
	if spec.ZeekUpgrade == "manual" {
		spec.ZeekUpgrade = ""
	}
	switch h := s.RestartHung; {
	case h < 0:
		spec.HungSeconds = -1
	case h != RestartHungDefault:
		spec.HungSeconds = int(h / time.Second)
	}
	if s.Backend == BackendZeroMQ && s.Membership == MembershipLive {
		spec.Membership = MembershipLive
	}
	spec.BrokerMode = c.BrokerMode()
	spec.Lossless = spec.BrokerMode != "" && s.Broker.Lossless
	switch {
	case s.ScriptsStated:
		spec.Scripts = slices.Clone(s.Scripts)
	case local:
		spec.Scripts = []string{"local"}
	}
	spec.Scripts = append(spec.Scripts, n.Scripts...)
	if s.Metrics {
		spec.MetricsPort = k.next.Metrics[c.Name+"/"+n.Name].Port
		spec.MetricsAddress = cmp.Or(s.MetricsAddress, "127.0.0.1")
	}
	if n.Role == RoleLogger || n.Role == RoleManager && layout.ManagerIsLogger {
		spec.RotationSeconds = int(cmp.Or(s.Archive.Interval, DefaultInterval) / time.Second)
		if s.Archive.Timezone == "UTC" {
			spec.TZ = "UTC"
		}
	}
	spec.FanoutID = k.next.Fanout[fanoutKey(c, n)]
	if l, ok := s.Limits[n.Role]; ok {
		spec.CPUs = l.CPUs
		spec.OpenFiles = l.OpenFiles
		spec.Group = l.Group
		if l.Nice != nil {
			spec.Nice = *l.Nice
		}
	}
	if n.CPUAffinity != nil {
		spec.CPUs = []int{*n.CPUAffinity}
	}
	return spec
}
