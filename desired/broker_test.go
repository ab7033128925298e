package desired_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/desired"
)

// broker of cluster c; nil where it has none.
func broker(out desired.Compiled) *desired.Resource {
	rs := out.Resources["c"]
	if i := slices.IndexFunc(rs, func(r desired.Resource) bool { return r.Type == desired.TypeBroker }); i >= 0 {
		return &rs[i]
	}
	return nil
}

// text is "field relation values" of every part.
func text(r *desired.Resource) string {
	var b strings.Builder
	for _, p := range r.Parts {
		fmt.Fprintf(&b, "%s %s %s\n", p.Field, p.Relation, strings.Join(p.Values, " "))
	}
	return b.String()
}

func TestBrokerResource(t *testing.T) {
	nice := -5
	for _, tt := range []struct {
		name   string
		words  []string
		change func(*desired.Settings)
		want   string // name, instance, parts; empty: none
	}{
		{"by default", []string{"manager m", "worker w"}, nil, `broker agent-a
metrics equal 127.0.0.1:9002
xpub equal tcp://127.0.0.1:5555
xsub equal tcp://127.0.0.1:5556
`},
		{"everything, on an instance of its own", []string{"manager m@i1", "worker broker@i2"}, func(s *desired.Settings) {
			s.Broker = desired.BrokerSettings{
				Instance: "i2", XPub: "tcp://10.0.0.2:7001", Curve: "on", SndHWM: 10, QueueBytes: 1 << 30, Policy: "block", Grace: time.Minute,
			}
			s.User, s.MetricsAddress = "zeek", "10.0.0.2"
			s.Limits = map[desired.Role]desired.Limits{desired.RoleBroker: {CPUs: []int{1, 2}, Nice: &nice, OpenFiles: 4096}}
		}, `zeekrec.broker i2
accepts live key-2 key-1
cpus live 1 2
grace live 60
metrics equal 10.0.0.2:9001
nice live -5
open_files live 4096
policy live block
queue_bytes live 1073741824
sndhwm live 10
user equal zeek
xpub equal tcp://10.0.0.2:7001
xsub equal tcp://10.0.0.2:5556
`},
		{"lossless", []string{"manager m"}, func(s *desired.Settings) {
			s.Metrics, s.Broker = false, desired.BrokerSettings{Lossless: true, SndHWM: 10, Policy: "drop"}
		}, `broker agent-a
policy live block
queue_bytes live -1
sndhwm live -1
xpub equal tcp://127.0.0.1:5555
xsub equal tcp://127.0.0.1:5556
`},
		{"what it does anyway, stated", []string{"manager m"}, func(s *desired.Settings) {
			s.Metrics = false
			s.Broker = desired.BrokerSettings{Mode: "standalone", Instance: "agent-a", Curve: "auto", SndHWM: 1000, QueueBytes: 16 << 20, Policy: "drop", Grace: 5 * time.Second}
		}, `broker agent-a
xpub equal tcp://127.0.0.1:5555
xsub equal tcp://127.0.0.1:5556
`},
		{"the manager's thread", []string{"manager m"}, func(s *desired.Settings) { s.Broker.Mode = "manager" }, ""},
		{"somebody else's", []string{"manager m"}, func(s *desired.Settings) {
			s.Broker = desired.BrokerSettings{Mode: "external", XPub: "tcp://10.0.0.9:1", XSub: "tcp://10.0.0.9:2"}
		}, ""},
		{"backend = broker", []string{"manager m"}, func(s *desired.Settings) { s.Backend = desired.BackendBroker }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := nodes("c", tt.words...)
			if tt.change != nil {
				tt.change(&c.Settings)
			}
			out := desired.Compile([]*desired.Cluster{c}, desired.Facts{Keys: map[string][]string{"c": {"key-2", "key-1"}}}, desired.Assignment{}, day0)
			if desired.HasErrors(out.Diagnostics) {
				t.Fatal(out.Diagnostics)
			}
			got := ""
			if b := broker(out); b != nil {
				got = b.Name + " " + b.Instance + "\n" + text(b)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestCurveNeedsKeys: a cluster that is to be encrypted is not compiled in plain text, whatever is missing.
func TestCurveNeedsKeys(t *testing.T) {
	zeek := func(version string) map[string]desired.ZeekFacts {
		return map[string]desired.ZeekFacts{"": {Version: version}}
	}
	keys := map[string][]string{"c": {"key-1"}}
	for _, tt := range []struct {
		name  string
		words []string
		curve string
		facts desired.Facts
		want  string // codes
		used  string // the key of the nodes
	}{
		{"one instance", []string{"manager m"}, "auto", desired.Facts{Keys: keys}, "", ""},
		{"two instances", []string{"manager m@i1", "worker w@i2"}, "auto", desired.Facts{Keys: keys}, "", "key-1"},
		{"two instances, off", []string{"manager m@i1", "worker w@i2"}, "off", desired.Facts{}, "", ""},
		{"on", []string{"manager m"}, "on", desired.Facts{Keys: keys}, "", "key-1"},
		{"on, no keys", []string{"manager m"}, "on", desired.Facts{Keys: map[string][]string{"d": {"key-1"}}}, "no-keys", ""},
		{"two instances, no keys", []string{"manager m@i1", "worker w@i2"}, "", desired.Facts{}, "no-keys", ""},
		{"an old Zeek", []string{"manager m"}, "on", desired.Facts{Keys: keys, Instances: map[string]desired.InstanceFacts{"agent-a": {Zeek: zeek("8.1.2")}}}, "old-zeek", ""},
		{"an LTS Zeek", []string{"manager m"}, "on", desired.Facts{Keys: keys, Instances: map[string]desired.InstanceFacts{"agent-a": {Zeek: zeek("8.0.10")}}}, "old-zeek", ""},
		{"a Zeek that has it", []string{"manager m"}, "on", desired.Facts{Keys: keys, Instances: map[string]desired.InstanceFacts{"agent-a": {Zeek: zeek("8.2.0-dev.3")}}}, "", "key-1"},
		{"an old Zeek where nothing is encrypted", []string{"manager m"}, "auto", desired.Facts{Instances: map[string]desired.InstanceFacts{"agent-a": {Zeek: zeek("8.0.10")}}}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := nodes("c", tt.words...)
			c.Settings.Broker.Curve = tt.curve
			out := desired.Compile([]*desired.Cluster{c}, tt.facts, desired.Assignment{}, day0)
			var codes []string
			for _, d := range out.Diagnostics {
				if d.Severity == desired.Error {
					codes = append(codes, d.Code)
				}
			}
			if got := strings.Join(codes, " "); got != tt.want {
				t.Fatalf("errors %q, want %q", got, tt.want)
			}
			if _, compiled := out.Resources["c"]; compiled != (tt.want == "") {
				t.Errorf("compiled: %t", compiled)
			}
			for _, r := range nodesOf(out, "c") {
				if r.Node.Curve != tt.used || (tt.used != "") != (r.Part("curve") != nil) {
					t.Errorf("%s uses %q, part %v, want %q", r.Name, r.Node.Curve, r.Part("curve"), tt.used)
				}
			}
			if assumed := tt.facts.WithAssumedKeys([]*desired.Cluster{c}); tt.want == "no-keys" && assumed.Keys["c"][0] != desired.AssumedKey {
				t.Errorf("assumed %v", assumed.Keys)
			}
		})
	}
	if len(keys) != 1 || keys["c"][0] != "key-1" {
		t.Errorf("somebody else's keys were changed: %v", keys)
	}
}

// TestWhereTheBrokerRuns: what involves a second instance, and so leaves loopback and turns encryption on.
func TestWhereTheBrokerRuns(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*desired.BrokerSettings)
		want   string // instance, instances involved, encrypted
	}{
		{"with the manager", func(*desired.BrokerSettings) {}, "i1 [i1] false"},
		{"on a host of its own", func(b *desired.BrokerSettings) { b.Instance = "i2" }, "i2 [i1 i2] true"},
		{"on a host of its own, in plain text", func(b *desired.BrokerSettings) { b.Instance, b.Curve = "i2", "off" }, "i2 [i1 i2] false"},
		{"the manager is the broker, wherever it is said to run", func(b *desired.BrokerSettings) { b.Mode, b.Instance = "manager", "i2" }, "i1 [i1] false"},
		{"an external one", func(b *desired.BrokerSettings) { b.Mode, b.Instance = "external", "i2" }, "i1 [i1] false"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := nodes("c", "manager m@i1", "worker w@i1")
			c.Instances = append(c.Instances, desired.Instance{Name: "i2", Host: "10.0.0.2"})
			tt.change(&c.Settings.Broker)
			if got := fmt.Sprintf("%s %v %t", c.BrokerInstance(), c.UsedInstances(), c.UsesCurve()); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// TestBrokerMetricsPort: it is sticky as those of nodes are, and never one that a node had.
func TestBrokerMetricsPort(t *testing.T) {
	standalone := func() *desired.Cluster { return nodes("c", "manager m", "worker w") }
	manager := standalone()
	manager.Settings.Broker.Mode = "manager"
	a := compile(desired.Assignment{}, manager).Assignment
	if got, want := ports(a.Metrics), "c/m=9000 c/w=9001"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	a = compile(a, standalone()).Assignment
	if got, want := ports(a.Metrics), "c/broker=9002 c/m=9000 c/w=9001"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	more := compile(a, nodes("c", "manager m", "logger a", "worker w", "worker v")).Assignment
	if got, want := ports(more.Metrics), "c/a=9003 c/broker=9002 c/m=9000 c/v=9004 c/w=9001"; got != want {
		t.Errorf("nodes came: got %s, want %s", got, want)
	}
	stated := standalone()
	stated.Nodes[1].MetricsPort = 9002
	if got, want := ports(compile(a, stated).Assignment.Metrics), "c/broker=9001 c/m=9000 c/w=9002"; got != want {
		t.Errorf("its port was stated for a node: got %s, want %s", got, want)
	}
	gone := compile(a, manager).Assignment
	if got, want := ports(gone.Metrics), "c/broker=9002 c/m=9000 c/w=9001"; got != want {
		t.Errorf("the broker went: got %s, want %s", got, want)
	}
	if got := ports(compile(gone, standalone()).Assignment.Metrics); got != ports(a.Metrics) {
		t.Errorf("it came back: got %s", got)
	}
	moved := standalone()
	moved.Instances = append(moved.Instances, desired.Instance{Name: "i2", Host: "10.0.0.2"})
	moved.Settings.Broker.Instance = "i2"
	if got := compile(a, moved).Assignment.Metrics["c/broker"]; got != (desired.Assigned{Instance: "i2", Port: 9000}) {
		t.Errorf("it moved: got %+v", got)
	}
}

// TestRelationsOfABroker: what it is told may go away in place, and what nodes have is nothing to it.
func TestRelationsOfABroker(t *testing.T) {
	rel := desired.Relations()
	for field, want := range map[string]desired.Relation{
		"xpub": desired.Equal, "metrics": desired.Equal, "user": desired.Equal, "accepts": desired.Live, "sndhwm": desired.Live,
		"grace": desired.Live, "cpus": desired.Live, "layout": "", "curve": "", "role": "",
	} {
		if got := rel(desired.RoleBroker, field); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	if got := rel(desired.RoleWorker, "curve"); got != desired.Equal {
		t.Errorf("curve of a worker is %q", got)
	}
}
