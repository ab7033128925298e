package desired_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/clustercfg"
)

// TestRecompile changes some of several clusters, on hosts that they share or do not, and has Recompile find what Compile does.
func TestRecompile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hosts := []string{"a", "b", "c", "d", "e", "f"}
		draw := func(name string) *desired.Cluster {
			some := rapid.SliceOfNDistinct(rapid.SampledFrom(hosts), 1, 3, rapid.ID).Draw(t, "hosts of "+name)
			var b strings.Builder
			b.WriteString("[instances]\n" + strings.Join(some, "\n") + "\n")
			for i := range rapid.IntRange(1, 5).Draw(t, "nodes of "+name) {
				role := []string{"manager", "logger", "proxy", "worker", "worker"}[i]
				fmt.Fprintf(&b, "[n%d]\nrole = %s\ninstance = %s\n", i, role, rapid.SampledFrom(some).Draw(t, "host"))
				if role == "worker" {
					fmt.Fprintf(&b, "interface = %s\n", rapid.SampledFrom([]string{"eth0", "af_packet::eth0", "af_packet::eth1"}).Draw(t, "interface"))
				} else if rapid.IntRange(0, 4).Draw(t, "stated") == 0 {
					fmt.Fprintf(&b, "port = %d\n", rapid.IntRange(2200, 2204).Draw(t, "port"))
				}
			}
			b.WriteString("[zeekrec.broker]\ncurve = off\n")
			f := desired.ClusterFile{Name: name, File: name + ".cfg", Data: []byte(b.String())}
			c, ds := clustercfg.Parse(f, "a")
			if c == nil || desired.HasErrors(ds) {
				t.Skip("not a valid file")
			}
			return c
		}
		facts := desired.Facts{Default: "a", Instances: map[string]desired.InstanceFacts{}}
		for i, h := range hosts {
			facts.Instances[h] = desired.InstanceFacts{Addresses: []string{fmt.Sprintf("10.0.0.%d", i+1)}}
		}
		cs := map[string]*desired.Cluster{}
		for i := range rapid.IntRange(1, 5).Draw(t, "clusters") {
			name := fmt.Sprintf("c%d", i)
			cs[name] = draw(name)
		}
		list := func() (out []*desired.Cluster) {
			for _, c := range cs {
				out = append(out, c)
			}
			return out
		}
		now := time.Unix(1_700_000_000, 0)
		before := desired.Compile(list(), facts, desired.Assignment{}, now)
		was := map[string]string{}
		for n, c := range cs {
			was[n] = c.Revision
		}
		for range rapid.IntRange(1, 3).Draw(t, "steps") {
			for range rapid.IntRange(0, 2).Draw(t, "changes") {
				name := fmt.Sprintf("c%d", rapid.IntRange(0, 5).Draw(t, "which"))
				if rapid.IntRange(0, 5).Draw(t, "remove") == 0 && len(cs) > 1 {
					delete(cs, name)
				} else {
					cs[name] = draw(name)
				}
			}
			prev := before.Assignment
			want := desired.Compile(list(), facts, prev, now)
			got := desired.Recompile(list(), facts, prev, now, before, func(c *desired.Cluster) bool { return was[c.Name] == c.Revision })
			none := cmpopts.EquateEmpty()
			if d := cmp.Diff(want.Resources, got.Resources, none); d != "" {
				t.Fatalf("resources (-Compile +Recompile):\n%s", d)
			}
			// What is decided about scripts of a cluster that is not compiled anew is in its own revision.
			ignore := cmpopts.IgnoreFields(desired.Assignment{}, "Local", "Revisions")
			if d := cmp.Diff(want.Assignment, got.Assignment, none, ignore); d != "" {
				t.Fatalf("assignment (-Compile +Recompile):\n%s", d)
			}
			if !slices.EqualFunc(want.Diagnostics, got.Diagnostics, func(a, b desired.Diagnostic) bool { return a.String() == b.String() }) {
				t.Fatalf("diagnostics:\n%v\n%v", want.Diagnostics, got.Diagnostics)
			}
			before = got
			for n, c := range cs {
				was[n] = c.Revision
			}
		}
	})
}
