package broker

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

// Bounds of what may knock at the door. A client that says nothing has no more than its connection, and there are
// at most maxKnocking of those: the oldest makes room for the next. One that is honest needs milliseconds.
const (
	maxKnocking = 1024
	acceptPause = 20 * time.Millisecond
)

// port is one of the two listeners.
type port struct {
	b      *Broker
	ln     net.Listener
	config *zmtp.ServerConfig
	serve  func(net.Conn, *zmtp.Peer)

	mu       sync.Mutex
	knocking list.List // of net.Conn, the oldest first
}

// accept takes connections until ctx ends, and waits for all of them to end. Where the listener fails, it says so before
// it waits: nobody else would end them.
func (p *port) accept(ctx context.Context, failed func(error)) {
	var conns sync.WaitGroup
	defer conns.Wait()
	defer p.closeKnocking()
	for {
		conn, err := p.ln.Accept()
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM),
			errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ECONNABORTED):
			// Whoever knocks longest makes room.
			p.b.refused.count("no-room")
			p.evict()
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		default:
			failed(fmt.Errorf("cannot accept connections on %s: %w", p.ln.Addr(), err))
			return
		}
		e := p.knock(conn)
		conns.Go(func() { p.greet(conn, e) })
	}
}

// greet shakes hands, and serves who is let in. Who is not is never told why: Zeek exits when it is.
func (p *port) greet(conn net.Conn, e *list.Element) {
	_ = conn.SetDeadline(time.Now().Add(zmtp.HandshakeTimeout))
	peer, err := zmtp.ServerHandshake(conn, p.config)
	if !p.enter(e) {
		p.b.refused.count("pushed-out")
		return
	}
	if err != nil {
		_ = conn.Close()
		reason := "silent"
		if r, ok := errors.AsType[*zmtp.RefusedError](err); ok {
			reason = r.Reason
			if host := hostOf(conn.RemoteAddr().String()); p.b.refused.isNews(host+" "+reason, p.b.now()) {
				p.b.log.Warn("Refuses connections", "from", host, "error", err)
			}
		} else if !errors.Is(err, os.ErrDeadlineExceeded) {
			reason = "broken-off"
		}
		p.b.refused.count(reason)
		return
	}
	_ = conn.SetDeadline(time.Time{})
	p.serve(conn, peer)
}

func (p *port) knock(conn net.Conn) *list.Element {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.knocking.Len() >= maxKnocking {
		p.evictLocked()
	}
	return p.knocking.PushBack(conn)
}

// enter takes a connection from those who knock. False: it was sent away meanwhile.
func (p *port) enter(e *list.Element) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Value == nil {
		return false
	}
	p.knocking.Remove(e)
	return true
}

func (p *port) evict() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.evictLocked()
}

func (p *port) evictLocked() {
	e := p.knocking.Front()
	if e == nil {
		return
	}
	conn, _ := e.Value.(net.Conn)
	p.knocking.Remove(e)
	e.Value = nil
	_ = conn.Close()
}

func (p *port) closeKnocking() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.knocking.Len() > 0 {
		p.evictLocked()
	}
}

// refusals counts connections that were turned away, by reason.
type refusals struct {
	mu   sync.Mutex
	by   map[string]uint64
	said map[string]time.Time // by host and reason
}

// A libzmq client that is refused comes back ten times a second. Each host and reason is worth a line in repeatNews, and
// no more than maxNews of them are kept apart.
const (
	repeatNews = time.Minute
	maxNews    = 1000
)

// isNews reports whether something is worth a line in the log.
func (r *refusals) isNews(what string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.said == nil || len(r.said) >= maxNews {
		r.said = map[string]time.Time{}
	}
	if t, ok := r.said[what]; ok && now.Sub(t) < repeatNews {
		return false
	}
	r.said[what] = now
	return true
}

func (r *refusals) count(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = map[string]uint64{}
	}
	r.by[reason]++
}

func (r *refusals) all() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.by)
}

// harmless ends of connections are matters of course.
func harmless(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ETIMEDOUT) || errors.Is(err, os.ErrDeadlineExceeded)
}

func trimScheme(endpoint string) (string, bool) {
	addr, ok := strings.CutPrefix(endpoint, "tcp://")
	if !ok {
		return "", false
	}
	_, _, err := net.SplitHostPort(addr)
	return addr, err == nil
}
