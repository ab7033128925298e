package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/reconciler"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// fakeEngine answers what it was told to, and remembers what it was asked.
type fakeEngine struct {
	asked    []any
	err      error
	clusters []engine.ClusterStatus
}

func (f *fakeEngine) note(what ...any) error {
	f.asked = what
	return f.err
}

func (f *fakeEngine) Status(context.Context) (*engine.Status, error) {
	return &engine.Status{FormatVersion: 1, Source: engine.SourceStatus{URL: "/src"}, Clusters: f.clusters}, f.err
}

func (f *fakeEngine) Plan(context.Context) (*reconciler.Plan, error) {
	return reconciler.NewPlan(nil, nil), f.err
}

func (f *fakeEngine) World(context.Context) (*engine.World, error) {
	return engine.EmptyWorld("agent-a", time.Unix(1, 0)), f.err
}
func (f *fakeEngine) Sync(context.Context) error { return f.note("sync") }
func (f *fakeEngine) Confirm(_ context.Context, cluster, revision, by string) error {
	return f.note("confirm", cluster, revision, by)
}

func (f *fakeEngine) Admit(_ context.Context, commit, by string) error {
	return f.note("admit", commit, by)
}

func (f *fakeEngine) Suspend(_ context.Context, scope, reason, by string, until time.Time) error {
	return f.note("suspend", scope, reason, by, until.UTC())
}

func (f *fakeEngine) Resume(_ context.Context, scope, by string) error {
	return f.note("resume", scope, by)
}

func (f *fakeEngine) Hold(_ context.Context, scopes []string, reason, by string, until time.Time) error {
	return f.note("stop", scopes, reason, by, until.UTC())
}

func (f *fakeEngine) Release(_ context.Context, scopes []string, by string) error {
	return f.note("start", scopes, by)
}

func (f *fakeEngine) Restart(_ context.Context, scopes []string, outdated bool, reason, by string) ([]string, error) {
	return []string{"dmz/a"}, f.note("restart", scopes, outdated, reason, by)
}

func (f *fakeEngine) Rollback(_ context.Context, cluster, revision, reason, by string) error {
	return f.note("rollback", cluster, revision, reason, by)
}

func (f *fakeEngine) Unpin(_ context.Context, cluster, by string) error {
	return f.note("unpin", cluster, by)
}

func (f *fakeEngine) Retry(_ context.Context, cluster, by string) error {
	return f.note("retry", cluster, by)
}

func (f *fakeEngine) RotateKeys(_ context.Context, cluster, reason, by string, force bool) (string, error) {
	return "0123456789ab", f.note("rotate-keys", cluster, reason, by, force)
}

func (f *fakeEngine) Find(_ context.Context, raw string) (string, string, error) {
	return "dmz/" + raw, "agent-a", f.err
}

// fakeNodes have logs that never end.
type fakeNodes struct{ followed chan struct{} }

func (f *fakeNodes) Logs(ctx context.Context, key string, o LogOptions, w io.Writer) error {
	_, _ = io.WriteString(w, key+" since "+o.Since.UTC().Format(time.RFC3339)+"\n")
	if o.Follow {
		w.(interface{ Flush() }).Flush()
		close(f.followed)
		<-ctx.Done()
	}
	return nil
}

func (f *fakeNodes) Top(context.Context) ([]Usage, error) {
	return []Usage{{Resource: "dmz/a", PID: 7}}, nil
}

// Ask knows one value, and is not answered by worker-2.
func (f *fakeNodes) Ask(ctx context.Context, cluster, node, what, id string) ([]byte, error) {
	switch {
	case cluster == "campus":
		return nil, &Error{Text: "cannot ask the nodes of campus", Code: CodeRefused}
	case id == "slow":
		<-ctx.Done()
		return nil, errors.New("no answer in time")
	case id == "broken":
		return []byte("{"), nil
	case id == "nope":
		return nil, errors.New("unknown id")
	case id == "large":
		return []byte(`"` + strings.Repeat("x", 17<<20) + `"`), nil
	}
	return []byte(`{"a":"` + what + " " + id + " of " + node + `"}`), nil
}

func (f *fakeNodes) Diag(_ context.Context, key string, more map[string][]byte, _ time.Time, w io.Writer) error {
	if strings.HasSuffix(key, "/broken") {
		_, _ = io.WriteString(w, "half")
		return errors.New("the disk is gone")
	}
	_, err := io.WriteString(w, key+" "+string(more["version.txt"]))
	return err
}

// serve starts a server and returns a client of it, and what ends it.
func serve(t *testing.T, e *fakeEngine, n *fakeNodes) (*Client, func() error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "api") // short: t.TempDir's paths may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := Listen(SocketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Engine: e, Nodes: n, Version: "v1", Log: slog.New(slog.DiscardHandler), History: func(each func(engine.Record) error) error {
		for i := range 5 {
			if err := each(engine.Record{Seq: int64(i + 1), Kind: engine.KindRetried, Cluster: []string{"dmz", "campus"}[i%2]}); err != nil {
				return err
			}
		}
		return nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(cancel)
	return NewClient(SocketPath(dir)), func() error { cancel(); return <-ended }
}

func me(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u.Username
}

func TestCommandsReachTheEngine(t *testing.T) {
	e := &fakeEngine{}
	c, _ := serve(t, e, &fakeNodes{})
	end := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := Request{Cluster: "dmz", Revision: "3f", Scope: "*", Scopes: []string{"dmz/a"}, Outdated: true, Force: true, Reason: "why", Until: end}
	by := me(t)
	for command, want := range map[string][]any{
		"sync":     {"sync"},
		"confirm":  {"confirm", "dmz", "3f", by},
		"suspend":  {"suspend", "*", "why", by, end},
		"resume":   {"resume", "*", by},
		"stop":     {"stop", []string{"dmz/a"}, "why", by, end},
		"start":    {"start", []string{"dmz/a"}, by},
		"restart":  {"restart", []string{"dmz/a"}, true, "why", by},
		"rollback": {"rollback", "dmz", "3f", "why", by},
		"unpin":    {"unpin", "dmz", by},
		"retry":    {"retry", "dmz", by},

		"rotate-keys": {"rotate-keys", "dmz", "why", by, true},
	} {
		res, err := c.Do(t.Context(), command, r)
		if err != nil {
			t.Errorf("%s: %v", command, err)
			continue
		}
		if d := cmp.Diff(want, e.asked); d != "" {
			t.Errorf("%s (-want +got):\n%s", command, d)
		}
		if (len(res.Resources) > 0) != (command == "restart") || (res.Keys != "") != (command == "rotate-keys") || res.At.IsZero() {
			t.Errorf("%s: the result is %+v", command, res)
		}
	}
}

func TestQuestions(t *testing.T) {
	c, _ := serve(t, &fakeEngine{}, &fakeNodes{})
	if s, err := c.Status(t.Context()); err != nil || s.Source.URL != "/src" || s.Version != "v1" {
		t.Errorf("Status: %+v, %v", s, err)
	}
	if p, err := c.Plan(t.Context()); err != nil || p.FormatVersion != 1 {
		t.Errorf("Plan: %+v, %v", p, err)
	}
	if w, err := c.World(t.Context()); err != nil || w.Instance != "agent-a" || w.State.Clusters == nil {
		t.Errorf("World: %+v, %v", w, err)
	}
	if us, err := c.Top(t.Context()); err != nil || len(us) != 1 || us[0].PID != 7 {
		t.Errorf("Top: %+v, %v", us, err)
	}
	var b bytes.Buffer
	if err := c.Diag(t.Context(), "a", &b); err != nil || b.String() != "dmz/a zeekrec v1\n" {
		t.Errorf("Diag: %q, %v", b.String(), err)
	}
	if err := c.Diag(t.Context(), "broken", &b); err == nil {
		t.Error("half a bundle looks like a whole one")
	}
	b.Reset()
	o := LogOptions{Since: time.Unix(1e9, 0), Lines: 3, Stderr: true}
	if err := c.Logs(t.Context(), "a", o, &b); err != nil || b.String() != "dmz/a since 2001-09-09T01:46:40Z\n" {
		t.Errorf("Logs: %q, %v", b.String(), err)
	}
	rs, err := c.History(t.Context(), "dmz", 2)
	if err != nil || len(rs) != 2 || rs[0].Seq != 3 || rs[1].Seq != 5 {
		t.Errorf("History: %+v, %v", rs, err)
	}
}

func TestErrorsHaveCodes(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code string
	}{
		{&engine.NotFound{What: "there is no cluster"}, CodeNotFound},
		{errors.New("it is not suspended"), CodeRefused},
		{engine.ErrStopped, CodeEnding},
	} {
		c, _ := serve(t, &fakeEngine{err: tt.err}, &fakeNodes{})
		_, err := c.Do(t.Context(), "resume", Request{})
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Code != tt.code || e.Text != tt.err.Error() {
			t.Errorf("%v arrives as %#v", tt.err, err)
		}
	}
}

func TestBadRequests(t *testing.T) {
	c, _ := serve(t, &fakeEngine{}, &fakeNodes{})
	for _, tt := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "suspend", "{", 400},
		{"POST", "suspend", `{"reason":"` + strings.Repeat("x", maxBody) + `"}`, 400},
		{"POST", "nonsense", "{}", 404},
		{"DELETE", "status", "", 404},
		{"GET", "history?n=many", "", 400},
		{"GET", "logs?node=a&since=noon", "", 400},
		{"GET", "logs?node=a&lines=-1", "", 400},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, "http://zeekrec/v1/"+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != tt.status || !bytes.Contains(b, []byte(`"code":`)) {
			t.Errorf("%s %.40s: %d %s, want %d", tt.method, tt.path, resp.StatusCode, b, tt.status)
		}
	}
}

// A followed log does not keep zeekrec from ending.
func TestFollowedLogsEndWithTheServer(t *testing.T) {
	n := &fakeNodes{followed: make(chan struct{})}
	c, end := serve(t, &fakeEngine{}, n)
	read := make(chan error, 1)
	go func() { read <- c.Logs(t.Context(), "a", LogOptions{Follow: true}, io.Discard) }()
	<-n.followed
	if err := end(); err != nil {
		t.Errorf("the server ends with %v", err)
	}
	if err := <-read; err != nil {
		t.Errorf("the reader ends with %v", err)
	}
}

func TestNobodyListens(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	_, err := NewClient(socket).Status(t.Context())
	u, ok := errors.AsType[*Unreachable](err)
	if !ok || u.Error() != "cannot reach zeekrec at "+socket+": nothing is listening there" {
		t.Errorf("got %v", err)
	}
	if _, err := NewClient(strings.Repeat("x", 108)).Status(t.Context()); err == nil || !strings.Contains(err.Error(), "takes 107") {
		t.Errorf("a path that is too long: %v", err)
	}
}

func TestListen(t *testing.T) {
	dir, err := os.MkdirTemp("", "api")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := SocketPath(dir)
	// What a killed process left.
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	_ = old.Close()
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v, %v", info.Mode(), err)
	}
	_ = l.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil {
		t.Error("a file was replaced by a socket")
	}
}

func TestConcerns(t *testing.T) {
	for _, tt := range []struct {
		r    engine.Record
		want bool
	}{
		{engine.Record{Cluster: "dmz"}, true},
		{engine.Record{Cluster: "dmz2"}, false},
		{engine.Record{Scope: "*"}, true},
		{engine.Record{Scope: "dmz/a"}, true},
		{engine.Record{Scope: "dmz2/a"}, false},
		{engine.Record{Drift: &engine.Drift{Resource: "dmz/a"}}, true},
		{engine.Record{Resources: map[string]int{"dmz/a": 1}}, true},
		{engine.Record{Resources: map[string]int{"x/a": 1}}, false},
		{engine.Record{}, false},
	} {
		if got := concerns(&tt.r, "dmz"); got != tt.want {
			t.Errorf("%+v: %v", tt.r, got)
		}
	}
}
