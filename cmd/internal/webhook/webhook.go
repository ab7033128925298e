// Package webhook lets a forge, or a post-receive hook, tell that something was pushed. What it says is not believed: it only leads to a
// look at the source, which is cheap where nothing has changed. Who says it has to know a secret all the same.
//
// The forms, all POST /hooks/git:
//
//	GitHub, Gitea     X-Hub-Signature-256: sha256=HEX    HMAC-SHA256 of the body
//	Gitea, Forgejo    X-Gitea-Signature, X-Forgejo-Signature, X-Gogs-Signature: HEX    the same
//	GitLab            X-Gitlab-Token: SECRET             the secret itself
//	GitLab, signing   webhook-id, webhook-timestamp, webhook-signature: v1,BASE64      HMAC-SHA256 of "ID.TIMESTAMP.BODY", as standardwebhooks.com
//	plain             Authorization: Bearer SECRET       curl in a post-receive hook
package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Path that is served.
const Path = "/hooks/git"

// Bounds.
const (
	maxBody    = 25 << 20 // GitHub sends no larger ones
	atOnce     = 16
	within     = 30 * time.Second
	minSecret  = 16
	staleAfter = 5 * time.Minute // of a signature with a time
)

// Handler answers the requests of one secret.
type Handler struct {
	secret []byte
	look   func(context.Context) error
	log    *slog.Logger
	now    func() time.Time
	busy   chan struct{}
}

// New returns a handler that calls look, which is not to block, for each request that proves to know the secret.
func New(secret string, look func(context.Context) error, log *slog.Logger) (*Handler, error) {
	if len(secret) < minSecret {
		return nil, errors.New("cannot listen for webhooks: a secret of at least 16 characters is needed")
	}
	return &Handler{secret: []byte(secret), look: look, log: log, now: time.Now, busy: make(chan struct{}, atOnce)}, nil
}

// Serve answers on l until ctx ends.
func (h *Handler) Serve(ctx context.Context, l net.Listener) error {
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: within, WriteTimeout: within, IdleTimeout: time.Minute, MaxHeaderBytes: 1 << 14,
		ErrorLog:    slog.NewLogLogger(h.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
		return s.Close()
	}
}

// ServeHTTP answers 202 when a look was asked for, 401 without a proof.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != Path:
		http.Error(w, "there is only "+Path, http.StatusNotFound)
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "POST is wanted", http.StatusMethodNotAllowed)
		return
	}
	select {
	case h.busy <- struct{}{}:
		defer func() { <-h.busy }()
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many at once", http.StatusServiceUnavailable)
		return
	}
	ok, err := h.proves(r.Header, http.MaxBytesReader(w, r.Body, maxBody))
	switch {
	case err != nil:
		http.Error(w, "the body is too large, or did not come", http.StatusRequestEntityTooLarge)
	case !ok:
		h.log.Warn("A webhook without the right signature was refused", "from", r.RemoteAddr)
		http.Error(w, "the signature or token is missing or wrong", http.StatusUnauthorized)
	default:
		if err := h.look(r.Context()); err != nil {
			http.Error(w, "it ends, or has no source", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "looking\n")
	}
}

// proves reads the body to its end, and reports whether the sender knows the secret. Nothing of the body is kept.
func (h *Handler) proves(head http.Header, body io.Reader) (bool, error) {
	plain := hmac.New(sha256.New, h.secret)
	dated, fresh := h.dated(head)
	if _, err := io.Copy(io.MultiWriter(plain, dated), body); err != nil {
		return false, err
	}
	same := func(a string) bool { return subtle.ConstantTimeCompare([]byte(a), h.secret) == 1 }
	if t := head.Get("X-Gitlab-Token"); t != "" && same(t) {
		return true, nil
	}
	if t, ok := strings.CutPrefix(head.Get("Authorization"), "Bearer "); ok && same(t) {
		return true, nil
	}
	for _, name := range []string{"X-Hub-Signature-256", "X-Gitea-Signature", "X-Forgejo-Signature", "X-Gogs-Signature"} {
		sum, err := hex.DecodeString(strings.TrimPrefix(head.Get(name), "sha256="))
		if err == nil && hmac.Equal(sum, plain.Sum(nil)) {
			return true, nil
		}
	}
	for s := range strings.FieldsSeq(head.Get("Webhook-Signature")) {
		v, ok := strings.CutPrefix(s, "v1,")
		sum, err := base64.StdEncoding.DecodeString(v)
		if ok && err == nil && fresh && hmac.Equal(sum, dated.Sum(nil)) {
			return true, nil
		}
	}
	return false, nil
}

// dated is the HMAC of the form that signs a time, and whether that time is now.
func (h *Handler) dated(head http.Header) (hash.Hash, bool) {
	key := h.secret
	if b, ok := strings.CutPrefix(string(h.secret), "whsec_"); ok {
		if raw, err := base64.StdEncoding.DecodeString(b); err == nil {
			key = raw
		}
	}
	m := hmac.New(sha256.New, key)
	id, at := head.Get("Webhook-Id"), head.Get("Webhook-Timestamp")
	_, _ = io.WriteString(m, id+"."+at+".")
	secs, err := strconv.ParseInt(at, 10, 64)
	return m, err == nil && h.now().Sub(time.Unix(secs, 0)).Abs() <= staleAfter
}
