package apitoken

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/identity"
)

const day = 24 * time.Hour

// clock is a time that tests move.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func open(t *testing.T) (*Store, *clock, string) {
	t.Helper()
	c, path := &clock{time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}, filepath.Join(t.TempDir(), "api-tokens.json")
	return Open(path, &[32]byte{7}, c.now), c, path
}

func (s *Store) must(t *testing.T, name string, role api.Role, valid time.Duration) string {
	t.Helper()
	text, err := s.New(name, role, valid, "root")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// codeOf is that of an *api.Error.
func codeOf(err error) string {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e.Code
	}
	return fmt.Sprint(err)
}

func TestLife(t *testing.T) {
	s, c, path := open(t)
	if ts, err := s.List(); err != nil || len(ts) != 0 || s.Err() != nil {
		t.Errorf("at first: %v, %v", ts, err)
	}
	view, operate := s.must(t, "zoe@example.org", api.RoleView, day), s.must(t, "anna", api.RoleOperate, 2*day)
	made := c.t
	parsed, err := identity.ParseAPIToken(view)
	if err != nil || parsed.Fingerprint != [32]byte{7} {
		t.Errorf("it is %v, %v", parsed, err)
	}
	c.t = c.t.Add(time.Hour)
	got, err := s.Check(view)
	if err != nil || got.Name != "zoe@example.org" || got.Role != api.RoleView || !got.Expires.Equal(made.Add(day)) {
		t.Errorf("who is it: %+v, %v", got, err)
	}
	want := []api.Token{
		{Name: "anna", Role: api.RoleOperate, Since: made, By: "root", Expires: made.Add(2 * day)},
		{Name: "zoe@example.org", Role: api.RoleView, Since: made, By: "root", Expires: made.Add(day), Used: c.t},
	}
	if ts, err := s.List(); err != nil || cmp.Diff(want, ts) != "" {
		t.Errorf("%v\n%s", err, cmp.Diff(want, ts))
	}

	// The file is for its owner alone, has no secret, and is enough to go on with.
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(path)
	if strings.Contains(string(b), parsed.Secret()) || strings.Contains(string(b), view) {
		t.Error("a secret is in the file")
	}
	again := Open(path, &[32]byte{7}, c.now)
	if ts, err := again.List(); err != nil || cmp.Diff(want, ts) != "" {
		t.Errorf("%v\n%s", err, cmp.Diff(want, ts))
	}
	s = again
	for _, text := range []string{view, operate} {
		if _, err := s.Check(text); err != nil {
			t.Error(err)
		}
	}

	// Its end.
	c.t = made.Add(day - 1)
	if _, err := s.Check(view); err != nil {
		t.Errorf("at the last moment: %v", err)
	}
	c.t = made.Add(day)
	if got, err := s.Check(view); codeOf(err) != api.CodeUnauthorized || got.Name != "zoe@example.org" || got.Role != "" || err.Error() != "the token has expired; ask for a new one (zeekrec tokens new)" {
		t.Errorf("expired: %+v, %v", got, err)
	}
	if renewed := s.must(t, "zoe@example.org", api.RoleView, day); renewed == view {
		t.Error("it is the same again")
	}
	if _, err := s.Check(view); !errors.Is(err, errUnknown) {
		t.Errorf("the old one: %v", err)
	}
	anna, _ := s.Check(operate)
	select {
	case <-anna.Ended:
		t.Error("it has ended")
	default:
	}
	if err := s.Revoke("anna"); err != nil {
		t.Fatal(err)
	}
	<-anna.Ended
	if got, err := s.Check(operate); !errors.Is(err, errUnknown) || got != (api.Caller{}) {
		t.Errorf("revoked: %+v, %v", got, err)
	}
	if err := s.Revoke("anna"); codeOf(err) != api.CodeNotFound || err.Error() != `cannot revoke "anna": there is no token of that name` {
		t.Errorf("twice: %v", err)
	}
	if _, err := Open(path, nil, c.now).Check(operate); !errors.Is(err, errUnknown) {
		t.Errorf("after a restart: %v", err)
	}
	for _, text := range []string{"", "x", operate[:98], "zeekrec1" + operate[11:], identity.NewAPIToken([32]byte{7}).Reveal()} {
		if _, err := s.Check(text); codeOf(err) != api.CodeUnauthorized {
			t.Errorf("%.12q: %v", text, err)
		}
	}
}

func TestNew(t *testing.T) {
	s, _, path := open(t)
	s.must(t, "taken", api.RoleView, day)
	before, _ := os.ReadFile(path)
	for _, c := range []struct {
		name  string
		role  api.Role
		valid time.Duration
		want  string
	}{
		{"", api.RoleView, day, "cannot make a token: its name cannot be empty"},
		{"-x", api.RoleView, day, "cannot make a token: its name cannot begin with '-' or '.'"},
		{"a b", api.RoleView, day, "cannot make a token: its name has only letters, digits, '.', '_', '-' and '@'"},
		{"a\n", api.RoleView, day, "cannot make a token: its name has only letters, digits, '.', '_', '-' and '@'"},
		{strings.Repeat("x", 65), api.RoleView, day, "cannot make a token: its name has at most 64 bytes"},
		{"x", "", day, `cannot make a token for the role "": there are view and operate`},
		{"x", "admin", day, `cannot make a token for the role "admin": there are view and operate`},
		{"x", api.RoleView, 0, "cannot make a token that is valid for 0s: choose more than 0 and at most 3650 days"},
		{"x", api.RoleView, -day, "cannot make a token that is valid for -24h0m0s: choose more than 0 and at most 3650 days"},
		{"x", api.RoleView, MaxValid + 1, "cannot make a token that is valid for 87600h0m0.000000001s: choose more than 0 and at most 3650 days"},
		{"taken", api.RoleOperate, day, "cannot make a token: there is one of the name taken; choose another name, or revoke it first"},
	} {
		if text, err := s.New(c.name, c.role, c.valid, "root"); text != "" || err == nil || err.Error() != c.want {
			t.Errorf("%q, %q, %v: %v", c.name, c.role, c.valid, err)
		}
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("the file has changed")
	}
	s.fingerprint = nil
	if _, err := s.New("x", api.RoleView, day, "root"); !errors.Is(err, errNotServed) {
		t.Errorf("where nobody is served: %v", err)
	}
}

func TestBound(t *testing.T) {
	s, c, path := open(t)
	all := content{FormatVersion: formatVersion}
	for i := range maxTokens {
		all.Tokens = append(all.Tokens, &token{Name: fmt.Sprintf("%060d", i), Role: api.RoleOperate, Hash: strings.Repeat("0", 64), Since: c.t, By: strings.Repeat("b", 32), Expires: c.t.Add(day), Used: c.t})
	}
	b, err := encode(all.Tokens)
	if err != nil || len(b) > maxFile/2 {
		t.Errorf("the most tokens take %d bytes, %v", len(b), err)
	}
	if err := save(path, b); err != nil {
		t.Fatal(err)
	}
	s = Open(path, s.fingerprint, c.now)
	if _, err := s.New("x", api.RoleView, day, "root"); err == nil || err.Error() != "cannot make a token: there are 1000; revoke those that are not used any more" {
		t.Errorf("one more: %v", err)
	}
}

// TestDamaged: a file that is not sound refuses everybody and every change, is named, and stays as it is.
func TestDamaged(t *testing.T) {
	s, c, path := open(t)
	text := s.must(t, "anna", api.RoleView, day)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	change := func(old, now string) string {
		t.Helper()
		if !strings.Contains(string(good), old) {
			t.Fatalf("there is no %s in %s", old, good)
		}
		return strings.Replace(string(good), old, now, 1)
	}
	var one content
	if err := json.Unmarshal(good, &one); err != nil {
		t.Fatal(err)
	}
	twice, _ := encode([]*token{one.Tokens[0], one.Tokens[0]})
	many, _ := encode(make([]*token, maxTokens+1))
	hash := one.Tokens[0].Hash
	for content, want := range map[string]string{
		"":                         "it cannot be understood (damaged near byte 0)",
		string(good[:len(good)/2]): "it cannot be understood (damaged near byte ",
		"null":                     "it has format 0, and this zeekrec knows 1",
		string(good) + "{}":        "something follows its content",
		change(`"format_version": 1`, `"format_version": 2`):       "it has format 2, and this zeekrec knows 1",
		change(`"by"`, `"bye"`):                                    "it cannot be understood (damaged near byte ",
		change("view", "admin"):                                    "its token 1 has no role that there is",
		change("anna", "an na"):                                    "its token 1 has no proper name",
		change(hash, hash[2:]):                                     "its token 1 has no proper hash",
		change(hash, strings.Repeat("A", 64)):                      "its token 1 has no proper hash",
		change(`"2026-11-22T12:00:00Z"`, `"0001-01-01T00:00:00Z"`): "its token 1 does not say when it expires",
		string(twice):                                              "it has two tokens of one name",
		string(many):                                               "it has too many tokens",
		`{"format_version":1,"tokens":[null]}`:                     "its token 1 is empty",
		strings.Repeat(" ", maxFile+1):                             "it is too large",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		s := Open(path, &[32]byte{7}, c.now)
		_, err1 := s.Check(text)
		_, err2 := s.List()
		_, err3 := s.New("x", api.RoleView, day, "root")
		for i, err := range []error{s.Err(), err1, err2, err3, s.Revoke("anna")} {
			d, ok := errors.AsType[*Damaged](err)
			if !ok || d.Path != path || !strings.HasPrefix(err.Error(), "cannot use the tokens in "+path+": "+want) || !strings.HasSuffix(err.Error(), "; nobody is let in with a token. Restore the file, or move it away and make new tokens, and start zeekrec again") {
				t.Errorf("%.20q, %d: %v", content, i, err)
			} else if strings.Contains(err.Error(), hash) {
				t.Errorf("the hash is in %v", err)
			}
		}
		if err := s.flush(); err != nil {
			t.Error(err)
		}
		if after, _ := os.ReadFile(path); string(after) != content {
			t.Errorf("%.20q was replaced", content)
		}
	}
	// A folder in its place cannot be read either.
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, nil, c.now).Check(text); codeOf(err) == api.CodeUnauthorized || err == nil {
		t.Errorf("a folder: %v", err)
	}
}

// TestDiskTrouble: what cannot be written is not made; what is revoked is worthless all the same.
func TestDiskTrouble(t *testing.T) {
	s, _, path := open(t)
	text := s.must(t, "anna", api.RoleView, day)
	if err := errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, "x"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if made, err := s.New("bert", api.RoleView, day, "root"); err == nil || made != "" || !strings.HasPrefix(err.Error(), "cannot make a token: ") {
		t.Errorf("made: %v", err)
	}
	if ts, _ := s.List(); len(ts) != 1 {
		t.Errorf("there are %v", ts)
	}
	for range 2 {
		if err := s.Revoke("anna"); err == nil || !strings.HasPrefix(err.Error(), "cannot write down that anna is revoked: ") || !strings.HasSuffix(err.Error(), "; it is worth nothing until zeekrec starts again, so repeat this when the cause is gone") {
			t.Errorf("revoked: %v", err)
		}
		if _, err := s.Check(text); !errors.Is(err, errUnknown) {
			t.Errorf("it opens: %v", err)
		}
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := s.Revoke("anna"); err != nil {
		t.Errorf("the cause is gone: %v", err)
	}
	if ts, err := s.List(); len(ts) != 0 || err != nil {
		t.Errorf("there are %v, %v", ts, err)
	}
}

// TestRun: the last use is written within a minute, and when it ends.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "api-tokens.json")
		s := Open(path, &[32]byte{}, time.Now)
		text := s.must(t, "anna", api.RoleView, day)
		used := func() time.Time {
			ts, err := Open(path, nil, time.Now).List()
			if err != nil || len(ts) != 1 {
				t.Fatalf("%v, %v", ts, err)
			}
			return ts[0].Used
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx, slog.New(slog.DiscardHandler)) }()
		time.Sleep(time.Second)
		first := time.Now()
		if _, err := s.Check(text); err != nil {
			t.Fatal(err)
		}
		if !used().IsZero() {
			t.Error("each use is written at once")
		}
		time.Sleep(writeEvery)
		synctest.Wait()
		if !used().Equal(first) {
			t.Errorf("used %v, and not %v", used(), first)
		}
		second := time.Now()
		if _, err := s.Check(text); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-ended; err != nil || !used().Equal(second) {
			t.Errorf("in the end: %v, %v", used(), err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"format_version":1,"tokens":[]}`))
	f.Add([]byte(`{"format_version":1,"tokens":[{"name":"a","role":"view","hash":"` + strings.Repeat("0", 64) + `","since":"2026-01-02T03:04:05Z","by":"root","expires":"2026-01-02T03:04:05Z"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ts, err := parse(b)
		if err != nil {
			return
		}
		written, err := encode(ts)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parse(written)
		if err != nil || len(again) != len(ts) {
			t.Errorf("%s is written as %s: %v", b, written, err)
		}
	})
}
