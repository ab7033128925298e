//go:build linux

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// fakeArchivers answers in the place of an archiver.
type fakeArchivers struct {
	mu       sync.Mutex
	status   ArchiverStatus
	silent   error // of Status
	refuses  error // of Apply
	settings string
}

func (f *fakeArchivers) dial(string) ArchiverControl { return f }

func (f *fakeArchivers) with(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeArchivers) Status(context.Context) (ArchiverStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status, f.silent
}

func (f *fakeArchivers) Apply(_ context.Context, settings []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuses == nil {
		f.settings = strings.TrimSpace(string(settings))
	}
	return f.refuses
}

// archiver is the resource dmz/archiver.
func archiver(change ...func(*desired.ArchiverSpec)) desired.Resource {
	s := &desired.ArchiverSpec{MinFree: desired.DefaultMinFree, Nice: desired.DefaultArchiverNice}
	for _, c := range change {
		c(s)
	}
	r := desired.Resource{Cluster: "dmz", Name: "archiver", Type: desired.TypeArchiver, Role: desired.RoleArchiver, Instance: "agent-a", Archiver: s}
	if s.Compress != "" {
		r.Parts = append(r.Parts, &desired.Part{Field: "compress", Relation: desired.Live, Values: []string{s.Compress}})
	}
	r.Seal()
	return r
}

func (w *world) untilArchiver(what string, ok func(observed.Resource) bool) observed.Resource {
	w.t.Helper()
	var r observed.Resource
	w.eventually(what, func() bool {
		for _, x := range w.Report().Resources {
			if x.Name == "archiver" {
				r = x
				return ok(x)
			}
		}
		return false
	})
	return r
}

func TestArchiverIsToldAndAsked(t *testing.T) {
	f := &fakeArchivers{status: ArchiverStatus{
		Version: "1.0", Archive: observed.Archive{BacklogFiles: 3}, Degraded: []string{"the disk is full"}, Notes: []string{"3 files wait"},
	}}
	dir := t.TempDir()
	w := newWorld(t, func(c *Config) { c.Archivers, c.Version, c.ArchiveDir = f.dial, "1.0", filepath.Join(dir, "logs") })
	r := archiver()
	w.do(order(desired.Start, r, ""))
	was := w.untilArchiver("healthy", isHealthy)
	if was.Archive == nil || was.Archive.BacklogFiles != 3 || !slices.Equal(was.Degraded, f.status.Degraded) || was.Version != "1.0" || was.Type != "archiver" {
		t.Errorf("%+v", was)
	}
	root := filepath.Join(dir, "logs", "dmz")
	if info, err := os.Stat(root); err != nil || !info.IsDir() {
		t.Errorf("the folder to archive into: %v", err)
	}
	// Told in place, and tried until it is taken.
	f.with(func() { f.refuses = errors.New("not now") })
	zstd := archiver(func(s *desired.ArchiverSpec) { s.Compress = "zstd" })
	w.do(order(desired.Update, zstd, r.ID))
	w.untilArchiver("refuses", func(r observed.Resource) bool {
		return !r.Healthy && r.Reason == "it has not taken its settings: not now"
	})
	f.with(func() { f.refuses = nil })
	now := w.untilArchiver("taken", isHealthy)
	if now.PID != was.PID || !slices.Equal(now.Parts.Get("compress"), []string{"zstd"}) {
		t.Errorf("%+v", now)
	}
	var got struct{ Root, Compress string }
	f.with(func() {
		if err := json.Unmarshal([]byte(f.settings), &got); err != nil || got.Root != root || got.Compress != "zstd" {
			t.Errorf("it was told %s", f.settings)
		}
	})
	// It is healed, and found again.
	killPID(t, was.PID)
	now = w.untilArchiver("healed", func(r observed.Resource) bool { return r.Healthy && r.PID != was.PID })
	w.stop()
	w.start()
	if again := w.untilArchiver("found", isHealthy); again.PID != now.PID {
		t.Errorf("%+v", again)
	}
	f.with(func() { f.silent = errors.New("connection refused") })
	w.untilArchiver("silent", func(r observed.Resource) bool {
		return !r.Healthy && r.Archive == nil && strings.Contains(r.Reason, "it does not answer: connection refused")
	})
	w.do(order(desired.Stop, zstd, zstd.ID))
	w.eventually("gone", func() bool { return len(w.Report().Resources) == 0 })
}

// logsHere makes a worker one that writes logs.
func logsHere(r *desired.Resource) {
	r.Role, r.Node.RotationSeconds, r.Node.TZ = desired.RoleLogger, 3600, "UTC"
	part("rotation", desired.Equal, "3600")(r)
}

// What a logger leaves goes to the queue when it is not started again, and is left to Zeek when it is.
func TestLeftoversOfLoggers(t *testing.T) {
	w := newWorld(t)
	r := worker(logsHere)
	w.do(order(desired.Start, r, ""))
	was := w.untilState(observed.Running)
	work, queue := filepath.Join(string(w.folder("dmz", "w1")), "work"), filepath.Join(w.state, "clusters", "dmz", "queue")
	leave := func() {
		t.Helper()
		for name, text := range map[string]string{".shadow.stats.log": ".log\n\n", "stats.log": "stats", ".shadow.gone.log": ".log\n\n", "other.log": "other"} {
			if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	queued := func() []string {
		t.Helper()
		names, err := filepath.Glob(filepath.Join(queue, "stats__*__log_suffix=w1__.log"))
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	leave()
	killPID(t, was.PID) // it crashes, and comes back
	w.until("healed", func(r observed.Resource) bool { return r.State == observed.Running && r.PID != was.PID })
	if got := queued(); len(got) > 0 {
		t.Errorf("taken from a logger that was started again: %v", got)
	}
	w.do(order(desired.Stop, r, r.ID))
	w.untilGone()
	if got := queued(); len(got) != 1 {
		t.Errorf("in the queue: %v", got)
	}
	left, err := os.ReadDir(work)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if e.Name() != "other.log" && e.Name() != ".status" {
			t.Errorf("%s is left", e.Name())
		}
	}
	// One that ended while nobody looked, and is not to run.
	leave()
	w.stop()
	w.start()
	w.eventually("swept", func() bool { return len(queued()) == 2 })
}

// Two leftovers of the same second are two files.
func TestLeftoverOverwritesNothing(t *testing.T) {
	queue := t.TempDir()
	for i := range 2 {
		dir := t.TempDir()
		at := time.Unix(1767261600, 0)
		for _, n := range []string{"stats.log", ".shadow.stats.log"} {
			if err := os.WriteFile(filepath.Join(dir, n), []byte(".log\n\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(filepath.Join(dir, n), at, at); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := sweepLeftovers(dir, queue, "logger-1", time.UTC); n != 1 || err != nil {
			t.Fatalf("%d: %d, %v", i, n, err)
		}
	}
	if got, _ := os.ReadDir(queue); len(got) != 2 {
		t.Errorf("%d files", len(got))
	}
}
