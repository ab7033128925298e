package git

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"

	"github.com/zeekrec/zeekrec/desired/source"
)

// maxRefs bounds the list of refs, and what a server says instead of one.
const maxRefs = 32 << 20

// A conversation with a server: it has told its refs, and may be asked for one pack.
type conversation struct {
	transport.UploadPackSession
	refs *packp.AdvRefs
}

// open asks a server for its refs: git's ls-remote. ctx bounds the whole conversation.
func (l *looker) open(ctx context.Context) (*conversation, error) {
	s, err := l.session(ctx)
	if err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeoutCause(ctx, l.opts.AskWithin, context.DeadlineExceeded)
	defer cancel()
	stop := context.AfterFunc(within, func() { _ = s.Close() })
	refs, err := s.AdvertisedReferencesContext(within)
	if !stop() && err != nil {
		err = errors.Join(context.Cause(within), err)
	}
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return &conversation{s, refs}, nil
}

func (l *looker) session(ctx context.Context) (transport.UploadPackSession, error) {
	if l.url.Scheme == "ssh" {
		return l.dialSSH(ctx)
	}
	client, err := l.httpClient()
	if err != nil {
		return nil, err
	}
	ep, err := transport.NewEndpoint(l.url.Remote())
	if err != nil {
		return nil, err
	}
	token, err := secret(l.opts.Auth.TokenFile, l.opts.Auth.Token, "the token")
	if err != nil {
		return nil, misuse(l.url, err, "let --git-token-file name a file that zeekrec's user can read")
	}
	var auth transport.AuthMethod
	if token = strings.TrimSpace(token); token != "" {
		if l.url.plainText() {
			return nil, misuse(l.url, errors.New("a token is not sent over http, where everybody on the way can read it"), "use https")
		}
		user := l.url.User
		if user == "" {
			user = "git" // the forges take any name beside a token
		}
		auth = &githttp.BasicAuth{Username: user, Password: token}
	}
	return githttp.NewClientWithOptions(client, nil).NewUploadPackSession(ep, auth)
}

func misuse(u URL, err error, hint string) *source.Error {
	return &source.Error{Subject: "the source " + u.String(), Kind: Misused, Why: oneLine(err.Error()), Hint: hint, Err: err}
}

// httpClient is made once, so that polls share a connection; and anew when the CA bundle has changed.
func (l *looker) httpClient() (*http.Client, error) {
	var pem []byte
	if l.opts.Auth.CABundle != "" {
		var err error
		if pem, err = readSmall(l.opts.Auth.CABundle); err != nil {
			return nil, misuse(l.url, fmt.Errorf("cannot read the CA bundle: %w", err), "see --git-ca-bundle")
		}
	}
	if l.client != nil && string(pem) == l.clientCA {
		return l.client, nil
	}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: time.Minute,
		IdleConnTimeout: 2 * l.opts.Interval, MaxIdleConns: 2, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 1 << 16,
	}
	if pem != nil {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, misuse(l.url, fmt.Errorf("there is no certificate in the CA bundle %s", l.opts.Auth.CABundle), "it holds PEM blocks")
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	if l.client != nil {
		l.client.CloseIdleConnections()
	}
	l.client, l.clientCA = &http.Client{Transport: bounded{t, l.opts.MaxSize}}, string(pem)
	return l.client, nil
}

// bounded ends answers that are longer than they may be.
type bounded struct {
	http.RoundTripper
	max int64 // of a pack
}

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	limit := int64(maxRefs)
	if r.Method == http.MethodPost {
		limit += b.max
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, limit), res.Body}
	return res, nil
}

// CloseIdleConnections is what http.Client looks for.
func (b bounded) CloseIdleConnections() { b.RoundTripper.(*http.Transport).CloseIdleConnections() }

// find is the object that a ref of the server leads to: a commit, or the tag object of an annotated tag.
func (c *conversation) find(ref string) (plumbing.Hash, error) {
	if ref == "" || ref == "HEAD" {
		if c.refs.Head == nil || c.refs.Head.IsZero() {
			return plumbing.ZeroHash, plumbing.ErrReferenceNotFound
		}
		return *c.refs.Head, nil
	}
	if plumbing.IsHash(ref) {
		return plumbing.NewHash(ref), nil
	}
	for _, prefix := range []string{"refs/heads/", "refs/tags/", ""} {
		if h, ok := c.refs.References[prefix+ref]; ok {
			return h, nil
		}
	}
	return plumbing.ZeroHash, plumbing.ErrReferenceNotFound
}
