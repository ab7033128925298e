package cli

import (
	"fmt"
	"strings"
)

// roff is a page in the language of man(7), as it grows.
type roff struct{ strings.Builder }

// roffEscapes are for text that is not at the beginning of a line. A hyphen is escaped since man makes another character of it otherwise,
// which nobody can paste into a shell.
var roffEscapes = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\u00a0", `\ `)

// escaped is text for inside a line.
func escaped(text string) string { return roffEscapes.Replace(text) }

// quoted is text as one argument of a macro.
func quoted(text string) string { return `"` + strings.ReplaceAll(escaped(text), `"`, `\(dq`) + `"` }

// macro writes a line that begins with a dot.
func (r *roff) macro(name string, args ...string) {
	r.WriteString("." + name)
	for _, a := range args {
		r.WriteString(" " + quoted(a))
	}
	r.WriteString("\n")
}

// line writes a line of text, which is no macro however it begins.
func (r *roff) line(text string) {
	text = escaped(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	r.WriteString(text + "\n")
}

// text writes paragraphs that are separated by empty lines. A paragraph is filled, but for lines that are indented, which stay as they are.
func (r *roff) text(text string) {
	for i, paragraph := range strings.Split(strings.Trim(text, "\n"), "\n\n") {
		if i > 0 {
			r.macro("PP")
		}
		verbatim := false
		for l := range strings.SplitSeq(paragraph, "\n") {
			if indented := strings.HasPrefix(l, " "); indented != verbatim {
				verbatim = indented
				r.verbatim(verbatim)
			}
			r.line(l)
		}
		if verbatim {
			r.verbatim(false)
		}
	}
}

// verbatim turns filling off, or on again.
func (r *roff) verbatim(on bool) {
	if on {
		r.WriteString(".nf\n")
	} else {
		r.WriteString(".fi\n")
	}
}

// example writes lines as they are, indented.
func (r *roff) example(text string) {
	r.WriteString(".RS 4\n.nf\n")
	for l := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		r.line(strings.TrimPrefix(l, "  "))
	}
	r.WriteString(".fi\n.RE\n")
}

// item writes a term, which is bold up to the first space, and what it means.
func (r *roff) item(term, meaning string) {
	bold, rest, found := strings.Cut(term, " ")
	r.WriteString(".TP\n")
	fmt.Fprintf(r, `\fB%s\fR`, escaped(bold))
	if found {
		fmt.Fprintf(r, ` \fI%s\fR`, escaped(rest))
	}
	r.WriteString("\n")
	r.line(strings.ReplaceAll(meaning, "\n", " "))
}
