package engine

import (
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

// Kind of a journal record.
type Kind string

// What the journal says. Everything that only the controller knows is one of these, and everything
// that zeekrec does follows from them (decisions 5).
const (
	KindBound       Kind = "bound"       // this state folder belongs to a source
	KindAccepted    Kind = "accepted"    // a revision of a cluster is valid and wanted
	KindRejected    Kind = "rejected"    // a revision was read and is not
	KindConfirmed   Kind = "confirmed"   // somebody let a revision pass the prune guard
	KindRollout     Kind = "rollout"     // a rollout began
	KindOutcome     Kind = "outcome"     // and ended
	KindQuarantined Kind = "quarantined" // a revision is not tried again
	KindRetried     Kind = "retried"     // until somebody lifts that
	KindPinned      Kind = "pinned"      // an older revision is wanted (rollback)
	KindUnpinned    Kind = "unpinned"
	KindSuspended   Kind = "suspended"
	KindResumed     Kind = "resumed"
	KindStopped     Kind = "stopped" // a hold: zeekrec stop
	KindStarted     Kind = "started" // its end
	KindRestart     Kind = "restart" // somebody asked for restarts
	KindDrift       Kind = "drift"   // something happened on a host without an order
	KindSource      Kind = "source"  // the source failed, or is well again
	// Of a Git source: Record.Commit is the commit. See commit.go.
	KindCommit         Kind = "commit"          // it is what counts from here on
	KindCommitRejected Kind = "commit-rejected" // it is not taken: not signed, too large
	KindCommitHeld     Kind = "commit-held"     // it does not descend from the one that counts
	KindCommitAdmitted Kind = "commit-admitted" // somebody let it in all the same
	// Record.Keys count from here on; see keys.go.
	KindKeysMade    Kind = "keys-made"    // a cluster's first keys
	KindKeysRotated Kind = "keys-rotated" // new ones, and those before are still accepted
	KindKeysRetired Kind = "keys-retired" // no longer
)

// Outcome of a rollout. A rollback is never called a success.
type Outcome string

// The outcomes.
const (
	Succeeded  Outcome = "Succeeded"
	RolledBack Outcome = "RolledBack"
	Failed     Outcome = "Failed"
	Superseded Outcome = "Superseded"
	Cancelled  Outcome = "Cancelled"
)

// Record is one line of the journal. Which fields are set follows from Kind. A record is never changed.
type Record struct {
	Seq  int64     `json:"seq"`
	At   time.Time `json:"at"`
	Kind Kind      `json:"kind"`
	// Cluster, or the scope of a suspension or a hold: "dmz", "dmz/worker-1", "instance:agent-a".
	Cluster  string `json:"cluster,omitempty"`
	Scope    string `json:"scope,omitempty"`
	Revision string `json:"revision,omitempty"`
	// By is who asked: a user's name, the author of a commit, "source", or "zeekrec" itself.
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`

	Accepted *Accepted            `json:"accepted,omitempty"`
	Problems []desired.Diagnostic `json:"problems,omitempty"` // of a rejection
	Rollout  *RolloutRecord       `json:"rollout,omitempty"`
	Outcome  Outcome              `json:"outcome,omitempty"`
	Until    time.Time            `json:"until,omitzero"`
	// Resources asked to be restarted, with the incarnation that they had.
	Resources map[string]int `json:"resources,omitempty"`
	Drift     *Drift         `json:"drift,omitempty"`
	Source    string         `json:"source,omitempty"`
	// Keys are ids of CURVE keys, the one to use first.
	Keys []string `json:"keys,omitempty"`
	// Commit that this is about, or comes from.
	Commit *desired.Commit `json:"commit,omitempty"`
}

// Accepted is what an accepted revision carries.
type Accepted struct {
	// Object is the name of the file's content in the store; empty for a removal.
	Object  string `json:"object,omitempty"`
	Removed bool   `json:"removed,omitempty"`
	// Commit of a Git source that it was first seen in, and its author.
	Commit string `json:"commit,omitempty"`
	Author string `json:"author,omitempty"`
	// Resources of the revision, by name.
	Resources map[string]Placement `json:"resources,omitempty"`
	// Loads says what of NAME/ its nodes load; who is not in it is taken to load all.
	Loads []desired.Loads `json:"loads,omitempty"`
	// Guard is why the revision waits for a confirmation; empty: it does not.
	Guard string `json:"guard,omitempty"`
	// PruneGuard is the threshold that holds from now on.
	PruneGuard desired.Quantity `json:"prune_guard"`
	// Assignment of the cluster, with the addresses of all instances. Without Own, as older records are, it is that of all clusters.
	Assignment desired.Assignment `json:"assignment"`
	Own        bool               `json:"own_assignment,omitempty"`
}

// Placement is what is remembered of a resource.
type Placement = desired.Placement

// RolloutRecord says what a rollout set out to do, and what it was for.
type RolloutRecord struct {
	ID      string   `json:"id"`
	From    string   `json:"from,omitempty"`
	To      string   `json:"to"`
	Cause   string   `json:"cause"` // change, revert, drift, asked
	Actions []string `json:"actions,omitempty"`
	// Keys of what it starts and restarts: a later zeekrec goes on with these.
	Keys []string `json:"keys,omitempty"`
	// Acted on in the end, at an outcome.
	Acted int `json:"acted,omitempty"`
}

// Drift is what an agent did or saw without an order.
type Drift struct {
	Instance string   `json:"instance"`
	Seq      int      `json:"seq"`
	Resource string   `json:"resource"`
	Event    string   `json:"event"`
	Text     string   `json:"text"`
	PID      int      `json:"pid,omitempty"`
	Tail     []string `json:"tail,omitempty"`
}

// RemovedRevision is the name of the revision in which a cluster's file is gone.
const RemovedRevision = "removed"
