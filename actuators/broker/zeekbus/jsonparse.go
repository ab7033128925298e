package zeekbus

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
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

// maxSkip bounds how deep objects and arrays are nested in a value that is passed over for its type.
const maxSkip = 3*MaxDepth + 2

type jsonReader struct {
	s       string
	pos     int
	values  int
	scratch []byte // elements of a set in the other format, to compare them
}

func (r *jsonReader) fail(reason string, args ...any) error {
	return &FormatError{FormatJSON, r.pos, fmt.Sprintf(reason, args...)}
}

func (r *jsonReader) blanks() {
	for r.pos < len(r.s) && strings.IndexByte(" \t\r\n", r.s[r.pos]) >= 0 {
		r.pos++
	}
}

// peek is the next byte that is no blank, 0 at the end.
func (r *jsonReader) peek() byte {
	if r.blanks(); r.pos < len(r.s) {
		return r.s[r.pos]
	}
	return 0
}

func (r *jsonReader) expect(c byte) error {
	if r.peek() != c || r.pos == len(r.s) {
		return r.fail("%q expected", c)
	}
	r.pos++
	return nil
}

// key reads a member's name and the colon.
func (r *jsonReader) key() (string, error) {
	k, err := r.text()
	if err != nil {
		return "", err
	}
	return k, r.expect(':')
}

// name reads one member's name, which has to be that.
func (r *jsonReader) name(want string) error {
	r.blanks()
	at := r.pos
	k, err := r.key()
	if err != nil {
		return err
	}
	if k != want {
		r.pos = at
		return r.fail("%q expected", want)
	}
	return nil
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
		// The type comes behind it: look there first. Each level is passed over once for each level above.
		data := r.pos
		if err := r.skip(1); err != nil {
			return nil, err
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
		return r.fail("this is no %s", kind)
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

// list reads an array, and calls element at the beginning of each.
func (r *jsonReader) list(element func() error) error {
	if err := r.expect('['); err != nil {
		return err
	}
	if r.peek() == ']' {
		r.pos++
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		if r.peek() != ',' {
			return r.expect(']')
		}
		r.pos++
	}
}

// skip passes over any value.
func (r *jsonReader) skip(depth int) error {
	if depth > maxSkip {
		return r.fail("values are nested deeper than %d", MaxDepth)
	}
	switch r.peek() {
	case '"':
		_, err := r.text()
		return err
	case '[':
		return r.list(func() error { return r.skip(depth + 1) })
	case '{':
		r.pos++
		if r.peek() == '}' {
			r.pos++
			return nil
		}
		for {
			if _, err := r.key(); err != nil {
				return err
			}
			if err := r.skip(depth + 1); err != nil {
				return err
			}
			if r.peek() != ',' {
				return r.expect('}')
			}
			r.pos++
		}
	}
	if r.word() == "" {
		return r.fail("a value expected")
	}
	return nil
}

// word reads what can be a number or a name.
func (r *jsonReader) word() string {
	r.blanks()
	at := r.pos
	for r.pos < len(r.s) {
		c := r.s[r.pos]
		if !isAlnum(c) && c != '+' && c != '-' && c != '.' {
			break
		}
		r.pos++
	}
	return r.s[at:r.pos]
}

// text reads a quoted text. Without an escape in it, it shares the copy of the payload.
func (r *jsonReader) text() (string, error) {
	if err := r.expect('"'); err != nil {
		return "", err
	}
	at := r.pos
	i := strings.IndexAny(r.s[at:], `"\`)
	if i < 0 {
		return "", r.fail("a text without an end")
	}
	if r.pos += i; r.s[r.pos] == '"' {
		r.pos++
		return r.s[at : r.pos-1], nil
	}
	return r.escaped(r.s[at:r.pos])
}

// escaped reads the rest of a text from its first escape on.
func (r *jsonReader) escaped(begin string) (string, error) {
	b := []byte(begin)
	for r.pos < len(r.s) {
		c := r.s[r.pos]
		switch c {
		case '"':
			r.pos++
			return string(b), nil
		case '\\':
			if r.pos+1 == len(r.s) {
				return "", r.fail("a text without an end")
			}
			e := r.s[r.pos+1]
			if e == 'u' {
				u, err := r.codePoint()
				if err != nil {
					return "", err
				}
				b = utf8.AppendRune(b, u)
				continue
			}
			at := strings.IndexByte(`"\/bfnrtv`, e)
			if at < 0 {
				return "", r.fail("the unknown escape %q", "\\"+string(rune(e)))
			}
			b = append(b, "\"\\/\b\f\n\r\t\v"[at])
			r.pos += 2
		default:
			b = append(b, c)
			r.pos++
		}
	}
	return "", r.fail("a text without an end")
}

// codePoint reads \uXXXX, or two of them which together are one character.
func (r *jsonReader) codePoint() (rune, error) {
	u, ok := r.hex4(r.pos)
	if ok && u >= 0xd800 && u < 0xdc00 {
		low, second := r.hex4(r.pos + 6)
		if !second || low < 0xdc00 || low > 0xdfff {
			return 0, r.fail("half of a character")
		}
		r.pos += 12
		return (u-0xd800)<<10 + (low - 0xdc00) + 0x10000, nil
	}
	if !ok || u >= 0xdc00 && u <= 0xdfff {
		return 0, r.fail("an escape that is no character")
	}
	r.pos += 6
	return u, nil
}

func (r *jsonReader) hex4(at int) (rune, bool) {
	if len(r.s) < at+6 || r.s[at:at+2] != `\u` {
		return 0, false
	}
	u, err := strconv.ParseUint(r.s[at+2:at+6], 16, 16)
	return rune(u), err == nil
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

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
