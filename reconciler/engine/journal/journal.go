// Package journal keeps the engine's records on disk: an append-only file of JSON lines, synced before
// an append returns, beside content-addressed objects.
//
//	<dir>/journal.jsonl       the records; the first line may be a snapshot of the state before them
//	<dir>/journal.1.jsonl     the file before that, kept when the journal rolled
//	<dir>/objects/ab/abcd…    accepted cluster files, by the SHA-256 of their content
//	<dir>/lock                held by the one process that may append
//
// Invariants: a record that was acknowledged is there after kill -9; a torn last line (the machine lost
// its power while writing) is dropped when the journal is opened, and any other line that cannot be
// read is an error that names the line, never silently skipped.
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
	"sync"

	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// RollAt is the size at which the journal rolls (decisions 25).
const RollAt = 64 << 20

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
	lock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, nil, err
	}
	j := &Journal{dir: dir, limit: RollAt, rollAt: RollAt, lock: lock}
	if err := j.open(); err != nil {
		_ = lock.Close()
		return nil, nil, err
	}
	return j, clone(j.state), nil
}

func (j *Journal) path() string { return filepath.Join(j.dir, "journal.jsonl") }

func (j *Journal) open() error {
	state, good, err := read(j.path(), nil)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(j.path(), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open the journal: %w", err)
	}
	if err := f.Truncate(good); err != nil {
		_ = f.Close()
		return fmt.Errorf("cannot cut the torn end off the journal: %w", err)
	}
	j.file, j.size, j.state = f, good, state
	if err := syncDir(j.dir); err != nil {
		return fmt.Errorf("cannot open the journal: %w", err)
	}
	return nil
}

// Load reads the journal of a state folder without taking its lock, for a look from outside.
func Load(dir string) (*engine.State, error) {
	s, _, err := read(filepath.Join(dir, "journal.jsonl"), nil)
	return s, err
}

// read folds a file, calls each with every record, and returns how many bytes of the file are good.
func read(path string, each func(engine.Record) error) (*engine.State, int64, error) {
	state := engine.NewState()
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return state, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("cannot read the journal: %w", err)
	}
	defer f.Close()

	r := bufio.NewReaderSize(f, 1<<16)
	var good int64
	for n := 1; ; n++ {
		b, err := r.ReadBytes('\n')
		if err == io.EOF {
			return state, good, nil // what has no line end was never acknowledged
		}
		if err != nil {
			return nil, 0, fmt.Errorf("cannot read the journal: %w", err)
		}
		var l line
		if err := json.Unmarshal(b, &l); err != nil {
			if _, more := r.Peek(1); more == io.EOF {
				return state, good, nil // torn in the middle of the last sector
			}
			return nil, 0, fmt.Errorf("cannot read line %d of %s: %w (mend or remove the line; nothing was started or stopped)", n, path, err)
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

// Append writes records and syncs them. They are numbered here, in place. Several are one line: either all
// are on disk when it returns, or, whatever happens to the machine, none.
func (j *Journal) Append(_ context.Context, rs ...*engine.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, r := range rs {
		r.Seq = j.state.Seq + int64(i) + 1
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
	if _, err := j.file.Write(b); err != nil {
		_ = j.file.Truncate(j.size)
		return fmt.Errorf("cannot write the journal: %w", err)
	}
	if err := j.file.Sync(); err != nil {
		_ = j.file.Truncate(j.size)
		return fmt.Errorf("cannot write the journal: %w", err)
	}
	j.size += int64(len(b))
	for _, r := range rs {
		j.state.Apply(*r)
	}
	if j.size > j.rollAt {
		// What was asked for is done, whether or not the file can be rolled. Another try after a while.
		if j.rollErr = j.roll(); j.rollErr != nil {
			j.rollAt = j.size + RollAt/64
		} else {
			j.rollAt = max(j.limit, 2*j.size)
		}
	}
	return nil
}

// RollError is why the journal grows beyond its bound; nil when it does not.
func (j *Journal) RollError() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.rollErr
}

// roll begins a new file with a snapshot, and keeps the old one. The new file is complete and open before it
// takes the old one's place, so that a failure at any step leaves the journal as it was.
func (j *Journal) roll() error {
	b, err := json.Marshal(line{Snapshot: j.state})
	if err != nil {
		return fmt.Errorf("cannot roll the journal: %w", err)
	}
	b = append(b, '\n')
	next := j.path() + ".new"
	f, err := os.OpenFile(next, os.O_CREATE|os.O_TRUNC|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("cannot roll the journal: %w", err)
	}
	fail := func(err error) error {
		_ = f.Close()
		_ = os.Remove(next)
		return fmt.Errorf("cannot roll the journal: %w", err)
	}
	if _, err := f.Write(b); err != nil {
		return fail(err)
	}
	if err := f.Sync(); err != nil {
		return fail(err)
	}
	old := filepath.Join(j.dir, "journal.1.jsonl")
	if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail(err)
	}
	if err := os.Link(j.path(), old); err != nil {
		return fail(err)
	}
	if err := os.Rename(next, j.path()); err != nil {
		return fail(err)
	}
	_ = j.file.Close()
	j.file, j.size = f, int64(len(b))
	return syncDir(j.dir)
}

// syncDir makes the names in a folder survive a loss of power.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Close gives the lock back.
func (j *Journal) Close() error {
	return errors.Join(j.file.Close(), j.lock.Close())
}

// History calls each with every record that is still on disk, once, oldest first, until it returns an error.
func History(dir string, each func(engine.Record) error) error {
	var last int64
	once := func(r engine.Record) error {
		if r.Seq <= last {
			return nil // in both files: a roll was interrupted
		}
		last = r.Seq
		return each(r)
	}
	for _, name := range []string{"journal.1.jsonl", "journal.jsonl"} {
		if _, _, err := read(filepath.Join(dir, name), once); err != nil {
			return err
		}
	}
	return nil
}

func clone(s *engine.State) *engine.State {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a State is made of plain values
	}
	c := &engine.State{}
	if err := json.Unmarshal(b, c); err != nil {
		panic(err)
	}
	c.Init()
	return c
}
