package zmtp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// HandshakeTimeout is how long a handshake may take: libzmq's default of ZMQ_HANDSHAKE_IVL, so that no side gives up before the
// other. It takes four round trips where the other side encrypts as libzmq does: 10 s would shut out a host that is 1.5 s away.
const HandshakeTimeout = 30 * time.Second

// connBuffer is how many bytes a Conn reads and writes at once.
const connBuffer = 64 << 10

// Conn is a connection to a peer for simple programs: tools, tests, the stand-in for Zeek. One goroutine may
// receive while another sends. PINGs are answered by Recv, or by the goroutine that sends just then; a TTL in them is
// left to the user, who may set a deadline.
type Conn struct {
	conn net.Conn
	peer *Peer
	r    *bufio.Reader
	// Limit of the size of a message that is received, in bytes.
	Limit int

	frames [][]byte
	memory []byte // of the message that is being received
	ends   []int  // of its frames, in memory

	owed atomic.Pointer[[]byte] // context of the last PING, while it is not answered

	mu  sync.Mutex // of what is written
	w   *bufio.Writer
	buf []byte
}

// NewConn is the connection after its handshake.
func NewConn(c net.Conn, p *Peer) *Conn {
	return &Conn{conn: c, peer: p, r: bufio.NewReaderSize(c, connBuffer), w: bufio.NewWriterSize(c, connBuffer), Limit: 1 << 30}
}

// Dial connects to an endpoint, "tcp://HOST:PORT", and shakes hands: within HandshakeTimeout, where the context sets no earlier deadline.
func Dial(ctx context.Context, endpoint string, cfg *ClientConfig) (*Conn, error) {
	addr, ok := strings.CutPrefix(endpoint, "tcp://")
	if !ok {
		return nil, fmt.Errorf("cannot connect to %q: it is not of the form tcp://HOST:PORT", endpoint)
	}
	ctx, cancel := context.WithTimeout(ctx, HandshakeTimeout)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot connect: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	p, err := ClientHandshake(c, cfg)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("cannot shake hands with %s: %w", endpoint, err)
	}
	return NewConn(c, p), nil
}

// Peer is the other side.
func (c *Conn) Peer() *Peer { return c.peer }

// Close ends the connection; what was not flushed is lost.
func (c *Conn) Close() error { return c.conn.Close() }

// SetReadDeadline ends a Recv at a time.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.conn.SetReadDeadline(t) }

// Received is what a peer has sent: a message, or the wish to hear of a topic or no longer to.
type Received struct {
	// Frames of a message, good until the next Recv; nil for the others.
	Frames [][]byte
	// Subscription: the topic in Topic is wanted, or with Cancel no longer.
	Subscription, Cancel bool
	Topic                string
}

var (
	errMessage = errors.New("cannot receive a message: it is too large")
	errWithin  = errors.New("cannot receive a message: a subscription lies within it")
)

// Recv receives what is next. PINGs are answered by the way.
func (c *Conn) Recv() (Received, error) {
	c.frames, c.memory, c.ends = c.frames[:0], c.memory[:0], c.ends[:0]
	for {
		flags, body, err := c.frame()
		if err != nil {
			return Received{}, err
		}
		if flags&FlagCommand != 0 {
			r, ok, err := c.command(body)
			if ok && len(c.ends) > 0 {
				err = errWithin
			}
			if err != nil || ok {
				return r, err
			}
			continue
		}
		c.ends = append(c.ends, len(c.memory))
		if flags&FlagMore != 0 {
			continue
		}
		from := 0
		for _, to := range c.ends {
			c.frames = append(c.frames, c.memory[from:to:to])
			from = to
		}
		if f := c.frames; len(f) == 1 && len(f[0]) > 0 && f[0][0] <= 1 && isPublisher(c.peer.SocketType) {
			return Received{Subscription: true, Cancel: f[0][0] == 0, Topic: string(f[0][1:])}, nil
		}
		return Received{Frames: c.frames}, nil
	}
}

// isPublisher: a peer of type XSUB sends subscriptions as messages, too.
func isPublisher(peer string) bool { return peer == "XSUB" || peer == "SUB" }

// frame reads one. What a message has is appended to c.memory; of a command the body is behind it.
func (c *Conn) frame() (flags byte, body []byte, err error) {
	var h [MaxHeader]byte
	if _, err := io.ReadFull(c.r, h[:2]); err != nil {
		return 0, nil, err
	}
	n := 2
	if h[0]&FlagLong != 0 {
		n = MaxHeader
		if _, err := io.ReadFull(c.r, h[2:]); err != nil {
			return 0, nil, err
		}
	}
	flags, size, _, err := ParseHeader(h[:n])
	if err != nil {
		return 0, nil, err
	}
	if size > c.Limit-len(c.memory) {
		return 0, nil, errMessage
	}
	from := len(c.memory)
	if err := c.fill(size); err != nil {
		return 0, nil, err
	}
	body = c.memory[from:]
	if c.peer.Open != nil {
		if flags, body, err = c.peer.Open.Open(body); err != nil {
			return 0, nil, err
		}
		c.memory = append(c.memory[:from], body...)
		body = c.memory[from:]
	}
	if flags&FlagCommand != 0 {
		c.memory = c.memory[:from]
	}
	return flags, body, nil
}

// fill appends size bytes, as they come: a size that is only announced takes no memory.
func (c *Conn) fill(size int) error {
	for size > 0 {
		n := min(size, 1<<20)
		from := len(c.memory)
		c.memory = slices.Grow(c.memory, n)[:from+n]
		if _, err := io.ReadFull(c.r, c.memory[from:]); err != nil {
			return err
		}
		size -= n
	}
	return nil
}

func (c *Conn) command(body []byte) (Received, bool, error) {
	name, data, err := ParseCommand(body)
	if err != nil {
		return Received{}, false, err
	}
	switch string(name) {
	case commandSubscribe:
		return Received{Subscription: true, Topic: string(data)}, true, nil
	case commandCancel:
		return Received{Subscription: true, Cancel: true, Topic: string(data)}, true, nil
	case commandPing:
		_, context, err := ParsePing(data)
		if err != nil {
			return Received{}, false, err
		}
		context = bytes.Clone(context)
		c.owed.Store(&context)
		return Received{}, false, c.pay()
	}
	return Received{}, false, nil
}

// pay sends the PONG that is owed, unless another goroutine is writing: then that does it when it has done. So
// receiving does not wait for sending, which may be waiting for a peer that wants to be received from.
func (c *Conn) pay() error {
	for c.owed.Load() != nil && c.mu.TryLock() {
		var err error
		if context := c.owed.Swap(nil); context != nil {
			if err = c.put(FlagCommand, appendCommand(nil, commandPong, *context)); err == nil {
				err = c.w.Flush()
			}
		}
		c.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// unlock ends writing. What goes wrong with a PONG is seen again by whoever writes next.
func (c *Conn) unlock() {
	c.mu.Unlock()
	_ = c.pay()
}

// Send buffers a message of one or more frames; Flush sends it, or the buffer's being full.
func (c *Conn) Send(frames ...[]byte) error {
	c.mu.Lock()
	defer c.unlock()
	for i, f := range frames {
		flags := FlagMore
		if i == len(frames)-1 {
			flags = 0
		}
		if err := c.put(flags, f); err != nil {
			return err
		}
	}
	return nil
}

// Flush sends what is buffered.
func (c *Conn) Flush() error {
	c.mu.Lock()
	defer c.unlock()
	return c.w.Flush()
}

// Subscribe tells a publisher, and flushes.
func (c *Conn) Subscribe(topic string) error { return c.subscription(true, topic) }

// Cancel ends a subscription, and flushes.
func (c *Conn) Cancel(topic string) error { return c.subscription(false, topic) }

func (c *Conn) subscription(on bool, topic string) error {
	c.mu.Lock()
	defer c.unlock()
	name := commandSubscribe
	if !on {
		name = commandCancel
	}
	flags, body := FlagCommand, appendCommand(nil, name, []byte(topic))
	if c.peer.Minor == 0 {
		flags, body = 0, append([]byte{0}, topic...)
		if on {
			body[0] = 1
		}
	}
	if err := c.put(flags, body); err != nil {
		return err
	}
	return c.w.Flush()
}

// put buffers one frame. c.mu is held.
func (c *Conn) put(flags byte, body []byte) error {
	if c.peer.Seal != nil {
		c.buf = c.peer.Seal.AppendMessage(c.buf[:0], flags, body)
		_, err := c.w.Write(c.buf)
		return err
	}
	c.buf = AppendHeader(c.buf[:0], flags, len(body))
	if _, err := c.w.Write(c.buf); err != nil {
		return err
	}
	_, err := c.w.Write(body)
	return err
}
