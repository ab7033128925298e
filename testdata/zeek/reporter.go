package main

import (
	"fmt"
	"os"
	"strings"
)

// reporter words messages as Zeek's does. Zeek names the place that its parser was
// at last, and forgets to leave it when the last thing parsed was an argument: with
// -e or var=value on the command line, errors of the start and even "listening on"
// bear a place that has nothing to do with them.
type reporter struct{ place string }

func newReporter(o *options) reporter {
	switch {
	case len(o.params) > 0:
		return reporter{"<params>, line 1"}
	case o.code != "":
		return reporter{fmt.Sprintf("<command line>, line %d", 3+strings.Count(o.code, "\n"))}
	}
	return reporter{}
}

// problem is an error or fatal error without a place of its own.
func (r reporter) problem(level, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if r.place != "" {
		level += " in " + r.place
	}
	return zeekText(level + ": " + text)
}

// say prints a message that is no error.
func (r reporter) say(text string) {
	if r.place != "" {
		text = r.place + ": " + text
	}
	fmt.Fprintln(os.Stderr, text)
}

// zeekText is an error in Zeek's own words, whatever their form.
type zeekText string

func (e zeekText) Error() string { return string(e) }

func zeekSays(format string, args ...any) error { return zeekText(fmt.Sprintf(format, args...)) }
