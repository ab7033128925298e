package zmtp

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// Mechanisms.
const (
	Null  = "NULL"
	Curve = "CURVE"
)

// The greeting (RFC 37). libzmq sends its own in stages: the rest of it follows when it has seen the other's
// signature and major version.
const (
	greetingSize  = 64
	signatureSize = 10
	mechanismSize = 20
	atVersion     = signatureSize
	atMechanism   = atVersion + 2
	atServer      = atMechanism + mechanismSize
	early         = signatureSize + 1 // what a peer may wait for
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

// readGreeting reads a peer's, and no byte of a stream that is none.
func readGreeting(r io.Reader) (g greeting, err error) {
	if _, err := io.ReadFull(r, g[:signatureSize]); err != nil {
		return g, err
	}
	if g[0] != 0xff || g[signatureSize-1]&1 == 0 {
		return g, refuse("garbage", "no ZMTP signature")
	}
	if _, err := io.ReadFull(r, g[signatureSize:early]); err != nil {
		return g, err
	}
	if g[atVersion] < major {
		return g, refuse("version", fmt.Sprintf("ZMTP version %d", g[atVersion]))
	}
	_, err = io.ReadFull(r, g[early:])
	return g, err
}

func (g *greeting) mechanism() string {
	m := g[atMechanism:atServer]
	if i := bytes.IndexByte(m, 0); i >= 0 {
		m = m[:i]
	}
	return strings.ToValidUTF8(string(m), "?")
}

// minorVersion of a peer, as far as this package knows any.
func (g *greeting) minorVersion() byte {
	if g[atVersion] > major {
		return minor
	}
	return min(g[atVersion+1], minor)
}
