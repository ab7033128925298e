package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

// The commits of a Git source. The one that counts is in the journal, whatever became of the clusters in it. The next has to descend from
// it: where history was rewritten, what was reviewed and what arrives may be two things, so a person decides.
//
// The source compares, since it has the history; it is told with what (Config.Took). An answer about another commit than the
// one that counts now is no answer, and the source is asked again.

// admits reports whether the commit of a snapshot may be taken.
func (e *Engine) admits(ctx context.Context, o Observation) bool {
	c, counts := o.Snapshot.Commit, e.state.Commit
	switch {
	case c == nil || counts == nil || c.ID == counts.ID || c.ID == e.state.Admitted || c.Base == counts.ID && c.Descends:
		e.held = nil
		return true
	case c.Base != counts.ID:
		e.look()
		return false
	}
	if e.held == nil || e.held.Snapshot.Commit.ID != c.ID {
		e.seen.since = o.CheckedAt
	}
	e.held = &o
	if e.state.Refused != c.ID {
		e.record(ctx, &Record{Kind: KindCommitHeld, By: c.Author, Commit: c.Alone(), Reason: "it does not descend from " + counts.Short()})
		e.log.Warn("A commit waits for confirmation", "commit", c.ID, "author", c.Author, "reason", whyHeld(c))
	}
	return false
}

func whyHeld(c *desired.Commit) string {
	return fmt.Sprintf("commit %s (%s) does not descend from the last accepted one, %s: history was rewritten; confirm with: zeekrec apply --confirm %s",
		c, c.Subject, desired.ShortCommit(c.Base), c.Short())
}

func (e *Engine) look() {
	if e.cfg.Look != nil {
		e.cfg.Look()
	}
}

// take journals that a commit counts from now on. False: the journal cannot be written.
func (e *Engine) take(ctx context.Context, c *desired.Commit) bool {
	if c == nil || e.state.Commit != nil && e.state.Commit.ID == c.ID {
		return true
	}
	if !e.record(ctx, &Record{Kind: KindCommit, By: c.Author, Commit: c}) {
		return false
	}
	e.log.Info("A commit is taken", "commit", c.ID, "author", c.Author, "signer", c.Signer, "passed", len(c.Passed)+c.More)
	e.tellTaken()
	return true
}

func (e *Engine) tellTaken() {
	if e.cfg.Took != nil && e.state.Commit != nil {
		e.cfg.Took(e.state.Commit.ID)
	}
}

// Admit lets a commit in that waits since it does not descend from the last accepted one. An unambiguous beginning will do. It is an
// error when none waits, or another.
func (e *Engine) Admit(ctx context.Context, commit, by string) error {
	return e.journaled(ctx, func() ([]*Record, error) {
		switch {
		case e.held == nil:
			return nil, errors.New("cannot confirm: no commit waits for a confirmation")
		case len(commit) < 7 || !strings.HasPrefix(e.held.Snapshot.Commit.ID, strings.ToLower(commit)):
			return nil, fmt.Errorf("cannot confirm commit %s: the one that waits is %s", commit, e.held.Snapshot.Commit.ID)
		}
		e.pending, e.intakeAt = e.held, time.Time{}
		return []*Record{{Kind: KindCommitAdmitted, By: by, Commit: e.held.Snapshot.Commit.Alone()}}, nil
	})
}

// applyCommit folds the records about commits.
func (s *State) applyCommit(r *Record) {
	switch r.Kind {
	case KindCommit:
		s.Commit, s.Refused, s.Admitted = r.Commit.Alone(), "", ""
	case KindCommitAdmitted:
		s.Admitted = r.Commit.ID
	default:
		s.Refused = r.Commit.ID
	}
}

// origin of what a snapshot brings: its commit, its author, and who is named as having asked for it.
func origin(c *desired.Commit) (commit, author, by string) {
	if c == nil {
		return "", "", "source"
	}
	return c.ID, c.Author, c.Author
}

// origin names the commit that a revision was first seen in, as the beginning of a sentence; empty where there is none.
func (r *Revision) origin() string {
	if r == nil || r.Commit == "" {
		return ""
	}
	return "commit " + desired.ShortCommit(r.Commit) + " by " + r.Author + ": "
}

// firstSeenIn is what is remembered of the commit that a revision was first seen in; nil where there is none.
func (r *Revision) firstSeenIn() *desired.Commit {
	if r == nil || r.Commit == "" {
		return nil
	}
	return &desired.Commit{ID: r.Commit, Author: r.Author}
}
