package clustercfg

import (
	"fmt"
	"strings"
)

// ownSection is [zeekrec] or [zeekrec.…], in a grammar of its own (decisions 19).
type ownSection struct {
	name    string
	line    int
	end     int // the last line that belongs to it, comments and blanks included
	entries []ownEntry
	index   map[string]int // line, by key
}

type ownEntry struct {
	key, value string
	line       int
}

const ownName = "zeekrec"

// ownHeader returns the name in the header of a section of our own. A comment may follow, brackets and
// all; so it is the first bracket that ends the name.
func ownHeader(text string) (string, bool) {
	if text == "" || text[0] != '[' {
		return "", false
	}
	name, _, ok := strings.Cut(text[1:], "]")
	if !ok || name != ownName && !strings.HasPrefix(name, ownName+".") {
		return "", false
	}
	return name, true
}

func (s *scanner) openOwn(name string, line int) {
	s.count++
	s.cur, s.entry = nil, nil
	s.own = &ownSection{name: name, line: line, end: line, index: map[string]int{}}
	if first, double := s.owns[name]; double {
		s.rep.error(line, "duplicate-section", fmt.Sprintf("section [%s] is there twice, on lines %d and %d", name, first.line, line), "put all its keys under the first")
		return // it is read and left out
	}
	s.owns[name] = s.own
	s.doc.own = append(s.doc.own, s.own)
}

// ownLine reads KEY = VALUE, where the first "=" separates and " #" begins a comment.
func (s *scanner) ownLine(text string, line int) {
	if text == "" {
		return
	}
	s.count++
	key, value, ok := strings.Cut(withoutComment(text), "=")
	key = strip(key)
	switch {
	case !ok:
		s.rep.error(line, "no-value", fmt.Sprintf("%s in [%s] has no \"=\"", quote(text), s.own.name), "write KEY = VALUE")
		return
	case key == "":
		s.rep.error(line, "no-key", "nothing stands before the \"=\"", "write KEY = VALUE")
		return
	}
	if first, double := s.own.index[key]; double {
		s.rep.error(line, "duplicate-key", fmt.Sprintf("%s is stated twice in [%s], on lines %d and %d", quote(key), s.own.name, first, line), "keep one of them")
		return
	}
	s.own.index[key] = line
	s.own.entries = append(s.own.entries, ownEntry{key: key, value: strip(value), line: line})
}

// withoutComment cuts a line at the first "#" that follows a blank.
func withoutComment(text string) string {
	for i := 1; i < len(text); i++ {
		if text[i] == '#' && (text[i-1] == ' ' || text[i-1] == '\t') {
			return text[:i]
		}
	}
	return text
}

// OwnText returns the sections of zeekrec's own in a file, as they are written, comments within them included; empty where it
// has none. They can stand at the beginning of another file.
func OwnText(data []byte) []byte {
	text := newlines(string(data))
	doc := scan(text, newReport(""))
	if doc == nil {
		return nil
	}
	lines := strings.Split(text, "\n")
	var b strings.Builder
	for _, sec := range doc.own {
		part := strings.Join(lines[sec.line-1:sec.end], "\n")
		b.WriteString(strings.TrimRight(part, " \t\n") + "\n\n")
	}
	return []byte(b.String())
}
