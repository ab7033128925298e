package admin

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zeekrec/zeekrec/actuators/broker"
	"github.com/zeekrec/zeekrec/actuators/socket"
)

// Metrics serves a broker's numbers to Prometheus. Messages are messages, not frames, which Zeek's own proxy
// counts (zeek_cluster_zeromq_proxy_…).
func Metrics(b *broker.Broker) http.Handler {
	return socket.Metrics(collector{b})
}

// MetricsOnly is what may be served on a TCP port: /metrics, and nothing that asks or tells.
func MetricsOnly(b *broker.Broker) http.Handler {
	return socket.MetricsOnly(Metrics(b))
}

// collector reads a status at each scrape.
type collector struct{ b *broker.Broker }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("zeekrec_broker_"+name, help, labels, nil)
}

// Describe sends nothing: what there is depends on who is connected.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the numbers of now.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	st := c.b.Status(true)
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	msgs := desc("messages_total", "Messages, by direction: received from publishers, sent to subscribers, dropped for them.", "direction")
	bytes := desc("bytes_total", "Bytes of messages with their frame headers, before encryption, by direction.", "direction")
	for _, d := range []struct {
		name string
		n    broker.Counts
	}{{"received", st.Received}, {"sent", st.Sent}, {"dropped", st.Dropped}} {
		counter(msgs, d.n.Messages, d.name)
		counter(bytes, d.n.Bytes, d.name)
	}
	topics := desc("topic_messages_total", "Messages by class of topics and direction.", "class", "direction")
	for _, t := range st.Topics {
		counter(topics, t.Received.Messages, t.Class, "received")
		counter(topics, t.Sent.Messages, t.Class, "sent")
		counter(topics, t.Dropped.Messages, t.Class, "dropped")
	}
	c.collectPeers(st, counter, gauge)
	refused := desc("refused_connections_total", "Connections that were closed before they were served, by reason.", "reason")
	for reason, n := range st.Refused {
		counter(refused, n, reason)
	}
	gauge(desc("members", "Nodes that have joined."), float64(len(st.Members)))
	joined := desc("member_joined", "1 for a node that has joined and is connected, 0 for one whose connection was lost a moment ago.", "node", "role")
	seen := map[string]bool{}
	for _, m := range st.Members {
		if !seen[m.Name] { // a node that is being replaced is there twice for a moment
			seen[m.Name] = true
			gauge(joined, one(m.Connected), m.Name, m.Role)
		}
	}
	gauge(desc("holding", "1 while publishers wait for subscribers to come back after a restart of the broker."), one(st.Holding))
	gauge(desc("start_time_seconds", "When the broker was started."), float64(st.Since.UnixNano())/1e9)
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// collectPeers sums up connections by node: a label for each address would never end.
func (c collector) collectPeers(st broker.Status, counter func(*prometheus.Desc, uint64, ...string), gauge func(*prometheus.Desc, float64, ...string)) {
	type sums struct {
		sent, dropped, received uint64
		queued, queuedBytes     float64
		stalled                 float64
	}
	by := map[string]*sums{}
	count := map[[2]string]float64{}
	for _, p := range st.Peers {
		count[[2]string{p.Kind, p.Mechanism}]++
		s := by[p.Node]
		if s == nil {
			s = &sums{}
			by[p.Node] = s
		}
		if p.Kind == "publisher" {
			s.received += p.Passed.Messages
			continue
		}
		s.sent += p.Passed.Messages
		s.dropped += p.Dropped.Messages
		s.queued += float64(p.Queued.Messages)
		s.queuedBytes += float64(p.Queued.Bytes)
		if !p.Stalled.IsZero() {
			s.stalled++
		}
	}
	connections := desc("connections", "Connections by kind and mechanism.", "kind", "mechanism")
	for k, n := range count {
		gauge(connections, n, k[0], k[1])
	}
	msgs := desc("node_messages_total", "Messages by node and direction, of its present connections.", "node", "direction")
	queued := desc("node_queue_messages", "Messages that wait for a node.", "node")
	queuedBytes := desc("node_queue_bytes", "Bytes that wait for a node.", "node")
	stalled := desc("node_stalled_connections", "Connections of a node that take nothing although their queues are full.", "node")
	for node, s := range by {
		counter(msgs, s.received, node, "received")
		counter(msgs, s.sent, node, "sent")
		counter(msgs, s.dropped, node, "dropped")
		gauge(queued, s.queued, node)
		gauge(queuedBytes, s.queuedBytes, node)
		gauge(stalled, s.stalled, node)
	}
}
