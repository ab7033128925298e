package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/source"
)

// errTooLarge says that an object is larger than whoever reads it takes.
var errTooLarge = errors.New("it is larger than it may be")

// maxLinks bounds how many symlinks lead to one file.
const maxLinks = 8

// lfsPointer begins a file whose content is elsewhere.
const lfsPointer = "version https://git-lfs.github.com/spec/"

// A reader reads the clusters of one commit.
type reader struct {
	*repository
	ctx  context.Context // of the look; a reader does not outlive it
	root *object.Tree    // of the repository
	left int64           // bytes that may still be read
}

// clusters reads the files of a folder of a commit. What is wrong with one cluster is in its ClusterFile; the error is of the whole.
func (r *repository) clusters(ctx context.Context, u URL, c *object.Commit, left int64) ([]desired.ClusterFile, error) {
	root, err := r.tree(c.TreeHash)
	if err != nil {
		return nil, err
	}
	rd := &reader{repository: r, ctx: ctx, root: root, left: left}
	folder := root
	if u.Folder != "" {
		e, _, err := rd.lookup(u.Folder)
		if err == nil && e.Mode != filemode.Dir {
			err = object.ErrEntryNotFound
		}
		if errors.Is(err, object.ErrEntryNotFound) || isKind(err, source.Dangling) {
			return nil, &source.Error{
				Subject: "the source " + u.String(), Kind: NoSuchRef, Why: fmt.Sprintf("there is no folder %s in commit %s", u.Folder, desired.ShortCommit(c.Hash.String())),
				Hint: "put it back, or name another with &path=; to remove a cluster, remove its file and keep the folder",
			}
		}
		if err != nil {
			return nil, err
		}
		if folder, err = r.tree(e.Hash); err != nil {
			return nil, err
		}
	}
	var out []desired.ClusterFile
	for i := range folder.Entries {
		e := &folder.Entries[i]
		name, ok := source.ClusterName(e.Name)
		if !ok || e.Mode == filemode.Dir {
			continue
		}
		if len(out) == source.MaxClusters {
			return nil, &source.Error{Subject: "the source " + u.String(), Kind: source.TooMany, Why: fmt.Sprintf("it holds more than %d clusters", source.MaxClusters), Hint: "spread them over several folders"}
		}
		cf := desired.ClusterFile{Name: name, File: e.Name}
		cf.Data, cf.Tree, err = rd.cluster(path.Join(u.Folder, name))
		if err != nil {
			if _, ofFile := errors.AsType[*source.Error](err); !ofFile {
				return nil, err
			}
			cf.Data, cf.Tree, cf.Err = nil, nil, err
		}
		out = append(out, cf)
	}
	return out, nil // Git's own order has the names sorted: none is a folder, so bytes decide
}

func isKind(err error, k source.Kind) bool {
	e, ok := errors.AsType[*source.Error](err)
	return ok && e.Kind == k
}

// cluster reads NAME.cfg and NAME/; at is the path of both, without the extension.
func (r *reader) cluster(at string) ([]byte, desired.Tree, error) {
	file := at + ".cfg"
	e, _, err := r.lookup(file)
	if err != nil {
		return nil, nil, err
	}
	if e.Mode == filemode.Dir {
		return nil, nil, &source.Error{Subject: file, Kind: source.NotAFile, Why: "it is a symlink to a folder", Hint: "let it lead to a file, or remove it if the cluster is to go"}
	}
	data, err := r.blob(file, e, source.MaxFileBytes)
	if err != nil {
		return nil, nil, err
	}
	dir, real, err := r.lookup(at)
	switch {
	case errors.Is(err, object.ErrEntryNotFound):
		return data, nil, nil
	case err != nil:
		return nil, nil, err
	case dir.Mode == filemode.Submodule:
		return nil, nil, submodule(at)
	case dir.Mode != filemode.Dir:
		return data, nil, nil // a file beside NAME.cfg that happens to be called NAME
	}
	b := &branch{reader: r, name: at, files: desired.Tree{}, left: source.MaxTreeBytes}
	if err := b.folder(real, dir.Hash, "", 0); err != nil {
		return nil, nil, err
	}
	if len(b.files) == 0 {
		return data, nil, nil
	}
	return data, b.files, nil
}

func submodule(at string) error {
	return &source.Error{Subject: at, Kind: source.NotAFile, Why: "it is a submodule, and those are not fetched", Hint: "put the files themselves into the repository"}
}

// A branch is the NAME/ of one cluster in the making.
type branch struct {
	*reader
	name  string
	files desired.Tree
	left  int64
}

// folder reads one folder of NAME/: real is its path in the repository, where relative symlinks start from, key that in NAME/.
func (b *branch) folder(real string, h plumbing.Hash, key string, depth int) error {
	if err := context.Cause(b.ctx); err != nil {
		return err
	}
	if depth > source.MaxTreeDepth {
		return &source.Error{Subject: b.name + "/" + key, Kind: source.Loop, Why: "it leads back to a folder that it is in, or is too deep", Hint: "remove the symlink that leads back"}
	}
	t, err := b.tree(h)
	if err != nil {
		return err
	}
	for i := range t.Entries {
		e := &t.Entries[i]
		if source.Leftover(e.Name) {
			continue
		}
		at, sub := path.Join(b.name, key, e.Name), path.Join(key, e.Name)
		to, where, err := b.follow(e, path.Join(real, e.Name))
		if err != nil {
			return err
		}
		switch to.Mode {
		case filemode.Dir:
			err = b.folder(where, to.Hash, sub, depth+1)
		case filemode.Submodule:
			err = submodule(at)
		default:
			err = b.file(at, sub, to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *branch) file(at, key string, e *object.TreeEntry) error {
	tooLarge := &source.Error{
		Subject: b.name + "/", Kind: source.TooLarge, Why: fmt.Sprintf("it holds more than %d files or %d MiB", source.MaxTreeFiles, source.MaxTreeBytes>>20),
		Hint: "keep only what nodes load in it; large files belong into the hosts' packages",
	}
	if len(b.files) == source.MaxTreeFiles {
		return tooLarge
	}
	data, err := b.blob(at, e, b.left)
	if isKind(err, source.TooLarge) {
		return tooLarge
	}
	if err != nil {
		return err
	}
	b.left -= int64(len(data))
	b.files[key] = desired.TreeFile{Data: data, Exec: e.Mode == filemode.Executable}
	return nil
}

// blob reads one file.
func (r *reader) blob(at string, e *object.TreeEntry, limit int64) ([]byte, error) {
	if err := context.Cause(r.ctx); err != nil {
		return nil, err
	}
	tooLarge := &source.Error{Subject: at, Kind: source.TooLarge, Why: "it is larger than it may be, or all files together are", Hint: "see whether it is what it should be"}
	limit = min(limit, r.left)
	o, err := r.read(plumbing.BlobObject, e.Hash, limit)
	if errors.Is(err, errTooLarge) {
		return nil, tooLarge
	}
	if err != nil {
		return nil, err
	}
	rd, err := o.Reader()
	if err != nil {
		return nil, err
	}
	defer rd.Close()
	data := make([]byte, o.Size())
	if _, err := rd.Read(data); err != nil && len(data) > 0 {
		return nil, err
	}
	r.left -= int64(len(data))
	if bytes.HasPrefix(data, []byte(lfsPointer)) {
		return nil, &source.Error{Subject: at, Kind: source.NotAFile, Why: "it is a pointer of Git LFS, whose content is not in the repository", Hint: "take it out of LFS: git lfs migrate export"}
	}
	return data, nil
}

// lookup finds what is at a path of the repository, through symlinks. The error is object.ErrEntryNotFound where nothing is.
func (r *reader) lookup(at string) (*object.TreeEntry, string, error) {
	e, err := r.entry(at)
	if err != nil {
		return nil, "", err
	}
	return r.follow(e, at)
}

// entry without following anything.
func (r *reader) entry(at string) (*object.TreeEntry, error) {
	t := r.root
	for {
		name, rest, more := strings.Cut(at, "/")
		var found *object.TreeEntry
		for i := range t.Entries {
			if t.Entries[i].Name == name {
				found = &t.Entries[i]
				break
			}
		}
		switch {
		case found == nil:
			return nil, object.ErrEntryNotFound
		case !more:
			return found, nil
		case found.Mode != filemode.Dir:
			return nil, object.ErrEntryNotFound
		}
		var err error
		if t, err = r.tree(found.Hash); err != nil {
			return nil, err
		}
		at = rest
	}
}

// follow follows symlinks as long as they stay in the repository.
func (r *reader) follow(e *object.TreeEntry, at string) (*object.TreeEntry, string, error) {
	link := at
	for range maxLinks {
		if e.Mode != filemode.Symlink {
			return e, at, nil
		}
		o, err := r.read(plumbing.BlobObject, e.Hash, 4096)
		if err != nil {
			return nil, "", err
		}
		rd, err := o.Reader()
		if err != nil {
			return nil, "", err
		}
		target := make([]byte, o.Size())
		_, err = rd.Read(target)
		_ = rd.Close()
		if err != nil && len(target) > 0 {
			return nil, "", err
		}
		to := string(target)
		if at = path.Join(path.Dir(at), to); path.IsAbs(to) || at == ".." || strings.HasPrefix(at, "../") || at == "." {
			return nil, "", &source.Error{Subject: link, Kind: source.Outside, Why: "it is a symlink that is absolute or leaves the repository", Hint: "keep what it points to inside, and make the symlink relative"}
		}
		if e, err = r.entry(at); errors.Is(err, object.ErrEntryNotFound) {
			return nil, "", &source.Error{Subject: link, Kind: source.Dangling, Why: "it is a symlink to something that does not exist", Hint: "put its target back, or remove the symlink if the file is to go"}
		}
		if err != nil {
			return nil, "", err
		}
	}
	return nil, "", &source.Error{Subject: link, Kind: source.Loop, Why: "its symlinks lead in a circle", Hint: "replace the symlink by the file"}
}
