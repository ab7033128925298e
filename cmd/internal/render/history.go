package render

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// History shows records of the journal as a table, in the order given.
func History(rs []engine.Record, o Options) string {
	if len(rs) == 0 {
		return "no history\n"
	}
	var b strings.Builder
	t := table{}
	t.head("TIME", "CLUSTER", "WHAT", "REVISION", "BY", "DETAILS")
	for i := 0; i < len(rs); i++ {
		r := &rs[i]
		if n := adopted(rs[i:]); n > 1 {
			t.row(cell{o.clock(r.At), faint}, cell{}, cell{"drift: adopted", warn}, cell{}, cell{r.By, plain}, cell{fmt.Sprintf("%d processes found again", n), plain})
			i += n - 1
			continue
		}
		what, tone := event(r)
		t.row(cell{o.clock(r.At), faint}, cell{subject(r), plain}, cell{what, tone}, cell{r.Revision, plain}, cell{r.By, plain}, cell{details(r, o), plain})
	}
	t.write(&b, o, true)
	return b.String()
}

// adopted counts the records at the beginning that say that a node was found again, by the same agent: every
// start of zeekrec makes as many as there are nodes.
func adopted(rs []engine.Record) int {
	n := 0
	for n < len(rs) && rs[n].Kind == engine.KindDrift && rs[n].Drift.Event == "adopted" && rs[n].By == rs[0].By {
		n++
	}
	return n
}

// subject is the cluster, or the scope, that a record is about.
func subject(r *engine.Record) string {
	switch {
	case r.Cluster != "":
		return r.Cluster
	case r.Scope == "*":
		return "everything"
	case r.Scope != "":
		return r.Scope
	case r.Drift != nil:
		return r.Drift.Resource
	case r.Commit != nil:
		return desired.ShortCommit(r.Commit.ID)
	}
	return ""
}

func event(r *engine.Record) (string, tone) {
	switch r.Kind {
	case engine.KindOutcome:
		switch r.Outcome {
		case engine.Succeeded:
			return string(r.Outcome), good
		case engine.Failed, engine.RolledBack:
			return string(r.Outcome), bad
		}
		return string(r.Outcome), warn
	case engine.KindDrift:
		return "drift: " + r.Drift.Event, warn
	case engine.KindRejected, engine.KindQuarantined, engine.KindCommitRejected:
		return string(r.Kind), bad
	case engine.KindCommitHeld:
		return string(r.Kind), warn
	case engine.KindAccepted:
		if r.Accepted != nil && r.Accepted.Guard != "" {
			return "held", warn
		}
		return string(r.Kind), plain
	case engine.KindPinned:
		return "rolled back", warn
	}
	return string(r.Kind), plain
}

func details(r *engine.Record, o Options) string {
	var parts []string
	if r.Reason != "" {
		first, _, _ := strings.Cut(r.Reason, "\n")
		parts = append(parts, first)
	}
	switch r.Kind {
	case engine.KindAccepted:
		if r.Accepted == nil {
			break
		}
		if r.Accepted.Removed {
			parts = append(parts, "the file was removed")
		} else {
			parts = append(parts, count(nodesOf(r.Accepted), "node"))
		}
		if r.Accepted.Guard != "" {
			parts = append(parts, r.Accepted.Guard)
		}
		if r.Accepted.Commit != "" {
			parts = append(parts, "commit "+desired.ShortCommit(r.Accepted.Commit))
		}
	case engine.KindRejected:
		if len(r.Problems) > 0 {
			parts = append(parts, r.Problems[0].String())
		}
		if r.Commit != nil {
			parts = append(parts, "commit "+r.Commit.Short())
		}
	case engine.KindCommit, engine.KindCommitRejected, engine.KindCommitHeld, engine.KindCommitAdmitted:
		if r.Commit != nil {
			parts = append(parts, commitDetails(r.Commit)...)
		}
	case engine.KindRollout:
		if r.Rollout != nil {
			parts = append(parts, fmt.Sprintf("%s: %s", r.Rollout.Cause, few(r.Rollout.Actions, 3)))
		}
	case engine.KindOutcome:
		if r.Rollout != nil && r.Rollout.Acted > 0 {
			parts = append(parts, count(r.Rollout.Acted, "action"))
		}
	case engine.KindRestart:
		parts = append(parts, few(slices.Sorted(maps.Keys(r.Resources)), 4))
	case engine.KindKeysMade, engine.KindKeysRetired:
		parts = append(parts, few(r.Keys, 2))
	case engine.KindKeysRotated:
		if len(r.Keys) > 0 {
			text := "to " + r.Keys[0]
			if old := few(r.Keys[1:], 2); old != "" {
				text += ", " + old + " still accepted"
			}
			parts = append(parts, text)
		}
	case engine.KindBound:
		parts = append(parts, r.Source)
	case engine.KindSuspended, engine.KindStopped:
		if !r.Until.IsZero() {
			parts = append(parts, "until "+o.clock(r.Until))
		}
	}
	return strings.Join(parts, "; ")
}

// commitDetails are what a commit says of itself, who signed it, and what it passed over.
func commitDetails(c *desired.Commit) []string {
	var parts []string
	if c.Subject != "" {
		parts = append(parts, strconv.Quote(c.Subject))
	}
	if c.Signer != "" {
		parts = append(parts, "signed by "+c.Signer)
	}
	if n := len(c.Passed) + c.More; n > 0 {
		names := make([]string, 0, len(c.Passed))
		for i := range c.Passed {
			names = append(names, c.Passed[i].Short())
		}
		parts = append(parts, count(n, "commit")+" before it passed over: "+few(names, 3))
	}
	return parts
}

// nodesOf counts those of a revision.
func nodesOf(a *engine.Accepted) int {
	n := 0
	for _, p := range a.Resources {
		if p.Type != desired.TypeBroker && p.Type != desired.TypeArchiver {
			n++
		}
	}
	return n
}
