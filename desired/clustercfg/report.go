package clustercfg

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/zeekrec/zeekrec/desired"
)

// maxDiagnostics of one file: nobody reads more, and a file of junk must not become a flood.
const maxDiagnostics = 200

// maxMessage bounds what a diagnostic repeats of the file.
const maxMessage = 500

// report collects the diagnostics of one file.
type report struct {
	file  string
	lines int // of the file
	list  []desired.Diagnostic
	seen  map[desired.Diagnostic]bool
}

func newReport(file string) *report {
	return &report{file: file, seen: map[desired.Diagnostic]bool{}}
}

// add notes a diagnostic; one that is there already (a key of [DEFAULT] is met once in each section) is not repeated.
func (r *report) add(sev desired.Severity, line int, code, message, hint string) {
	d := desired.Diagnostic{File: r.file, Line: line, Severity: sev, Code: code, Message: oneLine(message), Hint: oneLine(hint)}
	if !r.seen[d] {
		r.seen[d] = true
		r.list = append(r.list, d)
	}
}

func (r *report) error(line int, code, message, hint string) {
	r.add(desired.Error, line, code, message, hint)
}

func (r *report) warn(line int, code, message, hint string) {
	r.add(desired.Warning, line, code, message, hint)
}

func (r *report) info(line int, code, message, hint string) {
	r.add(desired.Info, line, code, message, hint)
}

// diagnostics returns the list in the order of the file. Of more than maxDiagnostics the worst are kept,
// so that leaving some out never makes a file look valid.
func (r *report) diagnostics() []desired.Diagnostic {
	list := r.list
	desired.SortDiagnostics(list)
	if len(list) <= maxDiagnostics {
		return list
	}
	rank := map[desired.Severity]int{desired.Error: 0, desired.Warning: 1, desired.Info: 2}
	slices.SortStableFunc(list, func(a, b desired.Diagnostic) int { return cmp.Compare(rank[a.Severity], rank[b.Severity]) })
	kept, rest := slices.Clone(list[:maxDiagnostics]), list[maxDiagnostics:]
	desired.SortDiagnostics(kept)
	return append(kept, desired.Diagnostic{
		File: r.file, Line: r.lines, Severity: rest[0].Severity, Code: "too-many",
		Message: fmt.Sprintf("%d more are not shown", len(rest)),
		Hint:    "mend these first",
	})
}

// oneLine keeps a message in one line of bearable length, whatever it repeats of the file.
func oneLine(s string) string { return strings.ReplaceAll(clip(s, maxMessage), "\n", `\n`) }

// clip shortens s to about n bytes, at a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// quote is how a text of the file is shown in a message.
func quote(s string) string { return fmt.Sprintf("%q", clip(s, 120)) }

// one returns the texts as "a, b and c".
func one(list []string) string {
	switch n := len(list); n {
	case 0:
		return ""
	case 1:
		return list[0]
	default:
		return strings.Join(list[:n-1], ", ") + " and " + list[n-1]
	}
}
