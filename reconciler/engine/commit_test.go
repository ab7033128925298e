package engine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// pushed is what a Git source yields of a commit.
func pushed(files map[string]string, c desired.Commit) engine.Observation {
	o := observation(files)
	c.ID = strings.Repeat(c.ID, 40)
	if c.Base != "" {
		c.Base = strings.Repeat(c.Base, 40)
	}
	c.Author = "Ada <ada@example.org>"
	o.Snapshot.Commit = &c
	return o
}

func (b *bench) push(o engine.Observation) {
	b.obs <- o
	b.settle()
}

// TestCommitsAreNamed: in acceptances, rejections, failures, and the status.
func TestCommitsAreNamed(t *testing.T) {
	run(t, func(b *bench) {
		b.push(pushed(map[string]string{"dmz": six}, desired.Commit{ID: "a", Descends: true, Subject: "begin", Signer: "ada"}))
		b.push(pushed(map[string]string{"dmz": six}, desired.Commit{ID: "b", Base: "a", Descends: true}))
		b.want("a commit that changes no cluster", fmt.Sprint(len(b.journal.kinds(engine.KindCommit)), len(b.journal.kinds(engine.KindAccepted))), "2 1")
		b.push(pushed(map[string]string{"dmz": six + " !bad"}, desired.Commit{ID: "c", Base: "b", Descends: true, Passed: []desired.Commit{{ID: "x"}, {ID: "y"}}}))
		r := b.journal.kinds(engine.KindRejected)
		if len(r) != 1 || r[0].By != "Ada <ada@example.org>" || r[0].Commit.ID[0] != 'c' || len(r[0].Commit.Passed) != 0 {
			t.Errorf("the rejection is %+v", r)
		}
		cs := b.journal.kinds(engine.KindCommit)
		if last := cs[len(cs)-1]; len(last.Commit.Passed) != 2 {
			t.Errorf("what was passed is not in the history: %+v", last)
		}
		s, err := b.e.Status(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if s.Source.Commit[0] != 'c' || s.Source.State != "invalid" || !strings.HasPrefix(*s.Source.Error, "commit cccccccccccc by Ada <ada@example.org>: not accepted: dmz; dmz.cfg:1") {
			t.Errorf("the source is %+v (%s)", s.Source, *s.Source.Error)
		}
		if c := b.status("dmz"); !strings.HasPrefix(c.Reason, "commit cccccccccccc by Ada") || !c.Healthy {
			t.Errorf("the cluster is %+v", c)
		}
		a := b.journal.kinds(engine.KindAccepted)[0]
		if a.By != "Ada <ada@example.org>" || a.Accepted.Commit[0] != 'a' || a.Accepted.Author != a.By {
			t.Errorf("the acceptance is %+v", a)
		}
		b.hosts.behave(func() { b.hosts.fails = func(*desired.Resource) string { return "exited with status 1" } })
		b.push(pushed(map[string]string{"dmz": six + "=die"}, desired.Commit{ID: "d", Base: "c", Descends: true}))
		if c := b.status("dmz"); !strings.Contains(c.Reason, "commit dddddddddddd by Ada <ada@example.org>: dmz/worker-3 crashed") {
			t.Errorf("after a failure: %s", c.Reason)
		}
	})
}

// TestRewrittenHistoryWaits: until a person lets it in, whatever is restarted meanwhile; everything else goes on.
func TestRewrittenHistoryWaits(t *testing.T) {
	run(t, func(b *bench) {
		b.push(pushed(map[string]string{"dmz": six}, desired.Commit{ID: "a", Descends: true}))
		b.hosts.took()
		other := pushed(map[string]string{"dmz": six + "=x"}, desired.Commit{ID: "b", Base: "a"})
		for range 3 {
			b.push(other)
		}
		b.stop()
		b.start()
		b.push(other)
		b.want("orders", b.hosts.took(), "")
		b.want("records", fmt.Sprint(len(b.journal.kinds(engine.KindCommitHeld)), len(b.journal.kinds(engine.KindCommit))), "1 1")
		s, err := b.e.Status(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if s.Source.State != "held" || s.Source.Waiting[0] != 'b' || !strings.Contains(*s.Source.Error, "zeekrec apply --confirm bbbbbbbbbbbb") || s.Source.Since == nil {
			t.Errorf("the source is %+v", s.Source)
		}
		if err := b.e.Admit(b.ctx, "cccccccc", "eve"); err == nil {
			t.Error("another commit was let in")
		}
		if err := b.e.Admit(b.ctx, "bbbbbbb", "ada"); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.want("orders", b.hosts.took(), "restart dmz/worker-3")
		if err := b.e.Admit(b.ctx, "bbbbbbb", "ada"); err == nil {
			t.Error("it was let in twice")
		}
		// What was let in is what the next has to descend from.
		b.push(pushed(map[string]string{"dmz": six}, desired.Commit{ID: "d", Base: "b", Descends: true}))
		b.want("orders", b.hosts.took(), "restart dmz/worker-3")
	})
}

// TestAnswersAboutAnotherBase are asked for again, and not acted on.
func TestAnswersAboutAnotherBase(t *testing.T) {
	run(t, func(b *bench) {
		b.push(pushed(map[string]string{"dmz": six}, desired.Commit{ID: "a", Descends: true}))
		b.hosts.took()
		b.push(pushed(map[string]string{"dmz": six + "=x"}, desired.Commit{ID: "c", Base: "z", Descends: true}))
		b.want("orders", b.hosts.took(), "")
		b.want("held", fmt.Sprint(len(b.journal.kinds(engine.KindCommitHeld))), "0")
	})
}

// TestBadCommitsAreJournaledOnce: with who, and why; and the next good one heals.
func TestBadCommitsAreJournaledOnce(t *testing.T) {
	run(t, func(b *bench) {
		b.push(pushed(map[string]string{"dmz": six}, desired.Commit{ID: "a", Descends: true}))
		b.hosts.took()
		bad := engine.Observation{Err: errors.New("it is not signed"), Commit: &desired.Commit{ID: strings.Repeat("b", 40), Author: "Eve"}, CheckedAt: time.Now()}
		b.push(bad)
		b.push(bad)
		b.stop()
		b.start()
		b.push(bad)
		r := b.journal.kinds(engine.KindCommitRejected)
		if len(r) != 1 || r[0].By != "Eve" || r[0].Reason != "it is not signed" {
			t.Errorf("rejections: %+v", r)
		}
		s, err := b.e.Status(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if s.Source.State != "error" || s.Source.Commit[0] != 'a' || *s.Source.Error != "it is not signed" {
			t.Errorf("the source is %+v", s.Source)
		}
		b.push(pushed(map[string]string{"dmz": six}, desired.Commit{ID: "c", Base: "a", Descends: true}))
		if s, _ := b.e.Status(b.ctx); s.Source.State != "ok" || s.Source.Commit[0] != 'c' {
			t.Errorf("the source is %+v", s.Source)
		}
		b.want("records of the source", fmt.Sprint(len(b.journal.kinds(engine.KindSource))), "0")
		b.want("orders", b.hosts.took(), "")
	})
}
