package clustercfg

import (
	"fmt"
	"strings"
)

// maxDepth of references in values that references led to, as in configparser.
const maxDepth = 10

// maxWork bounds the characters that interpolation goes over in one file: references to references
// would otherwise grow a few lines into gigabytes.
const maxWork = 16 << 20

// workPerValue is what interpolating a value costs beyond its characters: each key of [DEFAULT] is interpolated for
// each section.
const workPerValue = 64

// resolver interpolates values as configparser.BasicInterpolation does.
type resolver struct {
	defaults *section
	work     int
	used     map[*entry]bool // that others refer to
}

// problem is why a value cannot be used, and how to mend it.
type problem struct {
	code, what, hint string
}

// find looks a key up in the section and in [DEFAULT]; nil where neither has it.
func (r *resolver) find(sec *section, key string) *entry {
	if e := sec.index[key]; e != nil {
		return e
	}
	return r.defaults.index[key]
}

// exhausted reports whether there was too much to do: from then on every value with references is a problem.
func (r *resolver) exhausted() bool { return r.work > maxWork }

// resolve returns the value of an entry as seen from a section.
func (r *resolver) resolve(sec *section, e *entry) (string, *problem) {
	if !strings.Contains(e.value, "%") {
		return e.value, nil
	}
	r.work += workPerValue
	var out strings.Builder
	if p := r.expand(&out, sec, e.value, 1); p != nil {
		return "", p
	}
	return out.String(), nil
}

func (r *resolver) expand(out *strings.Builder, sec *section, rest string, depth int) *problem {
	if depth > maxDepth {
		return &problem{"interpolation", fmt.Sprintf("references lead on to references more than %d deep", maxDepth), "do they go round in a circle? write the value out"}
	}
	if r.work += len(rest) + 1; r.exhausted() {
		return tooMuch()
	}
	for rest != "" {
		i := strings.IndexByte(rest, '%')
		if i < 0 {
			out.WriteString(rest)
			return nil
		}
		out.WriteString(rest[:i])
		rest = rest[i:]
		switch {
		case strings.HasPrefix(rest, "%%"):
			out.WriteByte('%')
			rest = rest[2:]
		case strings.HasPrefix(rest, "%("):
			name, after, ok := strings.Cut(rest[2:], ")s")
			if !ok || name == "" || strings.Contains(name, ")") {
				return &problem{"percent-sign", quote(rest) + " is not a reference like %(key)s", "write %% for a percent sign"}
			}
			rest = after
			if p := r.refer(out, sec, lower(name), depth); p != nil {
				return p
			}
		default:
			return &problem{"percent-sign", "the percent sign in " + quote(rest) + " is neither %% nor a reference like %(key)s", "write %% for a percent sign"}
		}
	}
	return nil
}

// refer appends what %(key)s stands for.
func (r *resolver) refer(out *strings.Builder, sec *section, key string, depth int) *problem {
	e := r.find(sec, key)
	if e == nil {
		return r.dangling(sec, key)
	}
	r.used[e] = true
	if !e.hasValue {
		return &problem{"interpolation", fmt.Sprintf("%%(%s)s refers to the key on line %d, which has no value", clip(key, 120), e.line), "give it one"}
	}
	if strings.Contains(e.value, "%") {
		return r.expand(out, sec, e.value, depth+1)
	}
	if r.work += len(e.value) + 1; r.exhausted() {
		return tooMuch()
	}
	out.WriteString(e.value)
	return nil
}

// dangling is the problem of a reference to nothing.
func (r *resolver) dangling(sec *section, key string) *problem {
	hint := "state it in the same section or in [DEFAULT], or write %% for a percent sign"
	var known []string
	for _, s := range []*section{sec, r.defaults} {
		for _, e := range s.entries[:min(len(s.entries), maxCandidates/2)] {
			known = append(known, e.key)
		}
	}
	if near := closest(key, known); near != "" {
		hint = fmt.Sprintf("did you mean %%(%s)s?", near)
	}
	return &problem{"interpolation", fmt.Sprintf("%%(%s)s refers to a key that is neither in the section nor in [DEFAULT]", clip(key, 120)), hint}
}

func tooMuch() *problem {
	return &problem{"interpolation", "the references of this file grow too large", "write values out"}
}
