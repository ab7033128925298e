package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// TestLife is the life of a cluster, with the stand-in everywhere and with Zeek where there is one: what
// changes restarts, what does not keeps its pid, what is killed returns, what cannot be read stops nothing.
func TestLife(t *testing.T) {
	bin := build(t, "./cmd/zeekrec", "-s -w")
	other := build(t, "./cmd/zeekrec", "-s -w -X github.com/zeekrec/zeekrec/desired/launch.format=another")
	t.Run("stand-in", func(t *testing.T) {
		life(t, newRig(t, bin, build(t, "./testdata/zeek", "-s -w")), other, "env = ZEEK_STANDIN_EXIT=3@0.3\n")
	})
	t.Run("zeek", func(t *testing.T) {
		zeek, ok := realZeek()
		if !ok {
			t.Skip("needs a real Zeek on the PATH or in /opt/zeek/bin")
		}
		life(t, newRig(t, bin, zeek), other, "scripts = die\n")
	})
}

func life(t *testing.T, r *rig, other, die string) {
	workers := map[string]string{"worker-1": "", "worker-2": "", "worker-3": ""}
	iface := "lo"
	if r.netns != "" {
		iface = "zr0"
		r.must(exec.Command("ip", "netns", "exec", r.netns, "ip", "link", "add", "zr0", "type", "veth", "peer", "name", "zr1"))
		r.must(exec.Command("ip", "netns", "exec", r.netns, "ip", "link", "set", "zr0", "up"))
		r.must(exec.Command("ip", "netns", "exec", r.netns, "ip", "link", "set", "zr1", "up"))
	}
	r.save(config{workers: workers}.String())
	r.start()
	r.settled("")

	// Adding, changing, removing.
	workers = copyOf(workers)
	workers["worker-4"] = ""
	r.change("add a worker", "worker-4", config{workers: workers}.String())
	if r.netns != "" {
		workers = copyOf(workers)
		workers["worker-1"] = "interface = zr0\n"
		r.change("change an interface", "worker-1", config{workers: workers}.String())
	}
	workers = copyOf(workers)
	delete(workers, "worker-4")
	r.change("remove a worker", "-worker-4", config{workers: workers}.String())
	workers = copyOf(workers)
	workers["worker-2"] = "env = A=1\n"
	r.change("change env", "worker-2", config{workers: workers}.String())
	r.change("a comment", "", config{workers: workers}.String()+"\n# nothing\n")

	t.Run("kill -9 of a worker", func(t *testing.T) {
		before := pids(r.settled(""))
		began := time.Now()
		if err := syscall.Kill(before["worker-3"], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		c := r.cluster("a new one runs", 10*time.Second, func(c engine.ClusterStatus) error {
			if p := pids(c)["worker-3"]; p == 0 || p == before["worker-3"] {
				return errors.New("not yet")
			}
			return nil
		})
		if took := time.Since(began); took > time.Second {
			t.Errorf("a new one after %s", took)
		} else {
			t.Logf("a new one is seen after %s", took)
		}
		if got := changed(before, pids(c)); got != "worker-3" {
			t.Errorf("also disturbed: %q", got)
		}
		r.settled("")
		if out, _ := r.zeekrec("history", "--json"); !strings.Contains(out, `"drift"`) || !strings.Contains(out, "worker-3") {
			t.Errorf("no drift in the history:\n%s", out)
		}
	})

	t.Run("kill -9 of zeekrec", func(t *testing.T) {
		before := pids(r.settled(""))
		r.kill(syscall.SIGKILL)
		for n, p := range before {
			if syscall.Kill(p, 0) != nil {
				t.Errorf("%s is gone with zeekrec", n)
			}
		}
		if err := syscall.Kill(before["proxy-1"], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		r.start()
		c := r.settled("")
		if got := changed(before, pids(c)); got != "proxy-1" {
			t.Errorf("disturbed: %q, want proxy-1, which crashed meanwhile", got)
		}
	})

	t.Run("a zeekrec that renders everything differently", func(t *testing.T) {
		before := pids(r.settled(""))
		r.kill(syscall.SIGTERM)
		mine := r.bin
		r.bin = other
		r.start()
		c := r.cluster("all are outdated", 20*time.Second, func(c engine.ClusterStatus) error {
			if len(c.Resources) != len(before) {
				return fmt.Errorf("%d resources are known yet", len(c.Resources))
			}
			for _, x := range c.Resources {
				if len(x.Outdated) == 0 {
					return fmt.Errorf("%s is not", x.Name)
				}
			}
			return nil
		})
		if got := changed(before, pids(c)); got != "" {
			t.Errorf("disturbed: %q", got)
		}
		if _, code := r.zeekrec("plan", "--detailed-exitcode"); code != 0 {
			t.Errorf("the plan is not empty (exit %d)", code)
		}
		r.kill(syscall.SIGTERM)
		r.bin = mine
		r.start()
	})

	if r.netns != "" {
		t.Run("an interface is deleted and made again", func(t *testing.T) {
			before := pids(r.settled(""))
			ip := func(args ...string) {
				r.must(exec.Command("ip", append([]string{"netns", "exec", r.netns, "ip", "link"}, args...)...))
			}
			ip("del", iface)
			r.cluster("it is noticed", 15*time.Second, func(c engine.ClusterStatus) error {
				if c.Healthy {
					return errors.New("still healthy")
				}
				return nil
			})
			ip("add", iface, "type", "veth", "peer", "name", "zr1")
			ip("set", iface, "up")
			ip("set", "zr1", "up")
			c := r.settled("")
			if got := changed(before, pids(c)); got != "worker-1" {
				t.Errorf("disturbed: %q, want worker-1", got)
			}
		})
	}

	t.Run("what cannot be read stops nothing", func(t *testing.T) {
		before := pids(r.settled(""))
		good, err := os.ReadFile(r.path("clusters", "dmz.cfg"))
		if err != nil {
			t.Fatal(err)
		}
		clusters, away := r.path("clusters"), r.path("away")
		for _, tt := range []struct {
			name      string
			break_    func()
			mend      func()
			complains func(*engine.Status) bool
		}{
			{"a syntax error", func() { r.save("[manager\nrole = manager\n") }, func() { r.save(string(good)) }, invalid},
			{"an unknown role", func() { r.save(strings.Replace(string(good), "role = worker", "role = wroker", 1)) }, func() { r.save(string(good)) }, invalid},
			{"an empty file", func() { r.save("") }, func() { r.save(string(good)) }, func(s *engine.Status) bool {
				return invalid(s) || s.Clusters[0].Waiting != ""
			}},
			{"the folder renamed away", func() { rename(t, clusters, away) }, func() { rename(t, away, clusters) }, unreadable},
			{"a symlink loop in its place", func() {
				rename(t, clusters, away)
				if err := os.Symlink(clusters, clusters); err != nil {
					t.Fatal(err)
				}
			}, func() {
				if err := os.Remove(clusters); err != nil {
					t.Fatal(err)
				}
				rename(t, away, clusters)
			}, unreadable},
		} {
			tt.break_()
			var seen *engine.Status
			r.eventually(tt.name+" is seen", 15*time.Second, func() (err error) {
				if seen, err = r.status(); err == nil && !tt.complains(seen) {
					err = errors.New("nobody complains")
				}
				return err
			})
			// While it is broken, and after it was put right: the same processes.
			if got := changed(before, pids(seen.Clusters[0])); got != "" {
				t.Errorf("%s: disturbed %q while it lasts", tt.name, got)
			}
			tt.mend()
			c := r.settled("")
			if got := changed(before, pids(c)); got != "" {
				t.Errorf("%s: disturbed %q", tt.name, got)
			}
		}
	})

	t.Run("200 edits", func(t *testing.T) {
		before := pids(r.settled(""))
		w := copyOf(workers)
		for i := range 200 {
			w["worker-3"] = fmt.Sprintf("env = N=%d\n", i)
			content := config{workers: w}.String()
			switch i % 3 {
			case 0:
				r.save(content)
			case 1: // truncate, and write in two pieces
				f, err := os.OpenFile(r.path("clusters", "dmz.cfg"), os.O_WRONLY|os.O_TRUNC, 0o644)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.WriteString(f, content[:len(content)/2])
				_, _ = io.WriteString(f, content[len(content)/2:])
				_ = f.Close()
			case 2: // remove, and write anew
				_ = os.Remove(r.path("clusters", "dmz.cfg"))
				if err := os.WriteFile(r.path("clusters", "dmz.cfg"), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(10 * time.Millisecond) // the pace of the editor
		}
		c := r.cluster("it ends on the last edit", 30*time.Second, func(c engine.ClusterStatus) error {
			env, _ := r.zeekrec("plan", "--detailed-exitcode")
			if !c.Synced || !c.Healthy || !r.has("worker-3", "N=199") {
				return fmt.Errorf("synced %t, healthy %t: %s", c.Synced, c.Healthy, env)
			}
			return nil
		})
		workers = w
		if got := changed(before, pids(c)); got != "worker-3" {
			t.Errorf("disturbed: %q", got)
		}
	})

	t.Run("a revision whose workers die at once", func(t *testing.T) {
		before := r.settled("")
		if err := os.MkdirAll(r.path("clusters", "dmz"), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(die, "die\n") {
			if err := os.WriteFile(r.path("clusters", "dmz", "die.zeek"), []byte("event zeek_init() { exit(3); }\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			before = r.settled(before.Revision.Running) // NAME/ is new: everybody has it now
		}
		w := map[string]string{}
		for n, lines := range workers {
			var keep []string
			for l := range strings.Lines(lines) {
				if !strings.HasPrefix(l, "env") {
					keep = append(keep, l)
				}
			}
			w[n] = strings.Join(keep, "") + die
		}
		r.save(config{workers: w}.String())
		c := r.cluster("it is reverted and quarantined", 60*time.Second, func(c engine.ClusterStatus) error {
			if c.Quarantined == "" || !c.Healthy || c.Rollout != nil || c.Revision.Running != before.Revision.Running {
				return fmt.Errorf("quarantined %q, healthy %t, running %s: %s", c.Quarantined, c.Healthy, c.Revision.Running, c.Reason)
			}
			return nil
		})
		if got := changed(pids(before), pids(c)); got != "worker-1" {
			t.Errorf("disturbed: %q, want the first worker alone", got)
		}
		r.save(config{workers: workers}.String())
		r.settled("")
	})

	t.Run("memory", func(t *testing.T) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.run.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		for l := range strings.Lines(string(b)) {
			if strings.HasPrefix(l, "VmRSS") || strings.HasPrefix(l, "VmHWM") {
				t.Log(strings.TrimSpace(l))
			}
		}
	})

	r.kill(syscall.SIGTERM)
	if n := len(r.marked()); n != 8 {
		t.Errorf("%d nodes run on after zeekrec has ended, want 6, the broker and the archiver", n)
	}
}
