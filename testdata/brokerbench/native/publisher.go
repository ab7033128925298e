package native

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// batchBytes are written at once, in whole messages.
const batchBytes = 256 << 10

// publishers are the connections of one process.
type publishers struct {
	o       options
	sent    counters
	taken   counters // by each subscriber; nil: no window
	claimed atomic.Uint64

	mu      sync.Mutex
	running chan struct{} // closed while they may send
}

// one publisher: connected, and ready when the subscribers are known. It sends when told to.
func (p *publishers) one(ctx context.Context, i int, ready func()) error {
	conn, err := dial(ctx, p.o.connect, "XPUB")
	if err != nil {
		return err
	}
	defer closeWith(ctx, conn)()
	in := bufio.NewReaderSize(conn, 64<<10)
	var writing sync.Mutex
	seen := map[string]bool{}
	for len(seen) < p.o.ready {
		f, err := readFrame(in)
		if err != nil {
			return err
		}
		if err := p.hear(conn, &writing, f, seen); err != nil {
			return err
		}
	}
	ready()
	failed := make(chan error, 1)
	go func() {
		for {
			f, err := readFrame(in)
			if err == nil {
				err = p.hear(conn, &writing, f, seen)
			}
			if err != nil {
				failed <- err
				return
			}
		}
	}()
	batch, messages := p.batch(i)
	for {
		select {
		case <-p.gate():
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
		if err := p.outstanding(ctx, messages); err != nil {
			return nil
		}
		writing.Lock()
		_, err := conn.Write(batch)
		writing.Unlock()
		if err != nil {
			return err
		}
		p.sent[i].Add(uint64(messages))
	}
}

// hear takes what the broker says: a subscription, or a PING to answer.
func (p *publishers) hear(conn net.Conn, writing *sync.Mutex, f frame, seen map[string]bool) error {
	topic := ""
	if f.flags&flagCommand != 0 {
		if answer := pong(f.body); answer != nil {
			writing.Lock()
			defer writing.Unlock()
			_, err := conn.Write(answer)
			return err
		}
		if s, ok := strings.CutPrefix(string(f.body), "\x09SUBSCRIBE"); ok {
			topic = s
		}
	} else if len(f.body) > 0 && f.body[0] == 1 {
		topic = string(f.body[1:])
	}
	if strings.HasPrefix(topic, readyPrefix) {
		seen[topic] = true
	}
	return nil
}

// batch of whole messages, to each topic in turn.
func (p *publishers) batch(i int) ([]byte, int) {
	topics := p.o.topics()
	var b []byte
	n := 0
	for len(b) < batchBytes && (p.o.window == 0 || n == 0) || n%len(topics) != 0 {
		b = append(b, message(topics[(i+n)%len(topics)], p.o.first+i, p.o.size)...)
		n++
	}
	return b, n
}

// outstanding waits until fewer messages than the window are on their way.
func (p *publishers) outstanding(ctx context.Context, messages int) error {
	if p.taken == nil || p.o.window == 0 {
		return nil
	}
	mine := p.claimed.Add(uint64(messages))
	tick := time.NewTicker(100 * time.Microsecond)
	defer tick.Stop()
	for mine > p.taken[:p.o.ready].least()+uint64(p.o.window) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// gate is closed while they may send.
func (p *publishers) gate() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running
}

// rate 0 lets them send, -1 makes them stop. They know no other.
func (p *publishers) rate(s string) error {
	r, err := strconv.Atoi(s)
	if err != nil || r != 0 && r != -1 {
		return fmt.Errorf("the native generator has no rate %q: it is 0 or -1", s)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.running:
		if r == -1 {
			p.running = make(chan struct{})
		}
	default:
		if r == 0 {
			close(p.running)
		}
	}
	return nil
}

// readFrame reads one whole frame. Brokers send publishers only small ones.
func readFrame(in *bufio.Reader) (frame, error) {
	head, err := in.Peek(2)
	if err != nil {
		return frame{}, err
	}
	if head[0]&flagLong != 0 {
		return frame{}, errors.New("the broker sends a publisher a large frame")
	}
	b := make([]byte, 2+int(head[1]))
	for n := 0; n < len(b); {
		m, err := in.Read(b[n:])
		if err != nil {
			return frame{}, err
		}
		n += m
	}
	f, _ := parseFrame(b)
	return f, nil
}
