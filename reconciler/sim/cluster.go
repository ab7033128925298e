package sim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/zeekrec/zeekrec/desired"
)

// Node is what a Cluster says of one node.
type Node struct {
	Name      string
	Role      desired.Role
	Instance  string
	Interface string
	Env       []string
	Scripts   []string
	Port      int // loggers listen
	Metrics   int
	CPU       int
}

// Cluster is a configuration in miniature: enough of one for its resources to depend on each other as
// those of real clusters do.
type Cluster struct {
	Name     string
	Nodes    []Node
	NextPort int
	// Shared is an option that all nodes use.
	Shared string
	// Live: its nodes follow the table of its members.
	Live bool
}

// Resources compiles the cluster: sorted by name, sealed, with the parts and relations of the table of
// minimal restarts.
func (c *Cluster) Resources() []desired.Resource {
	nodes := slices.Clone(c.Nodes)
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	var workers, proxies, loggers []string
	layout := uint64(len(nodes))
	for _, n := range nodes {
		switch n.Role {
		case desired.RoleWorker:
			workers = append(workers, n.Name)
		case desired.RoleProxy:
			proxies = append(proxies, n.Name)
		case desired.RoleLogger:
			loggers = append(loggers, address(n.Port))
		}
		for _, b := range []byte(n.Name + "@" + n.Instance) {
			layout = layout*1099511628211 ^ uint64(b)
		}
	}
	slices.Sort(loggers)
	out := make([]desired.Resource, 0, len(nodes))
	for _, n := range nodes {
		r := desired.Resource{Cluster: c.Name, Name: n.Name, Type: desired.TypeNode, Role: n.Role, Instance: n.Instance}
		part := func(field string, rel desired.Relation, values ...string) {
			if len(values) > 0 && values[0] != "" {
				r.Parts = append(r.Parts, &desired.Part{Field: field, Relation: rel, Values: values})
			}
		}
		part("role", desired.Equal, string(n.Role))
		part("interface", desired.Equal, n.Interface)
		part("env", desired.Equal, n.Env...)
		part("scripts", desired.Equal, n.Scripts...)
		part("options", desired.Equal, c.Shared)
		names := desired.Cover
		if c.Live {
			part(desired.PartMembership, desired.Later, string(desired.MembershipLive))
			names = desired.Follow
		}
		part("layout", desired.Live, strconv.FormatUint(layout, 16))
		if n.CPU > 0 {
			part("cpus", desired.Live, strconv.Itoa(n.CPU))
		}
		if n.Metrics > 0 {
			part("metrics", desired.Equal, address(n.Metrics))
		}
		switch n.Role {
		case desired.RoleLogger:
			part("listen", desired.Equal, address(n.Port))
		case desired.RoleManager:
			part("workers", names, workers...)
			part("proxies", names, proxies...)
			part("loggers", desired.Equal, loggers...)
		case desired.RoleWorker:
			part("proxies", names, proxies...)
			part("loggers", desired.Equal, loggers...)
		case desired.RoleProxy:
			part("loggers", desired.Equal, loggers...)
		}
		r.Seal()
		out = append(out, r)
	}
	return out
}

func address(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// Instances that a cluster of n is spread over.
func Instances(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = "agent-" + string(rune('a'+i%26)) + fmt.Sprint(i/26)
	}
	return out
}

// NewCluster is one manager, a logger and a proxy for every hundred workers or part of that, and workers,
// dealt out to the instances.
func NewCluster(name string, instances []string, workers int) *Cluster {
	c := &Cluster{Name: name, NextPort: 9000}
	c.Add(desired.RoleManager, "manager", instances[0])
	for i := range 1 + workers/100 {
		c.Add(desired.RoleLogger, fmt.Sprintf("logger-%03d", i), instances[i%len(instances)])
		c.Add(desired.RoleProxy, fmt.Sprintf("proxy-%03d", i), instances[i%len(instances)])
	}
	for i := range workers {
		c.Add(desired.RoleWorker, fmt.Sprintf("worker-%05d", i), instances[i%len(instances)])
	}
	return c
}

// Add appends a node, with ports of its own.
func (c *Cluster) Add(role desired.Role, name, instance string) {
	n := Node{Name: name, Role: role, Instance: instance, Scripts: []string{"local"}, Metrics: c.port()}
	switch role {
	case desired.RoleWorker:
		n.Interface = "eth0"
	case desired.RoleLogger:
		n.Port = c.port()
	}
	c.Nodes = append(c.Nodes, n)
}

func (c *Cluster) port() int {
	c.NextPort++
	return c.NextPort
}

// Clone is a copy that shares nothing.
func (c *Cluster) Clone() *Cluster {
	d := *c
	d.Nodes = slices.Clone(c.Nodes)
	for i := range d.Nodes {
		d.Nodes[i].Env = slices.Clone(d.Nodes[i].Env)
		d.Nodes[i].Scripts = slices.Clone(d.Nodes[i].Scripts)
	}
	return &d
}

// RandomCluster has up to workers of them on up to instances, and was edited a few times.
func RandomCluster(rng *rand.Rand, name string, instances, workers int) *Cluster {
	c := NewCluster(name, Instances(1+rng.IntN(instances)), 1+rng.IntN(workers))
	c.Live = rng.IntN(2) == 0
	for range rng.IntN(4) {
		c = c.Edit(rng, Instances(instances))
	}
	return c
}

// Edit is a copy with one random change of the kind that people make. There is always a manager.
func (c *Cluster) Edit(rng *rand.Rand, instances []string) *Cluster {
	d := c.Clone()
	n := &d.Nodes[rng.IntN(len(d.Nodes))]
	pick := func(ss ...string) string { return ss[rng.IntN(len(ss))] }
	switch rng.IntN(12) {
	case 0, 1:
		d.Add(desired.RoleWorker, "worker-x"+fmt.Sprint(d.NextPort), pick(instances...))
	case 2, 3:
		d.remove(rng, desired.RoleWorker)
	case 4:
		if rng.IntN(2) == 0 {
			d.Add(desired.RoleProxy, "proxy-x"+fmt.Sprint(d.NextPort), pick(instances...))
		} else {
			d.remove(rng, desired.RoleProxy)
		}
	case 5:
		if rng.IntN(2) == 0 {
			d.Add(desired.RoleLogger, "logger-x"+fmt.Sprint(d.NextPort), pick(instances...))
		} else {
			d.remove(rng, desired.RoleLogger)
		}
	case 6:
		if n.Role == desired.RoleWorker {
			n.Interface = pick("eth0", "eth1", "eth2")
		}
	case 7:
		n.Env = [][]string{nil, {"A=1"}, {"A=2", "API_TOKEN=hunter2"}}[rng.IntN(3)]
	case 8:
		n.Instance = pick(instances...)
	case 9:
		n.CPU = rng.IntN(4)
	case 10: // it takes another's port, which moves on: a restart that has to wait for another
		o := &d.Nodes[rng.IntN(len(d.Nodes))]
		if o != n {
			n.Metrics, o.Metrics = o.Metrics, d.port()
		}
	case 11:
		d.Shared = pick("", "Site::x = 1", "Site::x = 2")
	}
	return d
}

func (c *Cluster) remove(rng *rand.Rand, role desired.Role) {
	var of []int
	for i, n := range c.Nodes {
		if n.Role == role {
			of = append(of, i)
		}
	}
	if len(of) > 1 {
		i := of[rng.IntN(len(of))]
		c.Nodes = slices.Delete(c.Nodes, i, i+1)
	}
}
