package zmtp

import (
	"encoding/binary"
	"slices"
	"strings"
)

// Bounds of a handshake.
const (
	maxReady    = 8 << 10 // of a READY or INITIATE, whose metadata is the peer's choice
	maxIdentity = 255     // RFC 37
)

// Names of metadata that mean something here.
const (
	propertySocketType = "Socket-Type"
	propertyIdentity   = "Identity"
)

// metadata appends what a READY says.
func metadata(dst []byte, socketType, identity string) []byte {
	for _, p := range [][2]string{{propertySocketType, socketType}, {propertyIdentity, identity}} {
		dst = append(dst, byte(len(p[0])))
		dst = append(dst, p[0]...)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(p[1])))
		dst = append(dst, p[1]...)
	}
	return dst
}

// parseMetadata reads what a peer says of itself: name and value, again and again. Names are of any case.
func parseMetadata(b []byte) (socketType, identity string, err error) {
	bad := refuse("protocol", "metadata that is not whole")
	for len(b) > 0 {
		n := int(b[0])
		if n == 0 || len(b) < 1+n+4 {
			return "", "", bad
		}
		name := string(b[1 : 1+n])
		size := binary.BigEndian.Uint32(b[1+n:])
		b = b[1+n+4:]
		if uint64(size) > uint64(len(b)) {
			return "", "", bad
		}
		value := string(b[:size])
		b = b[size:]
		switch {
		case strings.EqualFold(name, propertySocketType):
			socketType = value
		case strings.EqualFold(name, propertyIdentity):
			if len(value) > maxIdentity {
				return "", "", refuse("protocol", "an identity of more than 255 bytes")
			}
			identity = value
		}
	}
	return socketType, identity, nil
}

// fits checks the type of the peer's socket.
func fits(socketType string, accept []string) error {
	if slices.Contains(accept, socketType) {
		return nil
	}
	return refuse("socket-type", "a socket of type "+printable(socketType))
}
