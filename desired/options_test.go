package desired_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/desired"
)

func TestSplitOptions(t *testing.T) {
	fixed, tuned := desired.SplitOptions([]string{"B::b = 2", "A::a = 1 = 1", "C::c = 3"}, []string{"A::a"}, nil, []string{"B::b", "X::x"})
	if d := cmp.Diff([]string{"C::c = 3"}, fixed); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"A::a = 1 = 1", "B::b = 2"}, tuned); d != "" {
		t.Error(d)
	}
}

// TestOptions: what is known of Zeek's names decides what may be changed in place and what is said, and never what is to run.
func TestOptions(t *testing.T) {
	c := &desired.Cluster{
		Name: "dmz", File: "dmz.cfg", Instances: []desired.Instance{{Name: "agent-a"}},
		Nodes: []desired.Node{
			{Name: "logger-1", Role: desired.RoleLogger, Instance: "agent-a"}, {Name: "manager", Role: desired.RoleManager, Instance: "agent-a"},
			{Name: "worker-1", Role: desired.RoleWorker, Instance: "agent-a", Interface: "lo"},
		},
		Settings: desired.Settings{Backend: desired.BackendZeroMQ, Options: []desired.Option{
			{Name: "Weird::sampling_rate", Value: "100", Line: 3}, {Name: "LogAscii::use_json", Value: "T", Line: 4}, {Name: "Beacons::limit", Value: "5", Line: 5},
		}},
	}
	zeek := desired.ZeekFacts{Path: "/opt/zeek/bin/zeek", Version: "8.2.2"}
	compile := func(names map[desired.Role]desired.ZeekNames) (map[string]desired.Resource, []string) {
		t.Helper()
		in := desired.InstanceFacts{Zeek: map[string]desired.ZeekFacts{"": zeek}, Names: map[string]desired.ZeekNames{}}
		facts := func() desired.Facts {
			return desired.Facts{Default: "agent-a", Instances: map[string]desired.InstanceFacts{"agent-a": in}}.WithAssumedKeys([]*desired.Cluster{c})
		}
		bare := desired.Compile([]*desired.Cluster{c}, facts(), desired.Assignment{}, time.Unix(0, 0))
		for i := range bare.Resources["dmz"] {
			if r := &bare.Resources["dmz"][i]; r.Node != nil {
				if n, ok := names[r.Role]; ok {
					in.Names[desired.NamesKey(r, zeek)] = n
				}
			}
		}
		out := desired.Compile([]*desired.Cluster{c}, facts(), desired.Assignment{}, time.Unix(0, 0))
		rs := map[string]desired.Resource{}
		for i, r := range out.Resources["dmz"] {
			rs[r.Name] = r
			if r.ID != bare.Resources["dmz"][i].ID {
				t.Errorf("%s: what is known of names changes what is to run", r.Name)
			}
		}
		var said []string
		for _, d := range out.Diagnostics {
			if strings.Contains(d.Code, "option") {
				said = append(said, d.String())
			}
		}
		return rs, said
	}
	base := map[string]desired.NameKind{"Weird::sampling_rate": desired.NameOption, "LogAscii::use_json": desired.NameConstant}
	on := func(more map[string]desired.NameKind) desired.ZeekNames {
		k := map[string]desired.NameKind{}
		for _, m := range []map[string]desired.NameKind{base, more} {
			for n, v := range m {
				k[n] = v
			}
		}
		return desired.ZeekNames{Kinds: k}
	}
	for _, tt := range []struct {
		name    string
		names   map[desired.Role]desired.ZeekNames
		tunable map[string]string
		said    []string
	}{
		{
			"all", map[desired.Role]desired.ZeekNames{
				desired.RoleLogger: on(nil), desired.RoleManager: on(map[string]desired.NameKind{"LogAscii::use_json": desired.NameUnused}),
				desired.RoleWorker: on(map[string]desired.NameKind{"LogAscii::use_json": desired.NameUnused, "Beacons::limit": desired.NameFixed}),
			},
			map[string]string{
				"logger-1": "Beacons::limit Weird::sampling_rate", "manager": "Beacons::limit LogAscii::use_json Weird::sampling_rate",
				"worker-1": "LogAscii::use_json Weird::sampling_rate",
			},
			[]string{
				"dmz.cfg:3: info: changed while the nodes run: Weird::sampling_rate [option-live]",
				"dmz.cfg:4: info: LogAscii::use_json is a constant: a change restarts logger-1 [option-constant]",
				"dmz.cfg:5: info: Beacons::limit is an option, but of a type that Zeek reads from no file: a change restarts worker-1 [option-fixed]",
			},
		},
		{
			"a slip", map[desired.Role]desired.ZeekNames{
				desired.RoleLogger: on(nil), desired.RoleManager: on(nil), desired.RoleWorker: on(map[string]desired.NameKind{"Beacons::limits": desired.NameOption}),
			}, nil,
			[]string{
				"dmz.cfg:3: info: changed while the nodes run: Weird::sampling_rate [option-live]",
				"dmz.cfg:4: info: LogAscii::use_json is a constant: a change restarts logger-1, manager, worker-1 [option-constant]",
				`dmz.cfg:5: error: unknown option "Beacons::limit": did you mean "Beacons::limits"? [unknown-option]`,
			},
		},
		{
			"the workers cannot say", map[desired.Role]desired.ZeekNames{
				desired.RoleLogger: on(nil), desired.RoleManager: on(nil), desired.RoleWorker: {Err: "no answer"},
			},
			map[string]string{"logger-1": "Beacons::limit Weird::sampling_rate", "manager": "Beacons::limit Weird::sampling_rate", "worker-1": ""},
			[]string{
				"dmz.cfg:3: info: changed while the nodes run: Weird::sampling_rate [option-live]",
				"dmz.cfg:3: info: nothing is known of the names that the Zeek of worker-1 has: a change of [zeekrec.options] is taken to restart such nodes [options-assumed]",
				"dmz.cfg:4: info: LogAscii::use_json is a constant: a change restarts logger-1, manager [option-constant]",
			},
		},
		{
			"offline", nil, map[string]string{"logger-1": "", "manager": "", "worker-1": ""},
			[]string{"dmz.cfg:3: info: nothing is known of the names that Zeek has: a change of [zeekrec.options] is taken to restart the nodes [options-assumed]"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rs, said := compile(tt.names)
			if d := cmp.Diff(tt.said, said); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if len(rs) == 0 != (tt.tunable == nil) {
				t.Fatalf("%d resources", len(rs))
			}
			for node, want := range tt.tunable {
				r := rs[node]
				if r.Tunable == nil || strings.Join(r.Tunable, " ") != want {
					t.Errorf("%s: %q, want %q", node, r.Tunable, want)
				}
			}
			if b, ok := rs["broker"]; ok && b.Tunable != nil {
				t.Error("a broker is told no options")
			}
		})
	}
	names := slices.Collect(func(yield func(string) bool) {
		r := desired.Resource{Role: desired.RoleWorker, Node: &desired.NodeSpec{Scripts: []string{"a", "b"}}}
		for _, change := range []func(){func() {}, func() { r.Node.Scripts = []string{"a b"} }, func() { r.Role = desired.RoleProxy }, func() { r.Node.Files = "1" }} {
			change()
			if !yield(desired.NamesKey(&r, zeek)) {
				return
			}
		}
	})
	slices.Sort(names)
	if len(slices.Compact(names)) != 4 {
		t.Errorf("keys that should differ: %q", names)
	}
}
