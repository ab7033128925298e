package clustercfg

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
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

// maxCandidates and maxWord bound the search for what was meant.
const (
	maxCandidates = 500
	maxWord       = 64
)

// closest returns the candidate that a mistyped word most likely stands for; "" when none is near.
func closest(word string, candidates []string) string {
	word = strings.ToLower(word)
	if len(word) > maxWord || len(candidates) > maxCandidates {
		return ""
	}
	// One slip in three characters is a slip; more is another word.
	best, near := max(1, utf8.RuneCountInString(word)/3)+1, ""
	for _, c := range candidates {
		if len(c) > maxWord {
			continue
		}
		if d := distance([]rune(word), []rune(strings.ToLower(c))); d < best {
			best, near = d, c
		}
	}
	return near
}

// distance is the Damerau-Levenshtein distance (optimal string alignment): how many characters were
// forgotten, added, replaced, or exchanged with their neighbour.
func distance(a, b []rune) int {
	before, last, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			cur[j] = min(replace, last[j]+1, cur[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, last, cur = last, cur, before
	}
	return last[len(b)]
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
