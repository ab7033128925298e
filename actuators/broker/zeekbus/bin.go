package zeekbus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
)

// Zeek's Broker library packs what is not finite in a way of its own; the two infinities are the reverse
// of IEEE 754. Every other pattern with all bits of the exponent set would be read as a number gone wrong.
const (
	packedNaN         = 0xffffffffffffffff
	packedInf         = 0xfff0000000000000
	packedNegativeInf = 0x7ff0000000000000
	exponentBits      = 0x7ff0000000000000
)

// AppendBin appends v in broker-bin-v1 to dst. It refuses what Zeek could not read: an invalid address, an
// element that a set has twice, what is beyond MaxPayload, MaxDepth or MaxValues, and a nil Value.
// After an error the result is dst.
func AppendBin(dst []byte, v Value) ([]byte, error) {
	a := binAppender{b: dst, start: len(dst)}
	if err := a.value(v, 1); err != nil {
		return dst, fmt.Errorf("cannot write broker-bin-v1: %w", err)
	}
	return a.b, nil
}

type binAppender struct {
	b      []byte
	start  int
	values int
}

func (a *binAppender) value(v Value, depth int) error {
	if v == nil {
		return errors.New("there is a nil Value, which is not None")
	}
	if a.values++; a.values > MaxValues {
		return fmt.Errorf("more than %d values", MaxValues)
	}
	if depth > MaxDepth {
		return fmt.Errorf("values are nested deeper than %d", MaxDepth)
	}
	a.b = append(a.b, byte(v.Kind()))
	switch v := v.(type) {
	case None:
	case Boolean:
		b := byte(0)
		if v {
			b = 1
		}
		a.b = append(a.b, b)
	case Count:
		a.b = binary.BigEndian.AppendUint64(a.b, uint64(v))
	case Integer:
		a.b = binary.BigEndian.AppendUint64(a.b, uint64(v))
	case Real:
		a.b = binary.BigEndian.AppendUint64(a.b, packReal(float64(v)))
	case String:
		return a.text(string(v))
	case Enum:
		return a.text(string(v))
	case Address:
		if err := checkAddress(v.Addr); err != nil {
			return err
		}
		b := v.As16()
		a.b = append(a.b, b[:]...)
	case Subnet:
		p, err := plainPrefix(v.Prefix)
		if err != nil {
			return err
		}
		bits := p.Bits()
		if p.Addr().Is4() {
			bits += 96
		}
		b := p.Addr().As16()
		a.b = append(append(a.b, b[:]...), byte(bits))
	case Port:
		if v.Protocol > ICMP {
			return fmt.Errorf("port with the unknown protocol %d", uint8(v.Protocol))
		}
		a.b = append(binary.BigEndian.AppendUint16(a.b, v.Number), byte(v.Protocol))
	case Timestamp:
		a.b = binary.BigEndian.AppendUint64(a.b, uint64(v))
	case Timespan:
		a.b = binary.BigEndian.AppendUint64(a.b, uint64(v))
	case Set:
		return a.set(v, depth)
	case Table:
		return a.table(v, depth)
	case Vector:
		a.b = appendVarbyte(a.b, len(v))
		for _, e := range v {
			if err := a.value(e, depth+1); err != nil {
				return err
			}
		}
	}
	return a.size()
}

func (a *binAppender) text(s string) error {
	// Before the copy, for the case that it is much more.
	if len(s) > MaxPayload {
		return fmt.Errorf("a string of %d bytes: more than %d", len(s), MaxPayload)
	}
	a.b = append(appendVarbyte(a.b, len(s)), s...)
	return a.size()
}

func (a *binAppender) set(s Set, depth int) error {
	a.b = appendVarbyte(a.b, len(s))
	spans := make([]span, 0, len(s))
	for _, e := range s {
		from := len(a.b)
		if err := a.value(e, depth+1); err != nil {
			return err
		}
		spans = append(spans, span{from, len(a.b)})
	}
	if _, twice := repeated(a.b, spans); twice {
		return errors.New("a set has an element twice")
	}
	return a.size()
}

func (a *binAppender) table(t Table, depth int) error {
	a.b = appendVarbyte(a.b, len(t))
	spans := make([]span, 0, len(t))
	for _, e := range t {
		from := len(a.b)
		if err := a.value(e.Key, depth+1); err != nil {
			return err
		}
		spans = append(spans, span{from, len(a.b)})
		if err := a.value(e.Value, depth+1); err != nil {
			return err
		}
	}
	if _, twice := repeated(a.b, spans); twice {
		return errors.New("a table has a key twice")
	}
	return a.size()
}

func (a *binAppender) size() error {
	if len(a.b)-a.start > MaxPayload {
		return fmt.Errorf("more than %d bytes", MaxPayload)
	}
	return nil
}

// appendVarbyte appends n with 7 bits in a byte, the low ones first; the high bit says that more follow.
func appendVarbyte(b []byte, n int) []byte {
	for ; n > 0x7f; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

func packReal(f float64) uint64 {
	switch {
	case math.IsNaN(f):
		return packedNaN
	case math.IsInf(f, 1):
		return packedInf
	case math.IsInf(f, -1):
		return packedNegativeInf
	}
	return math.Float64bits(f)
}

// unpackReal reports false for a pattern that Zeek does not write.
func unpackReal(u uint64) (float64, bool) {
	switch {
	case u == packedNaN:
		return math.NaN(), true
	case u == packedInf:
		return math.Inf(1), true
	case u == packedNegativeInf:
		return math.Inf(-1), true
	case u&exponentBits == exponentBits:
		return 0, false
	}
	return math.Float64frombits(u), true
}

func checkAddress(a netip.Addr) error {
	switch {
	case !a.IsValid():
		return errors.New("an address is not set")
	case a.Zone() != "":
		return fmt.Errorf("address %s has a zone, which cannot be sent", a)
	}
	return nil
}

// plainPrefix is p with an IPv4 address where it has one that is mapped into IPv6.
func plainPrefix(p netip.Prefix) (netip.Prefix, error) {
	if !p.IsValid() {
		return p, errors.New("a subnet is not set")
	}
	if !p.Addr().Is4In6() {
		return p, nil
	}
	if p.Bits() < 96 {
		return p, fmt.Errorf("subnet %s is neither of IPv4 nor of IPv6", p)
	}
	return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96), nil
}
