//go:build linux

package source

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// slowPause between the chunks of a slow writer: longer than Quiet, since leases tell of a writer however
// slow it is.
var slowPause = quick.Quiet * 3

// A file that somebody holds open for writing does not keep the others back for longer than Hold, and is
// taken when it is closed, of which no event tells.
func TestFolderHeldOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.cfg"), filepath.Join(dir, "b.cfg")
	write(t, a, "1")
	write(t, b, "1")
	opts := quick
	opts.Hold = 300 * time.Millisecond
	f := follow(t, NewFolder(dir, opts))
	await(t, f, "both are there", holds("b", "1"))

	held, err := os.OpenFile(a, os.O_WRONLY|os.O_TRUNC, 0o644)
	must(t, err)
	t.Cleanup(func() { _ = held.Close() })
	_, err = held.WriteString("2 and")
	must(t, err)
	newcomer, err := os.Create(filepath.Join(dir, "c.cfg"))
	must(t, err)
	t.Cleanup(func() { _ = newcomer.Close() })
	write(t, b, "2")
	u := await(t, f, "the other one is new", holds("b", "2"))
	if !holds("a", "1")(u) || len(u.Pending) != 2 || u.Pending[0].Cluster != "a" || u.Pending[0].File != "a.cfg" || u.Pending[0].Reason == "" {
		t.Errorf("the one that is held open is not as it was last, and told of: %s", describe(u))
	}
	if cf, _ := find(u, "c"); kindOfError(cf.Err) != Busy {
		t.Errorf("a new one that is held open is no error of its own: %s", describe(u))
	} else {
		sayWell(t, cf.Err)
	}
	_, err = held.WriteString(" more")
	must(t, err)
	must(t, held.Close())
	must(t, newcomer.Close())
	await(t, f, "it is new, too", func(u Update) bool { return holds("a", "2 and more")(u) && len(u.Pending) == 0 })
}

func TestHeldForWriting(t *testing.T) {
	at := filepath.Join(t.TempDir(), "x")
	write(t, at, "1")
	r, err := os.Open(at)
	must(t, err)
	defer r.Close()
	if heldForWriting(r) {
		t.Error("held though nobody has it")
	}
	w, err := os.OpenFile(at, os.O_WRONLY, 0)
	must(t, err)
	if !heldForWriting(r) {
		t.Error("not held though somebody has it open for writing")
	}
	must(t, w.Close())
	if heldForWriting(r) {
		t.Error("held though it was closed")
	}
	reopened := make(chan error, 1) // a lease that was left behind would make this wait
	go func() {
		w, err := os.OpenFile(at, os.O_WRONLY, 0)
		if err == nil {
			err = w.Close()
		}
		reopened <- err
	}()
	select {
	case err := <-reopened:
		must(t, err)
	case <-time.After(patience):
		t.Error("the lease stayed")
	}
}

// What an unprivileged user sees of what it may not read, also where the tests run as root.
func TestReadUnreadable(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(filepath.Dir(dir), 0o755)) // made 0700 by testing
	lay(t, dir, "conf/a.cfg=1\nconf/a/x=1\nconf/b.cfg=1\nconf/b/sub/x=1\nconf/c.cfg=1\nconf/c/x=1")
	conf := filepath.Join(dir, "conf")
	tests := []struct {
		at   string
		mode os.FileMode
		want string
	}{
		{"", 0o755, "a=1{x=1} b=1{sub/x=1} c=1{x=1}"},
		{"", 0, "error:unreadable"},
		{"", 0o111, "error:unreadable"},
		{"", 0o444, "error:unreadable"},
		{"a.cfg", 0, "a!unreadable b=1{sub/x=1} c=1{x=1}"},
		{"b/sub", 0, "a=1{x=1} b!unreadable c=1{x=1}"},
		{"c/x", 0, "a=1{x=1} b=1{sub/x=1} c!unreadable"},
	}
	for _, tt := range tests {
		at := filepath.Join(conf, tt.at)
		fi, err := os.Stat(at)
		must(t, err)
		must(t, os.Chmod(at, tt.mode))
		sc := unprivileged(func() *scan { return (&scanner{path: conf}).scan(t.Context()) })
		must(t, os.Chmod(at, fi.Mode()))
		got := "error:" + string(kindOfError(sc.err))
		if sc.err == nil {
			snap := sc.snapshot(conf)
			got = held(snap)
			for _, cf := range snap.Files {
				sayWell(t, cf.Err)
			}
		}
		sayWell(t, sc.err)
		if got != tt.want {
			t.Errorf("with %q of mode %o: %s, want %s (%v)", tt.at, tt.mode, got, tt.want, sc.err)
		}
	}
}

// unprivileged runs f on a thread that reads files as nobody does, and that ends with it.
func unprivileged(f func() *scan) *scan {
	done := make(chan *scan)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is not used again
		if os.Geteuid() == 0 {
			_ = unix.Setfsgid(65534)
			_ = unix.Setfsuid(65534)
		}
		done <- f()
	}()
	return <-done
}

// An empty file system where the clusters were is not a wish to stop them. The device is the test's; that a
// mount point changes its device is the kernel's.
func TestFolderUnmounted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.cfg"), "1")
	s := newSettler(dir, quick.withDefaults())
	look := &scanner{path: dir}
	take := func(device uint64) *Update {
		sc := look.scan(t.Context())
		if sc.device == 0 {
			t.Fatal("the device is not known")
		}
		sc.device += device
		sc.began = sc.began.Add(time.Duration(device) * time.Hour)
		sc.ended = sc.began
		s.take(sc, nil)
		later := *sc
		later.began = later.began.Add(time.Minute)
		later.ended = later.began
		return s.take(&later, nil).update
	}
	if u := take(0); !holds("a", "1")(*u) {
		t.Fatal(describe(*u))
	}
	must(t, os.Remove(filepath.Join(dir, "a.cfg")))
	u := take(1)
	if kindOfError(u.Err) != Unmounted {
		t.Error(describe(*u))
	}
	sayWell(t, u.Err)
}
