package zmtp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// Peer is the other side of a connection, after the handshake.
type Peer struct {
	Mechanism string // Null or Curve
	Minor     byte   // of version 3: 0 knows no SUBSCRIBE and no PING
	// SocketType and Identity are what it says of itself.
	SocketType, Identity string
	// ClientKey is the public key that a client has proved to have; zero with NULL, and for clients.
	ClientKey Key
	// Seal and Open are for frames to and from it. Both are nil with NULL. Each is for one goroutine.
	Seal *Sealer
	Open *Opener
}

// Keyring is which keys a server has and lets in.
type Keyring struct {
	Servers []KeyPair
	Clients []Key // public ones
}

// ServerConfig is how a listening side shakes hands. It is not changed by that.
type ServerConfig struct {
	SocketType string   // its own
	Accept     []string // the types of sockets that fit
	// AllowNull says whether NULL is good; nil: it is not. Asked in each handshake.
	AllowNull func() bool
	// Curve has the keys; nil, or no server's key: CURVE is not good. Asked in each handshake.
	Curve func() Keyring
	// Rand is for temporary keys and nonces; nil: crypto/rand.
	Rand io.Reader
}

// ServerHandshake shakes hands with a client. The caller sets deadlines on the stream, and closes it on
// any error; a *RefusedError says what the peer did, any other is the stream's. It reads no byte beyond the
// handshake.
func ServerHandshake(rw io.ReadWriter, cfg *ServerConfig) (*Peer, error) {
	g, err := acceptGreeting(rw)
	if err != nil {
		return nil, err
	}
	var own greeting
	var ring Keyring
	mechanism := g.mechanism()
	switch mechanism {
	case Null:
		if cfg.AllowNull == nil || !cfg.AllowNull() {
			return nil, refuse("mechanism", "NULL where keys are wanted")
		}
		own = newGreeting(Null, false)
	case Curve:
		if cfg.Curve != nil {
			ring = cfg.Curve()
		}
		if len(ring.Servers) == 0 {
			return nil, refuse("mechanism", "CURVE, and there are no keys")
		}
		own = newGreeting(Curve, true)
	default:
		return nil, refuse("mechanism", "mechanism "+printable(mechanism))
	}
	if _, err := rw.Write(own[early:]); err != nil {
		return nil, err
	}
	var p *Peer
	if mechanism == Null {
		p, err = nullServer(rw, cfg)
	} else {
		p, err = curveServer(rw, cfg, ring)
	}
	if err != nil {
		return nil, err
	}
	p.Mechanism, p.Minor = mechanism, g.minorVersion()
	return p, nil
}

// ClientKeys are what a client needs for CURVE.
type ClientKeys struct {
	Server Key // the server's public one
	Client KeyPair
}

// ClientConfig is how a connecting side shakes hands.
type ClientConfig struct {
	SocketType string
	Identity   string
	Accept     []string // the types of sockets that fit; nil: any
	Curve      *ClientKeys
	Rand       io.Reader // nil: crypto/rand
}

// ClientHandshake shakes hands with a server, as ServerHandshake does with a client.
func ClientHandshake(rw io.ReadWriter, cfg *ClientConfig) (*Peer, error) {
	mechanism := Null
	if cfg.Curve != nil {
		mechanism = Curve
	}
	own := newGreeting(mechanism, false)
	g, err := exchangeGreetings(rw, own)
	if err != nil {
		return nil, err
	}
	if m := g.mechanism(); m != mechanism {
		return nil, refuse("mechanism", "mechanism "+printable(m)+" where it is "+mechanism)
	}
	var p *Peer
	if mechanism == Null {
		p, err = nullClient(rw, cfg)
	} else {
		p, err = curveClient(rw, cfg)
	}
	if err != nil {
		return nil, err
	}
	p.Mechanism, p.Minor = mechanism, g.minorVersion()
	return p, nil
}

// nullServer hears the client out before it says anything: who is refused has not been answered.
func nullServer(rw io.ReadWriter, cfg *ServerConfig) (*Peer, error) {
	data, err := readCommand(rw, commandReady, 0, maxReady)
	if err != nil {
		return nil, err
	}
	p := &Peer{}
	if err := p.describe(data, cfg.Accept, false); err != nil {
		return nil, err
	}
	_, err = rw.Write(appendCommandFrame(nil, commandReady, metadata(nil, cfg.SocketType, "")))
	return p, err
}

// nullClient speaks first.
func nullClient(rw io.ReadWriter, cfg *ClientConfig) (*Peer, error) {
	if _, err := rw.Write(appendCommandFrame(nil, commandReady, metadata(nil, cfg.SocketType, cfg.Identity))); err != nil {
		return nil, err
	}
	data, err := readCommand(rw, commandReady, 0, maxReady)
	if err != nil {
		return nil, err
	}
	p := &Peer{}
	return p, p.describe(data, cfg.Accept, cfg.Accept == nil)
}

// describe takes over what a peer says of itself, if it is accepted, or all are.
func (p *Peer) describe(data []byte, accept []string, all bool) (err error) {
	if p.SocketType, p.Identity, err = parseMetadata(data); err != nil || all {
		return err
	}
	return fits(p.SocketType, accept)
}

// readCommand reads one command of a handshake, which has to be of a name and of a size within bounds, and
// returns its data.
func readCommand(r io.Reader, name string, least, most int) ([]byte, error) {
	var h [MaxHeader]byte
	if _, err := io.ReadFull(r, h[:2]); err != nil {
		return nil, err
	}
	if badFlags(h[0]) || h[0]&FlagCommand == 0 {
		return nil, refuse("protocol", fmt.Sprintf("a frame with flags %#x instead of the command %s", h[0], name))
	}
	size := uint64(h[1])
	if h[0]&FlagLong != 0 {
		if _, err := io.ReadFull(r, h[2:]); err != nil {
			return nil, err
		}
		size = binary.BigEndian.Uint64(h[1:])
	}
	head := uint64(1 + len(name))
	if size > head+uint64(most) {
		return nil, refuse("too-large", fmt.Sprintf("a command of %d bytes instead of %s", size, name))
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	got, data, err := ParseCommand(body)
	switch {
	case err != nil:
		return nil, refuse("protocol", err.Error())
	case string(got) == commandError:
		return nil, refuse("error", "the peer refused: "+printable(data))
	case !bytes.Equal(got, []byte(name)):
		return nil, refuse("protocol", fmt.Sprintf("the command %s instead of %s", printable(got), name))
	case len(data) < least:
		return nil, refuse("protocol", fmt.Sprintf("a %s of %d bytes", name, len(data)))
	}
	return data, nil
}

// printable is what of a peer's bytes may be shown.
func printable[text string | []byte](t text) string {
	b := []byte(t[:min(len(t), 40)])
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '.'
		}
	}
	return string(b)
}
