package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func TestJudge(t *testing.T) {
	before, after := noon.Add(-time.Minute), noon.Add(time.Minute)
	trouble := "cannot read it"
	good := func(name string) engine.ClusterStatus {
		c := engine.ClusterStatus{Name: name, Synced: true, Healthy: true}
		c.Revision.Wanted, c.Revision.Running = "a", "a"
		return c
	}
	with := func(f func(*engine.ClusterStatus)) []engine.ClusterStatus {
		c := good("dmz")
		f(&c)
		return []engine.ClusterStatus{c}
	}
	type counts struct{ failed, held, pending int }
	for _, tt := range []struct {
		name     string
		source   engine.SourceStatus
		clusters []engine.ClusterStatus
		cluster  string
		removal  bool
		want     counts
	}{
		{name: "nothing to do", clusters: []engine.ClusterStatus{good("dmz"), good("campus")}},
		{name: "no clusters"},
		{name: "not looked at since", source: engine.SourceStatus{CheckedAt: before}, clusters: []engine.ClusterStatus{good("dmz")}, want: counts{pending: 1}},
		{name: "the source is unreadable", source: engine.SourceStatus{CheckedAt: after, State: "error", Error: &trouble}, clusters: []engine.ClusterStatus{good("dmz")}, want: counts{failed: 1}},
		{name: "its file is bad", clusters: with(func(c *engine.ClusterStatus) { c.Since = &before }), want: counts{failed: 1}},
		{name: "rolling out", clusters: with(func(c *engine.ClusterStatus) { c.Synced, c.Rollout = false, &engine.RolloutStatus{} }), want: counts{pending: 1}},
		{name: "guard", clusters: with(func(c *engine.ClusterStatus) { c.Synced, c.Waiting = false, "b" }), want: counts{held: 1}},
		{name: "pinned", clusters: with(func(c *engine.ClusterStatus) { c.Synced, c.Pinned = false, "b" }), want: counts{held: 1}},
		{name: "suspended with something to do", clusters: with(func(c *engine.ClusterStatus) { c.Synced, c.Suspended = false, true }), want: counts{held: 1}},
		{name: "suspended with nothing to do", clusters: with(func(c *engine.ClusterStatus) { c.Suspended = true })},
		{name: "suspended in the middle of a rollout", clusters: with(func(c *engine.ClusterStatus) {
			c.Synced, c.Suspended, c.Rollout = false, true, &engine.RolloutStatus{Waiting: "suspended"}
		}), want: counts{held: 1}},
		{name: "quarantined", clusters: with(func(c *engine.ClusterStatus) { c.Synced, c.Quarantined = false, "b" }), want: counts{failed: 1}},
		{name: "failed now", clusters: with(func(c *engine.ClusterStatus) {
			c.Synced, c.Last = false, &engine.LastRollout{Outcome: engine.Failed, At: after}
		}), want: counts{failed: 1}},
		{name: "failed earlier", clusters: with(func(c *engine.ClusterStatus) {
			c.Synced, c.Last = false, &engine.LastRollout{Outcome: engine.Failed, At: before}
		}), want: counts{pending: 1}},
		{name: "a node fails", clusters: with(func(c *engine.ClusterStatus) {
			c.Healthy, c.Resources = false, []engine.ResourceStatus{{Name: "w", State: observed.Failed}}
		}), want: counts{failed: 1}},
		{name: "a node is on its way", clusters: with(func(c *engine.ClusterStatus) {
			c.Healthy, c.Resources = false, []engine.ResourceStatus{{Name: "w", State: observed.Pending}}
		}), want: counts{pending: 1}},
		{name: "strangers do not count", clusters: []engine.ClusterStatus{{Name: "stranger"}}},
		{name: "only one is asked for", cluster: "campus", clusters: append(with(func(c *engine.ClusterStatus) { c.Waiting = "b" }), good("campus"))},
		{name: "it is not there", cluster: "campus", clusters: []engine.ClusterStatus{good("dmz")}, want: counts{failed: 1}},
		{name: "it was to go", cluster: "campus", removal: true, clusters: []engine.ClusterStatus{good("dmz")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &engine.Status{Source: tt.source, Clusters: tt.clusters}
			if s.Source.CheckedAt.IsZero() {
				s.Source.CheckedAt = after
			}
			v := judge(s, tt.cluster, tt.removal, noon, noon)
			if got := (counts{len(v.failed), len(v.held), len(v.pending)}); got != tt.want {
				t.Errorf("got %+v, want %+v: %+v", got, tt.want, v)
			}
		})
	}
}

func TestParseSince(t *testing.T) {
	for s, want := range map[string]time.Time{
		"": {}, "10m": noon.Add(-10 * time.Minute), "-10m": noon.Add(-10 * time.Minute),
		"2026-01-02T15:04:05Z": time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC),
	} {
		if got, err := parseSince(s, noon); err != nil || !got.Equal(want) {
			t.Errorf("parseSince(%q) = %v, %v", s, got, err)
		}
	}
	_, err := parseSince("yesterday", noon)
	if f, ok := errors.AsType[*failure](err); !ok || f.code != exitUsage {
		t.Errorf("parseSince(yesterday): %v", err)
	}
}

func TestSavedPlan(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plan.json")
	p := &savedPlan{Source: "/src", Digest: "d", Plan: reconciler.NewPlan(nil, nil)}
	if err := save(path, p); err != nil {
		t.Fatal(err)
	}
	if got, err := loadPlan(path); err != nil || got.Source != "/src" || got.Digest != "d" {
		t.Errorf("got %+v, %v", got, err)
	}
	for text, want := range map[string]string{
		"{}":   "not a file that zeekrec plan -o wrote",
		"junk": "invalid character",
		`{"kind": "zeekrec-plan", "source": "/s", "digest": "d", "format_version": 9}`: "format 9",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadPlan(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestClusterRevision(t *testing.T) {
	if c, r, err := clusterRevision("dmz@3f2a"); c != "dmz" || r != "3f2a" || err != nil {
		t.Errorf("got %q, %q, %v", c, r, err)
	}
	for _, s := range []string{"", "dmz", "dmz@", "@3f"} {
		if _, _, err := clusterRevision(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

// progressText is what a sequence of statuses shows.
func progressText(quiet bool, states ...[]engine.ResourceStatus) string {
	var b strings.Builder
	p := newProgress(&app{stderr: &b}, quiet)
	for _, rs := range states {
		p.show(&engine.Status{Clusters: []engine.ClusterStatus{{Name: "dmz", Resources: rs}}})
	}
	return b.String()
}

func TestProgress(t *testing.T) {
	at := func(s observed.State, pid int) engine.ResourceStatus {
		return engine.ResourceStatus{Name: "w", State: s, PID: pid}
	}
	old := engine.ResourceStatus{Name: "m", State: observed.Running, PID: 1}
	states := [][]engine.ResourceStatus{{}, {old}, {old, at(observed.Pending, 2)}, {old, at(observed.Pending, 2)}, {old, at(observed.Running, 2)}, {old}}
	want := "zeekrec: dmz/w PENDING (pid 2)\nzeekrec: dmz/w RUNNING (pid 2)\nzeekrec: dmz/w is gone\n"
	if got := progressText(false, states...); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
	if got := progressText(true, states...); got != "" {
		t.Errorf("quiet, it says %q", got)
	}
}
