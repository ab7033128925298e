package desired

import "testing"

func TestNamesNodes(t *testing.T) {
	for _, c := range []struct {
		name, script string
		want         bool
	}{
		{"a.zeek", "@load x\nevent zeek_init() { print Cluster::node; }", false},
		{"a.zeek", "@if ( Cluster::local_node_type() == Cluster::WORKER && Version::at_least(\"8.1\") )\n@load x\n@endif", false},
		{"a.zeek", "@ifdef ( Cluster::node )\n@load x\n@endif", false},
		{"a.zeek", "@if ( getenv(\"SITE\") == \"north\" )\n@load x\n@endif", false},
		{"a.zeek", "@if ( getenv(\"CLUSTER_NODE\") == \"worker-1\" )", true},
		{"a.zeek", "@if ( (T) &&\n  Cluster::node == \"worker-1\" )\n@load x\n@endif", true},
		{"a.zeek", "@if(mine())\n@load x\n@endif", true},
		{"a.txt", "@if ( Cluster::node == \"worker-1\" )", false},
		{"a.zeek", "@if ( Cluster::node", true},
	} {
		if got := (Tree{c.name: {Data: []byte(c.script)}}).NamesNodes(); got != c.want {
			t.Errorf("%s: %q: %t", c.name, c.script, got)
		}
	}
}
