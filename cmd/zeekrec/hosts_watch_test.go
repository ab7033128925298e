package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/actuators/process"
)

// watcher looks at all processes all the time, as long as a test runs. All hosts of a rig share the machine's processes, so one look sees
// what runs anywhere: that a node never runs twice can be asked of the cluster as a whole, at every instant.
type watcher struct {
	dir   string       // of the rig: what runs below it is of the rig
	other map[int]bool // were there before, and are none of the rig's

	mu    sync.Mutex
	now   map[string]lived
	lives map[string][]lived // by node, in order
	twice []string
	scans int
	slow  time.Duration // the longest time between two looks

	stop chan struct{}
	done sync.WaitGroup
}

// lived is one process of a node.
type lived struct {
	host  string
	pid   int
	start uint64 // with the pid, nobody else's
	seen  time.Time
}

// scanEvery is the pause between two looks: short beside any start (a stand-in for Zeek takes 50 ms), and a few per cent of a CPU.
const scanEvery = 15 * time.Millisecond

// watch begins to look, and at the end of the test reports what it saw.
func watch(t *testing.T, dir string) *watcher {
	t.Helper()
	w := &watcher{dir: dir, other: map[int]bool{}, now: map[string]lived{}, lives: map[string][]lived{}, stop: make(chan struct{})}
	for _, pid := range everyPID() {
		w.other[pid] = true
	}
	w.done.Go(w.run)
	return w
}

func (w *watcher) run() {
	for last := time.Now(); ; {
		w.look()
		w.mu.Lock()
		w.scans, w.slow = w.scans+1, max(w.slow, time.Since(last))
		w.mu.Unlock()
		last = time.Now()
		select {
		case <-w.stop:
			return
		case <-time.After(scanEvery):
		}
	}
}

// end stops looking, and fails the test where a node ran twice.
func (w *watcher) end(t *testing.T) {
	t.Helper()
	close(w.stop)
	w.done.Wait()
	for _, x := range w.twice {
		t.Errorf("invariant 1: %s", x)
	}
	if len(w.lives) == 0 || w.scans == 0 {
		t.Error("the watcher has seen nothing")
	}
	lives := 0
	for _, l := range w.lives {
		lives += len(l)
	}
	t.Logf("looked %d times, %s apart at most: %d nodes, %d processes, never two of a node", w.scans, w.slow, len(w.lives), lives)
}

// look sees what runs.
func (w *watcher) look() {
	there := everyPID()
	w.forget(there)
	now := map[string][]lived{}
	for _, pid := range there {
		if w.other[pid] {
			continue
		}
		if node, l, ok := w.alive(pid); ok {
			now[node] = append(now[node], l)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.now)
	for node, ls := range now {
		if len(ls) > 1 {
			w.twoOf(node, ls)
		}
		w.now[node] = ls[len(ls)-1]
		for _, l := range ls {
			if !slices.ContainsFunc(w.lives[node], func(had lived) bool { return had.pid == l.pid && had.start == l.start }) {
				w.lives[node] = append(w.lives[node], l)
			}
		}
	}
}

// forget those that have ended: another process may get the number.
func (w *watcher) forget(there []int) {
	is := make(map[int]bool, len(there))
	for _, pid := range there {
		is[pid] = true
	}
	maps.DeleteFunc(w.other, func(pid int, _ bool) bool { return !is[pid] })
}

// twoOf notes that a node has several processes. They were looked at one after the other: one that is still there when another has been
// seen did run beside it.
func (w *watcher) twoOf(node string, ls []lived) {
	for _, l := range ls[:len(ls)-1] {
		if _, again, ok := w.alive(l.pid); ok && again.start == l.start {
			w.twice = append(w.twice, fmt.Sprintf("at %s %s runs as %d on %s and as %d on %s", time.Now().Format(time.StampMilli), node, l.pid, l.host, ls[len(ls)-1].pid, ls[len(ls)-1].host))
		}
	}
}

// alive reports whether a process is one of a node's, and which.
func (w *watcher) alive(pid int) (node string, l lived, ok bool) {
	argv, err := process.Cmdline(pid)
	if err != nil {
		return "", l, false
	}
	host, node := w.nodeOf(argv)
	if node == "" {
		return "", l, false
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", l, false
	}
	_, rest, _ := strings.Cut(string(b), ") ") // the name may have spaces, but none of ours has ") "
	f := strings.Fields(rest)
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return "", l, false
	}
	// What a node has forked is no second process of the node; the node leads their session.
	if session, _ := strconv.Atoi(f[3]); session != pid {
		if leader, err := process.Cmdline(session); err == nil {
			if h, n := w.nodeOf(leader); h == host && n == node {
				return "", l, false
			}
		}
	}
	start, err := strconv.ParseUint(f[19], 10, 64)
	return node, lived{host: host, pid: pid, start: start, seen: time.Now()}, err == nil
}

// nodeOf reads the mark of a process: DIR/HOST/clusters/CLUSTER/nodes/NODE/work/.status.
func (w *watcher) nodeOf(argv []string) (host, node string) {
	i := slices.Index(argv, "-U")
	if i < 0 || i+1 >= len(argv) {
		return "", ""
	}
	rest, ours := strings.CutPrefix(argv[i+1], w.dir+"/")
	p := strings.Split(rest, "/")
	if !ours || len(p) != 7 || p[1] != "clusters" || p[3] != "nodes" || p[6] != ".status" {
		return "", ""
	}
	return p[0], p[2] + "/" + p[4]
}

// running are the processes of nodes as they were seen last; of all hosts, or of one.
func (w *watcher) running(host string) map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]int{}
	for node, l := range w.now {
		if host == "" || l.host == host {
			out[strings.TrimPrefix(node, "dmz/")] = l.pid
		}
	}
	return out
}

// starts is how many processes each node has had.
func (w *watcher) starts() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]int{}
	for node, ls := range w.lives {
		out[strings.TrimPrefix(node, "dmz/")] = len(ls)
	}
	return out
}

// hostOf is where a node was seen last, and as what; "": it does not run.
func (w *watcher) hostOf(node string) (host string, pid int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.now["dmz/"+node]
	return l.host, l.pid
}

// everyPID is what runs on this machine.
func everyPID() []int {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	out := make([]int, 0, len(names))
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			out = append(out, pid)
		}
	}
	return out
}
