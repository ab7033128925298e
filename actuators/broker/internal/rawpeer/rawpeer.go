package rawpeer

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// Flags of a frame.
const (
	More    = 1
	long    = 2
	Command = 4
)

// Kind is what a peer says of itself in the handshake.
type Kind struct {
	SocketType string
	Minor      byte // of version 3
}

// XSUB is a node's subscribing socket, XPUB its publishing one.
func XSUB(minor byte) Kind { return Kind{"XSUB", minor} }

// XPUB is the other.
func XPUB(minor byte) Kind { return Kind{"XPUB", minor} }

// Peer is a connection after the handshake. One goroutine may write and another read.
type Peer struct {
	Conn net.Conn
	// ServerType and ServerMinor are what the other side said.
	ServerType  string
	ServerMinor byte

	r     *bufio.Reader
	write sync.Mutex
}

// Greeting is the 64 bytes that a client begins with.
func Greeting(minor byte, mechanism string) []byte {
	g := make([]byte, 64)
	g[0], g[8], g[9] = 0xff, 1, 0x7f
	g[10], g[11] = 3, minor
	copy(g[12:32], mechanism)
	return g
}

// Ready is the READY command's frame.
func Ready(socketType string) []byte {
	body := []byte("\x05READY")
	for _, kv := range [][2]string{{"Socket-Type", socketType}, {"Identity", ""}} {
		body = append(body, byte(len(kv[0])))
		body = append(body, kv[0]...)
		body = binary.BigEndian.AppendUint32(body, uint32(len(kv[1])))
		body = append(body, kv[1]...)
	}
	return AppendFrame(nil, Command, body)
}

// Shake shakes hands.
func Shake(conn net.Conn, k Kind) (*Peer, error) {
	p := &Peer{Conn: conn, r: bufio.NewReaderSize(conn, 64<<10)}
	sent := make(chan error, 1)
	go func() { // the connection may be one that holds nothing
		_, err := conn.Write(append(Greeting(k.Minor, "NULL"), Ready(k.SocketType)...))
		sent <- err
	}()
	var g [64]byte
	if _, err := io.ReadFull(p.r, g[:]); err != nil {
		return nil, fmt.Errorf("cannot read the greeting: %w", err)
	}
	if g[0] != 0xff || g[9] != 0x7f || g[10] != 3 || !bytes.Equal(bytes.TrimRight(g[12:32], "\x00"), []byte("NULL")) {
		return nil, fmt.Errorf("cannot read the greeting: it is % x", g)
	}
	p.ServerMinor = g[11]
	flags, body, err := p.Frame()
	if err != nil {
		return nil, fmt.Errorf("cannot read READY: %w", err)
	}
	if flags != Command || !bytes.HasPrefix(body, []byte("\x05READY\x0bSocket-Type")) {
		return nil, fmt.Errorf("cannot read READY: flags %x, %q", flags, body)
	}
	rest := body[len("\x05READY\x0bSocket-Type"):]
	if len(rest) < 4 || len(rest) < 4+int(binary.BigEndian.Uint32(rest)) {
		return nil, fmt.Errorf("cannot read READY: %q", body)
	}
	p.ServerType = string(rest[4 : 4+binary.BigEndian.Uint32(rest)])
	return p, <-sent
}

// AppendFrame appends a frame to dst.
func AppendFrame(dst []byte, flags byte, body []byte) []byte {
	if len(body) < 256 {
		dst = append(dst, flags, byte(len(body)))
	} else {
		dst = append(dst, flags|long)
		dst = binary.BigEndian.AppendUint64(dst, uint64(len(body)))
	}
	return append(dst, body...)
}

// AppendMessage appends the frames of a message.
func AppendMessage(dst []byte, frames ...[]byte) []byte {
	for i, f := range frames {
		flags := byte(More)
		if i == len(frames)-1 {
			flags = 0
		}
		dst = AppendFrame(dst, flags, f)
	}
	return dst
}

// AppendCommand appends a command's frame.
func AppendCommand(dst []byte, name string, data []byte) []byte {
	body := append([]byte{byte(len(name))}, name...)
	return AppendFrame(dst, Command, append(body, data...))
}

// Write sends bytes as they are.
func (p *Peer) Write(b []byte) error {
	p.write.Lock()
	defer p.write.Unlock()
	_, err := p.Conn.Write(b)
	return err
}

// Send sends a message.
func (p *Peer) Send(frames ...string) error {
	bodies := make([][]byte, len(frames))
	for i, f := range frames {
		bodies[i] = []byte(f)
	}
	return p.Write(AppendMessage(nil, bodies...))
}

// Subscribe subscribes in the form of ZMTP 3.1, Cancel ends that.
func (p *Peer) Subscribe(topic string) error {
	return p.Write(AppendCommand(nil, "SUBSCRIBE", []byte(topic)))
}

// Cancel ends a subscription in the form of ZMTP 3.1.
func (p *Peer) Cancel(topic string) error {
	return p.Write(AppendCommand(nil, "CANCEL", []byte(topic)))
}

// SubscribeByMessage and CancelByMessage do the same in the form of ZMTP 3.0.
func (p *Peer) SubscribeByMessage(topic string) error { return p.Send("\x01" + topic) }

// CancelByMessage ends a subscription in the form of ZMTP 3.0.
func (p *Peer) CancelByMessage(topic string) error { return p.Send("\x00" + topic) }

// Frame reads one frame.
func (p *Peer) Frame() (flags byte, body []byte, err error) {
	var h [9]byte
	if _, err := io.ReadFull(p.r, h[:2]); err != nil {
		return 0, nil, err
	}
	flags = h[0]
	size := uint64(h[1])
	if flags&long != 0 {
		if _, err := io.ReadFull(p.r, h[2:]); err != nil {
			return 0, nil, err
		}
		size = binary.BigEndian.Uint64(h[1:])
		flags &^= long
	}
	if flags&^(More|Command) != 0 || size > 1<<31 {
		return 0, nil, fmt.Errorf("cannot read a frame: flags %#x, size %d", flags, size)
	}
	body = make([]byte, size)
	_, err = io.ReadFull(p.r, body)
	return flags, body, err
}

// Item is a message or a command.
type Item struct {
	Frames  [][]byte // of a message
	Command string   // the name of a command
	Data    []byte   // of a command
}

// Message is a message's frames as strings.
func (i Item) Message() []string {
	out := make([]string, len(i.Frames))
	for n, f := range i.Frames {
		out[n] = string(f)
	}
	return out
}

// Subscription reads what a publisher is told, in whichever form: "+topic" or "-topic", empty for anything else.
func (i Item) Subscription() string {
	switch {
	case i.Command == "SUBSCRIBE":
		return "+" + string(i.Data)
	case i.Command == "CANCEL":
		return "-" + string(i.Data)
	case len(i.Frames) == 1 && len(i.Frames[0]) > 0 && i.Frames[0][0] == 1:
		return "+" + string(i.Frames[0][1:])
	case len(i.Frames) == 1 && len(i.Frames[0]) > 0 && i.Frames[0][0] == 0:
		return "-" + string(i.Frames[0][1:])
	}
	return ""
}

// Next reads a whole message, or a command.
func (p *Peer) Next() (Item, error) {
	var it Item
	for {
		flags, body, err := p.Frame()
		if err != nil {
			if len(it.Frames) > 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return it, err
		}
		if flags&Command != 0 {
			if len(it.Frames) > 0 {
				return it, fmt.Errorf("cannot read a message: a command lies between its frames: %q", body)
			}
			if len(body) == 0 || len(body) < 1+int(body[0]) {
				return it, fmt.Errorf("cannot read a command: %q", body)
			}
			n := 1 + int(body[0])
			return Item{Command: string(body[1:n]), Data: body[n:]}, nil
		}
		it.Frames = append(it.Frames, body)
		if flags&More == 0 {
			return it, nil
		}
	}
}
