package source

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/fsnotify/fsnotify"
)

// maxWatches is the bound on folders that are watched; where there are more, the rest is polled.
const maxWatches = 2048

// hints follows the events in the folders and of the names that the last scan met. It is told of them
// by want, between begin and end; the events are read elsewhere at the same time.
type hints struct {
	open func() (*fsnotify.Watcher, error)

	mu      sync.Mutex
	watcher *fsnotify.Watcher // nil: there is none, for now
	// cur are the folders of the last scan, next those of the scan under way.
	cur, next map[string]*interest
	// trouble is why the scan under way could not have its watches.
	trouble error
}

// An interest in a folder is in some names, or in all but leftovers.
type interest struct {
	all   bool
	names map[string]bool
}

func newHints() *hints { return &hints{open: fsnotify.NewWatcher} }

// begin starts a round of want. A watcher that could not be had before is tried again.
func (h *hints) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next, h.trouble = map[string]*interest{}, nil
	if h.watcher != nil {
		return
	}
	w, err := h.open()
	if err != nil {
		h.trouble = watchError(err)
		return
	}
	h.watcher, h.cur = w, nil
}

// want watches a folder (without symlinks in its path) for changes of a name, or with an empty name for
// changes of all. The folder is added anew in each round: that is one cheap call, and fsnotify's own
// record of what it watches goes wrong when a folder is moved away and another takes its place.
func (h *hints) want(dir, name string) {
	h.mu.Lock()
	in, known := h.next[dir]
	if !known {
		in = &interest{names: map[string]bool{}}
		if len(h.next) < maxWatches {
			h.next[dir] = in
		} else {
			h.trouble = fmt.Errorf("there are more than %d folders in it", maxWatches)
			known = true
		}
	}
	if name == "" {
		in.all = true
	} else {
		in.names[name] = true
	}
	w := h.watcher
	h.mu.Unlock()
	if known || w == nil {
		return
	}
	// Not under the lock: the file system may take its time.
	err := w.Add(dir)
	switch {
	case err == nil, errors.Is(err, fsnotify.ErrClosed):
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EACCES):
		// The scan finds the same and says it better.
	default:
		h.mu.Lock()
		h.trouble = watchError(err)
		h.mu.Unlock()
	}
}

// end drops the watches that no want has asked for since begin, and returns why events do not tell of
// every change; nil: they do.
func (h *hints) end() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watcher != nil {
		for dir := range h.cur {
			if h.next[dir] == nil {
				_ = h.watcher.Remove(dir) // mostly gone by itself, with the folder
			}
		}
	}
	h.cur, h.next = h.next, nil
	return h.trouble
}

// channels returns where events and errors come from; nil channels while there is no watcher.
func (h *hints) channels() (<-chan fsnotify.Event, <-chan error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watcher == nil {
		return nil, nil
	}
	return h.watcher.Events, h.watcher.Errors
}

// matters reports whether an event is a reason to look.
func (h *hints) matters(ev fsnotify.Event) bool {
	at := filepath.Clean(ev.Name)
	dir, name := filepath.Dir(at), filepath.Base(at)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, set := range [...]map[string]*interest{h.cur, h.next} {
		if set[at] != nil {
			return true // a watched folder itself
		}
		if in := set[dir]; in != nil && (in.names[name] || in.all && !leftover(name)) {
			return true
		}
	}
	return false
}

// fail takes an error of the watcher, and gives the watcher up unless only events were lost.
func (h *hints) fail(err error) {
	if errors.Is(err, fsnotify.ErrEventOverflow) {
		return
	}
	h.close()
}

// close gives the watcher up; the next begin makes another.
func (h *hints) close() {
	h.mu.Lock()
	w := h.watcher
	h.watcher, h.cur = nil, nil
	h.mu.Unlock()
	if w != nil {
		_ = w.Close()
	}
}

// watchError says in plain words what the system's limits on inotify look like.
func watchError(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("the limit of watches is reached (raise it: sysctl fs.inotify.max_user_watches): %w", err)
	case errors.Is(err, syscall.EMFILE):
		return fmt.Errorf("the limit of inotify instances or open files is reached (raise it: sysctl fs.inotify.max_user_instances, ulimit -n): %w", err)
	}
	return err
}
