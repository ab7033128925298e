package source

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// Kind says in a word why something could not be read; it is stable and fit for metrics.
type Kind string

// The kinds of errors. The first eight are of the source as a whole, the rest of one cluster's files;
// Unreadable and Loop are of either.
const (
	Missing      Kind = "missing"      // nothing is at the path
	Unreadable   Kind = "unreadable"   // permission, I/O error
	Loop         Kind = "loop"         // symlinks that lead in a circle
	NotAFolder   Kind = "not-a-folder" // something else is at the path
	Unmounted    Kind = "unmounted"    // an empty file system is where a filled one was
	Unresponsive Kind = "unresponsive" // the file system does not answer
	Unstable     Kind = "unstable"     // the folder was replaced again and again while being read
	TooMany      Kind = "too-many"     // more clusters than a folder may hold

	Dangling Kind = "dangling"   // a symlink to nothing
	Outside  Kind = "outside"    // a symlink that leaves the source folder
	NotAFile Kind = "not-a-file" // a pipe, a socket, a device
	TooLarge Kind = "too-large"  // beyond the bounds
	Busy     Kind = "busy"       // still being written, and nothing settled is known of it
)

// Error says what could not be read, why, and the way out. Its text is the same each time for the same
// state of affairs, so that a state that lasts is not taken for news.
type Error struct {
	// Subject is what could not be read, in words: "the source /etc/zeek/clusters", "dmz.cfg".
	Subject string
	Kind    Kind
	// Why, in words.
	Why string
	// Hint is the way out.
	Hint string
	// Err is the cause; nil where the system did not object.
	Err error
}

// Error is "cannot read SUBJECT: WHY (HINT)".
func (e *Error) Error() string {
	s := fmt.Sprintf("cannot read %s: %s", e.Subject, e.Why)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Unwrap gives the system's error.
func (e *Error) Unwrap() error { return e.Err }

// sourceError explains why the source at path cannot be read.
func sourceError(path string, err error) *Error {
	e := &Error{Subject: "the source " + path, Kind: Unreadable, Why: cause(err).Error(), Err: err}
	switch {
	case errors.Is(err, syscall.ELOOP):
		e.Kind, e.Why = Loop, "its symlinks lead in a circle"
		e.Hint = "put the folder back, or let the symlink lead to it"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ESTALE):
		e.Kind, e.Why = Missing, "it does not exist"
		e.Hint = "put it back, or mount the disk that it is on"
	case errors.Is(err, syscall.ENOTDIR):
		e.Kind, e.Why = NotAFolder, "it, or something above it, is not a folder"
		e.Hint = "put the folder back in its place"
	case errors.Is(err, fs.ErrPermission):
		e.Why = "permission denied"
		e.Hint = "let zeekrec's user list and enter it: chmod u+rx, and x on the folders above it"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		e.Hint = "raise the limit of open files: LimitNOFILE= or ulimit -n"
	}
	return e
}

// fileError explains why a file of a cluster cannot be read. name is relative to the source folder;
// isLink says whether a symlink is there.
func fileError(name string, isLink bool, err error) *Error {
	e := &Error{Subject: name, Kind: Unreadable, Why: cause(err).Error(), Err: err}
	_, fromSystem := errors.AsType[syscall.Errno](err)
	switch {
	case errors.Is(err, syscall.ELOOP):
		e.Kind, e.Why = Loop, "its symlinks lead in a circle"
		e.Hint = "replace the symlink by the file"
	case isLink && errors.Is(err, fs.ErrNotExist):
		e.Kind, e.Why = Dangling, "it is a symlink to something that does not exist"
		e.Hint = "put its target back, or remove the symlink if the file is to go"
	case !fromSystem && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission):
		// os.Root has no exported error for this; all that it refuses by itself is leaving the folder.
		e.Kind, e.Why = Outside, "it is a symlink that is absolute or leaves the source folder"
		e.Hint = "keep what it points to inside the folder, and make the symlink relative"
	case errors.Is(err, fs.ErrPermission):
		e.Why = "permission denied"
		e.Hint = "let zeekrec's user read it: chmod u+r, or g+r and its group"
	}
	return e
}

// cause strips the operation and the path, which the sentence around it already says.
func cause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
