package clustercfg

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
)

// controllerPort is where zeek's own controller speaks Broker; the rule that nodes keep away from it is kept
// so that a file that is valid here is valid there.
const controllerPort = 2150

// Validate checks one cluster as a whole: first the rules of the controller of Zeek's management framework, with its
// texts, then those of our own. It is pure, and takes clusters from wherever they come; Parse calls it. (The controller's
// rule about unassigned ports while auto-assignment is off has no counterpart: zeekrec always assigns.)
func Validate(c *desired.Cluster) []desired.Diagnostic {
	rep := newReport(c.File)
	validate(c, rep, nil)
	return rep.diagnostics()
}

// validate leaves the instances of some nodes unchecked: those that were not stated, where they had to be.
func validate(c *desired.Cluster, rep *report, unstated map[string]bool) {
	v := &validator{Cluster: c, rep: rep, instances: map[string]*desired.Instance{}, nodes: map[string]*desired.Node{}, unstated: unstated}
	v.uniqueNames()
	v.collidingNames()
	v.declaredInstances()
	v.ports()
	v.metricsPorts()
	v.roles()
	v.prefixes()
}

type validator struct {
	*desired.Cluster
	rep       *report
	instances map[string]*desired.Instance
	nodes     map[string]*desired.Node
	unstated  map[string]bool
}

// line of a key of a node, or of the node.
func line(n *desired.Node, key string) int {
	l, _ := n.Keys.Line(key)
	return cmp.Or(l, n.Line)
}

func (v *validator) uniqueNames() {
	for i := range v.Instances {
		inst := &v.Instances[i]
		if v.instances[inst.Name] != nil {
			v.rep.error(inst.Line, "duplicate-instance", fmt.Sprintf("multiple instances named '%s'", inst.Name), "keep one of them")
		}
		v.instances[inst.Name] = inst
	}
	for i := range v.Nodes {
		n := &v.Nodes[i]
		if v.nodes[n.Name] != nil {
			v.rep.error(n.Line, "duplicate-node", fmt.Sprintf("multiple nodes named '%s'", n.Name), "rename one of them")
		}
		v.nodes[n.Name] = n
	}
}

func (v *validator) collidingNames() {
	var names []string
	first := 0
	for _, n := range v.nodes {
		if v.instances[n.Name] != nil {
			names = append(names, n.Name)
			if first == 0 || n.Line < first {
				first = n.Line
			}
		}
	}
	if len(names) > 0 {
		slices.Sort(names)
		v.rep.error(first, "name-collision", "node and instance names collide: "+strings.Join(names, ", "), "rename the nodes or the instances")
	}
}

func (v *validator) declaredInstances() {
	var known []string
	for _, i := range v.Instances {
		known = append(known, i.Name)
	}
	for i := range v.Nodes {
		n := &v.Nodes[i]
		// What could not be read, or spans lines, was reported then.
		if n.Instance == "" || strings.Contains(n.Instance, "\n") || v.instances[n.Instance] != nil || v.unstated[n.Name] {
			continue
		}
		hint := "declare it in [instances]"
		if inst := v.instances[lower(n.Instance)]; inst != nil {
			hint = fmt.Sprintf("names in [instances] are read in lower case, so line %d declares '%s': write it so here, too", inst.Line, inst.Name)
		} else if near := closest(n.Instance, known); near != "" {
			hint = fmt.Sprintf("did you mean %q? else declare it in [instances]", near)
		}
		v.rep.error(line(n, "instance"), "undeclared-instance", fmt.Sprintf("node '%s' has undeclared instance name '%s'", n.Name, n.Instance), hint)
	}
}

// place is a port on an instance.
type place struct {
	instance string
	port     int
}

func (v *validator) ports() {
	users := map[place][]*desired.Node{}
	for i := range v.Nodes {
		n := &v.Nodes[i]
		if n.Port == 0 {
			continue
		}
		if inst := v.instances[n.Instance]; inst != nil && inst.Port == n.Port {
			v.rep.error(line(n, "port"), "agent-port", fmt.Sprintf("node '%s' port %d/tcp conflicts with agent port on instance '%s'", n.Name, n.Port, n.Instance), "choose another port, or leave it out to have one assigned")
		}
		if n.Port == controllerPort {
			v.rep.error(line(n, "port"), "controller-port", fmt.Sprintf("node '%s' port %d/tcp conflicts with controller port", n.Name, n.Port), "choose another port, or leave it out to have one assigned")
		}
		at := place{n.Instance, n.Port}
		users[at] = append(users[at], n)
	}
	for at, nodes := range users {
		if len(nodes) < 2 {
			continue
		}
		slices.SortFunc(nodes, func(a, b *desired.Node) int { return cmp.Compare(line(a, "port"), line(b, "port")) })
		v.rep.error(line(nodes[1], "port"), "duplicate-port", fmt.Sprintf("multiple nodes on instance '%s' using port %d/tcp", at.instance, at.port), "they are "+nodesAt(nodes, "port")+": give each its own, or leave them out to have them assigned")
	}
}

// metricsPorts is a rule of our own: the controller does not look, and the node that comes second to a port
// does not start.
func (v *validator) metricsPorts() {
	if !v.Settings.Metrics {
		return
	}
	users := map[place][]*desired.Node{}
	ports := map[place]*desired.Node{}
	for i := range v.Nodes {
		n := &v.Nodes[i]
		if n.Port != 0 {
			ports[place{n.Instance, n.Port}] = n
		}
		if n.MetricsPort != 0 {
			at := place{n.Instance, n.MetricsPort}
			users[at] = append(users[at], n)
		}
	}
	for at, nodes := range users {
		slices.SortFunc(nodes, func(a, b *desired.Node) int { return cmp.Compare(line(a, "metrics_port"), line(b, "metrics_port")) })
		if len(nodes) > 1 {
			v.rep.error(line(nodes[1], "metrics_port"), "duplicate-port", fmt.Sprintf("multiple nodes on instance '%s' using metrics port %d/tcp", at.instance, at.port), "they are "+nodesAt(nodes, "metrics_port")+": give each its own, or leave them out to have them assigned")
		}
		if n := ports[at]; n != nil {
			v.rep.error(line(nodes[0], "metrics_port"), "duplicate-port", fmt.Sprintf("metrics port %d/tcp of node '%s' is the port of node '%s' on instance '%s'", at.port, nodes[0].Name, n.Name, at.instance), "give each its own, or leave them out to have them assigned")
		}
		if inst := v.instances[at.instance]; inst != nil && inst.Port == at.port {
			v.rep.error(line(nodes[0], "metrics_port"), "agent-port", fmt.Sprintf("metrics port %d/tcp of node '%s' is the agent's port on instance '%s'", at.port, nodes[0].Name, at.instance), "choose another, or leave it out to have one assigned")
		}
	}
}

// nodesAt is "a (line 3) and b (line 7)".
func nodesAt(nodes []*desired.Node, key string) string {
	var texts []string
	for _, n := range nodes[:min(len(nodes), 10)] {
		text := n.Name
		if l := line(n, key); l > 0 {
			text = fmt.Sprintf("%s (line %d)", n.Name, l)
		}
		texts = append(texts, text)
	}
	if more := len(nodes) - len(texts); more > 0 {
		texts = append(texts, fmt.Sprintf("%d more", more))
	}
	return one(texts)
}

// roles are rules of our own: what could not run as a cluster.
func (v *validator) roles() {
	var managers []*desired.Node
	unclear := false // a role could not be read: it may be the manager's
	for i := range v.Nodes {
		n := &v.Nodes[i]
		switch n.Role {
		case desired.RoleManager:
			managers = append(managers, n)
		case desired.RoleWorker:
			if n.Interface == "" {
				v.rep.error(line(n, "interface"), "no-interface", fmt.Sprintf("worker '%s' has no interface", n.Name), "add interface = eth0 (the name of an interface, or af_packet::eth0)")
			}
		case desired.RoleLogger, desired.RoleProxy:
		default:
			unclear = true
		}
	}
	switch {
	case len(v.Nodes) == 0 && v.rep.count[desired.Error] > 0:
		// What was wrong before is why none was understood.
	case len(v.Nodes) == 0:
		v.rep.error(0, "no-nodes", "the file has no nodes", "to stop the cluster for good, remove the file; to stop it for a while, use zeekrec stop")
	case len(managers) == 0 && !unclear:
		v.rep.error(0, "no-manager", "no node has the role manager", "add a section with role = manager")
	case len(managers) > 1:
		slices.SortFunc(managers, func(a, b *desired.Node) int { return cmp.Compare(a.Line, b.Line) })
		for _, n := range managers[1:] {
			v.rep.error(line(n, "role"), "several-managers", fmt.Sprintf("node '%s' is a second manager", n.Name), "a cluster has one manager; here they are "+nodesAt(managers, "role"))
		}
	}
}

// prefixes refuses a name that is another's plus a dot: ZeroMQ takes topics for prefixes, so node w receives what is
// meant for w.1 (decisions 20).
func (v *validator) prefixes() {
	for i := range v.Nodes {
		n := &v.Nodes[i]
		for j := range len(n.Name) {
			if n.Name[j] != '.' {
				continue
			}
			if o := v.nodes[n.Name[:j]]; o != nil {
				v.rep.error(n.Line, "prefix-name", fmt.Sprintf("the name of node '%s' is that of node '%s' and a dot: '%s' would receive what is meant for '%s'", n.Name, o.Name, o.Name, n.Name), fmt.Sprintf("rename one of them (%s-%s)", o.Name, strings.TrimPrefix(n.Name[j:], ".")))
				break
			}
		}
	}
}
