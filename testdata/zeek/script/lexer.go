package script

import (
	"strings"
)

type kind int

const (
	eof       kind = iota
	word           // identifiers with their "::", numbers with their unit or protocol, addresses
	str            // the text without its quotes
	pattern        // /…/
	punct          // operators and brackets
	directive      // @load and its kind; rest is what follows on the line
)

type token struct {
	kind kind
	text string
	rest string
	line int
}

// lexer cuts a script into tokens. It never fails: what it cannot read becomes a
// punctuation token of its own, which the reader then complains about.
type lexer struct {
	src  string
	pos  int
	line int
	// prev and before are the last two tokens, newest first.
	prev, before token
	// badString is the line of a string that its line did not end; 0: none.
	badString int
}

func newLexer(src string) *lexer { return &lexer{src: src, line: 1} }

func (x *lexer) next() token {
	t := x.scan()
	x.before, x.prev = x.prev, t
	return t
}

func (x *lexer) scan() token {
	x.skipBlanks()
	if x.pos >= len(x.src) {
		return token{kind: eof, line: x.line}
	}
	start, line := x.pos, x.line
	c := x.src[x.pos]
	switch {
	case c == '"':
		return x.scanString()
	case c == '@':
		x.advanceWhile(func(c byte) bool { return c == '@' || c == '-' || isWord(c) })
		name := x.src[start:x.pos]
		t := token{kind: directive, text: name, line: line}
		if takesLine(name) {
			end := len(x.src)
			if i := strings.IndexByte(x.src[x.pos:], '\n'); i >= 0 {
				end = x.pos + i
			}
			t.rest = strings.TrimSpace(stripComment(x.src[x.pos:end]))
			x.pos = end
		}
		return t
	case isWord(c):
		return token{kind: word, text: x.scanWord(), line: line}
	case c == '/' && x.patternMayFollow():
		if end := patternEnd(x.src[x.pos:]); end > 0 {
			x.pos += end
			x.advanceWhile(func(c byte) bool { return c == 'i' || c == 's' }) // /…/i
			return token{kind: pattern, text: x.src[start:x.pos], line: line}
		}
	}
	for _, op := range []string{"&&", "||", "==", "!=", "<=", ">=", "+=", "-="} {
		if strings.HasPrefix(x.src[x.pos:], op) {
			x.pos += len(op)
			return token{kind: punct, text: op, line: line}
		}
	}
	x.pos++
	return token{kind: punct, text: string(c), line: line}
}

func (x *lexer) skipBlanks() {
	for x.pos < len(x.src) {
		switch x.src[x.pos] {
		case '\n':
			x.line++
			x.pos++
		case ' ', '\t', '\r':
			x.pos++
		case '#':
			for x.pos < len(x.src) && x.src[x.pos] != '\n' {
				x.pos++
			}
		default:
			return
		}
	}
}

func (x *lexer) scanString() token {
	line := x.line
	for i := x.pos + 1; i < len(x.src) && x.src[i] != '\n'; i++ {
		switch x.src[i] {
		case '\\':
			i++
		case '"':
			text := x.src[x.pos+1 : i]
			x.pos = i + 1
			return token{kind: str, text: unescape(text), line: line}
		}
	}
	x.badString = line
	x.pos++
	return token{kind: punct, text: `"`, line: line}
}

// scanWord takes an identifier with its "::", or a number together with what Zeek
// takes for part of it: 127.0.0.1, 9000/tcp, 3sec, 1.5.
func (x *lexer) scanWord() string {
	start := x.pos
	for x.pos < len(x.src) {
		switch c := x.src[x.pos]; {
		case isWord(c):
			x.pos++
		case c == '.' && x.pos+1 < len(x.src) && isWord(x.src[x.pos+1]):
			x.pos++
		case c == ':' && strings.HasPrefix(x.src[x.pos:], "::") && x.pos+2 < len(x.src) && isWord(x.src[x.pos+2]):
			x.pos += 2
		case c == '/' && isProtocol(x.src[x.pos+1:]) && isDigits(x.src[start:x.pos]):
			x.pos++
		default:
			return x.src[start:x.pos]
		}
	}
	return x.src[start:x.pos]
}

func (x *lexer) advanceWhile(ok func(byte) bool) {
	for x.pos < len(x.src) && ok(x.src[x.pos]) {
		x.pos++
	}
}

// patternMayFollow tells a pattern from a division by what stands before it.
func (x *lexer) patternMayFollow() bool {
	switch x.prev.kind {
	case word:
		return x.prev.text == "in" || x.prev.text == "return"
	case punct:
		if x.prev.text == "|" { // /a/ | /b/ against |n| / 2
			return x.before.kind == pattern
		}
		return !strings.Contains(")]}", x.prev.text)
	}
	return x.prev.kind != str && x.prev.kind != pattern
}

// patternEnd is the length of the pattern that s begins with, 0 when s is none.
// In a pattern "…" quotes a slash, but [^"] is a plain quotation mark.
func patternEnd(s string) int {
	if n := patternEndQuoting(s, true); n > 0 {
		return n
	}
	return patternEndQuoting(s, false)
}

func patternEndQuoting(s string, quotes bool) int {
	quoted := false
	for i := 1; i < len(s) && s[i] != '\n'; i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = quotes && !quoted
		case s[i] == '/' && !quoted:
			return i + 1
		}
	}
	return 0
}

// takesLine says whether the rest of the line belongs to the directive. @DIR and
// @FILENAME are expressions.
func takesLine(name string) bool {
	switch name {
	case "@load", "@load-sigs", "@load-plugin", "@unload", "@prefixes", "@deprecated", "@pragma",
		"@if", "@ifdef", "@ifndef", "@else", "@endif":
		return true
	}
	return false
}

func stripComment(s string) string {
	quoted := false
	for i := range len(s) {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '#' && !quoted:
			return s[:i]
		}
	}
	return s
}

func unescape(s string) string {
	return strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n", `\t`, "\t").Replace(s)
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func isProtocol(s string) bool {
	for _, p := range []string{"tcp", "udp", "icmp", "unknown"} {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
