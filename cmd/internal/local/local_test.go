package local

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
	"github.com/zeekrec/zeekrec/reconciler/engine/journal"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func node(state, cluster, name string) string {
	return filepath.Join(state, "clusters", cluster, "nodes", name)
}

func TestLogs(t *testing.T) {
	state := t.TempDir()
	dir := node(state, "dmz", "w")
	write(t, filepath.Join(dir, "stderr.1"), "# 2026-01-01T00:00:00Z zeekrec: started pid 1, incarnation 1\nfirst\n# 2026-01-01T01:00:00Z zeekrec: started pid 2, incarnation 2\nsecond\n")
	write(t, filepath.Join(dir, "stderr"), "third\n1767229200.500000 received termination signal\nfourth\nno end")
	write(t, filepath.Join(dir, "stdout"), "out\n")
	at := func(h int) time.Time { return time.Date(2026, 1, 1, h, 0, 0, 0, time.UTC) }
	for _, tt := range []struct {
		name string
		o    api.LogOptions
		want string
	}{
		{"both", api.LogOptions{}, "==> stdout <==\nout\n\n==> stderr <==\nthird\n1767229200.500000 received termination signal\nfourth\nno end"},
		{"stdout", api.LogOptions{Stdout: true}, "out\n"},
		{"last lines", api.LogOptions{Stderr: true, Lines: 2}, "fourth\nno end"},
		{"since reaches back to rotated files", api.LogOptions{Stderr: true, Since: at(1)}, "# 2026-01-01T01:00:00Z zeekrec: started pid 2, incarnation 2\nsecond\nthird\n1767229200.500000 received termination signal\nfourth\nno end"},
		{"Zeek's own time counts", api.LogOptions{Stderr: true, Since: time.Unix(1767229200, 1)}, "1767229200.500000 received termination signal\nfourth\nno end"},
		{"nothing is so new", api.LogOptions{Stderr: true, Since: at(23)}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := OfflineNodes(state).Logs(t.Context(), "dmz/w", tt.o, &b); err != nil {
				t.Fatal(err)
			}
			if b.String() != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", b.String(), tt.want)
			}
		})
	}
	for _, key := range []string{"dmz/nobody", "dmz", "../w", "dmz/..", "dmz/a/b"} {
		if err := OfflineNodes(state).Logs(t.Context(), key, api.LogOptions{}, io.Discard); err == nil {
			t.Errorf("logs of %q", key)
		}
	}
}

// output collects what is written, for a reader in another goroutine.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) wait(t *testing.T, want string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		o.mu.Lock()
		got := o.b.String()
		o.mu.Unlock()
		if strings.HasSuffix(got, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %q, want %q at its end", got, want)
		}
		time.Sleep(5 * time.Millisecond) // between two looks
	}
}

func TestFollowSurvivesRotation(t *testing.T) {
	state := t.TempDir()
	path := filepath.Join(node(state, "dmz", "w"), "stderr")
	write(t, path, "one\n")
	ctx, cancel := context.WithCancel(t.Context())
	var out output
	ended := make(chan error, 1)
	go func() {
		ended <- OfflineNodes(state).Logs(ctx, "dmz/w", api.LogOptions{Stderr: true, Follow: true}, &out)
	}()
	out.wait(t, "one\n")
	if err := process.AppendLine(path, "two"); err != nil {
		t.Fatal(err)
	}
	out.wait(t, "two\n")
	if err := os.Truncate(path, 0); err != nil { // as rotation does
		t.Fatal(err)
	}
	if err := process.AppendLine(path, "3"); err != nil {
		t.Fatal(err)
	}
	out.wait(t, "3\n")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestFindNode(t *testing.T) {
	state := t.TempDir()
	for _, n := range []string{node(state, "dmz", "w"), node(state, "campus", "w"), node(state, "dmz", "m")} {
		write(t, filepath.Join(n, "told.json"), "{}")
	}
	for raw, want := range map[string]string{"m": "dmz/m", "campus/w": "campus/w", "w": "", "x": "", "dmz/x": "", "../m": "", "*/m": "", "dmz/../m": "", "": ""} {
		got, err := FindNode(state, raw)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("FindNode(%q) = %q, %v", raw, got, err)
		}
	}
}

func TestOffline(t *testing.T) {
	state := t.TempDir()
	if w, err := Offline(state, "agent-a", time.Now()); w != nil || err != nil {
		t.Fatalf("an empty folder: %v, %v", w, err)
	}
	j, _, err := journal.Open(state)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := j.Append(t.Context(), &engine.Record{Kind: engine.KindBound, Source: "/src"}); err != nil {
		t.Fatal(err)
	}
	me, err := process.Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	local := t.TempDir()
	write(t, filepath.Join(local, "local.zeek"), "")
	told := `{"resource": {"cluster": "dmz", "name": "NAME", "type": "node", "role": "worker", "id": "new", "node": {}, "parts": [{"field": "interface", "values": ["eth1"]}]}}`
	ran := `{"resource": {"cluster": "dmz", "name": "NAME", "type": "node", "role": "worker", "id": "old", "node": {}, "parts": [{"field": "interface", "values": ["eth0"]}, {"field": "nice", "relation": "live", "values": ["5"]}]},
	 "incarnation": 3, "restarts": 1, "live": {"cpus": ["1"]}, "process": {"pid": PID, "start_ticks": TICKS, "boot_id": "BOOT"}, "started_at": "2026-01-01T00:00:00Z",
	 "zeek": {"path": "/opt/zeek/bin/zeek", "version": "8.2.2", "zeekpath": ".:` + local + `"}}`
	fill := func(s, name string, id process.Identity) string {
		return strings.NewReplacer("NAME", name, "PID", strconv.Itoa(id.PID), "TICKS", strconv.FormatUint(id.StartTicks, 10), "BOOT", id.BootID).Replace(s)
	}
	gone := me
	gone.StartTicks++
	write(t, filepath.Join(node(state, "dmz", "alive"), "told.json"), fill(told, "alive", me))
	write(t, filepath.Join(node(state, "dmz", "alive"), "running.json"), fill(ran, "alive", me))
	write(t, filepath.Join(node(state, "dmz", "dead"), "told.json"), fill(told, "dead", gone))
	write(t, filepath.Join(node(state, "dmz", "dead"), "running.json"), fill(ran, "dead", gone))
	write(t, filepath.Join(node(state, "dmz", "forgotten"), "running.json"), fill(ran, "forgotten", gone))
	write(t, filepath.Join(node(state, "dmz", "fresh"), "told.json"), fill(told, "fresh", gone))

	w, err := Offline(state, "agent-a", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	rep := w.Fleet["agent-a"]
	if w.Source != "/src" || !rep.Host.Zeek[""].HasLocal {
		t.Errorf("source %q, Zeek %+v", w.Source, rep.Host.Zeek)
	}
	var names []string
	for _, r := range rep.Resources {
		names = append(names, r.Name+" "+string(r.State))
	}
	if want := []string{"alive RUNNING", "dead STOPPED", "fresh STOPPED"}; !slices.Equal(names, want) {
		t.Fatalf("resources %v, want %v", names, want)
	}
	a := rep.Resources[0]
	if a.PID != me.PID || a.Told != "new" || a.Started != "old" || a.Incarnation != 3 || !a.Healthy || a.Role != "worker" {
		t.Errorf("alive is %+v", a)
	}
	if a.Parts.Get("interface")[0] != "eth0" || a.Parts.Get("nice") != nil || a.Parts.Get("cpus")[0] != "1" {
		t.Errorf("what runs has the parts %v", a.Parts)
	}
	if rep.Resources[2].Parts.Get("interface")[0] != "eth1" || rep.Resources[1].State != observed.Stopped {
		t.Errorf("what was only told has the parts %v", rep.Resources[2].Parts)
	}
	write(t, filepath.Join(node(state, "dmz", "alive"), "told.json"), "{")
	if _, err := Offline(state, "agent-a", time.Now()); err == nil {
		t.Error("a damaged record goes unnoticed")
	}
}

func TestDiagBundle(t *testing.T) {
	state := t.TempDir()
	dir := node(state, "dmz", "w")
	write(t, filepath.Join(dir, "told.json"), `{"resource": {"cluster": "dmz", "name": "w", "type": "node", "node": {"env": {"TOKEN": "hunter2"}}}}`)
	write(t, filepath.Join(dir, "stderr"), "all of it\n")
	write(t, filepath.Join(dir, "stderr.1"), "before\n")
	write(t, filepath.Join(dir, "work", "core.1"), "core")
	write(t, filepath.Join(state, "secret"), "secret")
	if err := os.Symlink(filepath.Join(state, "secret"), filepath.Join(dir, "stdout")); err != nil {
		t.Fatal(err)
	}
	got := unpack(t, state, "dmz/w")
	root := "zeekrec-diag-dmz-w/"
	for name, want := range map[string]string{"stderr": "all of it\n", "stderr.1": "before\n", "core.1": "core", "version.txt": "v1"} {
		if got[root+name] != want {
			t.Errorf("%s is %q, want %q", name, got[root+name], want)
		}
	}
	if strings.Contains(got[root+"told.json"], "hunter2") || !strings.Contains(got[root+"told.json"], "TOKEN") {
		t.Errorf("told.json is %s", got[root+"told.json"])
	}
	if _, ok := got[root+"stdout"]; ok {
		t.Error("a symlink led out of the node's folder")
	}
}

// The memory of a process that encrypts has the keys in it.
func TestDiagLeavesOutTheMemoryOfWhatEncrypts(t *testing.T) {
	state := t.TempDir()
	for name, resource := range map[string]string{
		"w": `{"type": "node", "node": {"curve": "k1"}}`, "broker": `{"type": "broker", "broker": {"curve": ["k1"]}}`,
	} {
		for _, record := range []string{"told.json", "running.json"} {
			dir := node(state, "dmz"+record[:4], name)
			write(t, filepath.Join(dir, record), `{"resource": `+resource+`}`)
			write(t, filepath.Join(dir, "work", "core.1"), "core with keys")
			got := unpack(t, state, "dmz"+record[:4]+"/"+name)
			said := got["zeekrec-diag-dmz"+record[:4]+"-"+name+"/core.1.left-out"]
			if want := filepath.Join(dir, "work", "core.1") + " is left out: it has the cluster's keys in it\n"; said != want {
				t.Errorf("%s of %s: it says %q, want %q", record, name, said, want)
			}
			for file, text := range got {
				if strings.Contains(text, "with keys") {
					t.Errorf("%s of %s: %s has it", record, name, file)
				}
			}
		}
	}
}

// TestDiagEnds: nothing is written for somebody who has gone.
func TestDiagEnds(t *testing.T) {
	state := t.TempDir()
	write(t, filepath.Join(node(state, "dmz", "w"), "stdout"), "x")
	gone := errors.New("whoever asked has gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	var b bytes.Buffer
	err := OfflineNodes(state).Diag(ctx, "dmz/w", nil, time.Unix(1, 0), &b)
	if !errors.Is(err, gone) || err.Error() != "cannot write the bundle for dmz/w: whoever asked has gone" || b.Len() > 0 {
		t.Errorf("%v, and %d bytes", err, b.Len())
	}
}

// unpack the bundle of a node: its files by name.
func unpack(t *testing.T, state, key string) map[string]string {
	t.Helper()
	var b bytes.Buffer
	if err := OfflineNodes(state).Diag(t.Context(), key, map[string][]byte{"version.txt": []byte("v1")}, time.Unix(1, 0), &b); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		data, _ := io.ReadAll(r)
		got[h.Name] = string(data)
	}
}
