package git

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/source"
)

// A looker looks at one repository. It is for one goroutine at a time.
type looker struct {
	url      URL
	opts     Options
	client   *http.Client // of http(s)
	clientCA string

	// last is what the newest look that read something came to.
	last result
}

// result of reading a commit, good or bad. It stands as long as the server names the same object, and nothing that it rests on has changed.
type result struct {
	at       plumbing.Hash // what the ref led to: a commit or a tag
	base     string
	signers  string // contents of the files
	snapshot *desired.Snapshot
	commit   *desired.Commit // that err is about
	err      error
}

func (l *looker) close() {
	if l.client != nil {
		l.client.CloseIdleConnections()
	}
}

// look looks once. The error is a *source.Error, or ctx's; commit is the one that it is about, where it is about one.
func (l *looker) look(ctx context.Context, now time.Time) (*desired.Snapshot, *desired.Commit, error) {
	r, err := l.see(ctx, now)
	if err != nil {
		if ctx.Err() != nil && !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			return nil, nil, context.Cause(ctx)
		}
		if ctx.Err() != nil {
			err = errors.Join(context.Cause(ctx), err)
		}
		return nil, nil, asError(l.url, err)
	}
	return r.snapshot, r.commit, r.err
}

func (l *looker) see(ctx context.Context, now time.Time) (result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, l.opts.AskWithin+l.opts.FetchWithin, context.DeadlineExceeded)
	defer cancel()
	key := result{base: l.opts.Base()}
	if l.opts.Signers.Wanted() {
		// Who counts may change while a commit waits for it.
		for _, f := range []string{l.opts.Signers.AllowedSigners, l.opts.Signers.OpenPGPKeys} {
			if f != "" {
				b, err := readSmall(f)
				key.signers += fmt.Sprintf("%s\x00%s\x00%v\x00", f, b, err)
			}
		}
	}
	if l.url.Scheme == "file" {
		return l.seeLocal(ctx, key, now)
	}
	return l.seeRemote(ctx, key, now)
}

// same reports whether what was read before still stands for an object.
func (l *looker) same(key result) bool {
	p := &l.last
	if p.at.IsZero() || p.at != key.at || p.signers != key.signers {
		return false
	}
	// What was accepted meanwhile is the commit itself, or else the question whether it descends is a new one.
	return p.base == key.base || p.snapshot != nil && p.snapshot.Commit.ID == key.base
}

func (l *looker) seeLocal(ctx context.Context, key result, now time.Time) (result, error) {
	r, err := openLocal(l.url.Path)
	if err != nil {
		return result{}, err
	}
	defer r.close()
	if key.at, err = r.find(l.url.Ref); err != nil {
		return result{}, err
	}
	if l.same(key) {
		return l.last, nil
	}
	return l.judge(ctx, r, key, now)
}

// find is the object that a ref leads to.
func (r *repository) find(ref string) (plumbing.Hash, error) {
	names := []string{"refs/heads/" + ref, "refs/tags/" + ref}
	switch {
	case ref == "":
		names = []string{"HEAD"}
	case plumbing.IsHash(ref):
		return plumbing.NewHash(ref), nil
	case strings.HasPrefix(ref, "refs/"):
		names = []string{ref}
	}
	for _, n := range names {
		at := plumbing.ReferenceName(n)
		for range 5 {
			f, err := r.Reference(at)
			if errors.Is(err, plumbing.ErrReferenceNotFound) {
				break
			}
			if err != nil {
				return plumbing.ZeroHash, err
			}
			if f.Type() == plumbing.HashReference {
				return f.Hash(), nil
			}
			at = f.Target()
		}
	}
	// What people write where they have a repository at hand: origin/main, HEAD~3, 1a2b3c4.
	if g, err := gogit.Open(r.Storage, nil); err == nil && ref != "" {
		if h, err := g.ResolveRevision(plumbing.Revision(ref)); err == nil {
			return *h, nil
		}
	}
	return plumbing.ZeroHash, plumbing.ErrReferenceNotFound
}

func (l *looker) seeRemote(ctx context.Context, key result, now time.Time) (result, error) {
	c, err := l.open(ctx)
	if err != nil {
		return result{}, err
	}
	defer func() { _ = c.Close() }()
	if key.at, err = c.find(l.url.Ref); err != nil {
		return result{}, err
	}
	if l.same(key) {
		return l.last, nil
	}
	depth := firstDepth
	if key.base == "" {
		depth = 1
	}
	r, err := l.fetchJudge(ctx, c, key, depth, now)
	if !errors.Is(err, errShallow) {
		return r, err
	}
	// More history is needed, which is another conversation.
	again, err := l.open(ctx)
	if err != nil {
		return result{}, err
	}
	defer func() { _ = again.Close() }()
	if key.at, err = again.find(l.url.Ref); err != nil {
		return result{}, err
	}
	return l.fetchJudge(ctx, again, key, 0, now)
}

func (l *looker) fetchJudge(ctx context.Context, c *conversation, key result, depth int, now time.Time) (result, error) {
	r, err := l.fetch(ctx, c, key.at, depth)
	if e, ok := errors.AsType[*source.Error](err); ok && e.Kind == source.TooLarge {
		// It is not fetched again until there is another.
		named := *e
		named.Subject = "commit " + desired.ShortCommit(key.at.String())
		key.err, key.commit = &named, &desired.Commit{ID: key.at.String(), Author: "somebody", Base: key.base}
		l.last = key
		return key, nil
	}
	if err != nil {
		return result{}, err
	}
	defer r.close()
	return l.judge(ctx, r, key, now)
}

// judge reads a commit. What is the commit's own fault is part of the result; an error is one of the repository.
func (l *looker) judge(ctx context.Context, r *repository, key result, now time.Time) (result, error) {
	c, tag, err := r.peel(key.at)
	if err != nil {
		return result{}, err
	}
	about := describe(c)
	if l.opts.Signers.Wanted() {
		if about.Signer, err = l.opts.Signers.verify(c, tag); err != nil {
			key.commit = &about
			key.err = &source.Error{
				Subject: "commit " + about.String(), Kind: Unsigned, Why: oneLine(err.Error()) + "; it is not accepted",
				Hint: "sign it with a key that counts, or add its key to --git-allowed-signers or --git-openpgp-keys", Err: err,
			}
			l.last = key
			return key, nil
		}
	}
	if err := r.ancestry(ctx, c, key.base, &about); err != nil {
		return result{}, err
	}
	s := &desired.Snapshot{URL: l.url.String(), Commit: &about, At: now}
	s.Files, err = r.clusters(ctx, l.url, c, min(int64(source.MaxBytes), sumFactor*l.opts.MaxSize))
	if e, ok := errors.AsType[*source.Error](err); ok {
		key.err, key.commit = e, &about
	} else if err != nil {
		return result{}, err
	} else {
		key.snapshot = s
	}
	l.last = key
	return key, nil
}

var (
	_ signed = (*object.Commit)(nil)
	_ signed = (*object.Tag)(nil)
)
