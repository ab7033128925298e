package main

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// worksScript lets nodes do what shows whether the cluster works as a whole.
//
//go:embed testdata/works.zeek
var worksScript string

// draft is a cluster.cfg that tests change.
type draft struct {
	nodes    map[string]map[string]string // by section, by key
	settings map[string]string            // of [zeekrec]
	sections map[string]string            // others, by name: their lines
}

// newDraft has a manager, a logger, a proxy, and two workers.
func newDraft() *draft {
	// Rotated logs stay in the queue, where they are looked for.
	d := &draft{nodes: map[string]map[string]string{}, sections: map[string]string{"zeekrec.archive": "enabled = no\n"}, settings: map[string]string{
		"ports_from": "25100", "metrics_ports_from": "25140", "broker_ports_from": "25180", "scripts": "local works", "prune_guard": "100%",
	}}
	for _, n := range []string{"manager", "logger-1", "proxy-1", "worker-1", "worker-2"} {
		d.add(n)
	}
	return d
}

// add a node, whose name begins with its role. Workers listen where there is no traffic.
func (d *draft) add(name string) {
	role, _, _ := strings.Cut(name, "-")
	d.nodes[name] = map[string]string{"role": role}
	if role == "worker" {
		d.nodes[name]["interface"] = "zr0"
	}
}

func (d *draft) remove(name string) { delete(d.nodes, name) }

func (d *draft) clone() *draft {
	c := &draft{nodes: map[string]map[string]string{}, settings: maps.Clone(d.settings), sections: maps.Clone(d.sections)}
	for n, keys := range d.nodes {
		c.nodes[n] = maps.Clone(keys)
	}
	return c
}

// count of the nodes of a role.
func (d *draft) count(role string) (n int) {
	for _, keys := range d.nodes {
		if keys["role"] == role {
			n++
		}
	}
	return n
}

func (d *draft) String() string {
	var b strings.Builder
	section := func(name string, keys map[string]string) {
		fmt.Fprintf(&b, "[%s]\n", name)
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			fmt.Fprintf(&b, "%s = %s\n", k, keys[k])
		}
		b.WriteString("\n")
	}
	for _, n := range slices.Sorted(maps.Keys(d.nodes)) {
		section(n, d.nodes[n])
	}
	section("zeekrec", d.settings)
	for _, s := range slices.Sorted(maps.Keys(d.sections)) {
		fmt.Fprintf(&b, "[%s]\n%s\n", s, d.sections[s])
	}
	return b.String()
}

// works is a rig with a cluster of real Zeeks that load worksScript.
type works struct {
	*rig
	*draft
	// known are complaints that are not the cluster's fault, or were looked at.
	known []*regexp.Regexp
	seen  map[string]int64 // how far files were looked through for complaints
}

// newWorks needs a real Zeek, and a network of its own.
func newWorks(t *testing.T) *works {
	t.Helper()
	zeek, ok := realZeek()
	if !ok {
		t.Skip("needs a real Zeek on the PATH or in /opt/zeek/bin")
	}
	w := &works{rig: newRig(t, build(t, "./cmd/zeekrec", "-s -w"), zeek), draft: newDraft(), seen: map[string]int64{}}
	if w.netns == "" {
		t.Skip("needs to be root, and iproute2, for a network of its own")
	}
	for _, pair := range [][2]string{{"zr0", "zp0"}, {"zr1", "zp1"}} {
		w.link(pair[0], pair[1])
	}
	if err := os.Mkdir(w.path("clusters", "dmz"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.script("works", worksScript)
	return w
}

// link makes a pair of interfaces, which are up.
func (w *works) link(a, b string) {
	w.t.Helper()
	w.ip("link", "add", a, "type", "veth", "peer", "name", b)
	for _, i := range []string{a, b} {
		w.ip("link", "set", i, "up")
	}
}

func (w *works) ip(args ...string) {
	w.t.Helper()
	w.must(exec.Command("ip", append([]string{"netns", "exec", w.netns, "ip"}, args...)...))
}

// script puts one into the cluster's folder.
func (w *works) script(name, content string) {
	w.t.Helper()
	if err := os.WriteFile(w.path("clusters", "dmz", name+".zeek"), []byte(content), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// begin runs the draft, and returns when it works.
func (w *works) begin() engine.ClusterStatus {
	w.t.Helper()
	w.save(w.String())
	w.start()
	c := w.settled("")
	w.asOne(time.Now())
	return c
}

// asOne waits until the cluster has worked as a whole since a moment: statistics count each worker, a host that all
// workers see is logged once, and log lines of every node arrive.
func (w *works) asOne(since time.Time) {
	w.t.Helper()
	workers := w.count("worker")
	w.eventually("sums count each worker", 2*waitLong, func() error {
		var last []string
		for _, n := range w.notes("manager") {
			if n.what == "sum" && n.at.After(since) {
				last = append(last, n.args[0])
			}
		}
		want := strconv.Itoa(workers)
		if n := len(last); n < 2 || last[n-1] != want || last[n-2] != want {
			return fmt.Errorf("%q, want %s twice", last, want)
		}
		return nil
	})
	w.eventually("hosts that all workers see are logged once", 2*waitLong, func() error { return w.hostsOnce(since) })
	w.eventually("lines of all nodes arrive", waitLong, func() error {
		latest := map[string]time.Time{}
		for _, f := range w.logged("works") {
			if at := stamp(f[0]); at.After(latest[f[1]]) {
				latest[f[1]] = at
			}
		}
		for n, keys := range w.nodes {
			if keys["role"] != "logger" && !latest[n].After(since) {
				return fmt.Errorf("there is nothing new of %s", n)
			}
		}
		return nil
	})
}

// hostsOnce looks for a whole round of hosts since a moment of which each was logged once.
func (w *works) hostsOnce(since time.Time) error {
	times := map[string]int{}
	for _, f := range w.logged("known_hosts") {
		times[f[1]]++
	}
	const round = 2 // seconds
	// From a second after the moment, to the last one whose lines must have arrived.
	for r := (since.Unix()+1)/round + 1; ; r++ {
		if time.Since(time.Unix((r+1)*round, 0)) < 2*time.Second {
			return errors.New("no round is over")
		}
		good := 0
		for i := 1; i <= 10; i++ {
			if times[fmt.Sprintf("10.%d.%d.%d", r>>8&255, r&255, i)] == 1 {
				good++
			}
		}
		if good == 10 {
			return nil
		}
		if time.Since(time.Unix((r+1)*round, 0)) < 3*round*time.Second {
			return fmt.Errorf("round %d: %d of 10 were logged once", r, good)
		}
	}
}

// notes are what a node has written, of all its processes.
func (w *works) notes(node string) (out []note) {
	w.t.Helper()
	b, err := os.ReadFile(w.path("state", "clusters", "dmz", "nodes", node, "work", "works.txt"))
	if err != nil {
		return nil
	}
	for l := range strings.Lines(string(b)) {
		f := strings.Fields(l)
		if len(f) < 3 || !strings.HasSuffix(l, "\n") {
			continue
		}
		pid, err := strconv.Atoi(f[1])
		if err != nil {
			w.t.Fatalf("%s: %q", node, l)
		}
		out = append(out, note{stamp(f[0]), pid, f[2], f[3:]})
	}
	return out
}

func stamp(s string) time.Time {
	at, _ := strconv.ParseFloat(s, 64)
	return time.UnixMicro(int64(at * 1e6))
}

// linesAt are the lines of nodes that a logger has in its folder.
func (w *works) linesAt(logger string) (out []string) {
	b, err := os.ReadFile(w.path("state", "clusters", "dmz", "nodes", logger, "work", "works.log"))
	if err != nil {
		return nil
	}
	for l := range strings.Lines(string(b)) {
		if l[0] != '#' {
			out = append(out, l)
		}
	}
	return out
}

// logged are the fields of all lines of a log, of all loggers.
func (w *works) logged(log string) (out [][]string) {
	w.t.Helper()
	dir := w.path("state", "clusters", "dmz")
	var files []string
	for _, p := range []string{
		filepath.Join(dir, "nodes", "*", "work", log+".log"),
		filepath.Join(dir, "queue", log+"__*"),
	} {
		fs, err := filepath.Glob(p)
		if err != nil {
			w.t.Fatal(err)
		}
		files = append(files, fs...)
	}
	for _, f := range w.archives() {
		if strings.HasPrefix(filepath.Base(f), log+".") {
			files = append(files, f)
		}
	}
	for _, f := range files {
		b, err := readLog(f)
		if errors.Is(err, os.ErrNotExist) { // rotated or archived meanwhile
			return w.logged(log)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		for l := range strings.Lines(string(b)) {
			if l[0] != '#' && strings.HasSuffix(l, "\n") {
				out = append(out, strings.Split(strings.TrimSuffix(l, "\n"), "\t"))
			}
		}
	}
	return out
}

// readLog is what a log says, decompressed.
func readLog(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r io.Reader = bytes.NewReader(b)
	switch filepath.Ext(path) {
	case ".gz":
		r, err = gzip.NewReader(r)
	case ".zst":
		r, err = zstd.NewReader(r)
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

var (
	complaint   = regexp.MustCompile(`(?i)error|invalidation`)
	noComplaint = regexp.MustCompile(`^#`)
)

// complaints are new lines with errors in reporter.log and in what was written to stderr, but for those that are known.
func (w *works) complaints() (out []string) {
	w.t.Helper()
	dir := w.path("state", "clusters", "dmz")
	for _, p := range []string{"nodes/*/stderr", "nodes/*/work/reporter.log", "queue/reporter__*"} {
		files, err := filepath.Glob(filepath.Join(dir, p))
		if err != nil {
			w.t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				continue // rotated meanwhile: it is in the queue
			}
			from := min(w.seen[f], int64(len(b)))
			w.seen[f] = int64(len(b))
			for l := range strings.Lines(string(b[from:])) {
				if !complaint.MatchString(l) || noComplaint.MatchString(l) ||
					slices.ContainsFunc(w.known, func(r *regexp.Regexp) bool { return r.MatchString(l) }) {
					continue
				}
				out = append(out, strings.TrimPrefix(f, dir)+": "+strings.TrimSpace(l))
			}
		}
	}
	return out
}

// each line that nodes have written is there once: n of every process from 1 to what it said when it was done. Processes that
// said nothing have to have an unbroken row.
func (w *works) everyLineOnce() {
	w.t.Helper()
	type process struct{ node, pid string }
	counts := map[process]map[string]int{}
	total := 0
	for _, f := range w.logged("works") {
		p := process{f[1], f[2]}
		if counts[p] == nil {
			counts[p] = map[string]int{}
		}
		counts[p][f[3]]++
		total++
	}
	done := map[process]int{}
	nodes, err := os.ReadDir(w.path("state", "clusters", "dmz", "nodes"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, n := range nodes {
		for _, e := range w.notes(n.Name()) {
			if e.what == "done" {
				done[process{n.Name(), strconv.Itoa(e.pid)}], _ = strconv.Atoi(e.args[0])
			}
		}
	}
	missing, twice := 0, 0
	for p, ns := range counts {
		last := done[p]
		if last == 0 {
			last = len(ns)
		}
		var gone []int
		for i := 1; i <= last; i++ {
			switch n := ns[strconv.Itoa(i)]; {
			case n == 0:
				gone = append(gone, i)
			case n > 1:
				twice++
			}
		}
		missing += len(gone)
		if len(gone) > 0 {
			w.t.Errorf("%d lines of %s (%s) are missing, of %d: from %d to %d", len(gone), p.node, p.pid, last, gone[0], gone[len(gone)-1])
		}
	}
	if twice > 0 {
		w.t.Errorf("%d lines are there twice", twice)
	}
	w.t.Logf("%d lines of %d processes: %d missing, %d twice", total, len(counts), missing, twice)
	if total == 0 {
		w.t.Error("there are no lines")
	}
}
