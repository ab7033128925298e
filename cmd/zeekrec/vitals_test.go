package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// vitalsRig is a cluster of real Zeeks that may hang for ten seconds. worker-1 captures from a veth pair, on whose other end,
// zr1, the test sends; worker-2 reports errors.
func vitalsRig(t *testing.T) (*rig, config) {
	t.Helper()
	zeek, ok := realZeek()
	if !ok {
		t.Skip("needs a real Zeek on the PATH or in /opt/zeek/bin")
	}
	r := newRig(t, build(t, "./cmd/zeekrec", "-s -w"), zeek)
	if r.netns == "" {
		t.Skip("needs to make network namespaces")
	}
	ip := func(args ...string) {
		t.Helper()
		r.must(exec.Command("ip", append([]string{"netns", "exec", r.netns, "ip"}, args...)...))
	}
	ip("link", "add", "zr0", "type", "veth", "peer", "name", "zr1")
	for _, dev := range []string{"zr0", "zr1"} {
		ip("link", "set", dev, "up")
	}
	if err := os.Mkdir(r.path("clusters", "dmz"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"complain.zeek": complain, "small.zeek": "redef Pcap::bufsize = 1;\n"} {
		if err := os.WriteFile(r.path("clusters", "dmz", name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := config{workers: map[string]string{
		"worker-1": "interface = zr0\nscripts = small\n", "worker-2": "interface = lo\nscripts = complain\n", "worker-3": "interface = lo\n",
	}, all: "restart_hung = 10s\n"}
	r.save(c.String())
	r.start()
	r.settled("")
	return r, c
}

// TestVitals is how a cluster of real Zeeks fares: one that loses packets, one that reports errors, one that crashes.
func TestVitals(t *testing.T) {
	r, _ := vitalsRig(t)

	t.Run("errors", func(t *testing.T) {
		w := node(r.degraded(t, "worker-2", "has reported "), "worker-2")
		if !strings.Contains(w.Degraded[0], ", lately: error in ") || !strings.Contains(w.Degraded[0], "something is wrong") || !w.Healthy {
			t.Errorf("%+v", w)
		}
	})

	t.Run("drops", func(t *testing.T) {
		pid := node(r.settled(""), "worker-1").PID
		send := r.sender(t, "zr1")
		// It does not take what is sent for a moment, which is shorter than a silence.
		for end := time.Now().Add(waitLong); time.Now().Before(end); {
			raise(t, pid, syscall.SIGSTOP)
			send(50_000)
			raise(t, pid, syscall.SIGCONT)
			time.Sleep(2 * time.Second) // between two bursts
			if s, err := r.status(); err == nil && len(s.Clusters) == 1 && len(node(s.Clusters[0], "worker-1").Degraded) > 0 {
				break
			}
		}
		c := r.degraded(t, "worker-1", "drops ")
		if w := node(c, "worker-1"); !w.Healthy || w.PID != pid || !c.Healthy {
			t.Errorf("%+v", w)
		}
		text, _ := r.zeekrec("status")
		if !strings.Contains(text, "DEGRADED: drops ") || !strings.Contains(text, " degraded\n") {
			t.Errorf("status:\n%s", text)
		}
		out, _ := r.zeekrec("top", "--json")
		var us []api.Usage
		if err := json.Unmarshal([]byte(out), &us); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(us, func(u api.Usage) bool { return u.Resource == "dmz/worker-1" })
		if u := us[i]; u.Packets == nil || u.Drops == nil || *u.Drops == 0 || u.DropRate == nil || *u.DropRate <= 0 || u.PacketRate == nil || u.MainLoop == nil {
			t.Errorf("top: %s", out)
		}
		t.Logf("%s", node(c, "worker-1").Degraded[0])

		// It does not stand in the way of a rollout.
		c = r.settled("")
		if _, code := r.zeekrec("plan", "--detailed-exitcode"); code != 0 {
			t.Errorf("something is planned for it (exit %d)", code)
		}
	})

	t.Run("crash", func(t *testing.T) {
		before := pids(r.settled(""))
		began := time.Now()
		raise(t, before["worker-3"], syscall.SIGSEGV)
		r.cluster("another one runs", waitLong, func(c engine.ClusterStatus) error {
			if p := pids(c)["worker-3"]; p == 0 || p == before["worker-3"] {
				return errors.New("not yet")
			}
			return nil
		})
		seen := time.Since(began)
		d := r.drift(t, "crashed", "dmz/worker-3")
		// By the agent's clock: to ask for the status takes a while on a busy machine.
		noted, took := d.At.Sub(began), r.drift(t, "restarted", "dmz/worker-3").At.Sub(began)
		t.Logf("%s after %s, another one after %s, seen after %s (%s)", d.Reason, noted.Round(time.Millisecond), took.Round(time.Millisecond), seen.Round(time.Millisecond), loadavg())
		if took > unhurried(time.Second) {
			t.Errorf("another one after %s", took)
		}
		if !strings.HasPrefix(d.Reason, "killed by SIGSEGV") || len(d.Drift.Tail) == 0 || d.Drift.PID != before["worker-3"] {
			t.Errorf("%+v %+v", d, d.Drift)
		}
		if got := changed(before, pids(r.settled(""))); got != "worker-3" {
			t.Errorf("disturbed: %q", got)
		}
	})
}

// TestE2EHung is what becomes of a Zeek that gives no sign of life.
func TestE2EHung(t *testing.T) {
	if os.Getenv("ZEEKREC_E2E") == "" {
		t.Skip("takes a minute: make e2e")
	}
	r, c := vitalsRig(t)

	t.Run("hung", func(t *testing.T) {
		before := pids(r.settled(""))
		stopped := time.Now()
		raise(t, before["worker-3"], syscall.SIGSTOP)
		r.cluster("it is seen not to answer", waitLong, func(c engine.ClusterStatus) error {
			if w := node(c, "worker-3"); w.PID == before["worker-3"] && !strings.HasPrefix(w.Reason, "does not answer since ") {
				return fmt.Errorf("%+v", w)
			}
			return nil
		})
		polled := time.Since(stopped)
		seen := r.drift(t, "silent", "dmz/worker-3").At.Sub(stopped)
		r.cluster("another one runs", waitLong, func(c engine.ClusterStatus) error {
			if p := pids(c)["worker-3"]; p == 0 || p == before["worker-3"] {
				return fmt.Errorf("%+v", node(c, "worker-3"))
			}
			return nil
		})
		d := r.drift(t, "hung", "dmz/worker-3")
		t.Logf("seen by the agent after %s, in the status after %s, replaced after %s: %s (%s)", seen.Round(time.Millisecond), polled.Round(time.Millisecond), time.Since(stopped).Round(time.Millisecond), d.Reason, loadavg())
		if seen > unhurried(10*time.Second) {
			t.Errorf("it took %s to see that it does not answer", seen)
		}
		if !strings.HasPrefix(d.Reason, "killed, since it did not answer for 1") || !strings.HasSuffix(d.Reason, ", stopped by a signal") || len(d.Drift.Tail) == 0 {
			t.Errorf("%+v %+v", d, d.Drift)
		}
		if got := changed(before, pids(r.settled(""))); got != "worker-3" {
			t.Errorf("disturbed: %q", got)
		}
	})

	t.Run("left alone", func(t *testing.T) {
		c.all = "restart_hung = no\n"
		r.change("restart_hung", "", c.String())
		pid := node(r.settled(""), "worker-3").PID
		raise(t, pid, syscall.SIGSTOP)
		defer raise(t, pid, syscall.SIGCONT)
		stopped := time.Now()
		// For longer than it took a moment ago, and with the reason in words.
		w := node(r.cluster("it is left", waitLong, func(c engine.ClusterStatus) error {
			w := node(c, "worker-3")
			if w.PID == pid && (w.Answering == nil || *w.Answering || len(w.Notes) == 0 || time.Since(stopped) < 15*time.Second) {
				return fmt.Errorf("%+v", w)
			}
			return nil
		}), "worker-3")
		if w.PID != pid || !strings.Contains(w.Notes[0], "stopped by a signal") {
			t.Errorf("%+v", w)
		}
	})
}

// complain reports an error every second.
const complain = `
event complain() { Reporter::error("something is wrong"); schedule 1sec { complain() }; }
event zeek_init() { schedule 1sec { complain() }; }
`

func raise(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

// degraded waits until the first thing that is wrong with a node begins so.
func (r *rig) degraded(t *testing.T, name, begins string) engine.ClusterStatus {
	t.Helper()
	return r.cluster(name+" is degraded", waitLong, func(c engine.ClusterStatus) error {
		if w := node(c, name); len(w.Degraded) == 0 || !strings.HasPrefix(w.Degraded[0], begins) {
			return fmt.Errorf("%+v", w)
		}
		return nil
	})
}

// drift waits for what happened to a node to be in the history; the newest.
func (r *rig) drift(t *testing.T, event, resource string) (found engine.Record) {
	t.Helper()
	r.eventually(event+" is in the history", waitLong, func() error {
		out, _ := r.zeekrec("history", "--json")
		var rs []engine.Record
		if err := json.Unmarshal([]byte(out), &rs); err != nil {
			return err
		}
		for i := range rs {
			if d := rs[i].Drift; d != nil && d.Event == event && d.Resource == resource {
				found = rs[i]
			}
		}
		if found.Drift == nil {
			return errors.New("it is not")
		}
		return nil
	})
	return found
}

// sender sends that many frames on an interface of the rig's namespace, as fast as it takes them.
func (r *rig) sender(t *testing.T, dev string) func(frames int) {
	t.Helper()
	type opened struct {
		fd  int
		err error
	}
	open := make(chan opened, 1)
	go func() { // on a thread that ends with it, since it is in another namespace from then on
		runtime.LockOSThread()
		fd, err := openIn("/run/netns/"+r.netns, dev)
		open <- opened{fd, err}
	}()
	o := <-open
	if o.err != nil {
		t.Fatal(o.err)
	}
	t.Cleanup(func() { _ = unix.Close(o.fd) })
	frame := slices.Concat([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5}, make([]byte, 186)) // a type for experiments
	return func(frames int) {
		for range frames {
			if err := unix.Send(o.fd, frame, 0); err != nil && !errors.Is(err, unix.ENOBUFS) {
				t.Fatal(err)
			}
		}
	}
}

// openIn opens a socket for frames on an interface of another namespace. The thread stays there.
func openIn(netns, dev string) (int, error) {
	ns, err := unix.Open(netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(ns) }()
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		return 0, err
	}
	i, err := net.InterfaceByName(dev)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: i.Index}); err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}
