package mgmt

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zeekrec/zeekrec/cmd/internal/mgmt/certtest"
)

// serveTLS runs a server with these files, for TLS alone where clients need certificates.
func serveTLS(t *testing.T, f TLSFiles) (address string) {
	t.Helper()
	config, err := ServerTLS(t.TempDir(), f)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, newFakeWorld(t).controller(t.TempDir()), func(l *Listener) { l.TLS, l.Plain = config, f.ClientCA == "" })
}

// trusting is a client's configuration: whom it trusts, whom it expects, and its own certificate, if it has one.
func trusting(t *testing.T, ca *certtest.CA, name string, pair ...string) *tls.Config {
	t.Helper()
	b, err := os.ReadFile(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	c := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: name}
	c.RootCAs.AppendCertsFromPEM(b)
	if len(pair) == 2 {
		own, err := tls.LoadX509KeyPair(pair[0], pair[1])
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{own}
	}
	return c
}

// TestGivenCertificate: it is the one that is shown, and who verifies it is served, plain connections, too.
func TestGivenCertificate(t *testing.T) {
	ca, other := certtest.New(t), certtest.New(t)
	cert, key := ca.Issue(t, "controller.example")
	at := serveTLS(t, TLSFiles{Cert: cert, Key: key})
	instancesWork(t, Endpoint{Address: at, TLS: trusting(t, ca, "controller.example")})
	instancesWork(t, Endpoint{Address: at})
	for what, c := range map[string]*tls.Config{"another name": trusting(t, ca, "other.example"), "another CA": trusting(t, other, "controller.example")} {
		if c, err := Dial(t.Context(), Endpoint{Address: at, TLS: c}); err == nil {
			c.Close()
			t.Errorf("%s: it is taken for the controller", what)
		}
	}
}

// TestClientCertificates: without one that the CA has signed nobody is served.
func TestClientCertificates(t *testing.T) {
	ca, other := certtest.New(t), certtest.New(t)
	cert, key := ca.Issue(t, "controller.example")
	at := serveTLS(t, TLSFiles{Cert: cert, Key: key, ClientCA: ca.File})
	good, goodKey := ca.Issue(t, "somebody")
	bad, badKey := other.Issue(t, "somebody")
	instancesWork(t, Endpoint{Address: at, TLS: trusting(t, ca, "controller.example", good, goodKey)})
	for what, c := range map[string]*tls.Config{
		"no certificate": trusting(t, ca, "controller.example"), "one of another CA": trusting(t, ca, "controller.example", bad, badKey), "no TLS": nil,
	} {
		if c, err := Dial(t.Context(), Endpoint{Address: at, TLS: c}); err == nil {
			c.Close()
			t.Errorf("%s: it is served", what)
		}
	}
	instancesWork(t, Endpoint{Address: at, TLS: trusting(t, ca, "controller.example", good, goodKey)})
}

// TestOwnCertificate: it is made once, for its owner alone.
func TestOwnCertificate(t *testing.T) {
	dir := t.TempDir()
	var shown [][]byte
	for range 2 {
		c, err := ServerTLS(dir, TLSFiles{})
		if err != nil {
			t.Fatal(err)
		}
		shown = append(shown, c.Certificates[0].Certificate[0])
	}
	if !bytes.Equal(shown[0], shown[1]) {
		t.Error("each start has another certificate")
	}
	if info, err := os.Stat(filepath.Join(dir, "management-cert.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file with the key is %v, %v", info, err)
	}
}

func TestBadTLSFiles(t *testing.T) {
	ca := certtest.New(t)
	cert, _ := ca.Issue(t, "a")
	_, key := ca.Issue(t, "b")
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := writeFile(empty, nil); err != nil {
		t.Fatal(err)
	}
	for want, f := range map[string]TLSFiles{
		"given together":                  {Cert: cert},
		"cannot use the certificate":      {Cert: cert, Key: key}, // of another
		"no such file":                    {Cert: empty + "x", Key: key},
		"cannot read the certificates of": {ClientCA: empty + "x"},
		"has none in PEM":                 {ClientCA: empty},
	} {
		if _, err := ServerTLS(t.TempDir(), f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", f, err, want)
		}
	}
}
