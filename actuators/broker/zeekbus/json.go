package zeekbus

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// AppendJSON appends v in broker-json-v1 to dst, with the bytes that Zeek would write, and more digits where
// Zeek's would lose some: Zeek rounds reals to six decimals and moments to milliseconds. It refuses what
// AppendBin refuses, and infinite reals, which the format has no word for. After an error the result is dst.
func AppendJSON(dst []byte, v Value) ([]byte, error) {
	// All the conditions are those of the other format, which is needed to compare elements of sets, too.
	if _, err := AppendBin(nil, v); err != nil {
		return dst, fmt.Errorf("cannot write broker-json-v1: %w", errors.Unwrap(err))
	}
	b, err := appendJSON(dst, v)
	if err == nil && len(b)-len(dst) > MaxPayload {
		err = fmt.Errorf("more than %d bytes", MaxPayload)
	}
	if err != nil {
		return dst, fmt.Errorf("cannot write broker-json-v1: %w", err)
	}
	return b, nil
}

// appendJSON relies on v having passed AppendBin.
func appendJSON(b []byte, v Value) ([]byte, error) {
	b = append(b, `{"@data-type":"`...)
	b = append(b, v.Kind().String()...)
	b = append(b, `","data":`...)
	var err error
	switch v := v.(type) {
	case None:
		b = append(b, "{}"...)
	case Boolean:
		b = strconv.AppendBool(b, bool(v))
	case Count:
		b = strconv.AppendUint(b, uint64(v), 10)
	case Integer:
		b = strconv.AppendInt(b, int64(v), 10)
	case Real:
		b, err = appendReal(b, float64(v))
	case String:
		b = appendQuoted(b, string(v))
	case Enum:
		b = appendQuoted(b, string(v))
	case Address:
		b = v.Unmap().AppendTo(append(b, '"'))
		b = append(b, '"')
	case Subnet:
		p, _ := plainPrefix(v.Prefix)
		b = p.AppendTo(append(b, '"'))
		b = append(b, '"')
	case Port:
		b = append(append(append(b, '"'), v.String()...), '"')
	case Timestamp:
		b = appendMoment(b, v)
	case Timespan:
		b = appendTimespan(b, time.Duration(v))
	case Set:
		b, err = appendList(b, v)
	case Vector:
		b, err = appendList(b, v)
	case Table:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendJSON(append(b, `{"key":`...), e.Key); err != nil {
				return b, err
			}
			if b, err = appendJSON(append(b, `,"value":`...), e.Value); err != nil {
				return b, err
			}
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	return append(b, '}'), err
}

func appendList(b []byte, vs []Value) ([]byte, error) {
	b = append(b, '[')
	for i, e := range vs {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendJSON(b, e); err != nil {
			return b, err
		}
	}
	return append(b, ']'), nil
}

// appendReal writes six decimals, as Zeek does, where they are all of f, and otherwise the fewest digits
// that are. Zeek takes a number for a real only with a point or an exponent, and does not read integral
// parts of more than 64 bits.
func appendReal(b []byte, f float64) ([]byte, error) {
	if math.IsNaN(f) {
		return append(b, "nan"...), nil
	}
	if math.IsInf(f, 0) {
		return b, errors.New("an infinite real")
	}
	start := len(b)
	if math.Abs(f) < 1e18 {
		b = strconv.AppendFloat(b, f, 'f', 6, 64)
		if same, err := strconv.ParseFloat(string(b[start:]), 64); err == nil && math.Float64bits(same) == math.Float64bits(f) {
			return b, nil
		}
		b = b[:start]
	}
	return strconv.AppendFloat(b, f, 'e', -1, 64), nil
}

// appendQuoted escapes what Zeek escapes and nothing else, so that bytes which are not UTF-8 get through;
// and NUL, at which Zeek's reader would take the text to end.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, `\b`...)
		case '\f':
			b = append(b, `\f`...)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		case '\v':
			b = append(b, `\v`...)
		case 0:
			b = append(b, `\u0000`...)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// The layouts of moments: without a zone, meaning UTC.
const (
	layoutSeconds = "2006-01-02T15:04:05"
	layoutMillis  = "2006-01-02T15:04:05.000"
	layoutNanos   = "2006-01-02T15:04:05.000000000"
)

func appendMoment(b []byte, t Timestamp) []byte {
	layout := layoutNanos
	if t%1e6 == 0 {
		layout = layoutMillis
	}
	return append(t.Time().AppendFormat(append(b, '"'), layout), '"')
}

// timeUnits are the units of a timespan that are written, finest first; and those that are read besides.
var timeUnits = [...]struct {
	name string
	unit time.Duration
}{{"ns", 1}, {"us", time.Microsecond}, {"ms", time.Millisecond}, {"s", time.Second}, {"min", time.Minute}, {"h", time.Hour}}

// appendTimespan writes d in the greatest unit up to seconds that loses nothing.
func appendTimespan(b []byte, d time.Duration) []byte {
	at := 3
	for at > 0 && d%timeUnits[at].unit != 0 {
		at--
	}
	b = strconv.AppendInt(append(b, '"'), int64(d/timeUnits[at].unit), 10)
	return append(append(b, timeUnits[at].name...), '"')
}
