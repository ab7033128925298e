package broker

import (
	"errors"

	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

var errPlain = errors.New("frame in the open on a sealed connection")

// sealedReader reads the frames of a CURVE connection: each is a MESSAGE command that holds one.
type sealedReader struct {
	raw        *chunk
	start, end int
}

// readSealed is read for a sealed connection. Small frames are opened into p.c, where they lie as they would
// without encryption; a large one is opened where it was read to, and used there.
func (p *publisher) readSealed() error {
	in := sealedReader{raw: p.b.pools.get(smallChunk)}
	defer func() { in.raw.release() }()
	defer p.large.reset()
	for {
		for {
			flags, size, n, err := zmtp.ParseHeader(in.raw.buf[in.start:in.end])
			if err != nil {
				return err
			}
			if n == 0 || in.end-in.start < n+size {
				if size > MaxMessage {
					return errTooLarge
				}
				in.need(p.b, n+size)
				break
			}
			if flags&zmtp.FlagMore != 0 {
				return errPlain
			}
			if err := p.opened(&in, in.start+n, size); err != nil {
				return err
			}
			in.start += n + size
		}
		p.flush(&p.link, p.c)
		if p.start == p.end {
			if !p.c.alone() || len(p.c.buf) > mediumChunk {
				p.renew(min(len(p.c.buf), mediumChunk))
			}
			p.start, p.scan, p.end = 0, 0, 0
		}
		if in.start == in.end {
			in.start, in.end = 0, 0
			if !in.raw.alone() || len(in.raw.buf) > mediumChunk {
				in.raw.release()
				in.raw = p.b.pools.get(mediumChunk)
			}
		}
		n, err := p.conn.Read(in.raw.buf[in.end:])
		if n > 0 {
			p.seen.Store(true)
			if in.start == 0 && in.end == 0 && n == len(in.raw.buf) && n < mediumChunk {
				c := p.b.pools.get(mediumChunk)
				copy(c.buf, in.raw.buf)
				in.raw.release()
				in.raw = c
			}
			in.end += n
		} else if err != nil {
			return err
		}
	}
}

// need sees to it that a frame of n bytes, of which some are there, finds room; 0: as many as its header tells. No more
// memory is taken than four times what has arrived.
func (r *sealedReader) need(b *Broker, n int) {
	have := r.end - r.start
	room := len(r.raw.buf) - r.start
	if room >= n && room > have {
		return
	}
	want := max(n, mediumChunk)
	if limit := max(mediumChunk, 4*have); want > limit {
		want = limit
	}
	if r.start > 0 && r.raw.alone() && len(r.raw.buf) >= want {
		copy(r.raw.buf, r.raw.buf[r.start:r.end])
	} else {
		c := b.pools.get(want)
		copy(c.buf, r.raw.buf[r.start:r.end])
		r.raw.release()
		r.raw = c
	}
	r.start, r.end = 0, have
}

// opened takes in one sealed frame, whose body lies in in.raw from at on.
func (p *publisher) opened(in *sealedReader, at, size int) error {
	body := in.raw.buf[at : at+size]
	if size > mediumChunk/2 {
		return p.openedLarge(in, at, body)
	}
	flags, data, err := p.peer.Open.Open(body)
	if err != nil {
		return err
	}
	if flags&zmtp.FlagCommand != 0 {
		return p.command(data)
	}
	if size := zmtp.MaxHeader + len(data); len(p.c.buf)-p.end < size {
		if err := p.roomForSealed(size); err != nil {
			return err
		}
	}
	begin := p.end + len(zmtp.AppendHeader(p.c.buf[p.end:p.end], flags, len(data)))
	end := begin + copy(p.c.buf[begin:], data)
	switch p.frame {
	case 0:
		p.topic = [2]int{begin, end}
	case 1:
		if p.from.Load() == nil {
			p.learn(p.c.buf[begin:end])
		}
	case 2:
		if !p.known {
			p.known = true
			p.b.sawFormat(p.c.buf[begin:end])
		}
	}
	p.frame++
	p.end = end
	p.scan = end
	if flags&zmtp.FlagMore != 0 {
		return nil
	}
	if len(p.large.parts) > 0 {
		return p.finishLarge()
	}
	p.add(p, p.c.buf[p.topic[0]:p.topic[1]], p.start, p.end)
	p.start, p.frame = p.end, 0
	return nil
}

// roomForSealed makes room in p.c, handing on what is complete.
func (p *publisher) roomForSealed(n int) error {
	p.flush(&p.link, p.c)
	have := p.end - p.start
	if have+n > mediumChunk {
		// The message goes on in another chunk.
		p.keepTopic()
		if err := p.large.add(p.c, p.start, p.end); err != nil {
			return err
		}
		p.renew(mediumChunk)
		p.start, p.scan, p.end = 0, 0, 0
		return nil
	}
	p.need = 0
	p.moveUp(mediumChunk)
	return nil
}

// keepTopic copies the topic of a message that is about to be spread over several chunks.
func (p *publisher) keepTopic() {
	if p.frame > 0 && len(p.large.parts) == 0 {
		p.large.topic = append(p.large.topic[:0], matchable(p.c.buf[p.topic[0]:p.topic[1]])...)
	}
}

// openedLarge opens a frame where it lies, and makes it a piece of its message.
func (p *publisher) openedLarge(in *sealedReader, at int, body []byte) error {
	flags, data, err := p.peer.Open.Open(body)
	if err != nil {
		return err
	}
	if flags&zmtp.FlagCommand != 0 {
		return p.command(data)
	}
	p.flush(&p.link, p.c)
	p.keepTopic()
	if err := p.large.add(p.c, p.start, p.end); err != nil {
		return err
	}
	p.start, p.scan = p.end, p.end
	// The header goes before what was opened, where there is room: a box has a head of its own.
	begin := at + zmtp.SealedOverhead
	var head [zmtp.MaxHeader]byte
	h := zmtp.AppendHeader(head[:0], flags, len(data))
	from := begin - len(h)
	copy(in.raw.buf[from:], h)
	if err := p.large.add(in.raw, from, begin+len(data)); err != nil {
		return err
	}
	if p.frame == 0 {
		p.large.topic = append(p.large.topic[:0], matchable(data)...)
	}
	p.frame++
	if flags&zmtp.FlagMore != 0 {
		return nil
	}
	return p.finishLarge()
}

// finishLarge hands on a message that is spread over several chunks.
func (p *publisher) finishLarge() error {
	if err := p.large.add(p.c, p.start, p.end); err != nil {
		return err
	}
	p.whole(&p.link, p.large.topic, p.large.parts, p.large.size)
	p.large.reset()
	p.start, p.frame = p.end, 0
	return nil
}
