package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

// Bounds of what is read, whatever kind of source it is in.
const (
	MaxClusters  = 10_000
	MaxFileBytes = 16 << 20  // of a NAME.cfg
	MaxTreeFiles = 10_000    // in a NAME/
	MaxTreeBytes = 64 << 20  // in a NAME/
	MaxTreeDepth = 64        // folders in folders
	MaxBytes     = 512 << 20 // in all
)

// A scan is what one look at the source saw.
type scan struct {
	began, ended time.Time
	// err is set when the source as a whole could not be read; nothing else is, then.
	err    error
	files  []sighting // sorted by cluster
	device uint64     // file system that the folder is on; 0: unknown
	remote bool       // events do not tell of all changes
}

// A sighting is what one look saw of one cluster.
type sighting struct {
	file desired.ClusterFile
	// stamp is a hash over bytes, names, sizes and times of modification: as long as it stays, nobody wrote.
	stamp uint64
	// busy names a file that somebody has open for writing; empty: none is known to be.
	busy string
	// torn is set when something changed while it was being read.
	torn bool
}

// A scanner looks at one source. It is for one goroutine at a time.
type scanner struct {
	// path is absolute: a folder, or a NAME.cfg.
	path string
	// watch, when set, is told of each folder and name whose changes matter, before they are read: so
	// nothing changes unnoticed in between. An empty name means all names but leftovers.
	watch func(dir, name string)

	dir    string      // the folder, as given
	real   string      // the folder, without symlinks
	opened fs.FileInfo // the folder, as the last scan found it; nil: it did not
	left   int64       // bytes that may still be read
	// eventless is set where watching inside the folder is of no use (and may hang): it is polled.
	eventless bool
	// prev and buf make that a look which finds nothing new keeps nothing new in memory.
	prev map[string]desired.ClusterFile
	buf  []byte
}

// scan looks once, and again where the folder was replaced meanwhile.
func (s *scanner) scan(ctx context.Context) *scan {
	began := time.Now()
	var sc *scan
	for range 3 {
		var stable bool
		if sc, stable = s.attempt(ctx); stable {
			sc.began, sc.ended = began, time.Now()
			return sc
		}
	}
	return &scan{began: began, ended: time.Now(), err: &Error{
		Subject: "the source " + s.path, Kind: Unstable, Why: "the folder was replaced each time while it was being read",
		Hint: "see what keeps replacing it",
	}}
}

// attempt looks once; stable is false if what it began with is no longer what the path leads to.
func (s *scanner) attempt(ctx context.Context) (sc *scan, stable bool) {
	s.opened = nil
	s.watchSteps(s.path)
	fi, err := os.Stat(s.path)
	isFile := err == nil && !fi.IsDir()
	single := strings.HasSuffix(s.path, extension) && (err != nil || isFile)
	switch {
	case err != nil:
		return &scan{err: sourceError(s.path, err)}, true
	case isFile && !single:
		return &scan{err: &Error{
			Subject: "the source " + s.path, Kind: NotAFolder,
			Why: "it is neither a folder nor a file whose name ends in .cfg", Hint: "put the folder back in its place",
		}}, true
	}
	s.dir = s.path
	if single {
		s.dir = filepath.Dir(s.path)
	}
	if s.real, err = filepath.EvalSymlinks(s.dir); err != nil {
		return &scan{err: sourceError(s.dir, err)}, true
	}
	root, err := os.OpenRoot(s.real)
	if err != nil {
		return &scan{err: sourceError(s.dir, err)}, true
	}
	defer func() { _ = root.Close() }()

	sc = &scan{}
	only := ""
	if single {
		only = filepath.Base(s.path)
	}
	files, opened, err := s.list(root, only, sc)
	if err != nil {
		return &scan{err: err}, true
	}
	s.left = MaxBytes
	prev := make(map[string]desired.ClusterFile, len(files))
	for _, file := range files {
		if err := context.Cause(ctx); err != nil {
			return &scan{err: err}, true
		}
		if si, ok := s.cluster(ctx, root, file, single); ok {
			sc.files = append(sc.files, si)
			prev[si.file.Name] = si.file
		}
	}
	s.prev = prev
	slices.SortFunc(sc.files, func(a, b sighting) int { return strings.Compare(a.file.Name, b.file.Name) })

	now, err := os.Stat(s.dir)
	if err != nil || !os.SameFile(opened, now) || single && len(sc.files) == 0 {
		return sc, false
	}
	s.opened = opened
	return sc, true
}

// inPlace reports whether the folder is still the one that was read: a cheap look for what no event
// tells of, namely something mounted or unmounted there, or a folder far above it renamed.
func (s *scanner) inPlace() bool {
	if s.opened == nil {
		return false
	}
	now, err := os.Stat(s.dir)
	return err == nil && os.SameFile(s.opened, now) && now.ModTime().Equal(s.opened.ModTime())
}

// list returns the names of the files that describe clusters, or just the one that is asked for, and
// notes what the folder is on.
func (s *scanner) list(root *os.Root, only string, sc *scan) (files []string, opened fs.FileInfo, err error) {
	d, err := root.Open(".")
	if err != nil {
		return nil, nil, sourceError(s.path, err)
	}
	defer func() { _ = d.Close() }()
	if opened, err = d.Stat(); err != nil {
		return nil, nil, sourceError(s.path, err)
	}
	sc.device, sc.remote = deviceOf(opened), isRemote(d)
	s.eventless = sc.remote
	if only != "" {
		s.watchSteps(filepath.Join(s.real, only))
		s.watchSteps(filepath.Join(s.real, strings.TrimSuffix(only, extension)))
		return []string{only}, opened, nil
	}
	s.watchDir(".")
	for {
		entries, err := d.ReadDir(1024)
		for _, e := range entries {
			if _, ok := clusterName(e.Name()); ok && !e.IsDir() {
				files = append(files, e.Name())
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return files, opened, nil
		case err != nil:
			return nil, nil, sourceError(s.path, err)
		case len(files) > MaxClusters:
			return nil, nil, &Error{
				Subject: "the source " + s.path, Kind: TooMany, Why: fmt.Sprintf("it holds more than %d clusters", MaxClusters),
				Hint: "spread them over several folders",
			}
		}
	}
}

// watchSteps asks to be told when path comes to lead elsewhere.
func (s *scanner) watchSteps(path string) {
	if s.watch == nil {
		return
	}
	for _, st := range trail(path) {
		s.watch(st.dir, st.name)
	}
}

// watchDir asks to be told of changes in a folder, which is relative to the source folder.
func (s *scanner) watchDir(dir string) {
	if s.watch == nil || s.eventless {
		return
	}
	if at, err := filepath.EvalSymlinks(filepath.Join(s.real, dir)); err == nil {
		s.watch(at, "")
	}
}

// follow reports whether a symlink is at a path relative to the source folder, and asks to be told of
// changes on its way, as far as that is inside.
func (s *scanner) follow(root *os.Root, at string) bool {
	fi, err := root.Lstat(at)
	if err != nil || fi.Mode()&fs.ModeSymlink == 0 {
		return false
	}
	if s.watch != nil && !s.eventless {
		for _, st := range trail(filepath.Join(s.real, at)) {
			if st.dir == s.real || strings.HasPrefix(st.dir, s.real+string(filepath.Separator)) {
				s.watch(st.dir, st.name)
			}
		}
	}
	return true
}
