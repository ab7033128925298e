package archive

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// Full says that the archive takes nothing more until there is room; what waits stays in the queue.
type Full struct {
	Root  string
	Space Space
	Min   Share
	// Err is what the file system said, where it was met before the bound was.
	Err error
}

// Error says how much is free, and how much has to be.
func (f *Full) Error() string {
	if f.Err != nil {
		return fmt.Sprintf("the disk of %s is full: %v", f.Root, f.Err)
	}
	return fmt.Sprintf("the archive stops growing: %s are free at %s, and min_free is %s", f.Space, f.Root, f.Min)
}

// Unwrap returns what the file system said.
func (f *Full) Unwrap() error { return f.Err }

// String is "4.2% (1.3 GB)".
func (s Space) String() string {
	if s.Total == 0 {
		return Bytes(s.Free)
	}
	return fmt.Sprintf("%.1f%% (%s)", 100*float64(s.Free)/float64(s.Total), Bytes(s.Free))
}

// roominess is what the room on a disk asks for.
type roominess int

const (
	enough roominess = iota
	low              // less than half as much again as is to be free: a warning
	spent            // the archive stops growing
)

// reserve is what is left for others where the archive shrinks what is used: a temporary file needs room, too.
const reserve = 16 << 20

// judge reckons whether there is room for a log of a size. With shrinks, the log leaves the same file system when it is
// archived, and takes less room there than before: then archiving is what frees the disk, and goes on as long as there
// is room for the temporary file.
func judge(space Space, min Share, size int64, shrinks bool) roominess {
	floor := min.of(space.Total)
	switch {
	case shrinks && space.Free < size+reserve, !shrinks && floor > 0 && space.Free-size < floor:
		return spent
	case space.Free < floor+floor/2:
		return low
	}
	return enough
}

// makeRoom returns *Full where a log of a size may not be archived now.
func (a *Archiver) makeRoom(s *Settings, size int64) error {
	space, err := a.disk.Space(s.Root)
	if err != nil {
		return fmt.Errorf("cannot tell how much room there is: %w", err)
	}
	queue, err := a.disk.Space(a.queue)
	if err != nil {
		return fmt.Errorf("cannot tell how much room there is: %w", err)
	}
	packs := s.Compress != None || s.Filter != ""
	needed := size
	if packs {
		needed = size / 3 // conn logs take a fourth, the others less
	}
	r := judge(space, s.MinFree, needed, queue.Device == space.Device)
	a.tally.space(space, r, a.now())
	if r == spent {
		return &Full{Root: s.Root, Space: space, Min: s.MinFree}
	}
	return nil
}

// isFull reports whether an error is of a full disk.
func isFull(err error) bool {
	_, full := errors.AsType[*Full](err)
	return full || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// warnFirst is how long a warning of little room has been there before anything is deleted for it.
const warnFirst = time.Minute

// Bytes is a number of bytes for people: "3.4 GB".
func Bytes(n int64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1000, 0
	for f >= 999.5 && i < len(units)-1 {
		f, i = f/1000, i+1
	}
	if f < 10 {
		return fmt.Sprintf("%.1f %cB", f, units[i])
	}
	return fmt.Sprintf("%.0f %cB", f, units[i])
}
