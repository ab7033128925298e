package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/zeekrec/zeekrec/desired/launch"
)

// Zeek needs about a second to parse its scripts, and a node that is waited for needs that second itself. So what has parsed once holds
// until something changes that it was read from: the files below the folders of ZEEKPATH and of plugins, beside scripts that are
// named by their path, and what programs are linked with. Where scripts come from elsewhere, nothing is remembered.

// Bounds of what is looked at. More files, or larger scripts, are not remembered: they are parsed again.
const (
	treeFiles  = 20_000
	scriptSize = 1 << 20
)

// Two changes within a tick of a file system's clock look like one. That of the kernel has at most 10 ms; a file system that knows
// whole seconds only has 2 s (FAT).
const (
	fineTick   = 50 * time.Millisecond
	coarseTick = 2 * time.Second
)

// errElsewhere is returned for scripts whose files cannot be told.
var errElsewhere = errors.New("scripts are loaded from elsewhere")

// trees are the files and folders with everything below that a launch's scripts are read from, as far as its command line and its
// environment say so. The folder of generated files is not among them: its content is known. plugins is where the program looks for
// plugins when it is not told.
func trees(l launch.Launch, plugins string) ([]string, error) {
	var roots []string
	folders := func(list string) {
		for _, d := range filepath.SplitList(list) {
			if filepath.IsAbs(d) && d != l.GenDir {
				roots = append(roots, filepath.Clean(d))
			}
		}
	}
	for _, a := range l.Argv[1:] {
		switch {
		case slices.Contains(strings.Split(a, "/"), ".."):
			return nil, errElsewhere
		case filepath.IsAbs(a): // it may load what is beside it
			roots = append(roots, filepath.Dir(a))
		}
	}
	for _, e := range l.Env {
		switch name, value, _ := strings.Cut(e, "="); name {
		case "ZEEKPATH", "LD_LIBRARY_PATH":
			folders(value)
		case "ZEEK_PLUGIN_PATH":
			plugins = value
		case "LD_PRELOAD", "ZEEK_SEED_FILE":
			if value != "" {
				return nil, errElsewhere
			}
		}
	}
	folders(plugins)
	roots = append(roots, "/etc/ld.so.cache") // made anew when libraries are installed
	if real, err := filepath.EvalSymlinks(l.Argv[0]); err == nil {
		// Where ldconfig(8) does not look, a program brings its own.
		if prefix := filepath.Dir(filepath.Dir(real)); prefix != "/" && prefix != "/usr" {
			own, err := filepath.Glob(filepath.Join(prefix, "lib*", "lib*.so*"))
			if err != nil {
				return nil, errElsewhere // a path with the characters of a pattern
			}
			roots = append(roots, own...)
		}
	}
	slices.Sort(roots)
	return slices.Compact(roots), nil
}

// imprint is what the files below some folders looked like.
type imprint struct {
	hash uint64
	// newest is when the last of them was changed; young is how long ago that has to be at least for another change to be seen.
	newest time.Time
	young  time.Duration
}

// settled reports whether whatever is changed from now on makes another imprint.
func (p imprint) settled(now time.Time) bool { return now.Sub(p.newest) > p.young }

// lookAt takes the imprint of everything below the roots, through symlinks: names, and of each file device, inode, mode, size, the time at which its
// content was changed, and that at which anything of it was, which nobody can set. each is called for every regular file, if it is
// not nil, and an error of it ends the look. What cannot be read is part of the imprint as that.
func lookAt(roots []string, each func(path string, size int64) error) (imprint, error) {
	h, p, seen, n := xxhash.New(), imprint{young: fineTick}, map[[2]uint64]bool{}, 0
	var walk func(path string) error
	walk = func(path string) error {
		if n++; n > treeFiles {
			return fmt.Errorf("cannot remember scripts: there are more than %d files in %s", treeFiles, strings.Join(roots, ", "))
		}
		info, err := os.Stat(path)
		if err != nil {
			fmt.Fprintf(h, "%s\x00%v\x00", path, errors.Is(err, fs.ErrNotExist))
			return nil
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return errElsewhere
		}
		if info.IsDir() {
			fmt.Fprintf(h, "%s\x00%o %d %d/", path, st.Mode, st.Uid, st.Gid)
			id := [2]uint64{uint64(st.Dev), st.Ino} //nolint:unconvert // Dev is 32 bits wide on some machines.
			if seen[id] {
				return nil
			}
			seen[id] = true
			entries, err := os.ReadDir(path)
			if err != nil {
				fmt.Fprintf(h, "?")
				return nil
			}
			for _, e := range entries {
				if err := walk(filepath.Join(path, e.Name())); err != nil {
					return err
				}
			}
			return nil
		}
		changed := time.Unix(st.Ctim.Unix())
		fmt.Fprintf(h, "%s\x00%d %d %o %d %d %d %d %d", path, st.Dev, st.Ino, st.Mode, st.Uid, st.Gid, st.Size, info.ModTime().UnixNano(), changed.UnixNano())
		if changed.After(p.newest) {
			p.newest = changed
		}
		if changed.Nanosecond() == 0 {
			p.young = coarseTick
		}
		if each == nil || !info.Mode().IsRegular() {
			return nil
		}
		return each(path, st.Size)
	}
	for _, r := range roots {
		if err := walk(r); err != nil {
			return imprint{}, err
		}
	}
	p.hash = h.Sum64()
	return p, nil
}

// loads is what a script loads, files of signatures that a variable names included.
func loads(script []byte) (names []string) {
	for _, word := range []string{"@load", "signature_files"} {
		for rest := script; ; {
			i := bytes.Index(rest, []byte(word))
			if i < 0 {
				break
			}
			before := rest[bytes.LastIndexByte(rest[:i], '\n')+1 : i]
			rest = rest[i+len(word):]
			line, _, _ := bytes.Cut(rest, []byte("\n"))
			switch {
			case bytes.IndexByte(before, '#') >= 0:
			case word == "@load":
				if f := bytes.Fields(line); len(f) > 1 && line[0] == '-' {
					names = append(names, string(f[1])) // @load-sigs
				} else if len(f) > 0 && line[0] != '-' {
					names = append(names, string(f[0]))
				}
			default:
				for i, s := range bytes.Split(line, []byte(`"`)) {
					if i%2 == 1 {
						names = append(names, string(s))
					}
				}
			}
		}
	}
	return names
}

// stays returns an error when a file below the roots may load something that is not below them.
func stays(roots []string) func(path string, size int64) error {
	below := func(path string) bool {
		return slices.ContainsFunc(roots, func(r string) bool {
			rel, err := filepath.Rel(r, path)
			return err == nil && filepath.IsLocal(rel)
		})
	}
	return func(path string, size int64) error {
		if ext := filepath.Ext(path); size > scriptSize {
			if ext == ".zeek" || ext == ".bro" || ext == "" {
				return errElsewhere
			}
			return nil // data, or a library
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil // nor can Zeek, or it will say so
		}
		for _, at := range loads(b) {
			switch {
			case filepath.IsAbs(at):
			case slices.Contains(strings.Split(at, "/"), ".."):
				at = filepath.Join(filepath.Dir(path), at)
			default:
				continue
			}
			if !below(at) {
				return fmt.Errorf("%s loads %s: %w", path, at, errElsewhere)
			}
		}
		return nil
	}
}

// parsed remembers which kinds of nodes had scripts that Zeek could parse, and what these looked like before it did. The zero value is
// empty. Safe for concurrent use.
type parsed struct {
	mu    sync.Mutex
	kinds map[string]imprint
}

// parsedKept bounds what is remembered; more are looked at again.
const parsedKept = 64

// holds reports whether a kind has parsed, and what it was read from looks the same now.
func (p *parsed) holds(kind string, now imprint) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was, ok := p.kinds[kind]
	return ok && was.hash == now.hash
}

func (p *parsed) add(kind string, was imprint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kinds == nil || len(p.kinds) >= parsedKept {
		p.kinds = map[string]imprint{}
	}
	p.kinds[kind] = was
}

// imprints are those of the trees that a check has looked at, by their roots.
type imprints map[string]*tree

// tree is what some roots have below.
type tree struct {
	roots   []string
	imprint imprint
	// stays is asked once: why something may be loaded from elsewhere, or nil.
	stays func() error
}

// of is what a launch is read from; nil where that cannot be told.
func (ps imprints) of(l launch.Launch, plugins string) *tree {
	roots, err := trees(l, plugins)
	if err != nil {
		return nil
	}
	key := strings.Join(roots, "\x00")
	if t, ok := ps[key]; ok {
		return t
	}
	var t *tree
	if p, err := lookAt(roots, nil); err == nil {
		t = &tree{roots: roots, imprint: p, stays: sync.OnceValue(func() error {
			_, err := lookAt(roots, stays(roots))
			return err
		})}
	}
	ps[key] = t
	return t
}
