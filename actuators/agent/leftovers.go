package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zeekrec/zeekrec/actuators/archive/logname"
)

// shadowLimit is how much of a shadow file is read: it has two short lines.
const shadowLimit = 4096

// sweepLeftovers moves the logs that a logger called name left in dir into the queue, by the rule that Zeek itself follows at
// its next start (LogAscii::enable_leftover_log_rotation): every log with a shadow file beside it. Both folders are on one
// file system. Times in names are in the logger's location. It returns how many logs were moved; one that cannot be does not
// keep the others.
func sweepLeftovers(dir, queue, name string, in *time.Location) (moved int, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	var all []error
	for _, e := range entries {
		log, ok := logname.ShadowOf(e.Name())
		if !ok || !e.Type().IsRegular() {
			continue
		}
		done, err := sweepLeftover(dir, log, queue, name, in)
		if done {
			moved++
		}
		all = append(all, err)
	}
	return moved, errors.Join(append(all, err)...)
}

func sweepLeftover(dir, log, queue, name string, in *time.Location) (bool, error) {
	from, shadow := filepath.Join(dir, log), filepath.Join(dir, ".shadow."+log)
	opened, err := os.Lstat(shadow)
	if err != nil {
		return false, err
	}
	written, err := os.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return false, os.Remove(shadow) // there was a log; it was rotated
	}
	if err != nil || !written.Mode().IsRegular() {
		return false, err
	}
	text := make([]byte, shadowLimit)
	f, err := os.Open(shadow)
	if err != nil {
		return false, err
	}
	n, _ := f.Read(text)
	f.Close()
	if err := os.MkdirAll(queue, 0o755); err != nil {
		return false, err
	}
	r := logname.Leftover(log, text[:n], changedAt(opened).In(in), written.ModTime().In(in), name)
	// Zeek would overwrite a log of that name. A second later is another one.
	for range 60 {
		to := filepath.Join(queue, logname.Zeek.Name(r))
		err = unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // a file system without the call
			if err = os.Link(from, to); err == nil {
				err = os.Remove(from)
			}
		}
		if !errors.Is(err, fs.ErrExist) {
			break
		}
		r.Close = r.Close.Add(time.Second)
	}
	if err != nil {
		return false, &os.PathError{Op: "rotate", Path: from, Err: err}
	}
	return true, os.Remove(shadow)
}

// changedAt is when an inode was changed last: Zeek takes it for the time at which a shadow file was made.
func changedAt(info fs.FileInfo) time.Time {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(st.Ctim.Unix())
	}
	return info.ModTime()
}
