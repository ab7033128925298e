package bus

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
)

// Members is who is there, as Zeek's scripts come to know it (facts/zeromq.md §2.4). Its methods return what the node does
// then. Make one with NewMembers; it is for one goroutine.
type Members struct {
	self  zeekbus.Hello
	roles map[string]string // of the nodes of the layout, "WORKER", by name
	ids   map[string]string // of those that are up, by name
	// active are the ids of those that have said hello, by role. It keeps what a duplicate has lost in ids.
	active map[string]map[string]bool
	// subscriptions and hellos are the halves of what takes both, by id, and when they were seen.
	subscriptions, hellos map[string]time.Time
	expiration            time.Duration
}

// DefaultHelloExpiration is hello_expiration.
const DefaultHelloExpiration = 10 * time.Second

// NewMembers knows the layout, roles by names, and nobody yet. Half a greeting is forgotten after expiration.
func NewMembers(self zeekbus.Hello, roles map[string]string, expiration time.Duration) *Members {
	return &Members{self: self, roles: maps.Clone(roles), ids: map[string]string{}, active: map[string]map[string]bool{},
		subscriptions: map[string]time.Time{}, hellos: map[string]time.Time{}, expiration: expiration}
}

// Effects are what a node does next, in this order.
type Effects struct {
	Reports []Report
	// Log are lines for cluster.log.
	Log     []string
	Publish []Publication
}

// Publication is an event, and the topic that it is published to.
type Publication struct {
	Topic string
	Event zeekbus.Event
}

// Report is something for Zeek's reporter.
type Report struct {
	Level string // "warning", "error"
	// Place is the script that says so, below Zeek's folder of scripts, with its lines: "base/…/main.zeek, line 373".
	Place string
	Text  string
}

// The places of Zeek 8.2.2.
const (
	backendScript   = "policy/frameworks/cluster/backend/zeromq/main.zeek"
	frameworkScript = "base/frameworks/cluster/main.zeek"
)

func (e *Effects) warn(line, format string, args ...any) {
	e.Reports = append(e.Reports, Report{"warning", backendScript + ", " + line, fmt.Sprintf(format, args...)})
}

func (e *Effects) fail(line, format string, args ...any) {
	e.Reports = append(e.Reports, Report{"error", frameworkScript + ", " + line, fmt.Sprintf(format, args...)})
}

func (e *Effects) publish(topic string, event zeekbus.Event) {
	e.Publish = append(e.Publish, Publication{topic, event})
}

// Subscribed is that somebody has subscribed to a topic, for the first time.
func (m *Members) Subscribed(now time.Time, topic string) (e Effects) {
	id, ok := nodeOf(topic)
	if !ok || id == m.self.ID {
		return e
	}
	e.publish(zeekbus.NodeIDTopic(id), m.self.ZeroMQEvent())
	if _, ok := m.hellos[id]; ok {
		e.publish(zeekbus.NodeIDTopic(id), m.self.ClusterEvent())
		delete(m.hellos, id)
	} else {
		m.subscriptions[id] = now
	}
	return e
}

// Cancelled is that nobody is subscribed to a topic any more.
func (m *Members) Cancelled(topic string) (e Effects) {
	id, ok := nodeOf(topic)
	if !ok {
		return e
	}
	for _, name := range slices.Sorted(maps.Keys(m.ids)) {
		if m.ids[name] == id {
			m.down(&e, name, id)
			return e
		}
	}
	e.warn("line 666", "unsubscription of unknown node with id '%s'", id)
	return e
}

// Greeted is one of the two hellos of another node: event says which.
func (m *Members) Greeted(now time.Time, event string, h zeekbus.Hello) (e Effects) {
	if event == zeekbus.EventClusterHello {
		m.up(&e, h)
		return e
	}
	if old, ok := m.ids[h.Name]; ok {
		if old == h.ID {
			e.warn("lines 616-617", "node '%s' sends ZeroMQ::hello twice (id:%s)", h.Name, h.ID)
			return e
		}
		// The parenthesis that is missing is missing in Zeek.
		e.warn("lines 621-622", "node '%s' never said goodbye (old id:%s new id:%s", h.Name, old, h.ID)
		m.down(&e, h.Name, old)
	}
	if _, ok := m.subscriptions[h.ID]; ok {
		e.publish(zeekbus.NodeIDTopic(h.ID), m.self.ClusterEvent())
		delete(m.subscriptions, h.ID)
	} else {
		m.hellos[h.ID] = now
	}
	return e
}

// up is Cluster::hello.
func (m *Members) up(e *Effects, h zeekbus.Hello) {
	role, ok := m.roles[h.Name]
	if !ok {
		e.fail("line 373", "Got Cluster::hello msg from unexpected node: %s", h.Name)
		return
	}
	if old, ok := m.ids[h.Name]; ok && old != h.ID {
		e.fail("lines 382-383", "Got Cluster::hello msg from duplicate node:%s", h.Name)
	}
	m.ids[h.Name] = h.ID
	if m.active[role] == nil {
		m.active[role] = map[string]bool{}
	}
	m.active[role][h.ID] = true
	e.Log = append(e.Log, fmt.Sprintf("got hello from %s (%s)", h.Name, h.ID))
}

func (m *Members) down(e *Effects, name, id string) {
	delete(m.ids, name)
	delete(m.active[m.roles[name]], id)
	e.Log = append(e.Log, "node down: "+name)
}

// Expire forgets halves of greetings that are too old.
func (m *Members) Expire(now time.Time) (e Effects) {
	for _, half := range []struct {
		seen map[string]time.Time
		line string
		what string
	}{{m.subscriptions, "line 543", "subscription"}, {m.hellos, "line 549", "hello"}} {
		for _, id := range slices.Sorted(maps.Keys(half.seen)) {
			if !now.Before(half.seen[id].Add(m.expiration)) {
				e.warn(half.line, "Expired %s from nodeid %s", half.what, id)
				delete(half.seen, id)
			}
		}
	}
	return e
}

// NextExpiry is when Expire has something to do; zero: never.
func (m *Members) NextExpiry() time.Time {
	var next time.Time
	for _, seen := range []map[string]time.Time{m.subscriptions, m.hellos} {
		for _, at := range seen {
			if at = at.Add(m.expiration); next.IsZero() || at.Before(next) {
				next = at
			}
		}
	}
	return next
}

// Up are the ids of the nodes that are up, by name.
func (m *Members) Up() map[string]string { return maps.Clone(m.ids) }

// Active are the ids of Cluster::active_node_ids, sorted, by role.
func (m *Members) Active() map[string][]string {
	active := map[string][]string{}
	for role, ids := range m.active {
		active[role] = slices.Sorted(maps.Keys(ids))
	}
	return active
}

// nodeOf is the id of the node whose own topic it is.
func nodeOf(topic string) (string, bool) {
	rest, ok := strings.CutPrefix(topic, strings.TrimSuffix(zeekbus.NodeIDTopic(""), "."))
	if !ok || rest == "" {
		return "", false
	}
	return rest[:len(rest)-1], true
}
