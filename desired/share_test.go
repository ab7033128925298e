package desired_test

import (
	"testing"

	"github.com/zeekrec/zeekrec/desired"
)

// Nodes of several hosts that are started alike refer to one spec, and whoever differs, in whatever it is, has its own.
func TestNodesShareWhatTheyAreStartedFrom(t *testing.T) {
	words := []string{"manager m@i1", "logger l@i1", "worker w1@i2", "worker w2@i3", "worker w3@i4"}
	for _, tt := range []struct {
		name  string
		other func(n *desired.Node) // what is different about w2
		alike bool
	}{
		{"nothing", func(*desired.Node) {}, true},
		{"interface", func(n *desired.Node) { n.Interface = "eth1" }, false},
		{"environment", func(n *desired.Node) { n.Env = map[string]string{"A": "1"} }, false},
		{"metrics port", func(n *desired.Node) { n.MetricsPort = 9999 }, false},
		{"arguments", func(n *desired.Node) { n.Args = []string{"-C"} }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := nodes("c", words...)
			tt.other(&c.Nodes[3])
			by := map[string]*desired.Resource{}
			rs := compile(desired.Assignment{}, c).Resources["c"]
			for i := range rs {
				by[rs[i].Name] = &rs[i]
			}
			w1, w2, w3 := by["w1"], by["w2"], by["w3"]
			if w1.Node != w3.Node || w1.ID != w3.ID {
				t.Errorf("w1 and w3 are alike and do not share: %+v, %+v", w1.Node, w3.Node)
			}
			if shared := w1.Node == w2.Node; shared != tt.alike {
				t.Errorf("w1 and w2 share: %t, should: %t", shared, tt.alike)
			}
			if (w1.ID == w2.ID) != tt.alike {
				t.Errorf("the IDs of w1 and w2 are %s and %s", w1.ID, w2.ID)
			}
			if w2.Instance != "i3" || w2.Node.Interface != c.Nodes[3].Interface || w2.Node.Env["A"] != c.Nodes[3].Env["A"] {
				t.Errorf("w2 is to run on %s from %+v", w2.Instance, w2.Node)
			}
		})
	}
}
