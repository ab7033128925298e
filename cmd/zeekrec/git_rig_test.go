package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/reconciler/engine"
)

const hookSecret = "the secret of this test alone"

// gitRig is a rig whose source is a bare repository that is pushed to.
type gitRig struct {
	*rig
	hook    string // address of the webhook
	workers map[string]string
	files   map[string]string // in dmz/
	all     string
	pushes  int
	told    int
}

func newGitRig(t *testing.T, bin, zeek string) *gitRig {
	t.Helper()
	for _, p := range []string{"git", "git-upload-pack"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip("needs git")
		}
	}
	g := &gitRig{rig: newRig(t, bin, zeek), workers: map[string]string{"worker-1": "", "worker-2": ""}, files: map[string]string{}}
	g.netns = "" // servers of the test are outside
	g.hook = "127.0.0.1:" + freePort(t)
	g.more = []string{"--git-poll", "1h", "--webhook-listen", g.hook, "--webhook-secret-file", g.path("secret")}
	g.write("secret", hookSecret+"\n")
	g.git("init", "-q", "--bare", "-b", "main", g.path("zeek.git"))
	g.git("clone", "-q", g.path("zeek.git"), g.path("work"))
	g.source = "file://" + g.path("zeek.git") + "?path=clusters&ref=main"
	port, err := strconv.Atoi(freePort(t))
	if err != nil {
		t.Fatal(err)
	}
	base := 26000 + port%1000*4 // no other test's
	g.all = fmt.Sprintf("[zeekrec]\nports_from = %d\nmetrics = off\nbroker_ports_from = %d\n", base, base+3000)
	return g
}

func (g *gitRig) write(name, text string) {
	g.t.Helper()
	if err := os.MkdirAll(filepath.Dir(g.path(name)), 0o755); err != nil {
		g.t.Fatal(err)
	}
	if err := os.WriteFile(g.path(name), []byte(text), 0o644); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gitRig) git(args ...string) string {
	g.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org",
		"GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.org", "GIT_SSH_COMMAND=false")
	out, err := cmd.CombinedOutput()
	if err != nil {
		g.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (g *gitRig) config() string {
	c := config{workers: g.workers}.String()
	return c[:strings.Index(c, "[zeekrec]")] + g.all
}

// push commits what the fields say, or text where it is given, and pushes it. It returns the commit.
func (g *gitRig) push(text ...string) string {
	g.t.Helper()
	g.pushes++
	content := g.config()
	if len(text) > 0 {
		content = text[0]
	}
	g.write("work/clusters/dmz.cfg", content)
	for name, text := range g.files {
		g.write("work/clusters/dmz/"+name, text)
	}
	w := g.path("work")
	g.git("-C", w, "add", "-A")
	g.git("-C", w, "commit", "-q", "--allow-empty", "-m", fmt.Sprintf("push %d", g.pushes))
	g.git("-C", w, "push", "-q", "--force", "origin", "HEAD:main")
	return g.git("-C", w, "rev-parse", "HEAD")
}

// forms are what GitHub, Gitea, GitLab and a hook of one's own send to prove that they know the secret, given the body's HMAC.
var forms = []func(h http.Header, mac string){
	func(h http.Header, mac string) { h.Set("X-Hub-Signature-256", "sha256="+mac) },
	func(h http.Header, mac string) { h.Set("X-Gitea-Signature", mac) },
	func(h http.Header, _ string) { h.Set("X-Gitlab-Token", hookSecret) },
	func(h http.Header, _ string) { h.Set("Authorization", "Bearer "+hookSecret) },
}

// tell sends what forges send, each time in another one's form.
func (g *gitRig) tell() {
	g.t.Helper()
	body := []byte(`{"ref": "refs/heads/main"}`)
	m := hmac.New(sha256.New, []byte(hookSecret))
	m.Write(body)
	g.told++
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodPost, "http://"+g.hook+"/hooks/git", bytes.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	forms[g.told%len(forms)](req.Header, hex.EncodeToString(m.Sum(nil)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		g.t.Fatalf("the webhook got %s", res.Status)
	}
}

// seen waits until a commit counts, and its cluster is synced and healthy.
func (g *gitRig) seen(commit string) engine.ClusterStatus {
	g.t.Helper()
	var c engine.ClusterStatus
	g.eventually("commit "+commit[:7]+" runs", waitLong, func() error {
		s, err := g.status()
		if err != nil {
			return err
		}
		for _, x := range s.Clusters {
			if x.Name == "dmz" {
				c = x
			}
		}
		if s.Source.Commit != commit || s.Source.State != "ok" || !c.Synced || !c.Healthy {
			return fmt.Errorf("commit %.7s, source %s, synced %t, healthy %t: %s", s.Source.Commit, s.Source.State, c.Synced, c.Healthy, c.Reason)
		}
		return nil
	})
	return c
}

// trouble waits until the source's or the cluster's reason has all of the words, and returns the status.
func (g *gitRig) trouble(words ...string) *engine.Status {
	g.t.Helper()
	var s *engine.Status
	g.eventually("the status says "+strings.Join(words, ", "), waitLong, func() error {
		var err error
		if s, err = g.status(); err != nil {
			return err
		}
		said := ""
		if s.Source.Error != nil && s.Source.Since != nil {
			said = *s.Source.Error
		}
		for _, c := range s.Clusters {
			said += "\n" + c.Reason
		}
		for _, w := range words {
			if !strings.Contains(said, w) {
				return fmt.Errorf("it says %q", said)
			}
		}
		return nil
	})
	return s
}

// history has the records of a kind.
func (g *gitRig) history(kind engine.Kind) []engine.Record {
	g.t.Helper()
	out, code := g.zeekrec("history", "--json", "--lines", "0")
	if code != 0 {
		g.t.Fatal("there is no history")
	}
	var all, some []engine.Record
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		for line := range strings.Lines(out) {
			var r engine.Record
			if json.Unmarshal([]byte(line), &r) == nil {
				all = append(all, r)
			}
		}
	}
	for _, r := range all {
		if r.Kind == kind {
			some = append(some, r)
		}
	}
	return some
}

// overHTTP lets the source be the same repository, served as forges do.
func (g *gitRig) overHTTP() {
	g.t.Helper()
	path, err := exec.Command("git", "--exec-path").Output()
	backend := filepath.Join(strings.TrimSpace(string(path)), "git-http-backend")
	if _, serr := os.Stat(backend); err != nil || serr != nil {
		g.t.Skip("needs git-http-backend")
	}
	s := httptest.NewServer(&cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + g.dir, "GIT_HTTP_EXPORT_ALL=1"}})
	g.t.Cleanup(s.Close)
	g.source = s.URL + "/zeek.git?path=clusters&ref=main"
}

// overSSH lets the source be the same repository, behind an OpenSSH server on loopback.
func (g *gitRig) overSSH() {
	g.t.Helper()
	const sshd = "/usr/sbin/sshd"
	if _, err := os.Stat(sshd); err != nil || os.Getuid() != 0 {
		g.t.Skip("needs root and openssh-server")
	}
	for _, k := range []string{"host", "user"} {
		g.must(exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", g.path(k)))
	}
	_ = os.MkdirAll("/run/sshd", 0o755)
	port := freePort(g.t)
	// The home of this machine's root may have a .bashrc that takes its time.
	g.write("sshd_config", fmt.Sprintf("ListenAddress 127.0.0.1:%s\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\nSetEnv HOME=%s\n",
		port, g.path("host"), g.path("user.pub"), g.dir))
	cmd := exec.Command(sshd, "-D", "-e", "-f", g.path("sshd_config"))
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	g.eventually("sshd answers", waitLong, func() error {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	key, err := os.ReadFile(g.path("host.pub"))
	if err != nil {
		g.t.Fatal(err)
	}
	g.write("known_hosts", fmt.Sprintf("[127.0.0.1]:%s %s", port, key))
	g.more = append(g.more, "--git-ssh-key", g.path("user"), "--git-known-hosts", g.path("known_hosts"))
	g.source = fmt.Sprintf("ssh://root@127.0.0.1:%s%s?path=clusters&ref=main", port, g.path("zeek.git"))
}

// swap has a worker's interface changed, and says which worker.
func (g *gitRig) swap() string {
	g.workers = maps.Clone(g.workers)
	name := "worker-1"
	if strings.Contains(g.workers[name], "af_packet") {
		g.workers[name] = ""
	} else {
		g.workers[name] = "interface = af_packet::lo\n"
	}
	return name
}

// timed pushes an interface, tells, and measures until the order goes out and until the worker has another process.
func (g *gitRig) timed(tell bool) (action, restarted time.Duration) {
	g.t.Helper()
	s, err := g.status()
	if err != nil {
		g.t.Fatal(err)
	}
	before := pids(s.Clusters[0])
	who := g.swap()
	commit := g.push()
	began := time.Now()
	if tell {
		g.tell()
	}
	g.eventually("the worker has been restarted", waitLong, func() error {
		s, err := g.status()
		if err != nil {
			return err
		}
		for _, x := range s.Clusters[0].Resources {
			if x.Name == who && x.PID != 0 && x.PID != before[who] {
				return nil
			}
		}
		return fmt.Errorf("not yet: %s", s.Clusters[0].Reason)
	})
	restarted = time.Since(began)
	after := g.seen(commit)
	if got := changed(before, pids(after)); got != who {
		g.t.Errorf("disturbed %q, want %q", got, who)
	}
	return g.acted("restart", "dmz/"+who).Sub(began), restarted
}

// acted is when zeekrec last gave an order, as its log has it.
func (g *gitRig) acted(verb, resource string) (at time.Time) {
	g.t.Helper()
	b, err := os.ReadFile(g.log.Name())
	if err != nil {
		g.t.Fatal(err)
	}
	for l := range strings.Lines(string(b)) {
		if strings.Contains(l, "msg=Action ") && strings.Contains(l, " action="+verb+" resource="+resource+" ") {
			stamp, _, _ := strings.Cut(strings.TrimPrefix(l, "time="), " ")
			if at, err = time.Parse(time.RFC3339Nano, stamp); err != nil {
				g.t.Fatal(err)
			}
		}
	}
	return at
}
