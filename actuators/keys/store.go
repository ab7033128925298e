package keys

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"
)

// Store is the keys folder of a state folder. It remembers nothing: each call reads the file anew.
type Store struct {
	dir string
	mu  sync.Mutex // over everything that changes a file
}

// Open returns the store of a state folder. Nothing is read or made yet.
func Open(stateDir string) *Store { return &Store{dir: filepath.Join(stateDir, "keys")} }

// ErrRotating is why keys are not rotated: there are keys from before the last rotation still.
var ErrRotating = errors.New("a rotation is under way, and the keys before it are still accepted")

// Damaged says that a file of keys cannot be used. Nothing of its content is in the text.
type Damaged struct {
	Path string
	Err  error
}

// Error names the file and what is wrong.
func (d *Damaged) Error() string {
	return fmt.Sprintf("cannot use the keys in %s: %v", d.Path, d.Err)
}

// Unwrap gives the cause.
func (d *Damaged) Unwrap() error { return d.Err }

// maxFile bounds what is read of a file, in bytes: two generations take under 1 KiB.
const maxFile = 64 << 10

// path of a cluster's file.
func (s *Store) path(cluster string) (string, error) {
	if cluster == "" || strings.HasPrefix(cluster, ".") || len(cluster) > 200 || strings.ContainsAny(cluster, "/\\\x00") {
		return "", fmt.Errorf("cannot keep keys for %q: that is no name of a cluster", cluster)
	}
	return filepath.Join(s.dir, cluster+".json"), nil
}

// List has all generations of a cluster, the one to use first; none where there is no file.
func (s *Store) List(cluster string) ([]Pair, error) {
	path, err := s.path(cluster)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the keys of %s: %w", cluster, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the keys of %s: %w", cluster, err)
	}
	if len(b) > maxFile {
		return nil, &Damaged{path, errors.New("it is too large")}
	}
	pairs, err := Decode(b)
	if err != nil {
		return nil, &Damaged{path, err}
	}
	return pairs, nil
}

// Clusters that have keys, sorted.
func (s *Store) Clusters() ([]string, error) {
	es, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot list the keys: %w", err)
	}
	var out []string
	for _, e := range es {
		if name, ok := strings.CutSuffix(e.Name(), ".json"); ok && name != "" && !strings.HasPrefix(name, ".") {
			out = append(out, name)
		}
	}
	return out, nil
}

// IDs of a cluster's keys, those to use first; none where it has none.
func (s *Store) IDs(cluster string) ([]string, error) {
	pairs, err := s.List(cluster)
	if err != nil {
		return nil, err
	}
	var ids []string
	for i := range pairs {
		ids = append(ids, pairs[i].ID)
	}
	return ids, nil
}

// Get returns the keys with an id.
func (s *Store) Get(cluster, id string) (Pair, error) {
	pairs, err := s.List(cluster)
	if err != nil {
		return Pair{}, err
	}
	for _, p := range pairs {
		if p.ID == id {
			return p, nil
		}
	}
	return Pair{}, fmt.Errorf("cannot find the keys %s of %s in %s", id, cluster, s.dir)
}

// Ensure makes keys for a cluster that has none, and returns the id of those to use.
func (s *Store) Ensure(cluster string) (id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pairs, err := s.List(cluster)
	if err != nil {
		return "", err
	}
	if len(pairs) > 0 {
		return pairs[0].ID, nil
	}
	return s.add(cluster, nil)
}

// Rotate makes new keys, to be used from now on; those before are still there, until Retire. Where there are
// several already, it is ErrRotating.
func (s *Store) Rotate(cluster string) (id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pairs, err := s.List(cluster)
	if err != nil {
		return "", err
	}
	if len(pairs) > 1 {
		return "", ErrRotating
	}
	return s.add(cluster, pairs)
}

// add puts new keys before those that there are.
func (s *Store) add(cluster string, pairs []Pair) (string, error) {
	p, err := NewPair(time.Now())
	if err != nil {
		return "", err
	}
	if err := s.write(cluster, append([]Pair{p}, pairs...)); err != nil {
		return "", err
	}
	return p.ID, nil
}

// Retire removes all keys of a cluster but those with an id, which have to be there.
func (s *Store) Retire(cluster, keep string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	pairs, err := s.List(cluster)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(pairs, func(p Pair) bool { return p.ID == keep })
	switch {
	case i < 0:
		return fmt.Errorf("cannot remove the other keys of %s: %s, which are to be kept, are not there", cluster, keep)
	case len(pairs) == 1:
		return nil
	}
	return s.write(cluster, pairs[i:i+1])
}

// Put replaces all keys of a cluster by those that another store has, the one to use first.
func (s *Store) Put(cluster string, pairs []Pair) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write(cluster, pairs)
}

// write replaces a cluster's file. When it returns without an error, the new one is on disk for good.
func (s *Store) write(cluster string, pairs []Pair) error {
	if err := s.replace(cluster, pairs); err != nil {
		return fmt.Errorf("cannot keep the keys of %s: %w", cluster, err)
	}
	return nil
}

func (s *Store) replace(cluster string, pairs []Pair) error {
	path, err := s.path(cluster)
	if err != nil {
		return err
	}
	b, err := Encode(pairs)
	if err != nil {
		return err
	}
	if err := s.ready(); err != nil {
		return err
	}
	if err := renameio.WriteFile(path, b, 0o600, renameio.WithTempDir(s.dir), renameio.IgnoreUmask()); err != nil {
		return err
	}
	return syncDir(s.dir)
}

// ready makes the folder, for its owner alone, and clears away what a crash has left of a write: there are
// keys in it that nobody knows of.
func (s *Store) ready() error {
	switch err := os.Mkdir(s.dir, 0o700); {
	case err == nil:
		if err := syncDir(filepath.Dir(s.dir)); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	if err := os.Chmod(s.dir, 0o700); err != nil {
		return err
	}
	left, err := filepath.Glob(filepath.Join(s.dir, ".*"))
	if err != nil {
		return err
	}
	for _, f := range left {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
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
