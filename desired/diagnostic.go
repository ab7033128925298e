package desired

import (
	"cmp"
	"fmt"
	"slices"
)

// Severity of a diagnostic. Only errors make a file invalid.
type Severity string

// The severities, worst first.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Info    Severity = "info"
)

// Diagnostic says what is wrong with a configuration, where, and the way out.
// Its JSON form is a promise (design/interfaces.md, validate --json).
type Diagnostic struct {
	File     string   `json:"file"`
	Line     int      `json:"line"` // 1-based; 0: the file as a whole
	Severity Severity `json:"severity"`
	Code     string   `json:"code"` // kebab-case, stable
	Message  string   `json:"message"`
	Hint     string   `json:"hint"` // how to mend it; may be empty
}

// String is the one-line form: "dmz.cfg:14: error: message (code)".
func (d Diagnostic) String() string {
	pos := d.File
	if d.Line > 0 {
		pos = fmt.Sprintf("%s:%d", d.File, d.Line)
	}
	return fmt.Sprintf("%s: %s: %s [%s]", pos, d.Severity, d.Message, d.Code)
}

// HasErrors reports whether any of ds makes its file invalid.
func HasErrors(ds []Diagnostic) bool {
	return slices.ContainsFunc(ds, func(d Diagnostic) bool { return d.Severity == Error })
}

// SortDiagnostics orders by file, line, severity, code and message, so that output is the same each time.
func SortDiagnostics(ds []Diagnostic) {
	rank := map[Severity]int{Error: 0, Warning: 1, Info: 2}
	slices.SortStableFunc(ds, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(rank[a.Severity], rank[b.Severity]), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message))
	})
}
