package clustercfg

import (
	"slices"

	"github.com/zeekrec/zeekrec/desired"
)

// QuoteWord writes what SplitWords reads as one word, in quotation marks where it needs them.
func QuoteWord(s string) string { return word(s) }

// INISection is a section of a file in the grammar of Python's configparser, with what it inherits from [DEFAULT].
type INISection struct {
	Name string
	Line int
	Keys []INIKey
}

// INIKey is a key, in lower case, with its value, interpolated.
type INIKey struct {
	Name, Value string
	Line        int
	// HasValue: there is an "=" or a ":".
	HasValue bool
}

// ReadINI reads a file that only has to be in the grammar of Python's configparser: zeekctl's node.cfg. The sections are in the
// file's order; what is wrong is said as Parse says it.
func ReadINI(f desired.ClusterFile) ([]INISection, []desired.Diagnostic) {
	rep := newReport(f.File)
	text, ok := readable(f, rep)
	if !ok {
		return nil, rep.diagnostics()
	}
	doc := scan(text, rep)
	if doc == nil {
		return nil, rep.diagnostics()
	}
	rep.lines = doc.lines
	r := &resolver{defaults: doc.defaults, used: map[*entry]bool{}}
	var out []INISection
	for _, sec := range doc.sections {
		s := INISection{Name: sec.name, Line: sec.line}
		for _, e := range append(slices.Clone(doc.defaults.entries), sec.entries...) {
			if sec.index[e.key] != nil && sec.index[e.key] != e {
				continue // stated anew
			}
			v, prob := r.resolve(sec, e)
			if prob != nil {
				rep.error(e.line, prob.code, e.key+": "+prob.what, prob.hint)
				continue
			}
			s.Keys = append(s.Keys, INIKey{e.key, v, e.line, e.hasValue})
		}
		out = append(out, s)
	}
	return out, rep.diagnostics()
}
