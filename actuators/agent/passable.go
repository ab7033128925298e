package agent

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// passable checks that a user gets as far as dir, through every folder above it that is there. Without that
// Zeek finds none of its scripts, and would blame the revision for it. A nil user is zeekrec's own.
func passable(dir string, who *syscall.Credential) error {
	if who == nil {
		return nil
	}
	var path []string
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		path = append(path, d)
		if d == filepath.Dir(d) {
			break
		}
	}
	for _, d := range slices.Backward(path) {
		info, err := os.Stat(d)
		if err != nil {
			return nil // not made yet: it will be made passable
		}
		if !mayEnter(info, who) {
			return fmt.Errorf("user %d cannot enter %s (mode %04o): chmod o+x %s, or another --state-dir", who.Uid, d, info.Mode().Perm(), d)
		}
	}
	return nil
}

// mayEnter judges by the mode, as the kernel does: the first of owner, group and others that fits decides.
func mayEnter(info fs.FileInfo, who *syscall.Credential) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	switch mode := info.Mode(); {
	case !ok:
		return true
	case s.Uid == who.Uid:
		return mode&0o100 != 0
	case s.Gid == who.Gid || slices.Contains(who.Groups, s.Gid):
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}
