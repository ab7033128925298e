package clustercfg

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/desired"
)

// FuzzParse: whatever the bytes, reading ends, is repeatable, and speaks of lines that there are; and a
// file without errors is the same when it was written and read again.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.cfg")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, ds := parse(string(data))
		again, dsAgain := parse(string(data))
		if d := cmp.Diff(c, again) + cmp.Diff(ds, dsAgain); d != "" {
			t.Fatalf("read twice, it differs:\n%s", d)
		}
		lines := strings.Count(newlines(string(data)), "\n") + 1
		for _, d := range ds {
			if d.Line < 0 || d.Line > lines || d.Code == "" || d.Message == "" || strings.Contains(d.Message+d.Hint, "\n") || d.Code == "internal" {
				t.Errorf("of %d lines: %+v", lines, d)
			}
		}
		if c == nil {
			if !desired.HasErrors(ds) {
				t.Error("no cluster and no error")
			}
			return
		}
		if !desired.HasErrors(ds) && writable(c) {
			if d := roundTrip(c); d != "" {
				t.Errorf("written and read again, it differs:\n%s\n%s", d, ConfigINI(c))
			}
		}
	})
}

// writable reports whether all values can be written: not those over several lines of which one begins or
// ends with a blank, or begins with a comment sign, nor names and interfaces with blanks at the ends.
func writable(c *desired.Cluster) bool {
	ok := func(s string) bool {
		lines := strings.Split(s, "\n")
		for i, l := range lines {
			if len(lines) > 1 && (strip(l) != l || i > 0 && l != "" && (l[0] == '#' || l[0] == ';')) {
				return false
			}
		}
		return true
	}
	for _, n := range c.Nodes {
		if strip(n.Interface) != n.Interface || strip(n.Instance) != n.Instance || !ok(n.Interface) {
			return false
		}
		words := append(append([]string{}, n.Scripts...), n.Args...)
		for k, v := range n.Env {
			words = append(words, k, v)
		}
		for _, w := range words {
			if !ok(w) {
				return false
			}
		}
		// Several words with none in them are no words once written.
		if n.Scripts != nil && len(n.Scripts) == 0 {
			return false
		}
	}
	return true
}
