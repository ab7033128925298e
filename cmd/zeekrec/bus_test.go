package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker"
	"github.com/zeekrec/zeekrec/actuators/broker/admin"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// busScript lets nodes write down what they see of the bus, and talk to each other all the time.
//
//go:embed testdata/bus.zeek
var busScript []byte

// slack is what a machine that is busy with other things may add to the times that are asked for. What was
// measured is logged.
const slack = 3 * time.Second

// busNodes are those of a bus.
var busNodes = []string{"logger-1", "manager", "proxy-1", "worker-1", "worker-2", "worker-3"}

// bus is a rig with a cluster of real Zeeks that load busScript.
type bus struct {
	*rig
	*notebook
	workers map[string]string
}

func newBus(t *testing.T) *bus {
	t.Helper()
	zeek, ok := realZeek()
	if !ok {
		t.Skip("needs a real Zeek on the PATH or in /opt/zeek/bin")
	}
	b := busOf(t, zeek)
	t.Cleanup(func() {
		if t.Failed() {
			b.tell()
		}
	})
	iface := "lo"
	if b.netns != "" { // without traffic, so that the workers have time for the bus
		iface = "zr0"
		for _, args := range [][]string{{"add", "zr0", "type", "veth", "peer", "name", "zr1"}, {"set", "zr0", "up"}, {"set", "zr1", "up"}} {
			b.must(exec.Command("ip", append([]string{"netns", "exec", b.netns, "ip", "link"}, args...)...))
		}
	}
	for _, n := range busNodes[3:] {
		b.workers[n] = "interface = " + iface + "\n"
	}
	b.script("bus", string(busScript))
	return b
}

// busOf a Zeek, or what stands in for one.
func busOf(t *testing.T, zeek string) *bus {
	t.Helper()
	b := &bus{rig: newRig(t, build(t, "./cmd/zeekrec", "-s -w"), zeek), workers: map[string]string{}}
	b.notebook = newNotebook(t, b.path("state", "clusters", "dmz", "nodes"))
	return b
}

// tell logs what nodes have seen of each other, and said.
func (b *bus) tell() {
	for _, n := range busNodes {
		var seen strings.Builder
		for _, e := range b.notes(n) {
			if e.what != "tick" && e.what != "drops" {
				fmt.Fprintf(&seen, "  %s %d %s %v\n", e.at.Format("15:04:05.000"), e.pid, e.what, e.args)
			}
		}
		b.t.Logf("%s:\n%s%s", n, seen.String(), tail([]byte(b.read(n, "..", "stderr")), 20))
	}
}

// sub is a subtest, which the bus then speaks for. What is wrong after it failed is of no interest.
func (b *bus) sub(name string, f func(t *testing.T)) {
	b.t.Helper()
	t := b.t
	defer func() { b.t, b.tb = t, t }()
	if !t.Run(name, func(t *testing.T) {
		b.t, b.tb = t, t
		f(t)
	}) {
		t.FailNow()
	}
}

// again waits until a node has another process, and all is well.
func (b *bus) again(name string, pid int) engine.ClusterStatus {
	b.t.Helper()
	return b.cluster(name+" runs again", waitLong, func(c engine.ClusterStatus) error {
		if p := pids(c)[name]; p == 0 || p == pid || !c.Healthy || !c.Synced {
			return fmt.Errorf("process %d, healthy %t, synced %t: %s", p, c.Healthy, c.Synced, c.Reason)
		}
		return nil
	})
}

// script puts one into the cluster's folder.
func (b *bus) script(name, content string) {
	b.t.Helper()
	if err := os.MkdirAll(b.path("clusters", "dmz"), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(b.path("clusters", "dmz", name+".zeek"), []byte(content), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// content of the file, with a [zeekrec.broker] section of these lines.
func (b *bus) content(broker string, options ...string) string {
	return config{workers: b.workers, all: "scripts = bus\n\n[zeekrec.archive]\nenabled = no\n\n[zeekrec.broker]\n" + broker + "\n[zeekrec.options]\n" + strings.Join(options, "\n") + "\n"}.String()
}

// run starts zeekrec with this content, and returns when every node knows every other and events flow.
func (b *bus) run(content string) engine.ClusterStatus {
	b.t.Helper()
	b.save(content)
	b.start()
	c := b.settled("")
	b.knowEachOther(nodePIDs(c))
	b.flowing(nodePIDs(c), time.Now())
	return c
}

// nodePIDs are those of Zeek alone.
func nodePIDs(c engine.ClusterStatus) map[string]int {
	m := pids(c)
	delete(m, "broker")
	return m
}

func (b *bus) admin() string { return b.file("broker", "admin.sock") }

// brokerStatus asks the broker itself.
func (b *bus) brokerStatus() (broker.Status, error) { return askBroker(b.t, b.admin()) }

func askBroker(t *testing.T, socket string) (broker.Status, error) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	return admin.Dial(socket).Status(ctx, true)
}

// killBroker kills it as kill -9 does, and waits until another one serves and all its nodes are back.
func (b *bus) killBroker() (at time.Time) {
	b.t.Helper()
	st, err := b.brokerStatus()
	if err != nil {
		b.t.Fatal(err)
	}
	at = time.Now()
	if err := syscall.Kill(st.PID, syscall.SIGKILL); err != nil {
		b.t.Fatal(err)
	}
	b.brokerBack(st, at)
	return at
}

// brokerBack waits until another broker than the one of before serves, and those who were there are back.
func (b *bus) brokerBack(before broker.Status, killed time.Time) {
	b.t.Helper()
	soon(b.t, "another broker serves", 20*time.Second, func() error {
		st, err := b.brokerStatus()
		if err == nil && st.PID == before.PID {
			err = errors.New("the old one answers")
		}
		return err
	})
	served := time.Since(killed)
	soon(b.t, "all nodes are back", 20*time.Second, func() error {
		st, err := b.brokerStatus()
		if err != nil {
			return err
		}
		return allJoined(st, busNodes, true)
	})
	b.t.Logf("broker killed: another one serves after %s, all nodes are back after %s (%s)", round(served), round(time.Since(killed)), load())
	if served > time.Second+slack {
		b.t.Errorf("another broker serves after %s", served)
	}
}

// allJoined says who of these has not joined, and who has that is none of them.
func allJoined(st broker.Status, names []string, connected bool) error {
	var is []string
	for _, m := range st.Members {
		if m.Connected || !connected {
			is = append(is, m.Name)
		}
	}
	slices.Sort(is)
	if !slices.Equal(is, names) {
		return fmt.Errorf("joined have %v", is)
	}
	return nil
}

// quiet checks that from a moment on no node has come or gone for any of these, but who is expected to.
func (n *notebook) quiet(names []string, since time.Time, but ...string) {
	n.tb.Helper()
	for _, name := range names {
		for _, e := range n.since(name, since) {
			if (e.what == "up" || e.what == "down") && !slices.Contains(but, e.args[0]) {
				n.tb.Errorf("%s: %s %s, %s later", name, e.args[0], e.what, round(e.at.Sub(since)))
			}
		}
	}
}

// notebook is a folder of nodes whose working folders hold a bus.txt. What was read of them is kept.
type notebook struct {
	tb    *testing.T
	dir   string
	pages map[string]*page
}

// page is what was read of a bus.txt.
type page struct {
	read  int64
	notes []note
}

// newNotebook of the folder that holds the nodes.
func newNotebook(t *testing.T, dir string) *notebook {
	return &notebook{tb: t, dir: dir, pages: map[string]*page{}}
}

func (n *notebook) file(node string, name ...string) string {
	return filepath.Join(append([]string{n.dir, node, "work"}, name...)...)
}

// note is one line of a node's bus.txt.
type note struct {
	at   time.Time
	pid  int
	what string
	args []string
}

// notes are all that a node has written, of all its processes.
func (n *notebook) notes(node string) []note {
	n.tb.Helper()
	p := n.pages[node]
	if p == nil {
		p = &page{}
		n.pages[node] = p
	}
	f, err := os.Open(n.file(node, "bus.txt"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		n.tb.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, p.read, 1<<30))
	if err != nil {
		n.tb.Fatal(err)
	}
	b = b[:bytes.LastIndexByte(b, '\n')+1] // the last line may not be whole yet
	p.read += int64(len(b))
	for l := range strings.Lines(string(b)) {
		w := strings.Fields(l)
		if len(w) < 3 {
			continue // killed while it wrote
		}
		at, err1 := strconv.ParseFloat(w[0], 64)
		pid, err2 := strconv.Atoi(w[1])
		if err1 == nil && err2 == nil {
			p.notes = append(p.notes, note{time.UnixMicro(int64(at * 1e6)), pid, w[2], w[3:]})
		}
	}
	return slices.Clip(p.notes)
}

func (n *notebook) since(node string, t time.Time) []note {
	es := n.notes(node)
	i, _ := slices.BinarySearchFunc(es, t, func(e note, t time.Time) int { return e.at.Compare(t) })
	return es[i:]
}

// knowEachOther waits until each of these processes takes each other one for present, and returns the moment
// at which the last came to know of another, and the last one's beginning.
func (n *notebook) knowEachOther(pids map[string]int) (formed, last time.Time) {
	n.tb.Helper()
	soon(n.tb, "every node knows every other", waitLong, func() (err error) {
		formed, last, err = n.acquaintance(pids)
		return err
	})
	return formed, last
}

// acquaintance says who of these processes does not take which other for present.
func (n *notebook) acquaintance(pids map[string]int) (formed, last time.Time, err error) {
	n.tb.Helper()
	for name, pid := range pids {
		known := map[string]note{}
		for _, e := range n.notes(name) {
			switch {
			case e.pid != pid:
			case e.what == "init" && e.at.After(last):
				last = e.at
			case e.what == "up":
				known[e.args[0]] = e
			case e.what == "down":
				delete(known, e.args[0])
			}
		}
		for other, p := range pids {
			e, ok := known[other]
			switch {
			case other == name:
			case !ok:
				return formed, last, fmt.Errorf("%s does not know %s", name, other)
			case !strings.Contains(e.args[1], fmt.Sprintf("_%d_", p)):
				return formed, last, fmt.Errorf("%s knows %s as %s, not as process %d", name, other, e.args[1], p)
			case e.at.After(formed):
				formed = e.at
			}
		}
	}
	return formed, last, nil
}

// flow is what one process has sent to another, as the other wrote it down.
type flow struct {
	from, to    string
	first, last int
	missing     []int
	// longest pause between two of them, and when it began.
	longest time.Duration
	paused  time.Time
}

// flow from one node's process to another's; since is for the longest pause alone. The first number that arrived is where it
// begins.
func (n *notebook) flow(pids map[string]int, from, to string, since time.Time) flow {
	n.tb.Helper()
	f := flow{from: from, to: to}
	var before time.Time
	for _, e := range n.notes(to) {
		if e.pid != pids[to] || e.what != "tick" || len(e.args) < 3 || e.args[0] != from || e.args[1] != strconv.Itoa(pids[from]) {
			continue
		}
		no, err := strconv.Atoi(e.args[2])
		if err != nil {
			continue
		}
		switch {
		case f.last == 0:
			f.first = no
		case no <= f.last:
			n.tb.Errorf("from %s to %s: %d came after %d", from, to, no, f.last)
		}
		for m := f.last + 1; f.last != 0 && m < no; m++ {
			f.missing = append(f.missing, m)
		}
		if d := e.at.Sub(before); f.last != 0 && e.at.After(since) && d > f.longest {
			f.longest, f.paused = d, before
		}
		f.last, before = no, e.at
	}
	return f
}

// flows of the workers to the proxy, and back.
func (n *notebook) flows(pids map[string]int, since time.Time) []flow {
	n.tb.Helper()
	var out []flow
	for name := range pids {
		if strings.HasPrefix(name, "worker") {
			out = append(out, n.flow(pids, name, "proxy-1", since), n.flow(pids, "proxy-1", name, since))
		}
	}
	slices.SortFunc(out, func(a, b flow) int { return strings.Compare(a.from+a.to, b.from+b.to) })
	return out
}

// flowing waits until something that was sent after this moment has arrived, everywhere.
func (n *notebook) flowing(pids map[string]int, now time.Time) {
	n.tb.Helper()
	marks := map[string]int{}
	for _, f := range n.flows(pids, now) {
		marks[f.from+f.to] = f.last
	}
	soon(n.tb, "events flow", waitLong, func() error {
		for _, f := range n.flows(pids, now) {
			// Half a second's worth more than there was: what had been on its way then does not count.
			if f.last < marks[f.from+f.to]+25 {
				return fmt.Errorf("from %s to %s: %d was the last, %d before", f.from, f.to, f.last, marks[f.from+f.to])
			}
		}
		return nil
	})
}

// lost sums up what is missing, and the longest pause.
func lost(fs []flow) (missing, sent int, longest time.Duration, where string) {
	for _, f := range fs {
		missing += len(f.missing)
		sent += f.last - f.first + 1
		if f.longest > longest {
			longest, where = f.longest, f.from+" to "+f.to
		}
	}
	return missing, sent, longest, where
}

// soon looks more often than eventually does, where times are measured.
func soon(t *testing.T, what string, wait time.Duration, ok func() error) {
	t.Helper()
	end := time.Now().Add(wait)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s: %v (%s)", what, wait, err, load())
		}
		time.Sleep(10 * time.Millisecond) // the pause between two looks
	}
}

// load of the machine, for those who read figures.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "load unknown"
	}
	return "load " + strings.Fields(string(b))[0]
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// read a file of a node's; empty where there is none.
func (n *notebook) read(node string, name ...string) string {
	n.tb.Helper()
	b, err := os.ReadFile(n.file(node, name...))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.tb.Fatal(err)
	}
	return string(b)
}
