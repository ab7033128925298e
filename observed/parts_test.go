package observed_test

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/zeekrec/zeekrec/observed"
)

func byField() *rapid.Generator[map[string][]string] {
	return rapid.MapOf(rapid.StringN(0, 6, -1), rapid.SliceOfN(rapid.String(), 0, 3))
}

// Parts are what the map of them is, also in JSON, which agents and controllers of other versions read and write.
func TestPartsAreTheirMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := byField().Draw(t, "parts")
		p := observed.PartsOf(m)
		if !slices.IsSortedFunc(p, func(a, b *observed.Part) int { return slices.Compare([]string{a.Field}, []string{b.Field}) }) || len(p) != len(m) {
			t.Fatalf("%v has %d parts, or not in their order", m, len(p))
		}
		for f, want := range m {
			if !slices.Equal(p.Get(f), want) {
				t.Fatalf("%q is %q, not %q", f, p.Get(f), want)
			}
		}
		if got := p.Get("no such field"); got != nil {
			t.Fatalf("what is not there is %q", got)
		}
		is, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if string(is) != string(want) {
			t.Fatalf("JSON is %s, not %s", is, want)
		}
		var again observed.Parts
		if err := json.Unmarshal(want, &again); err != nil {
			t.Fatal(err)
		}
		if back, err := json.Marshal(again); err != nil || string(back) != string(want) {
			t.Fatalf("read and written again it is %s (%v), not %s", back, err, want)
		}
	})
}

// With changes what it returns, and nothing else: others refer to what is there.
func TestPartsWith(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := byField().Draw(t, "parts")
		field, values := rapid.StringN(0, 6, -1).Draw(t, "field"), []string{rapid.String().Draw(t, "value")}
		p := observed.PartsOf(m)
		before, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		changed := p.With(field, values...)
		after, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if string(before) != string(after) {
			t.Fatalf("%s became %s", before, after)
		}
		want := maps.Clone(m)
		if want == nil {
			want = map[string][]string{}
		}
		want[field] = values
		if !maps.EqualFunc(want, asMap(changed), slices.Equal) {
			t.Fatalf("%v with %q is %v", m, field, asMap(changed))
		}
	})
}

func asMap(p observed.Parts) map[string][]string {
	m := map[string][]string{}
	for _, part := range p {
		m[part.Field] = part.Values
	}
	return m
}

func TestPartsOfNothing(t *testing.T) {
	for _, text := range []string{`{}`, `{"parts":null}`, `{"parts":{}}`} {
		var r observed.Resource
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Fatal(err)
		}
		if len(r.Parts) != 0 || r.Parts.Get("role") != nil {
			t.Errorf("%s has %v", text, r.Parts)
		}
	}
	for _, text := range []string{`{"parts":[]}`, `{"parts":{"role":"worker"}}`, `{"parts":{"role":[1]}}`} {
		if err := json.Unmarshal([]byte(text), &observed.Resource{}); err == nil {
			t.Errorf("%s was read", text)
		}
	}
}
