package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/cmd/internal/identity"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// fakeTokens are some, by the text.
type fakeTokens struct {
	of     map[string]Caller
	broken error
}

func (f *fakeTokens) List() ([]Token, error) {
	return []Token{{Name: "anna", Role: RoleView}}, f.broken
}
func (f *fakeTokens) New(name string, role Role, valid time.Duration, by string) (string, error) {
	return fmt.Sprint(name, " ", role, " ", valid, " ", by), f.broken
}
func (f *fakeTokens) Revoke(string) error { return f.broken }
func (f *fakeTokens) Check(text string) (Caller, error) {
	if f.broken != nil {
		return Caller{}, f.broken
	}
	c, ok := f.of[text]
	switch {
	case !ok:
		return c, &Error{Text: "the token is not known", Code: CodeUnauthorized}
	case !time.Now().Before(c.Expires):
		return Caller{Name: c.Name}, &Error{Text: "the token has expired", Code: CodeUnauthorized}
	}
	return c, nil
}

// fakeFleet takes everybody.
type fakeFleet struct{}

func (fakeFleet) Agents() []Agent                                     { return []Agent{} }
func (fakeFleet) Token(string, time.Duration, string) (string, error) { return "agent's", nil }
func (fakeFleet) Approve(string, string) error                        { return nil }
func (fakeFleet) Revoke(string, string) error                         { return nil }
func (fakeFleet) Forget(string, string) error                         { return nil }

// remote is a server for other machines.
type remote struct {
	at            string
	view, operate identity.Token
	viewEnds      chan struct{}
	tokens        *fakeTokens
	engine        *fakeEngine
	log           *lines
	stop          func() error
}

// lines is a log that may be written to from several goroutines.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func serveRemote(t *testing.T, n *fakeNodes) *remote {
	t.Helper()
	a, err := identity.Open(filepath.Join(t.TempDir(), "pki"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	config, err := a.ServerTLS(nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &remote{
		at: l.Addr().String(), view: identity.NewAPIToken(a.Fingerprint()), operate: identity.NewAPIToken(a.Fingerprint()), viewEnds: make(chan struct{}),
		engine: &fakeEngine{}, log: &lines{}, tokens: &fakeTokens{of: map[string]Caller{}},
	}
	in := time.Now().Add(time.Hour)
	r.tokens.of[r.view.Reveal()] = Caller{Name: "anna", Role: RoleView, Expires: in, Ended: r.viewEnds}
	r.tokens.of[r.operate.Reveal()] = Caller{Name: "ops", Role: RoleOperate, Expires: in}
	s := &Server{
		Engine: r.engine, Nodes: n, Version: "v1", Log: slog.New(slog.NewTextHandler(r.log, nil)), Enrolment: fakeFleet{}, Tokens: r.tokens,
		Management: http.NotFoundHandler(), History: func(func(engine.Record) error) error { return nil },
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.ServeTLS(ctx, l, identity.ForAPI(config)) }()
	t.Cleanup(cancel)
	r.stop = func() error { cancel(); return <-ended }
	return r
}

// ask sends a request with an Authorization header.
func (r *remote) ask(t *testing.T, method, path, authorization string) (int, *Error, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+r.at+path, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	c := http.Client{Transport: &http.Transport{TLSClientConfig: identity.APITLS(r.view.Fingerprint, "127.0.0.1"), DisableKeepAlives: true}}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	e := &Error{}
	if resp.StatusCode >= 400 {
		if err := json.NewDecoder(resp.Body).Decode(e); err != nil {
			t.Errorf("%s %s: %v", method, path, err)
		}
	}
	return resp.StatusCode, e, resp.Header
}

// roleOf is who may do what: the decision that each route takes.
var roleOf = map[string]need{
	"GET /v1/status": needView, "GET /v1/plan": needView, "GET /v1/world": needView, "GET /v1/history": needView, "GET /v1/agents": needView,
	"GET /v1/top": needView, "GET /v1/logs": needView, "POST /v1/ask": needView,

	"GET /v1/diag": needOperate, "POST /v1/sync": needOperate, "POST /v1/confirm": needOperate, "POST /v1/admit": needOperate,
	"POST /v1/suspend": needOperate, "POST /v1/resume": needOperate, "POST /v1/stop": needOperate, "POST /v1/start": needOperate,
	"POST /v1/restart": needOperate, "POST /v1/rollback": needOperate, "POST /v1/unpin": needOperate, "POST /v1/retry": needOperate,
	"POST /v1/rotate-keys": needOperate, "POST /v1/approve": needOperate, "POST /v1/forget": needOperate, "POST /v1/revoke": needOperate,

	"GET /v1/tokens": needSocket, "POST /v1/new-token": needSocket, "POST /v1/revoke-token": needSocket, "POST /v1/agent-token": needSocket,

	"GET " + ManagementPath: needHidden,
}

// TestRoles asks for every route with every role.
func TestRoles(t *testing.T) {
	s := &Server{Management: http.NotFoundHandler()}
	seen := map[string]bool{}
	for _, rt := range s.routes(t.Context()) {
		name := rt.method + " " + rt.path
		seen[name] = true
		want, decided := roleOf[name]
		if !decided {
			t.Errorf("%s is new: decide here who may use it", name)
			continue
		}
		if rt.need != want {
			t.Errorf("%s needs %q, and is to need %q", name, rt.need, want)
		}
		t.Run(name, func(t *testing.T) {
			r := serveRemote(t, &fakeNodes{})
			path := rt.path + "?node=a"
			if code, e, h := r.ask(t, rt.method, path, ""); code != 401 || e.Code != CodeUnauthorized || h.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("without a token: %d %v", code, e)
			}
			if r.engine.asked != nil {
				t.Errorf("without a token, the engine was asked %v", r.engine.asked)
			}
			for role, token := range map[Role]identity.Token{RoleView: r.view, RoleOperate: r.operate} {
				r.engine.asked = nil
				code, e, _ := r.ask(t, rt.method, path, "Bearer "+token.Reveal())
				switch {
				case want == needHidden:
					if code != 404 || e.Text != "there is no "+name+"; this zeekrec is version v1" {
						t.Errorf("%s: %d %v", role, code, e)
					}
				case want == needSocket:
					if code != 403 || e.Code != CodeForbidden || e.Text != "this needs somebody on the host of zeekrec itself; no role of a token is enough" {
						t.Errorf("%s: %d %v", role, code, e)
					}
				case want == needOperate && role == RoleView:
					if code != 403 || e.Code != CodeForbidden || e.Text != "this needs a token of the role operate, and yours has the role view" || r.engine.asked != nil {
						t.Errorf("%s: %d %v", role, code, e)
					}
				case rt.path == "/v1/ask":
					if code != 400 { // it came as far as its body
						t.Errorf("%s: %d %v", role, code, e)
					}
				case code != 200:
					t.Errorf("%s: %d %v", role, code, e)
				}
			}
		})
	}
	for name := range roleOf {
		if !seen[name] {
			t.Errorf("there is no %s any more", name)
		}
	}
}

// TestUndecided: a route for which nothing was decided is open to no token, and neither is one to a role that there is not.
func TestUndecided(t *testing.T) {
	for _, c := range []struct {
		need need
		role Role
		ok   bool
	}{
		{"", RoleOperate, false}, {"", "", false}, {needView, "", false}, {needOperate, "root", false}, {needSocket, "socket", false},
		{needView, RoleView, true}, {needView, RoleOperate, true}, {needOperate, RoleOperate, true}, {needOperate, RoleView, false},
	} {
		if err := enough(route{need: c.need}, c.role); (err == nil) != c.ok {
			t.Errorf("%q with %q: %v", c.need, c.role, err)
		}
	}
}

func TestRemoteClient(t *testing.T) {
	r := serveRemote(t, &fakeNodes{})
	c := NewRemote(r.at, r.operate)
	if st, err := c.Status(t.Context()); err != nil || st.Version != "v1" {
		t.Errorf("status: %+v, %v", st, err)
	}
	// Who asks is told by the token, whatever the request says.
	if _, err := c.Do(t.Context(), "resume", Request{Scope: "*", Name: "root", Agent: "root"}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]any{"resume", "*", "ops (token)"}, r.engine.asked); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	var b bytes.Buffer
	if err := c.Diag(t.Context(), "a", &b); err != nil || b.String() != "dmz/a zeekrec v1\n" {
		t.Errorf("diag: %q, %v", b.String(), err)
	}
	_, err := NewRemote(r.at, r.view).Do(t.Context(), "sync", Request{})
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeForbidden || e.Text != "zeekrec at "+r.at+" refuses: this needs a token of the role operate, and yours has the role view" {
		t.Errorf("got %v", err)
	}
	// A server that the token is not from is never shown it.
	_, err = NewRemote(r.at, identity.NewAPIToken([32]byte{1})).Status(t.Context())
	if u, ok := errors.AsType[*Unreachable](err); !ok || u.Server != r.at || !errors.Is(err, identity.ErrNotTheController) || !strings.HasPrefix(err.Error(), "cannot reach zeekrec at "+r.at+": whoever answers there is not the controller") {
		t.Errorf("got %v", err)
	}
	if s := r.log.String(); strings.Contains(s, "Somebody was refused") {
		t.Errorf("it was asked: %s", s)
	}
	if err := r.stop(); err != nil {
		t.Errorf("it ends with %v", err)
	}
	if _, err := NewRemote(r.at, r.view).Status(t.Context()); err == nil || err.Error() != "cannot reach zeekrec at "+r.at+": nothing is listening there" {
		t.Errorf("got %v", err)
	}
}

func TestFailing(t *testing.T) {
	why := errors.New("no token")
	if _, err := Failing(why).Status(t.Context()); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	if err := Failing(why).Logs(t.Context(), "a", LogOptions{}, io.Discard); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

// TestRefusals: what is wrong with a token, and that it is in no log.
func TestRefusals(t *testing.T) {
	r := serveRemote(t, &fakeNodes{})
	late := identity.NewAPIToken(r.view.Fingerprint)
	r.tokens.of[late.Reveal()] = Caller{Name: "late", Role: RoleView, Expires: time.Now().Add(-time.Second)}
	stranger := identity.NewAPIToken(r.view.Fingerprint)
	missing := "this needs a token: Authorization: Bearer TOKEN; tokens are made on the host of zeekrec (zeekrec tokens new)"
	for _, c := range []struct{ header, want string }{
		{"", missing}, {"Bearer ", missing}, {"Basic " + r.view.Reveal(), missing}, {r.view.Reveal(), missing},
		{"Bearer " + stranger.Reveal(), "the token is not known"}, {"Bearer " + late.Reveal(), "the token has expired"},
	} {
		if code, e, _ := r.ask(t, "GET", "/v1/nonsense", c.header); code != 401 || e.Text != c.want {
			t.Errorf("%.10s: %d %v", c.header, code, e)
		}
	}
	if code, _, _ := r.ask(t, "GET", "/v1/status", "bearer  "+r.view.Reveal()); code != 200 {
		t.Errorf("the scheme has no case: %d", code)
	}
	// An answer to a lack of tokens says nothing about files.
	r.tokens.broken = errors.New("cannot use /secret/path")
	if code, e, _ := r.ask(t, "GET", "/v1/status", "Bearer "+r.view.Reveal()); code != 503 || e.Code != CodeUnavailable || strings.Contains(e.Text, "path") {
		t.Errorf("broken: %d %v", code, e)
	}
	log := r.log.String()
	for _, tok := range []identity.Token{r.view, late, stranger} {
		if strings.Contains(log, tok.Reveal()) || strings.Contains(log, tok.Secret()) {
			t.Errorf("a token is in the log: %s", log)
		}
	}
	for _, want := range []string{`level=WARN msg="Somebody was refused" from=127.0.0.1:`, `request="GET /v1/nonsense" token=unknown error="the token is not known"`, `token=late error="the token has expired"`, `error="cannot use /secret/path"`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %s:\n%s", want, log)
		}
	}
}

// TestTooManyFailures: the eleventh request from an address has to wait, with whatever token.
func TestTooManyFailures(t *testing.T) {
	r := serveRemote(t, &fakeNodes{})
	for i := range failuresMost {
		if code, _, _ := r.ask(t, "GET", "/v1/status", "Bearer x"); code != 401 {
			t.Fatalf("attempt %d: %d", i, code)
		}
	}
	for range 3 {
		code, e, _ := r.ask(t, "GET", "/v1/status", "Bearer "+r.operate.Reveal())
		if code != 429 || e.Code != CodeSlowDown || !strings.HasPrefix(e.Text, "too many tokens were refused from your address; wait ") {
			t.Errorf("%d %v", code, e)
		}
	}
	if n := strings.Count(r.log.String(), "the address has to wait"); n != 1 {
		t.Errorf("that was said %d times", n)
	}
}

func TestFailures(t *testing.T) {
	now := time.Unix(1000, 0)
	f := newFailures(func() time.Time { return now })
	a, b := source("192.0.2.1:1"), source("192.0.2.2:1")
	for range failuresMost - 1 {
		f.add(a)
	}
	if wait, _ := f.blocked(a); wait != 0 {
		t.Errorf("nine: %v", wait)
	}
	now = now.Add(20 * time.Second)
	f.add(a)
	if wait, first := f.blocked(a); wait != 40*time.Second || !first {
		t.Errorf("ten: %v, %v", wait, first)
	}
	if wait, first := f.blocked(a); wait != 40*time.Second || first {
		t.Errorf("again: %v, %v", wait, first)
	}
	if wait, _ := f.blocked(b); wait != 0 {
		t.Errorf("another: %v", wait)
	}
	now = now.Add(40 * time.Second)
	if wait, _ := f.blocked(a); wait != 0 {
		t.Errorf("after a minute: %v", wait)
	}
	f.add(a)
	if wait, _ := f.blocked(a); wait != 0 {
		t.Errorf("it begins anew: %v", wait)
	}
	// However many there are, the table does not grow, and the oldest is forgotten.
	now = now.Add(time.Second)
	for i := range 3 * failuresTable {
		now = now.Add(time.Microsecond)
		f.add(source(fmt.Sprintf("10.0.%d.%d:9", i/256, i%256)))
		if len(f.of) > failuresTable {
			t.Fatalf("it has %d", len(f.of))
		}
	}
	if _, ok := f.of[a]; ok {
		t.Error("the oldest is still there")
	}
	if _, ok := f.of[source("10.0.11.255:1")]; !ok {
		t.Error("the newest is not there")
	}
}

func TestSource(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:80": "192.0.2.7/32", "[::ffff:192.0.2.7]:80": "192.0.2.7/32", "[2001:db8:1:2:3::4]:80": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:80": "fe80::/64", "pipe": netip.Prefix{}.String(),
	} {
		if got := source(remote).String(); got != want {
			t.Errorf("%s: %s, want %s", remote, got, want)
		}
	}
}

// TestRevokedWhileFollowing: a followed log ends when its token does.
func TestRevokedWhileFollowing(t *testing.T) {
	n := &fakeNodes{followed: make(chan struct{})}
	r := serveRemote(t, n)
	done := make(chan error, 1)
	go func() { done <- NewRemote(r.at, r.view).Logs(t.Context(), "a", LogOptions{Follow: true}, io.Discard) }()
	<-n.followed
	close(r.viewEnds)
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("it ends with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on")
	}
}

// TestNoPlainHTTP: nothing is said without TLS 1.3.
func TestNoPlainHTTP(t *testing.T) {
	r := serveRemote(t, &fakeNodes{})
	if resp, err := http.Get("http://" + r.at + "/v1/status"); err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("it answers %s", resp.Status)
		}
	}
	config := identity.APITLS(r.view.Fingerprint, "127.0.0.1")
	config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if c, err := tls.Dial("tcp", r.at, config); err == nil {
		_ = c.Close()
		t.Error("TLS 1.2 is good enough")
	}
}

func TestTokensThroughTheSocket(t *testing.T) {
	c, _ := serve(t, &fakeEngine{}, &fakeNodes{})
	for name, f := range map[string]func() error{
		"list":   func() error { _, err := c.Tokens(t.Context()); return err },
		"new":    func() error { _, err := c.Do(t.Context(), "new-token", Request{Name: "a", Role: RoleView}); return err },
		"revoke": func() error { _, err := c.Do(t.Context(), "revoke-token", Request{Name: "a"}); return err },
	} {
		if err := f(); err == nil || err.Error() != "this zeekrec serves nobody on other machines" {
			t.Errorf("%s where there are none: %v", name, err)
		}
	}
}
