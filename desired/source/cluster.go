package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/zeekrec/zeekrec/desired"
)

// A glimpse is one look at one cluster in the making.
type glimpse struct {
	*scanner
	ctx  context.Context // of the look; a glimpse does not outlive it
	root *os.Root
	// asGiven is the path of a NAME.cfg that was itself given as the source: its own symlinks are the
	// user's, and may lead anywhere.
	asGiven string

	name  string
	prev  desired.ClusterFile
	stamp *xxhash.Digest
	busy  string
	torn  bool

	tree  desired.Tree
	bytes int64         // in tree
	above []fs.FileInfo // the folders from NAME/ down to the one being read
}

// cluster looks at NAME.cfg and NAME/. It is false when there is no such file after all.
func (s *scanner) cluster(ctx context.Context, root *os.Root, file string, asGiven bool) (sighting, bool) {
	name := strings.TrimSuffix(file, extension)
	g := &glimpse{scanner: s, ctx: ctx, root: root, name: name, prev: s.prev[name], stamp: xxhash.New()}
	if asGiven {
		g.asGiven = s.path
	}
	cf := desired.ClusterFile{Name: name, File: file}
	var ok bool
	if cf.Data, ok, cf.Err = g.config(file); !ok {
		return sighting{}, false
	}
	if cf.Err == nil {
		cf.Err = g.files(name)
		cf.Tree = g.tree
	}
	if cf.Err != nil {
		cf.Data, cf.Tree = nil, nil // half of it must not look like it
		fmt.Fprintf(g.stamp, "error:%s", cf.Err)
	} else {
		_, _ = g.stamp.WriteString(cf.Revision())
	}
	return sighting{file: cf, stamp: g.stamp.Sum64(), busy: g.busy, torn: g.torn}, true
}

// config reads NAME.cfg. ok is false where there is none, or a folder of that name.
func (g *glimpse) config(file string) (data []byte, ok bool, err error) {
	isLink := g.follow(g.root, file)
	fi, err := g.stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !isLink:
		return nil, false, nil // gone since the folder was listed
	case err != nil:
		return nil, true, fileError(file, isLink, err)
	case fi.IsDir():
		return nil, false, nil
	case !fi.Mode().IsRegular():
		return nil, true, &Error{
			Subject: file, Kind: NotAFile, Why: "it is a " + kindOf(fi.Mode()) + ", not a file",
			Hint: "replace it by a file, or remove it if the cluster is to go",
		}
	}
	data, _, err = g.read(file, isLink, MaxFileBytes, g.prev.Data)
	return data, true, err
}

// kindOf names what is neither a file nor a folder.
func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "pipe"
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

// files reads NAME/ into the tree, if there is such a folder.
func (g *glimpse) files(name string) error {
	fi, err := g.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fileError(name+"/", false, err)
	}
	isLink := fi.Mode()&fs.ModeSymlink != 0
	if isLink {
		g.follow(g.root, name)
		if fi, err = g.root.Stat(name); err != nil {
			return fileError(name, true, err)
		}
	}
	if !fi.IsDir() {
		return nil // a file beside NAME.cfg that happens to be called NAME
	}
	g.tree = desired.Tree{}
	if err := g.folder(name, ""); err != nil {
		return err
	}
	if len(g.tree) == 0 {
		g.tree = nil
	}
	return nil
}

// folder reads one folder of NAME/: dir relative to the source folder, key relative to NAME/.
func (g *glimpse) folder(dir, key string) error {
	if err := context.Cause(g.ctx); err != nil {
		return err
	}
	g.watchDir(dir)
	d, err := g.root.Open(dir)
	if err != nil {
		return fileError(dir+"/", false, err)
	}
	defer func() { _ = d.Close() }()
	fi, err := d.Stat()
	if err != nil {
		return fileError(dir+"/", false, err)
	}
	if slices.ContainsFunc(g.above, func(a fs.FileInfo) bool { return os.SameFile(a, fi) }) || len(g.above) >= MaxTreeDepth {
		return &Error{
			Subject: dir + "/", Kind: Loop, Why: "it leads back to a folder that it is in, or is too deep",
			Hint: "remove the symlink that leads back",
		}
	}
	g.above = append(g.above, fi)
	defer func() { g.above = g.above[:len(g.above)-1] }()

	entries, err := d.ReadDir(MaxTreeFiles + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return fileError(dir+"/", false, err)
	}
	if len(entries) > MaxTreeFiles {
		return g.tooLarge()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		if leftover(e.Name()) {
			continue
		}
		if err := g.entry(path.Join(dir, e.Name()), path.Join(key, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// entry reads a file or a folder of NAME/; what is neither is passed over.
func (g *glimpse) entry(at, key string) error {
	isLink := g.follow(g.root, at)
	fi, err := g.root.Stat(at)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !isLink:
		g.torn = true // gone since the folder was listed
		return nil
	case err != nil:
		return fileError(at, isLink, err)
	case fi.IsDir():
		return g.folder(at, key)
	case !fi.Mode().IsRegular():
		return nil
	case len(g.tree) >= MaxTreeFiles:
		return g.tooLarge()
	}
	data, exec, err := g.read(at, isLink, MaxTreeBytes-g.bytes, g.prev.Tree[key].Data)
	if e, ok := errors.AsType[*Error](err); ok && e.Kind == TooLarge {
		return g.tooLarge()
	}
	if err != nil {
		return err
	}
	g.bytes += int64(len(data))
	g.tree[key] = desired.TreeFile{Data: data, Exec: exec}
	return nil
}

func (g *glimpse) tooLarge() error {
	return &Error{
		Subject: g.name + "/", Kind: TooLarge,
		Why:  fmt.Sprintf("it holds more than %d files or %d MiB", MaxTreeFiles, MaxTreeBytes>>20),
		Hint: "keep only what nodes load in it; large files belong into the hosts' packages",
	}
}
