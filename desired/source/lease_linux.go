package source

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// heldForWriting reports whether anybody has the file open for writing, as far as the system says so.
// A read lease can be had exactly while nobody has; it is given back at once, so that the most that
// a writer who opens the file in between feels is the microsecond until then. Where leases are not
// to be had (another's file without CAP_LEASE, many network file systems) the answer is no, and the
// other rules of settling have to do.
func heldForWriting(f *os.File) bool {
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	held := false
	_ = conn.Control(func(fd uintptr) {
		_, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK)
		held = errors.Is(err, unix.EAGAIN)
		if err == nil {
			_, _ = unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK)
		}
	})
	return held
}
