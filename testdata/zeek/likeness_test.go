package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const layoutFormat = `redef Cluster::nodes += {
	["manager"] = [$node_type=Cluster::MANAGER, $ip=127.0.0.1],
	["logger-1"] = [$node_type=Cluster::LOGGER, $ip=127.0.0.1, $p=%[1]d/tcp, $metrics_port=%[2]d/tcp],
	["worker-1"] = [$node_type=Cluster::WORKER, $ip=127.0.0.1, $manager="manager"],
};
redef Cluster::manager_is_logger = F;
@load base/frameworks/telemetry/options
redef Telemetry::metrics_address = "127.0.0.1";
redef Telemetry::metrics_port = Cluster::local_node_metrics_port();
`

// layout gives the logger a port and a metrics port.
func layout(port, metrics int) string { return fmt.Sprintf(layoutFormat, port, metrics) }

const zeromq = "frameworks/cluster/backend/zeromq"

// likeness is a case of which Zeek 8.2.2's behaviour is recorded. BUSY stands for
// the number of a port that is taken, TAKEN in files for the same.
type likeness struct {
	name   string
	files  map[string]string
	env    []string
	args   string // split at blanks
	exit   int
	stdout string
	stderr string
	status string // what the status file says at the end; args then have -U status
}

var likenesses = []likeness{
	{name: "parse only", args: "-U status -a", status: stateTerminated},
	{name: "nothing to do", args: "-U status", status: stateTerminated},
	{name: "unrecognised option", args: "--bogus", exit: 1,
		stderr: "ERROR: Unrecognized option --bogus\nTry 'ZEEK --help' for more information.\n"},
	{name: "option without value", args: "-i", exit: 1,
		stderr: "ERROR: Option -i requires an argument.\nTry 'ZEEK --help' for more information.\n"},
	{name: "long option without value", args: "--iface", exit: 1,
		stderr: "ERROR: Option --iface requires an argument.\nTry 'ZEEK --help' for more information.\n"},
	{name: "two interfaces", args: "-i lo -i lo", exit: 1,
		stderr: "ERROR: Only a single interface option (-i) is allowed.\nTry 'ZEEK --help' for more information.\n"},
	{name: "joined short options", args: "-Cai lo " + zeromq},
	{name: "options after scripts", args: zeromq + " -a --iface=lo"},
	{name: "shortened long option", args: "--parse local"},
	{name: "script not found", args: "-U status nosuch", exit: 1, stderr: "fatal error: can't find nosuch\n", status: stateFatal},
	{name: "script after -- not found", args: "-a -- nosuch ignored", exit: 1, stderr: "fatal error: can't find nosuch\n"},
	{name: "arguments of a script", args: "-a -- local ignored -x"},
	{name: "plugin", args: "-U status -i lo Foo::Bar", exit: 1, status: stateFatal,
		stderr: "error in PREFIX/base/init-bare.zeek, line 1: plugin Foo::Bar is not available\n" +
			"fatal error in PREFIX/base/init-bare.zeek, line 1: aborting after plugin errors\n"},
	{name: "absolute script not found", args: "-a /nonexistent/x.zeek", exit: 1, stderr: "fatal error: can't find /nonexistent/x.zeek\n"},
	{name: "path without base", env: []string{"ZEEKPATH=/nonexistent"}, args: "-U status", exit: 1,
		stderr: "fatal error: can't find base/init-bare.zeek\n", status: stateFatal},
	{name: "help needs base too", env: []string{"ZEEKPATH=/nonexistent"}, args: "--help", exit: 1,
		stderr: "fatal error: can't find base/init-bare.zeek\n"},
	{name: "built-in scripts", args: "-a base/frameworks/cluster policy/misc/stats misc/stats.zeek frameworks/telemetry/log local site/local"},
	{name: "script found as file and folder", args: "-a x x.zeek ./x sub sub/y",
		files: map[string]string{"x.zeek": "", "sub/__load__.zeek": "@load ./y\n", "sub/y.zeek": "@load ../x # again\n"}},
	{name: "load not found", args: "-U status x", exit: 1, files: map[string]string{"x.zeek": "\n@load ./nosuch\n"},
		stderr: "fatal error in ./x.zeek, line 2: can't find ./nosuch\n", status: stateFatal},
	{name: "package without load", args: "-a sub", exit: 1, files: map[string]string{"sub/y.zeek": ""},
		stderr: "error: Failed to open package './sub': missing '__load__.zeek' file\nfatal error: can't open ./sub/__load__.zeek\n"},
	{name: "bracket not closed", args: "-U status x", exit: 1, files: map[string]string{"x.zeek": "event zeek_init()\n\t{\n\tprint 1;\n"},
		stderr: "error: syntax error, at end of file ./x.zeek\n", status: stateTerminated},
	{name: "semicolon missing", args: "-a x", exit: 1, files: map[string]string{"x.zeek": "redef Log::default_rotation_interval = 3 secs\n"},
		stderr: "error: syntax error, at end of file ./x.zeek\n"},
	{name: "bracket too many", args: "-a x", exit: 1, files: map[string]string{"x.zeek": "event zeek_init() {\n\n print 1; }\n}\n"},
		stderr: "error in ./x.zeek, line 4: syntax error, at or near \"}\"\n"},
	{name: "parenthesis too many", args: "-a x", exit: 1, files: map[string]string{"x.zeek": "event zeek_init() {\n\n print 1); }\n"},
		stderr: "error in ./x.zeek, line 3: syntax error, at or near \")\"\n"},
	{name: "parenthesis not closed", args: "-a x", exit: 1, files: map[string]string{"x.zeek": "event zeek_init() {\n\n print (1; }\n"},
		stderr: "error in ./x.zeek, line 3: syntax error, at or near \";\"\n"},
	{name: "the marker of a mistake", args: "-a x", exit: 1, files: map[string]string{"x.zeek": "event zeek_init()\n\t{\n\tsyntax error here\n\t}\n"},
		stderr: "error in ./x.zeek, line 3: unknown identifier syntax, at or near \"syntax\"\n"},
	{name: "if without endif", args: "-a x", exit: 1, files: map[string]string{"x.zeek": "@if ( T )\nprint 1;\n"},
		stderr: "fatal error in ./x.zeek, line 3: unbalanced @if... @endif\n"},
	{name: "endif without if", args: "-a x", exit: 1, files: map[string]string{"x.zeek": "@endif\n"},
		stderr: "error in ./x.zeek, line 1: unbalanced @if... @endif\n"},
	{name: "what is conditioned away is not read", args: "-a x",
		files: map[string]string{"x.zeek": "@if ( Cluster::is_enabled() )\n@load nosuch\n@else\n@load x2\n@endif\n", "x2.zeek": ""}},
	{name: "brackets in strings, patterns and comments", args: "-a x",
		files: map[string]string{"x.zeek": "const a = \"{ \\\" (\"; # (\nconst b = /[(]\\/[{]/i | /\\)/;\nconst c = 4 / 2;\nconst d: table[port] of string = { [80/tcp] = \"x\" };\n"}},
	{name: "unknown variable", args: "-a foo=bar", exit: 1, stderr: "error: unknown identifier 'foo' in command-line options\n"},
	{name: "known variable", args: "-a Log::default_rotation_interval=3sec"},
	{name: "no such interface", args: "-U status -i nosuchif", exit: 1, status: stateFatal,
		stderr: "fatal error: problem with interface nosuchif (pcap_error: No such device exists (pcap_activate))\n"},
	{name: "no such interface with af_packet", args: "-U status -i af_packet::nosuchif", exit: 1, status: stateFatal,
		stderr: "fatal error: problem with interface af_packet::nosuchif (unable to get interface information: No such device)\n"},
	{name: "unknown packet source", args: "-U status -i foo::lo", exit: 1, status: stateFatal,
		stderr: "fatal error: type of packet source 'foo' not recognized, or mode not supported\n"},
	{name: "no such interface, with a variable", args: "-i nosuchif LogAscii::use_json=T", exit: 1,
		stderr: "fatal error in <params>, line 1: problem with interface nosuchif (pcap_error: No such device exists (pcap_activate))\n"},
	{name: "no such interface, with code", args: "-i nosuchif -e ;", exit: 1,
		stderr: "fatal error in <command line>, line 3: problem with interface nosuchif (pcap_error: No such device exists (pcap_activate))\n"},
	{name: "not in the layout, with a variable", env: []string{"CLUSTER_NODE=nobody"}, files: map[string]string{"cluster-layout.zeek": layout(1, 1)},
		args: zeromq + " LogAscii::use_json=T", exit: 1,
		stderr: "error in PREFIX/base/frameworks/cluster/main.zeek, line 421: 'nobody' is not a valid node in the Cluster::nodes configuration\n" +
			"fatal error in <params>, line 1: errors occurred while initializing\n"},
	{name: "logger's port in use, with a variable", env: []string{"CLUSTER_NODE=logger-1"}, args: zeromq + " LogAscii::use_json=T", exit: 1,
		files: map[string]string{"cluster-layout.zeek": strings.ReplaceAll(layout(77777, 0), "$metrics_port=0/tcp", "$metrics_port=0/unknown")},
		stderr: "error in <params>, line 1: ZeroMQ: Failed to bind pull socket tcp://127.0.0.1:BUSY: Address already in use\n" +
			"fatal error in PREFIX/policy/frameworks/cluster/backend/zeromq/main.zeek, line 538: Failed initialize ZeroMQ backend\n"},
	{name: "metrics port in use, with a variable", env: []string{"CLUSTER_NODE=logger-1"}, files: map[string]string{"cluster-layout.zeek": layout(0, 77777)},
		args: zeromq + " LogAscii::use_json=T", exit: 1,
		stderr: "fatal error in <params>, line 1: Failed to setup Prometheus endpoint: null context when constructing CivetServer. " +
			"Possible problem binding to port. Error: Failed to setup server ports. Attempted to bind to 127.0.0.1:BUSY.\n"},
	{name: "script and interface missing", args: "-i nosuchif nosuch", exit: 1, stderr: "fatal error: can't find nosuch\n"},
	{name: "no layout", env: []string{"CLUSTER_NODE=worker-1"}, args: "-U status " + zeromq, exit: 1, status: stateFatal,
		stderr: "fatal error in PREFIX/base/frameworks/cluster/__load__.zeek, line 36: can't find cluster-layout\n"},
	{name: "not in the layout", env: []string{"CLUSTER_NODE=nobody"}, files: map[string]string{"cluster-layout.zeek": layout(1, 1)},
		args: "-U status " + zeromq, exit: 1, status: stateFatal,
		stderr: "error in PREFIX/base/frameworks/cluster/main.zeek, line 421: 'nobody' is not a valid node in the Cluster::nodes configuration\n" +
			"fatal error: errors occurred while initializing\n"},
	{name: "not in the layout, parse only", env: []string{"CLUSTER_NODE=nobody", "ZEEKCTL_CHECK_CONFIG=1"},
		files: map[string]string{"cluster-layout.zeek": layout(1, 1)}, args: "-a " + zeromq},
	{name: "no backend", env: []string{"CLUSTER_NODE=worker-1"}, files: map[string]string{"cluster-layout.zeek": layout(1, 1)},
		args: "-U status", exit: 1, status: stateFatal,
		stderr: "fatal error in PREFIX/base/frameworks/cluster/main.zeek, line 426: Cluster::node set to 'worker-1', but Cluster::backend is " +
			"Cluster::CLUSTER_BACKEND_NONE - please select a cluster backend to use.\n"},
	{name: "metrics port in use", env: []string{"CLUSTER_NODE=logger-1"}, files: map[string]string{"cluster-layout.zeek": layout(0, 77777)},
		args: "-U status " + zeromq, exit: 1, status: stateFatal,
		stderr: "fatal error: Failed to setup Prometheus endpoint: null context when constructing CivetServer. Possible problem binding to port. " +
			"Error: Failed to setup server ports. Attempted to bind to 127.0.0.1:BUSY.\n"},
	{name: "logger's port in use", env: []string{"CLUSTER_NODE=logger-1"}, args: "-U status " + zeromq, exit: 1, status: stateFatal,
		files: map[string]string{"cluster-layout.zeek": strings.ReplaceAll(layout(77777, 0), "$metrics_port=0/tcp", "$metrics_port=0/unknown")},
		stderr: "error: ZeroMQ: Failed to bind pull socket tcp://127.0.0.1:BUSY: Address already in use\n" +
			"fatal error in PREFIX/policy/frameworks/cluster/backend/zeromq/main.zeek, line 538: Failed initialize ZeroMQ backend\n"},
	{name: "proxy's port in use", env: []string{"CLUSTER_NODE=manager"}, args: "-U status " + zeromq + " x", exit: 1, status: stateFatal,
		files: map[string]string{"cluster-layout.zeek": layout(1, 1),
			"x.zeek": "redef Cluster::Backend::ZeroMQ::listen_xpub_endpoint = \"tcp://127.0.0.1:77777\";\n"},
		stderr: "error: ZeroMQ: Failed to bind xpub socket tcp://127.0.0.1:BUSY: Address already in use (98)\n" +
			"fatal error in PREFIX/policy/frameworks/cluster/backend/zeromq/main.zeek, line 534: Failed to spawn ZeroMQ proxy thread\n"},
	{name: "port in use with Broker", env: []string{"CLUSTER_NODE=logger-1"}, args: "-U status frameworks/cluster/backend/broker", exit: 1, status: stateFatal,
		files: map[string]string{"cluster-layout.zeek": strings.ReplaceAll(layout(77777, 0), "$metrics_port=0/tcp", "$metrics_port=0/unknown")},
		stderr: "error in PREFIX/policy/frameworks/cluster/backend/broker/main.zeek, lines 124-126: Failed to listen on INADDR_ANY:BUSY " +
			"(Broker::listen(Broker::default_listen_address, Cluster::self$p, Broker::default_listen_retry))\n" +
			"fatal error: errors occurred while initializing\n"},
	{name: "no logger", env: []string{"CLUSTER_NODE=worker-1"}, args: "-U status " + zeromq, exit: 1, status: stateFatal,
		files: map[string]string{"cluster-layout.zeek": "redef Cluster::manager_is_logger = F;\nredef Cluster::nodes += {\n" +
			"\t[\"manager\"] = [$node_type=Cluster::MANAGER, $ip=127.0.0.1],\n\t[\"worker-1\"] = [$node_type=Cluster::WORKER, $ip=127.0.0.1],\n};\n"},
		stderr: "error in PREFIX/policy/frameworks/cluster/backend/zeromq/main.zeek, line 516: No ZeroMQ connect_log_endpoints configured\n" +
			"fatal error: errors occurred while initializing\n"},
	{name: "ports in use do not matter to a check", env: []string{"CLUSTER_NODE=manager", "ZEEKCTL_CHECK_CONFIG=1"}, args: "-a " + zeromq + " x",
		files: map[string]string{"cluster-layout.zeek": layout(1, 1),
			"x.zeek": "redef Cluster::Backend::ZeroMQ::listen_xpub_endpoint = \"tcp://127.0.0.1:77777\";\n"}},
}

func TestIsLikeZeek(t *testing.T) {
	zeeks := map[string]string{"stand-in": binary()}
	if *realZeek != "" {
		zeeks["zeek"] = *realZeek
	}
	for _, c := range likenesses {
		for which, zeek := range zeeks {
			t.Run(c.name+"/"+which, func(t *testing.T) {
				t.Parallel()
				c.check(t, zeek)
			})
		}
	}
}

func (c likeness) check(t *testing.T, zeek string) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port := fmt.Sprint(busy.Addr().(*net.TCPAddr).Port)

	files := make(map[string]string)
	for name, content := range c.files {
		files[name] = strings.ReplaceAll(content, "77777", port)
	}
	w := newWorld(t, files, c.env...)
	w.zeek = zeek
	p, exit := w.run(strings.Fields(c.args)...)

	got := likeness{exit: exit, stdout: p.stdout.String(), stderr: withoutPlace(p.stderr.String(), zeek), status: p.status()}
	want := likeness{exit: c.exit, stdout: c.stdout, stderr: strings.ReplaceAll(c.stderr, "BUSY", port), status: c.status}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(likeness{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestUnreadableScriptIsNotFound(t *testing.T) {
	w := newWorld(t, map[string]string{"x.zeek": ""})
	if err := os.Symlink("x2.zeek", w.dir+"/x2.zeek"); err != nil {
		t.Fatal(err)
	}
	p, exit := w.run("-a", "x", "x2")
	if exit != 1 || p.stderr.String() != "fatal error: can't find x2\n" {
		t.Errorf("exit %d, stderr %q", exit, p.stderr.String())
	}
}

func TestStatusFileThatCannotBeWritten(t *testing.T) {
	p, exit := newWorld(t, nil).run("-U", "/nonexistent/status", "-a")
	want := "Failed to open process status file '/nonexistent/status': 2 [INITIALIZING]\n" +
		"Failed to open process status file '/nonexistent/status': 2 [TERMINATED]\n"
	if exit != 0 || p.stderr.String() != want {
		t.Errorf("exit %d, stderr %q", exit, p.stderr.String())
	}
}
