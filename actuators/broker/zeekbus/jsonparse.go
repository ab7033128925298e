package zeekbus

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// ParseJSON reads one value in broker-json-v1 which takes up all of b. It takes what Zeek writes, with
// blanks, and with type and data of a value in any order, but no other members. AppendJSON of the result
// can be read again to the same; it refuses infinite reals, which Zeek writes and does not read. Memory is bounded as with ParseBin. Errors are *FormatError.
//
// Strings are bytes here, as Zeek writes them: not always UTF-8, and control characters unescaped.
func ParseJSON(b []byte) (Value, error) {
	if len(b) > MaxPayload {
		return nil, &FormatError{FormatJSON, 0, fmt.Sprintf("%d bytes are more than %d", len(b), MaxPayload)}
	}
	r := jsonReader{s: string(b)}
	v, err := r.value(1)
	if err != nil {
		return nil, err
	}
	if r.blanks(); r.pos < len(r.s) {
		return nil, r.fail("%d bytes behind the value", len(r.s)-r.pos)
	}
	return v, nil
}

func (r *jsonReader) value(depth int) (Value, error) {
	if r.values++; r.values > MaxValues {
		return nil, r.fail("more than %d values", MaxValues)
	}
	if depth > MaxDepth {
		return nil, r.fail("values are nested deeper than %d", MaxDepth)
	}
	if err := r.expect('{'); err != nil {
		return nil, err
	}
	r.blanks()
	at := r.pos
	first, err := r.key()
	if err != nil {
		return nil, err
	}
	switch first {
	case "@data-type":
		kind, err := r.text()
		if err != nil {
			return nil, err
		}
		if err := r.expect(','); err != nil {
			return nil, err
		}
		if err := r.name("data"); err != nil {
			return nil, err
		}
		v, err := r.data(kind, depth)
		if err != nil {
			return nil, err
		}
		return v, r.expect('}')
	case "data":
		// The type comes behind it: look there first. What is inside is passed over once for each level above.
		data := r.pos
		if err := r.skip(1); err != nil {
			return nil, err
		}
		if r.skipped += r.pos - data; r.skipped > MaxPayload {
			return nil, r.fail("too much data in front of its types")
		}
		if err := r.expect(','); err != nil {
			return nil, err
		}
		if err := r.name("@data-type"); err != nil {
			return nil, err
		}
		kind, err := r.text()
		if err != nil {
			return nil, err
		}
		if err := r.expect('}'); err != nil {
			return nil, err
		}
		end := r.pos
		r.pos = data
		v, err := r.data(kind, depth)
		r.pos = end
		return v, err
	}
	r.pos = at
	return nil, r.fail("%q expected", "@data-type")
}

// data reads what belongs to a type.
func (r *jsonReader) data(kind string, depth int) (Value, error) {
	r.blanks()
	at := r.pos
	// refused is the error of data that is not what the type needs.
	refused := func() error {
		r.pos = at
		return r.fail("this is no %q", clip(kind))
	}
	switch kind {
	case "none":
		if r.peek() == 'n' {
			if r.word() != "null" {
				return nil, refused()
			}
			return None{}, nil
		}
		if err := r.expect('{'); err != nil {
			return nil, refused()
		}
		if err := r.expect('}'); err != nil {
			return nil, refused()
		}
		return None{}, nil
	case "boolean":
		switch r.word() {
		case "true":
			return Boolean(true), nil
		case "false":
			return Boolean(false), nil
		}
		return nil, refused()
	case "count":
		u, err := strconv.ParseUint(r.word(), 10, 64)
		if err != nil || !wholeNumber(r.s[at:r.pos]) {
			return nil, refused()
		}
		return Count(u), nil
	case "integer":
		i, err := strconv.ParseInt(r.word(), 10, 64)
		if err != nil || !wholeNumber(strings.TrimPrefix(r.s[at:r.pos], "-")) {
			return nil, refused()
		}
		return Integer(i), nil
	case "real":
		f, ok := parseReal(r.word())
		if !ok {
			return nil, refused()
		}
		return Real(f), nil
	case "set":
		return r.set(depth)
	case "table":
		return r.table(depth)
	case "vector":
		v := Vector{}
		err := r.list(func() error {
			e, err := r.value(depth + 1)
			v = append(v, e)
			return err
		})
		return v, err
	}
	if r.peek() != '"' {
		return nil, refused()
	}
	s, err := r.text()
	if err != nil {
		return nil, err
	}
	v, ok := fromText(kind, s)
	if !ok {
		return nil, refused()
	}
	return v, nil
}

// fromText makes the kinds of values that are texts in JSON.
func fromText(kind, s string) (Value, bool) {
	switch kind {
	case "string":
		return String(s), true
	case "enum-value":
		return Enum(s), true
	case "address":
		a, err := netip.ParseAddr(s)
		return Address{a.Unmap()}, err == nil && a.Zone() == ""
	case "subnet":
		p, err := netip.ParsePrefix(s)
		return Subnet{p}, err == nil && !p.Addr().Is4In6()
	case "port":
		number, protocol, _ := strings.Cut(s, "/")
		n, err := strconv.ParseUint(number, 10, 16)
		for i, name := range protocolNames {
			if name == protocol {
				return Port{uint16(n), Protocol(i)}, err == nil && wholeNumber(number)
			}
		}
	case "timestamp":
		return parseMoment(s)
	case "timespan":
		return parseTimespan(s)
	}
	return nil, false
}

func (r *jsonReader) set(depth int) (Value, error) {
	s := Set{}
	distinct := r.distinct()
	err := r.list(func() error {
		e, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		s = append(s, e)
		return distinct.add(e)
	})
	if err == nil && distinct.twice() {
		err = r.fail("a set has an element twice")
	}
	return s, err
}

func (r *jsonReader) table(depth int) (Value, error) {
	t := Table{}
	distinct := r.distinct()
	err := r.list(func() error {
		if err := r.expect('{'); err != nil {
			return err
		}
		if err := r.name("key"); err != nil {
			return err
		}
		k, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		if err := r.expect(','); err != nil {
			return err
		}
		if err := r.name("value"); err != nil {
			return err
		}
		v, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		t = append(t, Entry{k, v})
		if err := distinct.add(k); err != nil {
			return err
		}
		return r.expect('}')
	})
	if err == nil && distinct.twice() {
		err = r.fail("a table has a key twice")
	}
	return t, err
}

// distinct collects what has to be different. Those of the levels above stay before start in the scratch.
type distinct struct {
	r     *jsonReader
	start int
	spans []span
}

func (r *jsonReader) distinct() *distinct { return &distinct{r: r, start: len(r.scratch)} }

func (d *distinct) add(v Value) error {
	from := len(d.r.scratch)
	b, err := AppendBin(d.r.scratch, v)
	if err != nil {
		return d.r.fail("%s", err)
	}
	d.r.scratch, d.spans = b, append(d.spans, span{from, len(b)})
	return nil
}

func (d *distinct) twice() bool {
	_, twice := repeated(d.r.scratch, d.spans)
	d.r.scratch = d.r.scratch[:d.start]
	return twice
}

// wholeNumber reports whether s is digits without a zero before them.
func wholeNumber(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s == "0" || s != "" && s[0] != '0'
}

// parseReal wants a point or an exponent, as Zeek does. Zeek also writes, but does not read, what is infinite.
func parseReal(s string) (float64, bool) {
	switch s {
	case "nan", "-nan":
		return math.NaN(), true
	case "inf":
		return math.Inf(1), true
	case "-inf":
		return math.Inf(-1), true
	}
	digits := strings.TrimPrefix(s, "-")
	whole := strings.IndexAny(digits, ".eE")
	// Go's own syntax has more: hexadecimal, and underscores.
	if whole < 0 || !wholeNumber(digits[:whole]) || strings.ContainsAny(digits, "xXpP_") {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

// parseMoment reads ISO 8601 with up to nine decimals, in UTC or with an offset from it.
func parseMoment(s string) (Value, bool) {
	if len(s) > len(layoutNanos)+len("+00:00") || strings.Contains(s, ",") {
		return nil, false
	}
	t, err := time.Parse(layoutSeconds, s)
	if err != nil {
		t, err = time.Parse(layoutSeconds+"Z07:00", s)
	}
	v := TimestampOf(t)
	return v, err == nil && v.Time().Equal(t)
}

func parseTimespan(s string) (Value, bool) {
	unit := strings.TrimLeft(s, "-0123456789")
	n, err := strconv.ParseInt(strings.TrimSuffix(s, unit), 10, 64)
	if err != nil {
		return nil, false
	}
	for _, u := range timeUnits {
		if u.name == unit {
			d := n * int64(u.unit)
			return Timespan(d), d/int64(u.unit) == n
		}
	}
	return nil, false
}
