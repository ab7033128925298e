package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// TestGitKilled kills zeekrec at a few moments that a seed chooses; make e2e-git does it a hundred times.
func TestGitKilled(t *testing.T) { gitKilled(t, []uint64{1, 2, 3}) }

// TestGitE2EKilled is the same, a hundred times.
func TestGitE2EKilled(t *testing.T) {
	longGit(t)
	first, err := strconv.ParseUint(cmp.Or(os.Getenv("ZEEKREC_SEED"), "100"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	seeds := make([]uint64, 100)
	for i := range seeds {
		seeds[i] = first + uint64(i)
	}
	gitKilled(t, seeds)
}

// TestGitE2EManyPushes: five hundred in a row.
func TestGitE2EManyPushes(t *testing.T) {
	longGit(t)
	manyPushes(t, 500)
}

// TestGitE2ELarge: 2 GB in the repository are not taken, with the default limit, whether they can be compressed or not.
func TestGitE2ELarge(t *testing.T) {
	longGit(t)
	g := newGitRig(t, build(t, "./cmd/zeekrec", "-s -w"), build(t, "./testdata/zeek", "-s -w"))
	g.overHTTP()
	good := g.push()
	g.start()
	before := pids(g.seen(good))
	f, err := os.Create(g.path("work", "large"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(2 << 30); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	g.git("-C", g.path("work"), "config", "core.bigFileThreshold", "1m")
	bad := g.push()
	began := time.Now()
	g.tell()
	g.trouble(bad[:12], "it holds an object that is larger than 256 MiB")
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.run.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "VmHWM") {
			t.Logf("refused after %s; %s", time.Since(began).Round(time.Millisecond), strings.Join(strings.Fields(line), " "))
		}
	}
	g.git("-C", g.path("work"), "reset", "-q", "--soft", "HEAD~1")
	g.git("-C", g.path("work"), "rm", "-q", "-f", "--cached", "large")
	_ = os.Remove(g.path("work", "large"))
	good = g.push()
	g.tell()
	if got := changed(before, pids(g.seen(good))); got != "" {
		t.Errorf("disturbed %q", got)
	}
}

func longGit(t *testing.T) {
	if os.Getenv("ZEEKREC_E2E") == "" {
		t.Skip("takes long: make e2e-git")
	}
}

// gitKilled: whatever zeekrec is doing with a push when it is killed, the next one brings the newest commit to run; the history has every
// commit that was ever acted on, and no node was disturbed that no push named.
func gitKilled(t *testing.T, seeds []uint64) {
	g := newGitRig(t, build(t, "./cmd/zeekrec", "-s -w"), build(t, "./testdata/zeek", "-s -w"))
	last := g.push()
	pushed := []string{last}
	g.start()
	g.seen(last)
	for _, seed := range seeds {
		rnd := rand.New(rand.NewPCG(seed, 0))
		before := pids(g.seen(last))
		named := ""
		switch rnd.IntN(4) {
		case 0:
			named = g.swap()
		case 1:
			g.files["data.txt"] = fmt.Sprint(seed)
		case 2:
			bad := g.push(g.config() + "[oops\n")
			pushed = append(pushed, bad)
			g.tell()
		case 3:
			named = "worker-2"
			g.workers[named] = fmt.Sprintf("env = N=%d\n", seed)
		}
		last = g.push()
		pushed = append(pushed, last)
		g.tell()
		time.Sleep(time.Duration(rnd.IntN(1500)) * time.Millisecond) // the moment is what is tried
		g.kill(syscall.SIGKILL)
		g.start()
		after := g.seen(last)
		if got := changed(before, pids(after)); got != named {
			out, _ := g.zeekrec("history", "dmz", "--lines", "20")
			t.Errorf("seed %d: disturbed %q, want %q\n%s", seed, got, named, out)
		}
		if got := len(g.marked()); got != len(after.Resources) {
			t.Errorf("seed %d: %d processes, want %d", seed, got, len(after.Resources))
		}
	}
	var seen []string
	for _, r := range g.history(engine.KindCommit) {
		for _, c := range append(r.Commit.Passed, *r.Commit) {
			seen = append(seen, c.ID)
		}
	}
	if !slices.Equal(seen, pushed) {
		t.Errorf("the history has %d commits, in this order:\n%v\npushed were\n%v", len(seen), seen, pushed)
	}
}
