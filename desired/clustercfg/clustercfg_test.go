package clustercfg

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/desired"
)

var update = flag.Bool("update", false, "write the golden files anew")

const testHost = "agent-test"

// parse reads a text as dmz.cfg.
func parse(text string) (*desired.Cluster, []desired.Diagnostic) {
	return Parse(desired.ClusterFile{Name: "dmz", File: "dmz.cfg", Data: []byte(text)}, testHost)
}

// golden is what a .golden file holds.
type golden struct {
	Config      json.RawMessage   `json:"config"`
	Settings    *desired.Settings `json:"settings,omitempty"` // of files with [zeekrec…] sections
	Args        []string          `json:"args,omitempty"`     // of all nodes
	Diagnostics []string          `json:"diagnostics"`
}

func outcome(t *testing.T, file string) golden {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Base(file)
	c, ds := Parse(desired.ClusterFile{Name: strings.TrimSuffix(base, ".cfg"), File: base, Data: data}, testHost)
	g := golden{Config: json.RawMessage("null"), Diagnostics: []string{}}
	if c != nil {
		g.Config = ConfigJSON(c)
		if bytes.Contains(data, []byte("[zeekrec")) {
			g.Settings = &c.Settings
		}
		for _, n := range c.Nodes {
			g.Args = append(g.Args, n.Args...)
		}
	}
	for _, d := range ds {
		text := d.String()
		if d.Hint != "" {
			text += " > " + d.Hint
		}
		g.Diagnostics = append(g.Diagnostics, text)
	}
	return g
}

// TestGolden has a file for each row of facts/management.md §1.1 to §1.4 and §2, and for our own sections.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.cfg")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".cfg"), func(t *testing.T) {
			var buf bytes.Buffer
			enc := json.NewEncoder(&buf)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			if err := enc.Encode(outcome(t, file)); err != nil {
				t.Fatal(err)
			}
			name := strings.TrimSuffix(file, ".cfg") + ".golden"
			if *update {
				if err := os.WriteFile(name, buf.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), buf.String()); d != "" {
				t.Errorf("differs from %s (-want +got):\n%s", name, d)
			}
		})
	}
}

// TestZeekClient compares with what zeek-client itself (1.4.0-12 on Python 3.11) made of the same files on a host called
// "test": testdata/zeek-client.json has its configuration for each file, or null where it refuses it or fails.
func TestZeekClient(t *testing.T) {
	data, err := os.ReadFile("testdata/zeek-client.json")
	if err != nil {
		t.Fatal(err)
	}
	var frozen map[string]json.RawMessage
	if err := json.Unmarshal(data, &frozen); err != nil {
		t.Fatal(err)
	}
	// What this package takes and zeek-client does not.
	extensions := map[string]bool{"instances-host-names.cfg": true}
	for name, want := range frozen {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			c, ds := Parse(desired.ClusterFile{Name: "dmz", File: name, Data: data}, testHost)
			if string(want) == "null" {
				if !desired.HasErrors(ds) && !extensions[name] {
					t.Errorf("zeek-client refuses it, and there is no error here")
				}
				return
			}
			if c == nil {
				if name == "reader-control.cfg" { // refused here
					return
				}
				t.Fatalf("not read: %v", ds)
			}
			var compact bytes.Buffer
			if err := json.Compact(&compact, want); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(compact.String(), string(ConfigJSON(c))); d != "" {
				t.Errorf("(-zeek-client +got):\n%s", d)
			}
		})
	}
}
