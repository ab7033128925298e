package broker

import (
	"sync"
	"sync/atomic"
)

// A chunk is memory that bytes of a connection are read into, or copied to. Several may hold it; the last to
// release it gives it back. What is written in it once is not changed while anybody else holds it.
type chunk struct {
	buf  []byte
	refs atomic.Int32
	from *pools
	size int // index in pools.bySize; -1 for one that is not kept
}

// The sizes of chunks: for a connection that says little, for one that says much, and for large frames.
const (
	smallChunk  = 4 << 10
	mediumChunk = 64 << 10
	largeChunk  = 1<<20 + 64<<10 // a frame of a mebibyte, sealed, and what is read with it
	hugeChunk   = 4 << 20        // for a sealed frame, which has to lie in one
)

// pools keep chunks that nobody holds, by size. The garbage collector clears them in time.
type pools struct {
	bySize [4]sync.Pool
	held   *atomic.Int64 // counts chunks that somebody holds; nil, except in tests
}

func sizeClass(n int) int {
	switch {
	case n <= smallChunk:
		return 0
	case n <= mediumChunk:
		return 1
	case n <= largeChunk:
		return 2
	case n <= hugeChunk:
		return 3
	}
	return -1
}

var classBytes = [...]int{smallChunk, mediumChunk, largeChunk, hugeChunk}

// get returns a chunk of at least n bytes, held once.
func (p *pools) get(n int) *chunk {
	i := sizeClass(n)
	var c *chunk
	if i < 0 {
		c = &chunk{buf: make([]byte, n), from: p, size: -1} // too large to be kept
	} else if c, _ = p.bySize[i].Get().(*chunk); c == nil {
		c = &chunk{buf: make([]byte, classBytes[i]), from: p, size: i}
	}
	c.refs.Store(1)
	if p.held != nil {
		p.held.Add(1)
	}
	return c
}

func (c *chunk) hold() { c.refs.Add(1) }

// release gives up one hold.
func (c *chunk) release() {
	switch n := c.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("broker: a chunk was released more often than held")
	}
	if c.from.held != nil {
		c.from.held.Add(-1)
	}
	if c.size >= 0 {
		c.from.bySize[c.size].Put(c)
	}
}

// alone reports whether the caller, who holds it, is the only one.
func (c *chunk) alone() bool { return c.refs.Load() == 1 }

// span is a piece of a chunk, and a hold on it. msgs is how many messages end in it.
type span struct {
	c        *chunk
	from, to int
	msgs     int
}

func (s *span) bytes() []byte { return s.c.buf[s.from:s.to] }

func (s *span) len() int { return s.to - s.from }

func releaseAll(spans []span) {
	for i := range spans {
		spans[i].c.release()
		spans[i].c = nil
	}
}
