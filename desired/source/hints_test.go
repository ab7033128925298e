package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/fsnotify/fsnotify"
)

func TestHintsMatters(t *testing.T) {
	dir := t.TempDir()
	other := t.TempDir()
	h := newHints()
	t.Cleanup(h.close)
	h.begin()
	h.want(dir, "")
	h.want(dir, "..data")
	h.want(other, "clusters")
	must(t, h.end())
	tests := map[string]bool{
		dir:                         true,
		dir + "/dmz.cfg":            true,
		dir + "/dmz":                true,
		dir + "/..data":             true,
		dir + "/..2026":             false,
		dir + "/.dmz.cfg.swp":       false,
		dir + "/dmz.cfg~":           false,
		other + "/clusters":         true,
		other + "/else":             false,
		filepath.Dir(dir) + "/what": false,
	}
	for at, want := range tests {
		if got := h.matters(fsnotify.Event{Name: at}); got != want {
			t.Errorf("an event at %q matters: %v, want %v", at, got, want)
		}
	}
}

// What is no longer wanted is no longer watched; what comes back in its place is.
func TestHintsRounds(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	must(t, os.Mkdir(a, 0o755))
	must(t, os.Mkdir(b, 0o755))
	h := newHints()
	t.Cleanup(h.close)
	round := func(dirs ...string) int {
		h.begin()
		for _, d := range dirs {
			h.want(d, "")
		}
		must(t, h.end())
		return len(h.watcher.WatchList())
	}
	if n := round(a, b); n != 2 {
		t.Errorf("%d watches, want 2", n)
	}
	if n := round(a); n != 1 {
		t.Errorf("%d watches, want 1", n)
	}
	if n := round(a, filepath.Join(dir, "gone")); n != 1 {
		t.Errorf("%d watches, want 1", n)
	}
	h.fail(fsnotify.ErrEventOverflow)
	if h.watcher == nil {
		t.Error("lost events cost the watcher")
	}
	h.fail(errors.New("read: bad file descriptor"))
	if events, _ := h.channels(); events != nil {
		t.Error("a broken watcher is kept")
	}
	if n := round(a, b); n != 2 {
		t.Errorf("%d watches after a new beginning, want 2", n)
	}
}

func TestHintsBound(t *testing.T) {
	h := newHints()
	t.Cleanup(h.close)
	h.begin()
	for i := range maxWatches + 1 {
		h.want(fmt.Sprintf("/gone/%d", i), "")
	}
	if err := h.end(); err == nil {
		t.Error("no word of folders that are not watched")
	}
	h.begin()
	if err := h.end(); err != nil {
		t.Errorf("the trouble stays: %v", err)
	}
}

func TestWatchError(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EMFILE} {
		if err := watchError(errno); !errors.Is(err, errno) || err.Error() == errno.Error() {
			t.Errorf("%v is not said in plain words: %v", errno, err)
		}
	}
}
