package clustercfg

import (
	"errors"
	"math"
	"strings"
	"unicode"
)

// This file has the few functions of Python whose results differ from those of Go's namesakes.

// isBlank is str.isspace. (Python counts U+001C to U+001F, too; a file with those is refused.)
func isBlank(r rune) bool { return unicode.IsSpace(r) }

func strip(s string) string { return strings.TrimFunc(s, isBlank) }

func rstrip(s string) string { return strings.TrimRightFunc(s, isBlank) }

// lower is str.lower, except for a capital sigma at the end of a Greek word.
func lower(s string) string {
	return strings.ToLower(strings.ReplaceAll(s, "\u0130", "i\u0307"))
}

// parseInt is int(): blanks around, a sign, single underscores between digits, digits of any script.
// What does not fit becomes the nearest int that does.
func parseInt(s string) (n int, ok bool) {
	s = strip(s)
	negative := false
	if s != "" && (s[0] == '+' || s[0] == '-') {
		negative = s[0] == '-'
		s = s[1:]
	}
	digit := false // whether the last character was one
	for _, r := range s {
		if r == '_' {
			if !digit {
				return 0, false
			}
			digit = false
			continue
		}
		d, isDigit := digitValue(r)
		if !isDigit {
			return 0, false
		}
		digit = true
		if n > (math.MaxInt-d)/10 {
			n = math.MaxInt
			continue
		}
		n = n*10 + d
	}
	if negative {
		n = -n
	}
	return n, digit
}

// digitValue of a decimal digit. Unicode has them in runs of ten, from zero to nine.
func digitValue(r rune) (int, bool) {
	if r >= '0' && r <= '9' {
		return int(r - '0'), true
	}
	if r < 0x80 || !unicode.Is(unicode.Nd, r) {
		return 0, false
	}
	for _, t := range unicode.Nd.R16 {
		if rune(t.Lo) <= r && r <= rune(t.Hi) {
			return int(r-rune(t.Lo)) % 10, true
		}
	}
	for _, t := range unicode.Nd.R32 {
		if rune(t.Lo) <= r && r <= rune(t.Hi) {
			return int(r-rune(t.Lo)) % 10, true
		}
	}
	return 0, false
}

// The two things that splitWords can stumble over.
var (
	errNoClosingQuote = errors.New("a quotation mark is not closed")
	errNothingEscaped = errors.New("nothing follows the backslash at the end")
)

// SplitWords is splitWords, for others who read what zeek-client and zeekctl read.
func SplitWords(s string) ([]string, error) { return splitWords(s) }

// splitWords is shlex.split: words as a POSIX shell splits them, without comments and expansions.
func splitWords(s string) ([]string, error) {
	const blanks = " \t\r\n"
	words := []string{}
	var word strings.Builder
	inWord := false // a word has begun, be it an empty one in quotes
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case strings.IndexByte(blanks, c) >= 0:
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		case c == '\\':
			i++
			if i == len(s) {
				return nil, errNothingEscaped
			}
			word.WriteByte(s[i])
			inWord = true
		case c == '\'' || c == '"':
			end, err := quoted(&word, s[i+1:], c)
			if err != nil {
				return nil, err
			}
			i += end + 1
			inWord = true
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// quoted appends what is between quotation marks, s being what follows the first; it returns where the
// second is. In double ones a backslash escapes itself and the mark, and else stands for itself.
func quoted(word *strings.Builder, s string, mark byte) (int, error) {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == mark:
			return i, nil
		case s[i] == '\\' && mark == '"':
			i++
			if i == len(s) {
				return 0, errNothingEscaped
			}
			if s[i] != '"' && s[i] != '\\' {
				word.WriteByte('\\')
			}
			word.WriteByte(s[i])
		default:
			word.WriteByte(s[i])
		}
	}
	return 0, errNoClosingQuote
}
