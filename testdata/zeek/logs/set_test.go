package logs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var (
	ten     = time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)
	quarter = ten.Add(15 * time.Minute)
)

// tree returns the files below a folder with their contents.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		found[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

const header = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n" +
	"#path\tcluster\n#open\t2026-01-01-10-00-00\n#fields\tts\tnode\tmessage\n#types\ttime\tstring\tstring\n"

func TestRotateForTheArchiver(t *testing.T) {
	dir := t.TempDir()
	s := &Set{Dir: dir, RotationDir: dir + "/new/queue", Interval: time.Hour, Archiver: true, Metadata: "log_suffix=logger-1", Leftover: true}
	if err := s.Write(ten, Cluster, "1.0", "logger-1", "hello"); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"cluster.log": header + "1.0\tlogger-1\thello\n", ".shadow.cluster.log": ".log\n\n"}
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Errorf("open, -want +got:\n%s", diff)
	}
	rotated, err := s.Rotate(quarter)
	if err != nil {
		t.Fatal(err)
	}
	to := dir + "/new/queue/cluster__2026-01-01-10-00-00__2026-01-01-10-15-00__log_suffix=logger-1__.log"
	if diff := cmp.Diff([]Rotated{{Path: "cluster", From: dir + "/cluster.log", To: to, Open: ten, Close: quarter}}, rotated); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	want = map[string]string{to[len(dir)+1:]: header + "1.0\tlogger-1\thello\n#close\t2026-01-01-10-15-00\n"}
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Errorf("rotated, -want +got:\n%s", diff)
	}
	if rotated, err := s.Rotate(quarter); err != nil || len(rotated) > 0 {
		t.Errorf("nothing open, yet rotated %v (%v)", rotated, err)
	}
}

func TestRotateByDefault(t *testing.T) {
	dir := t.TempDir()
	s := &Set{Dir: dir, Interval: time.Hour}
	if err := s.Write(ten, Cluster, "1.0", "a", "b"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Rotate(quarter); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir + "/cluster.2026-01-01-10-00-00.log"); err != nil {
		t.Error(err)
	}
}

func TestWithoutIntervalLogsStay(t *testing.T) {
	dir := t.TempDir()
	s := &Set{Dir: dir, Leftover: true}
	if err := s.Write(ten, Cluster, "1.0", "a", "b"); err != nil {
		t.Fatal(err)
	}
	rotated, err := s.Rotate(quarter)
	if err != nil || len(rotated) > 0 {
		t.Errorf("rotated %v (%v)", rotated, err)
	}
	want := map[string]string{"cluster.log": header + "1.0\ta\tb\n#close\t2026-01-01-10-15-00\n"}
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	s := &Set{Dir: dir, RotationDir: dir + "/queue", Interval: time.Hour, Archiver: true, Leftover: true}
	for name, when := range map[string]time.Time{".shadow.conn.log": ten, "conn.log": quarter, "unrelated.log": ten, ".shadow.gone.log": ten} {
		if err := os.WriteFile(dir+"/"+name, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir+"/"+name, when, when); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Leftovers(time.UTC); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"queue/conn__2026-01-01-10-00-00__2026-01-01-10-15-00__.log": "conn.log",
		"unrelated.log": "unrelated.log",
	}
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestJSON(t *testing.T) {
	dir := t.TempDir()
	s := &Set{Dir: dir, JSON: true}
	if err := s.Write(ten, Telemetry, "1.5", "logger\"1", "gauge", "x", "2.0"); err != nil {
		t.Fatal(err)
	}
	s.Close(quarter)
	var got map[string]any
	if err := json.Unmarshal([]byte(tree(t, dir)["telemetry.log"]), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"ts": 1.5, "peer": `logger"1`, "metric_type": "gauge", "name": "x", "value": 2.0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWrongNumberOfValues(t *testing.T) {
	s := &Set{Dir: t.TempDir()}
	if err := s.Write(ten, Cluster, "1.0"); err == nil {
		t.Error("no error")
	}
}

func TestNext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := ten.Add(time.Duration(rapid.Int64Range(0, int64(48*time.Hour)).Draw(t, "now")))
		interval := time.Duration(rapid.Int64Range(1, 24*3600).Draw(t, "seconds")) * time.Second
		next := Next(now, interval)
		midnight := now.Truncate(24 * time.Hour)
		if !next.After(now) || next.Sub(now) > interval || next.Sub(midnight)%interval != 0 {
			t.Fatalf("%v every %v: %v", now, interval, next)
		}
	})
}
