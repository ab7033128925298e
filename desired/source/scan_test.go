package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zeekrec/zeekrec/desired"
)

// lay makes a folder from lines: "file=content", "file -> target", "dir/", "pipe|", "big@bytes".
func lay(t *testing.T, dir, layout string) {
	t.Helper()
	for line := range strings.SplitSeq(strings.TrimSpace(layout), "\n") {
		line = strings.TrimSpace(line)
		name, target, isLink := strings.Cut(line, " -> ")
		file, data, _ := strings.Cut(line, "=")
		big, size, isBig := strings.Cut(line, "@")
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		switch {
		case line == "":
		case isLink:
			must(t, os.Symlink(strings.ReplaceAll(target, "$DIR", dir), filepath.Join(dir, name)))
		case strings.HasSuffix(line, "/"):
			must(t, os.MkdirAll(filepath.Join(dir, line), 0o755))
		case strings.HasSuffix(line, "|"):
			must(t, unix.Mkfifo(filepath.Join(dir, strings.TrimSuffix(line, "|")), 0o600))
		case isBig:
			var n int64
			_, err := fmt.Sscan(size, &n)
			must(t, err)
			write(t, filepath.Join(dir, big), "")
			must(t, os.Truncate(filepath.Join(dir, big), n))
		default:
			write(t, filepath.Join(dir, file), data)
		}
	}
}

// held is a snapshot in a line: "dmz=cfg{local.zeek=x}", "dmz!loop".
func held(snap *desired.Snapshot) string {
	var out []string
	for _, cf := range snap.Files {
		if cf.Err != nil {
			out = append(out, cf.Name+"!"+string(kindOfError(cf.Err)))
			continue
		}
		s := cf.Name + "=" + string(cf.Data)
		if cf.Tree != nil {
			var files []string
			for name, f := range cf.Tree {
				if f.Exec {
					name += "*"
				}
				files = append(files, name+"="+string(f.Data))
			}
			slices.Sort(files)
			s += "{" + strings.Join(files, ",") + "}"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestRead(t *testing.T) {
	tests := []struct {
		name, layout string
		path         string // in the folder; empty: the folder
		want         string // "error:KIND" where Read fails
	}{
		{name: "nothing", layout: "README.md=x", want: ""},
		{name: "clusters, sorted", layout: "dmz.cfg=1\ncampus.cfg=2\na-b.cfg=3\na.cfg=4", want: "a=4 a-b=3 campus=2 dmz=1"},
		{name: "empty file", layout: "dmz.cfg=", want: "dmz="},
		{name: "what editors leave", layout: ".dmz.cfg.swp=x\ndmz.cfg~=x\n.#dmz.cfg -> me@host\n#dmz.cfg#=x\ndmz.cfg.tmp=x\n.hidden.cfg=x\n.cfg=x\ndmz.cfg___jb_tmp___=x\nDMZ.CFG=x\nsub/dmz.cfg=x\n.git/x.cfg=x", want: ""},
		{name: "a folder named like one", layout: "dmz.cfg/inner.cfg=x\nother.cfg -> dmz.cfg", want: ""},
		{name: "not a file", layout: "dmz.cfg|\na.cfg=1", want: "a=1 dmz!not-a-file"},
		{name: "too large", layout: fmt.Sprintf("dmz.cfg@%d\na.cfg=1", MaxFileBytes+1), want: "a=1 dmz!too-large"},
		{name: "symlink inside", layout: "store/v1.txt=1\ndmz.cfg -> store/v1.txt", want: "dmz=1"},
		{name: "symlink outside", layout: "dmz.cfg -> ../../../../../../etc/hostname\na.cfg=1", want: "a=1 dmz!outside"},
		{name: "absolute symlink", layout: "x=1\ndmz.cfg -> $DIR/x", want: "dmz!outside"},
		{name: "symlink to nothing", layout: "dmz.cfg -> gone", want: "dmz!dangling"},
		{name: "symlink loop", layout: "dmz.cfg -> b\nb -> dmz.cfg", want: "dmz!loop"},
		{
			name: "Kubernetes", layout: `..2026_11_21/dmz.cfg=1
				..2026_11_21/campus.cfg=2
				..data -> ..2026_11_21
				dmz.cfg -> ..data/dmz.cfg
				campus.cfg -> ..data/campus.cfg
				campus/..v1/local.zeek=x
				campus/..data -> ..v1
				campus/local.zeek -> ..data/local.zeek`,
			want: "campus=2{local.zeek=x} dmz=1",
		},
		{
			name: "a cluster's files", layout: `dmz.cfg=1
				dmz/local.zeek=x
				dmz/site/deep/er/a.zeek=y
				dmz/.hidden/z=n
				dmz/local.zeek~=n
				dmz/site/.#a.zeek -> me@host
				dmz/pipe|
				dmz/empty/
				other/local.zeek=n`,
			want: "dmz=1{local.zeek=x,site/deep/er/a.zeek=y}",
		},
		{name: "an empty folder of files", layout: "dmz.cfg=1\ndmz/", want: "dmz=1"},
		{name: "a file where they would be", layout: "dmz.cfg=1\ndmz=x", want: "dmz=1"},
		{name: "files by symlink", layout: "dmz.cfg=1\nshared/a.zeek=x\ndmz -> shared\nb.cfg=2\nb/site -> ../shared", want: "b=2{site/a.zeek=x} dmz=1{a.zeek=x}"},
		{name: "a file outside", layout: "dmz.cfg=1\ndmz/passwd -> ../../../../../../../etc/passwd", want: "dmz!outside"},
		{name: "a folder outside", layout: "dmz.cfg=1\ndmz/etc -> /etc", want: "dmz!outside"},
		{name: "a file to nothing", layout: "dmz.cfg=1\ndmz/a -> gone", want: "dmz!dangling"},
		{name: "folders in a circle", layout: "dmz.cfg=1\ndmz/a/b/back -> ..", want: "dmz!loop"},
		{name: "all of it gone", layout: "dmz.cfg=1\ndmz -> gone", want: "dmz!dangling"},
		{name: "too large in all", layout: "dmz.cfg=1\n" + fmt.Sprintf("dmz/a@%d\ndmz/b@%d", MaxTreeBytes/2, MaxTreeBytes/2+1), want: "dmz!too-large"},

		{name: "single", layout: "dmz.cfg=1\ndmz/a=x\nother.cfg=2", path: "dmz.cfg", want: "dmz=1{a=x}"},
		{name: "single by symlink to wherever", layout: "x/real=1\nconf/dmz.cfg -> $DIR/x/real", path: "conf/dmz.cfg", want: "dmz=1"},
		{name: "single, gone", layout: "other.cfg=1", path: "dmz.cfg", want: "error:missing"},
		{name: "single, to nothing", layout: "dmz.cfg -> gone", path: "dmz.cfg", want: "error:missing"},
		{name: "single, a pipe", layout: "dmz.cfg|", path: "dmz.cfg", want: "dmz!not-a-file"},
		{name: "folder by symlink", layout: "v1/dmz.cfg=1\ncurrent -> v1", path: "current", want: "dmz=1"},
		{name: "folder named like a file", layout: "x.cfg/dmz.cfg=1", path: "x.cfg", want: "dmz=1"},
		{name: "missing", layout: "a.cfg=1", path: "gone", want: "error:missing"},
		{name: "below a file", layout: "file=1", path: "file/clusters", want: "error:not-a-folder"},
		{name: "not a folder", layout: "file=1", path: "file", want: "error:not-a-folder"},
		{name: "loop", layout: "a -> b\nb -> a", path: "a", want: "error:loop"},
		{name: "loop above", layout: "a -> b\nb -> a", path: "a/clusters", want: "error:loop"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			lay(t, dir, tt.layout)
			snap, err := Read(t.Context(), filepath.Join(dir, tt.path))
			got := ""
			if err != nil {
				got = "error:" + string(kindOfError(err))
			} else {
				got = held(snap)
			}
			if got != tt.want {
				t.Fatalf("Read gives %q, %v; want %q", got, err, tt.want)
			}
			sayWell(t, err)
			if err == nil {
				for _, cf := range snap.Files {
					sayWell(t, cf.Err)
					if cf.Err != nil && (cf.Data != nil || cf.Tree != nil) {
						t.Errorf("%s: there is content beside the error", cf.File)
					}
				}
			}
		})
	}
}

// sayWell wants errors to say what, why and the way out.
func sayWell(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Kind == "" || e.Subject == "" || e.Why == "" || e.Hint == "" || !strings.HasPrefix(err.Error(), "cannot read ") {
		t.Errorf("the error is not of use to a person: %#v", err)
	}
}

func TestReadRelativePath(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write(t, "dmz.cfg", "1")
	snap, err := Read(t.Context(), ".")
	must(t, err)
	if held(snap) != "dmz=1" || !filepath.IsAbs(snap.URL) {
		t.Errorf("Read gives %s of %s", held(snap), snap.URL)
	}
}

func TestReadExec(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "dmz.cfg"), "1")
	write(t, filepath.Join(dir, "dmz/run.sh"), "x")
	must(t, os.Chmod(filepath.Join(dir, "dmz/run.sh"), 0o755))
	snap, err := Read(t.Context(), dir)
	must(t, err)
	if got := held(snap); got != "dmz=1{run.sh*=x}" {
		t.Errorf("Read gives %q", got)
	}
}

func TestReadTooManyFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "dmz.cfg"), "1")
	must(t, os.MkdirAll(filepath.Join(dir, "dmz/a"), 0o755))
	for i := range MaxTreeFiles + 1 {
		at := filepath.Join(dir, "dmz", fmt.Sprint(i))
		if i%2 == 0 { // no folder is too large by itself
			at = filepath.Join(dir, "dmz/a", fmt.Sprint(i))
		}
		must(t, os.Link(filepath.Join(dir, "dmz.cfg"), at))
	}
	snap, err := Read(t.Context(), dir)
	must(t, err)
	if got := held(snap); got != "dmz!too-large" {
		t.Errorf("Read gives %.60q", got)
	}
}

func TestReadTooManyClusters(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "c.cfg"), "1")
	for i := range MaxClusters {
		must(t, os.Link(filepath.Join(dir, "c.cfg"), filepath.Join(dir, fmt.Sprintf("c%d.cfg", i))))
	}
	_, err := Read(t.Context(), dir)
	if kindOfError(err) != TooMany {
		t.Errorf("Read gives %v", err)
	}
	sayWell(t, err)
}

func TestReadCanceled(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "dmz.cfg"), "1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Read(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("Read gives %v", err)
	}
}

// What has not changed is not kept twice.
func TestScanKeepsBytes(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "dmz.cfg"), marked(1, 10))
	write(t, filepath.Join(dir, "dmz/a"), marked(2, 10))
	s := &scanner{path: dir}
	one, two := s.scan(t.Context()).files[0].file, s.scan(t.Context()).files[0].file
	if &one.Data[0] != &two.Data[0] || &one.Tree["a"].Data[0] != &two.Tree["a"].Data[0] {
		t.Error("a second scan has bytes of its own")
	}
	write(t, filepath.Join(dir, "dmz.cfg"), marked(3, 5))
	three := s.scan(t.Context()).files[0].file
	if string(one.Data) != marked(1, 10) || string(three.Data) != marked(3, 5) {
		t.Error("a scan changed the bytes of an earlier one")
	}
}

func TestTrail(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	lay(t, dir, `git/.worktrees/v1/clusters/dmz.cfg=1
		git/current -> .worktrees/v1
		abs -> $DIR/git/current
		up/and/down -> ../../git
		loop -> loop`)
	tests := map[string]string{
		"git/current/clusters": "git:current git/.worktrees/v1:clusters",
		"abs/clusters":         ":abs git:current git/.worktrees/v1:clusters",
		"up/and/down/current":  "up/and:down git:current git/.worktrees:v1",
		"gone/and/away":        ":gone",
		"git/gone":             "git:gone",
		"git":                  ":git",
	}
	for path, want := range tests {
		var got []string
		for _, st := range trail(filepath.Join(dir, path)) {
			got = append(got, strings.Trim(strings.TrimPrefix(st.dir, dir), "/")+":"+st.name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("trail(%s) is %v, want %v", path, got, want)
		}
	}
	if n := len(trail(filepath.Join(dir, "loop"))); n > maxLinks+1 {
		t.Errorf("a loop makes %d steps", n)
	}
}

func BenchmarkScan(b *testing.B) {
	dir := b.TempDir()
	for i := range 10 {
		name := filepath.Join(dir, fmt.Sprintf("c%d", i))
		_ = os.MkdirAll(filepath.Join(name, "site"), 0o755)
		_ = os.WriteFile(name+".cfg", []byte(marked(i, 60)), 0o644)
		for j := range 20 {
			_ = os.WriteFile(filepath.Join(name, "site", fmt.Sprint(j)), []byte(marked(j, 100)), 0o644)
		}
	}
	s := &scanner{path: dir}
	b.ReportAllocs()
	for b.Loop() {
		if sc := s.scan(b.Context()); sc.err != nil || len(sc.files) != 10 {
			b.Fatal(sc.err)
		}
	}
}
