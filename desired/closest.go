package desired

import (
	"strings"
	"unicode/utf8"
)

// longestWord bounds the search for what was meant.
const longestWord = 64

// Closest returns the candidate that a mistyped word most likely stands for; "" when none is near. It takes time
// for each candidate: the caller bounds their number.
func Closest(word string, candidates []string) string {
	word = strings.ToLower(word)
	if len(word) > longestWord {
		return ""
	}
	// One slip in three characters is a slip; more is another word.
	best, near := max(1, utf8.RuneCountInString(word)/3)+1, ""
	for _, c := range candidates {
		if len(c) > longestWord {
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
