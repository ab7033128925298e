package script

import (
	_ "embed"
	"os"
	"path/filepath"
	"strings"
)

// Prefix is where the stand-in claims to be installed. Nothing is there; names
// below it are looked up in the list of scripts that Zeek brings.
const Prefix = "/opt/zeek-stand-in/share/zeek"

// DefaultPath is the ZEEKPATH of a stand-in started without one.
const DefaultPath = ".:" + Prefix + ":" + Prefix + "/policy:" + Prefix + "/site:" + Prefix + "/builtin-plugins"

//go:embed builtin.txt
var builtinNames string

// Library finds scripts along a search path.
type Library struct {
	dirs    []string
	builtin map[string]bool // file names and folders below Prefix
}

// NewLibrary returns a library for the given ZEEKPATH; empty means DefaultPath.
// A path that is given replaces the default, as with Zeek: one without Prefix on
// it does not find base/init-bare.zeek.
func NewLibrary(zeekPath string) *Library {
	if zeekPath == "" {
		zeekPath = DefaultPath
	}
	l := &Library{dirs: strings.Split(zeekPath, ":"), builtin: make(map[string]bool)}
	for name := range strings.Lines(builtinNames + "site/local.zeek\nbuiltin-plugins/__load__.zeek\n") {
		name = strings.TrimSpace(name)
		l.builtin[name] = true
		for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
			l.builtin[dir] = true
		}
	}
	return l
}

// location is where a name led to.
type location struct {
	path    string // as Zeek shows it: "./x.zeek" when found through "."
	pkg     string // the folder, when the name led to one
	builtin bool   // an empty script below Prefix
}

// find looks a name up as Zeek does: absolute as it stands, "./" and "../" beside
// the script that asks, everything else in each folder of the path; in each place
// first with ".zeek" appended, then as it is. A folder stands for its
// __load__.zeek, and a folder without one is found all the same: that is Zeek's
// error to report, and find's caller's.
func (l *Library) find(name, from string) (location, bool) {
	switch {
	case filepath.IsAbs(name):
		return l.probe(name)
	case strings.HasPrefix(name, "./"), strings.HasPrefix(name, "../"):
		return l.probe(join(filepath.Dir(from), name))
	}
	for _, dir := range l.dirs {
		if at, ok := l.probe(join(dir, name)); ok {
			return at, true
		}
	}
	return location{}, false
}

func (l *Library) probe(path string) (location, bool) {
	for _, candidate := range []string{path + ".zeek", path} {
		if rel, ok := strings.CutPrefix(candidate, Prefix+"/"); ok && l.builtin[filepath.Clean(rel)] {
			return l.builtinAt(candidate), true
		}
		info, err := os.Stat(candidate)
		if err != nil {
			continue
		}
		if info.IsDir() {
			return location{path: join(candidate, "__load__.zeek"), pkg: candidate}, true
		}
		// What cannot be read is as good as absent to Zeek.
		if f, err := os.Open(candidate); err == nil {
			f.Close()
			return location{path: candidate}, true
		}
	}
	return location{}, false
}

func (l *Library) builtinAt(path string) location {
	rel := filepath.Clean(strings.TrimPrefix(path, Prefix+"/"))
	if !strings.HasSuffix(rel, ".zeek") {
		return location{path: join(path, "__load__.zeek"), pkg: path, builtin: l.builtin[rel+"/__load__.zeek"]}
	}
	return location{path: path, builtin: true}
}

// join is filepath.Join that keeps a leading "./", because Zeek shows it.
func join(dir, name string) string {
	joined := filepath.Join(dir, name)
	if dir == "." || strings.HasPrefix(dir, "./") {
		return "./" + joined
	}
	return joined
}
