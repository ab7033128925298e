package identity_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/identity"
)

const day = 24 * time.Hour

// clock is a time that tests move. It begins now, because some of the code under test has the machine's clock.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Now().Truncate(time.Second)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func open(t *testing.T, dir string, now func() time.Time) *identity.Authority {
	t.Helper()
	a, err := identity.Open(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// fresh is a new authority with its clock and its folder.
func fresh(t *testing.T) (*identity.Authority, *clock, string) {
	t.Helper()
	c, dir := newClock(), filepath.Join(t.TempDir(), "controller")
	return open(t, dir, c.now), c, dir
}

func tokenFor(t *testing.T, a *identity.Authority, name string) identity.Token {
	t.Helper()
	text, err := a.NewToken(name, time.Hour, "anna")
	if err != nil {
		t.Fatal(err)
	}
	tok, err := identity.ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	if tok.Fingerprint != a.Fingerprint() {
		t.Fatal("the token is of another authority")
	}
	return tok
}

func request(t *testing.T, dir, name string) []byte {
	t.Helper()
	csr, err := identity.NewRequest(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

// enrol makes an agent that is in, and its folder.
func enrol(t *testing.T, a *identity.Authority, name string) (*identity.Identity, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "agent")
	csr := request(t, dir, name)
	e, err := a.Enrol(tokenFor(t, a, name).Secret(), name, csr)
	if err != nil {
		t.Fatal(err)
	}
	return accept(t, dir, e), dir
}

func accept(t *testing.T, dir string, e identity.Enrolled) *identity.Identity {
	t.Helper()
	if err := identity.Accept(dir, e, []string{"controller.example:4222"}); err != nil {
		t.Fatal(err)
	}
	return load(t, dir)
}

func load(t *testing.T, dir string) *identity.Identity {
	t.Helper()
	id, err := identity.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func serverTLS(t *testing.T, a *identity.Authority, extra ...string) *tls.Config {
	t.Helper()
	c, err := a.ServerTLS(extra)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// refused fails unless an error is that Refused with that text.
func refused(t *testing.T, err error, why identity.Why, text string) {
	t.Helper()
	if r, ok := errors.AsType[*identity.Refused](err); !ok || r.Why != why {
		t.Errorf("got %v, not a refusal for %s", err, why)
	} else if err.Error() != text {
		t.Errorf("got  %s\nwant %s", err, text)
	}
}

// agentCert is the certificate that a text from the controller is.
func agentCert(t *testing.T, text []byte) *x509.Certificate {
	t.Helper()
	b, _ := pem.Decode(text)
	if b == nil {
		t.Fatalf("no certificate: %q", text)
	}
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func certOf(t *testing.T, dir string) *x509.Certificate {
	t.Helper()
	return agentCert(t, readFile(t, filepath.Join(dir, "cert.pem")))
}

// connect makes a TLS connection on the loopback. Both ends have to send a byte and get one, because in TLS 1.3 a client learns only
// then that it was refused. It returns what each end knows of the other.
func connect(t *testing.T, server, client *tls.Config) (seenByServer, seenByClient tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	exchange := func(conn *tls.Conn) (tls.ConnectionState, error) {
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		if err := conn.HandshakeContext(ctx); err != nil {
			return tls.ConnectionState{}, err
		}
		if _, err := conn.Write([]byte("!")); err != nil {
			return tls.ConnectionState{}, err
		}
		_, err := io.ReadFull(conn, make([]byte, 1))
		return conn.ConnectionState(), err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			serverErr = err
			return
		}
		seenByServer, serverErr = exchange(tls.Server(conn, server))
	}()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	seenByClient, clientErr = exchange(tls.Client(conn, client))
	<-done
	return seenByServer, seenByClient, serverErr, clientErr
}

// connected is connect where both ends have to be content.
func connected(t *testing.T, server, client *tls.Config) (seenByServer, seenByClient tls.ConnectionState) {
	t.Helper()
	s, c, err1, err2 := connect(t, server, client)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if s.Version != tls.VersionTLS13 || c.DidResume {
		t.Errorf("version %x, resumed %v", s.Version, c.DidResume)
	}
	return s, c
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// tree is all files of a folder.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		out[d.Name()] = string(readFile(t, path))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ca is an authority of a test's own, or one whose key a test has taken.
type ca struct {
	cert *x509.Certificate
	key  any
}

func takeCA(t *testing.T, controllerDir string) ca {
	t.Helper()
	text := readFile(t, filepath.Join(controllerDir, "ca.pem"))
	p, err := tls.X509KeyPair(text, text)
	if err != nil {
		t.Fatal(err)
	}
	return ca{p.Leaf, p.PrivateKey}
}

// leaf makes a certificate, with the CA's after it, and those that a caller adds.
func (c ca) leaf(t *testing.T, change func(*x509.Certificate), more ...*x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		Subject: pkix.Name{CommonName: "zeekrec-controller"}, DNSNames: []string{"zeekrec-controller"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, key.Public(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	out := tls.Certificate{Certificate: [][]byte{der, c.cert.Raw}, PrivateKey: key}
	for _, m := range more {
		out.Certificate = append(out.Certificate, m.Raw)
	}
	return out
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// block makes a file that cannot be replaced, and returns what puts it back.
func block(t *testing.T, path string) (restore func()) {
	t.Helper()
	b := readFile(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, b)
	}
}
