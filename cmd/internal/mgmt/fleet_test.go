package mgmt

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/desired"
)

// TestWhere: of several agents each is shown where it is connected, with a port where it was dialled, as the framework has it.
func TestWhere(t *testing.T) {
	w := newFakeWorld(t)
	w.agents = []string{"agent-dialled", "agent-here", "agent-of-old"}
	c := w.controller(t.TempDir())
	c.Instance = "" // it is a controller alone
	c.Where = func(agent string) (netip.Addr, int, bool) {
		switch agent {
		case "agent-dialled":
			return netip.MustParseAddr("192.0.2.7"), 2151, true
		case "agent-here":
			return netip.MustParseAddr("127.0.0.1"), 0, true
		}
		return netip.Addr{}, 0, false
	}
	r, err := resultOf(ask(t, c, "get_instances"))
	if err != nil {
		t.Fatal(err)
	}
	var got []desired.Instance
	for _, v := range r.Data.(Vector) {
		i, err := instanceOf(v)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, i)
	}
	want := []desired.Instance{{Name: "agent-dialled", Host: "192.0.2.7", Port: 2151}, {Name: "agent-here", Host: "127.0.0.1"}, {Name: "agent-of-old", Host: "10.0.0.1"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("instances (-want, +got):\n%s", diff)
	}
	rs, err := resultsOf(ask(t, c, "get_nodes"))
	if err != nil {
		t.Fatal(err)
	}
	var rows []NodeStatus
	for _, r := range rs {
		for _, v := range r.Data.(Vector) {
			s, err := nodeStatusOf(v)
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, s)
		}
	}
	wantRows := []NodeStatus{
		{"agent-dialled", "RUNNING", "AGENT", "NONE", 41, 2151, 0}, {"agent-here", "RUNNING", "AGENT", "NONE", 41, 0, 0}, {"agent-of-old", "RUNNING", "AGENT", "NONE", 41, 0, 0},
	}
	if diff := cmp.Diff(wantRows, rows); diff != "" {
		t.Errorf("nodes (-want, +got):\n%s", diff)
	}
}

// TestGather: to deploy instances alone has those dialled that wait for it, now and by the next controller, and is answered when they are
// connected.
func TestGather(t *testing.T) {
	w := newFakeWorld(t)
	dir := t.TempDir()
	config := &Configuration{ID: "c1", Instances: []desired.Instance{{Name: "agent-a"}, {Name: "agent-b", Host: "192.0.2.7", Port: 2151}}}
	var told []string
	comes := true
	await := func(cluster string, instances []desired.Instance) {
		for _, i := range instances {
			told = append(told, cluster+"/"+i.Name)
		}
		if comes {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.agents = []string{"agent-a", "agent-b"}
		}
	}
	c := w.controller(dir)
	c.Await = await
	ask(t, c, "stage_configuration", config.Value())
	if failures, successes := said(t, ask(t, c, "deploy")); len(failures) > 0 || !slices.Equal(successes, []string{"c1"}) {
		t.Errorf("%q, %q", failures, successes)
	}
	if want := []string{"default/agent-a", "default/agent-b"}; !slices.Equal(told, want) {
		t.Errorf("dialled are %q, want %q", told, want)
	}
	told = nil
	again, err := NewController(c.Config)
	if err != nil || again == nil || len(told) != 2 {
		t.Errorf("the next controller has %q dialled, %v", told, err)
	}
	w.agents, comes = []string{"agent-a"}, false
	if failures, _ := said(t, ask(t, c, "deploy")); !slices.Equal(failures, []string{errTimedOut}) {
		t.Errorf("without the agent: %q", failures)
	}
}
