package agent

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

func idle(t *testing.T) *Agent {
	t.Helper()
	a, err := New(Config{StateDir: t.TempDir(), Instance: "agent-a", Launcher: []string{"/bin/false"}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestPutFiles(t *testing.T) {
	a := idle(t)
	tree := desired.Tree{
		"local.zeek": {Data: []byte("@load ./site")}, "site/deep/x.zeek": {Data: []byte("1")}, "run.sh": {Data: []byte("#!"), Exec: true},
	}
	dir := filepath.Join(a.cfg.StateDir, "clusters", "dmz", "files", tree.Hash())
	check := func() {
		t.Helper()
		for name, f := range tree {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || string(b) != string(f.Data) {
				t.Errorf("%s: %q, %v", name, b, err)
			}
			info, err := os.Stat(filepath.Join(dir, name))
			if want := map[bool]os.FileMode{false: 0o444, true: 0o555}[f.Exec]; err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v", name, info.Mode(), err)
			}
		}
	}
	for range 2 {
		if err := a.PutFiles(t.Context(), "dmz", tree); err != nil {
			t.Fatal(err)
		}
		check()
	}
	// What somebody has changed is put right.
	for _, spoil := range []func() error{
		func() error { return os.Remove(filepath.Join(dir, "local.zeek")) },
		func() error { return os.WriteFile(filepath.Join(dir, "more"), nil, 0o600) },
		func() error {
			return os.Rename(filepath.Join(dir, "run.sh"), filepath.Join(dir, "local.zeek"))
		},
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if err := a.PutFiles(t.Context(), "dmz", tree); err != nil {
			t.Fatal(err)
		}
		check()
	}
	if left, _ := os.ReadDir(filepath.Dir(dir)); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	if err := a.PutFiles(t.Context(), "dmz", nil); err != nil {
		t.Error(err)
	}
}

func TestPutFilesStaysWithin(t *testing.T) {
	a := idle(t)
	before, _ := os.ReadDir(a.cfg.StateDir)
	for _, name := range []string{"../x", "a/../../x", "/etc/x", "", ".", "a//b", "a/", "./a", "a\x00b", `a\b`, ".."} {
		tree := desired.Tree{"good": {Data: []byte("1")}, name: {Data: []byte("2")}}
		if err := a.PutFiles(t.Context(), "dmz", tree); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
	for _, cluster := range []string{"../dmz", "", "..", "a/b"} {
		if err := a.PutFiles(t.Context(), cluster, desired.Tree{"a": {}}); err == nil {
			t.Errorf("cluster %q was taken", cluster)
		}
	}
	if err := a.PutFiles(t.Context(), "dmz", desired.Tree{"a": {}, "a/b": {}}); err == nil {
		t.Error("a file that is a folder was taken")
	}
	after, _ := os.ReadDir(a.cfg.StateDir)
	if len(before) != len(after) {
		t.Errorf("beside it: %v", after)
	}
	if left, _ := os.ReadDir(filepath.Join(a.clusterDir("dmz"), "files")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func FuzzCheckPath(f *testing.F) {
	for _, s := range []string{"a", "a/b", "../a", "a/../b", "/", "a\x00", "...", "a/.."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if checkPath(name) != nil {
			return
		}
		if p := filepath.Join("/base", name); filepath.Dir(p) != filepath.Join("/base", filepath.Dir(name)) || p == "/base" {
			t.Errorf("%q leads to %s", name, p)
		}
	})
}

func TestSweepRemovesWhatNothingUses(t *testing.T) {
	a := idle(t)
	gen := func(hash string) string { return filepath.Join(a.clusterDir("dmz"), "gen", hash) }
	tree := func(hash string) string { return filepath.Join(a.clusterDir("dmz"), "files", hash) }
	old := time.Now().Add(-2 * time.Hour)
	for _, d := range []string{gen("used"), gen("unused"), gen("new"), gen(".new-123"), tree("told"), tree("ran"), tree("unused")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if d != gen("new") {
			if err := os.Chtimes(d, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	f := a.folder("dmz", "w1")
	if err := os.MkdirAll(string(f), 0o755); err != nil {
		t.Fatal(err)
	}
	told := toldRecord{Resource: desired.Resource{Node: &desired.NodeSpec{Files: "told"}}}
	ran := runningRecord{Resource: desired.Resource{Node: &desired.NodeSpec{Files: "ran"}}, Command: command{GenDir: gen("used")}}
	if err := writeJSON(f.running(), ran); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.told(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.sweep() // a record that cannot be read may name anything
	if !isDir(gen("unused")) {
		t.Error("swept without knowing")
	}
	if err := writeJSON(f.told(), told); err != nil {
		t.Fatal(err)
	}
	a.sweep()
	for d, want := range map[string]bool{
		gen("used"): true, gen("unused"): false, gen("new"): true, gen(".new-123"): false,
		tree("told"): true, tree("ran"): true, tree("unused"): false,
	} {
		if isDir(d) != want {
			t.Errorf("%s: there %t, want %t", d, !want, want)
		}
	}
}
