package launch_test

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
)

// followScript lets a Zeek show what it knows of its cluster.
//
//go:embed testdata/follow.zeek
var followScript string

func TestMembers(t *testing.T) {
	got := string(launch.Members(desired.Layout{Nodes: []desired.LayoutNode{
		{Name: "#1", Role: desired.RoleWorker, Address: "::1"},
		{Name: `a\b`, Role: desired.RoleLogger, Address: "host.example.org", Port: 2200, MetricsPort: 9001},
		{Name: "a\tb", Role: desired.RoleManager, Address: "127.0.0.1", MetricsPort: 9000},
	}}))
	want := "#fields\tname\trole\taddress\tp\tmetrics_port\n" +
		"\\x231\tworker\t::1\t0\t0\n" +
		"a\\x5cb\tlogger\thost.example.org\t2200\t9001\n" +
		"a\\x09b\tmanager\t127.0.0.1\t0\t9000\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// follower is a Zeek that follows a table, without a network.
type follower struct {
	t     *testing.T
	file  string
	lines chan string    // of its output; closed at its end
	in    io.WriteCloser // of its orders
}

// zeekFor prepares a Zeek that is the node of that name, with followScript. The table is at file.
func zeekFor(t *testing.T, l desired.Layout, node string, role desired.Role, more string) (cmd *exec.Cmd, file string) {
	t.Helper()
	r := desired.Resource{Cluster: "dmz", Name: node, Type: desired.TypeNode, Role: role, Node: &desired.NodeSpec{
		Backend: desired.BackendZeroMQ, BrokerMode: desired.BrokerStandalone, Membership: desired.MembershipLive, Layout: l,
		XPub: "tcp://127.0.0.1:1", XSub: "tcp://127.0.0.1:2",
	}}
	p := place(t.TempDir(), node, realZeek(t))
	la, err := launch.Render(&r, p)
	if err != nil {
		t.Fatal(err)
	}
	la.Files["follow.zeek"] = followScript + more
	if err := writeFiles(la); err != nil {
		t.Fatal(err)
	}
	ch := la.Check() // its environment keeps ZeroMQ from opening sockets
	args := slices.DeleteFunc(slices.Clone(ch.Argv[1:]), func(a string) bool { return a == "-a" })
	cmd = exec.Command(ch.Argv[0], append(args, "follow")...)
	cmd.Env, cmd.Dir = ch.Env, ch.Dir
	table, _ := launch.TuneTable(nil)
	if err := errors.Join(os.MkdirAll(p.NodeDir, 0o755), os.WriteFile(launch.TuneFile(p.NodeDir), table, 0o644)); err != nil {
		t.Fatal(err)
	}
	return cmd, launch.MembersFile(p.NodeDir)
}

// fresh is what a Zeek shows that was started with the layout.
func fresh(t *testing.T, l desired.Layout, node string, role desired.Role) string {
	t.Helper()
	cmd, _ := zeekFor(t, l, node, role, "redef Cluster::test_fresh = T;\nredef Cluster::test_pools = T;\nredef Cluster::zeekrec_members_file = \"\";\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.TrimSuffix(string(out), ".\n")
}

func follow(t *testing.T, l desired.Layout, node string, role desired.Role, more string) *follower {
	t.Helper()
	cmd, file := zeekFor(t, l, node, role, "redef exit_only_after_terminate = T;\n"+more)
	f := &follower{t: t, file: file, lines: make(chan string, 1000)}
	f.write(l)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Create(filepath.Join(cmd.Dir, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close() })
	f.in = in
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(f.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			f.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_, _ = io.WriteString(f.in, "goodbye\n")
		kill := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		for range f.lines { // until its end
		}
		kill.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, errs.String())
		}
	})
	f.until("read")
	return f
}

// until a line; what came before is returned.
func (f *follower) until(last string) []string {
	f.t.Helper()
	var out []string
	deadline := time.After(time.Minute)
	for {
		select {
		case l, ok := <-f.lines:
			switch {
			case !ok:
				f.t.Fatalf("it ended; before that: %q", out)
			case l == last:
				return out
			}
			out = append(out, l)
		case <-deadline:
			f.t.Fatalf("no %q within a minute, but %q", last, out)
		}
	}
}

// orders are carried out one after the other; what happened is returned, and then what it knows.
func (f *follower) orders(lines ...string) (happened []string, knows string) {
	f.t.Helper()
	for _, l := range lines {
		if _, err := io.WriteString(f.in, l+"\n"); err != nil {
			f.t.Fatal(err)
		}
	}
	if _, err := io.WriteString(f.in, "show\n"); err != nil {
		f.t.Fatal(err)
	}
	return split(f.until("."))
}

// split what happened from what is shown.
func split(lines []string) (happened []string, knows string) {
	var shown []string
	for _, l := range lines {
		switch what, _, _ := strings.Cut(l, " "); what {
		case "up", "down", "error", "warning":
			happened = append(happened, l)
		case "read":
		default:
			shown = append(shown, l+"\n")
		}
	}
	return happened, strings.Join(shown, "")
}

// write replaces the table as an agent does.
func (f *follower) write(l desired.Layout) {
	f.t.Helper()
	then := time.Now()
	if info, err := os.Stat(f.file); err == nil {
		then = info.ModTime().Add(time.Second)
	}
	tmp := filepath.Join(filepath.Dir(f.file), "new")
	if err := os.WriteFile(tmp, launch.Members(l), 0o644); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Chtimes(tmp, then, then); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(tmp, f.file); err != nil {
		f.t.Fatal(err)
	}
}

// table writes one, and returns what happened until it was read.
func (f *follower) table(l desired.Layout) []string {
	f.t.Helper()
	f.write(l)
	happened, _ := split(f.until("read"))
	return happened
}

// layoutOf nodes, sorted; names begin with the initial of their role.
func layoutOf(names ...string) desired.Layout {
	var l desired.Layout
	roles := map[byte]desired.Role{'m': desired.RoleManager, 'l': desired.RoleLogger, 'p': desired.RoleProxy, 'w': desired.RoleWorker}
	for _, n := range names {
		x := desired.LayoutNode{Name: n, Role: roles[n[0]], Address: "127.0.0.1"}
		if x.Role == desired.RoleLogger {
			x.Port = 2200
		}
		l.Nodes = append(l.Nodes, x)
	}
	slices.SortFunc(l.Nodes, func(a, b desired.LayoutNode) int { return strings.Compare(a.Name, b.Name) })
	return l
}

// TestZeekFollows: whatever tables a real Zeek has followed, it knows and does what one does that is started with the
// last of them.
func TestZeekFollows(t *testing.T) {
	realZeek(t)
	for _, self := range []string{"manager", "w2"} {
		t.Run(self, func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(3, uint64(len(self))))
			role := map[string]desired.Role{"manager": desired.RoleManager, "w2": desired.RoleWorker}[self]
			names := []string{"-", "(empty)", "#x", `a\b`, "p 1", "a,b"}
			for i := range 9 {
				names = append(names, fmt.Sprintf("n%d", i))
			}
			random := func() desired.Layout {
				nodes := map[string]desired.LayoutNode{}
				for _, n := range names {
					if r := []desired.Role{"", desired.RoleLogger, desired.RoleProxy, desired.RoleProxy, desired.RoleWorker, desired.RoleWorker}[rnd.IntN(6)]; r != "" {
						nodes[n] = desired.LayoutNode{Name: n, Role: r, Address: "10.0.0." + fmt.Sprint(1+rnd.IntN(9)), Port: 1 + rnd.IntN(9), MetricsPort: rnd.IntN(2)}
					}
				}
				// What the exclusive pool needs, and the node itself.
				for _, n := range layoutOf("logger", "manager", "w1", "w2").Nodes {
					nodes[n.Name] = n
				}
				var l desired.Layout
				for _, n := range slices.Sorted(maps.Keys(nodes)) {
					l.Nodes = append(l.Nodes, nodes[n])
				}
				return l
			}
			f := follow(t, random(), self, role, "redef Cluster::test_pools = T;\n")
			for range 5 {
				l := random()
				if happened := f.table(l); len(happened) > 0 {
					t.Errorf("happened: %q", happened)
				}
				_, got := f.orders()
				if d := cmp.Diff(fresh(t, l, self, role), got); d != "" {
					t.Errorf("(-fresh +followed):\n%s", d)
				}
			}
		})
	}
}

// TestZeekMembersComeAndGo: hellos that come too early, and goodbyes that come too late.
func TestZeekMembersComeAndGo(t *testing.T) {
	realZeek(t)
	base := []string{"logger", "manager", "p1", "w1", "w2"}
	with := func(names ...string) desired.Layout { return layoutOf(append(names, base...)...) }
	type step struct {
		what     string
		table    []string // on top of base; nil: none is written
		orders   []string
		happened string
		knows    string // the last line
		has      []string
	}
	last := func(s string) string {
		ls := strings.Split(strings.TrimSpace(s), "\n")
		return ls[len(ls)-1]
	}
	for _, tt := range []struct {
		self  string
		role  desired.Role
		steps []step
	}{
		{"manager", desired.RoleManager, []step{
			{what: "all say hello", orders: []string{"hello w1 A", "hello w2 B", "hello p1 C"}, happened: "up p1 C, up w1 A, up w2 B", knows: "workers 2 of 2, proxies 1 of 1"},
			{what: "one who is not in the table", orders: []string{"hello w3 D", "hello p2 E"}, knows: "workers 2 of 2, proxies 1 of 1"},
			{what: "now they are", table: []string{"w3", "p2"}, happened: "up p2 E, up w3 D", knows: "workers 3 of 3, proxies 2 of 2", has: []string{"w3 Cluster::WORKER 127.0.0.1 0/unknown 0/unknown manager D"}},
			{what: "one goes by itself", orders: []string{"gone D"}, happened: "down w3 D", knows: "workers 2 of 3, proxies 2 of 2"},
			{what: "and is back", orders: []string{"hello w3 F"}, happened: "up w3 F", knows: "workers 3 of 3, proxies 2 of 2"},
			{what: "two are to leave", table: []string{}, knows: "workers 3 of 3, proxies 2 of 2", has: []string{
				"zeek.cluster.pool.proxy: p1+; 1 nodes, 1 alive, 1 sites", "zeek.cluster.pool.worker: w1+ w2+; 2 nodes, 2 alive, 2 sites",
			}},
			{what: "they do", orders: []string{"gone F", "gone E"}, happened: "down p2 E, down w3 F", knows: "workers 2 of 2, proxies 1 of 1"},
			{what: "to leave and to stay after all", table: []string{"w3"}, orders: []string{"hello w3 G"}, happened: "up w3 G", knows: "workers 3 of 3, proxies 1 of 1"},
			{what: "to leave", table: []string{}, knows: "workers 3 of 3, proxies 1 of 1"},
			{what: "to stay", table: []string{"w3"}, knows: "workers 3 of 3, proxies 1 of 1", has: []string{"zeek.cluster.pool.worker: w1+ w2+ w3+; 3 nodes, 3 alive, 3 sites"}},
			{what: "early, and gone before the table", orders: []string{"hello w4 H", "gone H"}, knows: "workers 3 of 3, proxies 1 of 1"},
			{what: "the table", table: []string{"w3", "w4"}, knows: "workers 3 of 4, proxies 1 of 1"},
			{what: "the hello after that", orders: []string{"hello w4 I"}, happened: "up w4 I", knows: "workers 4 of 4, proxies 1 of 1"},
		}},
		{"w2", desired.RoleWorker, []step{
			{what: "all say hello", orders: []string{"hello manager A", "hello w1 B"}, happened: "up manager A, up w1 B", knows: "workers 1 of 2, proxies 0 of 1"},
			{what: "a worker who is not in the table", orders: []string{"hello w3 C"}, knows: "workers 1 of 2, proxies 0 of 1"},
			{what: "now it is: no event", table: []string{"w3"}, knows: "workers 2 of 3, proxies 0 of 1", has: []string{"zeek.cluster.pool.worker: w1+ w2+ w3+; 3 nodes, 3 alive, 2 sites"}},
			{what: "it goes: none", orders: []string{"gone C"}, knows: "workers 1 of 3, proxies 0 of 1", has: []string{"zeek.cluster.pool.worker: w1+ w2+ w3; 3 nodes, 2 alive, 1 sites"}},
			{what: "it is back: none", orders: []string{"hello w3 D"}, knows: "workers 2 of 3, proxies 0 of 1"},
			{what: "a proxy: there is", table: []string{"w3", "p2"}, orders: []string{"hello p2 E"}, happened: "up p2 E", knows: "workers 2 of 3, proxies 1 of 2"},
			{what: "one of the first goes: there is", orders: []string{"gone B"}, happened: "down w1 B", knows: "workers 1 of 3, proxies 1 of 2"},
			{what: "to leave", table: []string{}, knows: "workers 1 of 3, proxies 1 of 2", has: []string{"w3 Cluster::WORKER 127.0.0.1 0/unknown 0/unknown manager D"}},
			{what: "gone", orders: []string{"gone D", "gone E"}, happened: "down p2 E", knows: "workers 0 of 2, proxies 0 of 1"},
			{what: "nobody ever knew of it", orders: []string{"gone X"}, happened: "warning unsubscription of unknown node with id 'X'", knows: "workers 0 of 2, proxies 0 of 1"},
		}},
	} {
		t.Run(tt.self, func(t *testing.T) {
			t.Parallel()
			f := follow(t, with(), tt.self, tt.role, "")
			for _, s := range tt.steps {
				var happened []string
				if s.table != nil {
					happened = f.table(with(s.table...))
				}
				more, shown := f.orders(s.orders...)
				happened = append(happened, more...)
				slices.Sort(happened)
				if got := strings.Join(happened, ", "); got != s.happened {
					t.Errorf("%s: happened %q, want %q", s.what, got, s.happened)
				}
				if got := last(shown); got != s.knows {
					t.Errorf("%s: knows %q, want %q", s.what, got, s.knows)
				}
				for _, h := range s.has {
					if !strings.Contains(shown, h) {
						t.Errorf("%s: knows nothing of %q:\n%s", s.what, h, shown)
					}
				}
			}
		})
	}
}
