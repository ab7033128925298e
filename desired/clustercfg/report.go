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

// maxKept diagnostics of one severity are looked at; further ones are only counted.
const maxKept = 5 * maxDiagnostics

// maxMessage bounds what a diagnostic repeats of the file.
const maxMessage = 500

// report collects the diagnostics of one file.
type report struct {
	file  string
	lines int // of the file
	list  []desired.Diagnostic
	seen  map[desired.Diagnostic]bool
	count map[desired.Severity]int
}

func newReport(file string) *report {
	return &report{file: file, seen: map[desired.Diagnostic]bool{}, count: map[desired.Severity]int{}}
}

// add notes a diagnostic; one that is there already (a key of [DEFAULT] is met once in each section) is not repeated.
func (r *report) add(sev desired.Severity, line int, code, message, hint string) {
	if r.count[sev] >= maxKept {
		r.count[sev]++
		return
	}
	d := desired.Diagnostic{File: r.file, Line: line, Severity: sev, Code: code, Message: oneLine(message), Hint: oneLine(hint)}
	if !r.seen[d] {
		r.seen[d] = true
		r.count[sev]++
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
	severities := []desired.Severity{desired.Error, desired.Warning, desired.Info}
	total, worst := 0, desired.Severity("")
	for _, sev := range severities {
		if total += r.count[sev]; total > maxDiagnostics && worst == "" {
			worst = sev // of what is left out
		}
	}
	if total <= maxDiagnostics {
		return list
	}
	slices.SortStableFunc(list, func(a, b desired.Diagnostic) int {
		return cmp.Compare(slices.Index(severities, a.Severity), slices.Index(severities, b.Severity))
	})
	kept := slices.Clone(list[:maxDiagnostics])
	desired.SortDiagnostics(kept)
	return append(kept, desired.Diagnostic{
		File: r.file, Line: r.lines, Severity: worst, Code: "too-many",
		Message: fmt.Sprintf("%d more are not shown", total-maxDiagnostics),
		Hint:    "mend these first",
	})
}

// only drops whatever else was found.
func (r *report) only() {
	r.list = nil
	clear(r.seen)
	clear(r.count)
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
