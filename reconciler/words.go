package reconciler

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/zeekrec/zeekrec/desired"
)

// Bounds of what a reason shows.
const (
	maxListed  = 5
	maxValue   = 80 // runes
	hiddenText = "(hidden)"
)

// reasons puts differences into words.
func reasons(ps []part) []Reason {
	rs := make([]Reason, 0, len(ps))
	for _, p := range ps {
		rs = append(rs, p.reason())
	}
	return rs
}

// reason is "eth0" -> "eth1" for single values, and what was removed and added for lists.
func (p part) reason() Reason {
	if p.field == "env" {
		return p.envReason()
	}
	show := func(s string) string { return p.show(s) }
	if len(p.from) <= 1 && len(p.to) <= 1 {
		return Reason{Field: p.field, From: list("", p.from, show), To: list("", p.to, show)}
	}
	removed, added := without(p.from, p.to), without(p.to, p.from)
	if p.relation == desired.Cover && len(added) > 0 {
		removed = nil // what is known besides does no harm, and is no reason
	}
	if len(removed) == 0 && len(added) == 0 { // another order, or another count
		return Reason{Field: p.field, From: list("", p.from, show), To: list("", p.to, show)}
	}
	return Reason{Field: p.field, From: list("-", removed, show), To: list("+", added, show)}
}

// envReason names variables and no values: which of them are secrets nobody can tell by their names. It is
// "A" -> "A (changed)", and "-B" -> "+C, A (changed)" where variables also come and go.
func (p part) envReason() Reason {
	was, is := envNames(p.from), envNames(p.to)
	var removed, added, changed, unlike []string
	for _, v := range p.from {
		if name := envName(v); !contains(is, name) {
			removed = append(removed, "-"+name)
		}
	}
	for _, v := range p.to {
		name := envName(v)
		switch old, known := was[name]; {
		case !known:
			added = append(added, "+"+name)
		case old != v:
			changed, unlike = append(changed, name), append(unlike, name+" (changed)")
		}
	}
	if len(added) == 0 {
		removed = append(removed, changed...)
	}
	show := part{relation: desired.Cover}.show
	return Reason{Field: p.field, From: list("", removed, show), To: list("", append(added, unlike...), show)}
}

// envName is what stands before the "=".
func envName(v string) string {
	name, _, found := strings.Cut(v, "=")
	if !found {
		return hiddenText
	}
	return name
}

// envNames maps the names of "NAME=value" words to the words.
func envNames(vs []string) map[string]string {
	m := make(map[string]string, len(vs))
	for _, v := range vs {
		m[envName(v)] = v
	}
	return m
}

func contains(m map[string]string, key string) bool {
	_, ok := m[key]
	return ok
}

// show is a value fit to be shown: no secret, no control characters, not too long. Covered parts hold
// names of nodes, which are never secret, whatever they look like.
func (p part) show(v string) string {
	switch {
	case p.relation == desired.Cover:
	case p.field == "args" && p.followsSecret(v):
		v = hiddenText
	case p.field == "args" || p.field == desired.PartOptions || p.field == constantsField:
		v = redactText(v)
	default:
		v = redact(v)
	}
	if strings.ContainsFunc(v, func(r rune) bool { return !unicode.IsPrint(r) }) {
		v = strconv.Quote(v)
	}
	if utf8.RuneCountInString(v) > maxValue {
		v = string([]rune(v)[:maxValue-1]) + "…"
	}
	return v
}

// without returns the values of a that b has not, in the order of a.
func without(a, b []string) []string {
	if len(a) == 0 {
		return nil
	}
	set := make(map[string]struct{}, len(b))
	for _, v := range b {
		set[v] = struct{}{}
	}
	var out []string
	for _, v := range a {
		if _, ok := set[v]; !ok {
			out = append(out, v)
		}
	}
	return out
}

func list(sign string, vs []string, show func(string) string) string {
	var b strings.Builder
	for i, v := range vs {
		if i == maxListed && len(vs) > maxListed+1 {
			fmt.Fprintf(&b, ", … %d more", len(vs)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(sign)
		b.WriteString(show(v))
	}
	return b.String()
}

// secretWords in a name make its value one that is not shown.
var secretWords = [...]string{"key", "secret", "token", "pass", "credential", "pwd", "psk", "auth", "cookie", "private", "dsn"}

// redact hides what follows a name that looks secret ("API_TOKEN=…", "X::password = …", also in the middle of a
// command line), and the user part of a URL.
func redact(v string) string {
	for i := 0; i < len(v); i++ {
		if v[i] == '=' && secretName(v[:i]) {
			return v[:i+1] + hiddenText
		}
	}
	return redactURLs(v)
}

// redactText is redact for what people write in Zeek's language, where a value also follows a type ("X::pass: string =
// …") or the name is an index ("[\"pass\"] = …"): nothing is shown from the first sign of a value behind
// a name that looks secret. That hides too much rather than too little.
func redactText(v string) string {
	lower := []byte(v) // not ToLower, which may move what stands behind a letter
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	first := len(v)
	for _, w := range secretWords {
		if i := bytes.Index(lower, []byte(w)); i >= 0 {
			first = min(first, i+len(w))
		}
	}
	for i := first; i < len(v); i++ {
		switch c := v[i]; {
		case strings.HasPrefix(v[i:], "::"):
			i++ // of a name: X::keys::a
		case c == '=' || c == ':' || c == '"' || c == '\'':
			return redactURLs(v[:i+1]) + hiddenText
		}
	}
	return redact(v)
}

// followsSecret reports whether a word of a command line is the value of the one before it: "--token" "…".
func (p part) followsSecret(v string) bool {
	for _, words := range [][]string{p.from, p.to} {
		for i := 1; i < len(words); i++ {
			before := words[i-1]
			if words[i] == v && strings.HasPrefix(before, "-") && !strings.Contains(before, "=") && secretName(before) {
				return true
			}
		}
	}
	return false
}

// redactURLs hides what stands before the "@" of a URL's host.
func redactURLs(v string) string {
	before, rest, found := strings.Cut(v, "://")
	if !found {
		return v
	}
	host := rest
	if end := strings.IndexAny(rest, "/ \t\"'"); end >= 0 {
		host = rest[:end]
	}
	if at := strings.LastIndexByte(host, '@'); at >= 0 {
		rest = hiddenText + rest[at:]
	}
	return before + "://" + redactURLs(rest)
}

// secretName judges the last word of s, the one that a "=" follows.
func secretName(s string) bool {
	s = strings.TrimRight(s, " \t+-:")
	start := strings.LastIndexFunc(s, func(r rune) bool {
		return r != '_' && r != ':' && r != '-' && r != '.' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	name := strings.ToLower(s[start+1:])
	for _, w := range secretWords {
		if strings.Contains(name, w) {
			return true
		}
	}
	return false
}
