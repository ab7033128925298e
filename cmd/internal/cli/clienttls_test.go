package cli

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zeekrec/zeekrec/cmd/internal/mgmt/certtest"
)

// TestRoots: what is trusted with ssl.cafile and ssl.capath is what OpenSSL would trust.
func TestRoots(t *testing.T) {
	one, two := certtest.New(t), certtest.New(t)
	folder := func(files map[string]string) string {
		dir := t.TempDir()
		for name, target := range files {
			if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	none := filepath.Join(t.TempDir(), "none")
	for _, tt := range []struct {
		name         string
		cafile, path string
		trusted      []*certtest.CA
		err          string // what it contains
	}{
		{name: "a file", cafile: one.File, trusted: []*certtest.CA{one}},
		{name: "a folder", path: folder(map[string]string{"0123abcd.0": one.File, "0123abcd.1": two.File}), trusted: []*certtest.CA{one, two}},
		{name: "a file and a folder", cafile: one.File, path: folder(map[string]string{"0123abcd.0": two.File}), trusted: []*certtest.CA{one, two}},
		{name: "what has no such name is not trusted", path: folder(map[string]string{"0123abcd.0": one.File, "two.pem": two.File, "0123abcd.r0": two.File}), trusted: []*certtest.CA{one}},
		{name: "a link to nothing", path: folder(map[string]string{"0123abcd.0": one.File, "ffffffff.0": none}), trusted: []*certtest.CA{one}},
		{name: "a file and a folder with nothing", cafile: one.File, path: t.TempDir(), trusted: []*certtest.CA{one}},
		{name: "a folder without names", path: folder(map[string]string{"one.pem": one.File}), err: "openssl rehash"},
		{name: "no folder", path: none, err: "cannot use ssl.capath: open " + none},
		{name: "no file", cafile: none, err: "cannot use ssl.cafile: open " + none},
		{name: "a file without a certificate", cafile: os.DevNull, err: "there is no certificate in PEM in " + os.DevNull},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newClientSettings()
			s.set("ssl", "cafile", tt.cafile)
			s.set("ssl", "capath", tt.path)
			pool, err := s.roots()
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("the error is %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, ca := range []*certtest.CA{one, two} {
				want := false
				for _, x := range tt.trusted {
					want = want || x == ca
				}
				if got := trusts(t, pool, ca); got != want {
					t.Errorf("trusts %s: %t, want %t", ca.File, got, want)
				}
			}
		})
	}
}

// TestRootsRehashed: a folder that OpenSSL itself has prepared.
func TestRootsRehashed(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("needs openssl")
	}
	ca, dir := certtest.New(t), t.TempDir()
	b, err := os.ReadFile(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("openssl", "rehash", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s := newClientSettings()
	s.set("ssl", "capath", dir)
	pool, err := s.roots()
	if err != nil {
		t.Fatal(err)
	}
	if !trusts(t, pool, ca) {
		t.Error("what openssl rehash has named is not trusted")
	}
}

// trusts reports whether what a CA signs is trusted.
func trusts(t *testing.T, pool *x509.CertPool, ca *certtest.CA) bool {
	t.Helper()
	file, _ := ca.Issue(t, "controller.example")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	_, err = cert.Verify(x509.VerifyOptions{Roots: pool})
	return err == nil
}
