package archive

import (
	"errors"
	"io"
	"io/fs"
	"time"
)

// Disk is all of a file system that the archiver uses. OS is the real one; tests have one that fails where it is told
// to, and forgets at a loss of power what was not synced. Errors are those of package os: errors.Is tells
// fs.ErrExist, fs.ErrNotExist, fs.ErrPermission and syscall's numbers apart.
type Disk interface {
	ReadDir(dir string) ([]fs.DirEntry, error)
	Lstat(path string) (fs.FileInfo, error)
	// Open for reading; it follows no symbolic link.
	Open(path string) (File, error)
	// Create a file that must not exist, for writing.
	Create(path string) (File, error)
	// Append opens a file for writing at its end, and makes it where it is missing.
	Append(path string) (File, error)
	Mkdir(dir string) error
	// Publish renames a file within its folder; the new name must not exist (fs.ErrExist).
	Publish(from, to string) error
	// Link gives a file another name, which must not exist (fs.ErrExist).
	Link(from, to string) error
	Remove(path string) error
	// SetTime sets when a file was written to last.
	SetTime(path string, at time.Time) error
	// SyncDir puts the names in a folder on disk.
	SyncDir(dir string) error
	// Space of the file system that a path, or what there is of it, is on.
	Space(path string) (Space, error)
	// Lock a folder for this process, until what is returned is closed; ErrBusy where another has it.
	Lock(dir string) (io.Closer, error)
	// Same reports whether two infos are of one file, unchanged.
	Same(a, b fs.FileInfo) bool
}

// File is an open file.
type File interface {
	io.ReadWriteCloser
	Stat() (fs.FileInfo, error)
	// Sync puts its content on disk.
	Sync() error
}

// Space of a file system, in bytes.
type Space struct {
	// Free is what the archiver may use of Total.
	Free  int64 `json:"free"`
	Total int64 `json:"total"`
	// Device tells file systems apart.
	Device uint64 `json:"-"`
}

// ErrBusy says that another archiver works on the queue.
var ErrBusy = errors.New("another archiver works on it")
