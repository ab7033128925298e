package identity_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/identity"
)

func TestAPIToken(t *testing.T) {
	a, _, _ := fresh(t)
	tok := identity.NewAPIToken(a.Fingerprint())
	text := tok.Reveal()
	if len(text) != 99 || !strings.HasPrefix(text, "zeekrecapi1") {
		t.Errorf("a token is %q", text)
	}
	if got, err := identity.ParseAPIToken(" " + text + "\n"); err != nil || got.Reveal() != text || got.Fingerprint != a.Fingerprint() || got.Secret() != tok.Secret() {
		t.Errorf("read as %v, %v", got, err)
	}
	if identity.NewAPIToken(a.Fingerprint()).Secret() == tok.Secret() {
		t.Error("two have one secret")
	}
	// The kinds cannot be taken for each other, not even by changing the prefix: the checksum has it.
	other := tokenFor(t, a, "").Reveal()
	for _, s := range []string{"", "zeekrecapi1", text[:98], text + "a", other, "zeekrecapi1" + strings.TrimPrefix(other, "zeekrec1"), strings.ToUpper(text)} {
		if _, err := identity.ParseAPIToken(s); !errors.Is(err, identity.ErrNoAPIToken) {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{text, "zeekrec1" + strings.TrimPrefix(text, "zeekrecapi1")} {
		if _, err := identity.ParseToken(s); !errors.Is(err, identity.ErrNoToken) {
			t.Errorf("%q: %v", s, err)
		}
	}
	if got, want := identity.ErrNoAPIToken.Error(), "that is no token for the API of zeekrec: copy all of it, it begins with zeekrecapi1 and has 99 characters"; got != want {
		t.Errorf("got %q", got)
	}
}

func FuzzParseAPIToken(f *testing.F) {
	f.Add("")
	f.Add("zeekrecapi1" + strings.Repeat("a", 88))
	f.Add(identity.NewAPIToken([32]byte{1, 2, 3}).Reveal())
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := identity.ParseAPIToken(s)
		if err != nil {
			if !errors.Is(err, identity.ErrNoAPIToken) || s != "" && len(s) > 20 && strings.Contains(err.Error(), s) {
				t.Errorf("%v", err)
			}
			return
		}
		if tok.Reveal() != strings.TrimSpace(s) {
			t.Errorf("%q is written as another", s)
		}
	})
}

// TestAPITLS: zeekrec's own server is known under every name, and no client certificate is asked for.
func TestAPITLS(t *testing.T) {
	a, _, _ := fresh(t)
	b, _, dirB := fresh(t)
	server := identity.ForAPI(serverTLS(t, a))
	seen, _ := connected(t, server, identity.APITLS(a.Fingerprint(), "name.nobody.knows"))
	if len(seen.PeerCertificates) != 0 {
		t.Error("the client has shown a certificate")
	}
	if _, _, _, err := connect(t, server, identity.APITLS(b.Fingerprint(), "localhost")); !errors.Is(err, identity.ErrNotTheController) {
		t.Errorf("another's token: %v", err)
	}
	old := identity.APITLS(a.Fingerprint(), "localhost")
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, _, _, err := connect(t, server, old); err == nil {
		t.Error("TLS 1.2 is good enough")
	}
	// Its authority does not vouch for hosts by their name.
	wrong := takeCA(t, dirB).leaf(t, func(c *x509.Certificate) { c.DNSNames = []string{"localhost"} })
	if _, _, _, err := connect(t, &tls.Config{Certificates: []tls.Certificate{wrong}}, identity.APITLS(b.Fingerprint(), "localhost")); !errors.Is(err, identity.ErrNotTheController) {
		t.Errorf("a name instead of the controller's: %v", err)
	}
}

// somebodysCA is an authority that is not zeekrec's, below one if that is given.
func somebodysCA(t *testing.T, name string, above *ca) ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	parent, signer := tmpl, any(key)
	if above != nil {
		parent, signer = above.cert, above.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return ca{cert, key}
}

// TestAPITLSOfFiles: with certificates of somebody else, the host's name counts, and a token names their authority.
func TestAPITLSOfFiles(t *testing.T) {
	root := somebodysCA(t, "Example Root", nil)
	between := somebodysCA(t, "Example Issuing", &root)
	at := t.TempDir()
	f := identity.Files{Cert: filepath.Join(at, "c"), Key: filepath.Join(at, "k"), CA: filepath.Join(at, "ca")}
	keep := func(c tls.Certificate) {
		t.Helper()
		der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		var chain []byte
		for _, b := range c.Certificate {
			chain = append(chain, encode("CERTIFICATE", b)...)
		}
		writeFile(t, f.Cert, chain)
		writeFile(t, f.Key, encode("PRIVATE KEY", der))
	}
	writeFile(t, f.CA, append(encode("CERTIFICATE", somebodysCA(t, "Other", nil).cert.Raw), encode("CERTIFICATE", root.cert.Raw)...))
	for name, c := range map[string]struct {
		by   ca
		more []*x509.Certificate
	}{"by the root": {root, nil}, "by one below it": {between, nil}, "with the root shown": {between, []*x509.Certificate{root.cert}}} {
		keep(c.by.leaf(t, func(c *x509.Certificate) { c.DNSNames = []string{"sensor.example"} }, c.more...))
		server, fingerprint, err := f.APITLS()
		if err != nil {
			t.Fatal(err)
		}
		if fingerprint != sha256.Sum256(root.cert.Raw) {
			t.Errorf("%s: the fingerprint is not the root's", name)
		}
		connected(t, server, identity.APITLS(fingerprint, "sensor.example"))
		for _, host := range []string{"zeekrec-controller", "localhost", "192.0.2.1"} {
			if _, _, _, err := connect(t, server, identity.APITLS(fingerprint, host)); !errors.Is(err, identity.ErrNotTheController) {
				t.Errorf("%s, as %s: %v", name, host, err)
			}
		}
		if _, _, _, err := connect(t, server, identity.APITLS([32]byte{}, "sensor.example")); !errors.Is(err, identity.ErrNotTheController) {
			t.Errorf("%s, with another fingerprint: %v", name, err)
		}
		// It may be renewed.
		keep(c.by.leaf(t, func(c *x509.Certificate) { c.DNSNames = []string{"renewed.example"} }, c.more...))
		connected(t, server, identity.APITLS(fingerprint, "renewed.example"))
	}
	stranger := somebodysCA(t, "Stranger", nil)
	keep(stranger.leaf(t, nil))
	if _, _, err := f.APITLS(); err == nil || !strings.HasPrefix(err.Error(), "cannot use the certificate "+f.Cert+": the certificate authority that was given with it did not make it, or it is none for a server: ") {
		t.Errorf("of another authority: %v", err)
	}
	// The certificate of a client of the authority is none for a server, and one that only carries the authority's proves nothing.
	client := root.leaf(t, func(c *x509.Certificate) {
		c.DNSNames, c.ExtKeyUsage = []string{"sensor.example"}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
	forged := stranger.leaf(t, func(c *x509.Certificate) { c.DNSNames = []string{"sensor.example"} }, root.cert)
	for _, c := range []tls.Certificate{client, forged} {
		if _, _, _, err := connect(t, &tls.Config{Certificates: []tls.Certificate{c}}, identity.APITLS(sha256.Sum256(root.cert.Raw), "sensor.example")); !errors.Is(err, identity.ErrNotTheController) {
			t.Errorf("got %v", err)
		}
	}
}
