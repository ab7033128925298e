package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/zeekrec/zeekrec/actuators/archive/logname"
)

// mostTogether is how many logs are made safe at a time.
const mostTogether = 256

// commitAll makes safe what was stored, until done is closed: what is there at one moment shares the syncs of the
// folders. When that fails, it has the pass cancelled, and unlinks nothing any more.
func (a *Archiver) commitAll(done <-chan kept, out *Outcome, cancel context.CancelCauseFunc) error {
	var failed error
	for k := range done {
		batch := []kept{k}
		for more := true; more && len(batch) < mostTogether; {
			select {
			case k, more = <-done:
				if more {
					batch = append(batch, k)
				}
			default:
				more = false
			}
		}
		if failed == nil {
			if failed = a.commit(batch, out); failed != nil {
				cancel(failed)
			}
		}
	}
	return failed
}

// commit lists logs in the folders of their days, has all that on disk, and only then unlinks them from the queue.
func (a *Archiver) commit(batch []kept, out *Outcome) error {
	byDir := map[string][]kept{}
	for _, k := range batch {
		byDir[k.dir] = append(byDir[k.dir], k)
	}
	for _, dir := range slices.Sorted(maps.Keys(byDir)) {
		if err := a.list(dir, byDir[dir]); err != nil {
			return fmt.Errorf("cannot list what was archived in %s: %w", dir, err)
		}
		if err := a.disk.SyncDir(dir); err != nil {
			return fmt.Errorf("cannot sync %s: %w", dir, err)
		}
	}
	for _, k := range batch {
		there, err := a.disk.Lstat(filepath.Join(k.dir, k.name))
		if err != nil || there.Size() != k.size {
			return fmt.Errorf("cannot find %s as it was archived in %s: %w", k.name, k.dir, errors.Join(errMismatch, err))
		}
		now, err := a.disk.Lstat(k.source)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		case !a.disk.Same(k.info, now):
			out.Changed++ // what came since then is archived under another name
			continue
		}
		if err := a.disk.Remove(k.source); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove what is archived from the queue: %w", err)
		}
		out.Files++
		out.Read += k.info.Size()
		out.Written += k.size
		a.tally.archived(a.now(), k.info.Size(), k.size)
		a.log.Debug("Archived", "file", k.source, "to", filepath.Join(k.dir, k.name), "bytes", k.info.Size(), "stored", k.size)
	}
	return nil
}

// tidy removes the temporary files that an earlier process of this archiver left, once for each root.
func (a *Archiver) tidy(root string) error {
	if done := a.tidied.Load(); done != nil && *done == root {
		return nil
	}
	days, err := a.days(root)
	if err != nil {
		return err
	}
	for _, d := range days {
		dir := filepath.Join(root, d.name)
		entries, err := a.disk.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("cannot look for temporary files: %w", err)
		}
		for _, e := range entries {
			if !a.isTemp(e.Name()) {
				continue
			}
			if err := a.disk.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("cannot remove a temporary file: %w", err)
			}
			a.log.Info("Removed what an earlier process had begun; its log is still in the queue", "file", filepath.Join(dir, e.Name()))
		}
	}
	a.tidied.Store(&root)
	return nil
}

// day is the folder of one.
type day struct {
	name string
	ends int64 // Unix time of its end, as if in UTC
}

// days are the folders of days in a root, the oldest first; none where there is no root.
func (a *Archiver) days(root string) ([]day, error) {
	entries, err := a.disk.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the archive: %w", err)
	}
	var days []day
	for _, e := range entries {
		if t, ok := logname.ParseDay(e.Name()); ok && e.IsDir() {
			days = append(days, day{e.Name(), t.AddDate(0, 0, 1).Unix()})
		}
	}
	slices.SortFunc(days, func(x, y day) int { return int(max(min(x.ends-y.ends, 1), -1)) })
	return days, nil
}
