package clustercfg

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

// codes returns the codes of the errors.
func codes(ds []desired.Diagnostic) []string {
	var out []string
	for _, d := range ds {
		if d.Severity == desired.Error {
			out = append(out, d.Code)
		}
	}
	return out
}

func TestParseFillsTheCluster(t *testing.T) {
	f := desired.ClusterFile{
		Name: "dmz", File: "dmz.cfg", Data: []byte("# x\n[m]\nrole = manager\nPort = 2200\n[w]\ninterface = eth0\nrole = worker\n"),
		Tree: desired.Tree{"local.zeek": {}},
	}
	c, ds := Parse(f, testHost)
	if desired.HasErrors(ds) {
		t.Fatal(ds)
	}
	if c.Name != "dmz" || c.File != "dmz.cfg" || c.Revision != f.Revision() || c.Files != f.Tree.Hash() || c.Files == "" || !c.HasLocal {
		t.Errorf("cluster is %+v", c)
	}
	m := c.Nodes[0]
	at := func(n *desired.Node, key string) int { l, _ := n.Keys.Line(key); return l }
	if m.Line != 2 || at(&m, "role") != 3 || at(&m, "port") != 4 || at(&c.Nodes[1], "interface") != 6 {
		t.Errorf("lines are %d %v and %v", m.Line, m.Keys, c.Nodes[1].Keys)
	}
	if _, stated := m.Keys.Line("instance"); stated || m.Instance != testHost {
		t.Errorf("instance is %q, stated %t", m.Instance, stated)
	}
}

func TestDefaults(t *testing.T) {
	c, _ := parse("[m]\nrole = manager\n")
	s := c.Settings
	if s.Backend != desired.BackendZeroMQ || s.MaxUnavailable.N != 1 || s.PruneGuard != (desired.Quantity{N: 30, Percent: true}) || !s.AutoRevert || s.Suspend ||
		s.Membership != desired.MembershipLive || s.ScriptsStated || s.MetricsAddress != "127.0.0.1" || !s.Metrics || s.PortsFrom != 2200 ||
		s.MetricsPortsFrom != 9000 || s.BrokerPortsFrom != 5555 || s.Broker.Mode != "standalone" || s.Broker.Curve != "auto" || s.Broker.SndHWM != 1000 ||
		!s.Archive.Enabled || s.Archive.Interval != time.Hour || s.Archive.Keep != 0 || s.ZeekUpgrade != "manual" {
		t.Errorf("defaults are %+v", s)
	}
	c, _ = parse("[zeekrec]\nbackend = broker\n[m]\nrole = manager\n")
	if c.Settings.Membership != desired.MembershipRestart {
		t.Errorf("membership with Broker is %q", c.Settings.Membership)
	}
}

// TestNotACluster has what cannot be understood as a whole: one clear error, and no cluster.
func TestNotACluster(t *testing.T) {
	tests := []struct {
		name string
		file desired.ClusterFile
		line int
		code string
		text string
	}{
		{"unreadable", desired.ClusterFile{Err: fs.ErrPermission}, 0, "unreadable", "permission denied"},
		{"loop", desired.ClusterFile{Err: errors.New("too many levels of symbolic links")}, 0, "unreadable", "symbolic links"},
		{"10 MB", desired.ClusterFile{Data: make([]byte, 10_000_000)}, 0, "too-large", "a cluster.cfg this large is a mistake: 10000000 bytes, the limit is 4 MiB"},
		{"many keys", desired.ClusterFile{Data: []byte("[m]\n" + strings.Repeat("a\n", 210_000))}, 200_001, "too-large", "more than 200000 sections and keys"},
		{"many sections", desired.ClusterFile{Data: []byte(strings.Repeat("[m]\n", 210_000))}, 200_001, "too-large", "more than 200000 sections and keys"},
		{"many own keys", desired.ClusterFile{Data: []byte("[zeekrec]\n" + strings.Repeat("a=\n", 210_000))}, 200_001, "too-large", "more than 200000 sections and keys"},
		{"binary", desired.ClusterFile{Data: []byte("[m]\r\n\x7fELF\x00")}, 2, "binary", ""},
		{"latin 1", desired.ClusterFile{Data: []byte("[m]\r\r\nrole = \xe4")}, 3, "not-utf-8", "0xe4"},
		{"utf-16", desired.ClusterFile{Data: []byte("\xff\xfe[\x00m\x00]\x00")}, 1, "not-utf-8", "UTF-16"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.file.Name, test.file.File = "dmz", "dmz.cfg"
			c, ds := Parse(test.file, testHost)
			ds = slices.DeleteFunc(ds, func(d desired.Diagnostic) bool { return d.Code != test.code })
			if c != nil || len(ds) != 1 || ds[0].Line != test.line || ds[0].Severity != desired.Error || !strings.Contains(ds[0].Message, test.text) || ds[0].Hint == "" {
				t.Errorf("cluster %v, diagnostics %v", c, ds)
			}
		})
	}
}

func TestNamesOfClusters(t *testing.T) {
	for name, bad := range map[string]bool{
		"dmz": false, "dmz-2": false, "d.m.z": false, "dömz": false,
		"": true, "a b": true, "a/b": true, "..": true, ".x": true, "-x": true, "a:b": true, "a\x1b[m": true, strings.Repeat("x", 65): true,
	} {
		_, ds := Parse(desired.ClusterFile{Name: name, File: name + ".cfg", Data: []byte("[m]\nrole = manager\n")}, testHost)
		if got := slices.Contains(codes(ds), "unfit-name"); got != bad {
			t.Errorf("%q: refused is %t: %v", name, got, ds)
		}
	}
}

// TestManyErrors: at most 200 diagnostics are shown, and the errors are among them.
func TestManyErrors(t *testing.T) {
	var b strings.Builder
	for i := range 300 {
		fmt.Fprintf(&b, "[p%d]\nrole = proxy\nunknown = 1\n", i)
	}
	b.WriteString("[w]\nrole = worker\n")
	_, ds := parse(b.String())
	if len(ds) != maxDiagnostics+1 {
		t.Fatalf("%d diagnostics", len(ds))
	}
	last := ds[len(ds)-1]
	if last.Code != "too-many" || last.Line != 902 || last.Message != "102 more are not shown" || last.Severity != desired.Warning {
		t.Errorf("the last one is %v", last)
	}
	if got := codes(ds); !slices.Equal(got, []string{"no-manager", "no-interface"}) {
		t.Errorf("errors are %v", got)
	}
	if !slices.IsSortedFunc(ds, func(a, b desired.Diagnostic) int { return a.Line - b.Line }) {
		t.Error("not in the order of the file")
	}
}

// TestBounds: files made to be slow are read, or refused, in a time that nobody notices. (The limit is a
// hundred times what it takes, so that only something quadratic fails.)
func TestBounds(t *testing.T) {
	repeat := func(n int, f string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, f, i)
		}
		return b.String()
	}
	laughs := "[m]\nrole = manager\nscripts = %(k0)s\n"
	for i := range 9 {
		laughs += fmt.Sprintf("k%d = %s\n", i, strings.Repeat(fmt.Sprintf("%%(k%d)s", i+1), 100))
	}
	tests := map[string]string{
		"sections":       repeat(10_000, "[w%d]\n"),
		"equal sections": strings.Repeat("[w]\n", 10_000),
		"nodes":          repeat(6_000, "[w%d]\nrole = worker\ninterface = eth0\n"),
		"keys":           "[m]\nrole = manager\n" + repeat(25_000, "key%05d = x\n"),
		"instances":      "[instances]\n" + repeat(19_000, "agent%05d = 10.0.0.1:22\n") + "[m]\nrole = manager\ninstance = agent00000x\n",
		"mixed":          "[instances]\na\n" + repeat(9_000, "[p%d]\nrole = proxy\n") + "[m]\nrole = manager\ninstance = a\n",
		"inherited":      "[DEFAULT]\n" + repeat(9_000, "k%d = %%%%\n") + repeat(9_000, "[w%d]\n"),
		"inherited bad":  "[DEFAULT]\n" + repeat(9_000, "k%d = %%\n") + repeat(9_000, "[w%d]\n"),
		"laughs":         laughs + "k9 = ha\n",
		"no laughs":      laughs + "k9 =\n",
		"unknown refs":   "[m]\nrole = manager\n" + repeat(4_000, "k%d = %%(nope)s\n"),
		"long name":      "[" + strings.Repeat("x.", 400_000) + "]\nrole = manager\n",
		"long key":       "[m]\n" + strings.Repeat("x", 900_000) + "\n",
		"long value":     "[m]\nrole = " + strings.Repeat("x ", 400_000) + "\n",
		"lines":          "[m]\nrole = manager\nscripts = a\n" + strings.Repeat(" b\n", 300_000),
		"one port":       repeat(6_000, "[w%d]\nrole = proxy\nport = 2200\n"),
		"cpus":           "[zeekrec.limits.worker]\ncpus = " + strings.Repeat("0-8191,", 100_000) + "1\n[m]\nrole = manager\n",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, ds := parse(text)
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %v", took)
			} else {
				t.Logf("took %v", took)
			}
			if len(ds) > maxDiagnostics+1 {
				t.Errorf("%d diagnostics", len(ds))
			}
			for _, d := range ds {
				if len(d.Message) > 2*maxMessage || len(d.Hint) > 2*maxMessage {
					t.Errorf("a message of %d and a hint of %d bytes", len(d.Message), len(d.Hint))
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	var text strings.Builder
	text.WriteString("[manager]\nrole = manager\n")
	for i := range 1_000 {
		fmt.Fprintf(&text, "[worker-%04d]\nrole = worker\ninterface = af_packet::eth0\nenv = A=1 B='x y'\n", i)
	}
	f := desired.ClusterFile{Name: "dmz", File: "dmz.cfg", Data: []byte(text.String())}
	b.ReportAllocs()
	for b.Loop() {
		if _, ds := Parse(f, testHost); desired.HasErrors(ds) {
			b.Fatal(ds)
		}
	}
}
