package desired_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/zeekrec/zeekrec/desired"
)

var day0 = time.Unix(1_700_000_000, 0)

// nodes makes a cluster of "role name[@instance][:port]" words.
func nodes(name string, words ...string) *desired.Cluster {
	c := &desired.Cluster{Name: name, File: name + ".cfg", Revision: name, Settings: desired.Settings{Backend: desired.BackendZeroMQ, Metrics: true}}
	for _, w := range words {
		role, rest, _ := strings.Cut(w, " ")
		n := desired.Node{Role: desired.Role(role), Instance: "agent-a"}
		if rest, n.Port = cutNumber(rest); n.Port == 0 {
			n.Port = 0
		}
		n.Name, n.Instance, _ = strings.Cut(rest, "@")
		if n.Instance == "" {
			n.Instance = "agent-a"
		}
		if n.Role == desired.RoleWorker {
			n.Interface = "eth0"
		}
		c.Nodes = append(c.Nodes, n)
		if !slices.ContainsFunc(c.Instances, func(i desired.Instance) bool { return i.Name == n.Instance }) {
			c.Instances = append(c.Instances, desired.Instance{Name: n.Instance, Host: "10.0.0." + fmt.Sprint(1+len(c.Instances))})
		}
	}
	return c
}

func cutNumber(s string) (rest string, n int) {
	rest, num, ok := strings.Cut(s, ":")
	if ok {
		_, _ = fmt.Sscan(num, &n)
	}
	return rest, n
}

func compile(prev desired.Assignment, cs ...*desired.Cluster) desired.Compiled {
	return desired.Compile(cs, desired.Facts{Default: "agent-a"}.WithAssumedKeys(cs), prev, day0)
}

// nodesOf a cluster, without its broker.
func nodesOf(out desired.Compiled, cluster string) []desired.Resource {
	return slices.DeleteFunc(slices.Clone(out.Resources[cluster]), func(r desired.Resource) bool { return r.Type != desired.TypeNode })
}

// ports are "name=port" of the listen or the metrics ports.
func ports(m map[string]desired.Assigned) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, fmt.Sprintf("%s=%d", k, m[k].Port))
	}
	return strings.Join(out, " ")
}

// TestFirstAssignment is facts/management.md §2: one counter for the cluster, by instance first, then role.
func TestFirstAssignment(t *testing.T) {
	c := nodes("c", "manager m@i1", "logger l1@i1", "proxy p1@i1", "proxy p2@i1", "logger l2@i2", "proxy p3@i2", "proxy p4@i2", "worker w1@i1", "worker w2@i2")
	a := compile(desired.Assignment{}, c).Assignment
	if got, want := ports(a.Ports), "c/l1=2201 c/l2=2204 c/m=2200 c/p1=2202 c/p2=2203 c/p3=2205 c/p4=2206"; got != want {
		t.Errorf("listen ports\n got %s\nwant %s", got, want)
	}
	// Metrics ports begin anew on each host; workers come last, and then the broker.
	if got, want := ports(a.Metrics), "c/broker=9005 c/l1=9001 c/l2=9000 c/m=9000 c/p1=9002 c/p2=9003 c/p3=9001 c/p4=9002 c/w1=9004 c/w2=9003"; got != want {
		t.Errorf("metrics ports\n got %s\nwant %s", got, want)
	}
	if got, want := a.Brokers["c"], (desired.BrokerPorts{Instance: "i1", XPub: 5555, XSub: 5556}); got != want {
		t.Errorf("broker %v, want %v", got, want)
	}
}

func TestAssignmentAvoidsStatedPorts(t *testing.T) {
	c := nodes("c", "manager m", "logger l:2200", "proxy p", "worker w:2201")
	c.Instances[0].Port = 2202
	if got, want := ports(compile(desired.Assignment{}, c).Assignment.Ports), "c/l=2200 c/m=2203 c/p=2204 c/w=2201"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestAssignmentIsSticky(t *testing.T) {
	a := compile(desired.Assignment{}, nodes("c", "manager m", "logger l5", "proxy p")).Assignment
	for _, tt := range []struct {
		name  string
		words []string
		want  string
	}{
		{"a newcomer before all others gets the next number", []string{"manager a", "logger l1", "logger l5", "manager m", "proxy p"}, "c/a=2203 c/l1=2204 c/l5=2201 c/m=2200 c/p=2202"},
		{"one that is gone keeps its number for a while", []string{"manager m", "logger l9", "proxy p"}, "c/l5=2201 c/l9=2203 c/m=2200 c/p=2202"},
		{"a stated port wins", []string{"manager m", "logger l5", "proxy p", "logger l1:2201"}, "c/l1=2201 c/l5=2203 c/m=2200 c/p=2202"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := compile(a, nodes("c", tt.words...))
			if got := ports(out.Assignment.Ports); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			moved := strings.Contains(tt.name, "stated")
			if said := slices.ContainsFunc(out.Diagnostics, func(d desired.Diagnostic) bool { return d.Code == "port-moved" }); said != moved {
				t.Errorf("port-moved said: %t, want %t (%v)", said, moved, out.Diagnostics)
			}
		})
	}
}

func TestRemovedNamesAreForgottenAfterAWhile(t *testing.T) {
	a := compile(desired.Assignment{}, nodes("c", "manager m", "logger l", "proxy p")).Assignment
	without := nodes("c", "manager m", "proxy p")
	a = desired.Compile([]*desired.Cluster{without}, desired.Facts{}, a, day0).Assignment
	a = desired.Compile([]*desired.Cluster{without}, desired.Facts{}, a, day0.Add(desired.RemovedKept)).Assignment
	if _, ok := a.Ports["c/l"]; !ok {
		t.Error("forgotten too early")
	}
	a = desired.Compile([]*desired.Cluster{without}, desired.Facts{}, a, day0.Add(desired.RemovedKept+time.Second)).Assignment
	if _, ok := a.Ports["c/l"]; ok {
		t.Error("never forgotten")
	}
}

func TestClustersShareAnInstance(t *testing.T) {
	out := compile(desired.Assignment{}, nodes("a", "manager m", "logger l", "worker w"), nodes("b", "manager m", "logger l", "worker w"))
	if got, want := ports(out.Assignment.Ports), "a/l=2201 a/m=2200 b/l=2203 b/m=2202"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := ports(out.Assignment.Metrics), "a/broker=9006 a/l=9001 a/m=9000 a/w=9002 b/broker=9007 b/l=9004 b/m=9003 b/w=9005"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if out.Assignment.Brokers["b"] == out.Assignment.Brokers["a"] {
		t.Error("two brokers on the same ports")
	}
}

func TestFanoutIDs(t *testing.T) {
	a, b := nodes("a", "manager m", "worker w1", "worker w2"), nodes("b", "manager m", "worker w1")
	for _, c := range []*desired.Cluster{a, b} {
		for i := range c.Nodes {
			if c.Nodes[i].Role == desired.RoleWorker {
				c.Nodes[i].Interface = "af_packet::eth0"
			}
		}
	}
	out := compile(desired.Assignment{}, a, b)
	id := func(cluster, node string) int {
		for _, r := range nodesOf(out, cluster) {
			if r.Name == node {
				return r.Node.FanoutID
			}
		}
		t.Fatalf("no %s/%s", cluster, node)
		return 0
	}
	if id("a", "w1") == 0 || id("a", "w1") != id("a", "w2") || id("a", "w1") == id("b", "w1") || id("a", "m") != 0 {
		t.Errorf("fan-out ids: a/w1 %d, a/w2 %d, b/w1 %d, a/m %d", id("a", "w1"), id("a", "w2"), id("b", "w1"), id("a", "m"))
	}
}

// TestLocalIsDecidedOnce: a site/local.zeek that cannot be seen for a while restarts nothing; one that
// appears counts from the next revision on.
func TestLocalIsDecidedOnce(t *testing.T) {
	facts := func(has bool) desired.Facts {
		return desired.Facts{Instances: map[string]desired.InstanceFacts{"agent-a": {Zeek: map[string]desired.ZeekFacts{"": {Version: "8.2.2", HasLocal: has}}}}}
	}
	scripts := func(out desired.Compiled) []string { return nodesOf(out, "c")[0].Node.Scripts }
	c := nodes("c", "manager m")
	with := desired.Compile([]*desired.Cluster{c}, facts(true), desired.Assignment{}, day0)
	gone := desired.Compile([]*desired.Cluster{c}, facts(false), with.Assignment, day0)
	if d := cmp.Diff(scripts(with), scripts(gone)); d != "" || len(scripts(with)) != 1 {
		t.Errorf("scripts %v, then %v", scripts(with), scripts(gone))
	}
	without := desired.Compile([]*desired.Cluster{c}, facts(false), desired.Assignment{}, day0)
	if len(scripts(without)) != 0 {
		t.Errorf("scripts %v without a local.zeek", scripts(without))
	}
	if came := desired.Compile([]*desired.Cluster{c}, facts(true), without.Assignment, day0); len(scripts(came)) != 0 {
		t.Errorf("scripts %v at an unchanged revision", scripts(came))
	}
	next := nodes("c", "manager m")
	next.Revision = "next"
	if came := desired.Compile([]*desired.Cluster{next}, facts(true), without.Assignment, day0); len(scripts(came)) != 1 {
		t.Errorf("scripts %v at the next revision", scripts(came))
	}
}

// TestAssignmentProperties: whatever comes and goes, nobody who stays is moved, and nobody collides.
func TestAssignmentProperties(t *testing.T) {
	roles := []string{"manager", "logger", "proxy", "worker"}
	rapid.Check(t, func(t *rapid.T) {
		var prev desired.Assignment
		var before []desired.Resource
		for range rapid.IntRange(1, 5).Draw(t, "steps") {
			var cs []*desired.Cluster
			for _, name := range []string{"a", "b"} {
				words := []string{"manager m"}
				for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(0, 9), 0, 6, rapid.ID).Draw(t, name) {
					words = append(words, fmt.Sprintf("%s n%d@i%d", roles[1+n%3], n, n%2))
				}
				cs = append(cs, nodes(name, words...))
			}
			out := compile(prev, cs...)
			var now []desired.Resource
			used := map[string]string{}
			for _, c := range cs {
				for _, r := range out.Resources[c.Name] {
					now = append(now, r)
					if r.Type == desired.TypeBroker {
						for _, at := range r.Listens() {
							at = r.Instance + at[strings.LastIndexByte(at, ':'):]
							if by := used[at]; by != "" {
								t.Fatalf("%s and %s both have %s", by, r.Key(), at)
							}
							used[at] = r.Key()
						}
						continue
					}
					n := r.Node.Layout.Nodes[slices.IndexFunc(r.Node.Layout.Nodes, func(l desired.LayoutNode) bool { return l.Name == r.Name })]
					for _, p := range []int{n.Port, n.MetricsPort} {
						at := fmt.Sprintf("%s:%d", r.Instance, p)
						if by := used[at]; p != 0 && by != "" {
							t.Fatalf("%s and %s both have %s", by, r.Key(), at)
						}
						used[at] = r.Key()
					}
				}
			}
			for _, b := range before {
				for _, r := range now {
					if b.Key() == r.Key() && b.Instance == r.Instance && (prev.Brokers[b.Cluster] != out.Assignment.Brokers[b.Cluster] ||
						prev.Ports[b.Key()] != out.Assignment.Ports[b.Key()] || prev.Metrics[b.Key()] != out.Assignment.Metrics[b.Key()]) {
						t.Fatalf("%s was moved: %v %v -> %v %v", b.Key(), prev.Ports[b.Key()], prev.Metrics[b.Key()], out.Assignment.Ports[b.Key()], out.Assignment.Metrics[b.Key()])
					}
				}
			}
			again := compile(out.Assignment, cs...)
			if d := cmp.Diff(out.Resources, again.Resources); d != "" {
				t.Fatalf("compiling again differs: %s", d)
			}
			prev, before = out.Assignment, now
		}
	})
}
