package engine

import (
	"maps"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

// KeptRevisions is how many revisions of a cluster are remembered (decisions 25).
const KeptRevisions = 50

// State is what the journal adds up to: a pure fold over its records. It is a snapshot of itself in
// JSON, which is how a rolled journal begins.
type State struct {
	Seq        int64                  `json:"seq"`
	Source     string                 `json:"source,omitempty"`
	Assignment desired.Assignment     `json:"assignment"`
	Clusters   map[string]*History    `json:"clusters,omitempty"`
	Suspended  map[string]Suspension  `json:"suspended,omitempty"` // by scope
	Holds      map[string]Suspension  `json:"holds,omitempty"`     // by scope
	Restarts   map[string]RestartWish `json:"restarts,omitempty"`  // by resource
	// Commit of a Git source that counts; nil before the first, and for a folder. Refused is the newest that was rejected or held,
	// and Admitted one that a person let in, until it is taken.
	Commit   *desired.Commit `json:"commit,omitempty"`
	Refused  string          `json:"refused,omitempty"`
	Admitted string          `json:"admitted,omitempty"`
	// Drifted is the last event of each instance that was journaled.
	Drifted map[string]int `json:"drifted,omitempty"`
}

// History is what is remembered of one cluster.
type History struct {
	// Revisions that were accepted, oldest first; one may be there again.
	Revisions []Revision `json:"revisions,omitempty"`
	// Good is the last revision whose rollout succeeded.
	Good string `json:"good,omitempty"`
	// Quarantined revisions, with the reason.
	Quarantined map[string]string `json:"quarantined,omitempty"`
	Pin         *Pin              `json:"pin,omitempty"`
	// Known are the resources that any target of this cluster had: only these may be stopped.
	Known map[string]Placement `json:"known,omitempty"`
	// Rollout that began and has not ended.
	Rollout *RolloutRecord `json:"rollout,omitempty"`
	// Last outcome, with its reason and time.
	Last *LastRollout `json:"last,omitempty"`
	// Keys are its CURVE keys that count; nil: it has none.
	Keys *ClusterKeys `json:"keys,omitempty"`
	// Rejected is the newest revision when it was not accepted, and why.
	Rejected *Rejection `json:"rejected,omitempty"`
}

// Revision that was accepted.
type Revision struct {
	ID         string               `json:"id"`
	Object     string               `json:"object,omitempty"`
	Removed    bool                 `json:"removed,omitempty"`
	Commit     string               `json:"commit,omitempty"`
	Author     string               `json:"author,omitempty"`
	At         time.Time            `json:"at"`
	By         string               `json:"by,omitempty"`
	Resources  map[string]Placement `json:"resources,omitempty"`
	PruneGuard desired.Quantity     `json:"prune_guard"`
	Loads      []desired.Loads      `json:"loads,omitempty"`
	// Guard is why it waits for a confirmation; cleared by one.
	Guard string `json:"guard,omitempty"`
	// Assignment is the cluster's own part of what was assigned when it was accepted: it comes back with
	// a revert, and one that never runs moves nothing (decisions 7).
	Assignment desired.Assignment `json:"assignment"`
}

// Pin holds a cluster at an older revision.
type Pin struct {
	Revision string    `json:"revision"`
	By       string    `json:"by,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	At       time.Time `json:"at"`
}

func (p *Pin) text() string {
	t := "pinned to revision " + p.Revision + " by " + p.By
	if p.Reason != "" {
		t += ": " + p.Reason
	}
	return t
}

// paused is why no revision of a cluster is rolled out, whatever it is, in words: a pin or a suspension; empty for neither.
func (s *State) paused(cluster string) string {
	if h := s.Clusters[cluster]; h != nil && h.Pin != nil {
		return h.Pin.text() + ", until zeekrec unpin " + cluster
	}
	if x, ok := s.Suspended[cluster]; ok {
		return suspensionText(x) + ", until zeekrec resume " + cluster
	}
	if x, ok := s.Suspended["*"]; ok {
		return "everything is " + suspensionText(x) + ", until zeekrec resume"
	}
	return ""
}

// Suspension of acting, or a hold.
type Suspension struct {
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
	Until  time.Time `json:"until,omitzero"`
}

// Over reports whether it has run out.
func (s Suspension) Over(now time.Time) bool { return !s.Until.IsZero() && !now.Before(s.Until) }

// RestartWish is a restart that was asked for; it is fulfilled by a higher incarnation.
type RestartWish struct {
	Incarnation int       `json:"incarnation"`
	By          string    `json:"by,omitempty"`
	Reason      string    `json:"reason,omitempty"`
	At          time.Time `json:"at"`
}

// LastRollout is how the last one ended.
type LastRollout struct {
	ID      string    `json:"id"`
	To      string    `json:"to"`
	Outcome Outcome   `json:"outcome"`
	Reason  string    `json:"reason,omitempty"`
	At      time.Time `json:"at"`
}

// Rejection is a revision that was not accepted.
type Rejection struct {
	Revision string               `json:"revision"`
	At       time.Time            `json:"at"`
	Problems []desired.Diagnostic `json:"problems,omitempty"`
}

// NewState returns the state of an empty journal.
func NewState() *State {
	return &State{
		Clusters: map[string]*History{}, Suspended: map[string]Suspension{}, Holds: map[string]Suspension{},
		Restarts: map[string]RestartWish{}, Drifted: map[string]int{},
	}
}

// Init makes the maps of a state that was read from JSON usable, and has it refer once to what is there several times.
func (s *State) Init() {
	fresh := NewState()
	if s.Clusters == nil {
		s.Clusters = fresh.Clusters
	}
	if s.Suspended == nil {
		s.Suspended = fresh.Suspended
	}
	if s.Holds == nil {
		s.Holds = fresh.Holds
	}
	if s.Restarts == nil {
		s.Restarts = fresh.Restarts
	}
	if s.Drifted == nil {
		s.Drifted = fresh.Drifted
	}
	for _, h := range s.Clusters {
		for i := range h.Revisions {
			h.share(i)
		}
		if n := h.Newest(); n != nil && maps.Equal(h.Known, n.Resources) {
			h.Known = n.Resources
		}
	}
}

// Cluster returns the history of a cluster, made when there is none.
func (s *State) Cluster(name string) *History {
	h := s.Clusters[name]
	if h == nil {
		h = &History{}
		s.Clusters[name] = h
	}
	return h
}

// look returns the history of a cluster to read; an empty one when there is none.
func (s *State) look(name string) *History {
	if h := s.Clusters[name]; h != nil {
		return h
	}
	return &History{}
}

// Apply adds one record. It is the only way to change a State.
func (s *State) Apply(r Record) {
	s.Seq = max(s.Seq, r.Seq)
	switch r.Kind {
	case KindBound:
		if s.Source != "" && s.Source != r.Source {
			s.leave()
		}
		s.Source = r.Source
	case KindAccepted:
		s.accept(r)
	case KindRejected:
		s.Cluster(r.Cluster).Rejected = &Rejection{Revision: r.Revision, At: r.At, Problems: r.Problems}
	case KindConfirmed:
		if rev := s.Cluster(r.Cluster).find(r.Revision); rev != nil {
			rev.Guard = ""
		}
	case KindRollout:
		h := s.Cluster(r.Cluster)
		h.Rollout = r.Rollout
		h.know(r.Rollout.To)
	case KindOutcome:
		h := s.Cluster(r.Cluster)
		h.Last = &LastRollout{ID: r.Rollout.ID, To: r.Revision, Outcome: r.Outcome, Reason: r.Reason, At: r.At}
		if r.Outcome == Succeeded {
			h.Good = r.Revision
		}
		if r.Outcome == Succeeded || r.Outcome == RolledBack {
			h.forget(r.Revision)
			// All that was asked for is done: an incarnation that is lost must not ask for it again.
			maps.DeleteFunc(s.Restarts, func(key string, _ RestartWish) bool { return strings.HasPrefix(key, r.Cluster+"/") })
		}
		h.Rollout = nil
	case KindQuarantined:
		h := s.Cluster(r.Cluster)
		if h.Quarantined == nil {
			h.Quarantined = map[string]string{}
		}
		h.Quarantined[r.Revision] = r.Reason
	case KindRetried:
		s.Cluster(r.Cluster).Quarantined = nil
	case KindPinned:
		s.Cluster(r.Cluster).Pin = &Pin{Revision: r.Revision, By: r.By, Reason: r.Reason, At: r.At}
	case KindUnpinned:
		s.Cluster(r.Cluster).Pin = nil
	case KindSuspended:
		s.Suspended[r.Scope] = Suspension{By: r.By, Reason: r.Reason, At: r.At, Until: r.Until}
	case KindResumed:
		delete(s.Suspended, r.Scope)
	case KindStopped:
		s.Holds[r.Scope] = Suspension{By: r.By, Reason: r.Reason, At: r.At, Until: r.Until}
	case KindStarted:
		delete(s.Holds, r.Scope)
	case KindRestart:
		for key, inc := range r.Resources {
			s.Restarts[key] = RestartWish{Incarnation: inc, By: r.By, Reason: r.Reason, At: r.At}
		}
	case KindDrift:
		s.Drifted[r.Drift.Instance] = r.Drift.Seq
	case KindKeysMade, KindKeysRotated, KindKeysRetired:
		s.Cluster(r.Cluster).applyKeys(&r)
	case KindCommit, KindCommitRejected, KindCommitHeld, KindCommitAdmitted:
		s.applyCommit(&r)
	case KindSource:
		// kept for the history alone
	}
}

// leave forgets what the former source said: what runs of it is orphaned now, and left alone (decisions 5).
// What was assigned stays, so that a source which was only moved finds everything as it was.
func (s *State) leave() {
	fresh := NewState()
	newest := make(map[string]desired.Assignment, len(s.Clusters))
	for name, h := range s.Clusters {
		if n := h.Newest(); n != nil {
			newest[name] = n.Assignment
		}
	}
	s.Assignment = s.Assignment.Overlay(newest)
	s.Clusters, s.Holds, s.Restarts = fresh.Clusters, fresh.Holds, fresh.Restarts
	s.Commit, s.Refused, s.Admitted = nil, "", ""
	maps.DeleteFunc(s.Suspended, func(scope string, _ Suspension) bool { return scope != "*" && !strings.HasPrefix(scope, "instance:") })
}

func (s *State) accept(r Record) {
	h := s.Cluster(r.Cluster)
	own := r.Accepted.Assignment
	if r.Accepted.Own {
		own.Addresses = nil
	} else {
		own = own.Of(r.Cluster)
	}
	if r.Accepted.Removed {
		delete(h.Quarantined, r.Revision) // every removal bears the same name
	}
	h.Revisions = append(h.Revisions, Revision{
		Assignment: own,
		ID:         r.Revision, Object: r.Accepted.Object, Removed: r.Accepted.Removed, Commit: r.Accepted.Commit, Author: r.Accepted.Author, At: r.At, By: r.By,
		Resources: r.Accepted.Resources, Loads: r.Accepted.Loads, PruneGuard: r.Accepted.PruneGuard, Guard: r.Accepted.Guard,
	})
	h.share(len(h.Revisions) - 1)
	h.Rejected = nil
	if r.Accepted.Own {
		s.Assignment.Addresses = r.Accepted.Assignment.Addresses
	} else {
		s.Assignment = r.Accepted.Assignment
	}
	h.trim()
}

// share lets a revision refer to what the one before it has, where that is the same: there may be many revisions of many nodes, and most
// change neither where they are nor what is assigned to them.
func (h *History) share(i int) {
	if i == 0 {
		return
	}
	was, is := &h.Revisions[i-1], &h.Revisions[i]
	if is.Assignment.Same(was.Assignment) {
		is.Assignment = was.Assignment
	}
	if maps.Equal(is.Resources, was.Resources) {
		is.Resources = was.Resources
	}
}

// trim drops the oldest revisions, but never the one that is known to be good, nor a pinned one.
func (h *History) trim() {
	drop := len(h.Revisions) - KeptRevisions
	good, pinned := h.find(h.Good), (*Revision)(nil)
	if h.Pin != nil {
		pinned = h.find(h.Pin.Revision)
	}
	kept := h.Revisions[:0:0]
	for i := range h.Revisions {
		if rev := &h.Revisions[i]; i >= drop || rev == good || rev == pinned {
			kept = append(kept, *rev)
		}
	}
	h.Revisions = kept
}

// find returns the newest entry of a revision.
func (h *History) find(id string) *Revision {
	for i := len(h.Revisions) - 1; i >= 0; i-- {
		if h.Revisions[i].ID == id {
			return &h.Revisions[i]
		}
	}
	return nil
}

// Newest accepted revision, whether or not it may be rolled out; nil for none.
func (h *History) Newest() *Revision {
	if len(h.Revisions) == 0 {
		return nil
	}
	return &h.Revisions[len(h.Revisions)-1]
}

// know adds the resources of a revision that is about to be rolled out.
func (h *History) know(id string) {
	rev := h.find(id)
	if rev == nil {
		return
	}
	// One that is known stays known where it was placed: it may still run there. What is known may be shared with a revision.
	known, own := h.Known, false
	for name, p := range rev.Resources {
		if _, ok := known[name]; ok {
			continue
		}
		if len(known) == 0 {
			known = rev.Resources
			break
		}
		if !own {
			known, own = maps.Clone(known), true
		}
		known[name] = p
	}
	h.Known = known
}

// forget drops what a revision that runs completely no longer has.
func (h *History) forget(id string) {
	if rev := h.find(id); rev != nil {
		h.Known = rev.Resources
	}
}

// Assigned is what is assigned as long as the targets are what they are: that of each cluster's target, or of its newest revision where
// it has none that is to run; and what is left of clusters that are not known any more.
func (s *State) Assigned() desired.Assignment {
	own := make(map[string]desired.Assignment, len(s.Clusters))
	for name, h := range s.Clusters {
		switch t, n := h.Target(), h.Newest(); {
		case t != nil && !t.Removed:
			own[name] = t.Assignment
		case n != nil:
			own[name] = n.Assignment
		}
	}
	return s.Assignment.Overlay(own)
}

// Target is the revision that is to run (decisions 11): the pin, else the newest accepted one that is
// not quarantined and not held by the guard, else the last good one. Nil: nothing is to be done.
func (h *History) Target() *Revision {
	if h.Pin != nil {
		return h.find(h.Pin.Revision)
	}
	for i := len(h.Revisions) - 1; i >= 0; i-- {
		rev := &h.Revisions[i]
		if rev.Guard != "" {
			continue
		}
		if _, bad := h.Quarantined[rev.ID]; bad {
			return h.find(h.Good)
		}
		return rev
	}
	return nil
}

// Waiting is the newest revision where it waits for a confirmation.
func (h *History) Waiting() *Revision {
	if rev := h.Newest(); rev != nil && rev.Guard != "" {
		return rev
	}
	return nil
}
