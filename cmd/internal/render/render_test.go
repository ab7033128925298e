package render

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// golden compares a text with testdata/NAME.golden.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

func options() Options { return Options{Now: now, Location: time.UTC} }

func action(wave int, kind desired.Verb, name string, role desired.Role, reasons ...reconciler.Reason) reconciler.Action {
	return reconciler.Action{
		Wave: wave, Kind: kind, Resource: "dmz/" + name, Type: desired.TypeNode, Role: role, Instance: "agent-a",
		Cause: reconciler.CauseChange, Reasons: reasons,
	}
}

func testPlan() *reconciler.Plan {
	layout := reconciler.Reason{Field: "layout", From: "5 nodes", To: "6 nodes"}
	drift := action(3, desired.Restart, "worker-04", desired.RoleWorker, reconciler.Reason{Field: "told", From: "nothing", To: "0123"})
	drift.Cause = reconciler.CauseDrift
	return reconciler.NewPlan([]reconciler.ClusterPlan{
		{
			Name: "dmz", Revision: reconciler.Revision{From: "3f2a91c07be1d855", To: "9bc10a"}, Unchanged: 40,
			Actions: []reconciler.Action{
				action(1, desired.Update, "logger-01", desired.RoleLogger, layout),
				action(1, desired.Update, "proxy-01", desired.RoleProxy, layout),
				action(1, desired.Update, "worker-05", desired.RoleWorker, layout),
				action(1, desired.Update, "worker-06", desired.RoleWorker, layout, reconciler.Reason{Field: "nice", From: "", To: "5"}),
				action(2, desired.Restart, "manager", desired.RoleManager, reconciler.Reason{Field: "workers", From: "-worker-09", To: "+worker-03"}),
				action(2, desired.Start, "worker-03", desired.RoleWorker, reconciler.Reason{Field: "resource", To: "new"}),
				action(3, desired.Restart, "worker-01", desired.RoleWorker, reconciler.Reason{Field: "interface", From: "eth0", To: "eth1"},
					reconciler.Reason{Field: "env", To: "+A=1"}),
				drift,
				action(3, desired.Stop, "worker-09", desired.RoleWorker, reconciler.Reason{Field: "resource", From: "3f2a91c07be1d855", To: "removed"}),
				action(3, desired.Update, "worker-02", desired.RoleWorker, reconciler.Reason{Field: "cpus", From: "1", To: "2"}),
			},
			Waiting:  []reconciler.Waiting{{Resource: "dmz/worker-07", Why: "agent-b has not reported for 20s"}},
			Orphaned: []string{"dmz/worker-99"},
		},
		{
			Name: "campus", Revision: reconciler.Revision{From: "aa", To: "removed"},
			Held:    &reconciler.Hold{Code: "removed", Reason: "the cluster's file was removed, which stops all its 1 node", Stops: []string{"campus/m"}, Of: 1},
			Actions: []reconciler.Action{{Wave: 1, Kind: desired.Stop, Resource: "campus/m", Type: desired.TypeNode, Role: desired.RoleManager, Instance: "agent-a", Reasons: []reconciler.Reason{{Field: "resource", From: "aa", To: "removed"}}}},
		},
		{Name: "quiet", Revision: reconciler.Revision{From: "bb", To: "bb"}, Unchanged: 2, Actions: []reconciler.Action{}},
	}, nil)
}

func TestPlan(t *testing.T) {
	golden(t, "plan", Plan(testPlan(), options()))
	empty := reconciler.NewPlan([]reconciler.ClusterPlan{{Name: "quiet", Revision: reconciler.Revision{From: "b", To: "b"}, Unchanged: 2}}, nil)
	if got, want := Plan(empty, options()), "Nothing to do: 2 resources unchanged.\n"; got != want {
		t.Errorf("an empty plan is %q, want %q", got, want)
	}
}

func TestReason(t *testing.T) {
	for _, tt := range []struct{ field, from, to, want string }{
		{"interface", "eth0", "eth1", "interface: eth0 -> eth1"},
		{"port", "", "2200", "port: 2200"},
		{"nice", "", "5", "nice: none -> 5"},
		{"nice", "5", "", "nice: 5 -> none"},
		{"workers", "", "+w3", "workers: +w3"},
		{"workers", "-w3", "", "workers: -w3"},
		{"workers", "-w3", "+w4", "workers: -w3, +w4"},
		{"resource", "", "new", "new"},
		{"resource", "3f2a", "removed", "removed"},
		{"hold", "", "stopped by anna", "hold: stopped by anna"},
		{"asked", "", "restart", "asked: restart"},
	} {
		if got := Reason(reconciler.Reason{Field: tt.field, From: tt.from, To: tt.to}); got != tt.want {
			t.Errorf("Reason(%s, %q, %q) = %q, want %q", tt.field, tt.from, tt.to, got, tt.want)
		}
	}
}

func testStatus() *engine.Status {
	at := func(d time.Duration) *time.Time { t := now.Add(-d); return &t }
	port, xpub := 2200, 5555
	trouble := "cannot read the source /etc/zeek/clusters: it does not exist"
	s := &engine.Status{
		FormatVersion: 1, At: now, StandIn: true,
		Source: engine.SourceStatus{URL: "/etc/zeek/clusters", State: "error", Error: &trouble, Since: at(4 * time.Minute), CheckedAt: now.Add(-3 * time.Second)},
		Agents: []engine.AgentStatus{
			{Name: "agent-a", State: "connected", LastReport: now, Zeek: "8.2.2", StandIn: true},
			{Name: "agent-b", State: "silent", LastReport: now.Add(-20 * time.Second), Zeek: "8.2.2"},
		},
		Clusters: []engine.ClusterStatus{
			{Name: "dmz", Synced: true, Resources: []engine.ResourceStatus{
				{Name: "broker", Type: "broker", Role: "broker", Instance: "agent-a", State: observed.Running, PID: 4700, Port: &xpub, StartedAt: at(131 * time.Minute), ObservedAt: at(0), Healthy: true, Outdated: []string{"zeekrec 1.0 -> 1.1"}},
				{Name: "manager", Type: "node", Role: "manager", Instance: "agent-a", State: observed.Running, PID: 4711, Port: &port, StartedAt: at(130 * time.Minute), ObservedAt: at(0), Healthy: true, StandIn: true},
				{Name: "worker-01", Type: "node", Role: "worker", Instance: "agent-a", State: observed.Failed, Reason: "interface eth1 does not exist\nsecond line", Since: at(time.Minute), Restarts: 5, ObservedAt: at(0)},
				{Name: "worker-03", Type: "node", Role: "worker", Instance: "agent-a", State: observed.Running, Reason: "has not joined the broker", Joined: new(false), PID: 4720, StartedAt: at(time.Second), Since: at(time.Second), ObservedAt: at(0)},
				{Name: "worker-04", Type: "node", Role: "worker", Instance: "agent-a", State: observed.Running, Joined: new(true), Healthy: true, PID: 4721, StartedAt: at(time.Hour), ObservedAt: at(0), Degraded: []string{"drops 3.1% of its packets", "2 reporter errors in the last minute"}, Notes: []string{"not shown"}},
				{Name: "worker-05", Type: "node", Role: "worker", Instance: "agent-a", State: observed.Running, Joined: new(true), Healthy: true, PID: 4722, StartedAt: at(time.Hour), ObservedAt: at(0), Notes: []string{"no packets for 5 min"}},
				{Name: "worker-02", Type: "node", Role: "worker", Instance: "agent-b", State: observed.Unknown, Reason: "agent-b has not reported for 20s", PID: 12, ObservedAt: at(20 * time.Second), Outdated: []string{"Zeek 8.1.1 -> 8.2.2"}},
			}},
			{Name: "campus", Suspended: true, Reason: "suspended by anna: freeze", Since: at(time.Hour), Last: &engine.LastRollout{To: "bb", Outcome: engine.RolledBack, Reason: "worker-01 crashed", At: now.Add(-time.Hour)},
				Rollout: nil, Resources: []engine.ResourceStatus{}},
		},
	}
	s.Clusters[0].Revision.Wanted, s.Clusters[0].Revision.Running = "3f2a91c07be1d855", "3f2a91c07be1d855"
	s.Clusters[1].Revision.Wanted, s.Clusters[1].Revision.Running = "cc", "aa"
	return s
}

func TestStatus(t *testing.T) { golden(t, "status", Status(testStatus(), options())) }

func TestHistory(t *testing.T) {
	at := now.Add(-25 * time.Hour)
	drift := func(i int, name, event, text string) engine.Record {
		return engine.Record{At: now.Add(time.Duration(i) * time.Second), Kind: engine.KindDrift, By: "agent-a", Reason: text, Drift: &engine.Drift{Instance: "agent-a", Resource: "dmz/" + name, Event: event, Text: text}}
	}
	golden(t, "history", History([]engine.Record{
		{At: at, Kind: engine.KindBound, Source: "/etc/zeek/clusters"},
		{At: at, Kind: engine.KindAccepted, Cluster: "dmz", Revision: "3f2a", By: "source", Accepted: &engine.Accepted{Resources: map[string]engine.Placement{"m": {}}}},
		{At: at, Kind: engine.KindRollout, Cluster: "dmz", Revision: "3f2a", By: "zeekrec", Rollout: &engine.RolloutRecord{Cause: "change", Actions: []string{"start dmz/a", "start dmz/b", "start dmz/c", "start dmz/d"}}},
		{At: at, Kind: engine.KindOutcome, Cluster: "dmz", Revision: "3f2a", By: "zeekrec", Outcome: engine.Failed, Reason: "b is not ready\nmore", Rollout: &engine.RolloutRecord{Acted: 2}},
		{At: now, Kind: engine.KindAccepted, Cluster: "dmz", Revision: "removed", By: "source", Accepted: &engine.Accepted{Removed: true, Guard: "it stops all"}},
		{At: now, Kind: engine.KindSuspended, Scope: "*", By: "anna", Reason: "freeze", Until: now.Add(time.Hour)},
		{At: now, Kind: engine.KindRestart, By: "anna", Resources: map[string]int{"dmz/b": 1, "dmz/a": 2}},
		{At: now, Kind: engine.KindRejected, Cluster: "dmz", Revision: "5", By: "source", Problems: []desired.Diagnostic{{File: "dmz.cfg", Line: 3, Severity: desired.Error, Code: "x", Message: "wrong"}}},
		{At: now, Kind: engine.KindKeysMade, Cluster: "dmz", By: "zeekrec", Keys: []string{"aaaaaaaaaaaa"}},
		{At: now, Kind: engine.KindKeysRotated, Cluster: "dmz", By: "anna", Reason: "yearly", Keys: []string{"bbbbbbbbbbbb", "aaaaaaaaaaaa"}},
		{At: now, Kind: engine.KindKeysRetired, Cluster: "dmz", By: "zeekrec", Reason: "every node uses the new ones", Keys: []string{"bbbbbbbbbbbb"}},
		drift(1, "a", "adopted", "found again"), drift(2, "b", "adopted", "found again"), drift(3, "a", "crashed", "killed by SIGKILL"),
	}, options()))
	if got := History(nil, options()); got != "no history\n" {
		t.Errorf("an empty history is %q", got)
	}
}

func TestKeyTable(t *testing.T) {
	golden(t, "keys", KeyTable([]Keys{
		{Cluster: "dmz", ID: "bbbbbbbbbbbb", Created: now.Add(-3 * time.Minute), Current: true, ServerPublic: "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7", ClientPublic: "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"},
		{Cluster: "dmz", ID: "aaaaaaaaaaaa", Created: now.Add(-400 * 24 * time.Hour), ServerPublic: "l2A9cf[>&X7u=.GZFdHI=nz6QT6{$u^weYPEWJb/", ClientPublic: "Z0eCkbrKkQBkO90Qb[j5mngd[0%Cl*bo}0<D+&vp"},
	}, options()))
	if got := KeyTable(nil, options()); got != "no keys\n" {
		t.Errorf("no keys are %q", got)
	}
}

func TestDiagnostics(t *testing.T) {
	ds := []desired.Diagnostic{
		{File: "dmz.cfg", Line: 14, Severity: desired.Error, Code: "unknown-role", Message: `unknown role "wroker"`, Hint: `did you mean "worker"?`},
		{File: "dmz.cfg", Severity: desired.Warning, Code: "odd", Message: "odd"},
		{Severity: desired.Info, Code: "world", Message: "planned as if nothing ran"},
	}
	c := &desired.Cluster{Name: "dmz", Revision: "3f2a", Nodes: []desired.Node{
		{Name: "m", Role: desired.RoleManager, Instance: "b"}, {Name: "w", Role: desired.RoleWorker, Instance: "a"}, {Name: "x", Role: desired.RoleWorker, Instance: "a"},
	}}
	golden(t, "diagnostics", Diagnostics(ds, options())+Valid(nil, "dmz.cfg", ds, options())+Valid(c, "dmz.cfg", ds[1:], options()))
}

func TestTop(t *testing.T) {
	golden(t, "top", Top([]api.Usage{
		{Resource: "dmz/manager", Role: "manager", PID: 1, CPU: 0.24, RSS: 3 << 30, Threads: 8, MainLoop: new(0.2)},
		{Resource: "dmz/worker-01", Role: "worker", PID: 2345678, CPU: 98.76, RSS: 512 << 20, Threads: 12, Packets: new(uint64(9900)), Drops: new(uint64(100)),
			PacketRate: new(165.0), DropRate: new(0.05), MainLoop: new(97.31), Degraded: []string{"drops 5% of its packets", "its main loop is never idle (97% of a CPU)"}},
		{Resource: "dmz/worker-02", Role: "worker", PID: 3, RSS: 900, Packets: new(uint64(0)), Drops: new(uint64(0)), PacketRate: new(0.0)},
		{Resource: "dmz/worker-03", Role: "worker", PID: 4, RSS: 900, Packets: new(uint64(990)), Drops: new(uint64(10)), DropRate: new(0.0)},
	}, options()))
}

func TestNetStatsTable(t *testing.T) {
	golden(t, "netstats", NetStatsTable(map[string]NetStats{
		"dmz/worker-02": {Received: 99_000, Dropped: 1000, DropRate: 0.01, Link: 100_000, Bytes: 5 << 20, Filtered: new(uint64(7))},
		"dmz/worker-01": {},
	}, options()))
	if got := NetStatsTable(nil, options()); got != "no packet counters\n" {
		t.Errorf("without any: %q", got)
	}
}

func TestZeekClientJSON(t *testing.T) {
	got, err := ZeekClientJSON(map[string]any{"results": map[string]any{
		"b": json.RawMessage(`{"z":1795259634.801726,"a":[],"<é😀>":{},"n":null,"s":"\u00e9\n"}`), "a": json.RawMessage("18446744073709551615"),
	}, "errors": []string{}})
	want := `{
  "errors": [],
  "results": {
    "a": 18446744073709551615,
    "b": {
      "<\u00e9\ud83d\ude00>": {},
      "a": [],
      "n": null,
      "s": "\u00e9\n",
      "z": 1795259634.801726
    }
  }
}
`
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if _, err := ZeekClientJSON(json.RawMessage("{")); err == nil {
		t.Error("half a value")
	}
}

// Colour repeats what the text says: without it, not a word is missing.
func TestColourAddsNothing(t *testing.T) {
	o := options()
	o.Color = true
	for name, pair := range map[string][2]string{
		"plan":   {Plan(testPlan(), o), Plan(testPlan(), options())},
		"status": {Status(testStatus(), o), Status(testStatus(), options())},
	} {
		coloured, plain := pair[0], pair[1]
		if !strings.Contains(coloured, "\x1b[") {
			t.Errorf("%s: no colour where it is wanted", name)
		}
		if strings.Contains(plain, "\x1b") {
			t.Errorf("%s: colour where none is wanted", name)
		}
		if got := withoutEscapes(coloured); got != plain {
			t.Errorf("%s: colour changes the text (-plain +coloured):\n%s", name, cmp.Diff(plain, got))
		}
	}
}

func withoutEscapes(s string) string {
	var b strings.Builder
	for s != "" {
		before, rest, found := strings.Cut(s, "\x1b[")
		b.WriteString(before)
		if !found {
			break
		}
		_, s, _ = strings.Cut(rest, "m")
	}
	return b.String()
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 900 * time.Millisecond: "0 s", 3 * time.Second: "3 s", 4*time.Minute + time.Second: "4 min",
		2*time.Hour + 10*time.Minute: "2 h 10 min", 5 * time.Hour: "5 h", 75 * time.Hour: "3 d",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%s) = %q, want %q", d, got, want)
		}
	}
}
