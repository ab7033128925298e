package git

import (
	"context"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/zeekrec/zeekrec/desired/source"
)

func command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.org")
	return c
}

func gitCommand(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	return command(t, "git", append([]string{"-C", dir}, args...)...)
}

// sshServer serves git-upload-pack to one key.
func sshServer(t *testing.T, host, user ssh.Signer) string {
	t.Helper()
	program(t, "git-upload-pack")
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if string(k.Marshal()) != string(user.PublicKey().Marshal()) {
			return nil, os.ErrPermission
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveSSH(c, config)
		}
	}()
	return l.Addr().String()
}

func serveSSH(c net.Conn, config *ssh.ServerConfig) {
	defer c.Close()
	_, chans, reqs, err := ssh.NewServerConn(c, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	for n := range chans {
		ch, reqs, err := n.Accept()
		if err != nil {
			return
		}
		for r := range reqs {
			if r.Type != "exec" {
				_ = r.Reply(false, nil)
				continue
			}
			_ = r.Reply(true, nil)
			cmd := exec.Command("/bin/sh", "-c", string(r.Payload[4:]))
			cmd.Env = []string{"PATH=/usr/bin:/bin", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}
			cmd.Stdin, cmd.Stdout, cmd.Stderr = ch, ch, ch.Stderr()
			_ = cmd.Run()
			_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ S uint32 }{0}))
			_ = ch.Close()
		}
	}
}

// TestSSH: the server's key is known or nothing happens; so is ours.
func TestSSH(t *testing.T) {
	o := newOrigin(t)
	for range 3 {
		o.commit(map[string]string{"dmz.cfg": dmz})
	}
	host, user := newSigner(t, 7), newSigner(t, 8)
	at := sshServer(t, host, user)
	url := "ssh://git@" + at + o.dir
	dir := t.TempDir()
	known, key := filepath.Join(dir, "known_hosts"), filepath.Join(dir, "key")
	o.must(os.WriteFile(key, privateKey(t, 8), 0o600))
	opts := func() Options { return Options{Auth: Auth{SSHKeyFile: key, KnownHosts: []string{known}}} }

	follow(t, url, opts()).bad(t, UnknownHost, "there is no known_hosts file "+known)
	o.must(os.WriteFile(known, []byte(knownhosts.Line([]string{"other.example.org"}, host.PublicKey())+"\n"), 0o600))
	follow(t, url, opts()).bad(t, UnknownHost, "in no known_hosts file")
	o.must(os.WriteFile(known, []byte(knownhosts.Line([]string{at}, newSigner(t, 9).PublicKey())+"\n"), 0o600))
	follow(t, url, opts()).bad(t, UnknownHost, "is another than the one in known_hosts")
	o.must(os.WriteFile(known, []byte(knownhosts.Line([]string{at}, host.PublicKey())+"\n"), 0o600))
	l := follow(t, url, opts())
	s := l.good(t)
	if l.good(t) != s {
		t.Error("the same commit was read twice")
	}
	o.commit(map[string]string{"dmz.cfg": dmz + "\n"})
	l.good(t)
	follow(t, "ssh://git@"+at+"/nowhere.git", opts()).bad(t, source.Missing, "no such repository")
	o.must(os.WriteFile(key, privateKey(t, 9), 0o600))
	l.bad(t, Unauthorized, "--git-ssh-key")
	o.must(os.WriteFile(key, []byte("nonsense"), 0o600))
	l.bad(t, Misused, "cannot use the SSH key")
}

// TestSilentServer: one that accepts connections and says nothing holds nobody up.
func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	known := filepath.Join(dir, "known_hosts")
	if err := os.WriteFile(known, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{AskWithin: 200 * time.Millisecond, Auth: Auth{SSHKey: string(privateKey(t, 8)), KnownHosts: []string{known}}}
	for _, url := range []string{"ssh://" + l.Addr().String() + "/x.git", "http://" + l.Addr().String() + "/x.git"} {
		began := time.Now()
		follow(t, url, o).bad(t, source.Unresponsive, "does not answer in time")
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("%s: it took %s", url, d)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := follow(t, url, o).look(ctx, time.Now()); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	}
}

func privateKey(t *testing.T, n byte) []byte {
	t.Helper()
	b, err := ssh.MarshalPrivateKey(rawKey(n), "")
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(b)
}

func TestURLs(t *testing.T) {
	for _, c := range []struct{ in, out string }{
		{"https://git.example.org/zeek.git?ref=main&path=/clusters/", "https://git.example.org/zeek.git?path=clusters&ref=main"},
		{"https://ci@git.example.org/zeek.git", "https://ci@git.example.org/zeek.git"},
		{"git@git.example.org:team/zeek.git?ref=v1", "git@git.example.org:team/zeek.git?ref=v1"},
		{"ssh://git@git.example.org:2222/zeek.git", "ssh://git@git.example.org:2222/zeek.git"},
		{"file:///srv/zeek.git/?path=.", "file:///srv/zeek.git"},
		{"file:///srv/a b.git", "file:///srv/a%20b.git"},
		{"https://ada:secret@git.example.org/zeek.git", "!it holds a password"},
		{"file://srv/zeek.git", "!absolute path"},
		{"ftp://git.example.org/zeek.git", `!the scheme "ftp"`},
		{"https://git.example.org/", "!a path are needed"},
		{"https://git.example.org/zeek.git?branch=x", "!ref and path"},
		{"https://git.example.org/zeek.git?path=../x", "!leads out"},
		{"https://git.example.org/zeek.git#main", "!fragment"},
	} {
		u, err := Parse(c.in)
		if want, bad := strings.CutPrefix(c.out, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v, want %q", c.in, err, want)
			}
			continue
		}
		if err != nil || u.String() != c.out {
			t.Errorf("%s: %q, %v, want %q", c.in, u, err, c.out)
		}
		if again, err := Parse(u.String()); err != nil || again != u {
			t.Errorf("%s: read again it is %+v, %v", u, again, err)
		}
	}
	for in, want := range map[string]bool{"clusters": false, "/etc/zeek": false, "./a:b": false, "git@host:path": true, "a@b/c:d": false, "https://x": true} {
		if IsURL(in) != want {
			t.Errorf("IsURL(%q) is %t", in, !want)
		}
	}
}

func FuzzURL(f *testing.F) {
	f.Add("https://git.example.org/zeek.git?ref=main&path=/clusters/")
	f.Add("git@git.example.org:team/zeek.git?ref=v1")
	f.Fuzz(func(t *testing.T, in string) {
		u, err := Parse(in)
		if err != nil {
			return
		}
		if again, err := Parse(u.String()); err != nil || again.String() != u.String() {
			t.Errorf("%q is %q, and read again %q, %v", in, u.String(), again.String(), err)
		}
	})
}
