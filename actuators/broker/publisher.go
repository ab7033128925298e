package broker

import (
	"bytes"
	"errors"
	"sync/atomic"

	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

// MaxMessage is how large a message may be: Zeek's own largest, a manager's first push of its intelligence data, is
// some tens of megabytes.
const MaxMessage = 1 << 30

// maxCommand is how large a command after the handshake may be that comes from a publisher. PING is the
// largest.
const maxCommand = 512

var (
	errTooLarge = errors.New("message too large")
	errCommand  = errors.New("command that a publisher does not send")
)

// publisher is a connection on the XSUB port: a node's XPUB socket. It sends messages, and is told of
// subscriptions.
type publisher struct {
	link
	delivery
	from  atomic.Pointer[string] // its sender id, once it was seen
	known bool                   // the format of its first message was looked at

	// What was read and not yet handed on lies in c.buf[start:end].
	c     *chunk
	start int // of the message that is being put together
	scan  int // where its next frame begins
	need  int // where that frame ends, as far as is known; 0 is not
	end   int
	frame int // of its frames that are complete
	topic [2]int
	small int // reads in a row that a small chunk would have held
	large large
}

func (p *publisher) sender() string {
	if s := p.from.Load(); s != nil {
		return *s
	}
	return ""
}

// read takes in messages and hands them on until the connection ends.
func (p *publisher) read() error {
	p.c = p.b.pools.get(smallChunk)
	defer func() { p.c.release() }()
	if p.peer.Open != nil {
		return p.readSealed()
	}
	for {
		n, err := p.conn.Read(p.c.buf[p.end:])
		if n > 0 {
			p.seen.Store(true)
			p.end += n
			if err := p.parse(); err != nil {
				return err
			}
			p.flush(&p.link, p.c)
			if err := p.makeRoom(n); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// parse finds the messages that are complete, and notes them for flush.
func (p *publisher) parse() error {
	buf := p.c.buf
	for {
		flags, size, n, err := zmtp.ParseHeader(buf[p.scan:p.end])
		if err != nil {
			return err
		}
		if n == 0 {
			p.need = 0
			return nil
		}
		body := p.scan + n
		if size > MaxMessage {
			return errTooLarge
		}
		if flags&zmtp.FlagCommand != 0 && size > maxCommand {
			return errCommand
		}
		if p.end-body < size {
			p.need = body + size
			return nil
		}
		if flags&zmtp.FlagCommand != 0 {
			if err := p.command(buf[body : body+size]); err != nil {
				return err
			}
			p.cutOut(n + size)
			continue
		}
		switch p.frame {
		case 0:
			p.topic = [2]int{body, body + size}
		case 1:
			if p.from.Load() == nil {
				p.learn(buf[body : body+size])
			}
		case 2:
			if !p.known {
				p.known = true
				p.b.sawFormat(buf[body : body+size])
			}
		}
		p.frame++
		p.scan = body + size
		if flags&zmtp.FlagMore != 0 {
			continue
		}
		p.add(p, buf[p.topic[0]:p.topic[1]], p.start, p.scan)
		p.start, p.frame = p.scan, 0
	}
}

// cutOut takes a command out of the message in whose middle it lies, by moving the message's beginning up to
// its end: libzmq sends a PING between any two frames.
func (p *publisher) cutOut(n int) {
	if p.scan > p.start {
		copy(p.c.buf[p.start+n:], p.c.buf[p.start:p.scan])
		p.topic[0] += n
		p.topic[1] += n
	}
	p.start += n
	p.scan += n
}

// learn notes the sender's id.
func (p *publisher) learn(id []byte) {
	if len(id) > 512 {
		id = id[:512]
	}
	s := string(id)
	p.from.Store(&s)
	p.b.returned(s)
}

// command answers a PING; a PONG has been seen by being there.
func (p *publisher) command(body []byte) error {
	return p.answer(body)
}

// answer handles the commands that both kinds of peers send.
func (l *link) answer(body []byte) error {
	name, data, err := zmtp.ParseCommand(body)
	if err != nil {
		return err
	}
	switch {
	case bytes.Equal(name, pingName):
		_, context, err := zmtp.ParsePing(data)
		if err != nil {
			return err
		}
		l.control(zmtp.AppendPong(nil, context), controlLimit)
	case bytes.Equal(name, pongName):
	default:
		return errCommand
	}
	return nil
}

var (
	pingName = []byte("PING")
	pongName = []byte("PONG")
)

// makeRoom sees to it that there is something to read into, n bytes having been read last. What is not handed on
// yet moves to the beginning of a chunk, unless it is large: then the message goes on in others.
func (p *publisher) makeRoom(n int) error {
	for p.start < p.end && p.end == len(p.c.buf) {
		want := p.need - p.start // of the message, as far as is known
		if want <= mediumChunk && (p.need != 0 || p.end-p.start <= mediumChunk-zmtp.MaxHeader) {
			p.moveUp(mediumChunk)
			return nil
		}
		if err := p.readLarge(); err != nil {
			return err
		}
	}
	if p.start == p.end {
		p.adapt(n)
		p.start, p.scan, p.end = 0, 0, 0
	}
	return nil
}

// adapt chooses the chunk to read into next, all of the last one being handed on.
func (p *publisher) adapt(n int) {
	size := len(p.c.buf)
	switch {
	case n >= size-size/4 && size < mediumChunk:
		p.renew(mediumChunk) // it has more to say than fits
		return
	case size > smallChunk && n < smallChunk/2:
		if p.small++; p.small > 64 {
			p.small = 0
			p.renew(smallChunk)
			return
		}
	default:
		p.small = 0
	}
	if !p.c.alone() {
		p.renew(min(size, mediumChunk))
	}
}

// renew takes an empty chunk of a size.
func (p *publisher) renew(n int) {
	p.c.release()
	p.c = p.b.pools.get(n)
}

// moveUp moves the message that is not complete to the beginning of a chunk of at least a size.
func (p *publisher) moveUp(n int) {
	old := p.c
	if p.start > 0 && old.alone() && len(old.buf) >= n {
		copy(old.buf, old.buf[p.start:p.end])
	} else {
		p.c = p.b.pools.get(max(n, p.end-p.start))
		copy(p.c.buf, old.buf[p.start:p.end])
		old.release()
	}
	p.shift(-p.start)
}

func (p *publisher) shift(d int) {
	p.start += d
	p.scan += d
	p.end += d
	p.topic[0] += d
	p.topic[1] += d
	if p.need != 0 {
		p.need += d
	}
}
