package agent

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// roomFor says whether the file system of a folder has the bytes free for whoever asks.
func roomFor(dir string, bytes uint64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("cannot ask for free space: %w", err)
	}
	if free := s.Bavail * uint64(s.Bsize); free < bytes {
		return fmt.Errorf("the disk of %s has %d MiB free, and %d MiB are needed", dir, free>>20, bytes>>20)
	}
	return nil
}
