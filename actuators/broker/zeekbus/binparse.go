package zeekbus

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// ParseBin reads one value in broker-bin-v1 which takes up all of b. It takes what Zeek writes, and nothing
// else: AppendBin of the result is b again. Memory is bounded by what b really holds, never by what it
// claims to. The strings of the result share one copy of b; b itself is not kept. Errors are *FormatError.
func ParseBin(b []byte) (Value, error) {
	if len(b) > MaxPayload {
		return nil, &FormatError{FormatBin, 0, fmt.Sprintf("%d bytes are more than %d", len(b), MaxPayload)}
	}
	r := binReader{b: b, s: string(b)}
	v, err := r.value(1)
	if err != nil {
		return nil, err
	}
	if r.pos < len(b) {
		return nil, r.fail("%d bytes behind the value", len(b)-r.pos)
	}
	return v, nil
}

type binReader struct {
	b      []byte
	s      string // the same, for strings that outlive it
	pos    int
	values int
}

func (r *binReader) fail(reason string, args ...any) error {
	return &FormatError{FormatBin, r.pos, fmt.Sprintf(reason, args...)}
}

// take returns the next n bytes.
func (r *binReader) take(n int) ([]byte, error) {
	if len(r.b)-r.pos < n {
		return nil, r.fail("%d bytes needed, %d left", n, len(r.b)-r.pos)
	}
	b := r.b[r.pos : r.pos+n]
	r.pos += n
	return b, nil
}

func (r *binReader) uint64() (uint64, error) {
	b, err := r.take(8)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b), nil
}

// varbyte reads a length of things that take at least size bytes each, as many as can still follow.
func (r *binReader) varbyte(size int) (int, error) {
	start, n := r.pos, uint64(0)
	for shift := 0; ; shift += 7 {
		b, err := r.take(1)
		if err != nil {
			return 0, err
		}
		// Zeek's lengths have 32 bits, that is five bytes, the last of which has four of them.
		if shift == 28 && b[0] > 0x0f {
			r.pos = start
			return 0, r.fail("a length of more than 32 bits")
		}
		n |= uint64(b[0]&0x7f) << shift
		if b[0]&0x80 != 0 {
			continue
		}
		if b[0] == 0 && shift > 0 {
			r.pos = start
			return 0, r.fail("a length in more bytes than it needs")
		}
		break
	}
	if left := len(r.b) - r.pos; n > uint64(left/size) {
		r.pos = start
		return 0, r.fail("a length of %d, where %d bytes are left", n, left)
	}
	return int(n), nil
}

func (r *binReader) text() (string, error) {
	n, err := r.varbyte(1)
	if err != nil {
		return "", err
	}
	s := r.s[r.pos : r.pos+n]
	r.pos += n
	return s, nil
}

func (r *binReader) value(depth int) (Value, error) {
	if r.values++; r.values > MaxValues {
		return nil, r.fail("more than %d values", MaxValues)
	}
	if depth > MaxDepth {
		return nil, r.fail("values are nested deeper than %d", MaxDepth)
	}
	tag, err := r.take(1)
	if err != nil {
		return nil, err
	}
	switch Kind(tag[0]) {
	case KindNone:
		return None{}, nil
	case KindBoolean:
		b, err := r.take(1)
		if err != nil {
			return nil, err
		}
		if b[0] > 1 {
			r.pos--
			return nil, r.fail("a boolean of %d", b[0])
		}
		return Boolean(b[0] == 1), nil
	case KindCount:
		u, err := r.uint64()
		return Count(u), err
	case KindInteger:
		u, err := r.uint64()
		return Integer(u), err
	case KindReal:
		u, err := r.uint64()
		if err != nil {
			return nil, err
		}
		f, ok := unpackReal(u)
		if !ok {
			r.pos -= 8
			return nil, r.fail("a real that is no number, %#x", u)
		}
		return Real(f), nil
	case KindString:
		s, err := r.text()
		return String(s), err
	case KindAddress:
		b, err := r.take(16)
		if err != nil {
			return nil, err
		}
		return Address{netip.AddrFrom16([16]byte(b)).Unmap()}, nil
	case KindSubnet:
		return r.subnet()
	case KindPort:
		b, err := r.take(3)
		if err != nil {
			return nil, err
		}
		if b[2] > byte(ICMP) {
			r.pos--
			return nil, r.fail("a port with the unknown protocol %d", b[2])
		}
		return Port{binary.BigEndian.Uint16(b), Protocol(b[2])}, nil
	case KindTimestamp:
		u, err := r.uint64()
		return Timestamp(u), err
	case KindTimespan:
		u, err := r.uint64()
		return Timespan(u), err
	case KindEnum:
		s, err := r.text()
		return Enum(s), err
	case KindSet:
		return r.set(depth)
	case KindTable:
		return r.table(depth)
	case KindVector:
		return r.vector(depth)
	}
	r.pos--
	return nil, r.fail("the unknown tag %d", tag[0])
}

func (r *binReader) subnet() (Value, error) {
	b, err := r.take(17)
	if err != nil {
		return nil, err
	}
	addr, bits := netip.AddrFrom16([16]byte(b[:16])), int(b[16])
	if bits > 128 || addr.Is4In6() && bits < 96 {
		r.pos--
		return nil, r.fail("subnet %s with a prefix of %d bits", addr, bits)
	}
	if addr.Is4In6() {
		addr, bits = addr.Unmap(), bits-96
	}
	return Subnet{netip.PrefixFrom(addr, bits)}, nil
}

func (r *binReader) vector(depth int) (Value, error) {
	n, err := r.varbyte(1)
	if err != nil {
		return nil, err
	}
	v := make(Vector, 0, grow(n))
	for range n {
		e, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		v = append(v, e)
	}
	return v, nil
}

func (r *binReader) set(depth int) (Value, error) {
	n, err := r.varbyte(1)
	if err != nil {
		return nil, err
	}
	s, spans := make(Set, 0, grow(n)), make([]span, 0, grow(n))
	for range n {
		from := r.pos
		e, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		s, spans = append(s, e), append(spans, span{from, r.pos})
	}
	if at, twice := repeated(r.b, spans); twice {
		r.pos = at
		return nil, r.fail("a set has an element twice")
	}
	return s, nil
}

func (r *binReader) table(depth int) (Value, error) {
	n, err := r.varbyte(2)
	if err != nil {
		return nil, err
	}
	t, spans := make(Table, 0, grow(n)), make([]span, 0, grow(n))
	for range n {
		from := r.pos
		k, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		spans = append(spans, span{from, r.pos})
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		t = append(t, Entry{k, v})
	}
	if at, twice := repeated(r.b, spans); twice {
		r.pos = at
		return nil, r.fail("a table has a key twice")
	}
	return t, nil
}

// span is where in a buffer a value is.
type span struct{ from, to int }

// repeated reports whether two of the spans hold the same bytes, and where one of the two is. It sorts spans.
// Zeek drops the whole event when a set or a table holds anything twice.
func repeated(b []byte, spans []span) (at int, twice bool) {
	slices.SortFunc(spans, func(x, y span) int { return bytes.Compare(b[x.from:x.to], b[y.from:y.to]) })
	for i := 1; i < len(spans); i++ {
		if x, y := spans[i-1], spans[i]; bytes.Equal(b[x.from:x.to], b[y.from:y.to]) {
			return y.from, true
		}
	}
	return 0, false
}
