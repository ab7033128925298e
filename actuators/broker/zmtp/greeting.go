package zmtp

import (
	"bytes"
	"fmt"
	"io"
)

// Mechanisms.
const (
	Null  = "NULL"
	Curve = "CURVE"
)

// The greeting (RFC 37). libzmq sends its own in stages: the signature at once, the major version when it has seen the
// other's signature, and the rest, with its mechanism, when it has seen the other's major version.
const (
	greetingSize  = 64
	signatureSize = 10
	mechanismSize = 20
	atVersion     = signatureSize
	atMechanism   = atVersion + 2
	atServer      = atMechanism + mechanismSize
	early         = signatureSize + 1 // what libzmq waits for before it tells its mechanism
	major, minor  = 3, 1
)

type greeting [greetingSize]byte

func newGreeting(mechanism string, server bool) greeting {
	var g greeting
	g[0], g[signatureSize-1] = 0xff, 0x7f
	g[atVersion], g[atVersion+1] = major, minor
	copy(g[atMechanism:atServer], mechanism)
	if server {
		g[atServer] = 1
	}
	return g
}

// readSignature reads the first part of a peer's greeting. Of a stream that begins otherwise it does not wait for more.
func (g *greeting) readSignature(r io.Reader) error {
	n, err := io.ReadAtLeast(r, g[:signatureSize], 1)
	if err != nil {
		return err
	}
	if g[0] == 0xff {
		if _, err := io.ReadFull(r, g[n:signatureSize]); err != nil {
			return err
		}
	}
	if g[0] != 0xff || g[signatureSize-1] != 0x7f {
		return refuse("garbage", "no ZMTP signature")
	}
	return nil
}

// readVersion reads on, at most to end, and at least up to the major version. It returns how far it came.
func (g *greeting) readVersion(r io.Reader, end int) (int, error) {
	n, err := io.ReadAtLeast(r, g[signatureSize:end], 1)
	if err != nil {
		return 0, err
	}
	if g[atVersion] < major {
		return 0, refuse("version", fmt.Sprintf("ZMTP version %d", g[atVersion]))
	}
	return signatureSize + n, nil
}

// acceptGreeting reads a client's greeting, and writes no more of the server's own than the client needs to go on.
func acceptGreeting(rw io.ReadWriter) (g greeting, err error) {
	if err := g.readSignature(rw); err != nil {
		return g, err
	}
	own := newGreeting("", false)
	if _, err := rw.Write(own[:early]); err != nil {
		return g, err
	}
	n, err := g.readVersion(rw, greetingSize)
	if err != nil {
		return g, err
	}
	_, err = io.ReadFull(rw, g[n:])
	return g, err
}

// exchangeGreetings is the client's part. Both sides go in steps, so that it works on a stream that buffers nothing.
func exchangeGreetings(rw io.ReadWriter, own greeting) (g greeting, err error) {
	if _, err := rw.Write(own[:signatureSize]); err != nil {
		return g, err
	}
	if err := g.readSignature(rw); err != nil {
		return g, err
	}
	if _, err := g.readVersion(rw, early); err != nil {
		return g, err
	}
	if _, err := rw.Write(own[signatureSize:]); err != nil {
		return g, err
	}
	_, err = io.ReadFull(rw, g[early:])
	return g, err
}

// mechanism is the name of it, any bytes.
func (g *greeting) mechanism() string {
	name, _, _ := bytes.Cut(g[atMechanism:atServer], []byte{0})
	return string(name)
}

// minorVersion of a peer, as far as this package knows any.
func (g *greeting) minorVersion() byte {
	if g[atVersion] > major {
		return minor
	}
	return min(g[atVersion+1], minor)
}
