package bus

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"

	"github.com/zeekrec/zeekrec/desired"
)

// manifest names the files of a tree by their content, and has the contents.
func manifest(cluster string, t desired.Tree) (filesBody, map[string][]byte) {
	list, blobs := filesBody{Cluster: cluster, Hash: t.Hash()}, map[string][]byte{}
	for name, f := range t {
		h := blobName(f.Data)
		blobs[h] = f.Data
		list.Files = append(list.Files, fileEntry{Name: name, Blob: h, Size: int64(len(f.Data)), Exec: f.Exec})
	}
	return list, blobs
}

// blobName is the name of a content: its hash and size.
func blobName(b []byte) string { return fmt.Sprintf("%016x-%d", xxhash.Sum64(b), len(b)) }

// maxTree bounds what an agent takes of one tree, as the sources do.
const maxTree = 64 << 20

// store keeps contents that arrive in pieces until their tree is whole. It goes on where the last agent ended.
type store struct {
	dir string
	mu  sync.Mutex
}

// assemble returns the tree where all of it is there, and else what is missing.
func (s *store) assemble(list *filesBody) (desired.Tree, map[string]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, missing := desired.Tree{}, map[string]int64{}
	var sum int64
	for _, f := range list.Files {
		if sum += f.Size; f.Size < 0 || sum > maxTree {
			return nil, nil, errors.New("its files are too large")
		}
		path, err := s.path(f.Blob)
		if err != nil {
			return nil, nil, err
		}
		b, err := os.ReadFile(path)
		switch {
		case err == nil && blobName(b) == f.Blob && int64(len(b)) == f.Size:
			t[f.Name] = desired.TreeFile{Data: b, Exec: f.Exec}
			continue
		case err == nil: // it was damaged
			err = os.Remove(path)
		case errors.Is(err, os.ErrNotExist):
			err = nil
		}
		if err != nil {
			return nil, nil, err
		}
		missing[f.Blob] = 0
		if info, err := os.Stat(path + part); err == nil && info.Size() <= f.Size {
			missing[f.Blob] = info.Size()
		}
	}
	if len(missing) > 0 {
		return nil, missing, nil
	}
	if h := t.Hash(); h != list.Hash {
		return nil, nil, fmt.Errorf("its files are %s together, and were called %s", h, list.Hash)
	}
	return t, nil, nil
}

// part ends the name of a content that is not whole yet.
const part = ".part"

func (s *store) path(blob string) (string, error) {
	if blob == "" || strings.Trim(blob, "0123456789abcdef-") != "" {
		return "", fmt.Errorf("%q is no content", blob)
	}
	return filepath.Join(s.dir, blob), nil
}

// add takes a piece. One that does not begin where the last ended is an error: whoever sends asks again what is missing.
func (s *store) add(c *chunkBody) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	path, err := s.path(c.Blob)
	if err != nil {
		return err
	}
	if c.Size < 0 || c.Size > maxTree || c.Offset+int64(len(c.Data)) > c.Size {
		return errors.New("it is larger than it was said to be")
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path+part, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case info.Size() > c.Offset && info.Size() == c.Offset+int64(len(c.Data)):
		// It came twice.
	case info.Size() != c.Offset:
		return fmt.Errorf("%d bytes are there, and this begins at %d", info.Size(), c.Offset)
	default:
		if _, err := f.WriteAt(c.Data, c.Offset); err != nil {
			return err
		}
	}
	if c.Offset+int64(len(c.Data)) < c.Size {
		return nil
	}
	whole, err := os.ReadFile(path + part)
	if err != nil {
		return err
	}
	if blobName(whole) != c.Blob {
		return errors.Join(errors.New("what arrived is not what was sent"), os.Remove(path+part))
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(path+part, path)
}

// drop removes the contents of a tree that is in its place.
func (s *store) drop(list *filesBody) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range list.Files {
		if path, err := s.path(f.Blob); err == nil {
			_ = os.Remove(path)
		}
	}
}
