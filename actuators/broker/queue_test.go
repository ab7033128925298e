package broker

import (
	"bytes"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

func newTestQueue(held *atomic.Int64) *queue {
	p := &pools{held: held}
	q := newQueue(p)
	return &q
}

// TestQueueAgainstModel puts, takes and writes at random, and compares with a list of messages.
func TestQueueAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var held atomic.Int64
		q := newTestQueue(&held)
		lim := limits{rapid.SampledFrom([]int{0, 1, 2, 10}).Draw(t, "messages"), rapid.SampledFrom([]int{0, 1, 100, 20 << 10, 100 << 10}).Draw(t, "bytes")}
		var want, got bytes.Buffer // that was accepted; that was taken
		var sizes []int            // of what waits
		waiting := 0
		var taken, spare []span
		serial := byte(0)
		fill := func(b []byte) {
			serial++
			for i := range b {
				b[i] = serial
			}
		}
		largest := func() int {
			n := 0
			for _, s := range sizes {
				n = max(n, s)
			}
			return n
		}
		finish := func() {
			msgs, n := 0, 0
			for i := range taken {
				got.Write(taken[i].bytes())
				msgs += taken[i].msgs
				n += taken[i].len()
			}
			releaseAll(taken)
			q.wrote(msgs, n, lim)
			for _, s := range sizes[:msgs] {
				waiting -= s
			}
			sizes = sizes[msgs:]
			spare, taken = taken[:0], nil
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				c := q.pools.get(mediumChunk)
				defer c.release()
				from := rapid.IntRange(0, 100).Draw(t, "from")
				var ends []int
				end := from
				for range rapid.IntRange(1, 12).Draw(t, "n") {
					n := rapid.SampledFrom([]int{2, 10, 99, 100, 101, 1000, 17 << 10}).Draw(t, "size")
					if end+n > len(c.buf) {
						break
					}
					fill(c.buf[end : end+n])
					end += n
					ends = append(ends, end)
				}
				n, _ := q.put(c, from, ends, lim)
				if n == 0 && len(sizes) == 0 {
					t.Fatal("an empty queue refuses")
				}
				for _, e := range ends[:n] {
					want.Write(c.buf[from:e])
					sizes = append(sizes, e-from)
					waiting += e - from
					from = e
				}
			},
			"whole": func(t *rapid.T) {
				var parts []span
				size := 0
				for range rapid.IntRange(1, 4).Draw(t, "parts") {
					c := q.pools.get(smallChunk)
					n := rapid.IntRange(1, smallChunk).Draw(t, "size")
					fill(c.buf[:n])
					parts = append(parts, span{c: c, to: n})
					size += n
				}
				defer releaseAll(parts)
				taken, _ := q.putWhole(parts, size, lim)
				if !taken {
					if len(sizes) == 0 {
						t.Fatal("an empty queue refuses")
					}
					return
				}
				for i := range parts {
					want.Write(parts[i].bytes())
				}
				sizes = append(sizes, size)
				waiting += size
			},
			"take": func(t *rapid.T) {
				if taken != nil {
					finish()
				}
				if len(sizes) > 0 {
					taken, _ = q.take(spare)
				}
			},
			"": func(t *rapid.T) {
				if q.msgs != len(sizes) || q.bytes != waiting {
					t.Fatalf("counts %d messages and %d bytes, want %d and %d", q.msgs, q.bytes, len(sizes), waiting)
				}
				if lim.msgs > 0 && q.msgs > lim.msgs {
					t.Fatalf("%d messages, more than %d", q.msgs, lim.msgs)
				}
				if lim.bytes > 0 && waiting > lim.bytes+largest() {
					t.Fatalf("%d bytes, more than %d and one message", waiting, lim.bytes)
				}
			},
		})
		if taken != nil {
			finish()
		}
		for len(sizes) > 0 {
			taken, _ = q.take(spare)
			finish()
		}
		if !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Fatalf("took other bytes than were put")
		}
		if q.full || q.extra != 0 {
			t.Fatalf("empty, but full %v, extra %d", q.full, q.extra)
		}
		q.close()
		if n := held.Load(); n != 0 {
			t.Fatalf("%d chunks are held", n)
		}
	})
}

// TestOversizedPassesBusyQueue: a message beyond the limit is let in although others wait, one at a time, and does not
// keep out what follows it.
func TestOversizedPassesBusyQueue(t *testing.T) {
	var held atomic.Int64
	q := newTestQueue(&held)
	defer q.close()
	lim := limits{bytes: 1000}
	c := q.pools.get(mediumChunk)
	defer c.release()
	for _, inOne := range []bool{true, false} {
		put := func(size int) bool {
			if inOne {
				n, _ := q.put(c, 0, []int{size}, lim)
				return n == 1
			}
			taken, _ := q.putWhole([]span{{c: c, to: size}}, size, lim)
			return taken
		}
		if !put(200) || !put(5000) || !put(100) {
			t.Fatalf("refused, in one chunk %v", inOne)
		}
		if put(5000) {
			t.Fatal("two that are too large")
		}
		spans, _ := q.take(nil)
		releaseAll(spans)
		q.wrote(3, 5300, lim)
	}
	// In a run, too, and what follows is let in with it.
	if n, _ := q.put(c, 0, []int{100, 5100, 5200, 5300}, lim); n != 4 {
		t.Fatalf("took %d of 4", n)
	}
}

// TestQueueManyPutOneTakes has no order but that of each putter, and loses no wake-up.
func TestQueueManyPutOneTakes(t *testing.T) {
	const putters, messages = 4, 5000
	var held atomic.Int64
	q := newTestQueue(&held)
	lim := limits{msgs: 3}
	d := [putters]delivery{}
	b, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	var putting sync.WaitGroup
	for i := range putters {
		putting.Go(func() {
			c := q.pools.get(smallChunk)
			defer c.release()
			for n := range messages {
				c.buf[0], c.buf[1], c.buf[2] = byte(i), byte(n>>8), byte(n)
				for {
					q.mu.Lock()
					k, wake := q.put(c, 0, []int{3}, lim)
					q.mu.Unlock()
					if wake {
						signalTo(q.wake)
					}
					if k == 1 {
						break
					}
					if !d[i].await(q, testTime, b) {
						t.Error("waited in vain for room")
						return
					}
				}
			}
		})
	}
	var next [putters]int
	var spans []span
	for left := putters * messages; left > 0; {
		var ok bool
		if spans, ok = q.take(spans); !ok {
			t.Fatal("closed")
		}
		msgs, n := 0, 0
		for i := range spans {
			for b := spans[i].bytes(); len(b) > 0; b = b[3:] {
				if got := int(b[1])<<8 | int(b[2]); got != next[b[0]] {
					t.Fatalf("%d of %d, want %d", got, b[0], next[b[0]])
				}
				next[b[0]]++
			}
			msgs += spans[i].msgs
			n += spans[i].len()
		}
		releaseAll(spans)
		q.wrote(msgs, n, lim)
		left -= msgs
	}
	putting.Wait()
	q.close()
	if n := held.Load(); n != 0 {
		t.Errorf("%d chunks are held", n)
	}
}
