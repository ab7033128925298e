package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

func accept(cluster, revision string) *engine.Record {
	return &engine.Record{Kind: engine.KindAccepted, Cluster: cluster, Revision: revision, Accepted: &engine.Accepted{Object: revision}}
}

func open(t *testing.T, dir string) (*Journal, *engine.State) {
	t.Helper()
	j, s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j, s
}

func revisions(s *engine.State, cluster string) string {
	var out []string
	for _, r := range s.Cluster(cluster).Revisions {
		out = append(out, r.ID)
	}
	return strings.Join(out, " ")
}

func TestAppendSurvives(t *testing.T) {
	dir := t.TempDir()
	j, s := open(t, dir)
	if s.Seq != 0 {
		t.Fatalf("a new journal is at %d", s.Seq)
	}
	a, b := accept("dmz", "r1"), accept("dmz", "r2")
	if err := j.Append(t.Context(), a, b); err != nil {
		t.Fatal(err)
	}
	if a.Seq != 1 || b.Seq != 2 {
		t.Errorf("numbered %d, %d", a.Seq, b.Seq)
	}
	_ = j.Close()
	_, s = open(t, dir)
	if got := revisions(s, "dmz"); got != "r1 r2" || s.Seq != 2 {
		t.Errorf("read back %q at %d", got, s.Seq)
	}
}

// TestTornEnd cuts the file at every byte of its last record: what was acknowledged before is there, and
// the next append makes a whole journal again.
func TestTornEnd(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	if err := j.Append(t.Context(), accept("dmz", "r1")); err != nil {
		t.Fatal(err)
	}
	first := j.size
	if err := j.Append(t.Context(), accept("dmz", "r2")); err != nil {
		t.Fatal(err)
	}
	_ = j.Close()
	whole, err := os.ReadFile(j.path())
	if err != nil {
		t.Fatal(err)
	}
	for cut := first; cut < int64(len(whole)); cut++ {
		d := t.TempDir()
		if err := os.WriteFile(filepath.Join(d, "journal.jsonl"), whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		j, s, err := Open(d)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if got := revisions(s, "dmz"); got != "r1" {
			t.Fatalf("cut at %d: %q", cut, got)
		}
		if err := j.Append(t.Context(), accept("dmz", "r3")); err != nil {
			t.Fatal(err)
		}
		_ = j.Close()
		if s, err := Load(d); err != nil || revisions(s, "dmz") != "r1 r3" {
			t.Fatalf("cut at %d, then appended: %q, %v", cut, revisions(s, "dmz"), err)
		}
	}
}

func TestDamageInTheMiddleIsNamed(t *testing.T) {
	dir := t.TempDir()
	good, _ := json.Marshal(line{Record: accept("dmz", "r1")})
	text := string(good) + "\n{\"seq\": oops\n" + string(good) + "\n"
	if err := os.WriteFile(filepath.Join(dir, "journal.jsonl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := Open(dir)
	if err == nil || !strings.Contains(err.Error(), "line 2 of") {
		t.Errorf("error %v", err)
	}
	// The lock was given back: mending it is enough.
	if err := os.WriteFile(filepath.Join(dir, "journal.jsonl"), good, 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestSecondIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, _, err := Open(dir); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("error %v, want one that names pid %d", err, os.Getpid())
	}
	if _, err := Load(dir); err != nil {
		t.Errorf("a look from outside: %v", err)
	}
}

func TestObjects(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	f := desired.ClusterFile{Name: "dmz", File: "dmz.cfg", Data: []byte("[manager]\x00\xff"), Tree: desired.Tree{"local.zeek": {Data: []byte("@load x"), Exec: true}}}
	name, err := j.PutFile(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := j.PutFile(t.Context(), f); err != nil || again != name {
		t.Errorf("put again: %q, %v", again, err)
	}
	got, err := j.File(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(f, got); d != "" || got.Revision() != f.Revision() {
		t.Errorf("read back (-want +got):\n%s", d)
	}
	// What a revision names is kept; what none does is cleared away.
	if err := j.Append(t.Context(), accept("dmz", name)); err != nil {
		t.Fatal(err)
	}
	f.Data = []byte("other")
	other, err := j.PutFile(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := j.File(t.Context(), name); err != nil {
		t.Error(err)
	}
	if _, err := j.File(t.Context(), other); err == nil {
		t.Error("an object that nothing names is still there")
	}
	// One that was tampered with is not believed.
	if err := os.WriteFile(objectPath(dir, name), []byte(`{"name":"dmz"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := j.File(t.Context(), name); err == nil || !strings.Contains(err.Error(), "was changed") {
		t.Errorf("error %v", err)
	}
	if _, err := j.File(t.Context(), "../../etc/passwd"); err == nil {
		t.Error("a name that is none was opened")
	}
}

// TestTornBatch: of records that belong together all are there, or none.
func TestTornBatch(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	if err := j.Append(t.Context(), accept("dmz", "r1"), accept("dmz", "r2"), accept("dmz", "r3")); err != nil {
		t.Fatal(err)
	}
	_ = j.Close()
	whole, err := os.ReadFile(j.path())
	if err != nil {
		t.Fatal(err)
	}
	for cut := range whole {
		d := t.TempDir()
		if err := os.WriteFile(filepath.Join(d, "journal.jsonl"), whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Load(d); err != nil || revisions(s, "dmz") != "" {
			t.Fatalf("cut at %d: %q, %v", cut, revisions(s, "dmz"), err)
		}
	}
	if s, err := Load(dir); err != nil || revisions(s, "dmz") != "r1 r2 r3" {
		t.Errorf("the whole: %q, %v", revisions(s, "dmz"), err)
	}
	checkHistory(t, dir, 3)
}

// TestFailedAppendLeavesNothing has an append fail whose bytes cannot be cut off again at once.
func TestFailedAppendLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	appendOne(t, j, "r1")
	broken, err := os.Open(j.path()) // for reading: it can be neither written nor cut
	if err != nil {
		t.Fatal(err)
	}
	defer broken.Close()
	good := j.file
	j.file = broken
	for range 2 {
		if err := j.Append(t.Context(), accept("dmz", "r2")); err == nil {
			t.Fatal("acknowledged, and not written")
		}
	}
	j.file = good
	if _, err := good.WriteString(`{"seq":2,"kind":`); err != nil { // what got to the disk of it
		t.Fatal(err)
	}
	appendOne(t, j, "r3")
	if s, err := Load(dir); err != nil || revisions(s, "dmz") != "r1 r3" || s.Seq != 2 {
		t.Errorf("read back %+v, %v", s, err)
	}
}

// A line of a newer zeekrec, which this one does not know, is not skipped.
func TestLineOfNothing(t *testing.T) {
	dir := t.TempDir()
	text := "{\"later\":1}\n{\"seq\":1,\"kind\":\"source\"}\n"
	if err := os.WriteFile(filepath.Join(dir, current), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "line 1 of") {
		t.Errorf("error %v", err)
	}
}

func TestAppendOfNothing(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	if err := j.Append(t.Context()); err != nil {
		t.Fatal(err)
	}
	appendOne(t, j, "r1")
	if s, err := Load(dir); err != nil || revisions(s, "dmz") != "r1" {
		t.Errorf("read back %+v, %v", s, err)
	}
}

func TestDamagedObjectIsMended(t *testing.T) {
	j, _ := open(t, t.TempDir())
	f := desired.ClusterFile{Name: "dmz", File: "dmz.cfg", Data: []byte("x")}
	name, err := j.PutFile(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(objectPath(j.dir, name), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := j.PutFile(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if _, err := j.File(t.Context(), name); err != nil {
		t.Error(err)
	}
}
