package git

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/zeekrec/zeekrec/desired"
)

const (
	// firstDepth is how much history is fetched at first: most pushes are of a few commits.
	firstDepth = 50
	// maxWalk bounds how many commits are looked at to tell whether one descends from another.
	maxWalk = 100_000
	// maxPassed bounds how many of them are kept by name.
	maxPassed = 1000
)

// errShallow says that more history is needed to tell.
var errShallow = errors.New("the history that was fetched does not reach that far")

// describe is a commit in words.
func describe(c *object.Commit) desired.Commit {
	subject, _, _ := strings.Cut(strings.TrimLeft(c.Message, "\n"), "\n")
	return desired.Commit{
		ID: c.Hash.String(), At: c.Committer.When,
		Author: clean(fmt.Sprintf("%s <%s>", c.Author.Name, c.Author.Email), 120), Subject: clean(subject, 120),
	}
}

// clean makes what somebody wrote into a commit fit for a terminal: printable, and not long.
func clean(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > most {
		s = string(r[:most-1]) + "…"
	}
	return s
}

// The colours of commits: in the history of the new one, in that of the base.
const (
	ofHead = 1 << iota
	ofBase
)

// walk is a walk through two histories, newest commits first, as git log head ^base does it.
type walk struct {
	repo   *repository
	colour map[plumbing.Hash]int
	queue  queue
	open   int // commits in the queue that are of the new history alone
	cut    bool
}

// ancestry fills in whether a commit descends from base, and what lies between. It is errShallow where the history at hand does
// not tell.
func (r *repository) ancestry(ctx context.Context, c *object.Commit, base string, out *desired.Commit) error {
	out.Base = base
	if base == "" || base == out.ID {
		out.Descends = true
		return nil
	}
	b := plumbing.NewHash(base)
	w := &walk{repo: r, colour: map[plumbing.Hash]int{}}
	w.see(c, ofHead)
	old, err := r.commit(b)
	switch {
	case err == nil:
		w.see(old, ofBase)
	case !errors.Is(err, plumbing.ErrObjectNotFound):
		return err
	}
	var passed []desired.Commit
	for n := 0; w.open > 0; n++ {
		if n >= maxWalk {
			return fmt.Errorf("cannot tell within %d commits whether it descends from %s", maxWalk, desired.ShortCommit(base))
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		at := heap.Pop(&w.queue).(*object.Commit)
		colour := w.colour[at.Hash]
		if colour == ofHead {
			w.open--
			if at.Hash != c.Hash {
				passed = append(passed, describe(at))
			}
		}
		for _, p := range at.ParentHashes {
			if err := w.step(at, p, colour); err != nil {
				return err
			}
		}
	}
	out.Descends = w.colour[b]&ofHead != 0
	if !out.Descends && w.cut {
		return errShallow
	}
	if !out.Descends {
		return nil // what lies between two histories that have parted is nobody's news
	}
	passed = slices.DeleteFunc(passed, func(p desired.Commit) bool { return w.colour[plumbing.NewHash(p.ID)] != ofHead })
	if n := len(passed) - maxPassed; n > 0 {
		passed, out.More = passed[:maxPassed], n
	}
	slices.Reverse(passed)
	out.Passed = passed
	return nil
}

// step goes from a commit to one of its parents.
func (w *walk) step(from *object.Commit, p plumbing.Hash, colour int) error {
	had, seen := w.colour[p]
	if seen {
		if now := had | colour; now != had {
			// Times of commits may lie: it may have left the queue already, and then its parents are coloured anew.
			w.recolour(p, now)
		}
		return nil
	}
	c, err := w.repo.commit(p)
	if errors.Is(err, plumbing.ErrObjectNotFound) && w.repo.shallow[from.Hash] {
		w.cut = w.cut || colour&ofHead != 0
		return nil
	}
	if err != nil {
		return err
	}
	w.see(c, colour)
	return nil
}

func (w *walk) see(c *object.Commit, colour int) {
	had, seen := w.colour[c.Hash]
	if seen {
		w.recolour(c.Hash, had|colour)
		return
	}
	w.colour[c.Hash] = colour
	if colour == ofHead {
		w.open++
	}
	heap.Push(&w.queue, c)
}

func (w *walk) recolour(h plumbing.Hash, now int) {
	had := w.colour[h]
	w.colour[h] = now
	for _, c := range w.queue {
		if c.Hash == h {
			if had == ofHead && now != ofHead {
				w.open--
			}
			return
		}
	}
	if c, err := w.repo.commit(h); err == nil {
		heap.Push(&w.queue, c) // its parents have to learn
	}
}

// queue has the newest commit first.
type queue []*object.Commit

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return cmp.Or(q[j].Committer.When.Compare(q[i].Committer.When), strings.Compare(q[i].Hash.String(), q[j].Hash.String())) < 0
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(*object.Commit)) }
func (q *queue) Pop() any {
	old := *q
	c := old[len(old)-1]
	*q = old[:len(old)-1]
	return c
}
