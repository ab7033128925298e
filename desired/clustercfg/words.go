package clustercfg

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/zeekrec/zeekrec/desired"
)

// maxName is how long a name may be: it becomes a part of the names of folders and sockets.
const maxName = 64

// unfit returns why a name cannot be the name of a folder, or "".
func unfit(name string) string {
	switch {
	case name == "":
		return "it is empty"
	case len(name) > maxName:
		return fmt.Sprintf("it is %d bytes long, the limit is %d", len(name), maxName)
	case strings.ContainsFunc(name, unicode.IsSpace):
		return "it has a blank"
	case strings.Contains(name, "/"):
		return `it has a "/"`
	case name[0] == '.' || name[0] == '-':
		return fmt.Sprintf("it begins with %q", name[:1])
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "it has a character that cannot be seen"
	}
	return ""
}

// maxCandidates bounds the search for what was meant.
const maxCandidates = 500

// closest returns the candidate that a mistyped word most likely stands for; "" when none is near.
func closest(word string, candidates []string) string {
	if len(candidates) > maxCandidates {
		return ""
	}
	return desired.Closest(word, candidates)
}

// meant words an unknown thing and, where one is near, what was meant: unknown key "rol": did you mean "role"?
func meant(what, word, where string, candidates []string) string {
	text := fmt.Sprintf("unknown %s %s%s", what, quote(word), where)
	if near := closest(word, candidates); near != "" {
		text += fmt.Sprintf(": did you mean %q?", near)
	}
	return text
}

// trailingComment reports whether a value ends in what looks like a comment: configparser has none there.
func trailingComment(value string) bool {
	for i := 1; i < len(value); i++ {
		if (value[i] == '#' || value[i] == ';') && (value[i-1] == ' ' || value[i-1] == '\t') {
			return true
		}
	}
	return false
}

const ownLine = "a comment needs a line of its own: at the end of a line it is part of the value"
