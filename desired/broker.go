package desired

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The modes of a cluster's ZeroMQ broker: zeekrec's own process, a thread of the manager's, or somebody
// else's. The first is the default.
const (
	BrokerStandalone = "standalone"
	BrokerManager    = "manager"
	BrokerExternal   = "external"
)

// What a broker does that is told nothing: what a file states in the same words is no difference. They are
// those of actuators/broker.
const (
	DefaultSndHWM       = 1000
	DefaultQueueBytes   = 16 << 20
	DefaultBrokerPolicy = "drop"
	DefaultBrokerGrace  = 5 * time.Second
)

// AssumedKey stands for the id of keys that are yet to be made, in plans of clusters that have none.
const AssumedKey = "new"

// BrokerMode is that of the cluster's ZeroMQ broker, with the default filled in; empty with backend = broker.
func (c *Cluster) BrokerMode() string {
	if c.Settings.Backend != BackendZeroMQ {
		return ""
	}
	return cmp.Or(c.Settings.Broker.Mode, BrokerStandalone)
}

// BrokerInstance is where the cluster's ZeroMQ broker runs: where the file says, else with the manager. It means
// nothing for an external one, and with backend = broker.
func (c *Cluster) BrokerInstance() string {
	if c.BrokerMode() == BrokerStandalone && c.Settings.Broker.Instance != "" {
		return c.Settings.Broker.Instance
	}
	for i := range c.Nodes {
		if c.Nodes[i].Role == RoleManager {
			return c.Nodes[i].Instance
		}
	}
	return ""
}

// UsesCurve reports whether the cluster's ZeroMQ traffic is to be encrypted: where the file says so, and by
// default as soon as a second instance is involved. Compile then needs Facts.Keys for it.
func (c *Cluster) UsesCurve() bool {
	if c.Settings.Backend != BackendZeroMQ {
		return false
	}
	switch c.Settings.Broker.Curve {
	case "on":
		return true
	case "off":
		return false
	}
	return c.severalInstances()
}

// UsedInstances are those that have nodes or the broker, without doubles.
func (c *Cluster) UsedInstances() []string {
	var out []string
	for i := range c.Nodes {
		if !slices.Contains(out, c.Nodes[i].Instance) {
			out = append(out, c.Nodes[i].Instance)
		}
	}
	if i := c.BrokerInstance(); c.BrokerMode() == BrokerStandalone && i != "" && !slices.Contains(out, i) {
		out = append(out, i)
	}
	return out
}

// severalInstances reports whether nodes, or a node and the broker, are on more than one.
func (c *Cluster) severalInstances() bool {
	if c.BrokerMode() == BrokerStandalone && len(c.Nodes) > 0 {
		if i := c.BrokerInstance(); i != "" && i != c.Nodes[0].Instance {
			return true
		}
	}
	return slices.ContainsFunc(c.Nodes, func(n Node) bool { return n.Instance != c.Nodes[0].Instance })
}

// brokerName is the name of the broker's resource; empty where the cluster has none.
func (c *Cluster) brokerName() string {
	if c.BrokerMode() != BrokerStandalone || len(c.Nodes) == 0 {
		return ""
	}
	if slices.ContainsFunc(c.Nodes, func(n Node) bool { return n.Name == "broker" }) {
		return "zeekrec.broker" // no node can have that name
	}
	return "broker"
}

// WithAssumedKeys adds AssumedKey for every cluster that needs keys and has none: for plans that are made before
// the keys are, and are not carried out as they are.
func (f Facts) WithAssumedKeys(clusters []*Cluster) Facts {
	keys := maps.Clone(f.Keys)
	for _, c := range clusters {
		if !c.UsesCurve() || len(keys[c.Name]) > 0 {
			continue
		}
		if keys == nil {
			keys = map[string][]string{}
		}
		keys[c.Name] = []string{AssumedKey}
	}
	f.Keys = keys
	return f
}

// broker is the cluster's broker as a resource; nil where it has none of its own.
func (k *compiler) broker(c *Cluster, xpub, xsub string) *Resource {
	name := c.brokerName()
	if name == "" {
		return nil
	}
	s := &c.Settings
	b := &s.Broker
	spec := &BrokerSpec{XPub: xpub, XSub: xsub, User: s.User}
	if b.Lossless {
		spec.SndHWM, spec.QueueBytes, spec.Policy = -1, -1, "block"
	} else {
		spec.SndHWM = unless(b.SndHWM, DefaultSndHWM)
		spec.QueueBytes = unless(b.QueueBytes, int64(DefaultQueueBytes))
		spec.Policy = unless(b.Policy, DefaultBrokerPolicy)
	}
	spec.GraceSeconds = int(unless(b.Grace, DefaultBrokerGrace) / time.Second)
	if c.UsesCurve() {
		spec.Curve = slices.Clone(k.facts.Keys[c.Name])
	}
	if s.Metrics {
		spec.MetricsPort = k.next.Metrics[c.Name+"/"+name].Port
		spec.MetricsAddress = cmp.Or(s.MetricsAddress, "127.0.0.1")
	}
	if l, ok := s.Limits[RoleBroker]; ok {
		spec.CPUs, spec.OpenFiles, spec.Group = l.CPUs, l.OpenFiles, l.Group
		if l.Nice != nil {
			spec.Nice = *l.Nice
		}
	}
	r := &Resource{Cluster: c.Name, Name: name, Type: TypeBroker, Role: RoleBroker, Instance: c.BrokerInstance(), Broker: spec}
	for _, u := range brokerTable() {
		r.Parts = append(r.Parts, Part{Field: u.field, Relation: u.relation, Values: u.values(spec)})
	}
	r.Seal()
	return r
}

// unless leaves out what is the default anyway.
func unless[T comparable](v, def T) T {
	if v == def {
		var none T
		return none
	}
	return v
}

// predatesCurve reports whether a version of Zeek is known and older than 8.2, which brought CURVE.
func predatesCurve(version string) bool {
	f := strings.SplitN(version, ".", 3)
	if len(f) < 2 {
		return false
	}
	major, err1 := strconv.Atoi(f[0])
	minor, err2 := strconv.Atoi(strings.SplitN(f[1], "-", 2)[0])
	return err1 == nil && err2 == nil && (major < 8 || major == 8 && minor < 2)
}
