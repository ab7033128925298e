package reconciler

import (
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

// envReason names variables and no values: which of them are secrets nobody can tell by their names.
func (p part) envReason() Reason {
	was, is := envNames(p.from), envNames(p.to)
	var removed, added []string
	for _, v := range p.from {
		if name, _, _ := strings.Cut(v, "="); !contains(is, name) {
			removed = append(removed, "-"+name)
		}
	}
	for _, v := range p.to {
		name, _, _ := strings.Cut(v, "=")
		switch old, known := was[name]; {
		case !known:
			added = append(added, "+"+name)
		case old != v:
			added = append(added, name+" changed")
		}
	}
	show := func(s string) string { return part{relation: desired.Cover}.show(s) }
	return Reason{Field: p.field, From: list("", removed, show), To: list("", added, show)}
}

// envNames maps the names of "NAME=value" words to the words.
func envNames(vs []string) map[string]string {
	m := make(map[string]string, len(vs))
	for _, v := range vs {
		name, _, _ := strings.Cut(v, "=")
		m[name] = v
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
	if p.relation != desired.Cover {
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
