package archive

import (
	"bytes"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestKeep(t *testing.T) {
	m := newMemDisk(1)
	var log bytes.Buffer
	now := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	a, err := New(Config{
		Queue: "/queue", Disk: m, Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Settings: Settings{Root: "/archive", Keep: 72 * time.Hour, UTC: true, Compress: None},
	})
	if err != nil {
		t.Fatal(err)
	}
	m.mkdir("/queue")
	for _, day := range []string{"01", "02", "03"} {
		m.put("/queue/conn__2026-01-"+day+"-10-00-00__2026-01-"+day+"-11-00-00__.log", "of "+day)
		m.put("/queue/dns__2026-01-"+day+"-10-00-00__2026-01-"+day+"-11-00-00__.log", "dns of "+day)
	}
	if _, err := a.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Somebody else's, in the first day's folder, and elsewhere.
	m.put("/archive/2026-01-01/http.10:00:00-11:00:00.log", "not archived here")
	m.put("/archive/2026-01-01/notes.txt", "notes")
	m.put("/archive/2020-01-01/conn.10:00:00-11:00:00.log", "old, and not ours")
	m.put("/archive/notes", "notes")

	names := func() []string { return slices.Sorted(maps.Keys(m.files("/archive"))) }
	before := names()
	now = time.Date(2026, 1, 4, 23, 59, 59, 0, time.UTC) // the first of January ended three days ago in a second
	if n, err := a.Expire(); n != 0 || err != nil || !slices.Equal(names(), before) {
		t.Errorf("too early: %d, %v", n, err)
	}
	now = now.Add(time.Second)
	if n, err := a.Expire(); n != 2 || err != nil {
		t.Errorf("%d deleted, %v", n, err)
	}
	for _, left := range []string{
		"/archive/2020-01-01/conn.10:00:00-11:00:00.log", "/archive/2026-01-01/http.10:00:00-11:00:00.log", "/archive/2026-01-01/notes.txt",
		"/archive/2026-01-02/conn.10:00:00-11:00:00.log", "/archive/2026-01-03/dns.10:00:00-11:00:00.log", "/archive/notes",
	} {
		if !slices.Contains(names(), left) {
			t.Errorf("%s is gone", left)
		}
	}
	if slices.Contains(names(), "/archive/2026-01-01/conn.10:00:00-11:00:00.log") {
		t.Error("what is too old is there")
	}

	// What is no longer what was archived stays, and is named once; a day with nothing else goes with its folder.
	m.put("/archive/2026-01-02/conn.10:00:00-11:00:00.log", "somebody has written to it")
	now = now.AddDate(1, 0, 0)
	for range 2 {
		if _, err := a.Expire(); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Contains(names(), "/archive/2026-01-02/conn.10:00:00-11:00:00.log") {
		t.Error("what was changed is gone")
	}
	if _, err := m.Lstat("/archive/2026-01-03"); err == nil {
		t.Error("an empty folder is left")
	}
	if n := strings.Count(log.String(), "no longer what was archived"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
}

// A list may have been torn, and may say anything.
func FuzzList(f *testing.F) {
	f.Add("12 conn.10:00:00-11:00:00.log.gz\n7 dns")
	f.Add("12 conn\n1\n\n-3 x\n99999999999999999999 y\n5 ../../etc/passwd")
	f.Fuzz(func(t *testing.T, text string) {
		m := newMemDisk(1)
		m.put("/archive/2026-01-01/conn.10:00:00-11:00:00.log", "1234567")
		m.put("/archive/2026-01-01/other", "1234567")
		m.put("/other", "12345")
		m.put("/archive/2026-01-01/"+listName, text)
		a := onMem(t, m, func(s *Settings) { s.Keep = time.Hour })
		_, _ = a.Expire()
		for _, p := range []string{"/archive/2026-01-01/other", "/other"} {
			if _, err := m.Lstat(p); err != nil {
				t.Errorf("%q: %s is gone", text, p)
			}
		}
	})
}

func TestJudge(t *testing.T) {
	five := Share{Percent: 5}
	for _, tt := range []struct {
		name    string
		free    int64
		min     Share
		size    int64
		shrinks bool
		want    roominess
	}{
		{"plenty", 50 << 30, five, 1 << 30, false, enough},
		{"nearly", 7 << 30, five, 1 << 30, false, low},
		{"it would be too little", 5<<30 + 100<<20, five, 1 << 30, false, spent},
		{"too little", 4 << 30, five, 0, false, spent},
		{"no bound", 1 << 30, Share{}, 1 << 20, false, enough},
		{"bytes", 1 << 30, Share{Bytes: 2 << 30}, 0, false, spent},
		{"it frees the disk", 1 << 30, five, 100 << 20, true, low},
		{"it would, and has no room to", 50 << 20, five, 100 << 20, true, spent},
	} {
		if got := judge(Space{Free: tt.free, Total: 100 << 30}, tt.min, tt.size, tt.shrinks); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// The archive stops growing on a disk of its own, keeps what it has, and says why.
func TestMinFree(t *testing.T) {
	m := newMemDisk(1)
	want := fill(m)
	m.space = 100 << 20
	a := onMem(t, &otherDisk{m}, func(s *Settings) { s.MinFree = Share{Percent: 99} })
	m.put("/archive/2020-01-01/big", strings.Repeat("x", 2<<20))
	_, err := a.Pass(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the archive stops growing: ") || !strings.Contains(err.Error(), "min_free is 99%") {
		t.Errorf("%v", err)
	}
	if d := a.Status().Degraded; len(d) != 1 || d[0] != err.Error() {
		t.Errorf("degraded: %q", d)
	}
	if n := len(m.files("/queue")); n != len(want) {
		t.Errorf("%d logs are in the queue", n)
	}
	if err := a.Apply(Settings{Root: "/archive"}); err != nil {
		t.Fatal(err)
	}
	if out, err := a.Pass(t.Context()); err != nil || out.Files != len(want) {
		t.Errorf("%+v, %v", out, err)
	}
}

// otherDisk has the archive on another file system than the queue.
type otherDisk struct{ *memDisk }

func (d *otherDisk) Space(p string) (Space, error) {
	s, err := d.memDisk.Space(p)
	if strings.HasPrefix(p, "/archive") {
		s.Device = 1
	}
	return s, err
}

func (d *otherDisk) Link(from, to string) error {
	return &fs.PathError{Op: "link", Path: from, Err: fs.ErrInvalid}
}

func TestGrowth(t *testing.T) {
	const interval = time.Hour
	begin := time.Unix(1767225600, 0)
	for _, tt := range []struct {
		name  string
		waits func(minute int) int64
		alarm int // in the first minutes after that; -1: never
	}{
		{"comes and goes", func(m int) int64 {
			if m%60 < 5 {
				return 100
			}
			return 0
		}, -1},
		{"nothing is taken", func(m int) int64 { return int64(1+m/60) * 100 }, 120},
		{"slower than it comes", func(m int) int64 { return int64(m) * 10 }, 120},
		{"a large backlog that shrinks", func(m int) int64 { return 100_000 - int64(m)*10 }, -1},
		{"always the same", func(int) int64 { return 500 }, -1},
	} {
		var g growth
		alarm := -1
		for m := range 6 * 60 {
			now := begin.Add(time.Duration(m) * time.Minute)
			g.add(now, tt.waits(m), interval)
			if g.grows(now, interval) && alarm < 0 {
				alarm = m
			}
		}
		if tt.alarm < 0 && alarm >= 0 || tt.alarm >= 0 && (alarm < tt.alarm || alarm > tt.alarm+70) {
			t.Errorf("%s: alarm after %d minutes, want %d", tt.name, alarm, tt.alarm)
		}
		if len(g.samples) > 4*partsOf {
			t.Errorf("%s: %d samples", tt.name, len(g.samples))
		}
	}
}
