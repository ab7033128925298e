package cli

import (
	"testing"

	"github.com/zeekrec/zeekrec/reconciler/engine"
)

func TestClustersLine(t *testing.T) {
	good := engine.ClusterStatus{Name: "good", Synced: true, Healthy: true}
	ill := engine.ClusterStatus{Name: "ill", Synced: true}
	behind := engine.ClusterStatus{Name: "behind", Healthy: true}
	for _, c := range []struct {
		state    string
		clusters []engine.ClusterStatus
		want     string
	}{
		{"ok", nil, "no cluster"},
		{"error", nil, "no cluster; source: error"},
		{"ok", []engine.ClusterStatus{good}, "1 cluster: all synced and healthy"},
		{"ok", []engine.ClusterStatus{good, good}, "2 clusters: all synced and healthy"},
		{"invalid", []engine.ClusterStatus{good, ill, behind}, "3 clusters: 1 not synced (behind), 1 not healthy (ill); source: invalid"},
		{"ok", []engine.ClusterStatus{ill, ill, ill, ill, ill, ill}, "6 clusters: 6 not healthy (ill, ill, ill, ill, ill, …)"},
	} {
		s := &engine.Status{Clusters: c.clusters}
		s.Source.State = c.state
		if got := clustersLine(s); got != c.want {
			t.Errorf("%q in place of %q", got, c.want)
		}
	}
}
