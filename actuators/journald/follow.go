package journald

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// chunk is how much is read at once; a longer line is sent in pieces of it.
	chunk = 48 << 10
	// chunksAtOnce bounds one Step, so that a node that says much lets others speak.
	chunksAtOnce = 8
)

// Suffix of the file beside an output that has how far it was sent.
const Suffix = ".journaled"

// Config of a Follower.
type Config struct {
	// Path of the output file. It need not be there yet.
	Path   string
	Source Source
	// Marks tells of a line whether it says that from here on another process writes, and which; nil: none does.
	Marks func(line string) (pid int, ok bool)
	// Priority of a line; nil: Info.
	Priority func(line string) Priority
	// Bounding is held by whoever moves the file's content to its predecessor, PATH.1, as process.RotateOutput does, and by the
	// follower while it reads, never while it sends; nil: nobody does that while the follower runs.
	Bounding sync.Locker
}

// Follower sends what is added to one output file. It is to be used by one goroutine.
type Follower struct {
	cfg   Config
	at    position
	place *os.File // of at

	// leaving is the predecessor that at.offset is in, while what the file was emptied of is sent; 0: it is in the file.
	leaving uint64
}

// Follow begins with what is added from now on; where the file was followed before, with what was added since.
func Follow(cfg Config) (*Follower, error) {
	if cfg.Marks == nil {
		cfg.Marks = func(string) (int, bool) { return 0, false }
	}
	if cfg.Priority == nil {
		cfg.Priority = func(string) Priority { return Info }
	}
	if cfg.Bounding == nil {
		cfg.Bounding = &sync.Mutex{}
	}
	f := &Follower{cfg: cfg}
	if err := f.open(); err != nil {
		return nil, fmt.Errorf("cannot follow an output: %w", err)
	}
	return f, nil
}

func (f *Follower) open() error {
	place, err := os.OpenFile(f.cfg.Path+Suffix, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	f.place = place
	at, known, err := readPosition(place)
	if err == nil && known {
		f.at = at
		return nil
	}
	if err == nil {
		err = f.begin()
	}
	if err != nil {
		_ = place.Close()
	}
	return err
}

// begin behind what is in the file.
func (f *Follower) begin() error {
	f.cfg.Bounding.Lock()
	defer f.cfg.Bounding.Unlock()
	info, err := os.Stat(f.cfg.Path)
	switch {
	case err == nil:
		f.at.offset = info.Size()
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	f.at.before = f.predecessor()
	return f.keep()
}

// Close ends it; another one may go on where this one stopped.
func (f *Follower) Close() error { return f.place.Close() }

// Step sends what was added, in whole lines; more says that there may be more. pid is the process that writes where no mark has told.
// After an error it is where it was, and may be called again.
func (f *Follower) Step(ctx context.Context, to Sender, pid int) (more bool, err error) {
	for range chunksAtOnce {
		lines, err := f.look()
		if err != nil {
			return false, fmt.Errorf("cannot follow an output: %w", err)
		}
		if len(lines) == 0 {
			return false, nil
		}
		for line := range bytes.Lines(lines) {
			if err := f.send(ctx, to, line, pid); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// look returns what comes next, in whole lines.
func (f *Follower) look() ([]byte, error) {
	f.cfg.Bounding.Lock()
	defer f.cfg.Bounding.Unlock()
	info, err := os.Stat(f.cfg.Path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	before := f.predecessor()
	switch {
	case f.leaving != 0 && before != f.leaving: // once more: what is left of the one before is in a file that has another name now
		f.at.offset, f.leaving = 0, before
	case f.leaving == 0 && before != 0 && (before != f.at.before || info.Size() < f.at.offset):
		f.leaving = before
		if f.at.offset, err = offsetIn(f.cfg.Path+".1", f.at.offset); err != nil {
			return nil, err
		}
	case f.leaving == 0 && info.Size() < f.at.offset: // emptied by somebody else
		f.at.offset = 0
	}
	if f.leaving != 0 {
		b, err := read(f.cfg.Path+".1", f.at.offset, true)
		if err != nil || len(b) > 0 {
			return b, err
		}
		f.leaving, f.at.offset, f.at.before = 0, 0, before
		if err := f.keep(); err != nil {
			return nil, err
		}
	}
	return read(f.cfg.Path, f.at.offset, false)
}

// predecessor of the file, by its inode; 0: there is none.
func (f *Follower) predecessor() uint64 {
	var st unix.Stat_t
	if err := unix.Stat(f.cfg.Path+".1", &st); err != nil {
		return 0
	}
	return st.Ino
}

// offsetIn the predecessor of what was at an offset in the file: the predecessor may have its end alone, and says so then.
func offsetIn(path string, offset int64) (int64, error) {
	head, err := read(path, 0, true)
	if err != nil {
		return 0, err
	}
	line, _, _ := bytes.Cut(head, []byte("\n"))
	var dropped int64
	if _, err := fmt.Sscanf(string(line), "# zeekrec: %d bytes dropped here", &dropped); err != nil {
		return offset, nil
	}
	if offset < dropped {
		return 0, nil // with the line that says so
	}
	return offset - dropped + int64(len(line)) + 1, nil
}

// read whole lines of a file from an offset; to the end, finished or not, where nothing is added to it any more.
func read(path string, offset int64, finished bool) ([]byte, error) {
	in, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer in.Close()
	b := make([]byte, chunk)
	n, err := in.ReadAt(b, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	whole := bytes.LastIndexByte(b[:n], '\n') + 1
	if whole == 0 && (n == len(b) || finished) {
		whole = n // a line that is longer, or was cut
	}
	return b[:whole], nil
}

// send sends one line, with its end, and keeps that.
func (f *Follower) send(ctx context.Context, to Sender, line []byte, pid int) error {
	text := strings.ToValidUTF8(strings.TrimRight(string(line), "\r\n"), "\uFFFD")
	at := f.at
	at.offset += int64(len(line))
	if p, ok := f.cfg.Marks(text); ok {
		at.pid = p
	}
	if strings.TrimSpace(text) != "" {
		e := Entry{Source: f.cfg.Source, PID: at.pid, Priority: f.cfg.Priority(text), Line: text}
		if e.PID == 0 {
			e.PID = pid
		}
		if err := to.Send(ctx, e); err != nil {
			return err
		}
	}
	f.at = at
	return f.keep()
}

func (f *Follower) keep() error {
	if _, err := f.place.WriteAt(f.at.bytes(), 0); err != nil {
		return fmt.Errorf("cannot keep how far an output was sent: %w", err)
	}
	return nil
}
