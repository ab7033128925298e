package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

// Bounds of the server of logs.
const (
	maxSenders       = 1024
	handshakeTimeout = 30 * time.Second // ZMQ_HANDSHAKE_IVL
	acceptPause      = 10 * time.Millisecond
)

// pull takes connections until the listener is closed, or ctx ends, and what is pushed by them until closing.
func (b *Bus) pull(ctx context.Context) {
	var senders sync.WaitGroup
	defer senders.Wait()
	defer context.AfterFunc(ctx, func() { _ = b.cfg.Logs.Close() })()
	places := make(chan struct{}, maxSenders)
	for {
		conn, err := b.cfg.Logs.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, most likely
			time.Sleep(acceptPause)
			continue
		}
		select {
		case places <- struct{}{}:
		case <-b.closing:
			_ = conn.Close()
			return
		}
		senders.Go(func() {
			defer func() { <-places }()
			b.serveSender(ctx, conn)
		})
	}
}

// serveSender has a connection until its end.
func (b *Bus) serveSender(ctx context.Context, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-b.closing:
		case <-ctx.Done():
		case <-ended:
		}
		_ = conn.Close()
	}()
	_ = conn.SetDeadline(time.Now().Add(handshakeTimeout))
	heard := &counted{Conn: conn}
	peer, err := zmtp.ServerHandshake(heard, b.serverConfig())
	if err != nil {
		b.refuse(heard, err)
		return
	}
	_ = conn.SetDeadline(time.Time{})
	c := zmtp.NewConn(conn, peer)
	for {
		r, err := c.Recv()
		if err != nil {
			return
		}
		m, err := zeekbus.SplitMessage(r.Frames)
		if err != nil {
			b.warn(fmt.Sprintf("log: error: expected 4 parts, have %d!", len(r.Frames)))
			continue
		}
		if !b.inputs.put(b.closing, Input{LogWrite: copied(m)}) {
			return
		}
	}
}

func (b *Bus) serverConfig() *zmtp.ServerConfig {
	server := b.cfg.Keys.Server
	cfg := &zmtp.ServerConfig{SocketType: "PULL", Accept: []string{"PUSH"}, AllowNull: func() bool { return server == nil }}
	if server != nil {
		cfg.Curve = func() zmtp.Keyring { return *server }
	}
	return cfg
}

// The parts of a handshake by which libzmq refuses.
const (
	greetingStart = 11 // of the greeting's 64 bytes; a server that has written no more has kept its mechanism back
	greetingSize  = 64
	mechanismSize = 20
)

// refuse says why, as libzmq does and as zeekrec's broker never would: the other one ends of it if it is a Zeek.
func (b *Bus) refuse(conn *counted, err error) {
	r, ok := errors.AsType[*zmtp.RefusedError](err)
	if !ok {
		return
	}
	switch {
	case r.Reason == "mechanism" && conn.written == greetingStart:
		var rest [greetingSize - greetingStart]byte
		rest[0] = 1 // the minor version
		name := zmtp.Null
		if b.cfg.Keys.Server != nil {
			name, rest[1+mechanismSize] = zmtp.Curve, 1
		}
		copy(rest[1:], name)
		_, _ = conn.Write(rest[:])
	case r.Reason == "key" && conn.written > greetingSize:
		// It has been welcomed: the server's key is right, and its own is not.
		const refusal = "\x05ERROR\x03400"
		_, _ = conn.Write(append(zmtp.AppendHeader(nil, zmtp.FlagCommand, len(refusal)), refusal...))
	}
}

// counted counts what is written.
type counted struct {
	net.Conn
	written int
}

// Write writes.
func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written += n
	return n, err
}
