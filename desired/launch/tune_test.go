package launch_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
)

// TestText: values as Zeek writes them in JSON, in the notation of the config framework. That Zeek reads them back as what
// they were is tried with Zeek itself (TestLiveOptions).
func TestText(t *testing.T) {
	for _, tt := range []struct{ typ, value, want, err string }{
		{"bool", "true", "T", ""},
		{"count", "18446744073709551615", "18446744073709551615", ""},
		{"double", "0.1", "0.1", ""},
		{"double", "null", "", "the value null of a double cannot be told to a Zeek that runs"},
		{"interval", "300.0", "300.0", ""},
		{"port", `{"port":80,"proto":"tcp"}`, "80/tcp", ""},
		{"subnet", `"fe80::/10"`, "fe80::/10", ""},
		{"enum Notice::Type", `"Weird::Activity"`, "Weird::Activity", ""},
		{"string", `" a, b\\c "`, `\x20a\x2c b\x5cc\x20`, ""},
		{"string", `"a\nb"`, `a\x0ab`, ""},
		{"string", `""`, "", ""},
		{"string", `"\\xff"`, "", `a string with \x cannot be told to a Zeek that runs`},
		{"pattern", `"/^?(a\\/b,c)$?/"`, `/a\x5c/b\x2cc/`, ""},
		{"pattern", `"/(^?(a)$?)|(^?(b)$?)/"`, "", "a pattern with flags, or joined from several, cannot be told to a Zeek that runs"},
		{"pattern", `"/^?(a)$?)|(^?(b)$?/"`, "", "a pattern with flags, or joined from several, cannot be told to a Zeek that runs"},
		{"set[string]", `["b","a,","" ]`, `,a\x2c,b`, ""},
		{"set[string]", `[]`, "", ""},
		{"set[string]", `[""]`, "", "a list that ends with an empty string cannot be told to a Zeek that runs"},
		{"vector of addr", `["10.0.0.2","10.0.0.1"]`, "10.0.0.2,10.0.0.1", ""},
		{"count", `{`, "", "cannot read the value of a count: unexpected EOF"},
	} {
		got, err := launch.Text(tt.typ, tt.value)
		if said := ""; err != nil {
			if said = err.Error(); said != tt.err {
				t.Errorf("%s %s: %q, want %q", tt.typ, tt.value, said, tt.err)
			}
			continue
		}
		if got != tt.want || tt.err != "" {
			t.Errorf("%s %s: %q, want %q, %q", tt.typ, tt.value, got, tt.want, tt.err)
		}
	}
}

func TestSettable(t *testing.T) {
	for typ, want := range map[string]bool{
		"count": true, "enum Notice::Type": true, "pattern": true, "set[string]": true, "set[enum Notice::Type]": true, "vector of interval": true,
		"set[pattern]": false, "set[addr,port]": false, "table[string] of count": false, "record { a:count; }": false, "func": false, "vector of set[count]": false,
	} {
		if got := launch.Settable(typ); got != want {
			t.Errorf("%s: %t, want %t", typ, got, want)
		}
	}
}

func TestTuneTable(t *testing.T) {
	empty, revision := launch.TuneTable(nil)
	if revision != "" || launch.TuneNames(empty) != nil {
		t.Errorf("%q, %q", revision, empty)
	}
	a, first := launch.TuneTable([]launch.OptionText{{"A::a", ""}, {"B::b", "1 2"}})
	_, second := launch.TuneTable([]launch.OptionText{{"A::a", ""}, {"B::b", "1 3"}})
	if first == "" || first == second {
		t.Errorf("revisions %q and %q", first, second)
	}
	if d := cmp.Diff([]string{"A::a", "B::b"}, launch.TuneNames(a)); d != "" {
		t.Error(d)
	}
	if !strings.HasSuffix(string(a), "A::a \nB::b 1 2\nZeekrec::tune_revision "+first+"\n") {
		t.Errorf("%q", a)
	}
}

func TestProbe(t *testing.T) {
	f, err := launch.ReadProbe([]byte(`{"logs":false,"names":{
		"Weird::sampling_rate":{"opt":true,"t":"count","json":"1000"},"Notice::policies":{"opt":true,"t":"table[count] of count"},
		"LogAscii::use_json":{"opt":false,"t":"bool"},"Cluster::node":{"opt":false,"t":"string"},"Zeekrec::tune_revision":{"opt":true,"t":"string","json":"\"\""}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]desired.NameKind{
		"Weird::sampling_rate": desired.NameOption, "Notice::policies": desired.NameFixed, "LogAscii::use_json": desired.NameUnused, "Cluster::node": desired.NameConstant,
	}, f.Names().Kinds); d != "" {
		t.Error(d)
	}
	if typ, v, ok := f.Value("Weird::sampling_rate"); typ != "count" || v != "1000" || !ok {
		t.Errorf("%q %q %t", typ, v, ok)
	}
	for _, name := range []string{"Notice::policies", "LogAscii::use_json", "Nobody::knows"} {
		if _, _, ok := f.Value(name); ok {
			t.Errorf("%s can be told", name)
		}
	}
	for _, bad := range []string{"", "{}", `{"names":`} {
		if _, err := launch.ReadProbe([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if !launch.SameValue("set[count]", "[1,2]", "[2, 1]") && !launch.SameValue("set[count]", "[1,2]", "[2,1]") || launch.SameValue("vector of count", "[1,2]", "[2,1]") || launch.SameValue("set[count]", "[1]", "[1,1]") {
		t.Error("values that are the same, or are not")
	}
}

// TestProbeLaunch: the check run has the node's own command line and environment, but for what would open something.
func TestProbeLaunch(t *testing.T) {
	rs := compile(t, cluster(func(c *desired.Cluster) {
		c.Settings.Options = []desired.Option{{Name: "Weird::sampling_rate", Value: "5"}}
	}))
	r := resource(t, rs, "worker-1")
	p := launch.Place{ClusterDir: "/state/clusters/dmz", NodeDir: "/state/clusters/dmz/nodes/worker-1", Zeek: desired.ZeekFacts{Path: "/opt/zeek/bin/zeek", Version: "8.2.2", ZeekPath: ".:/opt/zeek/share/zeek"}}
	node, err := launch.Render(&r, p)
	if err != nil {
		t.Fatal(err)
	}
	l, err := launch.Probe(&r, p)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(l.Argv, " "), "/opt/zeek/bin/zeek frameworks/cluster/backend/zeromq zeekrec-node local zeekrec-options zeekrec-probe"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if l.GenDir == node.GenDir || l.Files["zeekrec-probe.zeek"] == "" || len(l.Env) != len(node.Env) || !strings.Contains(strings.Join(l.Env, "\n"), "ZEEKPATH="+l.GenDir+":") {
		t.Errorf("%s, %q", l.GenDir, l.Env)
	}
	if strings.Contains(l.Files["zeekrec-options.zeek"], "@ifdef") {
		t.Error("a name of which nothing is known is for Zeek's parser to judge")
	}
	r.Tunable = []string{"Weird::sampling_rate"}
	if l, err = launch.Render(&r, p); err != nil || !strings.Contains(l.Files["zeekrec-options.zeek"], "@ifdef ( Weird::sampling_rate )\nredef Weird::sampling_rate = 5;\n@endif\n") {
		t.Errorf("%v: %s", err, l.Files["zeekrec-options.zeek"])
	}
}
