package news

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

func outcome(o engine.Outcome, rev string) engine.Record {
	return engine.Record{Kind: engine.KindOutcome, Cluster: "dmz", Revision: rev, Outcome: o, Reason: "worker-1 crashed"}
}

func drift(resource, event string, at time.Duration) engine.Record {
	return engine.Record{Kind: engine.KindDrift, At: time.Unix(0, 0).Add(at), Drift: &engine.Drift{Resource: resource, Event: event, Text: "signal 11"}}
}

// TestTake: what is news, and what is not.
func TestTake(t *testing.T) {
	c := &desired.Commit{ID: "0123456789abcdef0123", Author: "Ada <ada@example.org>"}
	rejected := engine.Record{Kind: engine.KindRejected, Cluster: "dmz", Revision: "b", Commit: c, Problems: []desired.Diagnostic{{File: "dmz.cfg", Line: 3, Severity: desired.Error, Message: "unknown role"}}}
	again := rejected
	again.Commit = &desired.Commit{ID: "another"}
	held := engine.Record{Kind: engine.KindAccepted, Cluster: "dmz", Revision: "c", Accepted: &engine.Accepted{Guard: "it stops 5 nodes", Commit: c.ID}}
	for _, x := range []struct {
		name    string
		records []engine.Record
		want    string // kinds, in their order
	}{
		{"an accepted revision is none", []engine.Record{{Kind: engine.KindAccepted, Cluster: "dmz", Revision: "a", Accepted: &engine.Accepted{}}}, ""},
		{"a success", []engine.Record{outcome(engine.Succeeded, "a")}, "success"},
		{"what was put right", []engine.Record{outcome(engine.Succeeded, "a"), outcome(engine.Succeeded, "a")}, "success"},
		{"neither superseded nor cancelled", []engine.Record{outcome(engine.Superseded, "a"), outcome(engine.Cancelled, "b")}, ""},
		{"a failure that is tried again", []engine.Record{outcome(engine.Failed, "a"), outcome(engine.Failed, "a"), outcome(engine.Failed, "a")}, "failure"},
		{"there and back", []engine.Record{outcome(engine.Succeeded, "a"), outcome(engine.Failed, "b"), outcome(engine.RolledBack, "a"), outcome(engine.Succeeded, "a")}, "success failure rollback"},
		{"the same fails anew", []engine.Record{outcome(engine.Failed, "b"), outcome(engine.RolledBack, "a"), outcome(engine.Failed, "b")}, "failure rollback failure"},
		{"somebody wants to try", []engine.Record{outcome(engine.Failed, "b"), {Kind: engine.KindRetried, Cluster: "dmz"}, outcome(engine.Failed, "b")}, "failure failure"},
		{"rejected again after a restart", []engine.Record{rejected, rejected}, "failure"},
		{"rejected in another commit", []engine.Record{rejected, again}, "failure failure"},
		{"held", []engine.Record{held}, "held"},
		{"commits", []engine.Record{{Kind: engine.KindCommitRejected, Commit: c}, {Kind: engine.KindCommitRejected, Commit: c}, {Kind: engine.KindCommitHeld, Commit: c}}, "failure held"},
		{"crashes", []engine.Record{drift("dmz/worker-1", "crashed", 0), drift("dmz/worker-1", "restarted", 1), drift("dmz/worker-1", "crashed", 2), drift("dmz/worker-2", "crashed", 3)}, "drift drift"},
		{"crashes for hours", []engine.Record{drift("dmz/worker-1", "crashed", 0), drift("dmz/worker-1", "crashed", time.Minute), drift("dmz/worker-1", "crashed", time.Hour)}, "drift drift+1"},
		{"found again", []engine.Record{drift("dmz/worker-1", "adopted", 0)}, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			var l Ledger
			var got []string
			for i := range x.records {
				x.records[i].Seq = int64(i + 1)
				n, ok := l.Take(&x.records[i])
				if !ok {
					continue
				}
				if n.ID != int64(i+1) || n.Text == "" {
					t.Errorf("the news are %+v", n)
				}
				s := string(n.Kind)
				if n.Repeated > 0 {
					s += "+" + string(rune('0'+n.Repeated))
				}
				got = append(got, s)
			}
			if s := strings.Join(got, " "); s != x.want {
				t.Errorf("news are %q, want %q", s, x.want)
			}
		})
	}
}

// TestText: people are told who, what and why.
func TestText(t *testing.T) {
	var l Ledger
	r := engine.Record{
		Seq: 7, Kind: engine.KindRejected, Cluster: "dmz", Revision: "b", Commit: &desired.Commit{ID: "0123456789abcdef0123", Author: "Ada <ada@example.org>"},
		Problems: []desired.Diagnostic{{File: "dmz.cfg", Line: 3, Severity: desired.Error, Code: "unknown-role", Message: `unknown role "wroker"`}, {}},
	}
	n, _ := l.Take(&r)
	const want = `dmz: revision b of commit 0123456789ab by Ada <ada@example.org> was not accepted; everything stays as it was: dmz.cfg:3: error: unknown role "wroker" [unknown-role] (and 1 more)`
	if n.Text != want || n.Author != r.Commit.Author || n.Commit != r.Commit.ID {
		t.Errorf("it says\n%s\nwant\n%s\nof %+v", n.Text, want, n)
	}
}

// TestRestart: wherever the fold is cut, stored and begun anew from a few records before, the news are the same.
func TestRestart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rs []engine.Record
		for i := range rapid.IntRange(1, 30).Draw(t, "n") {
			r := rapid.SampledFrom([]engine.Record{
				outcome(engine.Succeeded, "a"), outcome(engine.Failed, "b"), outcome(engine.RolledBack, "a"), {Kind: engine.KindRetried, Cluster: "dmz"},
				drift("dmz/worker-1", "crashed", time.Duration(i)*10*time.Minute),
			}).Draw(t, "record")
			r.Seq = int64(i + 1)
			rs = append(rs, r)
		}
		run := func(l *Ledger, rs []engine.Record) (out []News) {
			for i := range rs {
				if n, ok := l.Take(&rs[i]); ok {
					out = append(out, n)
				}
			}
			return out
		}
		whole := run(&Ledger{}, rs)
		cut := rapid.IntRange(0, len(rs)).Draw(t, "cut")
		var first, second Ledger
		parts := run(&first, rs[:cut])
		b, err := json.Marshal(first.Clone())
		if err == nil {
			err = json.Unmarshal(b, &second)
		}
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, run(&second, rs[max(0, cut-rapid.IntRange(0, 5).Draw(t, "back")):])...)
		was, _ := json.Marshal(whole)
		got, _ := json.Marshal(parts)
		if string(was) != string(got) {
			t.Errorf("news are\n%s\nwithout a restart\n%s", got, was)
		}
		for i := 1; i < len(whole); i++ {
			if whole[i].ID <= whole[i-1].ID {
				t.Errorf("ids are not in order: %d, %d", whole[i-1].ID, whole[i].ID)
			}
		}
	})
}
