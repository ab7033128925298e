package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestE2EChaos lets everything happen at once for a while (ZEEKREC_CHAOS, default 2m): nodes and zeekrec
// itself are killed, files change, break and vanish. At no time are there two processes of a node, and in the
// end, left alone, the cluster is what the last file says. `make e2e` runs it.
func TestE2EChaos(t *testing.T) {
	if os.Getenv("ZEEKREC_E2E") == "" {
		t.Skip("takes minutes: make e2e")
	}
	long := 2 * time.Minute
	if v := os.Getenv("ZEEKREC_CHAOS"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil {
			t.Fatal(err)
		}
		long = d
	}
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("ZEEKREC_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	bin := build(t, "./cmd/zeekrec", "-s -w")
	t.Run("stand-in", func(t *testing.T) { chaos(t, newRig(t, bin, build(t, "./testdata/zeek", "-s -w")), seed, long) })
	t.Run("zeek", func(t *testing.T) {
		zeek, ok := realZeek()
		if !ok {
			t.Skip("needs a real Zeek on the PATH or in /opt/zeek/bin")
		}
		chaos(t, newRig(t, bin, zeek), seed, long)
	})
}

func chaos(t *testing.T, r *rig, seed uint64, long time.Duration) {
	t.Logf("seed %d (ZEEKREC_SEED replays the choices, not the timing)", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	workers := map[string]string{"worker-1": "", "worker-2": "", "worker-3": ""}
	content := func() string { return config{workers: workers}.String() }
	r.save(content())
	r.start()
	r.settled("")

	stop := make(chan struct{})
	twice := make(chan string, 1)
	watched := make(chan int)
	go func() { // looks all the time
		looks := 0
		defer func() { watched <- looks }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			if who := r.doubled(); who != "" {
				select {
				case twice <- who:
				default:
				}
			}
			looks++
			time.Sleep(5 * time.Millisecond) // a pace, not a wait
		}
	}()

	done := map[string]int{}
	clusters, away := r.path("clusters"), r.path("away")
	end := time.Now().Add(long)
	for n := 0; time.Now().Before(end); n++ {
		switch k := rnd.IntN(10); k {
		case 0, 1, 2:
			done["a node killed"]++
			if pids := r.marked(); len(pids) > 0 {
				_ = syscall.Kill(pids[rnd.IntN(len(pids))], []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGSEGV}[rnd.IntN(3)])
			}
		case 3:
			done["zeekrec killed"]++
			r.kill(syscall.SIGKILL)
			time.Sleep(time.Duration(rnd.IntN(500)) * time.Millisecond)
			r.start()
		case 4, 5:
			done["a worker changed"]++
			workers[fmt.Sprintf("worker-%d", 1+rnd.IntN(3))] = fmt.Sprintf("env = N=%d\n", n)
			r.save(content())
		case 6:
			done["a worker added or removed"]++
			if _, ok := workers["worker-4"]; ok {
				delete(workers, "worker-4")
			} else {
				workers["worker-4"] = ""
			}
			r.save(content())
		case 7:
			done["a file broken"]++
			r.save(content()[:rnd.IntN(200)] + "\n[oops\n")
			time.Sleep(time.Duration(rnd.IntN(1000)) * time.Millisecond)
			r.save(content())
		case 8:
			done["the folder away"]++
			rename(t, clusters, away)
			time.Sleep(time.Duration(rnd.IntN(1000)) * time.Millisecond)
			rename(t, away, clusters)
		case 9:
			done["a restart asked for"]++
			r.zeekrec("restart", "dmz/worker-1")
		}
		time.Sleep(time.Duration(rnd.IntN(1500)) * time.Millisecond)
	}
	t.Logf("done: %v", done)

	// What was bad for a reason of the chaos (killed in the middle of a rollout) may be quarantined or have
	// failed five times: a person would say so now.
	r.save(content() + "\n# calm\n")
	r.zeekrec("sync")
	r.zeekrec("retry", "dmz")
	r.zeekrec("restart", "dmz", "--reason", "after the chaos")
	c := r.settled("")
	close(stop)
	t.Logf("%d looks at the processes", <-watched)
	select {
	case who := <-twice:
		t.Errorf("there were two processes of %s", who)
	default:
	}
	// Manager, logger, proxy, broker and archiver.
	if want := len(workers) + 5; len(r.marked()) != want || len(c.Resources) != want {
		t.Errorf("%d processes and %d resources, want %d", len(r.marked()), len(c.Resources), want)
	}
	if _, code := r.zeekrec("plan", "--detailed-exitcode"); code != 0 {
		t.Errorf("something is left to do (exit %d)", code)
	}
	r.kill(syscall.SIGTERM)
}

// doubled names a node that has two processes; empty: none has. A process and the fork of itself that is about
// to exec something else share a command line for a moment, so it looks twice.
func (r *rig) doubled() string {
	twice := func() map[string]bool {
		seen, out := map[string]bool{}, map[string]bool{}
		for _, pid := range r.marked() {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if err != nil {
				continue
			}
			args := strings.Split(string(b), "\x00")
			for i, a := range args {
				if a == "-U" && i+1 < len(args) {
					out[args[i+1]] = out[args[i+1]] || seen[args[i+1]]
					seen[args[i+1]] = true
				}
			}
		}
		return out
	}
	first := twice()
	for n, two := range first {
		if two && twice()[n] {
			return n
		}
	}
	return ""
}
