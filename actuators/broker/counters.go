package broker

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// maxClasses of topics are counted apart; whatever comes after them is "other".
const maxClasses = 64

// counters by class of topics.
type counters struct {
	mu      sync.Mutex
	classes map[string]*class
}

// class counts the messages of a class of topics.
type class struct {
	name             string
	in, out, lost    atomic.Uint64
	inB, outB, lostB atomic.Uint64
}

func (c *class) received(n, bytes int) { c.in.Add(uint64(n)); c.inB.Add(uint64(bytes)) }
func (c *class) sent(n, bytes int)     { c.out.Add(uint64(n)); c.outB.Add(uint64(bytes)) }
func (c *class) dropped(n, bytes int)  { c.lost.Add(uint64(n)); c.lostB.Add(uint64(bytes)) }

// class of a topic: its first three words where they are Zeek's own, else its first two.
func (c *counters) class(topic []byte) *class {
	name := className(string(topic))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.classes == nil {
		c.classes = map[string]*class{}
	}
	if k := c.classes[name]; k != nil {
		return k
	}
	if len(c.classes) >= maxClasses {
		name = "other"
		if k := c.classes[name]; k != nil {
			return k
		}
	}
	k := &class{name: name}
	c.classes[name] = k
	return k
}

func className(topic string) string {
	words := 2
	if strings.HasPrefix(topic, "zeek.cluster.") {
		words = 3
	}
	for i := range topic {
		if topic[i] != '.' && topic[i] != '/' {
			continue
		}
		if words--; words == 0 {
			topic = topic[:i]
			break
		}
	}
	if len(topic) > 64 {
		topic = topic[:64]
	}
	return strings.ToValidUTF8(topic, "?")
}

func (c *counters) status() []TopicStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]TopicStatus, 0, len(c.classes))
	for _, k := range c.classes {
		out = append(out, TopicStatus{
			Class:    k.name,
			Received: Counts{k.in.Load(), k.inB.Load()},
			Sent:     Counts{k.out.Load(), k.outB.Load()},
			Dropped:  Counts{k.lost.Load(), k.lostB.Load()},
		})
	}
	slices.SortFunc(out, func(a, b TopicStatus) int { return cmp.Compare(a.Class, b.Class) })
	return out
}

// passed counts what a publisher has sent.
func (q *queue) passed(msgs, bytes int) {
	q.in.Add(uint64(msgs))
	q.inBytes.Add(uint64(bytes))
}

// received is what a publisher has sent.
func (q *queue) received() Counts { return Counts{q.in.Load(), q.inBytes.Load()} }

// totals of a subscriber that is leaving. What is dropped for it from now on is no more counted there.
func (q *queue) totals() (sent, dropped Counts) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.counted = true
	return q.sent, q.dropped
}

// drop counts what found no room.
func (s *subscriber) drop(msgs, bytes int) {
	n := Counts{uint64(msgs), uint64(bytes)}
	s.q.mu.Lock()
	gone := s.q.counted
	if !gone {
		s.q.dropped.add(n)
	}
	s.q.mu.Unlock()
	if gone { // disconnected because of it
		s.b.mu.Lock()
		s.b.goneLost.add(n)
		s.b.mu.Unlock()
	}
}
