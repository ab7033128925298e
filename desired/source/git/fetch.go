package git

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-git/go-billy/v5/osfs"
	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/zeekrec/zeekrec/desired/source"
)

// sumFactor is how many times Options.MaxSize all objects of a pack may have together, unpacked.
const sumFactor = 10

// A repository that blobs are read from.
type repository struct {
	*filesystem.Storage
	dir string // made for one look, and removed by close; empty for one that is not ours
	// shallow are the commits whose parents are not there.
	shallow map[plumbing.Hash]bool
}

func (r *repository) close() {
	_ = r.Close()
	if r.dir != "" {
		_ = os.RemoveAll(r.dir)
	}
}

// openLocal opens a repository on this machine, bare or with a work tree.
func openLocal(path string) (*repository, error) {
	r, err := gogit.PlainOpenWithOptions(path, &gogit.PlainOpenOptions{EnableDotGitCommonDir: true})
	if errors.Is(err, gogit.ErrRepositoryNotExists) {
		return nil, fmt.Errorf("%w: %w", os.ErrNotExist, err)
	}
	if err != nil {
		return nil, err
	}
	s, ok := r.Storer.(*filesystem.Storage)
	if !ok {
		return nil, errors.New("its kind of storage is not known")
	}
	return withShallow(&repository{Storage: s})
}

func withShallow(r *repository) (*repository, error) {
	hs, err := r.Shallow()
	if err != nil {
		r.close()
		return nil, err
	}
	r.shallow = make(map[plumbing.Hash]bool, len(hs))
	for _, h := range hs {
		r.shallow[h] = true
	}
	return r, nil
}

// fetch brings what a commit needs into a bare repository of its own. depth is how many commits of history; 0: all of it.
func (l *looker) fetch(ctx context.Context, c *conversation, want plumbing.Hash, depth int) (_ *repository, err error) {
	req := packp.NewUploadPackRequestFromCapabilities(c.refs.Capabilities)
	if c.gives(want) {
		req.Wants = []plumbing.Hash{want}
	} else {
		req.Wants, depth = c.all(), 0 // it may be somewhere in the history of these
	}
	if depth > 0 && c.refs.Capabilities.Supports(capability.Shallow) {
		req.Depth = packp.DepthCommits(depth)
		if err := req.Capabilities.Set(capability.Shallow); err != nil {
			return nil, err
		}
	}
	if c.refs.Capabilities.Supports(capability.NoProgress) {
		if err := req.Capabilities.Set(capability.NoProgress); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp(l.opts.Dir, fetching)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	pack, err := os.Create(filepath.Join(dir, "pack"))
	if err != nil {
		return nil, err
	}
	defer pack.Close()
	res, err := c.UploadPack(ctx, req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Close() }()
	if err := l.download(pack, demuxed(req, res)); err != nil {
		return nil, err
	}
	if err := l.inspect(pack); err != nil {
		return nil, err
	}
	s := filesystem.NewStorageWithOptions(osfs.New(filepath.Join(dir, "repository")), cache.NewObjectLRU(16*cache.MiByte),
		filesystem.Options{ExclusiveAccess: true, LargeObjectThreshold: 1 << 20})
	r := &repository{Storage: s, dir: dir}
	if err := index(s, pack); err != nil {
		_ = s.Close()
		return nil, err
	}
	if err := s.SetShallow(res.Shallows); err != nil {
		_ = s.Close()
		return nil, err
	}
	return withShallow(r)
}

// fetching begins the names of folders that are being fetched into.
const fetching = "fetch-"

// gives reports whether the server gives an object to who asks for it by name.
func (c *conversation) gives(h plumbing.Hash) bool {
	if c.refs.Head != nil && *c.refs.Head == h || c.refs.Capabilities.Supports(capability.AllowReachableSHA1InWant) {
		return true
	}
	for _, at := range c.refs.References {
		if at == h {
			return true
		}
	}
	return false
}

// all branches and tags of the server.
func (c *conversation) all() []plumbing.Hash {
	seen := map[plumbing.Hash]bool{}
	for name, at := range c.refs.References {
		if ref := plumbing.ReferenceName(name); ref.IsBranch() || ref.IsTag() {
			seen[at] = true
		}
	}
	out := slices.Collect(maps.Keys(seen))
	plumbing.HashesSort(out)
	return out
}

func demuxed(req *packp.UploadPackRequest, r io.Reader) io.Reader {
	switch {
	case req.Capabilities.Supports(capability.Sideband64k):
		return sideband.NewDemuxer(sideband.Sideband64k, r)
	case req.Capabilities.Supports(capability.Sideband):
		return sideband.NewDemuxer(sideband.Sideband, r)
	}
	return r
}

// download takes a pack, and no more of it than it may have.
func (l *looker) download(pack *os.File, r io.Reader) error {
	n, err := io.Copy(pack, io.LimitReader(r, l.opts.MaxSize+1))
	switch {
	case n > l.opts.MaxSize:
		return l.tooLarge("its history, packed, is larger than %s")
	case err != nil:
		return err
	case n == 0:
		return packfile.ErrEmptyPackfile
	}
	_, err = pack.Seek(0, io.SeekStart)
	return err
}

func (l *looker) tooLarge(format string) error {
	return &source.Error{
		Subject: "the source " + l.url.String(), Kind: source.TooLarge, Why: fmt.Sprintf(format, byteText(l.opts.MaxSize)),
		Hint: "take the large file out of the repository and its history, or raise --git-max-size",
	}
}

func byteText(n int64) string {
	if n >= 1<<20 && n%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}

// inspect looks at the sizes in a pack before any object is unpacked into memory: of the objects that are in it, and of those that deltas in it
// make.
func (l *looker) inspect(pack *os.File) error {
	s := packfile.NewScanner(pack)
	_, n, err := s.Header()
	if err != nil {
		return err
	}
	var sum int64
	for range n {
		h, err := s.NextObjectHeader()
		if err != nil {
			return err
		}
		size := h.Length
		if size <= l.opts.MaxSize {
			var begin beginning
			if _, _, err := s.NextObject(&begin); err != nil {
				return err
			}
			if h.Type.IsDelta() {
				if size, err = begin.target(); err != nil {
					return err
				}
			}
		}
		if size > l.opts.MaxSize {
			return l.tooLarge("it holds an object that is larger than %s")
		}
		if sum += size; sum > sumFactor*l.opts.MaxSize {
			return l.tooLarge(fmt.Sprintf("its history, unpacked, is larger than %d times %%s", sumFactor))
		}
	}
	_, err = pack.Seek(0, io.SeekStart)
	return err
}

// beginning keeps the first bytes of a delta: two numbers of 7 bits a byte, the sizes of what it starts from and what it makes.
type beginning struct{ b []byte }

func (w *beginning) Write(p []byte) (int, error) {
	w.b = append(w.b, p[:min(len(p), 2*binary.MaxVarintLen64-len(w.b))]...)
	return len(p), nil
}

func (w *beginning) target() (int64, error) {
	_, n := binary.Uvarint(w.b)
	if n <= 0 {
		return 0, packfile.ErrMalformedPackFile
	}
	size, n := binary.Uvarint(w.b[n:])
	if n <= 0 || size > 1<<62 {
		return 0, packfile.ErrMalformedPackFile
	}
	return int64(size), nil
}

// index makes a pack readable.
func index(s *filesystem.Storage, pack *os.File) error {
	if err := s.Init(); err != nil {
		return err
	}
	w, err := s.PackfileWriter()
	if err != nil {
		return err
	}
	_, err = io.Copy(w, pack)
	return errors.Join(err, w.Close())
}

// sweep removes what a look that was cut short has left behind.
func sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range slices.DeleteFunc(entries, func(e os.DirEntry) bool { return !isFetching(e.Name()) }) {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

func isFetching(name string) bool {
	return len(name) > len(fetching) && name[:len(fetching)] == fetching
}
