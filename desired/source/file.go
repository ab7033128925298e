package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// read reads one regular file whole, and notes whether it is being written.
func (g *glimpse) read(at string, isLink bool, limit int64, prev []byte) (data []byte, exec bool, err error) {
	f, err := g.open(at)
	if errors.Is(err, fs.ErrNotExist) && !isLink {
		g.torn = true // gone since the last line; the next look sees what has become of it
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fileError(at, isLink, err)
	}
	defer func() { _ = f.Close() }()
	before, err := f.Stat()
	if err != nil {
		return nil, false, fileError(at, isLink, err)
	}
	if g.left < limit {
		limit = g.left // of the source as a whole
	}
	if before.Size() <= limit {
		data, err = g.slurp(f, before.Size(), limit)
	}
	if err != nil {
		return nil, false, fileError(at, isLink, err)
	}
	if before.Size() > limit || int64(len(data)) > limit {
		return nil, false, &Error{
			Subject: at, Kind: TooLarge, Why: fmt.Sprintf("it is larger than %d MiB, or the source is larger than %d MiB", MaxFileBytes>>20, MaxBytes>>20),
			Hint: "see whether it is what it should be",
		}
	}
	g.left -= int64(len(data))
	// A writer who is there after the reading is seen by the lease; one who came and went during it, by
	// the times. What slips through both is seen by the next scan, which reads again.
	held := heldForWriting(f)
	after, err := f.Stat()
	if err != nil {
		return nil, false, fileError(at, isLink, err)
	}
	if held {
		g.busy = at
	}
	if !after.ModTime().Equal(before.ModTime()) || after.Size() != int64(len(data)) {
		g.torn = true
	}
	exec = after.Mode()&0o111 != 0
	fmt.Fprintf(g.stamp, "%s\x00%d\x00%d\x00", at, after.Size(), after.ModTime().UnixNano())
	if prev != nil && bytes.Equal(data, prev) {
		return prev, exec, nil
	}
	return bytes.Clone(data), exec, nil
}

// slurp reads all of f, or a byte more than limit, into the scanner's buffer.
func (s *scanner) slurp(f *os.File, size, limit int64) ([]byte, error) {
	if int64(cap(s.buf)) <= size {
		s.buf = make([]byte, size+1)
	}
	buf := s.buf[:0]
	for {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, 1)
			s.buf = buf[:0]
		}
		n, err := f.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) || int64(len(buf)) > limit {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// stat and open follow symlinks, but not out of the folder. What is opened is never waited for: a
// pipe that takes the file's place between the two is just not read.
func (g *glimpse) stat(at string) (fs.FileInfo, error) {
	if g.isGiven(at) {
		return os.Stat(g.asGiven)
	}
	return g.root.Stat(at)
}

func (g *glimpse) open(at string) (*os.File, error) {
	if g.isGiven(at) {
		return os.OpenFile(g.asGiven, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	}
	return g.root.OpenFile(at, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

func (g *glimpse) isGiven(at string) bool { return g.asGiven != "" && at == filepath.Base(g.asGiven) }
