package mgmt

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Bounds of connections.
const (
	maxConns = 256
	// firstByte is how long a connection may take to say whether it speaks TLS.
	firstByte = 5 * time.Second
	// atEase is how long a connection has asked nothing when it may have to make room for another.
	atEase = 10 * time.Second
)

// listener takes plain and TLS connections on one port: the first byte of a TLS handshake, 0x16, begins no HTTP request.
// It holds at most maxConns of them. When there are more, the one goes that has been there for longest without having
// spoken the protocol, else the one that has asked nothing for longest: so connections that say nothing keep nobody out.
type listener struct {
	net.Listener
	tls   *tls.Config // nil: no TLS
	plain bool        // false: TLS only
	conns conns
	ready chan net.Conn
	done  chan struct{}
	log   *slog.Logger
}

func newListener(l net.Listener, t *tls.Config, plain bool, log *slog.Logger) *listener {
	out := &listener{Listener: l, tls: t, plain: plain, ready: make(chan net.Conn), done: make(chan struct{}), log: log}
	out.conns.held = map[*conn]bool{}
	return out
}

// run accepts until the listener is closed.
func (l *listener) run(ctx context.Context) error {
	defer close(l.done)
	for wait := time.Millisecond; ; {
		c, err := l.Listener.Accept()
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return nil
		}
		if err != nil { // out of descriptors, say: that passes
			l.log.Warn("Cannot take a connection", "error", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(wait):
			}
			wait = min(2*wait, time.Second)
			continue
		}
		wait = time.Millisecond
		held := l.conns.hold(c)
		if held == nil {
			_ = c.Close()
			continue
		}
		go l.sniff(ctx, held)
	}
}

// sniff looks at the first byte and hands the connection to Accept.
func (l *listener) sniff(ctx context.Context, c *conn) {
	first := make([]byte, 1)
	_ = c.SetReadDeadline(time.Now().Add(firstByte))
	if _, err := io.ReadFull(c.Conn, first); err != nil {
		_ = c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	c.ahead = bytes.NewReader(first)
	out := net.Conn(c)
	switch isTLS := first[0] == 0x16; {
	case isTLS && l.tls != nil:
		out = tls.Server(c, l.tls)
	case isTLS, !l.plain:
		l.log.Warn("A connection was refused", "peer", c.RemoteAddr(), "tls", isTLS, "reason", map[bool]string{true: "there is no TLS here", false: "TLS is required"}[isTLS])
		_ = c.Close()
		return
	}
	select {
	case l.ready <- out:
	case <-l.done:
		_ = c.Close()
	case <-ctx.Done():
		_ = c.Close()
	}
}

// Accept returns the next connection that has said what it speaks.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.done:
		return nil, fmt.Errorf("cannot take a connection: %w", net.ErrClosed)
	}
}

// conn is one connection that counts.
type conn struct {
	net.Conn
	ahead *bytes.Reader // what was read to find out what it speaks
	in    *conns

	// Below belongs to in.
	since time.Time // of the connection, or of the last request
	spoke bool      // the protocol
	busy  int       // requests under way
}

// Read gives the first byte back first.
func (c *conn) Read(p []byte) (int, error) {
	if c.ahead != nil && c.ahead.Len() > 0 {
		return c.ahead.Read(p)
	}
	return c.Conn.Read(p)
}

// Close ends it, and makes room.
func (c *conn) Close() error {
	c.in.drop(c)
	return c.Conn.Close()
}

// conns are all connections.
type conns struct {
	mu   sync.Mutex
	held map[*conn]bool
}

// hold counts a connection, and closes another for it where there are too many; nil: there is no room.
func (s *conns) hold(c net.Conn) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if len(s.held) >= maxConns {
		victim := s.victim(now)
		if victim == nil {
			return nil
		}
		delete(s.held, victim)
		_ = victim.Conn.Close()
	}
	held := &conn{Conn: c, in: s, since: now}
	s.held[held] = true
	return held
}

func (s *conns) victim(now time.Time) *conn {
	var silent, idle *conn
	for c := range s.held {
		switch {
		case !c.spoke:
			if silent == nil || c.since.Before(silent.since) {
				silent = c
			}
		case c.busy == 0 && now.Sub(c.since) > atEase:
			if idle == nil || c.since.Before(idle.since) {
				idle = c
			}
		}
	}
	if silent != nil {
		return silent
	}
	return idle
}

func (s *conns) drop(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, c)
}

// asks notes that a connection has spoken, and how many requests more or less are under way.
func (c *conn) asks(more int) {
	if c == nil {
		return
	}
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	c.spoke, c.since = true, time.Now()
	c.busy += more
}

// counted finds the connection that counts below a TLS connection; nil where none does.
func counted(c net.Conn) *conn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	held, _ := c.(*conn)
	return held
}
