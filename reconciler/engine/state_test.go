package engine_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// Revisions that place nodes alike have one list of them, be they read from records or from what a rolled journal begins with.
func TestRevisionsShareWhereNodesAre(t *testing.T) {
	accepted := func(seq int64, rev, worker string) engine.Record {
		return engine.Record{Seq: seq, Kind: engine.KindAccepted, Cluster: "dmz", Revision: rev, Accepted: &engine.Accepted{
			Own:        true,
			Resources:  map[string]engine.Placement{"m": {Type: desired.TypeNode, Role: desired.RoleManager, Instance: "a"}, "w": {Type: desired.TypeNode, Role: desired.RoleWorker, Instance: worker}},
			Assignment: desired.Assignment{Ports: map[string]desired.Assigned{"dmz/m": {Instance: "a", Port: 2200}}},
		}}
	}
	s := engine.NewState()
	for i, worker := range []string{"a", "a", "b", "b", "b"} {
		s.Apply(accepted(int64(i), string(rune('1'+i)), worker))
	}
	s.Apply(engine.Record{Seq: 9, Kind: engine.KindRollout, Cluster: "dmz", Revision: "5", At: time.Unix(1, 0), Rollout: &engine.RolloutRecord{ID: "r", To: "5"}})
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	read := engine.NewState()
	if err := json.Unmarshal(text, read); err != nil {
		t.Fatal(err)
	}
	read.Init()
	for name, s := range map[string]*engine.State{"records": s, "a state": read} {
		h := s.Clusters["dmz"]
		same := func(a, b map[string]engine.Placement) bool {
			return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
		}
		for i, want := range []bool{true, false, true, true} {
			if got := same(h.Revisions[i].Resources, h.Revisions[i+1].Resources); got != want {
				t.Errorf("from %s: revisions %d and %d share: %t, should: %t", name, i+1, i+2, got, want)
			}
		}
		if !same(h.Known, h.Revisions[4].Resources) {
			t.Errorf("from %s: what is known is not what the newest revision has", name)
		}
		if h.Revisions[1].Resources["w"].Instance != "a" || h.Revisions[4].Resources["w"].Instance != "b" {
			t.Errorf("from %s: the worker is on %q and %q", name, h.Revisions[1].Resources["w"].Instance, h.Revisions[4].Resources["w"].Instance)
		}
	}
	if again, err := json.Marshal(read); err != nil || string(again) != string(text) {
		t.Errorf("read and written again the state is %s (%v), not %s", again, err, text)
	}
}
