package source

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// byEvents are options with which nothing is found without events.
var byEvents = func() Options {
	o := quick
	o.Poll, o.Rescan = time.Hour, time.Hour
	return o
}()

// Whatever becomes of the folder, it is told as an error, nothing looks removed, and when it is put right
// it goes on by itself, with events.
func TestFolderGoesAway(t *testing.T) {
	tests := []struct {
		name          string
		kind          Kind
		away, return_ func(t *testing.T, dir string)
	}{
		{
			"renamed away", Missing,
			func(t *testing.T, dir string) { must(t, os.Rename(dir, dir+".old")) },
			func(t *testing.T, dir string) { must(t, os.Rename(dir+".old", dir)) },
		},
		{
			"rm -rf", Missing,
			func(t *testing.T, dir string) { must(t, os.RemoveAll(dir)) },
			func(t *testing.T, dir string) { lay(t, dir, "dmz.cfg=1\ndmz/a=x") },
		},
		{
			"rm -rf of all above", Missing,
			func(t *testing.T, dir string) { must(t, os.RemoveAll(filepath.Dir(dir))) },
			func(t *testing.T, dir string) { lay(t, dir, "dmz.cfg=1\ndmz/a=x") },
		},
		{
			"a symlink loop in its place", Loop,
			func(t *testing.T, dir string) {
				must(t, os.Rename(dir, dir+".old"))
				must(t, os.Symlink(filepath.Base(dir), dir))
			},
			func(t *testing.T, dir string) {
				must(t, os.Remove(dir))
				must(t, os.Rename(dir+".old", dir))
			},
		},
		{
			"a file in its place", NotAFolder,
			func(t *testing.T, dir string) {
				must(t, os.Rename(dir, dir+".old"))
				must(t, os.WriteFile(dir, []byte("x"), 0o644))
			},
			func(t *testing.T, dir string) {
				must(t, os.Remove(dir))
				must(t, os.Rename(dir+".old", dir))
			},
		},
		{
			"a symlink to nothing in its place", Missing,
			func(t *testing.T, dir string) {
				must(t, os.Rename(dir, dir+".old"))
				must(t, os.Symlink("gone", dir))
			},
			func(t *testing.T, dir string) {
				must(t, os.Rename(dir+".old", filepath.Join(filepath.Dir(dir), "gone")))
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "etc", "clusters")
			lay(t, dir, "dmz.cfg=1\ndmz/a=x")
			f := follow(t, NewFolder(dir, byEvents))
			intact := func(u Update) {
				if u.Err == nil && len(u.Snapshot.Files) == 0 {
					t.Errorf("what could not be read looks like removed: %s", describe(u))
				}
			}
			before := await(t, f, "all is well", holds("dmz", "1"), intact)
			tt.away(t, dir)
			u := await(t, f, "it is "+string(tt.kind), failed(tt.kind), intact)
			sayWell(t, u.Err)
			none(t, f, u, 2*quick.Quiet)
			tt.return_(t, dir)
			u = await(t, f, "all is well again", holds("dmz", "1"), intact)
			if !u.Snapshot.Same(before.Snapshot) {
				t.Errorf("what came back differs: %s, was %s", describe(u), describe(before))
			}
			write(t, filepath.Join(dir, "dmz", "a"), "y")
			await(t, f, "an edit is seen", func(u Update) bool {
				cf, _ := find(u, "dmz")
				return string(cf.Tree["a"].Data) == "y"
			}, intact)
		})
	}
}

// What changes is found by events, wherever symlinks lead.
func TestFolderEvents(t *testing.T) {
	tests := []struct {
		name, layout, path, before string
		change                     func(t *testing.T, dir string)
		after                      string
	}{
		{"a new cluster", "a.cfg=1", "", "a=1", func(t *testing.T, dir string) { write(t, dir+"/b.cfg", "2") }, "a=1 b=2"},
		{"a removed cluster", "a.cfg=1\nb.cfg=2", "", "a=1 b=2", func(t *testing.T, dir string) { must(t, os.Remove(dir+"/a.cfg")) }, "b=2"},
		{"the last one removed", "a.cfg=1", "", "a=1", func(t *testing.T, dir string) { must(t, os.Remove(dir+"/a.cfg")) }, ""},
		{"emptied", "a.cfg=1", "", "a=1", func(t *testing.T, dir string) { must(t, os.Truncate(dir+"/a.cfg", 0)) }, "a="},
		{"renamed", "a.cfg=1", "", "a=1", func(t *testing.T, dir string) { must(t, os.Rename(dir+"/a.cfg", dir+"/b.cfg")) }, "b=1"},
		{
			"folders that appear one in the other", "a.cfg=1", "", "a=1",
			func(t *testing.T, dir string) { write(t, dir+"/a/b/c/d.zeek", "x") }, "a=1{b/c/d.zeek=x}",
		},
		{
			"an executable", "a.cfg=1\na/run=x", "", "a=1{run=x}",
			func(t *testing.T, dir string) { must(t, os.Chmod(dir+"/a/run", 0o755)) }, "a=1{run*=x}",
		},
		{
			"where a symlink leads", "a.cfg -> .store/a\n.store/a=1", "", "a=1",
			func(t *testing.T, dir string) { write(t, dir+"/.store/a", "2") }, "a=2",
		},
		{
			"Kubernetes", "..v1/a.cfg=1\n..v1/b.cfg=1\n..data -> ..v1\na.cfg -> ..data/a.cfg\nb.cfg -> ..data/b.cfg", "", "a=1 b=1",
			func(t *testing.T, dir string) {
				lay(t, dir, "..v2/a.cfg=2\n..v2/b.cfg=2\n..data_tmp -> ..v2")
				must(t, os.Rename(dir+"/..data_tmp", dir+"/..data"))
				must(t, os.RemoveAll(dir+"/..v1"))
			}, "a=2 b=2",
		},
		{
			"git-sync", ".worktrees/v1/clusters/a.cfg=1\ncurrent -> .worktrees/v1", "current/clusters", "a=1",
			func(t *testing.T, dir string) {
				lay(t, dir, ".worktrees/v2/clusters/a.cfg=2\nnext -> .worktrees/v2")
				must(t, os.Rename(dir+"/next", dir+"/current"))
				must(t, os.RemoveAll(dir+"/.worktrees/v1"))
			}, "a=2",
		},
		{"a single file", "a.cfg=1\nb.cfg=1", "a.cfg", "a=1", func(t *testing.T, dir string) {
			write(t, dir+"/b.cfg", "2")
			write(t, dir+"/a/x", "y")
		}, "a=1{x=y}"},
		{"a single file by symlink", "x/v1=1\nx/v2=2\na.cfg -> x/v1", "a.cfg", "a=1", func(t *testing.T, dir string) {
			must(t, os.Symlink("x/v2", dir+"/new"))
			must(t, os.Rename(dir+"/new", dir+"/a.cfg"))
		}, "a=2"},
		{
			"a file becomes a symlink loop", "a.cfg=1\nb.cfg=1", "", "a=1 b=1",
			func(t *testing.T, dir string) {
				must(t, os.Remove(dir+"/a.cfg"))
				must(t, os.Symlink("a.cfg", dir+"/a.cfg"))
			}, "a!loop b=1",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			lay(t, dir, tt.layout)
			f := follow(t, NewFolder(filepath.Join(dir, tt.path), byEvents))
			is := func(want string) func(Update) bool {
				return func(u Update) bool { return u.Err == nil && held(u.Snapshot) == want }
			}
			intermediate := func(u Update) {
				if !is(tt.before)(u) && !is(tt.after)(u) {
					t.Errorf("something between: %s", describe(u))
				}
			}
			await(t, f, tt.before, is(tt.before), intermediate)
			tt.change(t, dir)
			u := await(t, f, tt.after, is(tt.after), intermediate)
			none(t, f, u, 2*quick.Quiet)
		})
	}
}

// What no event tells of is found by a glance each Poll.
func TestFolderMovedFromAbove(t *testing.T) {
	t.Parallel()
	top := filepath.Join(t.TempDir(), "top")
	dir := filepath.Join(top, "a", "b", "clusters")
	lay(t, dir, "dmz.cfg=1")
	opts := byEvents
	opts.Poll = quick.Poll
	f := follow(t, NewFolder(dir, opts))
	await(t, f, "it is there", holds("dmz", "1"))
	must(t, os.Rename(top, top+".old"))
	await(t, f, "it is missing", failed(Missing))
	must(t, os.Rename(top+".old", top))
	await(t, f, "it is there again", holds("dmz", "1"))
}

// A missing single file is an error, never a snapshot without clusters.
func TestFolderSingleFileGoes(t *testing.T) {
	t.Parallel()
	at := filepath.Join(t.TempDir(), "a.cfg")
	write(t, at, "1")
	f := follow(t, NewFolder(at, byEvents))
	await(t, f, "it is there", holds("a", "1"))
	must(t, os.Remove(at))
	await(t, f, "it is missing", failed(Missing))
	write(t, at, "2")
	await(t, f, "it is there again", holds("a", "2"))
}

func TestFolderStartsWithoutOne(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "later")
	f := follow(t, NewFolder(dir, byEvents))
	await(t, f, "it is missing", failed(Missing))
	lay(t, dir, "a.cfg=1")
	await(t, f, "it is there", holds("a", "1"))
}

// Without events it polls, and says so; when events can be had again, it says that, too.
func TestFolderWithoutEvents(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.cfg"), "1")
	f := NewFolder(dir, quick)
	var works atomic.Bool
	f.hints.open = func() (*fsnotify.Watcher, error) {
		if works.Load() {
			return fsnotify.NewWatcher()
		}
		return nil, os.NewSyscallError("inotify_init1", syscall.EMFILE)
	}
	follow(t, f)
	u := await(t, f, "it is there", holds("a", "1"))
	if !errors.Is(u.Degraded, syscall.EMFILE) {
		t.Errorf("degraded is %v", u.Degraded)
	}
	write(t, filepath.Join(dir, "a.cfg"), "2")
	await(t, f, "the change was found", holds("a", "2"))
	works.Store(true)
	await(t, f, "events are back", func(u Update) bool { return u.Degraded == nil })
}

func TestFolderSync(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.cfg"), "1")
	f := NewFolder(dir, byEvents)
	f.hints.open = func() (*fsnotify.Watcher, error) { return nil, syscall.EMFILE }
	follow(t, f)
	first := await(t, f, "it is there", holds("a", "1"))

	asked := time.Now()
	f.Sync()
	u := await(t, f, "it was looked at again", func(u Update) bool { return !u.CheckedAt.Before(asked) })
	if u.Snapshot != first.Snapshot {
		t.Error("the same content is another snapshot")
	}
	write(t, filepath.Join(dir, "a.cfg"), "2")
	none(t, f, u, 2*quick.Quiet) // nothing tells of it
	asked = time.Now()
	f.Sync()
	u = await(t, f, "it was looked at again", func(u Update) bool { return !u.CheckedAt.Before(asked) })
	if !holds("a", "2")(u) {
		t.Errorf("the answer to Sync does not have what was there: %s", describe(u))
	}
}

// Who does not take updates gets the newest.
func TestFolderNewestWins(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.cfg"), "1")
	f := NewFolder(dir, quick)
	var looks atomic.Int64
	look := f.look
	f.look = func(ctx context.Context) *scan { looks.Add(1); return look(ctx) }
	follow(t, f)
	settled := func() { // some looks later
		t.Helper()
		deadline := time.Now().Add(patience)
		for asked, n := 0, looks.Load(); looks.Load() < n+8; asked++ {
			if time.Now().After(deadline) {
				t.Fatal("it does not look")
			}
			f.Sync()
			time.Sleep(quick.Quiet / 4)
		}
	}
	settled()
	write(t, filepath.Join(dir, "a.cfg"), "2")
	settled()
	if u := <-f.Updates(); !holds("a", "2")(u) {
		t.Errorf("the waiting update is an old one: %s", describe(u))
	}
}

// A file system that hangs is told of, is no removal, and does not keep Run from ending.
func TestFolderHangs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.cfg"), "1")
	opts := quick
	opts.Timeout = 150 * time.Millisecond
	f := NewFolder(dir, opts)
	var hangs atomic.Bool
	release, look := make(chan struct{}), f.look
	f.look = func(ctx context.Context) *scan {
		if hangs.Load() {
			<-release
		}
		return look(ctx)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	first := await(t, f, "it is there", holds("a", "1"))
	hangs.Store(true)
	f.Sync()
	u := await(t, f, "it hangs", failed(Unresponsive))
	sayWell(t, u.Err)
	hangs.Store(false)
	release <- struct{}{}
	if u = await(t, f, "it is back", holds("a", "1")); !u.Snapshot.Same(first.Snapshot) {
		t.Errorf("it came back as another: %s", describe(u))
	}
	hangs.Store(true)
	f.Sync()
	await(t, f, "it hangs again", failed(Unresponsive))
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Run ends with %v", err)
		}
	case <-time.After(patience):
		t.Error("Run waits for a file system that hangs")
	}
	close(release)
}
