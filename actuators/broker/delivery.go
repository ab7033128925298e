package broker

import (
	"slices"
	"time"
)

// delivery hands the messages of one publisher to their subscribers, a batch at a time. It belongs to the
// goroutine that reads them.
type delivery struct {
	gen        uint64
	routes     map[string]*route
	routeBytes int           // of their topics
	last       *route        // of the message before
	hearers    []*subscriber // of any route

	segments []segment
	ends     []int // of all messages of the batch, in the chunk
	touched  []*subscriber
	marks    []uint64 // by slot: the batch that touched it
	batch    uint64
	late     []remainder
	credit   time.Duration // how long it may still wait for subscribers
	earned   time.Time
	timer    *time.Timer
}

// Bounds of the topics that a publisher's routes are remembered for: their number, and bytes in all.
const (
	maxRoutes     = 4096
	maxRouteBytes = 1 << 20
)

// route is where the messages of one topic go to.
type route struct {
	topic string
	subs  []*subscriber
	set   []uint64 // of their slots
	class *class
}

func (r *route) has(slot int) bool {
	return slot>>6 < len(r.set) && r.set[slot>>6]&(1<<(slot&63)) != 0
}

// segment is a run of messages with one route that lie one behind the other.
type segment struct {
	route       *route
	from        int // in the chunk
	first, last int // in ends; last is behind the last
}

// remainder is what a full queue did not take.
type remainder struct {
	sub *subscriber
	seg segment
}

// add notes a message of the chunk that is being read. What was subscribed to before the message was read
// counts: a publisher may speak because of it.
func (d *delivery) add(p *publisher, topic []byte, from, to int) {
	if len(d.segments) == 0 {
		d.refresh(p.b)
	}
	topic = matchable(topic)
	r := d.last
	if r == nil || len(topic) != len(r.topic) || string(topic) != r.topic {
		if r = d.routes[string(topic)]; r == nil {
			r = d.newRoute(p.b, topic, func() { d.flush(&p.link, p.c) })
		}
		d.last = r
	}
	d.ends = append(d.ends, to)
	if n := len(d.segments); n > 0 {
		s := &d.segments[n-1]
		if s.route == r && d.ends[s.last-1] == from {
			s.last++
			return
		}
	}
	d.segments = append(d.segments, segment{r, from, len(d.ends) - 1, len(d.ends)})
}

// newRoute asks who is to have a topic. All routes of a batch are of one generation of subscriptions: where
// there is a newer one, what was noted so far is handed on first.
func (d *delivery) newRoute(b *Broker, topic []byte, flush func()) *route {
	b.mu.Lock()
	if g := b.generation.Load(); g != d.gen || len(d.routes) >= maxRoutes || d.routeBytes >= maxRouteBytes {
		b.mu.Unlock()
		flush()
		b.mu.Lock()
		d.renew(b.generation.Load())
	}
	r := &route{topic: string(topic), subs: b.table.match(topic)}
	b.mu.Unlock()
	for _, s := range r.subs {
		for s.slot>>6 >= len(r.set) {
			r.set = append(r.set, 0)
		}
		r.set[s.slot>>6] |= 1 << (s.slot & 63)
		if s != b.local.sub && !slices.Contains(d.hearers, s) {
			d.hearers = append(d.hearers, s)
		}
	}
	r.class = b.counters.class(topic)
	d.routes[r.topic] = r
	d.routeBytes += len(r.topic)
	return r
}

// matchable is what of a topic can be subscribed to.
func matchable(topic []byte) []byte { return topic[:min(len(topic), maxTopic)] }

// refresh forgets routes of an older generation of subscriptions. It must not be called while messages are noted.
func (d *delivery) refresh(b *Broker) {
	if g := b.generation.Load(); g != d.gen {
		d.renew(g)
	}
}

func (d *delivery) renew(gen uint64) {
	if d.routes == nil {
		d.routes = map[string]*route{}
	}
	clear(d.routes)
	clear(d.hearers)
	d.last, d.gen, d.routeBytes, d.hearers = nil, gen, 0, d.hearers[:0]
}

// flush hands on the messages that were noted. It returns when each is in its queues, or was dropped.
func (d *delivery) flush(l *link, c *chunk) {
	if len(d.segments) == 0 {
		return
	}
	b := l.b
	lim := b.limits()
	d.batch++
	d.touched = d.touched[:0]
	for i := range d.segments {
		s := &d.segments[i]
		n, size := s.last-s.first, d.ends[s.last-1]-s.from
		s.route.class.received(n, size)
		l.q.passed(n, size)
		for _, sub := range s.route.subs {
			for sub.slot >= len(d.marks) {
				d.marks = append(d.marks, 0)
			}
			if d.marks[sub.slot] != d.batch {
				d.marks[sub.slot] = d.batch
				d.touched = append(d.touched, sub)
			}
		}
	}
	for _, sub := range d.touched {
		d.put(sub, c, lim)
	}
	d.settle(l, c)
	d.segments, d.ends = d.segments[:0], d.ends[:0]
	d.refresh(b) // lets go of subscribers that have left
}

// put gives one subscriber what is for it. What finds no room is kept for settle, and everything behind it.
func (d *delivery) put(sub *subscriber, c *chunk, lim limits) {
	q := &sub.q
	wake, full := false, false
	q.mu.Lock()
	for i := range d.segments {
		s := &d.segments[i]
		if !s.route.has(sub.slot) {
			continue
		}
		if full {
			d.late = append(d.late, remainder{sub, *s})
			continue
		}
		n, w := q.put(c, s.from, d.ends[s.first:s.last], lim)
		wake = wake || w
		s.route.class.sent(n, d.size(s, n))
		if n < s.last-s.first {
			full = true
			rest := *s
			d.advance(&rest, n)
			d.late = append(d.late, remainder{sub, rest})
		}
	}
	q.mu.Unlock()
	if wake {
		signalTo(q.wake)
	}
}

// size of the first n messages of a segment.
func (d *delivery) size(s *segment, n int) int {
	if n == 0 {
		return 0
	}
	return d.ends[s.first+n-1] - s.from
}

// advance takes the first n messages off a segment.
func (d *delivery) advance(s *segment, n int) {
	if n > 0 {
		s.from = d.ends[s.first+n-1]
		s.first += n
	}
}

// settle deals with what found no room, as the policy says.
func (d *delivery) settle(l *link, c *chunk) {
	for i := range d.late {
		r := &d.late[i]
		for r.seg.first < r.seg.last && d.wait(l, r.sub) {
			q, lim := &r.sub.q, l.b.limits() // they may have changed meanwhile
			q.mu.Lock()
			n, wake := q.put(c, r.seg.from, d.ends[r.seg.first:r.seg.last], lim)
			q.mu.Unlock()
			if wake {
				signalTo(q.wake)
			}
			r.seg.route.class.sent(n, d.size(&r.seg, n))
			d.advance(&r.seg, n)
		}
		if n := r.seg.last - r.seg.first; n > 0 {
			size := d.size(&r.seg, n)
			r.sub.drop(n, size)
			r.seg.route.class.dropped(n, size)
		}
		d.late[i] = remainder{}
	}
	d.late = d.late[:0]
}

// whole hands on one message that lies in several chunks.
func (d *delivery) whole(l *link, topic []byte, parts []span, size int) {
	b := l.b
	lim := b.limits()
	d.refresh(b)
	topic = matchable(topic)
	r := d.routes[string(topic)]
	if r == nil {
		r = d.newRoute(b, topic, func() {})
	}
	r.class.received(1, size)
	l.q.passed(1, size)
	// First those who have room, so that they need not wait for the others.
	d.touched = d.touched[:0]
	sent := len(r.subs)
	for _, sub := range r.subs {
		if !sub.putWhole(parts, size, lim) {
			d.touched = append(d.touched, sub)
		}
	}
	for _, sub := range d.touched {
		taken := false
		for !taken && d.wait(l, sub) {
			taken = sub.putWhole(parts, size, b.limits())
		}
		if !taken {
			sub.drop(1, size)
			r.class.dropped(1, size)
			sent--
		}
	}
	r.class.sent(sent, size*sent)
}

// putWhole gives one subscriber a message that lies in several chunks. False: there is no room.
func (s *subscriber) putWhole(parts []span, size int, lim limits) bool {
	s.q.mu.Lock()
	taken, wake := s.q.putWhole(parts, size, lim)
	s.q.mu.Unlock()
	if wake {
		signalTo(s.q.wake)
	}
	return taken
}
