package zeekbus

import (
	"strings"
	"testing"
)

// topicTests are topics, what they are about, and which one.
var topicTests = []struct {
	topic string
	class Class
	rest  string
	role  string
}{
	{TopicManager, ClassManager, "", "manager"},
	{TopicLogger, ClassLogger, "", "logger"},
	{TopicProxy, ClassProxy, "", "proxy"},
	{TopicWorker, ClassWorker, "", "worker"},
	{"zeek.cluster.worker.extra", ClassWorker, "extra", "worker"},
	{"zeek.cluster.worker.", ClassWorker, "", "worker"},
	{"zeek.cluster.workers", ClassUser, "zeek.cluster.workers", ""},
	{NodeTopic("worker-1"), ClassNode, "worker-1", ""},
	{NodeTopic("w.1"), ClassNode, "w.1", ""},
	{"zeek.cluster.node.", ClassNode, "", ""},
	{"zeek.cluster.node", ClassNode, "", ""},
	{"zeek.cluster.node.worker-1", ClassNode, "", ""},
	{"zeek.cluster.node..", ClassNode, "", ""},
	{NodeIDTopic("zeromq_w_h_1_N1"), ClassNodeID, "zeromq_w_h_1_N1", ""},
	{"zeek.cluster.nodeid.", ClassNodeID, "", ""},
	{"zeek.cluster.nodeids.x.", ClassUser, "zeek.cluster.nodeids", ""},
	{"zeek.cluster.pool.worker", ClassPool, "worker", ""},
	{"zeek.cluster.pool.my.own", ClassPool, "my.own", ""},
	{"zeek.cluster.pool", ClassPool, "", ""},
	{"zeek/control/id_value_response/worker-1", ClassControl, "id_value_response/worker-1", ""},
	{"zeek/control", ClassUser, "zeek/control", ""},
	{"zeek/table/", ClassTable, "", ""},
	{"zeek.zeromq.internal.zeromq_w_h_1_N1.3.", ClassInternal, "zeromq_w_h_1_N1.3.", ""},
	{"zeek/supervisor", ClassUser, "zeek/supervisor", ""},
	{"zeek/cluster/experimental/started", ClassUser, "zeek/cluster/experimental", ""},
	{"zeek.a.b.c.d", ClassUser, "zeek.a.b", ""},
	{"zeek", ClassUser, "zeek", ""},
	{"zeekish.a.b", ClassUser, "zeekish.a", ""},
	{"my.topic.x", ClassUser, "my.topic", ""},
	{"/my/topic/x", ClassUser, "/my/topic", ""},
	{"a", ClassUser, "a", ""},
	{"a..b", ClassUser, "a.", ""},
	{"", ClassOther, "", ""},
	{"a b.c", ClassOther, "", ""},
	{"\x01zeek", ClassOther, "", ""},
	{"ä.b", ClassOther, "", ""},
	{strings.Repeat("x", 64), ClassUser, strings.Repeat("x", 64), ""},
	{strings.Repeat("x", 64) + ".y.z", ClassOther, "", ""},
	{strings.Repeat("x", 62) + ".y.z", ClassUser, strings.Repeat("x", 62) + ".y", ""},
	{strings.Repeat("x", 65), ClassOther, "", ""},
}

func TestClassify(t *testing.T) {
	for _, tt := range topicTests {
		class, rest := Classify([]byte(tt.topic))
		if class != tt.class || string(rest) != tt.rest || class.Role() != tt.role {
			t.Errorf("%q: %s %q %q, not %s %q %q", tt.topic, class, rest, class.Role(), tt.class, tt.rest, tt.role)
		}
		if tt.rest == "" && rest != nil {
			t.Errorf("%q: an empty rest that is not nil", tt.topic)
		}
	}
	names := map[string]bool{}
	for c := range NumClasses {
		names[c.String()] = true
	}
	if len(names) != int(NumClasses) || names[""] || NumClasses.String() != "other" {
		t.Errorf("names of classes %v", names)
	}
}

func TestClassifyAllocatesNothing(t *testing.T) {
	var topics [][]byte
	for _, tt := range topicTests {
		topics = append(topics, []byte(tt.topic))
	}
	counts := map[string]int{}
	for _, tt := range topicTests {
		counts[tt.rest] = 0
	}
	if n := testing.AllocsPerRun(100, func() {
		for _, topic := range topics {
			_, rest := Classify(topic)
			if _, ok := counts[string(rest)]; !ok {
				t.Error("lost")
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestControlAnswer(t *testing.T) {
	if e, n, ok := ControlAnswer([]byte("zeek/control/net_stats_response/a/b")); e != "net_stats_response" || n != "a/b" || !ok {
		t.Error(e, n, ok)
	}
	for _, topic := range []string{"", "zeek/control/", "zeek/control/x", "zeek/control/x/", "zeek/control//x", "zeek.control.x.y"} {
		if e, n, ok := ControlAnswer([]byte(topic)); ok || e != "" || n != "" {
			t.Errorf("%q: %q %q", topic, e, n)
		}
	}
}

func BenchmarkClassify(b *testing.B) {
	topic := []byte(NodeIDTopic("zeromq_worker-1_sensor1_4711_NWgRyB3WYFseCqRly1"))
	b.ReportAllocs()
	for b.Loop() {
		if c, _ := Classify(topic); c != ClassNodeID {
			b.Fatal(c)
		}
	}
}
