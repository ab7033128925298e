package desired

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
)

// This file is the table of minimal restarts (facts/zeromq.md §3.2) as data: which inputs a node of
// each role uses of its cluster, and what a change of one asks for. A row's values are compared with
// those that the running process was started with; what has no row for a role, that role never reads.

// use is one row: a field that nodes of some roles use.
type use struct {
	field    string
	roles    []Role  // nil: every role of a node
	backend  Backend // "": both
	relation Relation
	values   func(in *nodeInput) []string
	why      string // where in Zeek it is used; shown by the documentation, checked by a test to be there
}

// nodeInput is what the values of a row are computed from.
type nodeInput struct {
	node *Node
	spec *NodeSpec
	peer *peers
}

// peers is what the nodes of one cluster share, computed once for all of them.
type peers struct {
	layoutValue     []string // hash and size of the layout
	workers         []string // names
	proxies         []string // names
	proxyEndpoints  []string // name=addr:port
	loggers         []string // addr:port of what senders push logs to
	loggerEndpoints []string // name=addr:port
	manager         []string // addr:port
	self            map[string]string
}

var (
	senders  = []Role{RoleManager, RoleProxy, RoleWorker}
	managers = []Role{RoleManager}
	workers  = []Role{RoleWorker}
)

// table has a row for everything a node is started from. The order is of no meaning.
func table() []use {
	t := []use{
		// What the process itself is.
		{"role", nil, "", Equal, func(in *nodeInput) []string { return []string{string(in.node.Role)} }, "scripts are chosen by role at parse time (cluster/__load__.zeek)"},
		{"zeek", nil, "", Equal, func(in *nodeInput) []string { return nonEmpty(in.spec.Zeek) }, "the program"},
		{"backend", nil, "", Equal, func(in *nodeInput) []string {
			if in.spec.Backend == BackendZeroMQ {
				return nil // the default has no values
			}
			return []string{string(in.spec.Backend)}
		}, "the backend's script is loaded at start"},
		{"scripts", nil, "", Equal, func(in *nodeInput) []string { return in.spec.Scripts }, "loaded at start"},
		{"args", nil, "", Equal, func(in *nodeInput) []string { return in.spec.Args }, "command line"},
		{"env", nil, "", Equal, func(in *nodeInput) []string { return envValues(in.spec.Env) }, "environment"},
		{"files", nil, "", Equal, loadedFiles, "scripts and signatures of NAME/ are read at start"},
		{PartOptions, nil, "", Tune, func(in *nodeInput) []string { return optionValues(in.spec.Options) }, "a redef, evaluated at start; what Zeek calls an option is also set while it runs, by zeekrec-tune.zeek"},
		{"local_nets", nil, "", Equal, func(in *nodeInput) []string { return in.spec.LocalNets }, "redef is evaluated at start"},
		{"user", nil, "", Equal, func(in *nodeInput) []string { return nonEmpty(in.spec.User) }, "set before exec"},
		{"tz", nil, "", Equal, func(in *nodeInput) []string { return nonEmpty(in.spec.TZ) }, "environment"},
		{"interface", nil, "", Equal, func(in *nodeInput) []string { return nonEmpty(in.spec.Interface) }, "-i"},
		{"fanout", nil, "", Equal, func(in *nodeInput) []string { return number(in.spec.FanoutID) }, "AF_Packet::fanout_id, a constant"},
		{"metrics", nil, "", Equal, func(in *nodeInput) []string { return listenAt(in.spec.MetricsAddress, in.spec.MetricsPort) }, "Telemetry::metrics_port, bound at start"},
		{"rotation", nil, "", Equal, func(in *nodeInput) []string { return number(in.spec.RotationSeconds) }, "Log::default_rotation_interval, a constant"},

		// What it knows of the others: logs.
		{"manager_is_logger", nil, "", Equal, func(in *nodeInput) []string {
			if !in.spec.Layout.ManagerIsLogger {
				return nil
			}
			return []string{"yes"}
		}, "first logger, last logger: manager's listener, rotation and filters, everybody's endpoint"},
		{"broker_mode", []Role{RoleLogger, RoleProxy, RoleWorker}, BackendZeroMQ, Equal, func(in *nodeInput) []string {
			if in.spec.BrokerMode != "manager" {
				return nil
			}
			return []string{"manager"}
		}, "nobody says goodbye for the broker's or the manager's predecessor; a node that has known it may take its successor for gone"},
		{"loggers", senders, BackendZeroMQ, Equal, func(in *nodeInput) []string {
			if in.spec.Layout.ManagerIsLogger && in.node.Role == RoleManager || in.spec.LogEndpoints != nil {
				return nil // it logs itself; or see below
			}
			return in.peer.loggers
		}, "connect_log_endpoints is read once (ZeroMQ.cc:523-540)"},
		{"loggers", senders, BackendZeroMQ, Cover, func(in *nodeInput) []string { return in.spec.LogEndpoints }, "connected to at start; nobody need listen there (logger_slots)"},
		{"log_immediate", senders, BackendZeroMQ, Equal, func(in *nodeInput) []string {
			if in.spec.LogEndpoints == nil {
				return nil
			}
			return []string{"yes"}
		}, "a constant: batches go to loggers that are there, and wait for none"},
		{"loggers", senders, BackendBroker, Cover, func(in *nodeInput) []string { return in.peer.loggerEndpoints }, "connects once at zeek_init; dead ones are skipped (backend/broker/main.zeek:97-151)"},
		{"listen", nil, "", Equal, func(in *nodeInput) []string { return nonEmpty(in.peer.listen(in)) }, "bound at start"},

		// The others' names and addresses.
		{"workers", managers, "", Cover, told(false, func(p *peers) []string { return p.workers }), "node_up, SumStats, intel (cl/main.zeek:369-376); a stale name is harmless"},
		{"workers", managers, BackendZeroMQ, Follow, told(true, func(p *peers) []string { return p.workers }), "the same, by zeekrec-members.zeek"},
		{"proxies", []Role{RoleManager, RoleWorker}, BackendZeroMQ, Cover, told(false, func(p *peers) []string { return p.proxies }), "pools are built at zeek_init (cl/pools.zeek:238,350); one that is gone leaves by node_down"},
		{"proxies", []Role{RoleManager, RoleWorker}, BackendZeroMQ, Follow, told(true, func(p *peers) []string { return p.proxies }), "the same, by zeekrec-members.zeek, which makes pools anew"},
		{PartMembership, nil, BackendZeroMQ, Later, func(in *nodeInput) []string { return nonEmpty(string(in.spec.Membership)) }, "zeekrec-members.zeek is loaded at start"},
		{"proxies", managers, BackendBroker, Cover, func(in *nodeInput) []string { return in.peer.proxies }, "pools are built at zeek_init"},
		{"proxies", workers, BackendBroker, Cover, func(in *nodeInput) []string { return in.peer.proxyEndpoints }, "workers dial proxies; retrying a dead one is harmless"},
		{"manager", []Role{RoleProxy, RoleWorker}, BackendBroker, Equal, func(in *nodeInput) []string { return in.peer.manager }, "proxies and workers dial the manager"},

		// The ZeroMQ broker.
		{"broker", []Role{RoleLogger, RoleProxy, RoleWorker}, BackendZeroMQ, Equal, func(in *nodeInput) []string { return []string{in.spec.XPub, in.spec.XSub} }, "endpoints are read once"},
		{"broker", managers, BackendZeroMQ, Equal, func(in *nodeInput) []string {
			if in.spec.BrokerMode == BrokerManager {
				return nil // it is the broker: xpub and xsub below
			}
			return []string{in.spec.XPub, in.spec.XSub}
		}, "endpoints are read once"},
		{"xpub", managers, BackendZeroMQ, Equal, func(in *nodeInput) []string {
			if in.spec.BrokerMode != BrokerManager {
				return nil
			}
			return []string{in.spec.XPub}
		}, "bound at start by the manager's proxy thread"},
		{"xsub", managers, BackendZeroMQ, Equal, func(in *nodeInput) []string {
			if in.spec.BrokerMode != BrokerManager {
				return nil
			}
			return []string{in.spec.XSub}
		}, "bound at start by the manager's proxy thread"},

		{"curve", nil, BackendZeroMQ, Equal, func(in *nodeInput) []string { return nonEmpty(in.spec.Curve) }, "keys are read from the environment once (ZeroMQ.cc:245-253)"},
		{"lossless", nil, BackendZeroMQ, Equal, func(in *nodeInput) []string {
			if !in.spec.Lossless {
				return nil
			}
			return []string{"yes"}
		}, "high-water marks are constants"},

		// What is changed while it runs.
		{"data", nil, "", Live, otherFiles, "files of NAME/ that scripts read while they run, at a path that stays"},
		{"layout", nil, "", Live, func(in *nodeInput) []string { return in.peer.layoutValue }, "cluster-layout.zeek of the next start"},
		{"cpus", nil, "", Live, func(in *nodeInput) []string { return ints(in.spec.CPUs) }, "sched_setaffinity per thread"},
		{"nice", nil, "", Live, func(in *nodeInput) []string { return number(in.spec.Nice) }, "setpriority per thread"},
		{"open_files", nil, "", Live, func(in *nodeInput) []string { return number(int(in.spec.OpenFiles)) }, "prlimit"},
		{"zeek_upgrade", nil, "", Live, func(in *nodeInput) []string { return nonEmpty(in.spec.ZeekUpgrade) }, "zeekrec's own"},
		{"restart_hung", nil, BackendZeroMQ, Live, func(in *nodeInput) []string { return patience(in.spec.HungSeconds) }, "zeekrec's own"},
	}
	for _, p := range groupParts() {
		t = append(t, use{p.field, nil, "", Live, func(in *nodeInput) []string { return p.values(in.spec.Group) }, p.why})
	}
	return t
}

// loadedFiles are those of NAME/ whose change is a restart: what the node loads, or all where that is not known.
func loadedFiles(in *nodeInput) []string {
	switch in.spec.Loaded {
	case "":
		return nonEmpty(in.spec.Files)
	case LoadedNothing:
		return nil
	}
	return []string{in.spec.Loaded}
}

// otherFiles stand for all of NAME/ where it is known what of it is loaded.
func otherFiles(in *nodeInput) []string {
	if in.spec.Loaded == "" {
		return nil
	}
	return nonEmpty(in.spec.Files)
}

// told are values that nodes learn by the table that they follow (live), or only by their start.
func told(live bool, values func(*peers) []string) func(*nodeInput) []string {
	return func(in *nodeInput) []string {
		if live != (in.spec.Membership == MembershipLive) {
			return nil
		}
		return values(in.peer)
	}
}

// brokerUse is one row of the table of brokers.
type brokerUse struct {
	field    string
	relation Relation
	values   func(s *BrokerSpec) []string
	why      string
}

// brokerTable has a row for everything that zeekrec's ZeroMQ broker is started from or told. Nothing of the
// nodes is in it: the broker learns of them when they connect.
func brokerTable() []brokerUse {
	t := []brokerUse{
		{"xpub", Equal, func(s *BrokerSpec) []string { return []string{s.XPub} }, "bound at start"},
		{"xsub", Equal, func(s *BrokerSpec) []string { return []string{s.XSub} }, "bound at start"},
		{"metrics", Equal, func(s *BrokerSpec) []string { return listenAt(s.MetricsAddress, s.MetricsPort) }, "bound at start"},
		{"user", Equal, func(s *BrokerSpec) []string { return nonEmpty(s.User) }, "set before exec"},

		// What is changed while it runs.
		{"accepts", Live, func(s *BrokerSpec) []string { return s.Curve }, "key pairs; several are good at once, and nobody is cut off by a new one"},
		{"sndhwm", Live, func(s *BrokerSpec) []string { return number(s.SndHWM) }, "asked for every message"},
		{"queue_bytes", Live, func(s *BrokerSpec) []string { return number(int(s.QueueBytes)) }, "asked for every message"},
		{"policy", Live, func(s *BrokerSpec) []string { return nonEmpty(s.Policy) }, "asked when a queue is full"},
		{"grace", Live, func(s *BrokerSpec) []string { return number(s.GraceSeconds) }, "asked when a connection is lost"},
		{"cpus", Live, func(s *BrokerSpec) []string { return ints(s.CPUs) }, "sched_setaffinity per thread"},
		{"nice", Live, func(s *BrokerSpec) []string { return number(s.Nice) }, "setpriority per thread"},
		{"open_files", Live, func(s *BrokerSpec) []string { return number(int(s.OpenFiles)) }, "prlimit"},
	}
	for _, p := range groupParts() {
		t = append(t, brokerUse{p.field, Live, func(s *BrokerSpec) []string { return p.values(s.Group) }, p.why})
	}
	return t
}

// rows returns the table's rows that apply to nodes of a role with a backend.
func rows(t []use, role Role, b Backend) []use {
	var out []use
	for _, u := range t {
		if (u.roles == nil || slices.Contains(u.roles, role)) && (u.backend == "" || u.backend == b) {
			out = append(out, u)
		}
	}
	return out
}

// sharer has one copy of values that many nodes have in common. Nobody changes the values of a part.
type sharer struct {
	lists map[string][]string
	key   []byte
	parts []Part
}

func (s *sharer) share(values []string) []string {
	s.key = s.key[:0]
	for _, v := range values {
		s.key = append(append(s.key, v...), 0)
	}
	if l, ok := s.lists[string(s.key)]; ok {
		return l
	}
	s.lists[string(s.key)] = values
	return values
}

// apply the rows to one node.
func (s *sharer) apply(rs []use, in *nodeInput) []Part {
	s.parts = s.parts[:0]
	for _, u := range rs {
		if v := u.values(in); len(v) > 0 {
			s.parts = append(s.parts, Part{Field: u.field, Relation: u.relation, Values: s.share(v)})
		}
	}
	return slices.Clone(s.parts) // most rows have no values
}

// listen is the address that a node's own listener is bound to; empty where it has none. With ZeroMQ
// only loggers listen (and a manager that logs); with Broker everybody but the workers.
func (p *peers) listen(in *nodeInput) string {
	switch {
	case in.spec.Backend == BackendZeroMQ && in.node.Role != RoleLogger && (in.node.Role != RoleManager || !in.spec.Layout.ManagerIsLogger):
		return ""
	case in.node.Role == RoleWorker:
		return ""
	}
	return p.self[in.node.Name]
}

// newPeers computes what nodes share from the layout.
func newPeers(l Layout) *peers {
	p := &peers{self: make(map[string]string, len(l.Nodes))}
	h := xxhash.New()
	fmt.Fprintf(h, "%t", l.ManagerIsLogger)
	for _, n := range l.Nodes {
		fmt.Fprintf(h, "\x00%s\x00%s\x00%s\x00%d\x00%d", n.Name, n.Role, n.Address, n.Port, n.MetricsPort)
		at := ""
		if n.Port != 0 {
			at = net.JoinHostPort(n.Address, strconv.Itoa(n.Port))
			p.self[n.Name] = at
		}
		switch n.Role {
		case RoleWorker:
			p.workers = append(p.workers, n.Name)
		case RoleProxy:
			p.proxies = append(p.proxies, n.Name)
			p.proxyEndpoints = append(p.proxyEndpoints, n.Name+"="+at)
		case RoleLogger:
			p.loggers = append(p.loggers, at)
			p.loggerEndpoints = append(p.loggerEndpoints, n.Name+"="+at)
		case RoleManager:
			p.manager = append(p.manager, at)
			if l.ManagerIsLogger {
				p.loggers = append(p.loggers, at)
				p.loggerEndpoints = append(p.loggerEndpoints, n.Name+"="+at)
			}
		}
	}
	slices.Sort(p.loggers)
	noun := "nodes"
	if len(l.Nodes) == 1 {
		noun = "node"
	}
	p.layoutValue = []string{fmt.Sprintf("%d %s (%08x)", len(l.Nodes), noun, uint32(h.Sum64()))}
	return p
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// listenAt is the address of a listener; nothing without a port.
func listenAt(host string, port int) []string {
	if port == 0 {
		return nil
	}
	return []string{net.JoinHostPort(host, strconv.Itoa(port))}
}

func number(n int) []string {
	if n == 0 {
		return nil
	}
	return []string{strconv.Itoa(n)}
}

// patience in seconds; nothing for the default, "no" for none at all.
func patience(seconds int) []string {
	switch {
	case seconds < 0:
		return []string{"no"}
	case seconds == 0:
		return nil
	}
	return []string{(time.Duration(seconds) * time.Second).String()}
}

func ints(ns []int) []string {
	var out []string
	for _, n := range ns {
		out = append(out, strconv.Itoa(n))
	}
	return out
}

func envValues(env map[string]string) []string {
	var out []string
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}
