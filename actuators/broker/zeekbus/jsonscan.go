package zeekbus

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// jsonReader reads JSON whose texts are bytes, from one copy of a payload.
type jsonReader struct {
	s       string
	pos     int
	values  int
	skipped int    // bytes that were passed over, the same ones once for each level
	scratch []byte // elements of a set in the other format, to compare them
}

// maxSkip bounds how deep objects and arrays are nested in a value that is passed over for its type.
const maxSkip = 3*MaxDepth + 2

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

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
