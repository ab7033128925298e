package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/zeekrec/zeekrec/actuators/archive/logname"
)

// Expire deletes the logs of days that ended longer than Settings.Keep ago, the oldest first, and returns how many files
// that were. It deletes nothing that this package did not archive, nor anything whose name is not an archived log's, or
// whose size has changed; such files are named once in the log, and stay.
func (a *Archiver) Expire() (deleted int, err error) {
	a.passing.Lock()
	defer a.passing.Unlock()
	s := a.settings.Load()
	if s.Keep == 0 {
		return 0, nil
	}
	days, err := a.days(s.Root)
	if err != nil {
		return 0, err
	}
	for _, d := range expired(days, a.now(), s.Keep, s.location()) {
		n, err := a.expireDay(filepath.Join(s.Root, d.name))
		deleted += n
		if n > 0 {
			a.tally.deleted(n)
			a.log.Info("Deleted the logs of a day that is over for longer than keep", "folder", filepath.Join(s.Root, d.name), "files", n, "keep", s.Keep)
		}
		if err != nil {
			return deleted, fmt.Errorf("cannot delete what is older than keep: %w", err)
		}
	}
	return deleted, nil
}

// expired are those of days, in order, that ended longer than keep ago.
func expired(days []day, now time.Time, keep time.Duration, in *time.Location) []day {
	var out []day
	for _, d := range days {
		y, m, dd := time.Unix(d.ends, 0).UTC().Date()
		if ends := time.Date(y, m, dd, 0, 0, 0, 0, in); !now.Before(ends.Add(keep)) {
			out = append(out, d)
		}
	}
	return out
}

// expireDay deletes what is listed in a folder. The list goes last, and the folder when it is empty.
func (a *Archiver) expireDay(dir string) (deleted int, err error) {
	sizes, err := a.listed(dir)
	if err != nil || sizes == nil {
		return 0, err
	}
	var others []string
	for name, had := range sizes {
		path := filepath.Join(dir, name)
		if !logname.IsArchived(name) {
			others = append(others, name)
			continue
		}
		info, err := a.disk.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return deleted, err
		}
		if !info.Mode().IsRegular() || !slices.Contains(had, info.Size()) {
			others = append(others, name)
			continue
		}
		if err := a.disk.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return deleted, err
		}
		deleted++
	}
	if len(others) > 0 {
		if !a.warned[dir] {
			slices.Sort(others)
			a.warned[dir] = true
			a.log.Warn("Not deleted: these are no longer what was archived", "folder", dir, "files", others[:min(len(others), 10)], "of", len(others))
		}
		return deleted, nil
	}
	if err := a.disk.Remove(filepath.Join(dir, listName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return deleted, err
	}
	_ = a.disk.Remove(dir) // where somebody has put something into it, it stays
	return deleted, nil
}
