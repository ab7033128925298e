package zeekbus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
)

// LogWrite reads the log write of m. It errs for every other message.
func (m Message) LogWrite() (LogWrite, error) {
	if string(m.Topic) != TopicLogWrite {
		return LogWrite{}, errors.New("cannot read a log write: the message is none")
	}
	if string(m.Format) != string(FormatLog) {
		return LogWrite{}, &FormatError{Format(m.Format), 0, "not the format of log writes"}
	}
	return ParseLogWrite(m.Payload)
}

// ParseLogWrite reads a log write which takes up all of b. It takes what Zeek writes, and nothing else:
// AppendLogWrite of the result is b again. Memory is bounded by what b really holds, never by what it claims
// to. The strings of the result share one copy of b; b itself is not kept. Errors are *FormatError.
func ParseLogWrite(b []byte) (LogWrite, error) {
	if len(b) > MaxPayload {
		return LogWrite{}, &FormatError{FormatLog, 0, fmt.Sprintf("%d bytes are more than %d", len(b), MaxPayload)}
	}
	r := logReader{b: b, s: string(b)}
	w := r.write()
	if r.err == nil && r.pos < len(b) {
		r.fail("%d bytes behind the last record", len(b)-r.pos)
	}
	if r.err != nil {
		return LogWrite{}, r.err
	}
	return w, nil
}

// logReader reads on after an error, and gets zeros; whoever loops asks for the error.
type logReader struct {
	b      []byte
	s      string // the same, for strings that outlive it
	pos    int
	values int
	err    error // the first
	zeros  [16]byte
}

func (r *logReader) fail(reason string, args ...any) {
	if r.err == nil {
		r.err = &FormatError{FormatLog, r.pos, fmt.Sprintf(reason, args...)}
	}
}

// take returns the next n bytes, n at most 16.
func (r *logReader) take(n int) []byte {
	if len(r.b)-r.pos < n {
		r.fail("%d bytes needed, %d left", n, len(r.b)-r.pos)
	}
	if r.err != nil {
		return r.zeros[:n]
	}
	b := r.b[r.pos : r.pos+n]
	r.pos += n
	return b
}

func (r *logReader) uint8() uint8   { return r.take(1)[0] }
func (r *logReader) uint32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *logReader) uint64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }
func (r *logReader) tag() Tag       { return Tag(r.uint32()) }

func (r *logReader) bool() bool {
	n := r.uint8()
	if n > 1 {
		r.pos--
		r.fail("a boolean of %d", n)
	}
	return n == 1
}

// fits makes sure that n things of at least size bytes each can still follow.
func (r *logReader) fits(n uint64, size int) int {
	if left := len(r.b) - r.pos; n > uint64(left/size) {
		r.fail("a length of %d, where %d bytes are left", n, left)
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

func (r *logReader) text() string {
	n := r.fits(uint64(r.uint32()), 1)
	s := r.s[r.pos : r.pos+n]
	r.pos += n
	return s
}

func (r *logReader) write() LogWrite {
	w := LogWrite{Stream: r.text(), Writer: r.text(), Filter: r.text(), Path: r.text()}
	w.Fields = make([]LogField, r.fits(uint64(r.uint32()), minLogField))
	for i := range w.Fields {
		f := &w.Fields[i]
		if r.bool() {
			s := r.text()
			f.Secondary = &s
		}
		f.Name, f.Type, f.Subtype, f.Optional = r.text(), r.tag(), r.tag(), r.bool()
		if r.err != nil {
			return w
		}
	}
	n := uint64(r.uint32())
	if n > 0 && len(w.Fields) == 0 {
		r.fail("%d records without fields", n)
		return w
	}
	records := r.fits(n, minLogValue*max(1, len(w.Fields)))
	if records*len(w.Fields) > MaxValues {
		r.fail("more than %d values", MaxValues)
		return w
	}
	w.Records = make([][]LogValue, 0, records)
	// One array for all: the bytes left are enough for as many.
	values := make([]LogValue, records*len(w.Fields))
	for range records {
		record := values[:len(w.Fields):len(w.Fields)]
		values = values[len(w.Fields):]
		for j := range record {
			if record[j] = r.value(false); r.err != nil {
				return w
			}
		}
		w.Records = append(w.Records, record)
	}
	return w
}

// value reads a value; inside says that it is an element of a set or vector.
func (r *logReader) value(inside bool) LogValue {
	if r.values++; r.values > MaxValues {
		r.fail("more than %d values", MaxValues)
	}
	at := r.pos
	v := LogValue{Type: r.tag(), Subtype: r.tag()}
	if !r.bool() {
		return v
	}
	switch v.Type {
	case TypeBool:
		n := r.uint64()
		if n > 1 {
			r.pos -= 8
			r.fail("a bool of %d", n)
		}
		v.Data = n == 1
	case TypeInt:
		v.Data = int64(r.uint64())
	case TypeCount:
		v.Data = r.uint64()
	case TypeDouble, TypeTime, TypeInterval:
		v.Data = math.Float64frombits(r.uint64())
	case TypeString, TypeEnum, TypeFile, TypeFunc:
		v.Data = r.text()
	case TypePort:
		n, protocol := r.uint64(), r.uint32()
		if n > math.MaxUint16 || protocol > uint32(ICMP) {
			r.pos = at
			r.fail("port %d with protocol %d", n, protocol)
		}
		v.Data = Port{uint16(n), Protocol(protocol)}
	case TypeAddr:
		v.Data = r.address()
	case TypeSubnet:
		v.Data = r.subnet()
	case TypeSet, TypeVector:
		if inside {
			r.pos = at
			r.fail("a set or vector in another")
			return v
		}
		n := r.fits(r.uint64(), minLogValue)
		elements := make([]LogValue, 0, grow(n))
		for range n {
			e := r.value(true)
			if r.err != nil {
				return v
			}
			elements = append(elements, e)
		}
		v.Data = elements
	default:
		r.pos = at
		r.fail("a value of type %d", v.Type)
	}
	return v
}

// address reads an address. One of IPv4 that is mapped into IPv6 would be written as IPv4.
func (r *logReader) address() netip.Addr {
	at := r.pos
	switch family := r.uint8(); family {
	case 4:
		return netip.AddrFrom4([4]byte(r.take(4)))
	case 6:
		a := netip.AddrFrom16([16]byte(r.take(16)))
		if !a.Is4In6() {
			return a
		}
		r.pos = at
		r.fail("address %s as one of IPv6", a)
	default:
		r.pos = at
		r.fail("an address of the family %d", family)
	}
	return netip.Addr{}
}

func (r *logReader) subnet() netip.Prefix {
	at := r.pos
	bits := int(r.uint8())
	a := r.address()
	if a.Is4() {
		bits -= 96
	}
	p := netip.PrefixFrom(a, bits)
	if !p.IsValid() {
		r.pos = at
		r.fail("subnet %s with a prefix of %d bits", a, bits)
	}
	return p
}
