package broker

import (
	"sort"
	"sync"
	"sync/atomic"
)

// shareFrom is how large a run of messages has to be to be shared instead of copied. A quarter of a chunk: what a slow
// subscriber holds is then at most four times what it is owed.
const shareFrom = mediumChunk / 4

// controlLimit is how many bytes of commands (PONGs, mostly) may wait for a peer that asks for them and does
// not read; subscriptions that wait for a publisher have subscriptionLimit.
const (
	controlLimit      = 64 << 10
	subscriptionLimit = 64 << 20
)

// limits of a queue; 0 is none.
type limits struct {
	msgs  int
	bytes int
}

// queue is what waits to be written to one peer: spans in the order of writing. Several goroutines put, one
// takes.
type queue struct {
	pools   *pools
	wake    chan struct{} // for the taker
	room    chan struct{} // for one of those who wait for room
	changed chan struct{} // for all of them; closed and replaced, under mu

	mu        sync.Mutex
	spans     []span
	tail      *chunk // the last one that bytes were copied to; held
	tailEnd   int
	msgs      int // waiting, or taken and not written yet
	bytes     int
	control   int
	waiting   int   // who want room
	full      bool  // until it is half empty: whoever waits shall not be let in for a message at a time
	fullSince int64 // in nanoseconds, of the first who waited; 0: nobody has yet
	extra     int   // bytes of a message that is too large for the limit, and stands outside of it: there is one at a time
	extraAt   uint64
	asleep    bool
	closed    bool
	sent      Counts
	dropped   Counts
	counted   bool // both are in the totals of connections that have ended

	in, inBytes atomic.Uint64 // of a publisher: what came from it
}

func newQueue(p *pools) queue {
	return queue{pools: p, wake: make(chan struct{}, 1), room: make(chan struct{}, 1), changed: make(chan struct{})}
}

// put appends the messages that lie in c one after the other, from from on, each up to one of ends. It takes
// as many as there is room for, says how many, and whether the taker is to be woken.
func (q *queue) put(c *chunk, from int, ends []int, lim limits) (taken int, wake bool) {
	if q.closed {
		return len(ends), false // there is nobody any more: as good as delivered
	}
	if q.full {
		return 0, false
	}
	n := len(ends)
	if lim.msgs > 0 {
		n = min(n, max(0, lim.msgs-q.msgs))
	}
	if lim.bytes > 0 && n > 0 && q.bytes+ends[n-1]-from > lim.bytes+q.extra {
		fit := func() int { return sort.SearchInts(ends[:n], lim.bytes+q.extra-q.bytes+from+1) }
		i, begin := fit(), from
		if i > 0 {
			begin = ends[i-1]
		}
		if i < n && q.outside(ends[i]-begin, i, lim) {
			i = fit()
		}
		n = i
	}
	q.full, q.fullSince = n < len(ends), 0
	if n == 0 {
		return 0, false
	}
	to := ends[n-1]
	q.append(c, from, to, n)
	q.msgs += n
	q.bytes += to - from
	return n, q.rouse()
}

// putWhole appends one message that lies in several chunks. Its holds are taken here.
func (q *queue) putWhole(parts []span, size int, lim limits) (taken, wake bool) {
	if q.closed {
		return true, false
	}
	if q.full || lim.msgs > 0 && q.msgs >= lim.msgs || lim.bytes > 0 && q.bytes+size > lim.bytes+q.extra && !q.outside(size, 0, lim) {
		if !q.full {
			q.full, q.fullSince = true, 0
		}
		return false, false
	}
	for i := range parts {
		parts[i].c.hold()
		q.spans = append(q.spans, parts[i])
	}
	q.spans[len(q.spans)-1].msgs = 1
	q.msgs++
	q.bytes += size
	return true, q.rouse()
}

// outside reports whether a message that exceeds the limit of bytes is let in nevertheless, and stands outside of the limit
// until it is written: one at a time, of those that do not fit into the half that is free before anybody is let in
// again. Else a message beyond the limit would never pass a subscriber that is busy, and, let in, would keep out
// whatever follows it. ahead is how many are about to be put before it.
func (q *queue) outside(size, ahead int, lim limits) bool {
	if q.extra > 0 || size <= lim.bytes/2 {
		return false
	}
	q.extra, q.extraAt = size, q.sent.Messages+uint64(q.msgs+ahead+1)
	return true
}

// putControl appends a command. False: too much waits already, and the peer is not worth waiting for.
func (q *queue) putControl(b []byte, limit int) (ok, wake bool) {
	if q.closed {
		return true, false
	}
	if q.control+len(b) > limit {
		return false, false
	}
	q.control += len(b)
	q.bytes += len(b)
	for len(b) > 0 {
		n := min(len(b), mediumChunk)
		q.copy(b[:n], 0)
		b = b[n:]
	}
	return true, q.rouse()
}

// rouse says whether the taker sleeps; it is awake then.
func (q *queue) rouse() bool {
	was := q.asleep
	q.asleep = false
	return was
}

func (q *queue) append(c *chunk, from, to, msgs int) {
	if to-from >= shareFrom {
		c.hold()
		q.spans = append(q.spans, span{c, from, to, msgs})
		return
	}
	q.copy(c.buf[from:to], msgs)
}

// copy appends bytes, of at most a chunk, by copying them behind those that were copied last.
func (q *queue) copy(b []byte, msgs int) {
	if q.tail == nil || q.tailEnd+len(b) > len(q.tail.buf) {
		want := len(b)
		if q.tail != nil {
			want = mediumChunk // it fills quickly
			q.tail.release()
		}
		q.tail, q.tailEnd = q.pools.get(want), 0
	}
	from := q.tailEnd
	q.tailEnd += copy(q.tail.buf[from:], b)
	if n := len(q.spans); n > 0 {
		if last := &q.spans[n-1]; last.c == q.tail && last.to == from {
			last.to = q.tailEnd
			last.msgs += msgs
			return
		}
	}
	q.tail.hold()
	q.spans = append(q.spans, span{q.tail, from, q.tailEnd, msgs})
}

// take waits for something to write, and returns it in exchange for the memory of what was taken before.
// False: the queue is closed.
func (q *queue) take(used []span) ([]span, bool) {
	q.mu.Lock()
	for len(q.spans) == 0 && !q.closed {
		if q.tail != nil { // rest with as little memory as possible
			q.tail.release()
			q.tail = nil
		}
		q.asleep = true
		q.mu.Unlock()
		<-q.wake
		q.mu.Lock()
	}
	if q.closed {
		q.mu.Unlock()
		return nil, false
	}
	out := q.spans
	q.spans = used[:0]
	q.control = 0
	q.mu.Unlock()
	return out, true
}

// wrote makes room for as many messages and bytes, and reports whether there is still none.
func (q *queue) wrote(msgs, bytes int, lim limits) (full bool) {
	q.mu.Lock()
	q.msgs -= msgs
	q.bytes -= bytes
	q.sent.Messages += uint64(msgs)
	q.sent.Bytes += uint64(bytes)
	if q.extra > 0 && q.sent.Messages >= q.extraAt {
		q.extra = 0
	}
	if q.full && (lim.msgs == 0 || q.msgs <= lim.msgs/2) && (lim.bytes == 0 || q.bytes <= lim.bytes/2+q.extra) {
		q.full = false
	}
	full = q.full
	signal := q.waiting > 0 && !full
	q.mu.Unlock()
	if signal {
		signalTo(q.room)
	}
	return full
}

// busy reports whether something waits, or is being written.
func (q *queue) busy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes > 0
}

// admit has all who wait for room look again: limits and policy have changed.
func (q *queue) admit() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.full = false
	close(q.changed)
	q.changed = make(chan struct{})
}

// close gives up what waits. Whoever waits is let go.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.closed = true
	releaseAll(q.spans)
	q.spans = nil
	if q.tail != nil {
		q.tail.release()
		q.tail = nil
	}
	q.asleep = false
	signalTo(q.wake)
	signalTo(q.room)
}

// signalTo leaves a value in a channel of one place.
func signalTo(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
