package archive

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// OS is the machine's file system.
type OS struct{}

// ReadDir is os.ReadDir.
func (OS) ReadDir(dir string) ([]fs.DirEntry, error) { return os.ReadDir(dir) }

// Lstat is os.Lstat.
func (OS) Lstat(path string) (fs.FileInfo, error) { return os.Lstat(path) }

// Open a file for reading.
func (OS) Open(path string) (File, error) {
	// Not to wait for the other end of a pipe that somebody put in the place of a log.
	return file(os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0))
}

// Create a file.
func (OS) Create(path string) (File, error) {
	return file(os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o664))
}

// Append to a file.
func (OS) Append(path string) (File, error) {
	return file(os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, 0o664))
}

func file(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// osFile leaves nothing in the page cache: that belongs to who captures. What is read again after Sync is read from the
// disk, so.
type osFile struct{ *os.File }

func (f osFile) Sync() error {
	err := f.File.Sync()
	f.forget()
	return err
}

func (f osFile) Close() error {
	f.forget()
	return f.File.Close()
}

// forget is a wish; some file systems do not hear it.
func (f osFile) forget() { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }

// Mkdir is os.Mkdir.
func (OS) Mkdir(dir string) error { return os.Mkdir(dir, 0o775) }

// Publish is a rename that replaces nothing. Where the file system has no such call (NFS), it is a link and an unlink:
// a crash between the two leaves both names.
func (d OS) Publish(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
		if err := d.Link(from, to); err != nil {
			return err
		}
		return os.Remove(from)
	}
	return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
}

// Link is os.Link.
func (OS) Link(from, to string) error { return os.Link(from, to) }

// Remove is os.Remove.
func (OS) Remove(path string) error { return os.Remove(path) }

// SetTime is os.Chtimes.
func (OS) SetTime(path string, at time.Time) error { return os.Chtimes(path, at, at) }

// SyncDir puts the names in a folder on disk.
func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Space of the file system that a path is on, or the nearest folder above it that exists.
func (OS) Space(path string) (Space, error) {
	for {
		var fsys unix.Statfs_t
		var st unix.Stat_t
		err := unix.Stat(path, &st)
		if err == nil {
			err = unix.Statfs(path, &fsys)
		}
		if err == nil {
			size := int64(fsys.Frsize) //nolint:unconvert // 32 bits on some machines
			return Space{Free: int64(fsys.Bavail) * size, Total: int64(fsys.Blocks) * size, Device: st.Dev}, nil
		}
		up := filepath.Dir(path)
		if !errors.Is(err, unix.ENOENT) || up == path {
			return Space{}, &os.PathError{Op: "statfs", Path: path, Err: err}
		}
		path = up
	}
}

// Lock takes the lock of the folder itself, so that no file is left in it.
func (OS) Lock(dir string) (io.Closer, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		d.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrBusy
		}
		return nil, err
	}
	return d, nil
}

// Same compares device, inode, size and time of the last write.
func (OS) Same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// queuedAt is when a file came to its folder, as far as that can be told: a rename sets the time of the inode's change.
func queuedAt(info fs.FileInfo) time.Time {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(st.Ctim.Unix())
	}
	return info.ModTime()
}
