package mgmt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/source"
)

// Target is where a cluster's file is, and whether it may be written.
type Target interface {
	// Read returns the file with NAME/; ok is false where there is none.
	Read(ctx context.Context) (f desired.ClusterFile, ok bool, err error)
	// Write replaces the file as a whole. The error says why that cannot be, also where it never can.
	Write(data []byte) error
}

// FileTarget is NAME.cfg in a folder that is the source, or a .cfg file that is the source itself.
type FileTarget struct{ source, cluster, path string }

// NewFileTarget returns the target of a cluster in a source. path is the source's: a folder, or a .cfg file.
func NewFileTarget(path, cluster string) *FileTarget {
	t := &FileTarget{source: path, cluster: cluster, path: filepath.Join(path, cluster+".cfg")}
	if strings.HasSuffix(path, ".cfg") {
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			t.path = path
		}
	}
	return t
}

// Read looks at the source once.
func (t *FileTarget) Read(ctx context.Context) (desired.ClusterFile, bool, error) {
	s, err := source.Read(ctx, t.source)
	if err != nil {
		return desired.ClusterFile{}, false, err
	}
	f, ok := s.Find(t.cluster)
	if ok && f.Err != nil {
		return f, true, f.Err
	}
	return f, ok, nil
}

// Write puts the file in place at once; a symlink stays one.
func (t *FileTarget) Write(data []byte) error {
	if name := strings.TrimSuffix(filepath.Base(t.path), ".cfg"); name != t.cluster {
		return fmt.Errorf("cannot deploy: the source is the file %s, which is cluster %s, and deploys go to cluster %s (zeekrec run --api-cluster %s)", t.path, name, t.cluster, name)
	}
	path, err := filepath.EvalSymlinks(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		path, err = t.path, nil
	}
	if err != nil {
		return fmt.Errorf("cannot deploy: %w", err)
	}
	if err := renameio.WriteFile(path, data, 0o644, renameio.WithExistingPermissions()); err != nil {
		return fmt.Errorf("cannot deploy: %w", err)
	}
	return nil
}

// NoTarget is a source that is written elsewhere, by commits.
type NoTarget struct{ URL string }

// Read has nothing to keep.
func (t NoTarget) Read(context.Context) (desired.ClusterFile, bool, error) {
	return desired.ClusterFile{}, false, nil
}

// Write refuses.
func (t NoTarget) Write([]byte) error {
	return fmt.Errorf("cannot deploy: the source is the Git repository %s, and what runs is what is committed there; commit the configuration instead", t.URL)
}
