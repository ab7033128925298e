package desired_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/zeekrec/zeekrec/desired"
)

// KeyLines are what a map would be.
func TestKeyLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var lines desired.KeyLines
		model := map[string]int{}
		key := rapid.SampledFrom([]string{"role", "instance", "interface", "env"})
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				k, l := key.Draw(t, "key"), rapid.IntRange(1, 9).Draw(t, "line")
				lines.Set(k, l)
				model[k] = l
			},
			"delete": func(t *rapid.T) {
				k := key.Draw(t, "key")
				lines.Delete(k)
				delete(model, k)
			},
			"": func(t *rapid.T) {
				for _, k := range []string{"role", "instance", "interface", "env", "port"} {
					want, is := model[k]
					if got, stated := lines.Line(k); got != want || stated != is {
						t.Fatalf("%s: line %d, stated %t, and should be %d, %t", k, got, stated, want, is)
					}
				}
				if len(lines) != len(model) {
					t.Fatalf("%d lines, and should be %d", len(lines), len(model))
				}
			},
		})
	})
}
