package bus

import (
	"slices"
	"strings"

	"github.com/zeekrec/zeekrec/observed"
)

// maxInterned bounds what an interner remembers; it begins anew beyond that, at the cost of doubles.
const maxInterned = 1 << 18

// interner has one copy of what many reports say: the nodes of a cluster are told the same endpoints, layouts and versions. It is for
// one goroutine. What it has handed out is shared, and not to be changed.
type interner struct {
	texts map[string]string
	parts map[string]*observed.Part
	key   []byte
}

// report makes a report refer to what is there already, and puts its resources in the order that readers rely on.
func (in *interner) report(r *observed.Report) {
	if len(in.texts) > maxInterned || len(in.parts) > maxInterned || in.texts == nil {
		in.texts, in.parts = map[string]string{}, map[string]*observed.Part{}
	}
	byKey := func(a, b observed.Resource) int { return a.Compare(&b) }
	if !slices.IsSortedFunc(r.Resources, byKey) {
		slices.SortStableFunc(r.Resources, byKey)
	}
	r.Resources = append(make([]observed.Resource, 0, len(r.Resources)), r.Resources...) // as many as there are: reports are kept
	for i := range r.Resources {
		o := &r.Resources[i]
		for _, s := range []*string{&o.Cluster, &o.Name, &o.Type, &o.Role, &o.Told, &o.Started, &o.Version, (*string)(&o.State), &o.Reason} {
			*s = in.text(*s)
		}
		for k, p := range o.Parts {
			o.Parts[k] = in.part(p)
		}
		for k := range o.Members {
			m := &o.Members[k]
			m.Name, m.Host = in.text(m.Name), in.text(m.Host)
		}
	}
}

func (in *interner) text(s string) string {
	if s == "" {
		return ""
	}
	if t, ok := in.texts[s]; ok {
		return t
	}
	s = strings.Clone(s) // it may be a part of something larger
	in.texts[s] = s
	return s
}

func (in *interner) part(p *observed.Part) *observed.Part {
	in.key = appendPart(in.key[:0], p)
	if q, ok := in.parts[string(in.key)]; ok {
		return q
	}
	q := &observed.Part{Field: in.text(p.Field), Values: make([]string, len(p.Values))}
	for i, v := range p.Values {
		q.Values[i] = in.text(v)
	}
	in.parts[string(in.key)] = q
	return q
}
