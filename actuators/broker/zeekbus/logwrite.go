package zeekbus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
)

// TopicLogWrite is the first frame of log writes, which go straight from a node to a logger.
const TopicLogWrite = "log-write"

// Tag is a type of Zeek's, as log writes number them.
type Tag int32

// The types that a log write can have, and two for what has no type within.
const (
	TypeVoid     Tag = 0 // the subtype of values, from Zeek 8.2 on
	TypeBool     Tag = 1
	TypeInt      Tag = 2
	TypeCount    Tag = 3
	TypeDouble   Tag = 4
	TypeTime     Tag = 5
	TypeInterval Tag = 6
	TypeString   Tag = 7
	TypeEnum     Tag = 9
	TypePort     Tag = 10
	TypeAddr     Tag = 11
	TypeSubnet   Tag = 12
	TypeSet      Tag = 14 // Zeek calls it a table
	TypeFile     Tag = 17
	TypeFunc     Tag = 18
	TypeVector   Tag = 19
	TypeError    Tag = 22 // the subtype of fields
)

// LogWrite is a batch of log lines for one path.
type LogWrite struct {
	Stream string // the log's id, such as Conn::LOG
	Writer string // such as Log::WRITER_ASCII
	Filter string // such as default
	Path   string // such as conn
	Fields []LogField
	// Records have a value for each of the fields.
	Records [][]LogValue
}

// LogField is a column of a log.
type LogField struct {
	Name string
	// Secondary is nil in logs; it belongs to Zeek's input framework.
	Secondary *string
	Type      Tag
	Subtype   Tag // of the elements of a set or vector, else TypeError
	Optional  bool
}

// LogValue is a value in a log line. Data, nil when it is unset, is for each Type:
//
//	TypeBool                                bool
//	TypeInt                                 int64
//	TypeCount                               uint64
//	TypeDouble, TypeTime, TypeInterval      float64; seconds, of a time since 1970
//	TypeString, TypeEnum, TypeFile, TypeFunc string
//	TypePort                                Port
//	TypeAddr                                netip.Addr
//	TypeSubnet                              netip.Prefix
//	TypeSet, TypeVector                     []LogValue, of which none is a set or vector
type LogValue struct {
	Type    Tag
	Subtype Tag // TypeVoid; older versions of Zeek have TypeError
	Data    any
}

// The fewest bytes that a field and a value take.
const (
	minLogField = 1 + 4 + 4 + 4 + 1
	minLogValue = 4 + 4 + 1
)

// NewLogWrite is the message that pushes w to a logger.
func NewLogWrite(sender string, w LogWrite) (Message, error) {
	payload, err := AppendLogWrite(nil, w)
	if err != nil {
		return Message{}, err
	}
	return Message{Topic: []byte(TopicLogWrite), Sender: []byte(sender), Format: []byte(FormatLog), Payload: payload}, nil
}

// AppendLogWrite appends w in the format of log writes to dst. It refuses values whose Data is not of their
// Type, records that do not have a value for each field, and what is beyond MaxPayload or MaxValues. After an
// error the result is dst.
func AppendLogWrite(dst []byte, w LogWrite) ([]byte, error) {
	a := logAppender{b: dst, start: len(dst)}
	if err := a.write(w); err != nil {
		return dst, fmt.Errorf("cannot write to log %q: %w", clip(w.Path), err)
	}
	return a.b, nil
}

type logAppender struct {
	b      []byte
	start  int
	values int
}

func (a *logAppender) write(w LogWrite) error {
	for _, s := range []string{w.Stream, w.Writer, w.Filter, w.Path} {
		if err := a.text(s); err != nil {
			return err
		}
	}
	a.uint32(len(w.Fields))
	for _, f := range w.Fields {
		a.bool(f.Secondary != nil)
		if f.Secondary != nil {
			if err := a.text(*f.Secondary); err != nil {
				return err
			}
		}
		if err := a.text(f.Name); err != nil {
			return err
		}
		a.uint32(int(f.Type))
		a.uint32(int(f.Subtype))
		a.bool(f.Optional)
	}
	a.uint32(len(w.Records))
	if len(w.Fields) == 0 && len(w.Records) > 0 {
		return errors.New("there are records without fields")
	}
	for i, record := range w.Records {
		if len(record) != len(w.Fields) {
			return fmt.Errorf("record %d has %d values for %d fields", i, len(record), len(w.Fields))
		}
		for j, v := range record {
			if err := a.value(v, false); err != nil {
				return fmt.Errorf("field %q of record %d: %w", clip(w.Fields[j].Name), i, err)
			}
		}
	}
	return a.size()
}

// value appends v; inside says that it is an element of a set or vector.
func (a *logAppender) value(v LogValue, inside bool) error {
	if a.values++; a.values > MaxValues {
		return fmt.Errorf("more than %d values", MaxValues)
	}
	a.uint32(int(v.Type))
	a.uint32(int(v.Subtype))
	a.bool(v.Data != nil)
	if v.Data == nil {
		return a.size()
	}
	ok := false
	switch v.Type {
	case TypeBool:
		var d bool
		if d, ok = v.Data.(bool); d {
			a.uint64(1)
		} else {
			a.uint64(0)
		}
	case TypeInt:
		var d int64
		d, ok = v.Data.(int64)
		a.uint64(uint64(d))
	case TypeCount:
		var d uint64
		d, ok = v.Data.(uint64)
		a.uint64(d)
	case TypeDouble, TypeTime, TypeInterval:
		var d float64
		d, ok = v.Data.(float64)
		a.uint64(math.Float64bits(d))
	case TypeString, TypeEnum, TypeFile, TypeFunc:
		var d string
		if d, ok = v.Data.(string); ok {
			return a.text(d)
		}
	case TypePort:
		var d Port
		d, ok = v.Data.(Port)
		if ok = ok && d.Protocol <= ICMP; ok {
			a.uint64(uint64(d.Number))
			a.uint32(int(d.Protocol))
		}
	case TypeAddr:
		var d netip.Addr
		if d, ok = v.Data.(netip.Addr); ok {
			if err := checkAddress(d); err != nil {
				return err
			}
			a.address(d)
		}
	case TypeSubnet:
		var d netip.Prefix
		if d, ok = v.Data.(netip.Prefix); ok {
			return a.subnet(d)
		}
	case TypeSet, TypeVector:
		var d []LogValue
		d, ok = v.Data.([]LogValue)
		if ok = ok && !inside; ok {
			a.uint64(uint64(len(d)))
			for _, e := range d {
				if err := a.value(e, true); err != nil {
					return err
				}
			}
		}
	}
	if !ok {
		return fmt.Errorf("a value of type %d cannot be %T", v.Type, v.Data)
	}
	return a.size()
}

func (a *logAppender) address(d netip.Addr) {
	if d = d.Unmap(); d.Is4() {
		b := d.As4()
		a.b = append(append(a.b, 4), b[:]...)
		return
	}
	b := d.As16()
	a.b = append(append(a.b, 6), b[:]...)
}

// subnet writes the length on the scale of IPv6 for IPv4, too, as Zeek does.
func (a *logAppender) subnet(d netip.Prefix) error {
	d, err := plainPrefix(d)
	if err != nil {
		return err
	}
	bits := d.Bits()
	if d.Addr().Is4() {
		bits += 96
	}
	a.b = append(a.b, byte(bits))
	a.address(d.Addr())
	return a.size()
}

func (a *logAppender) text(s string) error {
	if len(s) > MaxPayload {
		return fmt.Errorf("a text of %d bytes: more than %d", len(s), MaxPayload)
	}
	a.uint32(len(s))
	a.b = append(a.b, s...)
	return a.size()
}

func (a *logAppender) uint32(n int)    { a.b = binary.BigEndian.AppendUint32(a.b, uint32(n)) }
func (a *logAppender) uint64(n uint64) { a.b = binary.BigEndian.AppendUint64(a.b, n) }

func (a *logAppender) bool(t bool) {
	n := byte(0)
	if t {
		n = 1
	}
	a.b = append(a.b, n)
}

func (a *logAppender) size() error {
	if len(a.b)-a.start > MaxPayload {
		return fmt.Errorf("more than %d bytes", MaxPayload)
	}
	return nil
}
