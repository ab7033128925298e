package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
)

// Damaged says that a file cannot be used, or does not go with the others. Nothing of its content is in the text.
type Damaged struct {
	Path string
	Err  error
}

// Error names the file and what is wrong.
func (d *Damaged) Error() string { return fmt.Sprintf("cannot use %s: %v", d.Path, d.Err) }

// Unwrap gives the cause.
func (d *Damaged) Unwrap() error { return d.Err }

// Bounds of what is read of a file, in bytes.
const (
	maxPEM  = 64 << 10
	maxJSON = 64 << 20 // 10,000 agents take a fifth of it
)

// read gives a file's content. One that is too large is Damaged.
func read(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > max {
		return nil, &Damaged{path, errors.New("it is too large")}
	}
	return b, nil
}

// write replaces a file, for its owner alone. When it returns without an error, the new one is on disk for good.
func write(path string, b []byte) error {
	dir := filepath.Dir(path)
	if err := renameio.WriteFile(path, b, 0o600, renameio.WithTempDir(dir), renameio.IgnoreUmask()); err != nil {
		return err
	}
	return syncDir(dir)
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

// ready makes a folder, for its owner alone, and clears away what a crash has left of writing the named files: there may be a key in it
// that nobody knows of. Nothing else is touched, should somebody name a folder that has other things in it.
func ready(dir string, files ...string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	es, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range es {
		if !slices.ContainsFunc(files, func(f string) bool {
			rest, ok := strings.CutPrefix(e.Name(), "."+f)
			return ok && rest != "" && strings.Trim(rest, "0123456789") == ""
		}) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// exists says whether a file is there.
func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// readJSON reads a whole file into v, which has every field that may be there.
func readJSON(path string, v any) error {
	b, err := read(path, maxJSON)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return &Damaged{path, fmt.Errorf("it cannot be understood (damaged near byte %d)", d.InputOffset())}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return &Damaged{path, errors.New("something follows its content")}
	}
	return nil
}

// writeJSON replaces a file by v.
func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return write(path, append(b, '\n'))
}
