package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// The signatures were made with openssl: printf %s '{"ref":"refs/heads/main"}' | openssl dgst -sha256 -hmac SECRET
const (
	secret = "It's a Secret to Everybody"
	body   = "Hello, World!"
	// From GitHub's documentation, "Testing the webhook payload validation".
	hexSum = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
)

func TestForms(t *testing.T) {
	// From the test of the reference implementation of standardwebhooks.com.
	const std, stdBody = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", `{"test": 2432232314}`
	stdAt := time.Unix(1614265330, 0)
	for _, c := range []struct {
		name, secret, body string
		head               map[string]string
		want               int
	}{
		{"GitHub", secret, body, map[string]string{"X-Hub-Signature-256": "sha256=" + hexSum}, 202},
		{"Gitea", secret, body, map[string]string{"X-Gitea-Signature": hexSum}, 202},
		{"Forgejo", secret, body, map[string]string{"X-Forgejo-Signature": hexSum}, 202},
		{"GitLab", secret, body, map[string]string{"X-Gitlab-Token": secret}, 202},
		{"plain", secret, "", map[string]string{"Authorization": "Bearer " + secret}, 202},
		{"GitLab, signing", std, stdBody, map[string]string{
			"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265330", "webhook-signature": "v1,bad v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
		}, 202},
		{"an old one", std, stdBody, map[string]string{
			"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265000", "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
		}, 401},
		{"nothing", secret, body, nil, 401},
		{"another body", secret, body + "x", map[string]string{"X-Hub-Signature-256": "sha256=" + hexSum}, 401},
		{"SHA-1", secret, body, map[string]string{"X-Hub-Signature": "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59"}, 401},
		{"empty", secret, body, map[string]string{"X-Hub-Signature-256": "sha256=", "X-Gitlab-Token": "", "Authorization": "Bearer ", "webhook-signature": "v1,"}, 401},
		{"another token", secret, body, map[string]string{"X-Gitlab-Token": secret + "x"}, 401},
		{"too long", secret, strings.Repeat("x", maxBody+1), map[string]string{"X-Gitlab-Token": secret}, 413},
	} {
		looks := 0
		h, err := New(c.secret, func(context.Context) error { looks++; return nil }, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		h.now = func() time.Time { return stdAt.Add(time.Minute) }
		r := httptest.NewRequest(http.MethodPost, Path, strings.NewReader(c.body))
		for k, v := range c.head {
			r.Header.Set(k, v)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want || (looks == 1) != (c.want == 202) {
			t.Errorf("%s: %d, %d looks, want %d", c.name, w.Code, looks, c.want)
		}
	}
}

func TestOtherRequests(t *testing.T) {
	if _, err := New("short", nil, nil); err == nil {
		t.Error("a short secret was taken")
	}
	h, err := New(secret, func(context.Context) error { return errors.New("it ends") }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	do := func(method, path string, body io.Reader) int {
		r := httptest.NewRequest(method, path, body)
		r.Header.Set("X-Gitlab-Token", secret)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	got := fmt.Sprint(do("GET", Path, nil), do("POST", "/", nil), do("POST", Path, nil))
	if got != "405 404 503" {
		t.Errorf("got %s", got)
	}
	// A sender that says nothing more holds up so many others, and no more.
	block, held := make(chan struct{}), make(chan int, atOnce)
	for range atOnce {
		go func() { held <- do("POST", Path, blocked{block}) }()
	}
	for len(h.busy) < atOnce {
		time.Sleep(time.Millisecond) // polls
	}
	if code := do("POST", Path, nil); code != 503 {
		t.Errorf("one too many got %d", code)
	}
	close(block)
	for range atOnce {
		<-held
	}
}

type blocked struct{ until chan struct{} }

func (b blocked) Read([]byte) (int, error) { <-b.until; return 0, io.EOF }
