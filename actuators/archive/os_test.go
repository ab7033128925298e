package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/actuators/archive/logname"
)

// archivedContents are the hashes of all archived logs below a folder, decompressed, by path.
func archivedContents(t *testing.T, root string) map[string][32]byte {
	t.Helper()
	out := map[string][32]byte{}
	err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == listName {
			return err
		}
		if !logname.IsArchived(d.Name()) {
			t.Errorf("%s is in the archive", p)
			return nil
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if decode := decoderOf(p); decode != nil && !strings.HasSuffix(p, ".log.gz.as-it-came") {
			if r, err := decode(bytes.NewReader(b)); err == nil {
				if plain, err := io.ReadAll(r); err == nil {
					b = plain
				}
			}
		}
		out[p] = sha256.Sum256(b)
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return out
}

// Ten thousand rotated files with names of every kind, some of them broken: every good one is archived once, with the same
// content, and the broken ones are named.
func TestTenThousand(t *testing.T) {
	queue, root := filepath.Join(t.TempDir(), "queue"), filepath.Join(t.TempDir(), "archive")
	if err := os.Mkdir(queue, 0o755); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	want, broken := map[[32]byte]string{}, []string{}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 10_000 {
		r := logname.Rotated{Path: fmt.Sprintf("log%d", i%7), Open: at.Add(time.Duration(i/7) * time.Minute), Ext: ".log"}
		r.Close = r.Open.Add(time.Minute)
		name := logname.Zeek.Name(r)
		stem := strings.TrimSuffix(name, ".log")
		switch rng.IntN(12) {
		case 0:
			name = stem + "log_suffix=logger-2__.log"
		case 1:
			name = stem + "pid=7,log_suffix=logger-3__.log"
		case 2:
			name = stem + ".log.gz" // compressed while it was written, it says
		case 3:
			name = "with__" + name
		case 4: // another one of its name in the archive
			name = stem + fmt.Sprintf("pid=%d__.log", i)
			twin := stem + fmt.Sprintf("pid=%d,x=y__.log", i)
			text := fmt.Sprintf("twin %d", i)
			want[sha256.Sum256([]byte(text))] = twin
			if err := os.WriteFile(filepath.Join(queue, twin), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		case 5:
			name = []string{"conn.log." + fmt.Sprint(i), stem, stem + "x=__.log", fmt.Sprintf("a__2026-99-01-00-00-00__2026-01-01-00-00-00__%d.log", i)}[i%4]
			if name != stem {
				broken = append(broken, name)
			}
		}
		text := fmt.Sprintf("the content of %d", i)
		if !slices.Contains(broken, name) {
			want[sha256.Sum256([]byte(text))] = name
		}
		if err := os.WriteFile(filepath.Join(queue, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"folder", ".hidden"} {
		if err := os.Mkdir(filepath.Join(queue, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(queue, "conn__2026-01-01-00-00-00__2026-01-01-00-00-01__.log")); err != nil {
		t.Fatal(err)
	}
	broken = append(broken, "conn__2026-01-01-00-00-00__2026-01-01-00-00-01__.log")

	a, err := New(Config{Queue: queue, Settings: Settings{Root: root}, Disk: unsynced{}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := a.Pass(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(broken)
	if !slices.Equal(out.Refused, broken[:min(len(broken), mostRefused)]) {
		t.Errorf("%d are named, want %d", len(out.Refused), len(broken))
	}
	got := map[[32]byte]string{}
	for p, h := range archivedContents(t, root) {
		if other := got[h]; other != "" {
			t.Errorf("%s and %s have the same content", p, other)
		}
		got[h] = p
	}
	if len(got) != len(want) || out.Files != len(want) {
		t.Errorf("%d are archived, %d are said to be, want %d", len(got), out.Files, len(want))
	}
	for h, name := range want {
		if got[h] == "" {
			t.Errorf("%s is not archived", name)
		}
	}
	left, err := os.ReadDir(queue)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != len(broken)+2 {
		t.Errorf("%d are left in the queue, want %d", len(left), len(broken)+2)
	}
}

// unsynced is the machine's file system without the waits for its disk: what they are for is tried elsewhere.
type unsynced struct{ OS }

func (unsynced) SyncDir(string) error { return nil }

func (d unsynced) Create(p string) (File, error) {
	f, err := d.OS.Create(p)
	return lazy{f}, err
}

func (d unsynced) Append(p string) (File, error) {
	f, err := d.OS.Append(p)
	return lazy{f}, err
}

type lazy struct{ File }

func (lazy) Sync() error { return nil }

// Run archives what comes as soon as it comes, takes other settings while it runs, and takes a last look when it ends.
func TestRun(t *testing.T) {
	queue, root := filepath.Join(t.TempDir(), "queue"), t.TempDir()
	a, err := New(Config{Queue: queue, Settings: Settings{Root: root}})
	if err != nil {
		t.Fatal(err)
	}
	put := func(hour int) {
		t.Helper()
		tmp := filepath.Join(queue, ".new")
		if err := os.WriteFile(tmp, []byte(fmt.Sprint(hour)), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, filepath.Join(queue, rotated(hour, ""))); err != nil {
			t.Fatal(err)
		}
	}
	is := func(name string) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if _, err := os.Stat(filepath.Join(root, "2026-01-01", name)); err == nil {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s does not come: %+v", name, a.Status())
			}
		}
	}
	if err := os.Mkdir(queue, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	put(1)
	is("conn.01:00:00-02:00:00.log.gz")
	if err := a.Apply(Settings{Root: root, Compress: Zstd}); err != nil {
		t.Fatal(err)
	}
	put(2)
	is("conn.02:00:00-03:00:00.log.zst")
	if err := a.Apply(Settings{Root: filepath.Join(root, "2026-01-01"), Compress: None}); err != nil {
		t.Fatal(err)
	}
	put(3)
	is("2026-01-01/conn.03:00:00-04:00:00.log")
	put(4)
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	is("2026-01-01/conn.04:00:00-05:00:00.log")
	if st := a.Status(); st.Totals.Files != 4 || st.FilesPerHour != 4 || len(st.Degraded) > 0 || st.Space.Total == 0 {
		t.Errorf("%+v", st)
	}
}

func TestOneArchiverForAQueue(t *testing.T) {
	queue := t.TempDir()
	lock, err := OS{}.Lock(queue)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	a, err := New(Config{Queue: queue, Settings: Settings{Root: t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Pass(t.Context()); err == nil || !strings.Contains(err.Error(), "another archiver works on it") {
		t.Errorf("%v", err)
	}
}

// A command of the user's archives in the archiver's place.
func TestCommand(t *testing.T) {
	queue, root := t.TempDir(), filepath.Join(t.TempDir(), "archive")
	script := filepath.Join(t.TempDir(), "mine")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"$@\" >>"+script+".args\n[ -z \"$FAIL\" ] || { echo no luck >&2; exit 3; }\nmv \"$3\"/*.log \"$4\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	a, err := New(Config{Queue: queue, Settings: Settings{Root: root, Command: script + " -x"}})
	if err != nil {
		t.Fatal(err)
	}
	run := func() error { return a.round(t.Context()) }
	if err := run(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(script + ".args"); err == nil {
		t.Error("it was run with nothing to do")
	}
	if err := os.WriteFile(filepath.Join(queue, rotated(1, "")), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(script + ".args"); string(got) != "-x -1 "+queue+" "+root+"\n" {
		t.Errorf("it was called with %q", got)
	}
	if st := a.Status(); st.Totals.Files != 1 || st.Backlog.Files != 0 {
		t.Errorf("%+v", st)
	}
	if err := os.WriteFile(filepath.Join(queue, rotated(2, "")), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := a.Settings()
	s.Command = "FAIL=1 " + s.Command
	if err := a.Apply(s); err != nil {
		t.Fatal(err)
	}
	if err := run(); err == nil || !strings.HasSuffix(err.Error(), "exit status 3: no luck") {
		t.Errorf("%v", err)
	}
	if st := a.Status(); len(st.Degraded) != 1 || st.LastError == nil {
		t.Errorf("%+v", st)
	}
}

// A compressor of the user's is believed only when what it wrote is the log.
func TestFilter(t *testing.T) {
	for _, tt := range []struct {
		filter string
		ok     bool
	}{{"gzip -9", true}, {"cat", false}, {"head -c 3 | gzip", false}, {"exit 4", false}} {
		queue, root := t.TempDir(), t.TempDir()
		if err := os.WriteFile(filepath.Join(queue, rotated(1, "")), bytes.Repeat([]byte("a line\n"), 100_000), 0o644); err != nil {
			t.Fatal(err)
		}
		a, err := New(Config{Queue: queue, Settings: Settings{Root: root, Filter: tt.filter, FilterExt: "gz"}})
		if err != nil {
			t.Fatal(err)
		}
		out, err := a.Pass(t.Context())
		if (err == nil && out.Files == 1) != tt.ok {
			t.Errorf("%s: %+v, %v", tt.filter, out, err)
		}
		if left, _ := filepath.Glob(filepath.Join(root, "*", ".*"+tempSuffix)); len(left) > 0 {
			t.Errorf("%s leaves %v", tt.filter, left)
		}
		if _, err := os.Stat(filepath.Join(queue, rotated(1, ""))); (err == nil) == tt.ok {
			t.Errorf("%s: the log in the queue: %v", tt.filter, err)
		}
	}
}

// Rate bounds what is read.
func TestRate(t *testing.T) {
	queue := t.TempDir()
	if err := os.WriteFile(filepath.Join(queue, rotated(1, "")), make([]byte, 3*burst), 0o644); err != nil {
		t.Fatal(err)
	}
	a, err := New(Config{Queue: queue, Settings: Settings{Root: t.TempDir(), Rate: 4 * burst}})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := a.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 400*time.Millisecond { // the first burst is free
		t.Errorf("took %s", took)
	}
}

// A log that is being written is not unlinked.
func TestStillWritten(t *testing.T) {
	queue, root := t.TempDir(), t.TempDir()
	path := filepath.Join(queue, rotated(1, ""))
	if err := os.WriteFile(path, []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	var once atomic.Bool
	d := &appends{once: &once, path: path}
	a, err := New(Config{Queue: queue, Settings: Settings{Root: root}, Disk: d})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := a.Pass(t.Context()); err != nil || out.Files != 0 {
		t.Errorf("%+v, %v", out, err)
	}
	if b, _ := os.ReadFile(path); string(b) != "half of it" {
		t.Fatalf("the log is %q", b)
	}
	if out, err := a.Pass(t.Context()); err != nil || out.Files != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	for p, h := range archivedContents(t, root) {
		if h != sha256.Sum256([]byte("half of it")) {
			t.Errorf("%s has something else", p)
		}
	}
}

// appends writes to a log while it is being stored.
type appends struct {
	OS
	once *atomic.Bool
	path string
}

func (d *appends) Create(p string) (File, error) {
	if d.once.CompareAndSwap(false, true) {
		f, err := os.OpenFile(d.path, os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString(" of it")
			err = cmpErr(err, f.Close())
		}
		if err != nil {
			return nil, err
		}
	}
	return d.OS.Create(p)
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
