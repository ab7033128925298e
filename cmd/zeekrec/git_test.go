package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/reconciler/engine"
	"github.com/zeekrec/zeekrec/reconciler/engine/news"
)

// TestGit: a push of one worker's interface restarts that worker, and nothing else, over each transport.
func TestGit(t *testing.T) {
	bin := build(t, "./cmd/zeekrec", "-s -w")
	standin := build(t, "./testdata/zeek", "-s -w")
	for _, c := range []struct {
		name  string
		setup func(*gitRig)
	}{{"file", func(*gitRig) {}}, {"http", (*gitRig).overHTTP}, {"ssh", (*gitRig).overSSH}} {
		t.Run(c.name, func(t *testing.T) {
			g := newGitRig(t, bin, standin)
			c.setup(g)
			commit := g.push()
			g.start()
			g.seen(commit)
			action, restarted := g.timed(true)
			t.Logf("from the webhook to the order: %s, to the worker's new process: %s", action, restarted)
		})
	}
	t.Run("zeek", func(t *testing.T) {
		zeek, ok := realZeek()
		if !ok {
			t.Skip("needs a real Zeek on the PATH or in /opt/zeek/bin")
		}
		g := newGitRig(t, bin, zeek)
		commit := g.push()
		g.start()
		g.seen(commit)
		g.zeekrec("plan") // waits for what a cluster that has just come up is asked
		// Nobody has had AF_Packet, so Zeek is asked first whether its scripts parse so. After that it is known of both.
		for _, what := range []string{"a kind of node that is new", "a kind that was there", "again"} {
			action, restarted := g.timed(true)
			t.Logf("%s: from the webhook to the order: %s, to the worker's new process: %s", what, action, restarted)
		}
	})
	t.Run("poll", func(t *testing.T) {
		g := newGitRig(t, bin, standin)
		g.more = append(g.more, "--git-poll", "1s")
		commit := g.push()
		g.start()
		g.seen(commit)
		g.timed(false)
	})
	t.Run("trouble", func(t *testing.T) { gitTrouble(t, newGitRig(t, bin, standin)) })
	t.Run("revert", func(t *testing.T) { gitRevert(t, newGitRig(t, bin, standin)) })
	t.Run("rollback", func(t *testing.T) { gitRollback(t, newGitRig(t, bin, standin)) })
	t.Run("signatures", func(t *testing.T) { gitSignatures(t, newGitRig(t, bin, standin)) })
}

// siteScripts of NAME/: what all nodes load, what workers load, and two files that are read while nodes run.
var siteScripts = map[string]string{
	"local.zeek": `@load ./shared
@if ( Cluster::local_node_type() == Cluster::WORKER )
@load ./workers
@endif
`,
	"shared.zeek": `module Site;
export {
	option greeting = "none";
	option limit = 1;
	global seen: table[string] of string = table();
	global version = "1";
}
type Key: record { k: string; };
type Value: record { v: string; };
redef Config::config_files += { @DIR + "/site.conf" };
event zeek_init()
	{
	Input::add_table([$source=@DIR + "/seen.dat", $name="seen", $idx=Key, $val=Value, $destination=seen, $want_record=F, $mode=Input::REREAD]);
	}
`,
	"workers.zeek": "module Workers;\nexport { global version = \"1\"; }\n",
	"seen.dat":     "#fields\tk\tv\na\t1\n",
	"site.conf":    "Site::greeting hello\n",
}

// TestGitE2EContent: with real Zeek, what a push changes in NAME/ restarts those that load it, as Zeek itself says, and data reach all nodes
// while they run; so do options.
func TestGitE2EContent(t *testing.T) {
	longGit(t)
	zeek, ok := realZeek()
	if !ok {
		t.Skip("needs a real Zeek on the PATH or in /opt/zeek/bin")
	}
	g := newGitRig(t, build(t, "./cmd/zeekrec", "-s -w"), zeek)
	g.files = maps.Clone(siteScripts)
	commit := g.push()
	g.start()
	last := pids(g.seen(commit))
	has := func(nodes int, id, want string) {
		t.Helper()
		g.eventually(fmt.Sprintf("%d nodes have %s = %s", nodes, id, want), waitLong, func() error {
			v, n, err := g.values(id)
			v = strings.Join(strings.Fields(v), "")
			if err == nil && (v != want || n != nodes) {
				err = fmt.Errorf("%d nodes have %s", n, v)
			}
			return err
		})
	}
	has(5, "Site::greeting", `"hello"`)
	has(5, "Site::seen", `{"a":"1"}`)
	for _, x := range []struct {
		what, restarted string
		change          func()
		has             func()
	}{
		{"data", "", func() { g.files["seen.dat"] = "#fields\tk\tv\na\t2\n" }, func() { has(5, "Site::seen", `{"a":"2"}`) }},
		{"a file of the Config framework", "", func() { g.files["site.conf"] = "Site::greeting howdy\nSite::limit 7\n" }, func() {
			has(5, "Site::greeting", `"howdy"`)
			has(5, "Site::limit", "7")
		}},
		{"[zeekrec.options]", "", func() { g.all += "\n[zeekrec.options]\nSite::limit = 9\n" }, func() { has(5, "Site::limit", "9") }},
		{"a script that nobody loads", "", func() { g.files["unused.zeek"] = "this is no Zeek script\n" }, func() {}},
		{"a script of the workers", "worker-1 worker-2", func() {
			g.files["workers.zeek"] = strings.Replace(siteScripts["workers.zeek"], "1", "2", 1)
		}, func() {
			out, _ := g.zeekrec("get-id-value", "Workers::version", "worker-1", "worker-2")
			if strings.Count(out, `"2"`) != 2 {
				t.Errorf("the workers say %s", out)
			}
		}},
		{"a script of all", "logger-1 manager proxy-1 worker-1 worker-2", func() {
			g.files["shared.zeek"] = strings.Replace(siteScripts["shared.zeek"], `version = "1"`, `version = "2"`, 1)
		}, func() { has(5, "Site::version", `"2"`) }},
	} {
		x.change()
		commit := g.push()
		g.tell()
		now := pids(g.seen(commit))
		if got := changed(last, now); got != x.restarted {
			t.Errorf("%s: restarted %q, want %q", x.what, got, x.restarted)
		}
		last = now
		x.has()
	}
}

// gitRevert: a commit with which a worker crashes is gone back from and quarantined until a new one comes; who asked for it is told all
// of that by POST, and of a crash that nobody asked for.
func gitRevert(t *testing.T, g *gitRig) {
	var told sync.Map // kind -> text
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var n news.News
		if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
			t.Error(err)
		}
		told.Store(string(n.Kind), n.Text)
	}))
	defer s.Close()
	g.write("hooks.ini", "[chat]\nurl = "+s.URL+"\n")
	g.more = append(g.more, "--hooks", g.path("hooks.ini"))
	hears := func(kind string, words ...string) {
		t.Helper()
		g.eventually("news of "+kind, waitLong, func() error {
			text, _ := told.Load(kind)
			for _, w := range words {
				if got, _ := text.(string); !strings.Contains(got, w) {
					return fmt.Errorf("it says %q", got)
				}
			}
			return nil
		})
	}

	good := g.push()
	g.start()
	before := pids(g.seen(good))
	hears("success", "dmz")

	g.workers["worker-2"] = "env = ZEEK_STANDIN_CRASH=1\n"
	bad := g.push()
	g.tell()
	c := g.cluster("it is gone back from", waitLong, func(c engine.ClusterStatus) error {
		if c.Quarantined == "" || !c.Healthy || c.Rollout != nil {
			return fmt.Errorf("quarantined %q, healthy %t: %s", c.Quarantined, c.Healthy, c.Reason)
		}
		return nil
	})
	if got := changed(before, pids(c)); got != "worker-2" {
		t.Errorf("disturbed %q", got)
	}
	if !strings.Contains(c.Reason, "is quarantined") || c.Revision.Wanted != c.Quarantined {
		t.Errorf("it says %q of %+v", c.Reason, c.Revision)
	}
	if out, _ := g.zeekrec("history"); !strings.Contains(out, bad[:12]) {
		t.Errorf("the history does not name the commit:\n%s", out)
	}
	hears("failure", "worker-2", bad[:12])
	hears("rollback", "dmz")

	g.tell() // the same commit: it is not tried again
	g.workers["worker-2"] = "env = MENDED=1\n"
	good = g.push()
	g.tell()
	now := g.seen(good)
	if got := changed(before, pids(now)); got != "worker-2" {
		t.Errorf("the new commit disturbed %q", got)
	}
	var outcomes []string
	for _, r := range g.history(engine.KindOutcome) {
		outcomes = append(outcomes, string(r.Outcome))
	}
	if got := strings.Join(outcomes, " "); got != "Succeeded Failed RolledBack Succeeded" {
		t.Errorf("the rollouts ended as %s", got)
	}

	if err := syscall.Kill(pids(now)["worker-1"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	hears("drift", "worker-1")
}

// gitRollback: a cluster goes back to a commit and stays there whatever is pushed, says so, and follows again when it is resumed.
func gitRollback(t *testing.T, g *gitRig) {
	first := g.push()
	g.start()
	was := pids(g.seen(first))
	who := g.swap()
	second := g.push()
	g.tell()
	now := pids(g.seen(second))

	pinned := func(commit string, reason ...string) engine.ClusterStatus {
		t.Helper()
		return g.cluster("it is pinned", waitLong, func(c engine.ClusterStatus) error {
			for _, r := range append(reason, "pinned to revision "+c.Pinned) {
				if c.Pinned == "" || !strings.Contains(c.Reason, r) {
					return fmt.Errorf("pinned %q: %s", c.Pinned, c.Reason)
				}
			}
			if c.Revision.Running != c.Pinned || !c.Healthy {
				return fmt.Errorf("%s runs, of %s", c.Revision.Running, commit)
			}
			return nil
		})
	}
	if out, code := g.zeekrec("rollback", "dmz@"+first[:9], "--reason", "drops since noon"); code != 0 {
		t.Fatal(out)
	}
	back := pids(pinned(first, "drops since noon"))
	if got := changed(now, back); got != who {
		t.Errorf("going back disturbed %q, want %q", got, who)
	}
	out, _ := g.zeekrec("status")
	if !strings.Contains(out, "pinned to revision") || !strings.Contains(out, "drops since noon") {
		t.Errorf("the status does not say that it is pinned:\n%s", out)
	}

	g.workers["worker-2"] = "env = LATER=1\n"
	third := g.push()
	g.tell()
	g.eventually("the third commit is read", waitLong, func() error {
		s, err := g.status()
		if err == nil && s.Source.Commit != third {
			err = fmt.Errorf("commit %.7s", s.Source.Commit)
		}
		return err
	})
	if got := changed(back, pids(pinned(first))); got != "" {
		t.Errorf("a push disturbed %q of a cluster that is pinned", got)
	}
	if out, _ := g.zeekrec("plan"); !strings.Contains(out, "paused: pinned to revision") || !strings.Contains(out, "drops since noon, until zeekrec unpin dmz") {
		t.Errorf("the plan does not say that it is pinned:\n%s", out)
	}
	if out, code := g.zeekrec("resume", "dmz"); code != 0 {
		t.Fatal(out)
	}
	if got := changed(back, pids(g.seen(third))); got != who+" worker-2" {
		t.Errorf("following again disturbed %q", got)
	}
	if len(was) != len(back) || len(g.history(engine.KindPinned)) != 1 || len(g.history(engine.KindUnpinned)) != 1 {
		t.Error("the history does not have the rollback and its end")
	}
}

// gitTrouble: whatever is pushed, and whatever becomes of the repository, the cluster runs on, the status says why, and the next good
// push heals.
func gitTrouble(t *testing.T, g *gitRig) {
	g.overHTTP()
	g.write("hook", "#!/bin/sh\necho $ZEEKREC_EVENT >> "+g.path("news")+"\n")
	if err := os.Chmod(g.path("hook"), 0o755); err != nil {
		t.Fatal(err)
	}
	g.write("hooks.ini", "[file]\ncommand = "+g.path("hook")+"\n")
	g.more = append(g.more, "--git-max-size", "1M", "--hooks", g.path("hooks.ini"))
	good := g.push()
	g.start()
	before := pids(g.seen(good))
	heal := func(what string) {
		t.Helper()
		good = g.push()
		g.tell()
		if got := changed(before, pids(g.seen(good))); got != "" {
			t.Errorf("%s: disturbed %q", what, got)
		}
	}

	bad := g.push(g.config() + "[worker-9]\nrole = wroker\n")
	g.tell()
	g.trouble(bad[:12]+" by Ada <ada@example.org>", `unknown role "wroker"`, "dmz.cfg:")
	heal("a syntax error")

	g.files["local.zeek"] = "this is no Zeek script\n"
	bad = g.push()
	g.tell()
	g.trouble(bad[:12]+" by Ada <ada@example.org>", "the check before the rollout failed", "local.zeek")
	g.files["local.zeek"] = ""
	g.git("-C", g.path("work"), "rm", "-q", "-f", "clusters/dmz/local.zeek")
	delete(g.files, "local.zeek")
	heal("a script that Zeek refuses")

	g.git("-C", g.path("work"), "reset", "-q", "--hard", "HEAD~2")
	bad = g.push(g.config() + "# another history\n")
	g.tell()
	g.trouble(bad[:12], "does not descend", "zeekrec apply --confirm "+bad[:12])
	if _, code := g.zeekrec("apply", "--timeout", "30s"); code != 4 {
		t.Errorf("apply of a held commit ended with %d, want 4", code)
	}
	if _, code := g.zeekrec("apply", "--confirm", bad[:12]); code != 0 {
		t.Errorf("the confirmation ended with %d", code)
	}
	if got := changed(before, pids(g.seen(bad))); got != "" {
		t.Errorf("a force-push: disturbed %q", got)
	}

	g.git("-C", g.path("zeek.git"), "update-ref", "-d", "refs/heads/main")
	g.tell()
	g.trouble(`the branch or tag "main" is not there`)
	heal("a deleted branch")

	rename(t, g.path("zeek.git"), g.path("away.git"))
	g.tell()
	g.trouble("no such repository")
	rename(t, g.path("away.git"), g.path("zeek.git"))
	heal("a repository that vanishes")

	big := strings.Repeat("0", 4<<20)
	g.write("work/big", big)
	bad = g.push()
	g.tell()
	g.trouble(bad[:12], "larger than 1 MiB", "--git-max-size")
	g.git("-C", g.path("work"), "rm", "-q", "-f", "big")
	g.git("-C", g.path("work"), "reset", "-q", "--soft", "HEAD~1")
	heal("too large a file")

	// Corrupted: every object that is not packed is emptied, and comes back.
	g.git("-C", g.path("zeek.git"), "config", "core.looseCompression", "0")
	bad = g.push()
	object := g.path("zeek.git", "objects", bad[:2], bad[2:])
	was, err := os.ReadFile(object)
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Chmod(object, 0o644)
	if err := os.WriteFile(object, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	g.tell()
	g.trouble("cannot read the source")
	if err := os.WriteFile(object, was, 0o644); err != nil {
		t.Fatal(err)
	}
	heal("a corrupted repository")

	// A removed cluster waits, as it does in a folder.
	g.git("-C", g.path("work"), "rm", "-q", "-f", "clusters/dmz.cfg")
	g.write("work/clusters/README", "nothing is left")
	g.git("-C", g.path("work"), "add", "-A")
	g.git("-C", g.path("work"), "commit", "-q", "-m", "remove all")
	g.git("-C", g.path("work"), "push", "-q", "origin", "HEAD:main")
	g.tell()
	g.trouble("confirm with: zeekrec apply --confirm dmz@removed")
	heal("a removal")
	kinds := map[engine.Kind]int{}
	for _, k := range []engine.Kind{engine.KindCommitHeld, engine.KindCommitAdmitted, engine.KindCommitRejected, engine.KindRejected, engine.KindQuarantined} {
		kinds[k] = len(g.history(k))
	}
	if kinds[engine.KindCommitHeld] != 1 || kinds[engine.KindCommitAdmitted] != 1 || kinds[engine.KindCommitRejected] != 1 || kinds[engine.KindRejected] != 1 || kinds[engine.KindQuarantined] != 1 {
		t.Errorf("the history has %v, want one of each", kinds)
	}
	// The start, a syntax error, a script, the other history that is held, let in and left again, too large a file, the removal.
	const news = "success failure failure held success success failure held"
	g.eventually("hooks are told", waitLong, func() error {
		b, err := os.ReadFile(g.path("news"))
		if got := strings.Join(strings.Fields(string(b)), " "); err == nil && got != news {
			err = fmt.Errorf("they were told %q, want %q", got, news)
		}
		return err
	})
}

// gitSignatures: an unsigned commit is not taken, a signed one is, and both are named.
func gitSignatures(t *testing.T, g *gitRig) {
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("needs ssh-keygen")
	}
	g.must(exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", g.path("signer")))
	key, err := os.ReadFile(g.path("signer.pub"))
	if err != nil {
		t.Fatal(err)
	}
	g.write("allowed", "ada@example.org "+string(key))
	g.more = append(g.more, "--git-allowed-signers", g.path("allowed"))
	sign := func(how string) {
		for k, v := range map[string]string{"gpg.format": "ssh", "user.signingKey": g.path("signer"), "commit.gpgSign": how} {
			g.git("-C", g.path("work"), "config", k, v)
		}
	}
	sign("true")
	good := g.push()
	g.start()
	before := pids(g.seen(good))
	sign("false")
	bad := g.push()
	g.tell()
	s := g.trouble(bad[:12]+" by Ada", "it is not signed; it is not accepted")
	if !strings.HasPrefix(s.Source.Signer, "ada@example.org (SSH SHA256:") || s.Source.Commit != good {
		t.Errorf("the source is %+v", s.Source)
	}
	sign("true")
	good = g.push()
	g.tell()
	if got := changed(before, pids(g.seen(good))); got != "" {
		t.Errorf("disturbed %q", got)
	}
	if n := len(g.history(engine.KindCommitRejected)); n != 1 {
		t.Errorf("the history has %d rejected commits", n)
	}
}

// TestGitManyPushes: each revision is superseded by the next without harm, the last one runs, and the history has every commit.
func TestGitManyPushes(t *testing.T) { manyPushes(t, 15) }

func manyPushes(t *testing.T, n int) {
	g := newGitRig(t, build(t, "./cmd/zeekrec", "-s -w"), build(t, "./testdata/zeek", "-s -w"))
	slow := "env = ZEEK_STANDIN_SLOW=300ms ZEEK_STANDIN_SLOW_STOP=100ms"
	g.workers = map[string]string{"worker-1": slow + "\n", "worker-2": slow + "\n", "worker-3": slow + "\n"}
	commits := map[string]bool{}
	last := g.push()
	commits[last] = true
	g.start()
	g.seen(last)
	began := time.Now()
	for i := range n {
		for w := range g.workers {
			g.workers[w] = slow + " N=" + strings.Repeat("i", i+1) + "\n"
		}
		last = g.push()
		commits[last] = true
		g.tell()
	}
	pushed := time.Since(began)
	g.seen(last)
	var superseded, ended int
	for _, r := range g.history(engine.KindOutcome) {
		switch ended++; r.Outcome {
		case engine.Superseded:
			superseded++
		case engine.Succeeded:
		default:
			t.Errorf("a rollout ended as %s: %s", r.Outcome, r.Reason)
		}
	}
	seen := 0
	for _, r := range g.history(engine.KindCommit) {
		for _, c := range append(r.Commit.Passed, *r.Commit) {
			if !commits[c.ID] {
				t.Errorf("commit %s is in the history twice, or was never pushed", c.ID)
			}
			delete(commits, c.ID)
			seen++
		}
	}
	if len(commits) > 0 {
		t.Errorf("%d commits are not in the history", len(commits))
	}
	t.Logf("%d pushes in %s, done %s later; %d commits in the history, %d rollouts of which %d were superseded", n, pushed, time.Since(began)-pushed, seen, ended, superseded)
}
