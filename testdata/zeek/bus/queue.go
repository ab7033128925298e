package bus

import "sync"

// queue is what waits for one taker, within a bound.
type queue[T any] struct {
	limit int
	some  chan struct{} // there is something; for one taker

	mu    sync.Mutex
	items []T
	room  chan struct{} // closed when something is taken; nil: nobody waits for that
}

func newQueue[T any](limit int) *queue[T] {
	return &queue[T]{limit: limit, some: make(chan struct{}, 1)}
}

// offer appends, unless the queue is full.
func (q *queue[T]) offer(x T) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) >= q.limit {
		return false
	}
	q.add(x)
	return true
}

// put appends what is not to be dropped. It waits while the queue is full twice over; false: until done.
func (q *queue[T]) put(done <-chan struct{}, x T) bool {
	for {
		q.mu.Lock()
		if len(q.items) < 2*q.limit {
			q.add(x)
			q.mu.Unlock()
			return true
		}
		if q.room == nil {
			q.room = make(chan struct{})
		}
		room := q.room
		q.mu.Unlock()
		select {
		case <-room:
		case <-done:
			return false
		}
	}
}

// add appends, and wakes the taker. q.mu is held.
func (q *queue[T]) add(x T) {
	q.items = append(q.items, x)
	select {
	case q.some <- struct{}{}:
	default:
	}
}

// take is everything.
func (q *queue[T]) take() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := q.items
	q.items = nil
	q.tell()
	return all
}

// pop is the oldest.
func (q *queue[T]) pop() (x T, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return x, false
	}
	x = q.items[0]
	var none T
	q.items[0] = none // for the collector
	if q.items = q.items[1:]; len(q.items) == 0 {
		q.items = nil
	}
	q.tell()
	return x, true
}

func (q *queue[T]) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items) == 0
}

// tell wakes all who wait for room. q.mu is held.
func (q *queue[T]) tell() {
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
}
