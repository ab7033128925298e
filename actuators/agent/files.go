package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
)

// PutFiles puts the content of NAME/ on disk, at clusters/<cluster>/files/<hash>: whole, or not at all.
// It is then read-only and never changed. A tree that is there already is left as it is.
func (a *Agent) PutFiles(ctx context.Context, cluster string, t desired.Tree) error {
	if err := checkName("cluster", cluster); err != nil {
		return err
	}
	if len(t) == 0 {
		return nil
	}
	files := make(map[string]desired.TreeFile, len(t))
	for name, f := range t {
		if err := checkPath(name); err != nil {
			return fmt.Errorf("cannot take the files of %s: %w", cluster, err)
		}
		files[name] = f
	}
	dir := filepath.Join(a.clusterDir(cluster), "files", t.Hash())
	if err := a.putDir(ctx, dir, files); err != nil {
		return fmt.Errorf("cannot put the files of %s on disk: %w", cluster, err)
	}
	return nil
}

// checkPath refuses names that lead out of the tree, whoever made it.
func checkPath(name string) error {
	if !filepath.IsLocal(name) || name != filepath.ToSlash(filepath.Clean(name)) || name == "." ||
		strings.ContainsAny(name, "\\\x00") {
		return fmt.Errorf("%q is not a path within", name)
	}
	return nil
}

// putDir makes a folder of read-only files in one step: it is filled under another name, synced, and
// renamed. One that exists is kept where it holds just these files, and replaced where it does not.
func (a *Agent) putDir(ctx context.Context, dir string, files map[string]desired.TreeFile) error {
	a.dirs.Lock() // two who make the same folder would be in each other's way
	defer a.dirs.Unlock()
	if sameDir(dir, files) {
		now := a.cfg.Now()
		return os.Chtimes(dir, now, now) // in use again: not to be swept away now
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(parent, ".new-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	// Through a root: no name and no symlink leads out of it.
	root, err := os.OpenRoot(tmp)
	if err != nil {
		return err
	}
	defer root.Close()
	for name, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := putFile(root, name, f); err != nil {
			return err
		}
	}
	if err := seal(tmp); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil { // damaged; rename does not replace a folder with content
		return err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return err
	}
	return syncDir(parent)
}

func putFile(root *os.Root, name string, f desired.TreeFile) error {
	mode := os.FileMode(0o444)
	if f.Exec {
		mode = 0o555
	}
	out, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = out.Write(f.Data)
	return errors.Join(err, out.Chmod(mode), out.Sync(), out.Close())
}

// seal syncs the folders and makes them readable for whoever Zeek runs as.
func seal(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if err := os.Chmod(path, 0o755); err != nil {
			return err
		}
		return syncDir(path)
	})
}

// sameDir reports whether a folder holds these files and no others.
func sameDir(dir string, files map[string]desired.TreeFile) bool {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false
	}
	defer root.Close()
	n := 0
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		want, ok := files[path]
		if !ok || !d.Type().IsRegular() {
			return fs.ErrInvalid
		}
		n++
		got, err := root.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !slices.Equal(got, want.Data) || want.Exec != (info.Mode()&0o100 != 0) {
			return fs.ErrInvalid
		}
		return nil
	})
	return err == nil && n == len(files)
}
