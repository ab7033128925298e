package api

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
)

// maxPath is how long the path of a Unix socket may be on Linux.
const maxPath = 107

// SocketPath is the socket in a state folder.
func SocketPath(stateDir string) string { return filepath.Join(stateDir, "zeekrec.sock") }

// CheckPath says whether a socket can have this path, and if not, the way out.
func CheckPath(path string) error {
	if n := len(path); n > maxPath {
		return fmt.Errorf("cannot use the socket %s: its path has %d bytes, and the system takes %d; choose a shorter --state-dir", path, n, maxPath)
	}
	return nil
}

// Listen opens the socket for its owner alone. The caller holds the state folder, so a socket that is
// there was left by a process that has ended, and is replaced.
func Listen(path string) (net.Listener, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("cannot listen at %s: something else is there", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot remove the old socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	// The folder is 0700, so nobody else got in before this.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot protect the socket: %w", err), l.Close())
	}
	return l, nil
}
