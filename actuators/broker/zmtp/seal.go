package zmtp

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	// CurveZMQ is XSalsa20 and Poly1305; what differs from nacl/secretbox is only how often a key is derived.
	"golang.org/x/crypto/poly1305"      //nolint:staticcheck // see above
	"golang.org/x/crypto/salsa20/salsa" //nolint:staticcheck // see above
)

// A frame travels in the body of another: the name MESSAGE (8), a counter (8), and a box of flags (1) and data, which begins
// with its tag (16). A box's nonce is 16 bytes that say the direction and the counter; so the first of the
// two steps of XSalsa20, which depends on those 16 bytes alone, is taken once for a connection, not for each frame as
// nacl/secretbox has to.
const (
	messageName = "\x07MESSAGE"
	tagSize     = poly1305.TagSize
	beforeBox   = len(messageName) + 8
	beforeFlags = beforeBox + tagSize
	// SealedOverhead is how much longer the body of a sealed frame is than that of the frame in it.
	SealedOverhead = beforeFlags + 1

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

// Sizes of pieces of a frame's stream, in bytes.
const (
	block = 64
	// stretch is what salsa makes at a time when it can, at the price of two single blocks.
	stretch = 4 * block
	authKey = 32 // the beginning of the stream is the key of the tag
	// piece of a large frame is encrypted and authenticated before the next, while the cache has it.
	piece = 32 * stretch
)

// stream is the second step of XSalsa20, of one direction of a connection.
type stream struct {
	key   [32]byte
	count [16]byte // the frame's counter, and that of blocks
	last  uint64   // the frame's counter that was used last
	ahead [stretch]byte
	tag   [tagSize]byte
}

func (s *stream) init(shared *[KeySize]byte, prefix string, last uint64) {
	var in [16]byte
	copy(in[:], prefix)
	salsa.HSalsa20(&s.key, &in, shared, &salsa.Sigma)
	s.last = last
}

// begin makes the beginning of a frame's stream in s.ahead, as far as n bytes of flags and data need it.
func (s *stream) begin(counter uint64, n int) {
	binary.BigEndian.PutUint64(s.count[:], counter)
	s.make(0, authKey+n)
}

// make fills s.ahead with at least n bytes of the stream, n at most its size, from a block on.
func (s *stream) make(first uint64, n int) {
	switch {
	case n <= block:
		n = block
	case n <= 2*block:
		n = 2 * block
	default:
		n = stretch
	}
	binary.LittleEndian.PutUint64(s.count[8:], first)
	clear(s.ahead[:n])
	salsa.XORKeyStream(s.ahead[:n], s.ahead[:n], &s.count, &s.key)
}

// auth is the key of the frame's tag, until s.ahead is made anew.
func (s *stream) auth() *[32]byte { return (*[authKey]byte)(s.ahead[:]) }

// xor encrypts or decrypts src to dst: the same slice, or another one. It is a part of a frame that begins with a
// block of the stream, and that goes on after it only if src is a multiple of blocks.
func (s *stream) xor(dst, src []byte, first uint64) {
	tail := len(src) % stretch
	if tail <= 2*block {
		tail = 0 // salsa makes few blocks as fast one by one
	}
	if whole := len(src) - tail; whole > 0 {
		binary.LittleEndian.PutUint64(s.count[8:], first)
		salsa.XORKeyStream(dst[:whole], src[:whole], &s.count, &s.key)
		dst, src, first = dst[whole:], src[whole:], first+uint64(whole/block)
	}
	if tail > 0 {
		s.make(first, tail)
		subtle.XORBytes(dst, src, s.ahead[:])
	}
}

// Format hides the key from every verb.
func (*stream) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "cipher") }

// LogValue hides the key from logs.
func (*stream) LogValue() slog.Value { return slog.StringValue("cipher") }

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

	s.last++
	copy(frame, messageName)
	binary.BigEndian.PutUint64(frame[len(messageName):], s.last)
	box := frame[beforeFlags:]
	box[0] = toSealed(flags)
	s.begin(s.last, len(box))
	box[0] ^= s.ahead[authKey]
	n := subtle.XORBytes(box[1:], body, s.ahead[authKey+1:])
	if len(body) > n {
		s.sealRest(box, box[1+n:], body[n:])
	} else {
		poly1305.Sum(&s.tag, box, s.auth())
	}
	copy(frame[beforeBox:], s.tag[:])
	return dst
}

// sealRest encrypts what of a body goes beyond s.ahead, to rest, which is the end of box; and makes the box's tag.
func (s *Sealer) sealRest(box, rest, body []byte) {
	mac := poly1305.New(s.auth())
	_, _ = mac.Write(box[:len(box)-len(rest)])
	for first := uint64(stretch / block); len(body) > 0; first += piece / block {
		n := min(len(body), piece)
		s.xor(rest[:n], body[:n], first)
		_, _ = mac.Write(rest[:n])
		rest, body = rest[n:], body[n:]
	}
	mac.Sum(s.tag[:0])
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

// Open opens the body of a frame where it lies: data is what is left of body behind its first SealedOverhead bytes. flags are
// FlagMore, FlagCommand or 0. Errors are ErrNotSealed, ErrReplayed, ErrForged and ErrFlags; body has nothing of use
// then, and the connection has to end: there is no way to go on after a frame that is missing.
func (o *Opener) Open(body []byte) (flags byte, data []byte, err error) {
	if len(body) < SealedOverhead || string(body[:len(messageName)]) != messageName {
		return 0, nil, ErrNotSealed
	}
	n := binary.BigEndian.Uint64(body[len(messageName):])
	if n <= o.last {
		return 0, nil, ErrReplayed
	}
	box := body[beforeFlags:]
	o.begin(n, len(box))
	if len(box) <= stretch-authKey {
		copy(o.tag[:], body[beforeBox:])
		if !poly1305.Verify(&o.tag, box, o.auth()) {
			return 0, nil, ErrForged
		}
		subtle.XORBytes(box, box, o.ahead[authKey:])
	} else if !o.openLong(box, body[beforeBox:beforeFlags]) {
		return 0, nil, ErrForged
	}
	o.last = n
	flags, err = fromSealed(box[0])
	return flags, box[1:], err
}

// openLong decrypts a box that goes beyond o.ahead, and verifies its tag on the way.
func (o *Opener) openLong(box, tag []byte) bool {
	mac := poly1305.New(o.auth())
	n := stretch - authKey
	_, _ = mac.Write(box[:n])
	subtle.XORBytes(box[:n], box[:n], o.ahead[authKey:])
	for first := uint64(stretch / block); len(box) > n; first += piece / block {
		box = box[n:]
		n = min(len(box), piece)
		_, _ = mac.Write(box[:n])
		o.xor(box[:n], box[:n], first)
	}
	return mac.Verify(tag)
}

func toSealed(flags byte) (sealed byte) {
	if flags&FlagMore != 0 {
		sealed |= sealedMore
	}
	if flags&FlagCommand != 0 {
		sealed |= sealedCommand
	}
	return sealed
}

// fromSealed passes over bits that RFC 26 keeps for later, as libzmq does.
func fromSealed(sealed byte) (flags byte, err error) {
	if sealed&sealedMore != 0 {
		flags |= FlagMore
	}
	if sealed&sealedCommand != 0 {
		flags |= FlagCommand
	}
	if flags == FlagMore|FlagCommand {
		return 0, ErrFlags
	}
	return flags, nil
}
