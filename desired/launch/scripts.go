package launch

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
)

// format is the generation of the rendered files. The linker may set another, which is how the tests
// show that a zeekrec which renders everything differently restarts nothing.
var format = "1"

// header opens every generated file. It names no version of zeekrec: an upgrade that renders the same
// shall be seen to do so.
func header() string {
	return "# Written by zeekrec (format " + format + ") and never changed: each start gets files of its own.\n\n"
}

// nodeTypes are Zeek's names of the roles.
var nodeTypes = map[desired.Role]string{
	desired.RoleManager: "Cluster::MANAGER", desired.RoleLogger: "Cluster::LOGGER",
	desired.RoleProxy: "Cluster::PROXY", desired.RoleWorker: "Cluster::WORKER",
}

// LayoutScript is the name of the file that says who is in the cluster: Zeek looks for it under that name.
const LayoutScript = "cluster-layout.zeek"

// layoutScript is the content of LayoutScript. Cluster::Node has the fields node_type, ip, p and metrics_port
// that matter, and no interface (facts/zeromq.md §1.3; stating one is fatal).
func layoutScript(l desired.Layout) string {
	var b strings.Builder
	b.WriteString(header())
	b.WriteString("redef Cluster::nodes += {\n")
	for _, n := range l.Nodes {
		fmt.Fprintf(&b, "\t[%s] = [$node_type=%s, $ip=%s", quote(n.Name), nodeTypes[n.Role], address(n.Address))
		if n.Port != 0 {
			fmt.Fprintf(&b, ", $p=%d/tcp", n.Port)
		}
		if n.Role != desired.RoleManager && managerOf(l) != "" {
			fmt.Fprintf(&b, ", $manager=%s", quote(managerOf(l)))
		}
		if n.MetricsPort != 0 {
			fmt.Fprintf(&b, ", $metrics_port=%d/tcp", n.MetricsPort)
		}
		b.WriteString("],\n")
	}
	b.WriteString("};\n\n")
	fmt.Fprintf(&b, "redef Cluster::manager_is_logger = %s;\n", zeekBool(l.ManagerIsLogger))
	return b.String()
}

// managerOf names the manager: the Broker backend's proxies and workers dial it.
func managerOf(l desired.Layout) string {
	for _, n := range l.Nodes {
		if n.Role == desired.RoleManager {
			return n.Name
		}
	}
	return ""
}

// nodeScript has the settings that make a Zeek process this node.
func nodeScript(r *desired.Resource, v Version, queue, nodeDir string) string {
	s := r.Node
	var b strings.Builder
	b.WriteString(header())
	redef := func(name, value string) { fmt.Fprintf(&b, "redef %s = %s;\n", name, value) }

	if s.Backend == desired.BackendZeroMQ {
		const z = "Cluster::Backend::ZeroMQ::"
		// A node's XSUB socket connects to the broker's XPUB socket, and the other way round.
		redef(z+"connect_xsub_endpoint", quote(s.XPub))
		redef(z+"connect_xpub_endpoint", quote(s.XSub))
		if r.Role == desired.RoleManager {
			redef(z+"run_proxy_thread", zeekBool(s.BrokerMode == desired.BrokerManager))
			if s.BrokerMode == desired.BrokerManager {
				redef(z+"listen_xpub_endpoint", quote(s.XPub))
				redef(z+"listen_xsub_endpoint", quote(s.XSub))
			}
		}
		if usesIPv6(s) && !v.Before(8, 2) {
			redef(z+"ipv6", "T") // the default until 8.1
		}
		if s.LogEndpoints != nil {
			b.WriteString("\n# Loggers come and go: batches go to those that are there.\n")
			redef(z+"log_immediate", "T")
			if spare := spareEndpoints(s); len(spare) > 0 {
				fmt.Fprintf(&b, "redef %sconnect_log_endpoints += vector(%s);\n", z, strings.Join(spare, ", "))
			}
		}
		if s.Lossless {
			// What drops or stops at its mark: events that are published, those that wait for the main loop, and log
			// writes on both ends. A full XSUB socket drops nothing, but lets the broker's queue grow instead.
			// All of them are there since 8.0.
			for _, hwm := range []string{"xpub_sndhwm", "xsub_rcvhwm", "onloop_queue_hwm", "log_sndhwm", "log_rcvhwm"} {
				redef(z+hwm, "0")
			}
		}
		if s.Membership == desired.MembershipLive {
			b.WriteString("\n@load ./zeekrec-members\n")
			redef("Cluster::zeekrec_members_file", quote(MembersFile(nodeDir)))
		}
		b.WriteString("\n@load ./zeekrec-answer\n")
		// So that the node answers others, too: zeekrec broker ask, zeekctl. The same file is in 8.0 to 9.1. It would open a
		// port with the Broker backend alone; that it is not to is said all the same.
		b.WriteString("\n@load frameworks/control/controllee\n")
		redef("Control::controllee_listen", "F")
		b.WriteString("\n")
	}

	if s.Backend == desired.BackendBroker && r.Role != desired.RoleWorker {
		// Zeek's own default is every address, and Broker asks nobody for a password.
		b.WriteString("@load base/frameworks/broker\n")
		redef("Broker::default_listen_address", quote(addressOf(s.Layout, r.Name)))
		b.WriteString("\n")
	}

	b.WriteString("@load ./zeekrec-tune\n")
	redef("Zeekrec::tune_file", quote(TuneFile(nodeDir)))
	redef("Zeekrec::tune_answer_file", quote(TuneAnswerFile(nodeDir)))

	if handsConfigOn(r) {
		b.WriteString("@load ./zeekrec-config\n")
	}

	b.WriteString("\n@load base/frameworks/telemetry/options\n")
	if s.MetricsPort != 0 {
		redef("Telemetry::metrics_port", fmt.Sprintf("%d/tcp", s.MetricsPort))
		redef("Telemetry::metrics_address", quote(s.MetricsAddress)) // Zeek's own default is every address
	} else {
		redef("Telemetry::metrics_port", "0/unknown")
	}
	if countsPackets(s) {
		b.WriteString("@load ./zeekrec-telemetry\n")
	}

	if r.Role == desired.RoleLogger || r.Role == desired.RoleManager && s.Layout.ManagerIsLogger {
		b.WriteString("\n# Rotated logs go to the queue of the cluster; nothing is lost or overwritten on the way.\n")
		b.WriteString("@load base/frameworks/cluster/nodes/logger\n@load base/frameworks/logging\n")
		redef("Log::default_rotation_interval", fmt.Sprintf("%d secs", s.RotationSeconds))
		redef("Log::default_rotation_dir", quote(queue))
		redef("Log::rotation_format_func", "archiver_rotation_format_func")
		redef("LogAscii::enable_leftover_log_rotation", "T")
		redef("Log::default_rotation_postprocessor_cmd", `""`)
		b.WriteString("redef archiver_log_metadata += { [\"log_suffix\"] = Cluster::node };\n")
	}
	if s.FanoutID != 0 {
		fmt.Fprintf(&b, "\nredef AF_Packet::fanout_id = %d;\n", s.FanoutID)
	}
	if len(s.LocalNets) > 0 {
		b.WriteString("\n@load base/utils/site\nredef Site::local_nets += {\n")
		for _, n := range s.LocalNets {
			fmt.Fprintf(&b, "\t%s,\n", subnet(n))
		}
		b.WriteString("};\n")
	}
	return b.String()
}

// spareEndpoints are those that no logger of the layout has, as Zeek strings: Zeek itself adds those of the layout.
func spareEndpoints(s *desired.NodeSpec) []string {
	has := map[string]bool{}
	for _, n := range s.Layout.Nodes {
		if n.Role == desired.RoleLogger {
			has[net.JoinHostPort(n.Address, strconv.Itoa(n.Port))] = true
		}
	}
	var out []string
	for _, e := range s.LogEndpoints {
		if !has[e] {
			out = append(out, quote("tcp://"+e))
		}
	}
	return out
}

// addressOf a node in the layout.
func addressOf(l desired.Layout, name string) string {
	for _, n := range l.Nodes {
		if n.Name == name {
			return n.Address
		}
	}
	return ""
}

// optionsScript has what the user wrote in [zeekrec.options], name by name. The lines are for all nodes, and some may not
// load the script that has a name: it is tunable there, since nothing reads it. A name of which nothing is known is for
// Zeek's parser to judge.
func optionsScript(os []desired.Option, tunable []string) string {
	var b strings.Builder
	b.WriteString(header())
	for _, o := range os {
		redef := fmt.Sprintf("redef %s = %s;\n", o.Name, o.Value)
		if slices.Contains(tunable, o.Name) {
			redef = fmt.Sprintf("@ifdef ( %s )\n%s@endif\n", o.Name, redef)
		}
		b.WriteString(redef)
	}
	return b.String()
}

// usesIPv6 reports whether any address of the cluster is one.
func usesIPv6(s *desired.NodeSpec) bool {
	if strings.Contains(s.XPub, "[") || strings.Contains(s.XSub, "[") {
		return true
	}
	for _, n := range s.Layout.Nodes {
		if strings.Contains(n.Address, ":") {
			return true
		}
	}
	return false
}

// address as a Zeek expression. A name is resolved by Zeek, once, when it reads the file.
func address(a string) string {
	ip := net.ParseIP(a)
	switch {
	case ip == nil:
		return a
	case ip.To4() == nil:
		return "[" + a + "]"
	}
	return a
}

// subnet as a Zeek expression: IPv6 goes in brackets.
func subnet(n string) string {
	a, bits, ok := strings.Cut(n, "/")
	if ok && strings.Contains(a, ":") {
		return "[" + a + "]/" + bits
	}
	return n
}

func zeekBool(b bool) string {
	if b {
		return "T"
	}
	return "F"
}

// quote makes a Zeek string literal.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}
