package journald

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/zeekrec/zeekrec/actuators/process"
)

// book is a journal; it takes nothing while it is shut.
type book struct {
	entries []Entry
	shut    bool
}

var errShut = errors.New("it is shut")

func (b *book) Send(_ context.Context, e Entry) error {
	if b.shut {
		return errShut
	}
	b.entries = append(b.entries, e)
	return nil
}

func (b *book) lines() (out []string) {
	for _, e := range b.entries {
		out = append(out, e.Line)
	}
	return out
}

func marks(line string) (int, bool) {
	var pid int
	_, err := fmt.Sscanf(line, "# started pid %d", &pid)
	return pid, err == nil
}

func priority(line string) Priority {
	if strings.HasPrefix(line, "error") {
		return Error
	}
	return Info
}

type fataler interface {
	Helper()
	Fatal(...any)
}

func follow(t fataler, path string) *Follower {
	t.Helper()
	f, err := Follow(Config{Path: path, Source: Source{Cluster: "dmz", Node: "worker-01", Role: "worker", Stream: "stderr"}, Marks: marks, Priority: priority})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func all(t fataler, f *Follower, to Sender) {
	t.Helper()
	for {
		more, err := f.Step(context.Background(), to, 7)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			return
		}
	}
}

func add(t fataler, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stderr")
	add(t, path, "old news\n")
	var b book
	f := follow(t, path)
	add(t, path, "listening on eth0\n# started pid 4711, incarnation 2\nerror in local.zeek, line 3: no\n\n17.5 warning in x, line 1: hm\nhalf a li")
	all(t, f, &b)
	add(t, path, "ne\nbad \xff byte\r\n")
	all(t, f, &b)
	who := Source{"dmz", "worker-01", "worker", "stderr"}
	want := []Entry{
		{who, 7, Info, "listening on eth0"},
		{who, 4711, Info, "# started pid 4711, incarnation 2"},
		{who, 4711, Error, "error in local.zeek, line 3: no"},
		{who, 4711, Info, "17.5 warning in x, line 1: hm"},
		{who, 4711, Info, "half a line"},
		{who, 4711, Info, "bad \uFFFD byte"},
	}
	if !slices.Equal(b.entries, want) {
		t.Errorf("%+v", b.entries)
	}
	// Another follower goes on, and knows who writes.
	_ = f.Close()
	b.entries = nil
	add(t, path, "while nobody looked\n")
	f = follow(t, path)
	all(t, f, &b)
	if want := []Entry{{who, 4711, Info, "while nobody looked"}}; !slices.Equal(b.entries, want) {
		t.Errorf("%+v", b.entries)
	}
	fields := b.entries[0].Fields()
	for k, v := range map[string]string{"ZEEK_CLUSTER": "dmz", "ZEEK_NODE": "worker-01", "ZEEK_ROLE": "worker", "ZEEK_STREAM": "stderr", "SYSLOG_IDENTIFIER": "zeek-dmz-worker-01", "OBJECT_PID": "4711", "SYSLOG_PID": "4711"} {
		if fields[k] != v {
			t.Errorf("%s is %q, want %q", k, fields[k], v)
		}
	}
}

// TestLongLine: it is sent in pieces, all of it.
func TestLongLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stderr")
	var b book
	f := follow(t, path)
	long := strings.Repeat("0123456789", 20_000)
	add(t, path, long+"\nnext\n")
	all(t, f, &b)
	if got := strings.Join(b.lines(), ""); got != long+"next" || len(b.entries) != 6 {
		t.Errorf("%d bytes in %d pieces", len(got), len(b.entries))
	}
}

// TestOutgrown: of a file that was cut while it was rotated, what is left is sent, and that something is not.
func TestOutgrown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stderr")
	var b book
	f := follow(t, path)
	add(t, path, "first\n")
	all(t, f, &b)
	for n := range 100 {
		add(t, path, fmt.Sprintf("line %02d\n", n))
	}
	if _, err := process.RotateOutput(path, 80, 3); err != nil {
		t.Fatal(err)
	}
	add(t, path, "after\n")
	all(t, f, &b)
	got := b.lines()
	if len(got) != 23 || got[0] != "first" || !strings.HasPrefix(got[1], "# zeekrec: ") || got[2] != "line 80" || got[21] != "line 99" || got[22] != "after" {
		t.Errorf("%q", got)
	}
}

// TestNothingLostNothingTwice: whatever is written, rotated, refused and begun anew, and in which order: each line comes once, in order.
func TestNothingLostNothingTwice(t *testing.T) {
	dir := t.TempDir()
	var runs int
	rapid.Check(t, func(t *rapid.T) {
		runs++
		path := filepath.Join(dir, fmt.Sprint(runs))
		var b book
		f := follow(t, path)
		defer func() { _ = f.Close() }()
		var want []string
		steps := rapid.SliceOfN(rapid.SampledFrom([]string{"write", "much", "step", "rotate", "again", "shut", "open"}), 1, 40).Draw(t, "steps")
		// A file may be rotated while some of it is not sent, but for a second time only when that is: of files of 10 MB each, the follower has seconds.
		const limit = 4000
		owed := false
		drain := func() {
			shut := b.shut
			b.shut = false
			all(t, f, &b)
			b.shut, owed = shut, false
		}
		for _, s := range steps {
			switch s {
			case "write", "much":
				n := 1
				if s == "much" {
					n = rapid.IntRange(1, 200).Draw(t, "n")
				}
				for range n {
					line := fmt.Sprintf("line %d", len(want))
					want = append(want, line)
					add(t, path, line+"\n")
				}
				if info, err := os.Stat(path); err == nil && info.Size() > 3*limit/2 {
					drain() // beyond twice the limit, the file's beginning would be dropped
				}
			case "step":
				if _, err := f.Step(context.Background(), &b, 0); err != nil && !errors.Is(err, errShut) {
					t.Fatal(err)
				}
			case "rotate":
				if owed {
					drain()
				}
				did, err := process.RotateOutput(path, limit, 3)
				if err != nil {
					t.Fatal(err)
				}
				owed = owed || did
			case "again":
				_ = f.Close()
				f = follow(t, path)
			case "shut", "open":
				b.shut = s == "shut"
			}
		}
		b.shut = false
		all(t, f, &b)
		if got := b.lines(); !slices.Equal(got, want) {
			t.Fatalf("sent %q, want %q", got, want)
		}
	})
}
