// Package journal keeps the engine's records on disk: an append-only file of JSON lines, synced before
// an append returns, beside content-addressed objects.
//
//	<dir>/journal.jsonl       a line for every append: a record, or {"batch": […]} with several that belong
//	                          together; the first line may be a snapshot of the state before them
//	<dir>/journal.1.jsonl     the file before that, kept when the journal rolled
//	<dir>/objects/ab/abcd…    accepted cluster files, by the SHA-256 of their content
//	<dir>/lock                held by the one process that may append
//
// Invariants: a record that was acknowledged is there after kill -9 and after a loss of power; of what was
// appended together either all is there or nothing, because it is one line; a torn last line (the machine
// lost its power while writing) is dropped when the journal is opened, and any other line that cannot be
// read is an error that names the line, never silently skipped. A journal that cannot roll goes on in the
// file that it has, see RollError.
package journal

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// RollAt is the size at which the journal rolls (decisions 25).
const RollAt = 64 << 20

// The names of the journal's files.
const (
	current = "journal.jsonl"
	former  = "journal.1.jsonl"
)

// ErrLocked says that another process holds the state folder.
var ErrLocked = errors.New("another zeekrec holds the state folder")

// Journal is open for appending. Its methods may be called from several goroutines.
type Journal struct {
	dir    string
	limit  int64 // to roll at, when all is well
	rollAt int64
	lock   *os.File

	mu      sync.Mutex
	file    *os.File
	size    int64
	rollErr error         // why the last roll failed; nil when it did not
	state   *engine.State // the fold of what is on disk, for snapshots
	// torn says that file may have more than size bytes, unnamed that a loss of power may give its name back
	// to an older file. Either has to be mended before anything else is acknowledged.
	torn, unnamed bool
}

// line is how the journal is written: a record, several that belong together, or a snapshot.
type line struct {
	*engine.Record
	Batch    []*engine.Record `json:"batch,omitempty"`
	Snapshot *engine.State    `json:"snapshot,omitempty"`
}

// records of a line that is no snapshot.
func (l *line) records() []*engine.Record {
	if l.Record != nil {
		return []*engine.Record{l.Record}
	}
	return l.Batch
}

// Open takes the lock of a state folder, reads its journal and returns the state that it adds up to.
// The folder is made where it is missing. The error is ErrLocked where another process holds it.
func Open(dir string) (*Journal, *engine.State, error) {
	// Nodes may run as another user (user =), who has to get to his working folder; what is not for him has
	// modes of its own.
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, nil, fmt.Errorf("cannot make the state folder: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "objects"), 0o700); err != nil {
		return nil, nil, fmt.Errorf("cannot make the state folder: %w", err)
	}
	_ = syncDir(filepath.Dir(dir)) // it may be another's, which nobody else may read
	lock, err := Lock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, nil, err
	}
	j := &Journal{dir: dir, limit: RollAt, rollAt: RollAt, lock: lock}
	if err := j.open(); err != nil {
		_ = lock.Close()
		return nil, nil, err
	}
	return j, j.state.Copy(), nil
}

func (j *Journal) path() string { return filepath.Join(j.dir, current) }

func (j *Journal) open() error {
	j.clear()
	state, good, err := read(j.path(), nil)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(j.path(), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open the journal: %w", err)
	}
	j.file, j.size, j.state = f, good, state
	j.torn, j.unnamed = true, true // for all that is known
	if err := j.mend(); err != nil {
		_ = f.Close()
		return fmt.Errorf("cannot open the journal: %w", err)
	}
	return nil
}

// mend makes the file on disk what was acknowledged: no byte more, and under its name.
func (j *Journal) mend() error {
	if j.torn {
		if err := j.file.Truncate(j.size); err != nil {
			return fmt.Errorf("cannot cut off a torn end: %w", err)
		}
		if err := j.file.Sync(); err != nil {
			return fmt.Errorf("cannot cut off a torn end: %w", err)
		}
		j.torn = false
	}
	if j.unnamed {
		if err := syncDir(j.dir); err != nil {
			return err
		}
		j.unnamed = false
	}
	return nil
}

// Load reads the journal of a state folder without taking its lock, for a look from outside.
func Load(dir string) (*engine.State, error) {
	s, _, err := read(filepath.Join(dir, current), nil)
	return s, err
}

// read folds a file, calls each with every record, and returns how many bytes of the file are good.
func read(path string, each func(engine.Record) error) (*engine.State, int64, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return engine.NewState(), 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("cannot read the journal: %w", err)
	}
	defer f.Close()
	return fold(f, each)
}

// fold is read for an open file.
func fold(f *os.File, each func(engine.Record) error) (*engine.State, int64, error) {
	state := engine.NewState()
	r := bufio.NewReaderSize(f, 1<<16)
	var good int64
	for n := 1; ; n++ {
		b, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return state, good, nil // what has no line end was never acknowledged
		}
		if err != nil {
			return nil, 0, fmt.Errorf("cannot read the journal: %w", err)
		}
		var l line
		err = json.Unmarshal(b, &l)
		if err == nil && len(l.records()) == 0 && l.Snapshot == nil {
			err = errors.New("it has neither a record nor a snapshot")
		}
		if err != nil {
			if _, more := r.Peek(1); more == io.EOF {
				return state, good, nil // torn in the middle of the last sector
			}
			return nil, 0, fmt.Errorf("cannot read line %d of %s: %w (mend or remove the line; nothing was started or stopped)", n, f.Name(), err)
		}
		if l.Snapshot != nil {
			state = l.Snapshot
			state.Init()
		}
		for _, rec := range l.records() {
			state.Apply(*rec)
			if each == nil {
				continue
			}
			if err := each(*rec); err != nil {
				return nil, 0, err
			}
		}
		good += int64(len(b))
	}
}

// Append writes records and syncs them. They are numbered here, in place. Where it returns nil all of them
// are on disk; where it returns an error none is, not even after a loss of power in the middle. What
// hinders the journal from rolling does not fail an append, for its records are written by then.
func (j *Journal) Append(_ context.Context, rs ...*engine.Record) error {
	if len(rs) == 0 {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.mend(); err != nil {
		return fmt.Errorf("cannot write the journal: %w", err)
	}
	seq := j.state.Seq
	for _, r := range rs {
		seq++
		r.Seq = seq
	}
	l := line{Batch: rs}
	if len(rs) == 1 {
		l = line{Record: rs[0]}
	}
	b, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("cannot write the journal: %w", err)
	}
	b = append(b, '\n')
	_, err = j.file.Write(b)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		j.torn = true
		_ = j.mend() // or before the next append
		return fmt.Errorf("cannot write the journal: %w", err)
	}
	j.size += int64(len(b))
	for _, r := range rs {
		j.state.Apply(*r)
	}
	if j.size > j.rollAt {
		j.roll()
	}
	return nil
}

// Close gives the lock back.
func (j *Journal) Close() error {
	return errors.Join(j.file.Close(), j.lock.Close())
}

// History calls each with every record that is still on disk, oldest first and once, until it returns an
// error.
func History(dir string, each func(engine.Record) error) error {
	// The newer is opened first: where the journal rolls in between, both are the same file, and no
	// record is missed.
	var files []*os.File
	for _, name := range []string{current, former} {
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot read the journal: %w", err)
		}
		defer f.Close()
		files = append(files, f)
	}
	var last int64
	for _, f := range slices.Backward(files) {
		_, _, err := fold(f, func(r engine.Record) error {
			if r.Seq <= last {
				return nil // read in the other file
			}
			last = r.Seq
			return each(r)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
