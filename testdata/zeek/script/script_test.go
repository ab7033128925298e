package script

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const layout = `
redef Cluster::nodes += {
	["manager"] = [$node_type=Cluster::MANAGER, $ip=10.0.0.1],
	# ["ghost"] = [$node_type=Cluster::WORKER, $ip=10.0.0.9],
	["logger-1"] = [
		$node_type=Cluster::LOGGER,
		$ip=[2001:db8::1], $p=2200/tcp,
		$metrics_port=9000/tcp
	],
	["worker-1"] = [$node_type=Cluster::WORKER, $ip=10.0.0.1, $p=0/unknown, $manager="manager"]
};
`

// loadCode loads the layout and one script, as a node.
func loadCode(t *testing.T, node, code string) *Program {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"cluster-layout.zeek": layout, "x.zeek": code} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	getenv := func(name string) string { return map[string]string{"SITE": "here"}[name] }
	p, problem := Load(Options{Library: NewLibrary(dir + ":" + DefaultPath), Node: node, Names: []string{"x"}, Getenv: getenv})
	if problem != nil {
		t.Fatal(problem)
	}
	return p
}

func TestLayout(t *testing.T) {
	p := loadCode(t, "logger-1", "")
	want := []Node{
		{Name: "logger-1", Type: "LOGGER", IP: "2001:db8::1", Port: 2200, MetricsPort: 9000},
		{Name: "manager", Type: "MANAGER", IP: "10.0.0.1"},
		{Name: "worker-1", Type: "WORKER", IP: "10.0.0.1"},
	}
	if diff := cmp.Diff(want, p.Nodes()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if self, ok := p.Self(); !ok || self.Name != "logger-1" {
		t.Errorf("self: %+v, %v", self, ok)
	}
}

func TestValues(t *testing.T) {
	p := loadCode(t, "logger-1", `
redef A::text = "a \"b\"";
redef A::text += "ignored by String";
redef A::joined = "../" + Cluster::node + "/q";
redef A::name = archiver_rotation_format_func;
redef A::yes = T;
redef A::no=F;
redef A::port = 9001/tcp;
redef A::own_port = Cluster::local_node_metrics_port();
redef A::seconds = 3 secs;
redef A::minutes = 1.5min;
redef A::hours = 2 hrs;
redef A::plain = 90;
redef A::twice = 1 sec;
redef A::twice = 2 sec;
redef archiver_log_metadata += { ["log_suffix"] = Cluster::node, ["x"] = "y" };
event zeek_init() { redef_looking = 1; local a: table[string] of count = { ["k"] = 1 }; }
redef record Conn::Info += { seen: bool &default=F; };
redef A::list = vector("tcp://a:1");
redef A::list += vector("tcp://b:2");
redef A::number = 1000;
redef A::last = T;
`)
	value := func(name string) string {
		v, ok := p.Value(name)
		if !ok {
			return "none"
		}
		return v
	}
	checks := []struct {
		what      string
		got, want any
	}{
		{"text", p.String("A::text", ""), `a "b"`},
		{"joined", p.String("A::joined", ""), "../logger-1/q"},
		{"name", p.String("A::name", ""), "archiver_rotation_format_func"},
		{"absent text", p.String("A::none", "otherwise"), "otherwise"},
		{"yes", p.Bool("A::yes", false), true},
		{"no", p.Bool("A::no", true), false},
		{"absent bool", p.Bool("A::none", true), true},
		{"port", p.Port("A::port", 0), 9001},
		{"own port", p.Port("A::own_port", 0), 9000},
		{"absent port", p.Port("A::none", 7), 7},
		{"seconds", p.Interval("A::seconds", 0), 3 * time.Second},
		{"minutes", p.Interval("A::minutes", 0), 90 * time.Second},
		{"hours", p.Interval("A::hours", 0), 2 * time.Hour},
		{"plain", p.Interval("A::plain", 0), 90 * time.Second},
		{"the last counts", p.Interval("A::twice", 0), 2 * time.Second},
		{"absent interval", p.Interval("A::none", time.Minute), time.Minute},
		{"after other statements", p.Bool("A::last", false), true},
		{"number", p.Count("A::number", 0), 1000},
		{"no number", p.Count("A::text", 7), 7},
		{"absent number", p.Count("A::none", 7), 7},
		{"strings", p.Strings("A::list"), []string{"tcp://a:1", "tcp://b:2"}},
		{"value of a number", value("A::number"), "1000"},
		{"value of a text", value("A::joined"), "../logger-1/q"},
		{"value of a port", value("A::port"), "9001/tcp"},
		{"value of a boolean", value("A::yes"), "T"},
		{"value of a name", value("A::name"), "archiver_rotation_format_func"},
		{"value of an interval", value("A::seconds"), "none"},
		{"value of a shortened interval", value("A::minutes"), "none"},
		{"value of a list", value("A::list"), "none"},
		{"value of a table", value("archiver_log_metadata"), "none"},
		{"value of a call", value("A::own_port"), "none"},
		{"absent value", value("A::none"), "none"},
		{"pairs", p.Pairs("archiver_log_metadata"), [][2]string{{"log_suffix", "logger-1"}, {"x", "y"}}},
	}
	for _, c := range checks {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s, -want +got:\n%s", c.what, diff)
		}
	}
}

func TestConditions(t *testing.T) {
	for condition, want := range map[string]bool{
		`T`: true, `F`: false, `!F`: true, `( T )`: true, `T && F`: false, `F || T`: true, `F && F || T`: true, `F && ( F || T )`: false,
		`Cluster::is_enabled()`: true, `! Cluster::is_enabled()`: false,
		`Cluster::local_node_type() == Cluster::LOGGER`:                 true,
		`Cluster::local_node_type() != Cluster::LOGGER`:                 false,
		`(Cluster::local_node_type() == Cluster::WORKER) || F`:          false,
		`Cluster::node == "logger-1"`:                                   true,
		`Cluster::node != ""`:                                           true,
		`|Cluster::node| > 0`:                                           true,
		`Cluster::get_node_count(Cluster::LOGGER) > 1`:                  false,
		`Cluster::get_node_count(Cluster::LOGGER) == 1`:                 true,
		`Version::number >= 80200`:                                      true,
		`Version::number < 80000`:                                       false,
		`Version::at_least("8.1.0")`:                                    true,
		`getenv("SITE") == "here"`:                                      true,
		`getenv("NOWHERE") == ""`:                                       true,
		`Supervisor::is_supervised()`:                                   false,
		`Unknown::thing`:                                                false,
		`unknown_function("x", 3)`:                                      false,
		`Cluster::local_node_type() == Cluster::LOGGER # and a comment`: true,
	} {
		p := loadCode(t, "logger-1", "@if "+condition+"\nredef A::held = T;\n@else\nredef A::held = F;\n@endif\n")
		if got := p.Bool("A::held", !want); got != want {
			t.Errorf("%s: %v", condition, got)
		}
	}
}

func TestNestedConditions(t *testing.T) {
	p := loadCode(t, "worker-1", `
@if ( F )
@if ( T )
redef A::wrong = T; }}}
@else
redef A::wrong = T;
@endif
@load nosuch
@else
@ifdef ( A::b )
redef A::right = T;
@endif
@ifndef ( A::b )
redef A::wrong = T;
@endif
@endif
`)
	if p.Bool("A::wrong", false) || !p.Bool("A::right", false) {
		t.Errorf("wrong %v, right %v", p.Bool("A::wrong", false), p.Bool("A::right", false))
	}
}

// The folders of a path are gone through in order, and in each ".zeek" comes first.
func TestLookup(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"1/a.zeek", "1/b/__load__.zeek", "2/a.zeek", "2/b.zeek", "2/c", "2/c.zeek", "2/local.zeek", "2/e/other.zeek"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l := NewLibrary(dir + "/1:" + dir + "/2:" + Prefix + ":" + Prefix + "/policy:" + Prefix + "/site")
	for _, c := range []struct{ name, from, want string }{
		{"a", "", dir + "/1/a.zeek"},
		{"a.zeek", "", dir + "/1/a.zeek"},
		{"b", "", dir + "/1/b/__load__.zeek"},
		{"c", "", dir + "/2/c.zeek"},
		{"./a", dir + "/2/b.zeek", dir + "/2/a.zeek"},
		{"../a", dir + "/1/b/__load__.zeek", dir + "/1/a.zeek"},
		{dir + "/2/b", "", dir + "/2/b.zeek"},
		{"e", "", dir + "/2/e/__load__.zeek"},
		{"local", "", dir + "/2/local.zeek"},
		{"site/local", "", Prefix + "/site/local.zeek"},
		{"misc/stats", "", Prefix + "/policy/misc/stats.zeek"},
		{"policy/misc/stats.zeek", "", Prefix + "/policy/misc/stats.zeek"},
		{"frameworks/cluster/backend/zeromq", "", Prefix + "/policy/frameworks/cluster/backend/zeromq/__load__.zeek"},
		{"base/protocols/http", "", Prefix + "/base/protocols/http/__load__.zeek"},
		{"misc/nosuch", "", ""},
		{"d", "", ""},
	} {
		at, ok := l.find(c.name, c.from)
		if at.path != c.want || ok != (c.want != "") {
			t.Errorf("%s from %q: %q, %v, want %q", c.name, c.from, at.path, ok, c.want)
		}
	}
}

func TestLoadedNamesWhatALocalImplies(t *testing.T) {
	p, problem := Load(Options{Library: NewLibrary(""), Names: []string{"local"}})
	if problem != nil {
		t.Fatal(problem)
	}
	if !p.Loaded("/misc/stats.zeek") || !p.Loaded("/site/local.zeek") || p.Loaded("/misc/scan.zeek") {
		t.Errorf("loaded: %v", p.loaded)
	}
}

func TestLexer(t *testing.T) {
	x := newLexer("redef A::b += /a\\/\"\\/\"/i | 3sec/2; # c\n127.0.0.1 80/tcp \"x\\\"y\" a$b @load x # y\n@DIR |a| / 2")
	var got []token
	for tk := x.next(); tk.kind != eof; tk = x.next() {
		got = append(got, tk)
	}
	want := []token{
		{word, "redef", "", 1}, {word, "A::b", "", 1}, {punct, "+=", "", 1}, {pattern, `/a\/"\/"/i`, "", 1}, {punct, "|", "", 1},
		{word, "3sec", "", 1}, {punct, "/", "", 1}, {word, "2", "", 1}, {punct, ";", "", 1},
		{word, "127.0.0.1", "", 2}, {word, "80/tcp", "", 2}, {str, `x"y`, "", 2}, {word, "a", "", 2}, {punct, "$", "", 2}, {word, "b", "", 2},
		{directive, "@load", "x", 2},
		{directive, "@DIR", "", 3}, {punct, "|", "", 3}, {word, "a", "", 3}, {punct, "|", "", 3}, {punct, "/", "", 3}, {word, "2", "", 3},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(token{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Whatever the text, reading ends, and ends with a program or a problem with words.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{layout, "@if ( a", "\"", "/[", "redef A::b = {", "@load x\x00", "@endif", "a::", "1/tcp/", "@", "|/a/|", "redef A::b += ;"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, src string) {
		l := &loader{
			Options: Options{Library: NewLibrary(t.TempDir()), Getenv: func(string) string { return "" }},
			program: newProgram("worker-1"),
			seen:    make(map[string]bool),
		}
		if problem := newReader(l, "x.zeek", src).run(); problem != nil && problem.Error() == "" {
			t.Error("a problem without words")
		}
		l.program.Nodes()
		l.program.Pairs("A::b")
		l.program.Interval("A::b", 0)
	})
}
