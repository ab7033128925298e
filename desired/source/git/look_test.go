package git

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/desired/source"
)

// TestReadsWhatAFolderSourceReads: a folder of a commit, with the same rules about names.
func TestReadsWhatAFolderSourceReads(t *testing.T) {
	o := newOrigin(t)
	o.commit(map[string]string{
		"README": "no cluster", "clusters/dmz.cfg": dmz, "clusters/dmz/local.zeek": "a", "clusters/dmz/site/a.zeek": "b", "clusters/dmz/.hidden": "x",
		"clusters/dmz/a.zeek~": "x", "clusters/campus.cfg": dmz + "\n", "clusters/.dmz.cfg": "x", "clusters/notes.txt": "x", "clusters/sub/other.cfg": dmz, "top.cfg": dmz,
	})
	s := follow(t, o.url()+"?path=clusters", Options{}).good(t)
	if d := cmp.Diff("campus.cfg 26\ndmz.cfg 25 local.zeek=a site/a.zeek=b\n", text(s)); d != "" {
		t.Error(d)
	}
	c := s.Commit
	if c.Author != "Ada [31m <ada@example.org>" || c.Subject != "change it" || !c.Descends || c.Base != "" || len(c.ID) != 40 {
		t.Errorf("the commit is %+v", c)
	}
	folder := filepath.Join(t.TempDir(), "clusters")
	for name, data := range map[string]string{"dmz.cfg": dmz, "dmz/local.zeek": "a", "dmz/site/a.zeek": "b", "campus.cfg": dmz + "\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(folder, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := source.Read(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	for i := range f.Files {
		if f.Files[i].Revision() != s.Files[i].Revision() {
			t.Errorf("%s has another revision than in a folder", f.Files[i].File)
		}
	}
}

// TestUnchangedIsTheSame: as long as the commit is the same, so is the snapshot, and nothing is read again.
func TestUnchangedIsTheSame(t *testing.T) {
	o := newOrigin(t)
	first := o.commit(map[string]string{"dmz.cfg": dmz})
	base := ""
	l := follow(t, o.url(), Options{Base: func() string { return base }})
	s := l.good(t)
	base = first.String() // it was accepted
	if l.good(t) != s {
		t.Error("the same commit was read twice")
	}
	o.commit(map[string]string{"dmz.cfg": dmz + "\n"})
	if n := l.good(t); n == s || n.Commit.Base != base || !n.Commit.Descends || len(n.Commit.Passed) != 0 {
		t.Errorf("after a push: %+v", n.Commit)
	}
}

// TestOneQuestion: an unchanged repository is asked once, for its refs, and nothing is fetched; a change takes one request more.
func TestOneQuestion(t *testing.T) {
	o := newOrigin(t)
	o.commit(map[string]string{"dmz.cfg": dmz})
	backend := o.serve().Config.Handler
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.RequestURI())
		backend.ServeHTTP(w, r)
	}))
	defer s.Close()
	const refs, pack = "GET /zeek.git/info/refs?service=git-upload-pack", "POST /zeek.git/git-upload-pack"
	l := follow(t, s.URL+"/zeek.git", Options{})
	for _, want := range [][]string{{refs, pack}, {refs}, {refs}} {
		asked = nil
		l.good(t)
		if !slices.Equal(asked, want) {
			t.Errorf("it was asked %q, want %q", asked, want)
		}
	}
	o.commit(map[string]string{"dmz.cfg": dmz + "\n"})
	asked = nil
	if l.good(t); !slices.Equal(asked, []string{refs, pack}) {
		t.Errorf("after a push it was asked %q", asked)
	}
}

// TestWhatIsWrongWithOneCluster stays with it.
func TestWhatIsWrongWithOneCluster(t *testing.T) {
	o := newOrigin(t)
	o.commit(map[string]string{
		"shared/a.zeek": "shared", "ok.cfg": dmz, "ok/site": "->../shared", "ok/link": "->../shared/a.zeek",
		"linked.cfg": "->ok.cfg", "out.cfg": dmz, "out/link": "->../../../etc/passwd", "abs.cfg": "->/etc/passwd",
		"dangling.cfg": "->gone.cfg", "loop.cfg": "->loop2.cfg", "loop2.cfg": "->loop.cfg", "round.cfg": dmz, "round/link": "->../round",
		"lfs.cfg": dmz, "lfs/intel.dat": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
		"tofolder.cfg": "->shared",
	})
	s := follow(t, o.url(), Options{}).good(t)
	want := map[string]source.Kind{
		"out": source.Outside, "abs": source.Outside, "dangling": source.Dangling, "loop": source.Loop, "loop2": source.Loop, "round": source.Loop,
		"lfs": source.NotAFile, "tofolder": source.NotAFile,
	}
	for _, f := range s.Files {
		if k := want[f.Name]; k == "" && f.Err != nil || k != "" && !isKind(f.Err, k) {
			t.Errorf("%s: %v, want kind %q", f.File, f.Err, k)
		}
	}
	ok, _ := s.Find("ok")
	if string(ok.Tree["site/a.zeek"].Data) != "shared" || string(ok.Tree["link"].Data) != "shared" {
		t.Errorf("what symlinks lead to: %v", ok.Tree)
	}
	if l, _ := s.Find("linked"); string(l.Data) != dmz {
		t.Errorf("a linked file: %q", l.Data)
	}
}

// TestTrouble: whatever happens to the repository is an error of the source, never a removal; and the next good commit heals.
func TestTrouble(t *testing.T) {
	o := newOrigin(t)
	first := o.commit(map[string]string{"clusters/dmz.cfg": dmz})
	l := follow(t, o.url()+"?ref=main&path=clusters", Options{})
	l.good(t)

	o.must(o.repo.Storer.RemoveReference("refs/heads/main"))
	l.bad(t, NoSuchRef, `the branch or tag "main" is not there`)
	o.must(o.repo.Storer.SetReference(plumbing.NewHashReference("refs/heads/main", first)))
	l.good(t)

	o.must(os.Rename(o.dir, o.dir+".away"))
	l.bad(t, source.Missing, "it does not exist")
	o.must(os.Rename(o.dir+".away", o.dir))
	l.good(t)

	o.commit(map[string]string{"clusters/dmz.cfg": "", "other": "x"})
	if c := l.bad(t, NoSuchRef, "there is no folder clusters"); c == nil {
		t.Error("the error names no commit")
	}
	o.commit(map[string]string{"clusters/dmz.cfg": dmz + "# two\n"})
	l.good(t)

	// Every object that matters, damaged in turn.
	o.commit(map[string]string{"clusters/dmz.cfg": dmz + "# three\n"})
	files, err := filepath.Glob(filepath.Join(o.dir, "objects", "??", "*"))
	o.must(err)
	damaged := 0
	for _, f := range files {
		was, err := os.ReadFile(f)
		o.must(err)
		for _, is := range [][]byte{nil, was[:len(was)/2], append(append([]byte{}, was[:len(was)-6]...), 1, 2, 3, 4, 5, 6)} {
			o.must(os.Chmod(f, 0o644))
			o.must(os.WriteFile(f, is, 0o644))
			fresh := follow(t, l.url.String(), Options{})
			s, _, err := fresh.now(t)
			if err != nil {
				damaged++
			} else if d := cmp.Diff("dmz.cfg 33\n", text(s)); d != "" {
				t.Errorf("with %s damaged: %s", f, d)
			}
		}
		o.must(os.WriteFile(f, was, 0o644))
	}
	if damaged < 9 { // a commit, two trees, a blob, three ways
		t.Errorf("only %d kinds of damage were noticed", damaged)
	}
	l.good(t)
}

// TestAncestry: what descends, what was passed, and what does not.
func TestAncestry(t *testing.T) {
	o := newOrigin(t)
	var hs []plumbing.Hash
	for i := range 120 {
		hs = append(hs, o.commit(map[string]string{"dmz.cfg": fmt.Sprintf("%s# %d\n", dmz, i)}))
	}
	o.reset(hs[10])
	side := o.commit(map[string]string{"dmz.cfg": dmz + "# side\n"})
	o.reset(hs[119])
	server := o.serve()
	for i, url := range []string{o.url(), server.URL + "/zeek.git"} {
		for j, c := range []struct {
			name     string
			base     string
			descends bool
			passed   int
		}{
			{"the parent", hs[118].String(), true, 0},
			{"twenty before", hs[99].String(), true, 19},
			{"beyond what is fetched first", hs[9].String(), true, 109},
			{"another branch", side.String(), false, 0},
			{"one that is not there", strings.Repeat("1", 40), false, 0},
		} {
			if i == 1 && j < 2 {
				continue // the same in less time
			}
			s := follow(t, url, Options{Base: func() string { return c.base }}).good(t)
			if s.Commit.Descends != c.descends || len(s.Commit.Passed) != c.passed || s.Commit.Base != c.base {
				t.Errorf("%s, %s: descends %t, passed %d", url, c.name, s.Commit.Descends, len(s.Commit.Passed))
			}
			if c.passed > 0 && (s.Commit.Passed[c.passed-1].ID != hs[118].String() || s.Commit.Passed[0].ID != hs[119-c.passed].String()) {
				t.Errorf("%s: the passed ones are not in order", c.name)
			}
		}
		// Back to an older one is no way forward.
		o.reset(hs[50])
		if s := follow(t, url, Options{Base: func() string { return hs[60].String() }}).good(t); s.Commit.Descends {
			t.Error("an ancestor was taken for a descendant")
		}
		o.reset(hs[119])
		// A certain commit.
		if s := follow(t, url+"?ref="+hs[5].String(), Options{}).good(t); s.Commit.ID != hs[5].String() {
			t.Errorf("got %s", s.Commit.ID)
		}
	}
}

// TestTooLarge: what is too large is not taken, is said, is not fetched again and again, and is healed by the next commit.
func TestTooLarge(t *testing.T) {
	o := newOrigin(t)
	good := o.commit(map[string]string{"dmz.cfg": dmz})
	asked := 0
	backend := o.serve()
	counting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			asked++
		}
		backend.Config.Handler.ServeHTTP(w, r)
	}))
	defer counting.Close()
	l := follow(t, counting.URL+"/zeek.git", Options{MaxSize: 100 << 10})
	l.good(t)

	noise := make([]byte, 300<<10)
	_, _ = rand.Read(noise)
	o.commit(map[string]string{"noise": string(noise)})
	l.bad(t, source.TooLarge, "packed, is larger than 102400 bytes")
	n := asked
	if l.bad(t, source.TooLarge, "packed"); asked != n {
		t.Error("it was fetched again")
	}
	o.reset(good)
	o.commit(map[string]string{"bomb": strings.Repeat("0", 50<<20)})
	l.bad(t, source.TooLarge, "holds an object that is larger")
	o.reset(good)
	files := map[string]string{}
	for i := range 15 {
		files[fmt.Sprint("f", i)] = strings.Repeat(string(rune('a'+i)), 90<<10)
	}
	o.commit(files)
	l.bad(t, source.TooLarge, "unpacked, is larger than 10 times")
	o.reset(good)
	l.good(t)
}

// TestHTTPCredentials: a token is sent, and asked for; never in plain text over a network.
func TestHTTPCredentials(t *testing.T) {
	o := newOrigin(t)
	o.commit(map[string]string{"dmz.cfg": dmz})
	backend := o.serve().Config.Handler
	private := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pass, _ := r.BasicAuth(); pass != "s3cret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	})
	s := httptest.NewServer(private)
	defer s.Close()
	follow(t, s.URL+"/zeek.git", Options{}).bad(t, Unauthorized, "--git-token-file")
	file := filepath.Join(t.TempDir(), "token")
	follow(t, s.URL+"/zeek.git", Options{Auth: Auth{TokenFile: file}}).bad(t, Misused, "cannot read the token")
	o.must(os.WriteFile(file, []byte("s3cret\n"), 0o600))
	follow(t, s.URL+"/zeek.git", Options{Auth: Auth{TokenFile: file}}).good(t)
	follow(t, "http://zeek.invalid/zeek.git", Options{Auth: Auth{Token: "s3cret"}}).bad(t, Misused, "use https")

	tls := httptest.NewTLSServer(private)
	defer tls.Close()
	follow(t, tls.URL+"/zeek.git", Options{Auth: Auth{Token: "s3cret"}}).bad(t, UnknownHost, "--git-ca-bundle")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	o.must(os.WriteFile(ca, pemOf(tls.Certificate().Raw), 0o600))
	follow(t, tls.URL+"/zeek.git", Options{Auth: Auth{Token: "s3cret", CABundle: ca}}).good(t)
	follow(t, s.URL+"/nothing.git", Options{Auth: Auth{Token: "s3cret"}}).bad(t, source.Missing, "no such repository")
	s.Close()
	follow(t, s.URL+"/zeek.git", Options{}).bad(t, Unreachable, "nobody listens there")
}

// TestFollow: an update after each look, at once when asked, backing off when something is wrong.
func TestFollow(t *testing.T) {
	o := newOrigin(t)
	o.commit(map[string]string{"dmz.cfg": dmz})
	synctest.Test(t, func(t *testing.T) {
		u, err := Parse(o.url())
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(u, Options{Dir: filepath.Join(t.TempDir(), "git")})
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = s.Run(t.Context()) }()
		one := <-s.Updates()
		if one.Err != nil || one.Snapshot == nil {
			t.Fatalf("%+v", one)
		}
		two := <-s.Updates()
		if d := two.CheckedAt.Sub(one.CheckedAt); two.Snapshot != one.Snapshot || d < 54e9 || d > 66e9 {
			t.Errorf("the second look after %s", d)
		}
		o.commit(map[string]string{"dmz.cfg": dmz + "\n"})
		s.Sync()
		three := <-s.Updates()
		if three.Snapshot == two.Snapshot || !three.CheckedAt.Equal(two.CheckedAt) {
			t.Error("asked, it did not look at once")
		}
		if err := os.Rename(o.dir, o.dir+".away"); err != nil {
			t.Fatal(err)
		}
		var gaps []int
		last := three
		for range 9 {
			u := <-s.Updates()
			if u.Err == nil || u.Snapshot != nil {
				t.Fatalf("%+v", u)
			}
			gaps = append(gaps, int(u.CheckedAt.Sub(last.CheckedAt).Seconds()+0.5))
			last = u
		}
		if gaps[1] != 1 || gaps[3] < 3 || gaps[3] > 5 || gaps[8] < 54 || gaps[8] > 66 {
			t.Errorf("pauses after failures: %v", gaps)
		}
	})
}
