package broker

import (
	"path/filepath"
	"testing"
)

// TestOtherEndpoints: who was at other endpoints is not waited for.
func TestOtherEndpoints(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.json")
	before, err := New(Config{StateFile: file, Endpoints: "a b"})
	if err != nil {
		t.Fatal(err)
	}
	h := newHolder(nil)
	h.node = nodeIdentity{name: "worker-1", id: "zeromq_worker-1_h_1_N"}
	before.table.add(h, h.node.topic())
	before.ghosts = append(before.ghosts, &ghost{holder: h})
	if err := before.save(); err != nil {
		t.Fatal(err)
	}
	for endpoints, want := range map[string]int{"a b": 1, "a c": 0} {
		b, err := New(Config{StateFile: file, Endpoints: endpoints})
		if err != nil {
			t.Fatal(err)
		}
		if len(b.ghosts) != want {
			t.Errorf("%q: waits for %d", endpoints, len(b.ghosts))
		}
	}
}
