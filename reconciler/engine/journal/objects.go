package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/zeekrec/zeekrec/desired"
)

// object is the form in which a cluster's file is kept: readable, and mendable by hand.
type object struct {
	Name string       `json:"name"`
	File string       `json:"file"`
	Data []byte       `json:"data"`
	Tree desired.Tree `json:"tree,omitempty"`
}

// EncodeFile returns the content of the object that keeps a cluster's file, and its name: the SHA-256 of the content in hex.
func EncodeFile(f desired.ClusterFile) (name string, content []byte, err error) {
	b, err := json.Marshal(object{f.Name, f.File, f.Data, f.Tree})
	if err != nil {
		return "", nil, err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), b, nil
}

// DecodeFile is EncodeFile's inverse. A content that does not fit the name is an error.
func DecodeFile(name string, content []byte) (desired.ClusterFile, error) {
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != name {
		return desired.ClusterFile{}, fmt.Errorf("cannot read object %s: its content was changed", name)
	}
	var o object
	if err := json.Unmarshal(content, &o); err != nil {
		return desired.ClusterFile{}, fmt.Errorf("cannot read object %s: %w", name, err)
	}
	return desired.ClusterFile{Name: o.Name, File: o.File, Data: o.Data, Tree: o.Tree}, nil
}

// CheckObject says that a name is none that EncodeFile gives.
func CheckObject(name string) error {
	if b, err := hex.DecodeString(name); err != nil || len(b) != sha256.Size {
		return fmt.Errorf("cannot read object %q: not a name of one", name)
	}
	return nil
}

// PutFile keeps a cluster's file and returns the name to ask for it by. When it returns, the object is on
// disk under its name; one that was damaged since it was kept is written anew.
func (j *Journal) PutFile(_ context.Context, f desired.ClusterFile) (string, error) {
	name, b, err := EncodeFile(f)
	if err != nil {
		return "", fmt.Errorf("cannot keep %s: %w", f.File, err)
	}
	path := objectPath(j.dir, name)
	if err := j.putObject(path, b); err != nil {
		return "", fmt.Errorf("cannot keep %s: %w", f.File, err)
	}
	return name, nil
}

func (j *Journal) putObject(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if there, err := os.ReadFile(path); err != nil || !bytes.Equal(there, b) { // missing, or damaged
		if err := renameio.WriteFile(path, b, 0o600); err != nil {
			return err
		}
	}
	// Also where it was there: whoever put it may not have got this far.
	if err := syncDir(filepath.Dir(path)); err != nil {
		return err
	}
	return syncDir(filepath.Join(j.dir, "objects"))
}

// File returns what PutFile kept. An object whose content does not fit its name is an error.
func (j *Journal) File(_ context.Context, name string) (desired.ClusterFile, error) {
	return LoadFile(j.dir, name)
}

// LoadFile is File for a look from outside.
func LoadFile(dir, name string) (desired.ClusterFile, error) {
	if err := CheckObject(name); err != nil {
		return desired.ClusterFile{}, err
	}
	b, err := os.ReadFile(objectPath(dir, name))
	if err != nil {
		return desired.ClusterFile{}, fmt.Errorf("cannot read an accepted revision: %w", err)
	}
	return DecodeFile(name, b)
}

// Collect removes the objects that no revision of the state names any more.
func (j *Journal) Collect(_ context.Context) error {
	j.mu.Lock()
	used := map[string]bool{}
	for _, h := range j.state.Clusters {
		for _, r := range h.Revisions {
			used[r.Object] = true
		}
	}
	j.mu.Unlock()
	root := filepath.Join(j.dir, "objects")
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return fmt.Errorf("cannot clear old objects away: %w", err)
		case d.IsDir() || used[d.Name()]:
			return nil
		}
		return os.Remove(path)
	})
}

func objectPath(dir, name string) string { return filepath.Join(dir, "objects", name[:2], name) }
