package script

// reader goes through one script: brackets, conditions, and the statements at its
// outermost level.
type reader struct {
	loader *loader
	file   string
	lex    *lexer
	// open are the closing brackets still owed.
	open []string
	// statement collects the tokens of the outermost statement under way.
	statement []token
	// conditions are the @if's under way.
	conditions []condition
}

// condition is an @if … @else … @endif: whether the branch under way is read, and
// whether the @if stands in a text that is read at all.
type condition struct{ active, outer bool }

func newReader(l *loader, file, src string) *reader {
	return &reader{loader: l, file: file, lex: newLexer(src)}
}

func (r *reader) run() *Problem {
	for {
		t := r.lex.next()
		switch {
		case t.kind == eof:
			return r.finish(t)
		case t.kind == directive:
			if p := r.directive(t); p != nil {
				return p
			}
		case r.active():
			if p := r.token(t); p != nil {
				return p
			}
		}
	}
}

func (r *reader) active() bool {
	return len(r.conditions) == 0 || r.conditions[len(r.conditions)-1].active
}

func (r *reader) finish(t token) *Problem {
	switch {
	case len(r.conditions) > 0:
		return fatalAt(r.file, t.line, "unbalanced @if... @endif")
	case len(r.open) > 0, len(r.statement) > 0 && !r.isCode():
		// Zeek names the last file that it read; naming the one at fault helps more.
		return errorAt("", 0, "syntax error, at end of file %s", r.file)
	}
	return nil
}

// isCode says that the script is the argument of -e, whose last semicolon Zeek
// adds where it is missing.
func (r *reader) isCode() bool { return r.file == "<command line>" }

func (r *reader) directive(t token) *Problem {
	switch t.text {
	case "@if", "@ifdef", "@ifndef":
		outer := r.active()
		r.conditions = append(r.conditions, condition{active: outer && r.holds(t), outer: outer})
		return nil
	case "@else":
		if n := len(r.conditions); n > 0 {
			c := &r.conditions[n-1]
			c.active = c.outer && !c.active
			return nil
		}
		return errorAt(r.file, t.line, "unbalanced @if... @endif")
	case "@endif":
		if n := len(r.conditions); n > 0 {
			r.conditions = r.conditions[:n-1]
			return nil
		}
		return errorAt(r.file, t.line, "unbalanced @if... @endif")
	}
	if !r.active() {
		return nil
	}
	switch t.text {
	case "@load":
		return r.loader.load(firstField(t.rest), r.file, t.line)
	case "@load-sigs", "@load-plugin", "@unload", "@prefixes", "@deprecated", "@pragma":
		return nil
	case "@DIR", "@FILENAME", "@DEBUG":
		return r.token(token{kind: str, line: t.line})
	}
	p := errorAt(r.file, t.line, "unrecognized character: '@'")
	return p.add("error", r.file, t.line, "unknown identifier %s, at or near %q", t.text[1:], t.text[1:])
}

// holds evaluates a condition. For @ifdef every name is known: what an older or
// newer Zeek may lack, this one has.
func (r *reader) holds(t token) bool {
	switch t.text {
	case "@ifdef":
		return true
	case "@ifndef":
		return false
	}
	return r.loader.program.evaluate(t.rest, r.loader.Getenv)
}

func (r *reader) token(t token) *Problem {
	if r.lex.badString == t.line && t.text == `"` && t.kind == punct {
		return errorAt(r.file, t.line, "unrecognized character: '\"'")
	}
	if n := len(r.statement); n > 0 && t.text == "error" && r.statement[n-1].text == "syntax" && t.kind == word {
		return errorAt(r.file, t.line, `unknown identifier syntax, at or near "syntax"`)
	}
	r.statement = append(r.statement, t)
	if t.kind != punct {
		return nil
	}
	switch t.text {
	case "(":
		r.open = append(r.open, ")")
	case "[":
		r.open = append(r.open, "]")
	case "{":
		r.open = append(r.open, "}")
	case ")", "]", "}":
		n := len(r.open)
		if n == 0 || r.open[n-1] != t.text {
			return errorAt(r.file, t.line, "syntax error, at or near %q", t.text)
		}
		r.open = r.open[:n-1]
		if len(r.open) == 0 && t.text == "}" && !r.endsWithSemicolon() {
			r.statement = r.statement[:0]
		}
	case ";":
		if n := len(r.open); n > 0 && r.open[n-1] != "}" {
			return errorAt(r.file, t.line, "syntax error, at or near %q", t.text)
		}
		if len(r.open) == 0 {
			r.loader.program.redef(r.statement)
			r.statement = r.statement[:0]
		}
	}
	return nil
}

// endsWithSemicolon says that the statement under way goes on after a closing
// brace: declarations do, bodies of functions do not.
func (r *reader) endsWithSemicolon() bool {
	first := r.statement[0].text
	switch first {
	case "redef":
		// redef record and redef enum end with a semicolon too; only
		// "redef event f() { … }" has a body, and it does not exist.
		return true
	case "const", "global", "option", "type", "local":
		return true
	}
	return false
}

func firstField(s string) string {
	for i := range len(s) {
		if s[i] == ' ' || s[i] == '\t' || s[i] == ';' {
			return s[:i]
		}
	}
	return s
}
