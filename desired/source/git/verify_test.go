package git

import (
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	gogit "github.com/go-git/go-git/v5"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// sshSigner signs commits as git does with gpg.format = ssh.
type sshSigner struct {
	ssh.Signer
	namespace string
}

func (s sshSigner) Sign(message io.Reader) ([]byte, error) {
	sig, err := sshsig.Sign(message, s.Signer, sshsig.HashSHA512, s.namespace)
	if err != nil {
		return nil, err
	}
	return sshsig.Armor(sig), nil
}

func newSigner(t *testing.T, n byte) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromKey(rawKey(n))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func signedBy(s ssh.Signer, namespace string) func(*gogit.CommitOptions) {
	return func(c *gogit.CommitOptions) { c.Signer = sshSigner{s, namespace} }
}

// TestSignatures: only who is named counts, and whoever it is, is named.
func TestSignatures(t *testing.T) {
	o := newOrigin(t)
	ada, eve := newSigner(t, 1), newSigner(t, 2)
	key := func(s ssh.Signer) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey()))) }
	file := filepath.Join(t.TempDir(), "allowed")
	write := func(text string) { o.must(os.WriteFile(file, []byte(text), 0o600)) }
	write("# people\n\nada@example.org " + key(ada) + " a comment\n")

	pgp, err := openpgp.NewEntity("Bob", "", "bob@example.org", nil)
	o.must(err)
	other, err := openpgp.NewEntity("Mallory", "", "m@example.org", nil)
	o.must(err)
	ring := filepath.Join(t.TempDir(), "keys.asc")
	var b bytes.Buffer
	w, err := armor.Encode(&b, "PGP PUBLIC KEY BLOCK", nil)
	o.must(err)
	o.must(pgp.Serialize(w))
	o.must(w.Close())
	o.must(os.WriteFile(ring, b.Bytes(), 0o600))
	with := func(e *openpgp.Entity) func(*gogit.CommitOptions) {
		return func(c *gogit.CommitOptions) { c.SignKey = e }
	}

	l := follow(t, o.url(), Options{Signers: Signers{AllowedSigners: file, OpenPGPKeys: ring}})
	n := 0
	push := func(opts ...func(*gogit.CommitOptions)) {
		n++
		o.commit(map[string]string{"dmz.cfg": fmt.Sprintf("%s# %d\n", dmz, n)}, opts...)
	}
	push(signedBy(ada, "git"))
	if s := l.good(t); !strings.HasPrefix(s.Commit.Signer, "ada@example.org (SSH SHA256:") {
		t.Errorf("signed by %q", s.Commit.Signer)
	}
	push()
	if c := l.bad(t, Unsigned, "it is not signed; it is not accepted"); c == nil || c.Author == "" {
		t.Errorf("the commit is %v", c)
	}
	push(signedBy(eve, "git"))
	l.bad(t, Unsigned, "signed by the SSH key "+ssh.FingerprintSHA256(eve.PublicKey())+", which is not among the allowed signers")
	write("ada@example.org " + key(ada) + "\neve@example.org " + key(eve) + "\n")
	if s := l.good(t); !strings.HasPrefix(s.Commit.Signer, "eve@") { // who counts has changed; nobody pushed
		t.Errorf("signed by %q", s.Commit.Signer)
	}
	push(signedBy(ada, "file"))
	l.bad(t, Unsigned, "is not good")
	push(with(pgp))
	if s := l.good(t); !strings.Contains(s.Commit.Signer, "Bob <bob@example.org> (OpenPGP ") {
		t.Errorf("signed by %q", s.Commit.Signer)
	}
	push(with(other))
	l.bad(t, Unsigned, "does not count")

	push(signedBy(ada, "git"))
	for _, c := range []struct{ line, why string }{
		{`ada namespaces="git,file" ` + key(ada), ""},
		{`ada namespaces="file" ` + key(ada), "not for git"},
		{`ada valid-after="20260101Z",valid-before="20270101" ` + key(ada), ""},
		{`ada valid-after="20300101" ` + key(ada), "counts from 2030-01-01 on"},
		{`ada valid-before="20250101120000Z" ` + key(ada), "counted until 2025-01-01"},
		{`ada cert-authority ` + key(ada), "the option cert-authority is not known here"},
		{`ada ssh-ed25519 AAAA`, "line 1: it has no public key"},
		{`ada`, "line 1"},
		{`"ada, of the moor`, "a quote is not closed"},
		{`"ada, of the moor" ` + key(ada), ""},
	} {
		write(c.line + "\n")
		s, _, err := l.now(t)
		if c.why == "" && (err != nil || !strings.HasPrefix(s.Commit.Signer, "ada")) || c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)) {
			t.Errorf("%s: %v, want %q", c.line, err, c.why)
		}
	}
	o.must(os.Remove(file))
	l.bad(t, Unsigned, "the allowed signers cannot be read")

	// A tag that is signed speaks for its commit.
	write("ada@example.org " + key(ada) + "\n")
	push()
	head, err := o.repo.Head()
	o.must(err)
	_, err = o.repo.CreateTag("v1", head.Hash(), &gogit.CreateTagOptions{Message: "v1", Tagger: nil, SignKey: pgp})
	o.must(err)
	v1 := follow(t, o.url()+"?ref=v1", Options{Signers: Signers{OpenPGPKeys: ring}})
	if s := v1.good(t); !strings.Contains(s.Commit.Signer, "Bob") || s.Commit.ID != head.Hash().String() {
		t.Errorf("%+v", s.Commit)
	}
}

// TestGitAndOpenSSHSign: what the programs themselves make is understood. The commit was made by git 2.39 with ssh-keygen.
func TestGitAndOpenSSHSign(t *testing.T) {
	dir := t.TempDir()
	sh := func(args ...string) {
		t.Helper()
		if out, err := gitCommand(t, dir, args...).CombinedOutput(); err != nil {
			t.Skipf("needs git and ssh-keygen: %v: %s", err, out)
		}
	}
	sh("init", "-q", "-b", "main", dir)
	if out, err := command(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "key")).CombinedOutput(); err != nil {
		t.Skipf("needs ssh-keygen: %v: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "dmz.cfg"), []byte(dmz), 0o644); err != nil {
		t.Fatal(err)
	}
	sh("add", "dmz.cfg")
	sh("-c", "gpg.format=ssh", "-c", "user.signingKey="+filepath.Join(dir, "key"), "commit", "-q", "-S", "-m", "signed")
	pub, err := os.ReadFile(filepath.Join(dir, "key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	allowed := filepath.Join(dir, "allowed")
	if err := os.WriteFile(allowed, append([]byte("ada@example.org "), pub...), 0o644); err != nil {
		t.Fatal(err)
	}
	s := follow(t, "file://"+dir, Options{Signers: Signers{AllowedSigners: allowed}}).good(t)
	if !strings.HasPrefix(s.Commit.Signer, "ada@example.org") {
		t.Errorf("signed by %q", s.Commit.Signer)
	}
}

func FuzzAllowedSigners(f *testing.F) {
	f.Add("ada namespaces=\"git\",valid-after=\"20260101Z\" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIqKZxSB+DoHP5X6E9gGWvzzGcbbqCVwoyJOSNbbTi\n# x\n")
	f.Add(`"a b" ssh-rsa x`)
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseAllowed([]byte(text))
		if err != nil && all != nil {
			t.Error("half a file was returned")
		}
		for _, a := range all {
			if a.key == nil || a.principals == "" {
				t.Errorf("a line without a key or a name: %+v", a)
			}
		}
	})
}

func rawKey(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}
