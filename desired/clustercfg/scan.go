package clustercfg

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// document is what the pre-pass makes of a file.
type document struct {
	defaults *section   // [DEFAULT], which may be there several times
	sections []*section // in the file's order, without [DEFAULT] and the doubles
	own      []*ownSection
	lines    int
}

// section is one [name] in the grammar of configparser.
type section struct {
	name    string
	line    int
	entries []*entry
	index   map[string]*entry
}

// entry is one key of a section.
type entry struct {
	key      string // lower-cased
	line     int
	hasValue bool
	value    string // all its lines, joined; not interpolated
	parts    []string
}

// maxElements bounds sections and keys together, with room for 10,000 nodes of many keys.
const maxElements = 200_000

const (
	defaultSection   = "DEFAULT"
	instancesSection = "instances"
)

// scanner goes over the physical lines as configparser's _read does.
type scanner struct {
	rep    *report
	doc    *document
	cur    *section    // nil before the first header and in sections of our own
	own    *ownSection // the section of our own that the scanner is in
	entry  *entry      // that a deeper line would continue
	indent int         // of the last header or key
	names  map[string]*section
	owns   map[string]*ownSection
	count  int
	orphan bool // a line before the first header was reported
}

// scan splits a text (valid UTF-8 without control characters, "\n" for line ends) into sections and keys. It
// returns nil when the file is too large to go on.
func scan(text string, rep *report) *document {
	s := &scanner{
		rep:   rep,
		doc:   &document{defaults: newSection(defaultSection, 0)},
		names: map[string]*section{},
		owns:  map[string]*ownSection{},
	}
	for raw := range strings.SplitSeq(text, "\n") {
		s.doc.lines++
		s.line(raw, s.doc.lines)
		if s.count > maxElements {
			rep.only()
			rep.error(s.doc.lines, "too-large", fmt.Sprintf("more than %d sections and keys", maxElements), "this cannot be one cluster; is it the right file?")
			return nil
		}
	}
	if strings.HasSuffix(text, "\n") {
		s.doc.lines--
	}
	for _, sec := range append([]*section{s.doc.defaults}, s.doc.sections...) {
		for _, e := range sec.entries {
			e.value = rstrip(strings.Join(e.parts, "\n"))
			e.parts = nil
		}
	}
	return s.doc
}

func newSection(name string, line int) *section {
	return &section{name: name, line: line, index: map[string]*entry{}}
}

func (s *scanner) line(raw string, line int) {
	text := strip(raw)
	if _, ok := header(text); s.own != nil && !ok {
		s.own.end = line
	}
	if text != "" && (text[0] == '#' || text[0] == ';') {
		return // also in the midst of a value, which goes on
	}
	if s.own != nil {
		if _, ok := header(text); !ok {
			s.ownLine(text, line)
			return
		}
	}
	if text == "" {
		if s.entry != nil && s.entry.hasValue {
			s.entry.parts = append(s.entry.parts, "")
		}
		return
	}
	depth := indentation(raw)
	if s.own == nil && s.entry != nil && depth > s.indent {
		s.proceed(text, line)
		return
	}
	s.indent = depth
	if name, ok := ownHeader(text); ok {
		s.openOwn(name, line)
		return
	}
	if name, ok := header(text); ok {
		s.open(name, line)
		return
	}
	if s.cur == nil {
		if !s.orphan {
			s.orphan = true
			s.rep.error(line, "no-section", "the file does not begin with a [section]: "+quote(text)+" belongs to none", "begin with [instances], [NAME-OF-A-NODE] or a comment (#)")
		}
		return
	}
	s.key(text, line)
}

// proceed continues the value of the last key.
func (s *scanner) proceed(text string, line int) {
	if !s.entry.hasValue {
		s.rep.error(line, "continued-without-value", fmt.Sprintf("this line is indented deeper than %s on line %d, which has no value that it could continue", quote(s.entry.key), s.entry.line), "indent it like the key, or give the key a value")
		return
	}
	if key, _, ok := cut(text); ok && isNodeKey(lower(key)) && s.cur.name != instancesSection {
		s.rep.warn(line, "continued-value", fmt.Sprintf("%s continues the value of %s on line %d, because it is indented deeper", quote(text), quote(s.entry.key), s.entry.line), "if it is meant as a key, indent it like the others")
	}
	s.entry.parts = append(s.entry.parts, text)
}

// open begins the section of a header. One that is there twice is read, so that its keys are checked, and left out.
func (s *scanner) open(name string, line int) {
	s.own, s.entry = nil, nil
	if name == defaultSection {
		s.cur = s.doc.defaults
		return
	}
	s.count++
	s.cur = newSection(name, line)
	first, double := s.names[name]
	switch {
	case !double:
		s.names[name] = s.cur
		s.doc.sections = append(s.doc.sections, s.cur)
	case name == instancesSection:
		s.rep.error(line, "duplicate-section", fmt.Sprintf("section [instances] is there twice, on lines %d and %d", first.line, line), "put all instances under the first")
	default:
		s.rep.error(line, "duplicate-node", fmt.Sprintf("multiple nodes named '%s'", name), fmt.Sprintf("the first is on line %d, this one on line %d: rename one of them", first.line, line))
	}
}

// key begins an option: KEY, KEY = VALUE or KEY: VALUE.
func (s *scanner) key(text string, line int) {
	s.entry = nil
	s.count++
	stated, value, hasValue := cut(text)
	if stated == "" {
		s.rep.error(line, "no-key", "nothing stands before the "+quote(text[:1]), "write KEY = VALUE")
		return
	}
	key := lower(stated)
	e := &entry{key: key, line: line, hasValue: hasValue}
	if hasValue {
		e.parts = []string{value}
	}
	s.entry = e
	first, double := s.cur.index[key]
	switch {
	case !double:
		s.cur.index[key] = e
		s.cur.entries = append(s.cur.entries, e)
	case s.cur.name == instancesSection:
		hint := fmt.Sprintf("the first is on line %d, this one on line %d: keep one", first.line, line)
		if stated != key {
			hint += " (names of instances are read in lower case)"
		}
		s.rep.error(line, "duplicate-instance", fmt.Sprintf("multiple instances named '%s'", key), hint)
	default:
		s.rep.error(line, "duplicate-key", fmt.Sprintf("%s is stated twice in [%s], on lines %d and %d", quote(key), s.cur.name, first.line, line), "keep one of them")
	}
}

// cut splits a line at the first "=" or ":", whichever comes first.
func cut(text string) (key, value string, ok bool) {
	i := strings.IndexAny(text, "=:")
	if i < 0 {
		return text, "", false
	}
	return rstrip(text[:i]), strip(text[i+1:]), true
}

// header returns the name in a section header: all up to the last bracket. What follows that is ignored.
func header(text string) (string, bool) {
	end := strings.LastIndexByte(text, ']')
	if end < 2 || text[0] != '[' {
		return "", false
	}
	return text[1:end], true
}

// indentation counts the characters before the first that is not blank.
func indentation(raw string) int {
	return utf8.RuneCountInString(raw[:len(raw)-len(strings.TrimLeftFunc(raw, isBlank))])
}
