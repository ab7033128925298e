package desired

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Snapshot is what a source yields: everything that it held at one moment, never half of it.
type Snapshot struct {
	// URL of the source, without credentials.
	URL string
	// Commit of a Git source; nil for a folder.
	Commit *Commit
	At     time.Time
	// Files, sorted by name: one for each NAME.cfg.
	Files []ClusterFile
}

// ClusterFile is one NAME.cfg with what belongs to it.
type ClusterFile struct {
	Name string // without ".cfg"
	// File is the name for diagnostics, e.g. "dmz.cfg".
	File string
	Data []byte
	Tree Tree // NAME/; nil for none
	// Err is set when the file is there and could not be read; Data is then meaningless, and the
	// cluster keeps its last good revision (invariant 2).
	Err error
}

// Revision is the identity of one desired state of one cluster: the xxhash64 of the file and of NAME/.
func (f ClusterFile) Revision() string {
	h := xxhash.New()
	fmt.Fprintf(h, "%d:", len(f.Data))
	_, _ = h.Write(f.Data)
	_, _ = h.WriteString(f.Tree.Hash())
	return fmt.Sprintf("%016x", h.Sum64())
}

// Same reports whether two snapshots hold the same, whenever they were taken.
func (s *Snapshot) Same(o *Snapshot) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.URL == o.URL && s.CommitID() == o.CommitID() && slices.EqualFunc(s.Files, o.Files, func(a, b ClusterFile) bool {
		return a.Name == b.Name && a.File == b.File && errText(a.Err) == errText(b.Err) && a.Revision() == b.Revision()
	})
}

// CommitID is the commit's; empty for a folder.
func (s *Snapshot) CommitID() string {
	if s.Commit == nil {
		return ""
	}
	return s.Commit.ID
}

// Find returns the file of a cluster.
func (s *Snapshot) Find(cluster string) (ClusterFile, bool) {
	i, ok := slices.BinarySearchFunc(s.Files, cluster, func(f ClusterFile, n string) int { return strings.Compare(f.Name, n) })
	if !ok {
		return ClusterFile{}, false
	}
	return s.Files[i], true
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
