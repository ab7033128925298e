package desired

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Type of a resource: anything that is reconciled.
type Type string

// The types of resources.
const (
	TypeNode     Type = "node"
	TypeBroker   Type = "broker"
	TypeArchiver Type = "archiver"
)

// Relation says how a part of a running resource has to relate to the desired one.
type Relation string

// Equal parts are identity: any difference is a restart. Of parts that the running process has to
// cover, only what is desired and missing is a restart (a manager may know more workers than there
// are). Live parts are changed in place. What a resource never uses is simply not among its parts.
//
// Follow parts are live for a process that was started to follow them, which the part PartMembership of what it was
// started with says; any other has to cover them. Later parts are what its next start is to have: a difference is no
// reason for one.
const (
	Equal  Relation = "equal"
	Cover  Relation = "cover"
	Live   Relation = "live"
	Follow Relation = "follow"
	Later  Relation = "later"
	Tune   Relation = "tune"
)

// PartMembership names the part that says how a process learns of other nodes. Its value is MembershipLive or it has
// none.
const PartMembership = "membership"

// Follows reports whether a process that was started with these values of PartMembership follows the table of its
// cluster's nodes.
func Follows(values []string) bool { return slices.Contains(values, string(MembershipLive)) }

// Part is one typed input of a resource, compared by meaning. An absent part and one without values
// are the same, and an input that has its default has no values: so a newer zeekrec that knows one
// more input finds no difference in processes that an older one started (decisions 1).
type Part struct {
	Field    string   `json:"field"`
	Relation Relation `json:"relation"`
	Values   []string `json:"values"`
}

// Parts are those of one resource, sorted by field. They are references because the nodes of a cluster have most of them in common, and
// a large fleet has many: nobody changes a Part that is in a resource.
type Parts []*Part

// UnmarshalJSON reads a list of parts.
func (p *Parts) UnmarshalJSON(b []byte) error {
	var all []Part
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	*p = nil
	for i := range all {
		*p = append(*p, &all[i])
	}
	return nil
}

// Placement is what is remembered of a resource: enough to know what may be stopped, and where.
type Placement struct {
	Type     Type   `json:"type"`
	Role     Role   `json:"role"`
	Instance string `json:"instance"`
}

// Resource is one thing that is to run: which process, where, and what it uses.
type Resource struct {
	Cluster  string `json:"cluster"`
	Name     string `json:"name"`
	Type     Type   `json:"type"`
	Role     Role   `json:"role"`
	Instance string `json:"instance"`
	// Parts, sorted by field, none empty.
	Parts Parts `json:"parts"`
	// ID is the hash over Parts; equal IDs mean nothing is to do.
	ID string `json:"id"`
	// Tunable are the names of its options whose change takes no restart, sorted: Zeek can change them while it runs, or
	// nothing of this node reads them. It is no part: what is known of Zeek changes nothing about what is to run. Nil in the
	// record of a process says that it cannot be told options at all (a broker's, an older zeekrec's).
	Tunable []string `json:"tunable,omitzero"`
	// Node has what it takes to render and start a resource of type node. Resources that were compiled together may refer to the same
	// one, so nobody changes it.
	Node *NodeSpec `json:"node,omitempty"`
	// Broker has the same for a resource of type broker.
	Broker *BrokerSpec `json:"broker,omitempty"`
	// Archiver has the same for a resource of type archiver.
	Archiver *ArchiverSpec `json:"archiver,omitempty"`
}

// Key is "cluster/name", the name of a resource across clusters.
func (r *Resource) Key() string { return r.Cluster + "/" + r.Name }

// Part returns the values of a part; nil where the resource has none of that name.
func (r *Resource) Part(field string) []string {
	i, ok := slices.BinarySearchFunc(r.Parts, field, func(p *Part, f string) int { return strings.Compare(p.Field, f) })
	if !ok {
		return nil
	}
	return r.Parts[i].Values
}

// Seal drops empty parts, sorts the rest by field and sets ID. It is to be called once, after
// the last change of Parts.
func (r *Resource) Seal() {
	r.Parts = slices.DeleteFunc(r.Parts, func(p *Part) bool { return len(p.Values) == 0 })
	slices.SortFunc(r.Parts, func(a, b *Part) int { return strings.Compare(a.Field, b.Field) })
	h := xxhash.New()
	for _, p := range r.Parts {
		_, _ = h.WriteString(p.Field)
		for _, v := range p.Values {
			_, _ = h.WriteString("\x00")
			_, _ = h.WriteString(v)
		}
		_, _ = h.WriteString("\x01")
	}
	r.ID = fmt.Sprintf("%016x", h.Sum64())
}

// NodeSpec is what a Zeek process is started from: values, not text. desired/launch turns it,
// together with what is known of the host, into a command line, an environment and files.
type NodeSpec struct {
	Zeek    string  `json:"zeek,omitempty"` // path; empty: the agent's default
	Backend Backend `json:"backend"`
	// Layout has all nodes of the cluster, this one too.
	Layout Layout `json:"layout"`
	// BrokerMode is manager (the manager runs the broker thread), standalone or external.
	BrokerMode string `json:"broker_mode,omitempty"`
	XPub       string `json:"xpub,omitempty"`
	XSub       string `json:"xsub,omitempty"`
	// Curve is the id of the keys that it uses; empty: no encryption. The keys themselves are in no resource.
	Curve string `json:"curve,omitempty"`
	// Membership is MembershipLive where it is to follow the table of the cluster's nodes; empty where not.
	Membership Membership `json:"membership,omitempty"`
	// LogEndpoints (ADDRESS:PORT, sorted) that a sender of logs connects to, where loggers come and go without restarts: those of
	// the layout and spare ones. Nil: it connects to those of the layout.
	LogEndpoints []string `json:"log_endpoints,omitempty"`
	// Lossless: no high-water marks (lossless = yes).
	Lossless bool `json:"lossless,omitempty"`

	// Scripts of the cluster, then the node's own.
	Scripts     []string          `json:"scripts,omitempty"`
	Args        []string          `json:"args,omitempty"`
	Interface   string            `json:"interface,omitempty"`
	Env         map[string]string `json:"env,omitempty"`
	User        string            `json:"user,omitempty"`
	LocalNets   []string          `json:"local_nets,omitempty"`
	Options     []Option          `json:"options,omitempty"`
	FanoutID    int               `json:"fanout_id,omitempty"`
	MetricsPort int               `json:"metrics_port,omitempty"`
	// MetricsAddress that telemetry listens on; meaningless without MetricsPort.
	MetricsAddress string `json:"metrics_address,omitempty"`
	// RotationSeconds of a logger.
	RotationSeconds int    `json:"rotation_seconds,omitempty"`
	TZ              string `json:"tz,omitempty"`

	// Files is the hash of NAME/ (see Tree); empty for none. Loaded is the hash of what it loads of that at its start
	// (Tree.Loaded), LoadedNothing where that is nothing; empty: not known, so all of NAME/ counts.
	Files  string `json:"files,omitempty"`
	Loaded string `json:"loaded,omitempty"`

	CPUs      []int  `json:"cpus,omitempty"`
	Nice      int    `json:"nice,omitempty"`
	OpenFiles uint64 `json:"open_files,omitempty"`
	// Group are the limits of its role on its host.
	Group GroupLimits `json:"group,omitzero"`

	// ZeekUpgrade is "rolling" where a new binary at the same path is to be rolled out.
	ZeekUpgrade string `json:"zeek_upgrade,omitempty"`
	// HungSeconds it may give no sign of life before it is restarted; 0: the default, a minute; negative: it never is.
	HungSeconds int `json:"hung_seconds,omitempty"`
}

// BrokerSpec is what a cluster's ZeroMQ broker is started from, and told while it runs.
type BrokerSpec struct {
	XPub string `json:"xpub"` // tcp://HOST:PORT; nodes' XSUB sockets connect here
	XSub string `json:"xsub"`
	// Curve has the ids of the keys to accept, the one to use first; empty: no encryption.
	Curve []string `json:"curve,omitempty"`
	// SndHWM, QueueBytes, Policy, Grace as in BrokerSettings; 0 and "" are the defaults, negative is without limit.
	SndHWM     int    `json:"sndhwm,omitempty"`
	QueueBytes int64  `json:"queue_bytes,omitempty"`
	Policy     string `json:"policy,omitempty"`
	// GraceSeconds a node whose connection was lost is taken to be there.
	GraceSeconds   int    `json:"grace_seconds,omitempty"`
	MetricsPort    int    `json:"metrics_port,omitempty"`
	MetricsAddress string `json:"metrics_address,omitempty"`

	User      string `json:"user,omitempty"`
	CPUs      []int  `json:"cpus,omitempty"`
	Nice      int    `json:"nice,omitempty"`
	OpenFiles uint64 `json:"open_files,omitempty"`
	// Group are the limits of its role on its host.
	Group GroupLimits `json:"group,omitzero"`
}

// ArchiverSpec is what a cluster's archiver on one instance is started from, and told while it runs. Fields are as in
// ArchiveSettings; what is zero or empty there is the default here.
type ArchiverSpec struct {
	Dir             string   `json:"dir,omitempty"` // empty: the agent's default
	Layout          string   `json:"layout,omitempty"`
	Compress        string   `json:"compress,omitempty"`
	KeepSeconds     int64    `json:"keep_seconds,omitempty"`
	MinFree         Quantity `json:"min_free"`
	IntervalSeconds int      `json:"interval_seconds,omitempty"`
	Command         string   `json:"command,omitempty"`
	UTC             bool     `json:"utc,omitempty"`
	Parallel        int      `json:"parallel,omitempty"`
	Rate            int64    `json:"rate,omitempty"`
	MetricsPort     int      `json:"metrics_port,omitempty"`
	MetricsAddress  string   `json:"metrics_address,omitempty"`

	User      string `json:"user,omitempty"`
	CPUs      []int  `json:"cpus,omitempty"`
	Nice      int    `json:"nice"`
	OpenFiles uint64 `json:"open_files,omitempty"`
	// Group are the limits of its role on its host.
	Group GroupLimits `json:"group,omitzero"`
}

// Layout is the content of cluster-layout.zeek.
type Layout struct {
	ManagerIsLogger bool         `json:"manager_is_logger,omitempty"`
	Nodes           []LayoutNode `json:"nodes"` // sorted by name
}

// LayoutNode is one entry of Cluster::nodes.
type LayoutNode struct {
	Name        string `json:"name"`
	Role        Role   `json:"role"`
	Address     string `json:"address"`
	Port        int    `json:"port,omitempty"`
	MetricsPort int    `json:"metrics_port,omitempty"`
}

// Tree is the content of NAME/: slash-separated relative paths to contents. It is content-addressed
// by Hash and travels with the revision. Nobody changes one after it was made.
type Tree map[string]TreeFile

// TreeFile is one file of a Tree.
type TreeFile struct {
	Data []byte `json:"data"`
	Exec bool   `json:"exec,omitempty"`
}

// Hash of a tree: 16 hex digits, empty for an empty tree.
func (t Tree) Hash() string {
	if len(t) == 0 {
		return ""
	}
	names := make([]string, 0, len(t))
	for n := range t {
		names = append(names, n)
	}
	slices.Sort(names)
	h := xxhash.New()
	for _, n := range names {
		f := t[n]
		fmt.Fprintf(h, "%d:%s:%t:%d:", len(n), n, f.Exec, len(f.Data))
		_, _ = h.Write(f.Data)
	}
	return fmt.Sprintf("%016x", h.Sum64())
}
