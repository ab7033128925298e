package zmtp

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"slices"

	"golang.org/x/crypto/poly1305" //nolint:staticcheck // CurveZMQ is XSalsa20 and Poly1305, apart from nacl/secretbox only in how often a key is derived
	"golang.org/x/crypto/salsa20/salsa"
)

// A frame travels in the body of another: the name MESSAGE (8), a counter (8), and a box of flags (1) and data, which begins
// with its tag (16). A box's nonce is 16 bytes that say the direction and the counter; so the first of the
// two steps of XSalsa20, which depends on those 16 bytes alone, is taken once for a connection, not for each frame as
// nacl/secretbox has to.
const (
	messageName = "\x07MESSAGE"
	tagSize     = poly1305.TagSize
	beforeBox   = len(messageName) + 8
	// SealedOverhead is how much longer the body of a sealed frame is than that of the frame in it.
	SealedOverhead = beforeBox + tagSize + 1

	fromServer = "CurveZMQMESSAGES"
	fromClient = "CurveZMQMESSAGEC"

	// The flags in a box are not those of a frame.
	sealedMore    = 1
	sealedCommand = 2
)

// SealedSize is the size of the whole frame that a frame with n bytes of data becomes.
func SealedSize(n int) int { return HeaderSize(n+SealedOverhead) + n + SealedOverhead }

// Errors of Open.
var (
	ErrNotSealed = errors.New("cannot open a frame: it is not a MESSAGE of CURVE")
	ErrReplayed  = errors.New("cannot open a frame: its counter was used before")
	ErrForged    = errors.New("cannot open a frame: it was changed on the way, or sealed with another key")
)

// stream is the second step of XSalsa20, of one direction of a connection.
type stream struct {
	key   [32]byte
	count [16]byte // the frame's counter, and that of blocks
	last  uint64   // the frame's counter that was used last
	block [64]byte // the first of a frame's stream: the key of its tag, and what the data begins with
	auth  [32]byte
	tag   [tagSize]byte
}

func (s *stream) init(shared *[KeySize]byte, prefix string, last uint64) {
	var in [16]byte
	copy(in[:], prefix)
	salsa.HSalsa20(&s.key, &in, shared, &salsa.Sigma)
	s.last = last
}

// begin a frame's stream.
func (s *stream) begin(n uint64) {
	s.count = [16]byte{}
	binary.BigEndian.PutUint64(s.count[:], n)
}

// Sealer seals the frames to a peer, in their order. It is for one goroutine.
type Sealer struct{ stream }

func newSealer(shared *[KeySize]byte, server bool, last uint64) *Sealer {
	s := &Sealer{}
	prefix := fromClient
	if server {
		prefix = fromServer
	}
	s.init(shared, prefix, last)
	return s
}

// AppendMessage appends a frame as it travels, sealed, with its header. flags are FlagMore or FlagCommand, or 0. body must not
// overlap what is behind dst.
func (s *Sealer) AppendMessage(dst []byte, flags byte, body []byte) []byte {
	size := SealedOverhead + len(body)
	dst = AppendHeader(dst, 0, size)
	at := len(dst)
	dst = slices.Grow(dst, size)[:at+size]
	frame := dst[at:]

	// The stream begins with 32 bytes that are the key of the tag. They are made where the name, the counter and the tag
	// will be, in one go with the data.
	clear(frame[:beforeBox+tagSize])
	frame[beforeBox+tagSize] = 0
	if flags&FlagMore != 0 {
		frame[beforeBox+tagSize] |= sealedMore
	}
	if flags&FlagCommand != 0 {
		frame[beforeBox+tagSize] |= sealedCommand
	}
	copy(frame[SealedOverhead:], body)
	s.last++
	s.begin(s.last)
	salsa.XORKeyStream(frame, frame, &s.count, &s.key)
	copy(s.auth[:], frame)
	poly1305.Sum(&s.tag, frame[beforeBox+tagSize:], &s.auth)

	copy(frame, messageName)
	binary.BigEndian.PutUint64(frame[len(messageName):], s.last)
	copy(frame[beforeBox:], s.tag[:])
	return dst
}

// Opener opens the frames of a peer, in their order. It is for one goroutine.
type Opener struct{ stream }

func newOpener(shared *[KeySize]byte, server bool, last uint64) *Opener {
	o := &Opener{}
	prefix := fromServer
	if server {
		prefix = fromClient
	}
	o.init(shared, prefix, last)
	return o
}

// Open opens the body of a frame where it lies: data is what is left of body behind its first SealedOverhead bytes. Where
// it fails nothing was changed. flags are FlagMore, FlagCommand or 0.
func (o *Opener) Open(body []byte) (flags byte, data []byte, err error) {
	if len(body) < SealedOverhead || string(body[:len(messageName)]) != messageName {
		return 0, nil, ErrNotSealed
	}
	n := binary.BigEndian.Uint64(body[len(messageName):])
	if n <= o.last {
		return 0, nil, ErrReplayed
	}
	o.begin(n)
	clear(o.block[:])
	salsa.XORKeyStream(o.block[:], o.block[:], &o.count, &o.key)
	copy(o.auth[:], o.block[:])
	sealed := body[beforeBox+tagSize:]
	copy(o.tag[:], body[beforeBox:])
	if !poly1305.Verify(&o.tag, sealed, &o.auth) {
		return 0, nil, ErrForged
	}
	o.last = n
	first := min(len(sealed), 32)
	subtle.XORBytes(sealed[:first], sealed[:first], o.block[32:])
	if len(sealed) > first {
		o.count[8] = 1 // blocks are counted from the low byte on
		salsa.XORKeyStream(sealed[first:], sealed[first:], &o.count, &o.key)
	}
	if sealed[0]&(sealedMore|sealedCommand) == sealedMore|sealedCommand {
		return 0, nil, ErrFlags
	}
	if sealed[0]&sealedMore != 0 {
		flags |= FlagMore
	}
	if sealed[0]&sealedCommand != 0 {
		flags |= FlagCommand
	}
	return flags, sealed[1:], nil
}
