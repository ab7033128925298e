package identity_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/zeekrec/zeekrec/cmd/internal/identity"
)

func TestToken(t *testing.T) {
	a, _, dir := fresh(t)
	text, err := a.NewToken("sensor1", maxValid, "anna")
	if err != nil {
		t.Fatal(err)
	}
	if len(text) != 96 || !strings.HasPrefix(text, "zeekrec1") {
		t.Errorf("a token is %q", text)
	}
	tok, err := identity.ParseToken(" " + text + "\r\n")
	if err != nil || tok.Reveal() != text || tok.Fingerprint != a.Fingerprint() || len(tok.Secret()) != 32 || text[8:40] != tok.Secret() {
		t.Errorf("read as %v, %v", tok, err)
	}
	for name, content := range tree(t, dir) {
		if strings.Contains(content, tok.Secret()) {
			t.Errorf("the secret is in %s", name)
		}
	}
	if second, err := a.NewToken("sensor1", maxValid, "anna"); err != nil || second[8:40] == text[8:40] || second[40:90] != text[40:90] {
		t.Errorf("a second one: %v", err)
	}
}

func TestManglingIsRecognised(t *testing.T) {
	a, _, _ := fresh(t)
	text := tokenFor(t, a, "").Reveal()
	mangled := map[string]string{
		"nothing": "", "the prefix": "zeekrec1", "cut": text[:95], "longer": text + "a", "the secret alone": text[8:40], "upper case": strings.ToUpper(text),
		"broken by a line end": text[:50] + "\n" + text[50:], "a line end for a character": text[:50] + "\n" + text[51:], "other version": "zeekrec2" + text[8:], "padding": text[:95] + "=",
	}
	for i := range text {
		c := byte('a')
		if text[i] == c {
			c = 'b'
		}
		mangled[fmt.Sprintf("character %d", i)] = text[:i] + string(c) + text[i+1:]
		if i > 0 && text[i] != text[i-1] {
			mangled[fmt.Sprintf("swapped at %d", i)] = text[:i-1] + string(text[i]) + string(text[i-1]) + text[i+1:]
		}
	}
	for what, m := range mangled {
		if _, err := identity.ParseToken(m); !errors.Is(err, identity.ErrNoToken) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got, want := identity.ErrNoToken.Error(), "that is no token of zeekrec: copy all of it, it begins with zeekrec1 and has 96 characters"; got != want {
		t.Errorf("got %q", got)
	}
}

func TestTokenHidesItself(t *testing.T) {
	a, _, _ := fresh(t)
	tok := tokenFor(t, a, "")
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", tok)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", tok)
	part := struct{ inner identity.Token }{tok}
	out := fmt.Sprintf("%v %+v %#v %s %x %q %d %v %+v %#v", tok, tok, tok, tok, tok, tok, tok, part, part, part) + log.String()
	raw := fmt.Sprintf("%x", tok.Secret())
	if strings.Contains(out, tok.Secret()) || strings.Contains(out, tok.Reveal()) || strings.Contains(out, raw) {
		t.Errorf("the secret is in %s", out)
	}
	if want := fmt.Sprintf("token of the controller %x", tok.Fingerprint[:6]); fmt.Sprint(tok) != want {
		t.Errorf("shown as %v", tok)
	}
	if zero := (identity.Token{}); zero.Reveal() != "" || zero.Secret() != "" {
		t.Error("the zero token has a secret")
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add("")
	f.Add("zeekrec1")
	f.Add("zeekrec1" + strings.Repeat("a", 88))
	f.Add("zeekrec1gxqkyyxcnlvjhkbzqv2j3vygtvuprrswjtg4bcz3fsqkkxpglqy4aqv6qnc4gnhuiemwvgdrs2w3gm5pbj4mhvqw")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := identity.ParseToken(s)
		if err != nil {
			if !errors.Is(err, identity.ErrNoToken) {
				t.Errorf("%v", err)
			}
			return
		}
		if tok.Reveal() != strings.TrimSpace(s) {
			t.Errorf("%q is written as another", s)
		}
	})
}
