package broker

import "github.com/zeekrec/zeekrec/actuators/broker/zmtp"

// large is a message that does not fit into a chunk. It lies in several, in pieces that are used as they are:
// nothing of it is copied, whatever the number of its subscribers, and no more memory is taken than
// has arrived.
type large struct {
	parts []span
	size  int
	topic []byte // a copy
}

// maxParts is far more than a message of MaxMessage takes: a command between two frames ends a part, and
// whoever sends one after each byte is up to no good.
const maxParts = 1 << 16

func (l *large) add(c *chunk, from, to int) error {
	if to > from {
		c.hold()
		l.parts = append(l.parts, span{c: c, from: from, to: to})
		l.size += to - from
	}
	if l.size > MaxMessage || len(l.parts) > maxParts {
		return errTooLarge
	}
	return nil
}

// gather appends n bytes of the message, from the one at on, to dst.
func (l *large) gather(dst []byte, at, n int) []byte {
	for i := range l.parts {
		b := l.parts[i].bytes()
		if at >= len(b) {
			at -= len(b)
			continue
		}
		b = b[at:min(len(b), at+n)]
		dst = append(dst, b...)
		at = 0
		if n -= len(b); n == 0 {
			break
		}
	}
	return dst
}

// reset gives the pieces up, and keeps the memory for the next one.
func (l *large) reset() {
	releaseAll(l.parts)
	l.parts, l.size, l.topic = l.parts[:0], 0, l.topic[:0]
}

// readLarge takes over in the middle of a message, reads it to its end, and hands it on. What was read beyond
// is left as read left it.
func (p *publisher) readLarge() error {
	l := &p.large
	defer l.reset()
	begun := p.frame > 0
	if begun {
		l.topic = append(l.topic, matchable(p.c.buf[p.topic[0]:p.topic[1]])...)
	}
	head, topic := 0, 0 // of the first frame, where the topic itself is what is so large
	for {
		left, more, ok, err := p.nextFrame(l)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if !begun {
			begun, head, topic = true, p.scan-p.start, min(left, maxTopic)
		}
		if err := p.body(l, left); err != nil {
			return err
		}
		if more {
			continue
		}
		if err := l.add(p.c, p.start, p.scan); err != nil {
			return err
		}
		p.start, p.frame, p.need = p.scan, 0, 0
		if topic > 0 {
			l.topic = l.gather(l.topic, head, topic)
		}
		p.whole(&p.link, l.topic, l.parts, l.size)
		if err := p.parse(); err != nil {
			return err
		}
		p.flush(&p.link, p.c)
		return nil
	}
}

// nextFrame reads a frame's header at p.scan. In p.c, what belongs to the message begins at p.start.
func (p *publisher) nextFrame(l *large) (left int, more, ok bool, err error) {
	flags, size, n, err := zmtp.ParseHeader(p.c.buf[p.scan:p.end])
	if err != nil {
		return 0, false, false, err
	}
	if n == 0 {
		return 0, false, false, p.refill(l, p.scan, mediumChunk)
	}
	if size > MaxMessage {
		return 0, false, false, errTooLarge
	}
	if flags&zmtp.FlagCommand == 0 {
		p.scan += n
		return size, flags&zmtp.FlagMore != 0, true, nil
	}
	// A command between two frames: what is before it and what follows are pieces of their own.
	if size > maxCommand {
		return 0, false, false, errCommand
	}
	if p.end-p.scan < n+size {
		return 0, false, false, p.refill(l, p.scan, mediumChunk)
	}
	if err := p.command(p.c.buf[p.scan+n : p.scan+n+size]); err != nil {
		return 0, false, false, err
	}
	if err := l.add(p.c, p.start, p.scan); err != nil {
		return 0, false, false, err
	}
	p.scan += n + size
	p.start = p.scan
	return 0, false, false, nil
}

// body reads on until left bytes from p.scan on have been passed.
func (p *publisher) body(l *large, left int) error {
	for {
		n := min(left, p.end-p.scan)
		p.scan += n
		left -= n
		if left == 0 {
			return nil
		}
		want := mediumChunk
		if left > largeChunk/4 {
			want = largeChunk
		}
		if err := p.refill(l, p.scan, want); err != nil {
			return err
		}
	}
}

// refill reads once. Where the chunk is full, what lies before keep becomes a piece of the message, and the
// rest goes to the beginning of a chunk of the size wanted.
func (p *publisher) refill(l *large, keep, want int) error {
	if p.end == len(p.c.buf) {
		if err := l.add(p.c, p.start, keep); err != nil {
			return err
		}
		c := p.b.pools.get(want)
		p.end = copy(c.buf, p.c.buf[keep:p.end])
		p.c.release()
		p.c = c
		p.start, p.scan = 0, 0
	}
	n, err := p.conn.Read(p.c.buf[p.end:])
	p.end += n
	if n > 0 {
		p.seen.Store(true)
		return nil
	}
	return err
}
