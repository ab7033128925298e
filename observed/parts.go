package observed

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Part is one input that a process has: a field, and the values that it was started with or told since. Many resources may refer
// to the same one, so nobody changes it.
type Part struct {
	Field  string   `json:"field"`
	Values []string `json:"values"`
}

// Parts are those of one process, sorted by field, with each field once. They are references because a controller holds those of
// every process of its fleet, and the nodes of a cluster have most of them in common. In JSON they are an object: field to values.
type Parts []*Part

// PartsOf are parts by field. The values are shared with them from then on.
func PartsOf(values map[string][]string) Parts {
	all := make([]Part, 0, len(values))
	for _, f := range slices.Sorted(maps.Keys(values)) {
		all = append(all, Part{f, values[f]})
	}
	out := make(Parts, len(all))
	for i := range all {
		out[i] = &all[i]
	}
	return out
}

// Get returns the values of a field; nil where there are none.
func (p Parts) Get(field string) []string {
	if i, ok := p.find(field); ok {
		return p[i].Values
	}
	return nil
}

// With are the parts with other values of one field. What is there stays as it is.
func (p Parts) With(field string, values ...string) Parts {
	i, ok := p.find(field)
	out := slices.Clone(p)
	if !ok {
		return slices.Insert(out, i, &Part{field, values})
	}
	out[i] = &Part{field, values}
	return out
}

func (p Parts) find(field string) (int, bool) {
	return slices.BinarySearchFunc(p, field, func(p *Part, f string) int { return strings.Compare(p.Field, f) })
}

// MarshalJSON writes an object.
func (p Parts) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, part := range p {
		if i > 0 {
			b = append(b, ',')
		}
		for k, v := range []any{part.Field, part.Values} {
			text, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			if k > 0 {
				b = append(b, ':')
			}
			b = append(b, text...)
		}
	}
	return append(b, '}'), nil
}

// UnmarshalJSON reads an object, in whatever order its fields are.
func (p *Parts) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	var values map[string][]string
	if err := json.Unmarshal(b, &values); err != nil {
		return err
	}
	*p = PartsOf(values)
	return nil
}
