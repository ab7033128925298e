package news

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// Kind of news.
type Kind string

// The kinds.
const (
	Success  Kind = "success"  // a rollout ended, and its cluster runs as it should
	Failure  Kind = "failure"  // a revision or a commit was not accepted, or its rollout failed
	Rollback Kind = "rollback" // a cluster is back on its last good revision, after a failure
	Drift    Kind = "drift"    // something happened on a host that nobody asked for
	Held     Kind = "held"     // a revision or a commit waits for zeekrec apply --confirm
)

// Kinds are all of them.
func Kinds() []Kind { return []Kind{Success, Failure, Rollback, Drift, Held} }

// News is one piece. Its JSON form is what hooks get, and a promise.
type News struct {
	// ID is the number of the record in the journal: who hears of it twice knows it by that.
	ID   int64     `json:"id"`
	At   time.Time `json:"at"`
	Kind Kind      `json:"event"`
	// Cluster is empty for what is said of a commit as a whole.
	Cluster  string `json:"cluster,omitempty"`
	Resource string `json:"resource,omitempty"` // of drift: "dmz/worker-1"
	Revision string `json:"revision,omitempty"`
	Commit   string `json:"commit,omitempty"`
	Author   string `json:"author,omitempty"`
	// Text says it in a sentence or two, for people.
	Text string `json:"text"`
	// Repeated counts what was the same since it was told last, and not told.
	Repeated int `json:"repeated,omitempty"`
}

// Again is how long drift of one kind on one resource is not told again.
const Again = time.Hour

// forgetAfter is when drift that was not seen since is forgotten, with its count.
const forgetAfter = 24 * time.Hour

// Ledger is what was told. Its zero value has told nothing.
type Ledger struct {
	// Seq is the last record that was taken.
	Seq int64 `json:"seq"`
	// Last news of each cluster, by what it said; that of commits as a whole has the empty name.
	Last map[string]string `json:"last,omitempty"`
	// Drift by resource and event.
	Drift map[string]Told `json:"drift,omitempty"`
}

// Told is drift that was told.
type Told struct {
	At       time.Time `json:"at"`
	Repeated int       `json:"repeated,omitempty"`
}

// Clone is a copy that shares nothing.
func (l *Ledger) Clone() Ledger {
	return Ledger{Seq: l.Seq, Last: maps.Clone(l.Last), Drift: maps.Clone(l.Drift)}
}

// Take adds a record, and reports whether it is news. A record that was taken before is none.
func (l *Ledger) Take(r *engine.Record) (News, bool) {
	if r.Seq <= l.Seq {
		return News{}, false
	}
	l.Seq = r.Seq
	if r.Kind == engine.KindRetried {
		delete(l.Last, r.Cluster) // somebody wants to hear of it anew
	}
	n, says := read(r)
	if n.Kind == "" {
		return News{}, false
	}
	if n.Kind == Drift {
		return l.drifted(n, says)
	}
	if l.Last[n.Cluster] == says {
		return News{}, false
	}
	if l.Last == nil {
		l.Last = map[string]string{}
	}
	l.Last[n.Cluster] = says
	return n, true
}

func (l *Ledger) drifted(n News, says string) (News, bool) {
	maps.DeleteFunc(l.Drift, func(_ string, t Told) bool { return n.At.Sub(t.At) > forgetAfter })
	if l.Drift == nil {
		l.Drift = map[string]Told{}
	}
	t, told := l.Drift[says]
	if told && n.At.Sub(t.At) < Again {
		t.Repeated++
		l.Drift[says] = t
		return News{}, false
	}
	n.Repeated = t.Repeated
	l.Drift[says] = Told{At: n.At}
	return n, true
}

// read is what a record says to people, and what makes it the same as another. A kind that is empty: nothing.
func read(r *engine.Record) (n News, says string) {
	n = News{ID: r.Seq, At: r.At, Cluster: r.Cluster, Revision: r.Revision}
	if r.Commit != nil {
		n.Commit, n.Author = r.Commit.ID, r.Commit.Author
	}
	switch r.Kind {
	case engine.KindOutcome:
		switch r.Outcome {
		case engine.Succeeded:
			n.Kind, says, n.Text = Success, "runs "+r.Revision, fmt.Sprintf("%s runs revision %s%s.", r.Cluster, r.Revision, from(r.Commit))
		case engine.RolledBack:
			n.Kind, says, n.Text = Rollback, "runs "+r.Revision, fmt.Sprintf("%s is back on revision %s%s.", r.Cluster, r.Revision, from(r.Commit))
		case engine.Failed:
			n.Kind, says = Failure, "fails "+r.Revision
			n.Text = fmt.Sprintf("%s: the rollout of revision %s failed: %s", r.Cluster, r.Revision, r.Reason)
		}
	case engine.KindRejected:
		n.Kind, says = Failure, "refuses "+r.Revision+" of "+n.Commit
		n.Text = fmt.Sprintf("%s: revision %s%s was not accepted; everything stays as it was: %s", r.Cluster, r.Revision, from(r.Commit), problems(r.Problems))
	case engine.KindCommitRejected:
		n.Kind, says, n.Text = Failure, "refuses "+n.Commit, "A commit was not accepted; everything stays as it was: "+r.Reason
	case engine.KindCommitHeld:
		n.Kind, says = Held, "holds "+n.Commit
		n.Text = fmt.Sprintf("Commit %s waits for a confirmation: %s; zeekrec apply --confirm %s", r.Commit, r.Reason, r.Commit.Short())
	case engine.KindAccepted:
		if r.Accepted == nil || r.Accepted.Guard == "" {
			break
		}
		n.Kind, says, n.Commit, n.Author = Held, "holds "+r.Revision, r.Accepted.Commit, r.Accepted.Author
		n.Text = fmt.Sprintf("%s: revision %s waits for a confirmation: %s; zeekrec apply --confirm %s@%s", r.Cluster, r.Revision, r.Accepted.Guard, r.Cluster, r.Revision)
	case engine.KindDrift:
		if r.Drift == nil || !alarming(r.Drift.Event) {
			break
		}
		n.Kind, n.Resource, says = Drift, r.Drift.Resource, r.Drift.Resource+" "+r.Drift.Event
		n.Cluster, _, _ = strings.Cut(n.Resource, "/")
		n.Text = fmt.Sprintf("%s: %s: %s", r.Drift.Resource, r.Drift.Event, r.Drift.Text)
	}
	return n, says
}

// alarming are the events of an agent that something is wrong by. The others say that it came right, or was found again.
func alarming(event string) bool {
	return slices.Contains([]string{"crashed", "damaged", "failed", "hung", "interface-gone", "lost", "start-timeout", "stop-timeout", "unkillable"}, event)
}

func from(c *desired.Commit) string {
	if c == nil {
		return ""
	}
	return " of commit " + c.String()
}

func problems(ds []desired.Diagnostic) string {
	if len(ds) == 0 {
		return "it cannot be read"
	}
	text := ds[0].String()
	if n := len(ds) - 1; n > 0 {
		text += fmt.Sprintf(" (and %d more)", n)
	}
	return text
}
