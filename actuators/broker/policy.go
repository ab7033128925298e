package broker

import "time"

// With the policy drop a publisher that finds a subscriber's queue full waits for it as long as that costs nobody anything: while
// everybody else who hears of that publisher has something in his queue, too, and for freeTime each time the queue is full. Where all
// are equally slow, hardly anything is lost. Else it waits for a fiftieth of its time, up to creditLimit at once, so
// that a burst is not lost. A subscriber that has taken nothing for stallTime is not waited for at all.
const (
	creditShare = 50
	creditLimit = 50 * time.Millisecond
	creditLeast = time.Millisecond
	stallTime   = 250 * time.Millisecond
	lookAgain   = time.Millisecond
	// A healthy subscriber takes half a queue in some milliseconds. One that needs longer is slower than the others.
	freeTime = 10 * time.Millisecond
	// Who has less than this part of a queue is about to be out of work.
	littleWork = 8
)

// After a restart of the broker everything comes at once that publishers had to keep meanwhile, and a queue holds no more than
// one of them does. So for catchUpTime after publishers are read from again they wait for whoever goes on taking
// messages, and catchUpStall for who takes none.
const (
	catchUpTime  = 5 * time.Second
	catchUpStall = time.Second
)

// wait waits for room in a full queue, as long as the policy has it. False: what is for the subscriber is to be
// dropped.
func (d *delivery) wait(l *link, sub *subscriber) bool {
	b := l.b
	now := b.now()
	sub.stalled.CompareAndSwap(0, now.UnixNano())
	switch b.settings.Load().Policy {
	case Disconnect:
		if sub != b.local.sub && sub.close() { // the broker itself could not come back
			b.log.Warn("Disconnects a subscriber: its queue is full", "peer", sub.addr)
		}
		return false
	case Block:
		l.paused.Store(true)
		defer l.paused.Store(false)
		d.await(&sub.q, time.Hour, b)
		return !b.ended()
	}
	if until := b.catchUp.Load(); until != 0 && now.UnixNano() < until {
		since := sub.stalled.Load()
		return (since == 0 || now.UnixNano()-since < int64(catchUpStall)) && d.await(&sub.q, catchUpStall, b)
	}
	since := sub.stalled.Load()
	if since != 0 && now.UnixNano()-since > int64(stallTime) {
		return false
	}
	if sub.q.fullFor(now) < freeTime && !d.starves(sub, b.limits()) {
		l.paused.Store(true)
		defer l.paused.Store(false)
		d.await(&sub.q, lookAgain, b)
		return !b.ended()
	}
	if d.earned.IsZero() {
		d.credit = creditLimit
	} else {
		d.credit = min(creditLimit, d.credit+now.Sub(d.earned)/creditShare)
	}
	d.earned = now
	if d.credit < creditLeast {
		return false
	}
	got := d.await(&sub.q, d.credit, b)
	d.credit -= b.now().Sub(now)
	return got
}

// fullFor is how long ago somebody first waited for the queue, since it is full.
func (q *queue) fullFor(now time.Time) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fullSince == 0 {
		q.fullSince = now.UnixNano()
	}
	return time.Duration(now.UnixNano() - q.fullSince)
}

// starves reports whether somebody who hears of this publisher has little left to take, while it waits for sub.
func (d *delivery) starves(sub *subscriber, lim limits) bool {
	for _, s := range d.hearers {
		if s == sub {
			continue
		}
		s.q.mu.Lock()
		idle := s.q.msgs <= lim.msgs/littleWork && s.q.bytes <= lim.bytes/littleWork && !s.q.closed
		s.q.mu.Unlock()
		if idle {
			return true
		}
	}
	return false
}

// await waits until there may be room in the queue, for at most a time. False: that is over, or the broker has ended.
func (d *delivery) await(q *queue, limit time.Duration, b *Broker) bool {
	q.mu.Lock()
	if q.closed || !q.full {
		q.mu.Unlock()
		return true
	}
	q.waiting++
	changed := q.changed
	q.mu.Unlock()
	if d.timer == nil {
		d.timer = time.NewTimer(limit)
	} else {
		d.timer.Reset(limit)
	}
	got := false
	select {
	case <-q.room:
		got = true
	case <-changed:
		got = true
	case <-d.timer.C:
	case <-b.done:
	}
	d.timer.Stop()
	q.mu.Lock()
	q.waiting--
	more := q.waiting > 0 && (q.closed || !q.full)
	q.mu.Unlock()
	if more && got {
		signalTo(q.room) // the next one looks for itself
	}
	return got
}
