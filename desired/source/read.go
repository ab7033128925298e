package source

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

// Read looks once at a folder of NAME.cfg files, or at a single NAME.cfg with NAME/ beside it, and
// returns what is there now. It is for commands that answer and end: unlike Folder it does not wait for
// writers to finish, but it reads again what changed while it was being read.
//
// The error is an *Error, or ctx's. A file that is there and cannot be read is no error of Read's: it is
// in the snapshot, with its own Err. Read returns when ctx ends, even if the file system hangs.
func Read(ctx context.Context, path string) (*desired.Snapshot, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("cannot tell which folder %q is: %w", path, err)
	}
	done := make(chan *scan, 1)
	go func() {
		s := &scanner{path: abs}
		sc := s.scan(ctx)
		for range 9 {
			if sc.err != nil || !sc.torn() || !sleep(ctx, 20*time.Millisecond) {
				break
			}
			sc = s.scan(ctx)
		}
		done <- sc
	}()
	select {
	case sc := <-done:
		if sc.err != nil {
			return nil, sc.err
		}
		return sc.snapshot(abs), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// torn reports whether something changed while it was being read.
func (sc *scan) torn() bool {
	for _, si := range sc.files {
		if si.torn {
			return true
		}
	}
	return false
}

// snapshot takes a scan as it is. What changed under every look is marked as unreadable.
func (sc *scan) snapshot(path string) *desired.Snapshot {
	snap := &desired.Snapshot{URL: path, At: sc.began}
	for _, si := range sc.files {
		cf := si.file
		if si.torn {
			cf = busyFile(cf.Name, cf.File)
		}
		snap.Files = append(snap.Files, cf)
	}
	return snap
}

// busyFile stands for a cluster of which nothing whole has been seen.
func busyFile(name, file string) desired.ClusterFile {
	return desired.ClusterFile{Name: name, File: file, Err: &Error{
		Subject: file, Kind: Busy, Why: "it, or a file in " + name + "/, is still being written",
		Hint: "save it and close it where it is open for writing",
	}}
}

// sleep waits, and reports whether it did so to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
