package bus

import (
	"slices"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/actuators/keys"
	"github.com/zeekrec/zeekrec/desired"
)

// An agent has the keys of the clusters that it has resources of before it is told of these, after a rotation both, and after its own
// restart still.
func TestKeys(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	_, stop := b.agent("a", dir, "1")
	theirs := keys.Open(dir)
	ids := func(cluster string) []string {
		t.Helper()
		got, err := theirs.IDs(cluster)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	do := func(r desired.Resource) {
		t.Helper()
		if err := b.fleet.Do(b.within(time.Minute), "a", desired.Order{Verb: desired.Start, Resource: r}); err != nil {
			t.Fatal(err)
		}
	}
	id, err := b.keys.Ensure("dmz")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.keys.Ensure("other"); err != nil {
		t.Fatal(err)
	}
	do(desired.Resource{Cluster: "dmz", Name: "manager", Node: &desired.NodeSpec{}})
	if got := ids("dmz"); len(got) != 0 {
		t.Errorf("it does not encrypt and got %v", got)
	}
	node := desired.Resource{Cluster: "dmz", Name: "worker-1", Node: &desired.NodeSpec{Curve: id}}
	do(node)
	if got := ids("dmz"); !slices.Equal(got, []string{id}) {
		t.Errorf("it has %v, want %s", got, id)
	}
	second, err := b.keys.Rotate("dmz")
	if err != nil {
		t.Fatal(err)
	}
	broker := desired.Resource{Cluster: "dmz", Name: "broker", Broker: &desired.BrokerSpec{Curve: []string{second, id}}}
	if ps, err := b.fleet.Check(b.within(time.Minute), "a", []desired.Resource{broker, node}); err != nil || len(ps) != 1 {
		t.Errorf("check: %v, %v", ps, err) // as the fake has it
	}
	if got := ids("dmz"); !slices.Equal(got, []string{second, id}) {
		t.Errorf("after the rotation it has %v", got)
	}
	if got := ids("other"); len(got) != 0 {
		t.Errorf("it has nothing of that cluster, and got %v", got)
	}
	// Another life, in which the file is gone: it is brought again.
	stop()
	b.agent("a", dir, "2")
	if err := theirs.Put("dmz", mine(t, b, "other")); err != nil {
		t.Fatal(err)
	}
	do(node)
	if got := ids("dmz"); !slices.Equal(got, []string{second, id}) {
		t.Errorf("in its next life it has %v", got)
	}
}

func mine(t *testing.T, b *bench, cluster string) []keys.Pair {
	t.Helper()
	pairs, err := b.keys.List(cluster)
	if err != nil {
		t.Fatal(err)
	}
	return pairs
}
