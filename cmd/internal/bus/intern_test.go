package bus

import (
	"slices"
	"testing"

	"github.com/zeekrec/zeekrec/observed"
)

func reportOf(cluster, name string, parts map[string][]string) *observed.Report {
	return &observed.Report{Resources: []observed.Resource{{Cluster: cluster, Name: name, Parts: observed.PartsOf(parts)}}}
}

// What several agents report alike is there once.
func TestReportsShareTheirParts(t *testing.T) {
	var in interner
	a := reportOf("dmz", "worker-1", map[string][]string{"broker": {"tcp://h:1", "tcp://h:2"}, "interface": {"eth0"}})
	b := reportOf("dmz", "worker-2", map[string][]string{"broker": {"tcp://h:1", "tcp://h:2"}, "interface": {"eth1"}})
	in.report(a)
	in.report(b)
	p, q := a.Resources[0].Parts, b.Resources[0].Parts
	if p[0] != q[0] {
		t.Error("the broker's endpoints are there twice")
	}
	if p[1] == q[1] || !slices.Equal(p.Get("interface"), []string{"eth0"}) || !slices.Equal(q.Get("interface"), []string{"eth1"}) {
		t.Errorf("the interfaces are %q and %q", p.Get("interface"), q.Get("interface"))
	}
}

// Whatever one agent reports, what another does stays what it is.
func TestReportsAreNotMistakenForOthers(t *testing.T) {
	for _, tt := range []struct{ name, field, other string }{
		{"a value that looks like two", "loggers", "loggers"},
		{"a field that looks like one with a value", "loggers\x00a", "loggers"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var in interner
			in.report(reportOf("x", "rogue", map[string][]string{tt.field: {"a\x00b"}}))
			honest := reportOf("dmz", "worker-1", map[string][]string{tt.other: {"a", "b"}})
			in.report(honest)
			if p := honest.Resources[0].Parts; len(p) != 1 || p[0].Field != tt.other || !slices.Equal(p[0].Values, []string{"a", "b"}) {
				t.Errorf("an honest report became %q %q", p[0].Field, p[0].Values)
			}
		})
	}
}
