package git

import (
	"context"
	"errors"
	"fmt"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-billy/v5/memfs"
	"github.com/go-git/go-billy/v5/osfs"
	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/source"
)

// origin is a bare repository with a work tree in memory to fill it from. No git program is needed.
type origin struct {
	t    testing.TB
	dir  string
	repo *gogit.Repository
	at   time.Time
}

func newOrigin(t testing.TB) *origin {
	t.Helper()
	o := &origin{t: t, dir: filepath.Join(t.TempDir(), "zeek.git"), at: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
	s := filesystem.NewStorage(osfs.New(o.dir), cache.NewObjectLRUDefault())
	r, err := gogit.InitWithOptions(s, memfs.New(), gogit.InitOptions{DefaultBranch: "refs/heads/main"})
	o.must(err)
	o.repo = r
	return o
}

func (o *origin) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

// commit writes files ("" removes one; "->x" makes a symlink to x) and commits them to the branch that is checked out.
func (o *origin) commit(files map[string]string, opts ...func(*gogit.CommitOptions)) plumbing.Hash {
	o.t.Helper()
	w, err := o.repo.Worktree()
	o.must(err)
	for name, text := range files {
		_ = w.Filesystem.Remove(name)
		if text == "" {
			_, err = w.Remove(name)
			o.must(err)
			continue
		}
		if to, ok := strings.CutPrefix(text, "->"); ok {
			o.must(w.Filesystem.Symlink(to, name))
		} else {
			f, err := w.Filesystem.Create(name)
			o.must(err)
			_, err = f.Write([]byte(text))
			o.must(err)
			o.must(f.Close())
		}
		_, err = w.Add(name)
		o.must(err)
	}
	o.at = o.at.Add(time.Minute)
	who := &object.Signature{Name: "Ada\x1b[31m", Email: "ada@example.org", When: o.at}
	c := &gogit.CommitOptions{Author: who, AllowEmptyCommits: true}
	for _, f := range opts {
		f(c)
	}
	h, err := w.Commit("change it\n\nwith a body", c)
	o.must(err)
	return h
}

// reset makes main lead to a commit, whatever it led to: what a forced push does.
func (o *origin) reset(h plumbing.Hash) {
	o.t.Helper()
	w, err := o.repo.Worktree()
	o.must(err)
	o.must(w.Reset(&gogit.ResetOptions{Commit: h, Mode: gogit.HardReset}))
}

func (o *origin) url() string { return "file://" + o.dir }

// follow makes a looker; a change of its options is the caller's.
func follow(t *testing.T, url string, opts Options) *looker {
	t.Helper()
	u, err := Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	opts.Dir = t.TempDir()
	l := &looker{url: u, opts: opts.withDefaults()}
	t.Cleanup(func() {
		l.close()
		if left, _ := os.ReadDir(opts.Dir); len(left) > 0 {
			t.Errorf("a look has left %s behind", left[0].Name())
		}
	})
	return l
}

func (l *looker) now(t *testing.T) (*desired.Snapshot, *desired.Commit, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return l.look(ctx, time.Now())
}

// good looks, and has to see something.
func (l *looker) good(t *testing.T) *desired.Snapshot {
	t.Helper()
	s, _, err := l.now(t)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// bad looks, and has to fail in a certain way.
func (l *looker) bad(t *testing.T, want source.Kind, text string) *desired.Commit {
	t.Helper()
	s, c, err := l.now(t)
	e, ok := errors.AsType[*source.Error](err)
	if s != nil || !ok || e.Kind != want || !strings.Contains(e.Error(), text) {
		t.Fatalf("got %v, %v (%T), want kind %s and %q", s, err, err, want, text)
	}
	return c
}

// program finds a program of git's, or skips the test.
func program(t testing.TB, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "--exec-path").Output()
	if err != nil {
		t.Skip("needs git")
	}
	path := filepath.Join(strings.TrimSpace(string(out)), name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("needs %s", path)
	}
	return path
}

// serve serves the folder above a repository over http, as forges do.
func (o *origin) serve() *httptest.Server {
	o.t.Helper()
	s := httptest.NewServer(&cgi.Handler{
		Path: program(o.t, "git-http-backend"), Env: []string{
			"GIT_PROJECT_ROOT=" + filepath.Dir(o.dir), "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
	})
	o.t.Cleanup(s.Close)
	return s
}

const dmz = "[manager]\nrole = manager\n"

func text(s *desired.Snapshot) string {
	var b strings.Builder
	for _, f := range s.Files {
		fmt.Fprintf(&b, "%s %d", f.File, len(f.Data))
		if f.Err != nil {
			fmt.Fprintf(&b, " error %v", f.Err)
		}
		for _, n := range []string{"local.zeek", "site/a.zeek", "intel.dat", "link", "tool"} {
			if x, ok := f.Tree[n]; ok {
				fmt.Fprintf(&b, " %s=%s", n, x.Data)
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}
