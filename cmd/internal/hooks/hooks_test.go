package hooks

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/reconciler/engine"
	"github.com/zeekrec/zeekrec/reconciler/engine/news"
)

func TestReadFile(t *testing.T) {
	read := func(text string) ([]Hook, error) {
		path := filepath.Join(t.TempDir(), "hooks.ini")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return ReadFile(path)
	}
	hs, err := read("; who is told\n[chat]\non = failure, rollback\nurl = https://chat.example.org/hook?key=a#b;c\nsecret = s # no comment\n\n[pager]\ncommand = /usr/local/bin/page --team zeek\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(hs) != 2 || hs[0].URL != "https://chat.example.org/hook?key=a#b;c" || hs[0].Secret != "s # no comment" || !slices.Equal(hs[0].On, []news.Kind{news.Failure, news.Rollback}) ||
		!slices.Equal(hs[1].Command, []string{"/usr/local/bin/page", "--team", "zeek"}) || !slices.Equal(hs[1].On, news.Kinds()) {
		t.Errorf("hooks are %+v", hs)
	}
	if _, err := ReadFile("../../../examples/git/hooks.ini"); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]string{
		"url = https://x\n":                        "in no section",
		"[a]\n":                                    "neither command nor url",
		"[a]\nurl = ftp://secret@x\n":              "none of http or https",
		"[a]\ncommand = page\n":                    "no absolute path",
		"[a]\ncommand = /page\non = luck\n":        `no news of kind "luck"`,
		"[a]\ncommand = /page\non =\n":             "on names nothing",
		"[a]\ncommand = /page\nurls = https://x\n": `no key "urls"`,
		"[a]\ncommand = /page\nurl = https://x\n":  "both command and url",
		"[a]\ncommand = /page\nsecret = x\n":       "a command gets none",
		"[a]\ncommand = /page\nthis is no line\n":  "cannot read the hooks",
	} {
		if _, err := read(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret@") {
			t.Errorf("%q: the error is %v, want %q", text, err, want)
		}
	}
}

// ear is a server that hears what is posted, and answers what it is told to.
type ear struct {
	*httptest.Server
	heard  chan news.News
	status func(call int) int

	mu    sync.Mutex
	calls int
	sum   string
	body  string
}

func listen(t *testing.T, status func(call int) int) *ear {
	e := &ear{heard: make(chan news.News, 100), status: status}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		var n news.News
		if err := json.Unmarshal(b, &n); err != nil {
			t.Error(err)
		}
		e.mu.Lock()
		e.calls++
		call := e.calls
		e.sum, e.body = r.Header.Get("X-Hub-Signature-256"), string(b)
		e.mu.Unlock()
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(e.status(call))
		e.heard <- n
	}))
	t.Cleanup(e.Close)
	return e
}

func always(code int) func(int) int { return func(int) int { return code } }

// begin starts a sender; end lets it end as zeekrec does.
func begin(t *testing.T, dir string, last int64, past []engine.Record, hs ...Hook) (s *Sender, log *strings.Builder, end func()) {
	t.Helper()
	log = &strings.Builder{}
	s = New(dir, hs, []string{"PATH=" + os.Getenv("PATH")}, slog.New(slog.NewTextHandler(log, nil)))
	s.first = time.Millisecond
	err := s.Begin(last, func(each func(engine.Record) error) error {
		for _, r := range past {
			if err := each(r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	end = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(end)
	return s, log, end
}

func fails(seq int64, rev string) engine.Record {
	return engine.Record{Seq: seq, Kind: engine.KindOutcome, Cluster: "dmz", Revision: rev, Outcome: engine.Failed, Reason: "it crashed"}
}

func (e *ear) next(t *testing.T) news.News {
	t.Helper()
	select {
	case n := <-e.heard:
		return n
	case <-time.After(20 * time.Second):
		t.Fatal("nothing is heard")
		return news.News{}
	}
}

func (e *ear) quiet(t *testing.T) {
	t.Helper()
	select {
	case n := <-e.heard:
		t.Errorf("heard of %+v", n)
	default:
	}
}

// TestPost: the JSON comes, signed; a server that is in trouble is asked again, one that refuses is not.
func TestPost(t *testing.T) {
	answers := []int{503, 429, 204, 404, 302, 200}
	e := listen(t, func(call int) int { return answers[call-1] })
	s, log, end := begin(t, t.TempDir(), 0, nil, Hook{Name: "chat", On: []news.Kind{news.Failure}, URL: e.URL + "/very-secret", Secret: "abc"})
	for i, rev := range []string{"a", "b", "c", "d"} {
		r := fails(int64(i+1), rev)
		s.Take(&r)
	}
	other := engine.Record{Seq: 9, Kind: engine.KindOutcome, Cluster: "dmz", Revision: "e", Outcome: engine.Succeeded}
	s.Take(&other)
	var ids []int64
	for range 6 {
		ids = append(ids, e.next(t).ID)
	}
	if !slices.Equal(ids, []int64{1, 1, 1, 2, 3, 4}) {
		t.Errorf("heard of %v", ids)
	}
	end()
	e.quiet(t)
	m := hmac.New(sha256.New, []byte("abc"))
	m.Write([]byte(e.body))
	if want := "sha256=" + hex.EncodeToString(m.Sum(nil)); e.sum != want || !strings.Contains(e.body, `"event":"failure"`) {
		t.Errorf("the signature is %q, want %q, of %s", e.sum, want, e.body)
	}
	if strings.Contains(log.String(), "very-secret") || !strings.Contains(log.String(), "404") {
		t.Errorf("the log says\n%s", log)
	}
}

// TestGiveUp: after a few attempts the next piece of news has its turn.
func TestGiveUp(t *testing.T) {
	e := listen(t, func(call int) int {
		if call <= maxAttempts {
			return 500
		}
		return 200
	})
	s, log, end := begin(t, t.TempDir(), 0, nil, Hook{Name: "chat", On: news.Kinds(), URL: e.URL})
	first, second := fails(1, "a"), fails(2, "b")
	s.Take(&first, &second)
	for range maxAttempts {
		if n := e.next(t); n.ID != 1 {
			t.Errorf("heard of %d", n.ID)
		}
	}
	if n := e.next(t); n.ID != 2 {
		t.Errorf("heard of %d", n.ID)
	}
	end()
	if !strings.Contains(log.String(), "not tried again") {
		t.Errorf("the log says\n%s", log)
	}
}

// TestRestart: what was told is not told again, what waits is told, and so is what was journaled meanwhile.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	e := listen(t, always(200))
	h := Hook{Name: "chat", On: news.Kinds(), URL: e.URL}
	past := []engine.Record{fails(1, "old"), fails(2, "a"), fails(3, "a"), fails(4, "b"), fails(5, "b"), fails(6, "c")}

	s, _, end := begin(t, dir, 1, past[:1], h)
	s.Take(&past[1])
	if n := e.next(t); n.ID != 2 {
		t.Errorf("heard of %d: nothing is news of before there was a hook", n.ID)
	}
	end()
	// Journaled by another command, or by a zeekrec that was killed before it took them.
	s, _, end = begin(t, dir, 5, past[:5], h)
	if n := e.next(t); n.ID != 4 {
		t.Errorf("heard of %d", n.ID)
	}
	s.Take(&past[5])
	if n := e.next(t); n.ID != 6 {
		t.Errorf("heard of %d", n.ID)
	}
	end()
	_, _, end = begin(t, dir, 6, past, h)
	end()
	e.quiet(t)

	// What a zeekrec took that was killed is told by the next.
	killed := New(dir, []Hook{h}, nil, slog.New(slog.DiscardHandler))
	if err := killed.Begin(6, nil); err != nil {
		t.Fatal(err)
	}
	last := fails(7, "d")
	killed.Take(&last)
	_, _, end = begin(t, dir, 7, append(past, last), h)
	if n := e.next(t); n.ID != 7 {
		t.Errorf("heard of %d", n.ID)
	}
	end()
}

// TestCommand: it gets the JSON on stdin and the rest in its environment, and one that hangs delays no other.
func TestCommand(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "hook")
	if err := os.WriteFile(script, []byte("#!/bin/sh\ncat > \"$1.tmp\"\necho \"$ZEEKREC_EVENT $ZEEKREC_CLUSTER $ZEEKREC_REVISION $SECRET\" >> \"$1.tmp\"\nmv \"$1.tmp\" \"$1\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SECRET", "not for hooks")
	hang := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer slow.Close()
	defer close(hang)
	s, _, end := begin(t, dir, 0, nil,
		Hook{Name: "slow", On: news.Kinds(), URL: slow.URL}, Hook{Name: "file", On: news.Kinds(), Command: []string{script, filepath.Join(dir, "said")}})
	r := fails(1, "$(touch x)")
	s.Take(&r)
	var b []byte
	for end := time.Now().Add(20 * time.Second); len(b) == 0; time.Sleep(5 * time.Millisecond) {
		if b, _ = os.ReadFile(filepath.Join(dir, "said")); time.Now().After(end) {
			t.Fatal("the command was not run")
		}
	}
	line, rest, _ := strings.Cut(string(b), "\n")
	var n news.News
	if err := json.Unmarshal([]byte(line), &n); err != nil || n.ID != 1 || rest != "failure dmz $(touch x) \n" {
		t.Errorf("the command got %q (%v)", b, err)
	}
	began := time.Now()
	end()
	if d := time.Since(began); d > within/2 {
		t.Errorf("it took %s to end", d)
	}
}

// TestBound: a hook that does not answer loses the oldest.
func TestBound(t *testing.T) {
	s := New(t.TempDir(), []Hook{{Name: "chat", On: news.Kinds(), URL: "http://127.0.0.1:1"}}, nil, slog.New(slog.DiscardHandler))
	if err := s.Begin(0, nil); err != nil {
		t.Fatal(err)
	}
	for i := range int64(maxQueue + 50) {
		r := fails(i+1, string(rune('a'+i)))
		s.Take(&r)
	}
	q := s.state.Queues["chat"].News
	if len(q) != maxQueue || q[0].ID != 1 || q[1].ID != 52 || q[len(q)-1].ID != maxQueue+50 {
		t.Errorf("%d wait, from %d and %d to %d", len(q), q[0].ID, q[1].ID, q[len(q)-1].ID)
	}
}
