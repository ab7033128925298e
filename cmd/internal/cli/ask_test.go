package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/render"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// askStatus has two clusters; "manager" is in both, "w1" in dmz alone.
func askStatus() *engine.Status {
	of := func(name string, workers ...string) engine.ClusterStatus {
		c := engine.ClusterStatus{Name: name, Resources: []engine.ResourceStatus{{Name: "broker", Type: "broker", Role: "broker"}, {Name: "manager", Type: "node", Role: "manager"}}}
		for _, w := range workers {
			c.Resources = append(c.Resources, engine.ResourceStatus{Name: w, Type: "node", Role: "worker"})
		}
		return c
	}
	return &engine.Status{Clusters: []engine.ClusterStatus{of("campus", "w2"), of("dmz", "w1", "w3")}}
}

func TestClusterMeant(t *testing.T) {
	both, one := askStatus(), askStatus()
	one.Clusters = one.Clusters[:1]
	for _, tt := range []struct {
		st      *engine.Status
		cluster string
		nodes   string
		want    string // "CLUSTER NODE…", or a part of the error
	}{
		{one, "", "", "campus"},
		{one, "", "nobody", "campus nobody"},
		{one, "dmz", "", "! no cluster dmz"},
		{both, "", "", "! which cluster is meant: campus, dmz"},
		{both, "dmz", "", "dmz"},
		{both, "dmz", "w2", "dmz w2"},
		{both, "", "w1", "dmz w1"},
		{both, "", "w1 manager", "dmz w1 manager"},
		{both, "", "manager", "! which cluster is meant: campus, dmz"},
		{both, "", "nobody", "! which cluster is meant: campus, dmz"},
		{both, "", "w1 w2", "! which cluster is meant"},
		{both, "", "broker", "! which cluster is meant"},
		{both, "", "dmz/w1 manager", "dmz w1 manager"},
		{both, "dmz", "dmz/w1", "dmz w1"},
		{both, "", "dmz/w1 campus/w2", "! two clusters at once: dmz and campus"},
		{both, "", "nowhere/w1", "! no cluster nowhere"},
	} {
		cluster, nodes, err := clusterMeant(tt.st, tt.cluster, strings.Fields(tt.nodes))
		got := strings.Join(append([]string{cluster}, nodes...), " ")
		if err != nil {
			got = "! " + err.Error()
		}
		if want, bad := strings.CutPrefix(tt.want, "! "); bad != (err != nil) || bad && !strings.Contains(got, want) || !bad && got != want {
			t.Errorf("%q %q: %q, want %q", tt.cluster, tt.nodes, got, tt.want)
		}
	}
}

func TestNodesMeant(t *testing.T) {
	for _, tt := range []struct{ scopes, want string }{
		{"", "campus:w2 dmz:w1,w3"},
		{"dmz", "dmz:w1,w3"},
		{"w1", "dmz:w1"},
		{"w1 dmz/w1 dmz", "dmz:w1,w3"},
		{"dmz/manager campus", "campus:w2 dmz:manager"},
		{"manager", "! manager fits several nodes: campus/manager, dmz/manager"},
		{"broker", `! there is no cluster and no node "broker"`},
		{"dmz/w2", `! there is no cluster and no node "dmz/w2"`},
	} {
		asks, err := nodesMeant(askStatus(), strings.Fields(tt.scopes))
		var parts []string
		for _, q := range asks {
			if q.What != api.AskNetStats {
				t.Errorf("%+v", q)
			}
			parts = append(parts, q.Cluster+":"+strings.Join(q.Nodes, ","))
		}
		got := strings.Join(parts, " ")
		if err != nil {
			got = "! " + err.Error()
		}
		if got != tt.want {
			t.Errorf("%q: %q, want %q", tt.scopes, got, tt.want)
		}
	}
}

func TestReadNetStats(t *testing.T) {
	got, err := readNetStats(api.NodeAnswer{Value: json.RawMessage(`{"time":12.5,"stats":{"pkts_recvd":75,"pkts_dropped":25,"pkts_link":100,"bytes_recvd":7,"pkts_filtered":0}}`)})
	want := render.NetStats{Time: 12.5, Received: 75, Dropped: 25, DropRate: 0.25, Link: 100, Bytes: 7, Filtered: new(uint64(0))}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if got, err := readNetStats(api.NodeAnswer{Value: json.RawMessage(`{"time":0.0,"stats":{}}`)}); err != nil || got != (render.NetStats{}) {
		t.Errorf("nothing yet: %+v, %v", got, err)
	}
	for _, bad := range []api.NodeAnswer{{Error: "x"}, {Value: json.RawMessage(`[]`)}} {
		if _, err := readNetStats(bad); err == nil {
			t.Errorf("%+v", bad)
		}
	}
}
