package desired

import "time"

// Role says what a resource is in its cluster. The first four are Zeek's own
// (Supervisor::ClusterRole); the last two are the helpers that zeekrec runs beside them.
type Role string

// The roles, in the order in which they are started (architecture: broker, loggers,
// manager, proxies, workers; archivers with the workers, since neither waits for the other).
const (
	RoleBroker   Role = "broker"
	RoleLogger   Role = "logger"
	RoleManager  Role = "manager"
	RoleProxy    Role = "proxy"
	RoleWorker   Role = "worker"
	RoleArchiver Role = "archiver"
)

// RestartHungDefault is for how long a node may give no sign of life before it is restarted, where its cluster does not say. A
// sensor that hangs sees nothing until somebody looks, so it is healed like one that crashed. A whole minute, since a node may be
// busy for many seconds, with a large table that it reads for example, and would lose for nothing what it has in memory.
const RestartHungDefault = time.Minute

// StopRank is the place of the role in the order of stops: the start order the other way round, except that the archiver
// ends after all, since loggers rotate their logs when they end.
func (r Role) StopRank() int {
	if r == RoleArchiver {
		return 7
	}
	return 6 - r.Rank()
}

// Rank is the place of the role in the start order; see StopRank for stops.
// Roles that may be started together have the same rank. Unknown roles come last.
func (r Role) Rank() int {
	switch r {
	case RoleBroker:
		return 0
	case RoleLogger:
		return 1
	case RoleManager:
		return 2
	case RoleProxy:
		return 3
	case RoleWorker, RoleArchiver: // neither waits for the other
		return 4
	}
	return 5
}

// Cluster is what one NAME.cfg says, read and typed, before anything is assigned.
type Cluster struct {
	// Name is the file's name without ".cfg".
	Name string
	// File is the name to use in diagnostics, e.g. "dmz.cfg".
	File string
	// Revision is the xxhash64 (16 hex digits) of the file's bytes and of everything in NAME/.
	Revision string
	// Files is the hash of everything in NAME/ alone; empty when there is no such folder
	// or nothing in it.
	Files string
	// Loaded is, by node, the hash of what it loads of NAME/ (Tree.Loaded). Who is not in it is taken to load all.
	Loaded map[string]string
	// HasLocal says that NAME/local.zeek exists.
	HasLocal bool

	// Instances as declared, or synthesised by zeek-client's rules (facts/management.md §1.4),
	// sorted by name.
	Instances []Instance
	// Nodes sorted by name.
	Nodes    []Node
	Settings Settings
}

// Instance is a host as a place to run things.
type Instance struct {
	Name string
	// Host is the address that the file states; empty for an agent that dials in.
	Host string
	// Port is the agent's listen port that the file states; 0 for none.
	Port int
	// Line is where the instance is declared; 0 when it was synthesised.
	Line int
}

// Node is one section of a cluster.cfg: a Zeek process.
type Node struct {
	Name     string
	Role     Role
	Instance string
	// Port and MetricsPort as stated; 0 when the file leaves them to be assigned.
	Port        int
	MetricsPort int
	// Scripts, sorted, duplicates kept, as zeek-client sends them.
	Scripts     []string
	Interface   string
	CPUAffinity *int
	Env         map[string]string
	// Args are further command line arguments of this node alone (zeekrec's own key).
	Args []string

	// Line is the section's; Keys has the line of each key that was stated.
	Line int
	Keys KeyLines
}

// Settings are the [zeekrec…] sections, with their defaults filled in.
type Settings struct {
	Backend        Backend
	Zeek           string // path of the binary; empty: the agent's default
	Scripts        []string
	ScriptsStated  bool // false: "local", where it exists
	Args           []string
	User           string
	LocalNets      []string
	MaxUnavailable Quantity
	Suspend        bool
	Membership     Membership
	LoggerSlots    int
	ZeekUpgrade    string // "manual" or "rolling"
	// RestartHung is for how long a node may give no sign of life before it is restarted; negative: it never is.
	RestartHung    time.Duration
	PruneGuard     Quantity
	AutoRevert     bool
	Address        string // of this cluster's instance, where only one is involved
	MetricsAddress string // default 127.0.0.1
	Metrics        bool   // false: no node serves metrics

	PortsFrom        int // 2200
	MetricsPortsFrom int // 9000
	BrokerPortsFrom  int // 5555

	// Options are [zeekrec.options], in the file's order.
	Options []Option
	Broker  BrokerSettings
	Archive ArchiveSettings
	// Limits by role.
	Limits map[Role]Limits
}

// Option is one line of [zeekrec.options].
type Option struct {
	Name  string
	Value string // a Zeek expression, verbatim
	Line  int
}

// Backend is Zeek's cluster backend.
type Backend string

// The two cluster backends of Zeek 8 and 9.
const (
	BackendZeroMQ Backend = "zeromq"
	BackendBroker Backend = "broker"
)

// Membership says how running nodes learn of others.
type Membership string

// Live: nodes follow a table while running. Restart: only by being restarted.
const (
	MembershipLive    Membership = "live"
	MembershipRestart Membership = "restart"
)

// Quantity is a number or a percentage ("1", "30%").
type Quantity struct {
	N       int
	Percent bool
}

// Of returns how many of total the quantity stands for: a percentage is rounded down,
// but is at least 1 where total is.
func (q Quantity) Of(total int) int {
	if !q.Percent {
		return q.N
	}
	n := q.N * total / 100
	if n < 1 && total > 0 && q.N > 0 {
		n = 1
	}
	return n
}

// BrokerSettings are [zeekrec.broker].
type BrokerSettings struct {
	Mode     string // standalone, manager, external
	Instance string
	XPub     string // tcp://HOST:PORT; nodes' XSUB sockets connect here
	XSub     string // tcp://HOST:PORT; nodes' XPUB sockets connect here
	Curve    string // auto, on, off
	SndHWM   int    // messages queued per subscriber; 0: the default
	Lossless bool
	// QueueBytes per subscriber, 0: the default; Policy drop, disconnect or block, "": the default.
	QueueBytes int64
	Policy     string
	Grace      time.Duration // 0: the default
}

// ArchiveSettings are [zeekrec.archive].
type ArchiveSettings struct {
	Enabled bool
	Dir     string // empty: the agent's default
	// Layout below Dir, ending in {day}, with {cluster} and {instance}; empty: DefaultArchiveLayout.
	Layout   string
	Interval time.Duration
	Compress string // gzip, zstd, none
	Keep     time.Duration
	MinFree  Quantity // Percent, or bytes when not
	Command  string
	Timezone string // local, UTC
	Parallel int    // logs at the same time; 0: the archiver's default
	Rate     int64  // bytes of logs in a second; 0: no bound
	Line     int    // of layout; 0: not stated
}

// Limits are one [zeekrec.limits.ROLE].
type Limits struct {
	// Group is of the role's processes on a host together; the rest is of each.
	Group     GroupLimits
	CPUs      []int // sorted; nil: all
	Nice      *int  // -20 to 19
	OpenFiles uint64
	Line      int
}
