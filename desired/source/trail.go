package source

import (
	"os"
	"path/filepath"
	"strings"
)

// A step is a name in a folder by which a path leads on.
type step struct {
	dir  string // without symlinks
	name string
}

// maxLinks that a path may lead through, as the kernel has it.
const maxLinks = 40

// trail returns the steps that decide where an absolute path leads: each symlink on the way, the last
// name, or the first that does not exist. Watching these names in these folders tells of every way in
// which the path may come to mean something else, except that a folder above it is renamed.
//
//	/git/current/clusters, /git/current -> .worktrees/7f3  =>  {/git current} {/git/.worktrees/7f3 clusters}
func trail(path string) []step {
	var steps []step
	dir, rest, links := string(filepath.Separator), parts(path), 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			dir = filepath.Dir(dir)
			continue
		}
		at := filepath.Join(dir, name)
		fi, err := os.Lstat(at)
		isLink := err == nil && fi.Mode()&os.ModeSymlink != 0
		if err != nil || isLink || len(rest) == 0 {
			steps = append(steps, step{dir, name})
		}
		if err != nil {
			return steps
		}
		if !isLink {
			dir = at
			continue
		}
		target, err := os.Readlink(at)
		if links++; err != nil || links > maxLinks {
			return steps
		}
		if filepath.IsAbs(target) {
			dir = string(filepath.Separator)
		}
		rest = append(parts(target), rest...)
	}
	return steps
}

// parts splits a path into its names. ".." stays: what it means depends on the symlinks before it.
func parts(path string) []string {
	var names []string
	for name := range strings.SplitSeq(path, string(filepath.Separator)) {
		if name != "" && name != "." {
			names = append(names, name)
		}
	}
	return names
}
