package local

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
)

// coreMost is the size up to which a core dump is put into a bundle.
const coreMost = 1 << 30

// Diag writes a bundle for a bug report, as tar.gz: what the agent knows of the node, its outputs in full,
// its core dump, and what the caller adds. Values of environment variables that a user set are hidden. A core dump of
// a process that has the cluster's keys has them, too, and is left out. Nothing more is written when ctx has ended.
func (n *Nodes) Diag(ctx context.Context, key string, more map[string][]byte, at time.Time, w io.Writer) error {
	dir, err := n.dir(key)
	if err != nil {
		return err
	}
	a, err := n.offlineAgent()
	if err != nil {
		return fmt.Errorf("cannot make a bundle for %s: %w", key, err)
	}
	cluster, name, _ := strings.Cut(key, "/")
	files, err := a.Diag(cluster, name)
	if err != nil {
		return err
	}
	delete(files, "stdout") // in full below
	delete(files, "stderr")
	maps.Copy(files, more)

	z := gzip.NewWriter(&within{ctx, w})
	b := &bundle{tar: tar.NewWriter(z), root: api.BundleName(key), at: at}
	for _, f := range slices.Sorted(maps.Keys(files)) {
		b.bytes(f, files[f])
	}
	for _, pattern := range []string{"stdout*", "stderr*"} {
		b.glob(dir, pattern)
	}
	if encrypts, err := a.Encrypts(cluster, name); err != nil || encrypts {
		b.leaveOut(filepath.Join(dir, "work"), "core*", "it has the cluster's keys in it")
	} else {
		b.glob(filepath.Join(dir, "work"), "core*")
	}
	if b.err == nil {
		b.err = b.tar.Close()
	}
	if b.err == nil {
		b.err = z.Close()
	}
	if b.err != nil {
		return fmt.Errorf("cannot write the bundle for %s: %w", key, b.err)
	}
	return nil
}

// bundle is an archive that is being written; its first error ends it.
type bundle struct {
	tar  *tar.Writer
	root string
	at   time.Time
	err  error
}

func (b *bundle) header(name string, size int64, at time.Time) {
	if b.err == nil {
		b.err = b.tar.WriteHeader(&tar.Header{Name: path.Join(b.root, name), Mode: 0o600, Size: size, ModTime: at, Format: tar.FormatPAX})
	}
}

func (b *bundle) bytes(name string, data []byte) {
	b.header(name, int64(len(data)), b.at)
	if b.err == nil {
		_, b.err = b.tar.Write(data)
	}
}

func (b *bundle) glob(dir, pattern string) {
	root, err := os.OpenRoot(dir) // whatever is in it, nothing outside gets into the bundle
	if err != nil {
		return
	}
	defer root.Close()
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if ok, _ := path.Match(pattern, e.Name()); ok && e.Type().IsRegular() {
			b.file(root, e.Name())
		}
	}
}

// leaveOut says where the files are, and why they are not in the bundle.
func (b *bundle) leaveOut(dir, pattern, why string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if ok, _ := path.Match(pattern, e.Name()); ok && e.Type().IsRegular() {
			b.bytes(e.Name()+".left-out", fmt.Appendf(nil, "%s is left out: %s\n", filepath.Join(dir, e.Name()), why))
		}
	}
}

// file copies a file as large as it is now; one that grows meanwhile is cut there, one that shrinks
// is filled up.
func (b *bundle) file(root *os.Root, name string) {
	f, err := root.Open(name)
	if err != nil {
		b.bytes(name+".error", []byte(err.Error()))
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		b.bytes(name+".error", []byte(err.Error()))
		return
	}
	if info.Size() > coreMost {
		b.bytes(name+".left-out", fmt.Appendf(nil, "%s is left out: it has %d bytes\n", f.Name(), info.Size()))
		return
	}
	b.header(name, info.Size(), info.ModTime())
	if b.err != nil {
		return
	}
	done, err := io.Copy(b.tar, io.LimitReader(f, info.Size()))
	if err != nil {
		b.err = err
		return
	}
	if missing := info.Size() - done; missing > 0 {
		_, b.err = io.CopyN(b.tar, zeros{}, missing)
	}
}

// within writes to w until ctx ends.
type within struct {
	ctx context.Context
	w   io.Writer
}

func (x *within) Write(p []byte) (int, error) {
	if x.ctx.Err() != nil {
		return 0, context.Cause(x.ctx)
	}
	return x.w.Write(p)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
