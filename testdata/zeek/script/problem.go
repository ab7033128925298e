package script

import (
	"fmt"
	"strings"
)

// Problem is why a set of scripts cannot be loaded, as Zeek's reporter words it.
type Problem struct {
	// Fatal tells Zeek's fatal errors from its plain ones: both end the process with
	// status 1, but leave another word in the status file.
	Fatal bool
	lines []string
}

// Error returns the lines that Zeek prints on stderr, without a final newline.
func (p *Problem) Error() string { return strings.Join(p.lines, "\n") }

// errorAt words an error at a place; file may be empty for one without a place.
func errorAt(file string, line int, format string, args ...any) *Problem {
	return (&Problem{}).add("error", file, line, format, args...)
}

// fatalAt words a fatal error at a place; file may be empty for one without a place.
func fatalAt(file string, line int, format string, args ...any) *Problem {
	return (&Problem{Fatal: true}).add("fatal error", file, line, format, args...)
}

func (p *Problem) add(level, file string, line int, format string, args ...any) *Problem {
	place := ""
	if file != "" {
		place = fmt.Sprintf(" in %s, line %d", file, line)
	}
	p.lines = append(p.lines, level+place+": "+fmt.Sprintf(format, args...))
	return p
}
