package launch_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
)

// zeromqOptions are all options of the backend (Zeek's documentation of policy/frameworks/cluster/backend/zeromq), each with
// a value that is not its default.
func zeromqOptions(v launch.Version) []desired.Option {
	var out []desired.Option
	for line := range strings.SplitSeq(`connect_log_endpoints vector("tcp://127.0.0.1:4444")
connect_xpub_endpoint "tcp://127.0.0.1:4445"
connect_xpub_nodrop F
connect_xsub_endpoint "tcp://127.0.0.1:4446"
debug_flags 3
hello_expiration 20sec
internal_topic_prefix "zeek.zeromq.inner."
ipv6 T
linger_ms 100
listen_log_endpoint "tcp://127.0.0.1:4447"
listen_xpub_endpoint "tcp://127.0.0.1:4448"
listen_xpub_nodrop F
listen_xsub_endpoint "tcp://127.0.0.1:4449"
log_immediate T
log_rcvbuf 65536
log_rcvhwm 10
log_sndbuf 65536
log_sndhwm 10
onloop_queue_hwm 20
poll_max_messages 10
proxy_io_threads 1
run_proxy_thread F
xpub_sndbuf 65536
xpub_sndhwm 10
xsub_rcvbuf 65536
xsub_rcvhwm 10
curve_client_publickey "l2A9cf[>&X7u=.GZFdHI=nz6QT6{$u^weYPEWJb/"
curve_client_secretkey "Z0eCkbrKkQBkO90Qb[j5mngd[0%Cl*bo}0<D+&vp"
curve_server_publickey "l2A9cf[>&X7u=.GZFdHI=nz6QT6{$u^weYPEWJb/"
curve_server_secretkey "Z0eCkbrKkQBkO90Qb[j5mngd[0%Cl*bo}0<D+&vp"`, "\n") {
		name, value, _ := strings.Cut(line, " ")
		if strings.HasPrefix(name, "curve_") && v.Before(8, 2) {
			continue
		}
		out = append(out, desired.Option{Name: "Cluster::Backend::ZeroMQ::" + name, Value: value})
	}
	return out
}

// TestOptionsComeLast: they can say what zeekrec itself says, since theirs is the last word, and may name what only the
// backend's package declares, since that is loaded before.
func TestOptionsComeLast(t *testing.T) {
	for _, version := range []string{"8.0.10", "8.2.2", "9.0.0"} {
		v, err := launch.ParseVersion(version)
		if err != nil {
			t.Fatal(err)
		}
		options := zeromqOptions(v)
		rs := compile(t, cluster(func(c *desired.Cluster) { c.Settings.Options, c.Settings.Broker.Lossless = options, true }))
		for _, r := range rs {
			if r.Type != desired.TypeNode {
				continue
			}
			l, err := launch.Render(&r, place("/state", r.Name, desired.ZeekFacts{Path: "/z", Version: version}))
			if err != nil {
				t.Fatal(err)
			}
			if at := func(s string) int { return slices.Index(l.Argv, s) }; at("frameworks/cluster/backend/zeromq") < 0 ||
				at("zeekrec-node") < at("frameworks/cluster/backend/zeromq") || at("zeekrec-options") < at("zeekrec-node") || at("zeekrec-options") < at("local") {
				t.Errorf("%s: the order is %v", version, l.Argv)
			}
			for _, o := range options {
				if want := fmt.Sprintf("redef %s = %s;\n", o.Name, o.Value); !strings.Contains(l.Files["zeekrec-options.zeek"], want) {
					t.Errorf("%s: no %s", version, want)
				}
			}
		}
	}
}

// TestBrokerSettings holds to the form that actuators/broker reads.
func TestBrokerSettings(t *testing.T) {
	for _, tt := range []struct {
		spec desired.BrokerSpec
		want string
	}{
		{desired.BrokerSpec{XPub: "x", XSub: "y", Curve: []string{"k"}, User: "zeek"}, `{}`},
		{desired.BrokerSpec{SndHWM: 10, QueueBytes: 1 << 20, Policy: "disconnect", GraceSeconds: 7}, `{"sndhwm":10,"queue_bytes":1048576,"policy":"disconnect","grace":7000000000}`},
		{desired.BrokerSpec{SndHWM: -1, QueueBytes: -1, Policy: "block"}, `{"sndhwm":-1,"queue_bytes":-1,"policy":"block"}`},
	} {
		if d := cmp.Diff(tt.want+"\n", string(launch.BrokerSettings(&tt.spec))); d != "" {
			t.Errorf("%+v (-want +got):\n%s", tt.spec, d)
		}
	}
}

// TestLiveSettingsAreNotRendered: what an update changes leaves no broker outdated.
func TestLiveSettingsAreNotRendered(t *testing.T) {
	broker := func(change func(*desired.Cluster)) launch.Launch {
		r := resource(t, compile(t, cluster(change)), "broker")
		l, err := launch.Render(&r, place("/state", r.Name, desired.ZeekFacts{}))
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	base := broker(nil)
	for name, change := range map[string]func(*desired.Cluster){
		"settings": func(c *desired.Cluster) {
			c.Settings.Broker = desired.BrokerSettings{SndHWM: 10, QueueBytes: 10, Policy: "block", Grace: 1e10}
		},
		"lossless": func(c *desired.Cluster) { c.Settings.Broker.Lossless = true },
		"keys":     func(c *desired.Cluster) { c.Settings.Broker.Curve = "on" },
		"limits": func(c *desired.Cluster) {
			c.Settings.Limits = map[desired.Role]desired.Limits{desired.RoleBroker: {CPUs: []int{1}, OpenFiles: 100}}
		},
	} {
		if l := broker(change); l.Hash != base.Hash {
			t.Errorf("%s: hash %s became %s: %v", name, base.Hash, l.Hash, l.Argv)
		}
	}
	if l := broker(func(c *desired.Cluster) { c.Settings.Broker.XPub = "tcp://127.0.0.1:7777" }); l.Hash == base.Hash {
		t.Error("another endpoint has the same hash")
	}
	if l := broker(func(c *desired.Cluster) {
		c.Settings.Limits = map[desired.Role]desired.Limits{desired.RoleBroker: {CPUs: []int{1}, OpenFiles: 100}}
	}); !slices.Equal(l.CPUs, []int{1}) || l.OpenFiles != 100 {
		t.Errorf("CPUs %v, open files %d", l.CPUs, l.OpenFiles)
	}
}

func TestRenderBrokerRefuses(t *testing.T) {
	r := resource(t, compile(t, cluster(nil)), "broker")
	for want, p := range map[string]launch.Place{
		`the path of zeekrec, "zeekrec", is not absolute`: {ClusterDir: "/s", NodeDir: "/s/n", Self: "zeekrec"},
		"has a path of 121 bytes":                         {ClusterDir: "/s", NodeDir: "/" + strings.Repeat("s", 104), Self: "/zeekrec"},
	} {
		if _, err := launch.Render(&r, p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one with %q", err, want)
		}
	}
	if _, err := launch.Render(&r, launch.Place{ClusterDir: "/s", NodeDir: "/" + strings.Repeat("s", 90), Self: "/zeekrec"}); err != nil {
		t.Error(err) // 107 bytes are not too many
	}
}

// TestCurveEnv: who gets the secret of the server, and that no launch has a key.
func TestCurveEnv(t *testing.T) {
	k := launch.CurveKeys{ServerPublic: "SP", ServerSecret: "SS", ClientPublic: "CP", ClientSecret: "CS"}
	const client = "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_CLIENT_PUBLICKEY=CP ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_CLIENT_SECRETKEY=CS " +
		"ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_SERVER_PUBLICKEY=SP"
	const server = client + " ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_SERVER_SECRETKEY=SS"
	for _, tt := range []struct {
		role   desired.Role
		mode   string
		logger bool // the manager logs
		want   string
	}{
		{desired.RoleWorker, desired.BrokerStandalone, true, client},
		{desired.RoleWorker, desired.BrokerManager, true, client},
		{desired.RoleProxy, desired.BrokerManager, false, client},
		{desired.RoleLogger, desired.BrokerExternal, false, server},
		{desired.RoleLogger, desired.BrokerStandalone, false, server},
		{desired.RoleManager, desired.BrokerStandalone, false, client},
		{desired.RoleManager, desired.BrokerExternal, false, client},
		{desired.RoleManager, desired.BrokerExternal, true, server},
		{desired.RoleManager, desired.BrokerManager, false, server},
	} {
		if got := strings.Join(launch.CurveEnv(tt.role, tt.mode, tt.logger, k), " "); got != tt.want {
			t.Errorf("%s, mode %s, manager logs %t:\n got %s\nwant %s", tt.role, tt.mode, tt.logger, got, tt.want)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, k); got != "keys (hidden)" {
			t.Errorf("%s shows %s", verb, got)
		}
	}
	for _, r := range compile(t, cluster(func(c *desired.Cluster) { c.Settings.Broker.Curve = "on" })) {
		l, err := launch.Render(&r, place("/state", r.Name, desired.ZeekFacts{Path: "/z", Version: "8.2.2"}))
		if err != nil {
			t.Fatal(err)
		}
		if text := fmt.Sprint(l); strings.Contains(text, "CURVE") || strings.Contains(text, "key-1") {
			t.Errorf("%s: the launch knows of keys: %s", r.Key(), text)
		}
	}
}
