//go:build !linux

package agent

import "errors"

// roomFor says whether a file system has room; only on Linux.
func roomFor(string, uint64) error {
	return errors.New("cannot ask for free space on this system: it takes Linux")
}
