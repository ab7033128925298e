package journal

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// What a roll that was cut short may leave behind.
const (
	nextName = "journal.next.tmp"
	linkName = "journal.link.tmp"
)

// rollPause is how much is appended after a roll that failed before the next is tried: what is wrong with
// the folder is seldom mended soon, and each try writes a whole snapshot.
const rollPause = 1 << 20

// RollError is why the journal could not begin a new file when it was to, nil where the last roll went well. Nothing
// is lost by it: the journal goes on in the file that it has, which grows until a later roll succeeds.
func (j *Journal) RollError() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.rollErr
}

// roll begins a new file with a snapshot, and keeps the old one.
//
// Whatever fails, and wherever the process ends, current is a whole journal: the old file until the new
// one takes its name, which is the last step, and only then are records written to the new one.
func (j *Journal) roll() {
	f, size, err := j.next()
	if err == nil {
		if err = j.keep(); err == nil {
			err = os.Rename(filepath.Join(j.dir, nextName), j.path())
		}
		if err != nil {
			_ = f.Close()
		}
	}
	j.clear()
	if err != nil {
		j.rollErr = fmt.Errorf("cannot roll the journal: %w", err)
		j.rollAt = j.size + rollPause
		return
	}
	_ = j.file.Close()
	j.file, j.size, j.rollErr = f, size, nil
	j.rollAt = max(j.limit, 2*size) // a snapshot beyond the limit must not roll with every append
	j.unnamed = true
	_ = j.mend() // or before the next append: what is in the file so far is in the old one, too
}

// next writes the file to go on in, under a name of its own, and returns it open for appending.
func (j *Journal) next() (*os.File, int64, error) {
	b, err := json.Marshal(line{Snapshot: j.state})
	if err != nil {
		return nil, 0, err
	}
	b = append(b, '\n')
	f, err := os.OpenFile(filepath.Join(j.dir, nextName), os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, 0, err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, int64(len(b)), nil
}

// keep gives the current file its second name, which is its only one after the roll. Until then its records
// are in both; History shows them once.
func (j *Journal) keep() error {
	link, old := filepath.Join(j.dir, linkName), filepath.Join(j.dir, former)
	if err := os.Link(j.path(), link); err == nil {
		return os.Rename(link, old)
	}
	// Some file systems have no links.
	src, err := os.Open(j.path())
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := renameio.NewPendingFile(old, renameio.WithPermissions(0o600), renameio.WithTempDir(j.dir))
	if err != nil {
		return err
	}
	defer func() { _ = dst.Cleanup() }()
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	return dst.CloseAtomicallyReplace()
}

// clear removes what a roll left behind. (A rename of a link to another of the same file leaves both.)
func (j *Journal) clear() {
	_ = os.Remove(filepath.Join(j.dir, nextName))
	_ = os.Remove(filepath.Join(j.dir, linkName))
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
