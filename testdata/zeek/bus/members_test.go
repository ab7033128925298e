package bus

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
)

var (
	noon  = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	me    = zeekbus.Hello{Name: "worker-1", ID: "w1"}
	mine  = me.ZeroMQEvent()
	mine2 = me.ClusterEvent()
)

func to(id string, events ...zeekbus.Event) (p []Publication) {
	for _, e := range events {
		p = append(p, Publication{zeekbus.NodeIDTopic(id), e})
	}
	return p
}

func warning(lines, text string) []Report {
	return []Report{{"warning", "policy/frameworks/cluster/backend/zeromq/main.zeek, " + lines, text}}
}

func failure(lines, text string) []Report {
	return []Report{{"error", "base/frameworks/cluster/main.zeek, " + lines, text}}
}

// The texts and what is published are what a Zeek 8.2.2 did when it was told the same; TestReportsAreLikeZeeks asks one.
func TestMembers(t *testing.T) {
	m := NewMembers(me, map[string]string{"manager": "MANAGER", "worker-1": "WORKER", "worker-2": "WORKER"}, DefaultHelloExpiration)
	greeted := func(event, name, id string) Effects { return m.Greeted(noon, event, zeekbus.Hello{Name: name, ID: id}) }
	topic := zeekbus.NodeIDTopic
	for i, step := range []struct {
		got, want Effects
	}{
		{m.Subscribed(noon, topic("w1")), Effects{}},
		{m.Subscribed(noon, "zeek.cluster.worker"), Effects{}},
		{m.Cancelled("zeek.cluster.worker"), Effects{}},
		// First the subscription, then the hello.
		{m.Subscribed(noon, topic("m")), Effects{Publish: to("m", mine)}},
		{greeted(zeekbus.EventZeroMQHello, "manager", "m"), Effects{Publish: to("m", mine2)}},
		{greeted(zeekbus.EventClusterHello, "manager", "m"), Effects{Log: []string{"got hello from manager (m)"}}},
		// First the hello, then the subscription.
		{greeted(zeekbus.EventZeroMQHello, "worker-2", "w2"), Effects{}},
		{m.Subscribed(noon, topic("w2")), Effects{Publish: to("w2", mine, mine2)}},
		{greeted(zeekbus.EventClusterHello, "worker-2", "w2"), Effects{Log: []string{"got hello from worker-2 (w2)"}}},
		// What goes wrong.
		{greeted(zeekbus.EventZeroMQHello, "manager", "m"), Effects{Reports: warning("lines 616-617", "node 'manager' sends ZeroMQ::hello twice (id:m)")}},
		{greeted(zeekbus.EventZeroMQHello, "manager", "m2"), Effects{Log: []string{"node down: manager"},
			Reports: warning("lines 621-622", "node 'manager' never said goodbye (old id:m new id:m2")}},
		{greeted(zeekbus.EventClusterHello, "worker-2", "w2b"), Effects{Log: []string{"got hello from worker-2 (w2b)"},
			Reports: failure("lines 382-383", "Got Cluster::hello msg from duplicate node:worker-2")}},
		{greeted(zeekbus.EventClusterHello, "ghost", "g"), Effects{Reports: failure("line 373", "Got Cluster::hello msg from unexpected node: ghost")}},
		{m.Cancelled(topic("w2")), Effects{Reports: warning("line 666", "unsubscription of unknown node with id 'w2'")}},
		{m.Cancelled(topic("w2b")), Effects{Log: []string{"node down: worker-2"}}},
		// Halves.
		{m.Subscribed(noon.Add(time.Second), topic("half")), Effects{Publish: to("half", mine)}},
		{m.Expire(noon.Add(10*time.Second - 1)), Effects{}},
		{m.Expire(noon.Add(10 * time.Second)), Effects{Reports: warning("line 549", "Expired hello from nodeid m2")}},
		{m.Expire(noon.Add(11 * time.Second)), Effects{Reports: warning("line 543", "Expired subscription from nodeid half")}},
	} {
		if diff := cmp.Diff(step.want, step.got); diff != "" {
			t.Errorf("step %d, -want +got:\n%s", i, diff)
		}
	}
	if diff := cmp.Diff(map[string]string{}, m.Up()); diff != "" {
		t.Errorf("up, -want +got:\n%s", diff)
	}
	// What the duplicate has lost stays, as with Zeek.
	if diff := cmp.Diff(map[string][]string{"MANAGER": nil, "WORKER": {"w2"}}, m.Active()); diff != "" {
		t.Errorf("active, -want +got:\n%s", diff)
	}
}

func TestNextExpiry(t *testing.T) {
	m := NewMembers(me, nil, time.Second)
	if next := m.NextExpiry(); !next.IsZero() {
		t.Errorf("nothing seen: %v", next)
	}
	m.Subscribed(noon.Add(time.Minute), zeekbus.NodeIDTopic("a"))
	m.Greeted(noon, zeekbus.EventZeroMQHello, zeekbus.Hello{Name: "b", ID: "b"})
	if next := m.NextExpiry(); !next.Equal(noon.Add(time.Second)) {
		t.Errorf("next: %v", next)
	}
}
