package journal

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/reconciler/engine"
)

func TestRoll(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	j.limit, j.rollAt = 2000, 2000
	for i := range 100 {
		if err := j.Append(t.Context(), accept("dmz", fmt.Sprintf("r%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	if j.size > 64*1024 {
		t.Errorf("the journal has %d bytes", j.size)
	}
	want := j.state
	got, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(clone(want), got); d != "" {
		t.Errorf("state after rolling (-want +got):\n%s", d)
	}
	if n := len(got.Cluster("dmz").Revisions); n != engine.KeptRevisions {
		t.Errorf("%d revisions are remembered", n)
	}
	var last int64
	if err := History(dir, func(r engine.Record) error {
		if r.Seq <= last {
			t.Errorf("record %d after %d", r.Seq, last)
		}
		last = r.Seq
		return nil
	}); err != nil || last != 100 {
		t.Errorf("history ends at %d, %v", last, err)
	}
}

// inTheWay puts a folder that cannot be removed or replaced where a roll wants a file.
func inTheWay(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(path, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
}

func appendOne(t *testing.T, j *Journal, revision string) {
	t.Helper()
	if err := j.Append(t.Context(), accept("dmz", revision)); err != nil {
		t.Fatalf("append %.20s: %v", revision, err)
	}
}

// A roll that fails is no failure of the append before it, is not tried again at once, and is made up for.
func TestRollFails(t *testing.T) {
	for _, name := range []string{former, nextName} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			j, _ := open(t, dir)
			j.limit, j.rollAt = 10, 10
			inTheWay(t, filepath.Join(dir, name))
			appendOne(t, j, "r1")
			if err := j.RollError(); err == nil || !strings.Contains(err.Error(), "cannot roll the journal") {
				t.Fatalf("error %v", err)
			}
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			appendOne(t, j, "r2")
			if j.RollError() == nil {
				t.Error("it was tried again at once")
			}
			if s, err := Load(dir); err != nil || revisions(s, "dmz") != "r1 r2" {
				t.Fatalf("read back %q, %v", revisions(s, "dmz"), err)
			}
			long := strings.Repeat("x", rollPause)
			appendOne(t, j, long)
			if err := j.RollError(); err != nil {
				t.Errorf("tried again after a pause: %v", err)
			}
			appendOne(t, j, "r3")
			if s, err := Load(dir); err != nil || revisions(s, "dmz") != "r1 r2 "+long+" r3" {
				t.Errorf("read back %.20q, %v", revisions(s, "dmz"), err)
			}
			checkHistory(t, dir, 4)
			checkFiles(t, dir, former, current, "lock", "objects")
		})
	}
}

// A roll that fails leaves the records of the roll before where they are.
func TestRollFailsLate(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	j.limit, j.rollAt = 10, 10
	appendOne(t, j, "r1") // rolls
	inTheWay(t, filepath.Join(dir, nextName))
	j.rollAt = 10
	appendOne(t, j, "r2")
	if j.RollError() == nil {
		t.Fatal("it rolled")
	}
	checkHistory(t, dir, 2)
}

// Where there are no links the old file is copied.
func TestRollWithoutLinks(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	j.limit, j.rollAt = 10, 10
	inTheWay(t, filepath.Join(dir, linkName))
	appendOne(t, j, "r1")
	if err := j.RollError(); err != nil {
		t.Fatal(err)
	}
	appendOne(t, j, "r2")
	checkHistory(t, dir, 2)
	checkFiles(t, dir, former, current, linkName, "lock", "objects")
}

// A process that ended before the new file took its name leaves the old file under both names.
func TestRollCutShort(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	appendOne(t, j, "r1")
	if err := j.keep(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, nextName), []byte(`{"snapshot":{`), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = j.Close()

	j, s := open(t, dir)
	if revisions(s, "dmz") != "r1" {
		t.Errorf("read back %q", revisions(s, "dmz"))
	}
	appendOne(t, j, "r2")
	checkHistory(t, dir, 2)
	j.rollAt = 10
	appendOne(t, j, "r3") // rolls
	appendOne(t, j, "r4")
	if err := j.RollError(); err != nil {
		t.Error(err)
	}
	checkHistory(t, dir, 4)
	checkFiles(t, dir, former, current, "lock", "objects")
}

// A state that is larger than a file should get is not written anew with every record.
func TestRollOfLargeState(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	j.limit, j.rollAt = 10, 10
	appendOne(t, j, strings.Repeat("x", 10000))
	before := j.file
	for i := range 10 {
		appendOne(t, j, fmt.Sprint(i))
	}
	if j.file != before {
		t.Error("it rolled again")
	}
}

func checkHistory(t *testing.T, dir string, n int64) {
	t.Helper()
	var want, got []int64
	for seq := int64(1); seq <= n; seq++ {
		want = append(want, seq)
	}
	if err := History(dir, func(r engine.Record) error { got = append(got, r.Seq); return nil }); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("history (-want +got):\n%s", d)
	}
}

func checkFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range es {
		got = append(got, e.Name())
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
}

// clone is a state as it is after the way through JSON.
func clone(s *engine.State) *engine.State {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a State is made of plain values
	}
	c := &engine.State{}
	if err := json.Unmarshal(b, c); err != nil {
		panic(err)
	}
	c.Init()
	return c
}
