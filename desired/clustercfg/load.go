package clustercfg

import (
	"fmt"
	"net/url"
	"strings"

	"gopkg.in/ini.v1"
)

// batchSize is how many keys ini.v1 is given at a time: it looks for doubles by going through all keys of
// a section and all sections of a file, which takes quadratic time.
const batchSize = 256

// lineEnd stands for a line end in a value, since a file with that character is refused.
const lineEnd = "\x00"

// load has ini.v1 read the normalised text, and takes the values of all entries from there.
func (d *document) load() error {
	b := &batch{}
	for _, sec := range append([]*section{d.defaults}, d.sections...) {
		for _, e := range sec.entries {
			b.add(sec, e)
			if len(b.entries) < batchSize {
				continue
			}
			if err := b.flush(); err != nil {
				return err
			}
		}
	}
	return b.flush()
}

// batch is a piece of the normalised text, and the entries that it has lines for.
type batch struct {
	text    strings.Builder
	last    *section // whose header was written last
	entries []located
}

type located struct {
	section string
	*entry
}

func (b *batch) add(sec *section, e *entry) {
	if b.last != sec {
		b.last = sec
		b.text.WriteString("[" + sec.name + "]\n")
	}
	b.entries = append(b.entries, located{sec.name, e})
	b.text.WriteString(iniKey(e.key))
	if e.hasValue {
		b.text.WriteString(" = `" + strings.ReplaceAll(e.value, "\n", lineEnd) + "`")
	}
	b.text.WriteByte('\n')
}

func (b *batch) flush() error {
	if len(b.entries) == 0 {
		return nil
	}
	f, err := ini.LoadSources(ini.LoadOptions{
		AllowBooleanKeys:        true, // keys without a value
		IgnoreInlineComment:     true,
		IgnoreContinuation:      true, // a backslash at the end
		PreserveSurroundedQuote: true,
		KeyValueDelimiters:      "=",
	}, []byte(b.text.String()))
	if err != nil {
		return fmt.Errorf("cannot read the normalised text: %w", err)
	}
	for _, e := range b.entries {
		sec, err := f.GetSection(e.section)
		if err != nil {
			return fmt.Errorf("cannot find section %q in the normalised text: %w", e.section, err)
		}
		key, err := sec.GetKey(iniKey(e.key))
		if err != nil {
			return fmt.Errorf("cannot find line %d in the normalised text: %w", e.line, err)
		}
		if e.hasValue {
			e.value = strings.ReplaceAll(key.Value(), lineEnd, "\n")
		}
	}
	b.text.Reset()
	b.last, b.entries = nil, b.entries[:0]
	return nil
}

// iniKey encodes a key so that ini.v1 takes it for nothing else; ordinary ones stay what they are.
func iniKey(key string) string {
	if key == "-" {
		return "%2D" // else: a key to be numbered
	}
	return url.QueryEscape(key)
}
