package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/reconciler"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// TestExamples runs each example: all are valid and can be planned; those that watch lo only are started with
// the stand-in, until every node is healthy, and stopped again.
func TestExamples(t *testing.T) {
	bin := build(t, "./cmd/zeekrec", "-s -w")
	standin := build(t, "./testdata/zeek", "-s -w")
	dirs, err := filepath.Glob("../../examples/*/*.cfg")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	seen := map[string]bool{}
	for _, d := range dirs {
		dir := filepath.Dir(d)
		if seen[dir] {
			continue
		}
		seen[dir] = true
		t.Run(filepath.Base(dir), func(t *testing.T) {
			r := newRig(t, bin, standin)
			if err := os.Remove(r.path("clusters")); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(r.path("clusters"), os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			r.exampleIsValid()
			if r.watchesOnlyLo() {
				r.exampleRuns()
			}
		})
	}
}

func (r *rig) exampleIsValid() {
	r.t.Helper()
	out, code := r.zeekrec("validate", "--json", r.path("clusters"))
	var v struct{ Diagnostics []desired.Diagnostic }
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != 0 {
		r.t.Fatalf("validate: exit %d, %v\n%s", code, err, out)
	}
	for _, d := range v.Diagnostics {
		// Both clusters of two-clusters watch lo, since every machine has one; that draws a warning.
		if d.Severity != desired.Info && d.Code != "interface-in-two-clusters" {
			r.t.Errorf("%s", d)
		}
	}
	out, code = r.zeekrec("plan", "--json", r.path("clusters"))
	var p reconciler.Plan
	if err := json.Unmarshal([]byte(out), &p); err != nil || code != 0 {
		r.t.Fatalf("plan: exit %d, %v\n%s", code, err, out)
	}
	if p.Summary.Start < 3 || p.Summary.Stop+p.Summary.Restart+p.Summary.Update > 0 {
		r.t.Errorf("the first plan is %+v", p.Summary)
	}
}

// watchesOnlyLo reports whether every interface in the files is lo, and no host is named.
func (r *rig) watchesOnlyLo() bool {
	only := true
	err := fs.WalkDir(os.DirFS(r.path("clusters")), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".cfg" {
			return err
		}
		b, err := os.ReadFile(r.path("clusters", path))
		for line := range strings.Lines(string(b)) {
			key, value, _ := strings.Cut(line, "=")
			switch strings.TrimSpace(key) {
			case "interface":
				only = only && strings.TrimSpace(value) == "lo"
			case "[instances]":
				only = false
			}
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return only
}

func (r *rig) exampleRuns() {
	r.t.Helper()
	r.start()
	r.eventually("all clusters are synced and healthy", waitLong, func() error {
		s, err := r.status()
		if err != nil {
			return err
		}
		return allWell(s)
	})
	if _, code := r.zeekrec("stop", "--all", "--reason", "enough seen"); code != 0 {
		r.t.Errorf("stop --all ended with %d", code)
	}
	r.eventually("all is stopped", waitLong, func() error {
		if n := len(r.marked()); n > 0 {
			return fmt.Errorf("%d processes run", n)
		}
		return nil
	})
}

func allWell(s *engine.Status) error {
	if len(s.Clusters) == 0 {
		return fmt.Errorf("there is no cluster yet")
	}
	for _, c := range s.Clusters {
		if !c.Synced || !c.Healthy {
			return fmt.Errorf("%s: synced %t, healthy %t: %s", c.Name, c.Synced, c.Healthy, c.Reason)
		}
	}
	return nil
}
