package api

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

func TestAsk(t *testing.T) {
	since := time.Now()
	e := &fakeEngine{clusters: []engine.ClusterStatus{
		{Name: "campus", Resources: []engine.ResourceStatus{{Name: "manager", Type: "node", State: observed.Running}}},
		{Name: "dmz", Resources: []engine.ResourceStatus{
			{Name: "broker", Type: "broker", State: observed.Running},
			{Name: "manager", Type: "node", State: observed.Running},
			{Name: "worker-1", Type: "node", State: observed.Running, Answering: new(true)},
			{Name: "worker-2", Type: "node", State: observed.Crashed},
			{Name: "worker-3", Type: "node", State: observed.Running, Answering: new(false), Silent: &since},
		}},
	}}
	c, _ := serve(t, e, &fakeNodes{})
	ask := func(cluster, what, id string, nodes ...string) (map[string]string, error) {
		answers, err := c.Ask(t.Context(), Ask{Cluster: cluster, Nodes: nodes, What: what, ID: id})
		got := map[string]string{}
		for _, a := range answers {
			if (a.Error == "") == (a.Value == nil) {
				t.Errorf("%+v", a)
			}
			got[a.Node] = string(a.Value)
			if a.Error != "" {
				got[a.Node] = "! " + a.Error
			}
		}
		return got, err
	}
	for _, tt := range []struct {
		what, id string
		nodes    []string
		want     map[string]string
	}{
		{AskValue, "X::x", nil, map[string]string{
			"manager": `{"a":"value X::x of manager"}`, "worker-1": `{"a":"value X::x of worker-1"}`,
			"worker-2": "! cluster node worker-2 not in running state",
			"worker-3": "! worker-3 does not answer since " + since.Format(time.TimeOnly),
		}},
		{AskNetStats, "", []string{"worker-1", "nobody", "broker"}, map[string]string{
			"worker-1": `{"a":"netstats  of worker-1"}`, "nobody": "! unknown cluster node", "broker": "! unknown cluster node",
		}},
		{AskValue, "nope", []string{"worker-1"}, map[string]string{"worker-1": "! unknown id"}},
		{AskValue, "broken", []string{"worker-1"}, map[string]string{"worker-1": "! its answer is no JSON"}},
	} {
		got, err := ask("dmz", tt.what, tt.id, tt.nodes...)
		if d := cmp.Diff(tt.want, got); err != nil || d != "" {
			t.Errorf("%s %s: %v (-want +got):\n%s", tt.what, tt.id, err, d)
		}
	}
	got, err := ask("dmz", AskValue, "large", "manager", "worker-1")
	if a, b := len(got["manager"]) > 1000, len(got["worker-1"]) > 1000; err != nil || a == b || !strings.Contains(got["manager"]+got["worker-1"], "too large together") {
		t.Errorf("large values: %t %t, %v", a, b, err)
	}
	for _, tt := range []struct{ cluster, what, code string }{
		{"campus", AskValue, CodeRefused}, {"nowhere", AskValue, CodeNotFound}, {"dmz", "nonsense", CodeBadRequest},
	} {
		_, err := ask(tt.cluster, tt.what, "X::x")
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != tt.code {
			t.Errorf("%s of %s: %v", tt.what, tt.cluster, err)
		}
	}
}
