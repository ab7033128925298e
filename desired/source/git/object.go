package git

import (
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Bounds of objects that are no blobs.
const (
	maxCommit = 1 << 20
	maxTree   = 16 << 20
)

// read returns an object, of at most limit bytes, and makes sure that it is the one that its name says: a repository on this machine
// was not unpacked, and so not checked, by us.
func (r *repository) read(t plumbing.ObjectType, h plumbing.Hash, limit int64) (*plumbing.MemoryObject, error) {
	size, err := r.EncodedObjectSize(h)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h, err)
	}
	if size > limit {
		return nil, errTooLarge
	}
	o, err := r.EncodedObject(t, h)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h, err)
	}
	rd, err := o.Reader()
	if err != nil {
		return nil, err
	}
	defer rd.Close()
	data, err := io.ReadAll(io.LimitReader(rd, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h, err)
	}
	if plumbing.ComputeHash(t, data) != h {
		return nil, fmt.Errorf("%w: %s %s is damaged", plumbing.ErrObjectNotFound, t, h)
	}
	m := &plumbing.MemoryObject{}
	m.SetType(t)
	_, err = m.Write(data)
	return m, err
}

func (r *repository) commit(h plumbing.Hash) (*object.Commit, error) {
	o, err := r.read(plumbing.CommitObject, h, maxCommit)
	if err != nil {
		return nil, err
	}
	return object.DecodeCommit(r, o)
}

func (r *repository) tree(h plumbing.Hash) (*object.Tree, error) {
	o, err := r.read(plumbing.TreeObject, h, maxTree)
	if err != nil {
		return nil, err
	}
	return object.DecodeTree(r, o)
}

// peel follows annotated tags to a commit. tag is the outermost one; nil where there is none.
func (r *repository) peel(h plumbing.Hash) (c *object.Commit, tag *object.Tag, err error) {
	for range 8 {
		o, err := r.EncodedObject(plumbing.AnyObject, h)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", h, err)
		}
		if o.Type() != plumbing.TagObject {
			break
		}
		m, err := r.read(plumbing.TagObject, h, maxCommit)
		if err != nil {
			return nil, nil, err
		}
		t, err := object.DecodeTag(r, m)
		if err != nil {
			return nil, nil, err
		}
		if tag == nil {
			tag = t
		}
		h = t.Target
	}
	c, err = r.commit(h)
	return c, tag, err
}
