package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/zeekrec/zeekrec/actuators/archive/logname"
)

func onMem(t interface{ Fatal(...any) }, m Disk, change func(*Settings)) *Archiver {
	s := Settings{Root: "/archive", Parallel: 2}
	if change != nil {
		change(&s)
	}
	a, err := New(Config{Queue: "/queue", Settings: s, Disk: m})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// contents are those of all logs, wherever they are, decompressed and sorted; and the temporary files.
func contents(t interface{ Fatalf(string, ...any) }, m *memDisk) (logs, temps []string) {
	for p, data := range m.files("/archive") {
		switch base := path.Base(p); {
		case base == listName:
			continue
		case strings.HasSuffix(base, tempSuffix):
			temps = append(temps, p)
			continue
		case !logname.IsArchived(base):
			t.Fatalf("%s is in the archive", p)
		}
		if decode := decoderOf(p); decode != nil {
			r, err := decode(strings.NewReader(data))
			var b bytes.Buffer
			if err == nil {
				_, err = io.Copy(&b, r)
			}
			if err != nil {
				t.Fatalf("%s cannot be read: %v", p, err)
			}
			data = b.String()
		}
		logs = append(logs, data)
	}
	for p, data := range m.files("/queue") {
		if !strings.HasPrefix(path.Base(p), ".") {
			logs = append(logs, data)
		}
	}
	slices.Sort(logs)
	return slices.Compact(logs), temps
}

func rotated(hour int, suffix string) string {
	n := fmt.Sprintf("conn__2026-01-01-%02d-00-00__2026-01-01-%02d-00-00__", hour, hour+1)
	if suffix != "" {
		n += "log_suffix=" + suffix + "__"
	}
	return n + ".log"
}

// fill puts logs into the queue: two of one name in the archive, and a foreign file where one is to go.
func fill(m *memDisk) (want []string) {
	put := func(p, content string) {
		m.put(p, content)
		want = append(want, content)
	}
	m.mkdir("/queue")
	put("/queue/"+rotated(10, "logger-1"), strings.Repeat("a line of the first log\n", 400))
	put("/queue/"+rotated(11, ""), strings.Repeat("a line of the second log\n", 300))
	put("/queue/conn__2026-01-01-10-00-00__2026-01-01-11-00-00__log_suffix=logger-1,pid=7__.log", strings.Repeat("another of its name\n", 50))
	put("/queue/dns__2026-01-02-10-00-00__2026-01-02-11-00-00__.log", "")
	slices.Sort(want)
	return want
}

// Whatever operation is the last before the power fails, each content is there afterwards, whole, and the next pass leaves the
// queue empty and no temporary file behind.
func TestPowerFailsAtAnyOperation(t *testing.T) {
	for _, compress := range []Compression{Gzip, None} {
		dry := newMemDisk(1)
		fill(dry)
		if _, err := onMem(t, dry, func(s *Settings) { s.Compress = compress }).Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		if dry.ops < 50 {
			t.Fatalf("a pass has %d operations only", dry.ops)
		}
		for at := 1; at <= dry.ops+5; at++ {
			for seed := range uint64(4) {
				m := newMemDisk(seed)
				want := fill(m)
				m.ops = 0
				m.fail = func(op int, _, _ string) error {
					if op >= at {
						return errPower
					}
					return nil
				}
				settings := func(s *Settings) { s.Compress = compress }
				_, _ = onMem(t, m, settings).Pass(context.WithoutCancel(t.Context()))
				m.powerLoss()
				if got, _ := contents(t, m); !slices.Equal(got, want) {
					t.Fatalf("%s, power fails at operation %d, seed %d: %d contents are left of %d", compress, at, seed, len(got), len(want))
				}
				if _, err := onMem(t, m, settings).Pass(t.Context()); err != nil {
					t.Fatalf("%s, the pass after power failed at operation %d: %v", compress, at, err)
				}
				got, temps := contents(t, m)
				if left := m.files("/queue"); !slices.Equal(got, want) || len(temps) > 0 || len(left) > 0 {
					t.Fatalf("%s, after power failed at operation %d, seed %d: %d contents of %d, temporary files %v, in the queue %d", compress, at, seed, len(got), len(want), temps, len(left))
				}
			}
		}
	}
}

// Errors at random, again and again, a full disk among them; then all is well, and all is archived.
func TestErrorsAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMemDisk(rapid.Uint64().Draw(t, "seed"))
		want := fill(m)
		settings := func(s *Settings) {
			s.Compress = rapid.SampledFrom([]Compression{Gzip, Zstd, None}).Draw(t, "compress")
			s.Parallel = rapid.IntRange(1, 3).Draw(t, "parallel")
		}
		a := onMem(t, m, settings)
		for range rapid.IntRange(1, 4).Draw(t, "passes") {
			at, kind := rapid.IntRange(1, 120).Draw(t, "at"), rapid.IntRange(0, 3).Draw(t, "kind")
			m.ops = 0
			m.fail = func(op int, what, p string) error {
				switch {
				case op < at:
				case kind == 0 && op == at:
					return syscall.EIO
				case kind == 1 && (what == "write" || what == "create" || what == "append"):
					return syscall.ENOSPC
				case kind == 2:
					return errPower
				case kind == 3 && op%3 == 0 && strings.HasPrefix(p, "/archive"):
					return syscall.EACCES
				}
				return nil
			}
			_, err := a.Pass(context.Background())
			if full := (*Full)(nil); kind == 1 && err != nil && !errors.As(err, &full) {
				t.Fatalf("a full disk is said to be: %v", err)
			}
			m.fail = nil
			if m.down {
				m.powerLoss()
				a = onMem(t, m, settings)
			}
			if got, _ := contents(t, m); !slices.Equal(got, want) {
				t.Fatalf("%d contents are left of %d", len(got), len(want))
			}
		}
		if _, err := a.Pass(context.Background()); err != nil {
			t.Fatal(err)
		}
		got, temps := contents(t, m)
		if !slices.Equal(got, want) || len(temps) > 0 || len(m.files("/queue")) > 0 {
			t.Fatalf("%d contents of %d, temporary files %v, in the queue %v", len(got), len(want), temps, m.files("/queue"))
		}
	})
}

func TestDiskFillsUp(t *testing.T) {
	m := newMemDisk(3)
	want := fill(m)
	m.space = m.used() + 60 // enough to begin with
	a := onMem(t, m, func(s *Settings) { s.Compress = None })
	m.fail = func(_ int, what, _ string) error {
		if what == "link" {
			return syscall.EXDEV // so that it is copied
		}
		return nil
	}
	a.tally.space(Space{}, enough, a.now())
	_, err := a.Pass(t.Context())
	full := (*Full)(nil)
	if !errors.As(err, &full) {
		t.Fatalf("a full disk is said to be: %v", err)
	}
	if st := a.Status(); len(st.Degraded) == 0 || !strings.Contains(st.Degraded[0], "/archive") {
		t.Errorf("degraded: %q", st.Degraded)
	}
	if got, temps := contents(t, m); !slices.Equal(got, want) || len(temps) > 0 {
		t.Errorf("%d contents of %d, temporary files %v", len(got), len(want), temps)
	}
	m.space = 0
	if _, err := a.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, _ := contents(t, m); !slices.Equal(got, want) || len(m.files("/queue")) > 0 {
		t.Errorf("%d contents of %d, in the queue %v", len(got), len(want), m.files("/queue"))
	}
	if st := a.Status(); len(st.Degraded) > 0 {
		t.Errorf("degraded still: %q", st.Degraded)
	}
}
