package reconciler_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler"
)

// row is one row of the table of minimal restarts (facts/zeromq.md §3.2), for one backend: a change, and
// the only processes that it may disturb. All others keep their pid.
type row struct {
	name   string
	base   func(*desired.Cluster) // applied before the cluster is taken to run
	change func(*desired.Cluster)
	zeromq string // "start worker-4, restart manager"; "" for none
	broker string // "-": the row does not apply
	// told are the resources whose update the row is about: "broker". Updates of nodes count for none here; that
	// of the broker has to be stated wherever it happens.
	told string
	// archiver: its update is what the row is about.
	archiver bool
	// tunable are the names of options that Zeek can change while it runs.
	tunable []string
}

var minimal = []row{
	{
		name: "add worker", change: add("worker-4", desired.RoleWorker),
		zeromq: "restart manager, start worker-4", broker: "restart manager, start worker-4",
	},
	{
		name: "remove worker", change: remove("worker-2"),
		zeromq: "stop worker-2", broker: "stop worker-2",
	},
	{
		name: "rename worker", change: rename("worker-2", "worker-9"),
		zeromq: "restart manager, start worker-9, stop worker-2", broker: "restart manager, start worker-9, stop worker-2",
	},
	{
		name: "worker interface", change: node("worker-2", func(n *desired.Node) { n.Interface = "eth9" }),
		zeromq: "restart worker-2", broker: "restart worker-2",
	},
	{
		name: "worker args", change: node("worker-2", func(n *desired.Node) { n.Args = []string{"-C"} }),
		zeromq: "restart worker-2", broker: "restart worker-2",
	},
	{
		name: "worker env", change: node("worker-2", func(n *desired.Node) { n.Env = map[string]string{"A": "b"} }),
		zeromq: "restart worker-2", broker: "restart worker-2",
	},
	{
		name: "manager env", change: node("manager", func(n *desired.Node) { n.Env = map[string]string{"A": "b"} }),
		zeromq: "restart manager", broker: "restart manager",
	},
	{
		name: "worker scripts", change: node("worker-2", func(n *desired.Node) { n.Scripts = []string{"extra"} }),
		zeromq: "restart worker-2", broker: "restart worker-2",
	},
	{name: "CPU affinity", change: node("worker-2", func(n *desired.Node) { one := 1; n.CPUAffinity = &one })},
	{
		name: "nice and CPUs of a role", change: func(c *desired.Cluster) {
			n := 5
			c.Settings.Limits = map[desired.Role]desired.Limits{desired.RoleWorker: {Nice: &n, CPUs: []int{0, 1}}}
		},
	},
	{
		name: "what the kernel shares out to a role", change: func(c *desired.Cluster) {
			g := desired.GroupLimits{MemoryMax: 8 << 30, MemoryHigh: 7 << 30, CPUQuota: 150, CPUWeight: 200, IOWeight: 50, TasksMax: 100}
			c.Settings.Limits = map[desired.Role]desired.Limits{desired.RoleWorker: {Group: g}, desired.RoleManager: {Group: g}, desired.RoleProxy: {Group: g}, desired.RoleLogger: {Group: g}}
		},
	},
	{
		name: "add proxy", change: add("proxy-2", desired.RoleProxy),
		zeromq: "restart manager, start proxy-2, restart worker-1, restart worker-2, restart worker-3",
		broker: "restart manager, start proxy-2, restart worker-1, restart worker-2, restart worker-3",
	},
	{
		name: "remove proxy", base: add("proxy-2", desired.RoleProxy), change: remove("proxy-2"),
		zeromq: "stop proxy-2", broker: "stop proxy-2",
	},
	{
		name: "rename proxy", change: rename("proxy-1", "proxy-9"),
		zeromq: "restart manager, stop proxy-1, start proxy-9, restart worker-1, restart worker-2, restart worker-3",
		broker: "restart manager, stop proxy-1, start proxy-9, restart worker-1, restart worker-2, restart worker-3",
	},
	{
		name: "add logger", change: add("logger-2", desired.RoleLogger),
		zeromq: "start logger-2, restart manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3",
		broker: "start logger-2, restart manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3",
	},
	{
		name: "remove logger", base: add("logger-2", desired.RoleLogger), change: remove("logger-2"),
		zeromq: "stop logger-2, restart manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3",
		broker: "stop logger-2",
	},
	{
		name: "first logger", base: remove("logger-1"), change: add("logger-1", desired.RoleLogger),
		zeromq: "start logger-1, restart manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3",
		broker: "start logger-1, restart manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3",
	},
	{
		name: "last logger removed", change: remove("logger-1"),
		zeromq: "stop logger-1, restart manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3",
		broker: "stop logger-1, restart manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3",
	},
	{
		name: "logger port", change: node("logger-1", func(n *desired.Node) { n.Port = 4001 }),
		zeromq: "restart logger-1, restart manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3",
		broker: "restart logger-1, restart manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3",
	},
	{
		name: "manager port", change: node("manager", func(n *desired.Node) { n.Port = 4001 }),
		zeromq: "", broker: "restart manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3",
	},
	{
		name: "proxy port", change: node("proxy-1", func(n *desired.Node) { n.Port = 4001 }),
		zeromq: "", broker: "restart proxy-1, restart worker-1, restart worker-2, restart worker-3",
	},
	{name: "worker port", change: node("worker-1", func(n *desired.Node) { n.Port = 4001 })},
	{
		name: "metrics port of a node", change: node("worker-1", func(n *desired.Node) { n.MetricsPort = 4001 }),
		zeromq: "restart worker-1", broker: "restart worker-1",
	},
	{
		name: "worker to another host", base: twoHosts, change: node("worker-1", func(n *desired.Node) { n.Instance = "agent-b" }),
		zeromq: "start worker-1, stop worker-1", broker: "start worker-1, stop worker-1",
	},
	{
		name: "proxy to another host", base: twoHosts, change: node("proxy-1", func(n *desired.Node) { n.Instance = "agent-b" }),
		zeromq: "start proxy-1, stop proxy-1",
		broker: "start proxy-1, stop proxy-1, restart worker-1, restart worker-2, restart worker-3, restart worker-3b",
	},
	{
		name: "manager to another host, external broker", base: func(c *desired.Cluster) { twoHosts(c); external(c) },
		change: node("manager", func(n *desired.Node) { n.Instance = "agent-b" }),
		zeromq: "start manager, stop manager", broker: "-",
	},
	{
		name: "manager to another host, the broker stays", base: func(c *desired.Cluster) { twoHosts(c); c.Settings.Broker.Instance = "agent-a" },
		change: node("manager", func(n *desired.Node) { n.Instance = "agent-b" }),
		zeromq: "start manager, stop manager", broker: "-",
	},
	{
		name: "manager to another host", base: twoHosts,
		change: node("manager", func(n *desired.Node) { n.Instance = "agent-b" }),
		zeromq: "start broker, stop broker, restart logger-1, start manager, stop manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3, restart worker-3b",
		broker: "start manager, stop manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3, restart worker-3b",
	},
	{
		name: "from one host to two", change: func(c *desired.Cluster) {
			twoHosts(c)
			c.Nodes = append(c.Nodes, desired.Node{Name: "worker-4", Role: desired.RoleWorker, Instance: "agent-b", Interface: "eth0"})
		},
		base: func(c *desired.Cluster) { twoHosts(c); c.Nodes = c.Nodes[:len(c.Nodes)-1] },
		// The broker is told of its keys with the restart.
		zeromq: "restart broker, restart logger-1, restart manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3, start worker-3b, start worker-4",
		broker: "restart logger-1, restart manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3, start worker-3b, start worker-4",
	},
	{
		name: "from one host to two, prepared", change: func(c *desired.Cluster) {
			c.Nodes = append(c.Nodes, desired.Node{Name: "worker-4", Role: desired.RoleWorker, Instance: "agent-b", Interface: "eth0"})
		},
		base:   prepared, // by what decisions 18 names: its address, and curve = on
		zeromq: "restart manager, start worker-4", broker: "restart manager, start worker-4",
	},
	{
		name: "broker endpoint", change: func(c *desired.Cluster) { c.Settings.Broker.XPub = "tcp://127.0.0.1:7777" },
		zeromq: "restart broker, " + everybody, broker: "-",
	},
	{
		name: "endpoint of the manager's broker", base: mode("manager"), change: func(c *desired.Cluster) { c.Settings.Broker.XPub = "tcp://127.0.0.1:7777" },
		zeromq: everybody, broker: "-",
	},
	{
		name: "sndhwm, queue_bytes, policy, grace", change: func(c *desired.Cluster) {
			b := &c.Settings.Broker
			b.SndHWM, b.QueueBytes, b.Policy, b.Grace = 10, 1<<20, "disconnect", 10*time.Second
		},
		told: "broker", broker: "-",
	},
	{
		name: "the defaults, stated", change: func(c *desired.Cluster) {
			b := &c.Settings.Broker
			b.Mode, b.Instance, b.Curve = "standalone", "agent-a", "auto"
			b.SndHWM, b.QueueBytes, b.Policy, b.Grace = 1000, desired.DefaultQueueBytes, "drop", 5*time.Second
		},
		broker: "-",
	},
	{
		name: "limits of the broker", change: func(c *desired.Cluster) {
			n := -5
			c.Settings.Limits = map[desired.Role]desired.Limits{desired.RoleBroker: {Nice: &n, CPUs: []int{3}, OpenFiles: 4096, Group: desired.GroupLimits{MemoryMax: 1 << 30}}}
		},
		told: "broker", broker: "-",
	},
	{
		name: "lossless", change: func(c *desired.Cluster) { c.Settings.Broker.Lossless = true },
		zeromq: everybody, told: "broker", broker: "-",
	},
	{name: "mode from standalone to manager", change: mode("manager"), zeromq: "stop broker, " + everybody, broker: ""},
	{name: "mode from manager to standalone", base: mode("manager"), change: mode("standalone"), zeromq: "start broker, " + everybody, broker: ""},
	{
		name: "mode from standalone to external, at the same endpoints", base: stated,
		change: mode("external"), zeromq: "stop broker", broker: "-",
	},
	{name: "mode from standalone to external", change: external, zeromq: "stop broker, " + everybody, broker: "-"},
	{
		name: "the broker to another host", base: twoHosts, change: func(c *desired.Cluster) { c.Settings.Broker.Instance = "agent-b" },
		zeromq: "start broker, stop broker, " + everybody + ", restart worker-3b", broker: "-",
	},
	{
		name: "the broker to another host, its name goes with it", base: func(c *desired.Cluster) { twoHosts(c); stated(c) },
		change: func(c *desired.Cluster) { c.Settings.Broker.Instance = "agent-b" },
		zeromq: "start broker, stop broker", broker: "-",
	},
	{
		name: "the broker to a host without nodes", change: func(c *desired.Cluster) {
			c.Instances = []desired.Instance{{Name: "agent-a", Host: "10.0.0.1"}, {Name: "agent-b", Host: "10.0.0.2"}}
			c.Settings.Broker.Instance = "agent-b"
		},
		zeromq: "start broker, stop broker, " + everybody, broker: "-",
	},
	{
		name: "curve on", change: func(c *desired.Cluster) { c.Settings.Broker.Curve = "on" },
		zeromq: everybody, told: "broker", broker: "-",
	},
	{
		name: "curve off", base: func(c *desired.Cluster) { c.Settings.Broker.Curve = "on" },
		change: func(c *desired.Cluster) { c.Settings.Broker.Curve = "off" },
		zeromq: everybody, told: "broker", broker: "-",
	},
	{
		name: "user", change: func(c *desired.Cluster) { c.Settings.User = "zeek" },
		zeromq: "restart broker, " + everybody, broker: everybody,
	},
	{
		name: "no metrics", change: func(c *desired.Cluster) { c.Settings.Metrics = false },
		zeromq: "restart broker, " + everybody, broker: everybody,
	},
	{
		name: "a worker called broker", change: add("broker", desired.RoleWorker),
		// The resource changes its name, and its ports go along.
		zeromq: "restart broker, start zeekrec.broker, restart manager", broker: "restart manager, start broker",
	},
	{
		name: "shared scripts", change: func(c *desired.Cluster) {
			c.Settings.Scripts, c.Settings.ScriptsStated = []string{"local", "more"}, true
		},
		zeromq: everybody, broker: everybody,
	},
	{name: "NAME/", change: func(c *desired.Cluster) { c.Files = "0011223344556677" }, zeromq: everybody, broker: everybody},
	{
		name: "a redef in [zeekrec.options]", change: func(c *desired.Cluster) {
			c.Settings.Options = []desired.Option{{Name: "LogAscii::use_json", Value: "T"}}
		},
		zeromq: everybody, broker: everybody,
	},
	{
		name: "an option that Zeek can change while it runs", change: func(c *desired.Cluster) {
			c.Settings.Options = []desired.Option{{Name: "Weird::sampling_rate", Value: "100"}}
		},
		tunable: []string{"Weird::sampling_rate"},
	},
	{
		name: "restart_hung", change: func(c *desired.Cluster) { c.Settings.RestartHung = 10 * time.Second },
	},
	{
		name: "rotation interval", change: func(c *desired.Cluster) { c.Settings.Archive.Interval = time.Minute },
		zeromq: "restart logger-1", broker: "restart logger-1",
	},
	// The archiver is told in place of what is its own, and disturbs nobody when it comes, goes or is restarted.
	{
		name: "archive: dir, layout, compress, keep, min_free, command, parallel, rate", base: archived, change: func(c *desired.Cluster) {
			a := &c.Settings.Archive
			a.Dir, a.Layout, a.Compress, a.Keep, a.Command, a.Parallel, a.Rate = "/elsewhere", "{day}", "zstd", 24*time.Hour, "mine", 1, 1<<20
			a.MinFree = desired.Quantity{N: 10, Percent: true}
		},
		archiver: true,
	},
	{
		name: "archive: interval", base: archived, change: func(c *desired.Cluster) { c.Settings.Archive.Interval = time.Minute },
		zeromq: "restart logger-1", broker: "restart logger-1", archiver: true,
	},
	{
		name: "archive: timezone", base: archived, change: func(c *desired.Cluster) { c.Settings.Archive.Timezone = "UTC" },
		zeromq: "restart logger-1", broker: "restart logger-1", archiver: true,
	},
	{
		name: "archive: the defaults, stated", base: archived, change: func(c *desired.Cluster) {
			a := &c.Settings.Archive
			a.Layout, a.Compress, a.Interval, a.Timezone, a.MinFree = "{cluster}/{day}", "gzip", time.Hour, "local", desired.DefaultMinFree
		},
	},
	{
		name: "archive: limits", base: archived, change: func(c *desired.Cluster) {
			n := 0
			c.Settings.Limits = map[desired.Role]desired.Limits{desired.RoleArchiver: {Nice: &n, CPUs: []int{3}, Group: desired.GroupLimits{IOWeight: 10}}}
		},
		archiver: true,
	},
	{name: "archive: disabled", base: archived, change: func(c *desired.Cluster) { c.Settings.Archive.Enabled = false }, zeromq: "stop archiver", broker: "stop archiver"},
	{name: "archive: enabled", change: archived, zeromq: "start archiver", broker: "start archiver"},
	{
		name: "archive: user", base: archived, change: func(c *desired.Cluster) { c.Settings.User = "zeek" },
		zeromq: "restart archiver, restart broker, " + everybody, broker: "restart archiver, " + everybody,
	},
	{
		name: "archive: add logger", base: archived, change: add("logger-2", desired.RoleLogger),
		zeromq: "start logger-2, restart manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3",
		broker: "start logger-2, restart manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3",
	},
	{
		name: "archive: the last logger removed", base: archived, change: remove("logger-1"), // the manager logs, on the same instance
		zeromq: "stop logger-1, restart manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3",
		broker: "stop logger-1, restart manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3",
	},
	// Names reach nodes that follow the table of their cluster's nodes while they run (membership = live).
	{name: "live: add worker", base: live, change: add("worker-4", desired.RoleWorker), zeromq: "start worker-4", broker: "-"},
	{name: "live: remove worker", base: live, change: remove("worker-2"), zeromq: "stop worker-2", broker: "-"},
	{name: "live: rename worker", base: live, change: rename("worker-2", "worker-9"), zeromq: "start worker-9, stop worker-2", broker: "-"},
	{
		name: "live: remove all workers", base: live, change: func(c *desired.Cluster) { remove("worker-1")(c); remove("worker-2")(c); remove("worker-3")(c) },
		zeromq: "stop worker-1, stop worker-2, stop worker-3", broker: "-",
	},
	{name: "live: add proxy", base: live, change: add("proxy-2", desired.RoleProxy), zeromq: "start proxy-2", broker: "-"},
	{name: "live: remove proxy", base: live, change: remove("proxy-1"), zeromq: "stop proxy-1", broker: "-"},
	{name: "live: rename proxy", base: live, change: rename("proxy-1", "proxy-9"), zeromq: "start proxy-9, stop proxy-1", broker: "-"},
	{
		name: "live: a worker becomes a proxy", base: live, change: node("worker-2", func(n *desired.Node) { n.Role, n.Interface = desired.RoleProxy, "" }),
		zeromq: "restart worker-2", broker: "-",
	},
	{
		name: "live: add logger", base: live, change: add("logger-2", desired.RoleLogger), // connect_log_endpoints is read once
		zeromq: "start logger-2, restart manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3", broker: "-",
	},
	// Loggers take spare endpoints, which everybody is connected to, and leave them (logger_slots).
	{name: "slots: add logger", base: slots, change: add("logger-2", desired.RoleLogger), zeromq: "start logger-2", broker: "-"},
	{
		name: "slots: remove logger", base: func(c *desired.Cluster) { slots(c); add("logger-2", desired.RoleLogger)(c) },
		change: remove("logger-2"), zeromq: "stop logger-2", broker: "-",
	},
	{name: "slots: rename logger", base: slots, change: rename("logger-1", "logger-9"), zeromq: "start logger-9, stop logger-1", broker: "-"},
	{
		name: "slots: more loggers than slots", base: slots, change: func(c *desired.Cluster) {
			add("logger-2", desired.RoleLogger)(c)
			add("logger-3", desired.RoleLogger)(c)
			add("logger-4", desired.RoleLogger)(c)
		},
		zeromq: "start logger-2, start logger-3, start logger-4, restart manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3", broker: "-",
	},
	{name: "slots: fewer", base: slots, change: func(c *desired.Cluster) { c.Settings.LoggerSlots = 1 }, broker: "-"},
	{
		name: "slots: none any more", base: slots, change: func(c *desired.Cluster) { c.Settings.LoggerSlots = 0 },
		zeromq: "restart manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3", broker: "-",
	},
	{
		name: "slots: first ones", change: slots,
		zeromq: "restart manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3", broker: "-",
	},
	{
		name: "live: a worker on a second host, prepared", base: func(c *desired.Cluster) { live(c); prepared(c) }, change: func(c *desired.Cluster) {
			c.Nodes = append(c.Nodes, desired.Node{Name: "worker-4", Role: desired.RoleWorker, Instance: "agent-b", Interface: "eth0"})
		},
		zeromq: "start worker-4", broker: "-",
	},
	// Switching disturbs nobody: it is for the next start. Until then a node that has to know more is restarted.
	{name: "membership from restart to live", change: live, broker: "-"},
	{name: "membership from live to restart", base: live, change: restart, broker: "-"},
	{
		name: "membership from restart to live, and a worker", change: func(c *desired.Cluster) { live(c); add("worker-4", desired.RoleWorker)(c) },
		zeromq: "restart manager, start worker-4", broker: "-",
	},
	{
		name: "membership from restart to live, a worker less", change: func(c *desired.Cluster) { live(c); remove("worker-3")(c) },
		zeromq: "stop worker-3", broker: "-",
	},
	{
		name: "membership from live to restart, and a worker", base: live, change: func(c *desired.Cluster) { restart(c); add("worker-4", desired.RoleWorker)(c) },
		zeromq: "restart manager, start worker-4", broker: "-",
	},
	{name: "a comment", change: func(c *desired.Cluster) { c.Revision = "other" }},
	{name: "max_unavailable, prune_guard, suspend", change: func(c *desired.Cluster) {
		c.Settings.MaxUnavailable, c.Settings.PruneGuard, c.Settings.Suspend = desired.Quantity{N: 3}, desired.Quantity{N: 50, Percent: true}, true
	}},
}

// slots makes room for two more loggers.
func slots(c *desired.Cluster) {
	live(c)
	c.Settings.LoggerSlots = 2
}

const everybody = "restart logger-1, restart manager, restart proxy-1, restart worker-1, restart worker-2, restart worker-3"

func TestMinimalRestarts(t *testing.T) {
	for _, backend := range []desired.Backend{desired.BackendZeroMQ, desired.BackendBroker} {
		for _, r := range minimal {
			want := r.zeromq
			if backend == desired.BackendBroker {
				want = r.broker
			}
			if want == "-" {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s", backend, r.name), func(t *testing.T) {
				old := sixNodes(backend)
				if r.base != nil {
					r.base(old)
				}
				new := sixNodes(backend)
				if r.base != nil && r.name != "from one host to two" {
					r.base(new)
				}
				r.change(new)
				var got []string
				told, halves, archiver := "", map[string]bool{}, false
				in := input(t, old, new)
				tunable(in, r.tunable)
				for _, a := range reconciler.Diff(in).Actions {
					if a.Kind == desired.Update && a.Type == desired.TypeBroker {
						told = "broker"
						if a.Wave != 1 {
							t.Errorf("the broker is told in wave %d", a.Wave)
						}
					}
					archiver = archiver || a.Kind == desired.Update && a.Type == desired.TypeArchiver
					// A restart in two halves, while the loggers change their mechanism (TestEncryptionOn).
					if a.Kind == desired.Stop && (a.Reasons[0].Field == "curve" || a.Reasons[0].Field == "broker_mode") {
						halves[a.Resource] = true
						continue
					}
					if halves[a.Resource] && a.Kind == desired.Start {
						a.Kind = desired.Restart
					}
					if a.Disruptive || a.Kind != desired.Update {
						got = append(got, fmt.Sprintf("%s %s", a.Kind, strings.TrimPrefix(a.Resource, "dmz/")))
					}
					if len(a.Reasons) == 0 {
						t.Errorf("%s %s has no reason", a.Kind, a.Resource)
					}
				}
				if archiver != r.archiver {
					t.Errorf("the archiver is told: %t, want %t", archiver, r.archiver)
				}
				var expect []string
				if want != "" {
					expect = strings.Split(want, ", ")
				}
				slices.Sort(got)
				slices.Sort(expect)
				if d := cmp.Diff(expect, got); d != "" {
					t.Errorf("disturbs (-want +got):\n%s", d)
				}
				if want := r.told; backend == desired.BackendZeroMQ && told != want {
					t.Errorf("told is %q, want %q", told, want)
				}
			})
		}
	}
}

// tunable lets Zeek know options of these names, on every node that runs or is wanted.
func tunable(in reconciler.Input, names []string) {
	for i := range in.Want {
		if in.Want[i].Node != nil {
			in.Want[i].Tunable = names
		}
	}
	for _, inst := range in.Instances {
		for i := range inst.Resources {
			if inst.Resources[i].Type == string(desired.TypeNode) {
				inst.Resources[i].Tunable = names
			}
		}
	}
}

// planFrom compiles old, takes it to run everywhere as it should, and plans new.
func planFrom(t *testing.T, old, new *desired.Cluster) []reconciler.Action {
	t.Helper()
	return planWith(t, old, new, []string{"key-1"}, []string{"key-1"})
}

// planWith has keys before and after, too.
func planWith(t *testing.T, old, new *desired.Cluster, before, after []string) []reconciler.Action {
	t.Helper()
	return reconciler.Diff(inputWith(t, old, new, before, after)).Actions
}

func input(t *testing.T, old, new *desired.Cluster) reconciler.Input {
	t.Helper()
	return inputWith(t, old, new, []string{"key-1"}, []string{"key-1"})
}

func inputWith(t *testing.T, old, new *desired.Cluster, before, after []string) reconciler.Input {
	t.Helper()
	facts := func(keys []string) desired.Facts {
		return desired.Facts{Default: "agent-a", Keys: map[string][]string{"dmz": keys}}
	}
	now := time.Unix(1_700_000_000, 0)
	a := desired.Compile([]*desired.Cluster{old}, facts(before), desired.Assignment{}, now)
	b := desired.Compile([]*desired.Cluster{new}, facts(after), a.Assignment, now)
	for _, c := range []desired.Compiled{a, b} {
		if desired.HasErrors(c.Diagnostics) {
			t.Fatalf("diagnostics: %v", c.Diagnostics)
		}
	}
	in := reconciler.Input{
		Cluster: "dmz", From: "r1", To: "r2", Want: b.Resources["dmz"], Known: map[string]desired.Placement{},
		Instances:      map[string]reconciler.Instance{"agent-a": {}, "agent-b": {}},
		MaxUnavailable: desired.Quantity{N: 1}, Relation: desired.Relations(),
	}
	for _, r := range a.Resources["dmz"] {
		in.Known[r.Name] = desired.Placement{Instance: r.Instance}
		o := observed.Resource{
			Cluster: "dmz", Name: r.Name, Type: string(r.Type), Role: string(r.Role), State: observed.Running, PID: 1, Incarnation: 1,
			Healthy: true, Told: r.ID, Started: r.ID,
		}
		for _, p := range r.Parts {
			o.Parts = o.Parts.With(p.Field, p.Values...)
		}
		i := in.Instances[r.Instance]
		i.Resources = append(i.Resources, o)
		in.Instances[r.Instance] = i
	}
	return in
}

// TestLiveMembership: everybody is told in the first wave, by the reasons that concern him, before who is new is started;
// with membership = restart who does not know of it is told of the layout alone.
func TestLiveMembership(t *testing.T) {
	for _, tt := range []struct {
		name         string
		base, change func(*desired.Cluster)
		want         string
	}{
		{"worker", live, add("worker-4", desired.RoleWorker), "logger-1 layout, manager layout workers +worker-4, proxy-1 layout, worker-1 layout, worker-2 layout, worker-3 layout"},
		{"proxy", live, add("proxy-2", desired.RoleProxy), "logger-1 layout, manager layout proxies +proxy-2, proxy-1 layout, " +
			"worker-1 layout proxies +proxy-2, worker-2 layout proxies +proxy-2, worker-3 layout proxies +proxy-2"},
		{"gone", live, remove("worker-2"), "logger-1 layout, manager layout workers -worker-2, proxy-1 layout, worker-1 layout, worker-3 layout"},
		{"switched", restart, live, "logger-1 membership, manager membership, proxy-1 membership, worker-1 membership, worker-2 membership, worker-3 membership"},
		{"restart", restart, add("worker-4", desired.RoleWorker), "logger-1 layout, proxy-1 layout, worker-1 layout, worker-2 layout, worker-3 layout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			old, new := sixNodes(desired.BackendZeroMQ), sixNodes(desired.BackendZeroMQ)
			tt.base(old)
			tt.base(new)
			tt.change(new)
			var got []string
			for _, a := range planFrom(t, old, new) {
				if a.Kind != desired.Update {
					continue
				}
				if a.Wave != 1 || a.Disruptive {
					t.Errorf("%s is told in wave %d, disruptive %t", a.Resource, a.Wave, a.Disruptive)
				}
				s := strings.TrimPrefix(a.Resource, "dmz/")
				for _, r := range a.Reasons {
					s += " " + r.Field
					if r.Field == "workers" || r.Field == "proxies" {
						s += " " + r.From + r.To
					}
				}
				got = append(got, s)
			}
			slices.Sort(got)
			if d := cmp.Diff(tt.want, strings.Join(got, ", ")); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestFollowsNoMore: a process that was started to follow and is told to be restarted for names no more has to cover
// what it was told last, not what it was started with.
func TestFollowsNoMore(t *testing.T) {
	old := sixNodes(desired.BackendZeroMQ)
	live(old)
	new := sixNodes(desired.BackendZeroMQ)
	restart(new)
	add("worker-4", desired.RoleWorker)(new)
	in := input(t, old, new)
	seen := in.Instances["agent-a"]
	for i := range seen.Resources {
		if seen.Resources[i].Name == "manager" {
			o := &seen.Resources[i]
			o.Parts = o.Parts.With("workers", "worker-1", "worker-2", "worker-3", "worker-4") // told since
		}
	}
	for _, a := range reconciler.Diff(in).Actions {
		if a.Resource == "dmz/manager" && a.Kind != desired.Update {
			t.Errorf("%s: %v", a.Kind, a.Reasons)
		}
	}
}

// TestRotation: while keys change, nobody is ever without one that the other side takes. The broker takes both
// before the first node is restarted, and the old one leaves when the last node has the new.
func TestRotation(t *testing.T) {
	c := sixNodes(desired.BackendZeroMQ)
	twoHosts(c) // so that curve = auto is on
	text := func(as []reconciler.Action) string {
		var out []string
		for _, a := range as {
			s := fmt.Sprintf("%d %s %s", a.Wave, a.Kind, strings.TrimPrefix(a.Resource, "dmz/"))
			for _, r := range a.Reasons {
				s += fmt.Sprintf(" %s:%s->%s", r.Field, r.From, r.To)
			}
			out = append(out, s)
		}
		return strings.Join(out, "\n")
	}
	for _, tt := range []struct {
		name          string
		before, after []string
		want          string
	}{
		{"the new one comes", []string{"old"}, []string{"new", "old"}, `1 update broker accepts:->+new
2 restart logger-1 curve:old->new
3 restart manager curve:old->new
4 restart proxy-1 curve:old->new
5 restart worker-1 curve:old->new
6 restart worker-2 curve:old->new
7 restart worker-3 curve:old->new
8 restart worker-3b curve:old->new`},
		{"the old one leaves", []string{"new", "old"}, []string{"new"}, `1 update broker accepts:-old->`},
		{"nothing changes", []string{"new"}, []string{"new"}, ``},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, text(planWith(t, c, c, tt.before, tt.after))); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestEncryptionOn: nobody who sends logs runs on while a logger changes its mechanism.
func TestEncryptionOn(t *testing.T) {
	for _, on := range []bool{true, false} {
		plain, sealed := sixNodes(desired.BackendZeroMQ), sixNodes(desired.BackendZeroMQ)
		sealed.Settings.Broker.Curve = "on"
		before, after := plain, sealed
		keysBefore, keysAfter := []string(nil), []string{"k"}
		if !on {
			before, after, keysBefore, keysAfter = after, before, keysAfter, keysBefore
		}
		stopped := map[string]bool{}
		loggers := 0
		for _, a := range planWith(t, before, after, keysBefore, keysAfter) {
			switch {
			case a.Kind == desired.Stop && a.Wave == 1:
				stopped[a.Resource] = true
			case a.Role == desired.RoleLogger && a.Kind == desired.Restart:
				loggers++
			case a.Kind == desired.Start:
				if !stopped[a.Resource] {
					t.Errorf("on=%t: %s starts without having been stopped first", on, a.Resource)
				}
				delete(stopped, a.Resource)
			case a.Type == desired.TypeNode:
				t.Errorf("on=%t: %s %s in wave %d", on, a.Kind, a.Resource, a.Wave)
			}
		}
		if loggers != 1 || len(stopped) > 0 {
			t.Errorf("on=%t: %d loggers restart, left stopped: %v", on, loggers, stopped)
		}
	}
}

// TestEncryptionOnAndAway: who is removed, or moves, when the encryption is switched stops before the first logger changes, like all others.
func TestEncryptionOnAndAway(t *testing.T) {
	before, after := sixNodes(desired.BackendZeroMQ), sixNodes(desired.BackendZeroMQ)
	after.Instances = []desired.Instance{{Name: "agent-a", Host: "10.0.0.1"}, {Name: "agent-b", Host: "10.0.0.2"}}
	after.Nodes = slices.DeleteFunc(after.Nodes, func(n desired.Node) bool { return n.Name == "worker-2" })
	for i := range after.Nodes {
		if after.Nodes[i].Name == "worker-3" {
			after.Nodes[i].Instance = "agent-b"
		}
	}
	var first []string
	for _, a := range planWith(t, before, after, nil, []string{"k"}) {
		if a.Kind == desired.Stop && a.Type == desired.TypeNode {
			first = append(first, fmt.Sprintf("%d %s", a.Wave, strings.TrimPrefix(a.Resource, "dmz/")))
		}
	}
	if got, want := strings.Join(first, ", "), "1 manager, 1 proxy-1, 1 worker-1, 1 worker-2, 1 worker-3"; got != want {
		t.Errorf("stopped are %s, want %s", got, want)
	}
}

// TestBrokerFirst: what comes before what when the broker's ports change hands.
func TestBrokerFirst(t *testing.T) {
	for _, tt := range []struct {
		name         string
		base, change func(*desired.Cluster)
		want         string
	}{
		{"the broker gives the manager its ports", mode("standalone"), mode("manager"), "1 stop broker, 1 stop logger-1, 1 stop proxy-1, 1 stop worker-1, 1 stop worker-2, 1 stop worker-3, " +
			"2 start logger-1, 3 start proxy-1, 4 restart manager, 5 start worker-1, 5 start worker-2, 5 start worker-3"},
		{"the manager gives the broker its ports", mode("manager"), mode("standalone"), "1 stop logger-1, 1 stop proxy-1, 1 stop worker-1, 1 stop worker-2, 1 stop worker-3, " +
			"2 restart manager, 3 start broker, 4 start logger-1, 5 start proxy-1, 6 start worker-1, 6 start worker-2, 6 start worker-3"},
		{"a new place", twoHosts, func(c *desired.Cluster) { c.Settings.Broker.Instance = "agent-b" }, "1 stop broker, 2 start broker, 3 restart logger-1, 4 restart manager, " +
			"5 restart proxy-1, 6 restart worker-1, 7 restart worker-2, 8 restart worker-3, 9 restart worker-3b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			old, new := sixNodes(desired.BackendZeroMQ), sixNodes(desired.BackendZeroMQ)
			tt.base(old)
			tt.base(new)
			tt.change(new)
			var got []string
			for _, a := range planFrom(t, old, new) {
				if a.Kind != desired.Update {
					got = append(got, fmt.Sprintf("%d %s %s", a.Wave, a.Kind, strings.TrimPrefix(a.Resource, "dmz/")))
				}
			}
			if d := cmp.Diff(tt.want, strings.Join(got, ", ")); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestArchiverEndsLast: what loggers rotate when they end is still archived.
func TestArchiverEndsLast(t *testing.T) {
	old := sixNodes(desired.BackendZeroMQ)
	archived(old)
	in := input(t, old, old)
	in.Want, in.To = nil, "removed"
	waves := map[string]int{}
	for _, a := range reconciler.Diff(in).Actions {
		waves[strings.TrimPrefix(a.Resource, "dmz/")] = a.Wave
	}
	for name, wave := range waves {
		if name != "archiver" && wave >= waves["archiver"] {
			t.Errorf("%s is stopped in wave %d, and the archiver in wave %d", name, wave, waves["archiver"])
		}
	}
	if len(waves) != 8 {
		t.Errorf("%v", waves)
	}
}

func sixNodes(b desired.Backend) *desired.Cluster {
	c := &desired.Cluster{
		Name: "dmz", File: "dmz.cfg", Revision: "r", Instances: []desired.Instance{{Name: "agent-a"}},
		Settings: desired.Settings{Backend: b, Metrics: true, Archive: desired.ArchiveSettings{Interval: time.Hour}},
	}
	for name, role := range map[string]desired.Role{
		"manager": desired.RoleManager, "logger-1": desired.RoleLogger, "proxy-1": desired.RoleProxy,
		"worker-1": desired.RoleWorker, "worker-2": desired.RoleWorker, "worker-3": desired.RoleWorker,
	} {
		add(name, role)(c)
	}
	return c
}

func add(name string, role desired.Role) func(*desired.Cluster) {
	return func(c *desired.Cluster) {
		n := desired.Node{Name: name, Role: role, Instance: "agent-a"}
		if role == desired.RoleWorker {
			n.Interface = "eth0"
		}
		c.Nodes = append(c.Nodes, n)
	}
}

func remove(name string) func(*desired.Cluster) {
	return func(c *desired.Cluster) {
		c.Nodes = slices.DeleteFunc(c.Nodes, func(n desired.Node) bool { return n.Name == name })
	}
}

func rename(from, to string) func(*desired.Cluster) {
	return node(from, func(n *desired.Node) { n.Name = to })
}

func node(name string, f func(*desired.Node)) func(*desired.Cluster) {
	return func(c *desired.Cluster) {
		for i := range c.Nodes {
			if c.Nodes[i].Name == name {
				f(&c.Nodes[i])
			}
		}
	}
}

// twoHosts makes the cluster one of two hosts from the start: a worker is on the second.
func twoHosts(c *desired.Cluster) {
	c.Instances = []desired.Instance{{Name: "agent-a", Host: "10.0.0.1"}, {Name: "agent-b", Host: "10.0.0.2"}}
	c.Nodes = append(c.Nodes, desired.Node{Name: "worker-3b", Role: desired.RoleWorker, Instance: "agent-b", Interface: "eth0"})
}

func archived(c *desired.Cluster) {
	c.Settings.Archive = desired.ArchiveSettings{Enabled: true, Interval: time.Hour, MinFree: desired.DefaultMinFree}
}

func live(c *desired.Cluster) { c.Settings.Membership = desired.MembershipLive }

func restart(c *desired.Cluster) { c.Settings.Membership = desired.MembershipRestart }

func mode(m string) func(*desired.Cluster) {
	return func(c *desired.Cluster) { c.Settings.Broker.Mode = m }
}

// stated endpoints: they stay what they are wherever the broker runs.
func stated(c *desired.Cluster) {
	c.Settings.Broker.XPub, c.Settings.Broker.XSub = "tcp://broker.example.org:5555", "tcp://broker.example.org:5556"
}

// prepared is one host, set up so that a second one disturbs nobody.
func prepared(c *desired.Cluster) {
	c.Instances = []desired.Instance{{Name: "agent-a", Host: "10.0.0.1"}, {Name: "agent-b", Host: "10.0.0.2"}}
	c.Settings.Address, c.Settings.Broker.Curve = "10.0.0.1", "on"
}

func external(c *desired.Cluster) {
	c.Settings.Broker = desired.BrokerSettings{Mode: "external", XPub: "tcp://10.0.0.9:5555", XSub: "tcp://10.0.0.9:5556"}
}
