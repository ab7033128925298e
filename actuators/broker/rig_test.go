package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/internal/rawpeer"
)

// rig is a broker that runs, and what is connected to it. At the end of a test it is ended, and
// every chunk has to have been given back.
type rig struct {
	t    testing.TB
	b    *Broker
	held atomic.Int64
	dial func(xpub bool, addr string) net.Conn
	stop func() error
}

const testTime = time.Minute

var noDeadline time.Time

// newRig makes a broker; it is changed by prepare before it serves, over TCP.
func newRig(t testing.TB, cfg Config, prepare ...func(*Broker)) *rig {
	t.Helper()
	lns := [2]net.Listener{listenLoopback(t), listenLoopback(t)}
	r := newRigOn(t, cfg, lns, prepare...)
	r.dial = func(xpub bool, _ string) net.Conn {
		ln := lns[1]
		if xpub {
			ln = lns[0]
		}
		conn, err := net.DialTimeout("tcp", ln.Addr().String(), testTime)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	return r
}

func listenLoopback(t testing.TB) net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// newPipeRig is newRig without a network, for synctest: connections hold nothing, and come from an address of choice.
func newPipeRig(t testing.TB, cfg Config, prepare ...func(*Broker)) *rig {
	t.Helper()
	lns := [2]*pipeListener{newPipeListener(), newPipeListener()}
	r := newRigOn(t, cfg, [2]net.Listener{lns[0], lns[1]}, prepare...)
	r.dial = func(xpub bool, addr string) net.Conn {
		ln := lns[1]
		if xpub {
			ln = lns[0]
		}
		conn, err := ln.dial(addr)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	return r
}

func newRigOn(t testing.TB, cfg Config, lns [2]net.Listener, prepare ...func(*Broker)) *rig {
	t.Helper()
	if testing.Verbose() && os.Getenv("BROKER_TEST_LOG") != "" {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, b: b}
	b.pools.held = &r.held
	b.processes = func(string, int) life { return lifeUnknown }
	for _, p := range prepare {
		p(b)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Serve(ctx, lns[0], lns[1]) }()
	r.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(testTime):
			return errors.New("the broker did not end")
		}
	})
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
		if n := r.held.Load(); n != 0 {
			t.Errorf("%d chunks are held after the end", n)
		}
	})
	return r
}

// node is one connection of a test.
type node struct {
	*rawpeer.Peer
	t testing.TB
}

func (r *rig) join(k rawpeer.Kind, addr string) *node {
	r.t.Helper()
	conn := r.dial(k.SocketType == "XSUB", addr)
	_ = conn.SetDeadline(time.Now().Add(testTime))
	p, err := rawpeer.Shake(conn, k)
	if err != nil {
		_ = conn.Close()
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	return &node{Peer: p, t: r.t}
}

// subscriber joins, subscribed to topics, and waits until the broker knows.
func (r *rig) subscriber(topics ...string) *node {
	r.t.Helper()
	n := r.join(rawpeer.XSUB(1), "")
	for _, topic := range topics {
		n.must(n.Subscribe(topic))
	}
	n.settle()
	return n
}

// settle waits until the broker has read all that was written: it answers a PING in its turn.
func (n *node) settle() {
	n.t.Helper()
	n.must(n.Write(rawpeer.AppendCommand(nil, "PING", []byte("\x00\x00settle"))))
	for {
		it := n.next()
		if it.Command == "PONG" && string(it.Data) == "settle" {
			return
		}
		if it.Command == "" {
			n.t.Fatalf("got %q before the answer to a PING", it.Message())
		}
	}
}

// publisher joins and reads what it is told at first: the broker's own subscription is always there.
func (r *rig) publisher() *node {
	r.t.Helper()
	n := r.join(rawpeer.XPUB(1), "")
	n.settle()
	return n
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// next is the next message or command, other than a PING.
func (n *node) next() rawpeer.Item {
	n.t.Helper()
	it, err := n.receive()
	n.must(err)
	return it
}

// receive is the next message or command, PINGs being answered.
func (n *node) receive() (rawpeer.Item, error) {
	for {
		it, err := n.Next()
		if err != nil || it.Command != "PING" {
			return it, err
		}
		if err := n.Write(rawpeer.AppendCommand(nil, "PONG", it.Data[2:])); err != nil {
			return it, err
		}
	}
}

// message is the next message.
func (n *node) message() []string {
	n.t.Helper()
	it, err := n.receive()
	n.must(err)
	if it.Command != "" {
		n.t.Fatalf("got the command %s instead of a message", it.Command)
	}
	return it.Message()
}

func (n *node) want(frames ...string) {
	n.t.Helper()
	if got := n.message(); !slices.Equal(got, frames) {
		n.t.Fatalf("got %s, want %s", brief(got), brief(frames))
	}
}

// told reads subscriptions up to one, in the form "+topic" or "-topic".
func (n *node) told(until string) []string {
	n.t.Helper()
	var out []string
	for {
		it := n.next()
		if s := it.Subscription(); s != "" {
			if out = append(out, s); s == until {
				return out
			}
		}
	}
}

func brief(frames []string) string {
	out := make([]string, len(frames))
	for i, f := range frames {
		out[i] = fmt.Sprintf("%.20q(%d)", f, len(f))
	}
	return fmt.Sprint(out)
}

// eventually polls, with a deadline.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(testTime); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// pipeListener accepts connections of net.Pipe.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

type pipeAddr string

func (pipeAddr) Network() string  { return "pipe" }
func (a pipeAddr) String() string { return string(a) }

type pipeConn struct {
	net.Conn
	remote pipeAddr
}

func (c pipeConn) RemoteAddr() net.Addr { return c.remote }

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr("here:1") }

func (l *pipeListener) dial(addr string) (net.Conn, error) {
	near, far := net.Pipe()
	if addr == "" {
		addr = "10.0.0.1:1"
	}
	select {
	case l.conns <- pipeConn{far, pipeAddr(addr)}:
		return near, nil
	case <-l.done:
		return nil, io.ErrClosedPipe
	}
}
