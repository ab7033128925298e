package launch_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
)

var update = flag.Bool("update", false, "write the golden files anew")

// cluster is one of manager, logger, proxy and two workers on one instance.
func cluster(change func(*desired.Cluster)) *desired.Cluster {
	c := &desired.Cluster{
		Name: "dmz", File: "dmz.cfg", Revision: "r1",
		Instances: []desired.Instance{{Name: "agent-a"}},
		Nodes: []desired.Node{
			{Name: "logger-1", Role: desired.RoleLogger, Instance: "agent-a"},
			{Name: "manager", Role: desired.RoleManager, Instance: "agent-a"},
			{Name: "proxy-1", Role: desired.RoleProxy, Instance: "agent-a"},
			{Name: "worker-1", Role: desired.RoleWorker, Instance: "agent-a", Interface: "lo"},
			{Name: "worker-2", Role: desired.RoleWorker, Instance: "agent-a", Interface: "af_packet::lo", Env: map[string]string{"FOO": "a b"}},
		},
		Settings: desired.Settings{Backend: desired.BackendZeroMQ, Metrics: true, Archive: desired.ArchiveSettings{Interval: time.Hour}},
	}
	if change != nil {
		change(c)
	}
	return c
}

func compile(t *testing.T, c *desired.Cluster) []desired.Resource {
	t.Helper()
	out := desired.Compile([]*desired.Cluster{c}, desired.Facts{Default: "agent-a", Keys: map[string][]string{"dmz": {"key-1"}}}, desired.Assignment{}, time.Unix(0, 0))
	if desired.HasErrors(out.Diagnostics) {
		t.Fatalf("diagnostics: %v", out.Diagnostics)
	}
	return out.Resources[c.Name]
}

// resource of that name.
func resource(t *testing.T, rs []desired.Resource, name string) desired.Resource {
	t.Helper()
	i := slices.IndexFunc(rs, func(r desired.Resource) bool { return r.Name == name })
	if i < 0 {
		t.Fatalf("no resource %s", name)
	}
	return rs[i]
}

// TestGolden shows every line of what is rendered, for both backends and the versions of Zeek that differ.
func TestGolden(t *testing.T) {
	for _, tt := range []struct {
		name    string
		version string
		change  func(*desired.Cluster)
	}{
		{"zeromq-8.2", "8.2.2", nil},
		{"live", "8.2.2", live},
		{"slots", "8.2.2", func(c *desired.Cluster) { live(c); c.Settings.LoggerSlots = 2 }},
		{"zeromq-8.0", "8.0.10", nil},
		{"zeromq-8.1", "8.1.1", nil},
		{"zeromq-9.0", "9.0.0-rc1", nil},
		{"broker-8.0", "8.0.10", func(c *desired.Cluster) { c.Settings.Backend = desired.BackendBroker }},
		{"broker-8.2", "8.2.2", func(c *desired.Cluster) { c.Settings.Backend = desired.BackendBroker }},
		{"everything", "8.2.2", func(c *desired.Cluster) {
			c.Files, c.HasLocal = "0123456789abcdef", true
			c.Settings.Args = []string{"-C"}
			c.Settings.LocalNets = []string{"10.0.0.0/8", "fd00::/8"}
			c.Settings.Options = []desired.Option{{Name: "LogAscii::use_json", Value: "T"}}
			c.Settings.Archive.Timezone = "UTC"
			c.Nodes[3].Scripts = []string{"extra"}
		}},
		{"no-logger-no-metrics", "8.2.2", func(c *desired.Cluster) {
			c.Nodes = c.Nodes[1:]
			c.Settings.Metrics = false
		}},
		{"two-instances-ipv6", "8.2.2", func(c *desired.Cluster) {
			c.Instances = []desired.Instance{{Name: "agent-a", Host: "fd00::1"}, {Name: "agent-b", Host: "fd00::2"}}
			c.Nodes[4].Instance = "agent-b"
		}},
		{"manager-is-broker", "8.2.2", func(c *desired.Cluster) { c.Settings.Broker.Mode = desired.BrokerManager }},
		{"external-broker", "8.2.2", func(c *desired.Cluster) {
			c.Settings.Broker = desired.BrokerSettings{Mode: desired.BrokerExternal, XPub: "tcp://10.0.0.9:5555", XSub: "tcp://10.0.0.9:5556"}
		}},
		{"lossless", "8.0.10", func(c *desired.Cluster) { c.Settings.Broker.Lossless = true }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			for _, r := range compile(t, cluster(tt.change)) {
				l, err := launch.Render(&r, place("/state", r.Name, desired.ZeekFacts{Path: "/opt/zeek/bin/zeek", Version: tt.version, ZeekPath: ".:/opt/zeek/share/zeek:/opt/zeek/share/zeek/site"}))
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, "== %s\n%s\n", r.Name, strings.Join(l.Argv, " "))
				for _, e := range l.Env {
					fmt.Fprintf(&b, "  %s\n", strings.ReplaceAll(e, l.Hash, "HASH"))
				}
				for _, f := range slices.Sorted(maps.Keys(l.Files)) {
					if f == "zeekrec-members.zeek" || f == "zeekrec-telemetry.zeek" || f == launch.AnswerScript || f == launch.TuneScript("") { // the same for all
						fmt.Fprintf(&b, "-- %s: as in zeek/%s\n", f, f)
						continue
					}
					fmt.Fprintf(&b, "-- %s\n%s", f, l.Files[f])
				}
			}
			golden(t, filepath.Join("testdata", tt.name+".golden"), b.String())
		})
	}
}

func live(c *desired.Cluster) { c.Settings.Membership = desired.MembershipLive }

func place(state, node string, z desired.ZeekFacts) launch.Place {
	cd := filepath.Join(state, "clusters", "dmz")
	return launch.Place{ClusterDir: cd, NodeDir: filepath.Join(cd, "nodes", node), Zeek: z, Self: "/usr/bin/zeekrec"}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s differs (-want +got); go test -update writes it anew:\n%s", file, d)
	}
}

// TestZeekParses lets a real Zeek check every node's scripts: with both backends, and with all that the ZeroMQ
// backend can be told.
func TestZeekParses(t *testing.T) {
	zeek := realZeek(t)
	version, err := launch.ParseVersion(zeek.Version)
	if err != nil {
		t.Fatal(err)
	}
	use := func(b desired.Backend) func(*desired.Cluster) {
		return func(c *desired.Cluster) {
			c.Settings.Backend = b
			c.Settings.LocalNets = []string{"10.0.0.0/8", "fd00::/8"}
			c.Settings.Options = []desired.Option{{Name: "LogAscii::use_json", Value: "T"}}
		}
	}
	for name, change := range map[string]func(*desired.Cluster){
		"zeromq":   use(desired.BackendZeroMQ),
		"broker":   use(desired.BackendBroker),
		"lossless": func(c *desired.Cluster) { c.Settings.Broker.Lossless = true },
		"live":     live,
		"manager":  func(c *desired.Cluster) { c.Settings.Broker.Mode = desired.BrokerManager },
		"options":  func(c *desired.Cluster) { c.Settings.Options = zeromqOptions(version) },
	} {
		for _, r := range compile(t, cluster(change)) {
			if r.Type != desired.TypeNode {
				continue
			}
			t.Run(name+"/"+r.Name, func(t *testing.T) {
				t.Parallel()
				l, err := launch.Render(&r, place(t.TempDir(), r.Name, zeek))
				if err != nil {
					t.Fatal(err)
				}
				if err := writeFiles(l); err != nil {
					t.Fatal(err)
				}
				ch := l.Check()
				cmd := exec.CommandContext(t.Context(), ch.Argv[0], ch.Argv[1:]...)
				cmd.Env, cmd.Dir = ch.Env, ch.Dir
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v: %v\n%s", ch.Argv, err, out)
				}
			})
		}
	}
}

// TestOptionsTakeEffect asks a real Zeek for the value of every option that was set: neither zeekrec's own settings nor
// lossless have the last word.
func TestOptionsTakeEffect(t *testing.T) {
	zeek := realZeek(t)
	version, err := launch.ParseVersion(zeek.Version)
	if err != nil {
		t.Fatal(err)
	}
	options := zeromqOptions(version)
	var script, want strings.Builder
	script.WriteString("event zeek_init() &priority=1000 {\n")
	for _, o := range options {
		fmt.Fprintf(&script, "print %q, cat(%s) == cat(%s);\n", o.Name, o.Name, o.Value)
		fmt.Fprintf(&want, "%s, T\n", o.Name)
	}
	script.WriteString("terminate();\n}\n")
	rs := compile(t, cluster(func(c *desired.Cluster) { c.Settings.Options, c.Settings.Broker.Lossless = options, true }))
	for _, name := range []string{"logger-1", "manager", "worker-1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := resource(t, rs, name)
			l, err := launch.Render(&r, place(t.TempDir(), r.Name, zeek))
			if err != nil {
				t.Fatal(err)
			}
			l.Files["ask.zeek"] = script.String()
			if err := writeFiles(l); err != nil {
				t.Fatal(err)
			}
			ch := l.Check() // its environment keeps ZeroMQ from opening sockets
			args := slices.DeleteFunc(slices.Clone(ch.Argv[1:]), func(a string) bool { return a == "-a" || a == "local" })
			cmd := exec.CommandContext(t.Context(), ch.Argv[0], append(args, "ask")...)
			cmd.Env, cmd.Dir = ch.Env, ch.Dir
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %v\n%s", args, err, out)
			}
			if d := cmp.Diff(want.String(), string(out)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func writeFiles(l launch.Launch) error {
	for _, d := range []string{l.Dir, l.GenDir, l.QueueDir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	for n, content := range l.Files {
		if err := os.WriteFile(filepath.Join(l.GenDir, n), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// realZeek finds a Zeek that is one, or skips.
func realZeek(t *testing.T) desired.ZeekFacts {
	t.Helper()
	path, err := exec.LookPath("zeek")
	if err != nil {
		path = "/opt/zeek/bin/zeek"
	}
	out, err := exec.CommandContext(t.Context(), path, "--version").CombinedOutput()
	if err != nil || strings.Contains(string(out), "stand-in") {
		t.Skip("needs a real Zeek on the PATH or in /opt/zeek/bin")
	}
	f := strings.Fields(string(out))
	share := filepath.Join(filepath.Dir(filepath.Dir(path)), "share", "zeek")
	return desired.ZeekFacts{
		Path: path, Version: f[len(f)-1],
		ZeekPath: strings.Join([]string{".", share, share + "/policy", share + "/site", share + "/builtin-plugins"}, ":"),
	}
}

func TestRenderRefuses(t *testing.T) {
	r := resource(t, compile(t, cluster(nil)), "logger-1")
	for name, z := range map[string]desired.ZeekFacts{
		"cannot use Zeek 7.2.1":                      {Path: "/z", Version: "7.2.1"},
		`"zeek", is not absolute`:                    {Path: "zeek", Version: "8.2.2"},
		`cannot read "unknown" as a version of Zeek`: {Path: "/z", Version: "unknown"},
	} {
		if _, err := launch.Render(&r, place("/state", r.Name, z)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got error %v, want one with %q", err, name)
		}
	}
	b := desired.Resource{Cluster: "dmz", Name: "archiver", Type: desired.TypeArchiver}
	if _, err := launch.Render(&b, place("/state", "archiver", desired.ZeekFacts{Path: "/z", Version: "8.2.2"})); err == nil {
		t.Error("an archiver was rendered")
	}
	node := *r.Node
	node.Curve = "key-1"
	r.Node = &node
	if _, err := launch.Render(&r, place("/state", r.Name, desired.ZeekFacts{Path: "/z", Version: "8.1.2"})); err == nil || !strings.Contains(err.Error(), "encryption (CURVE) needs Zeek 8.2") {
		t.Errorf("got error %v", err)
	}
}
