//go:build linux

package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// The test binary is also the launcher, and, under the name "zeek", the program.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "exec-node" {
		os.Exit(process.ExecNode())
	}
	if filepath.Base(os.Args[0]) == "zeek" {
		fakeZeek(os.Args[1:])
		unix.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == "broker" {
		fakeBroker(os.Args[1:])
		unix.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == "archive" {
		fakeArchiver(os.Args[1:])
		unix.Exit(0)
	}
	if len(os.Args) == 2 && os.Args[1] == "headless" {
		endFirstThread()
	}
	if len(os.Args) == 4 && os.Args[1] == "agent" {
		agentUntilKilled(os.Args[2], os.Args[3])
	}
	goleak.VerifyTestMain(m)
}

// fakeZeek does what of Zeek the agent sees. FAKE in its environment says otherwise. It exits at once, without
// what the race detector and the coverage have to say at the end.
func fakeZeek(args []string) {
	mode := os.Getenv("FAKE")
	if slices.Contains(args, "-a") {
		if _, err := os.Stat(mode); mode == "syntax" || err == nil { // the host's scripts are broken while there is such a file
			fmt.Fprintln(os.Stderr, `error in /x/local.zeek, line 3: syntax error, at or near "}"`)
			unix.Exit(1)
		}
		return
	}
	if slices.Contains(args, "zeekrec-probe") {
		fakeProbe(mode)
		return
	}
	if slices.Contains(args, "-b") { // it opens an interface, and nothing else
		fmt.Fprintf(os.Stderr, "fatal error: problem with interface %s (pcap_error)\n", args[len(args)-1])
		unix.Exit(1)
	}
	status := args[slices.Index(args, "-U")+1]
	if mode != "untuned" {
		go fakeTune(filepath.Dir(filepath.Dir(status)), mode)
	}
	say := func(s string) {
		if err := os.WriteFile(status, []byte(s+"\n"), 0o644); err != nil {
			panic(err)
		}
	}
	die := func(line string) {
		say("TERMINATED [fatal_error]")
		fmt.Fprintln(os.Stderr, line)
		unix.Exit(1)
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	say("INITIALIZING [main]")
	switch mode {
	case "syntax":
		die(`error in /x/local.zeek, line 3: syntax error, at or near "}"`)
	case "interface":
		die("fatal error: problem with interface eth9 (eth9: No such device exists (pcap_activate))")
	case "port":
		die("fatal error: Failed to setup Prometheus endpoint: null context. Attempted to bind to 127.0.0.1:9000.")
	case "hang":
		time.Sleep(time.Minute)
	case "ignore-term":
		signal.Ignore(syscall.SIGTERM)
	}
	say("RUNNING [run_loop]")
	fmt.Fprintln(os.Stderr, "listening on somewhere")
	select {
	case <-term:
	case <-time.After(time.Minute):
		unix.Exit(9)
	}
	say("TERMINATED [atexit]")
}

// fakeBroker does what of a broker the agent sees, except for its socket: that is fakeBrokers.
func fakeBroker(args []string) {
	value := func(flag string) string { return args[slices.Index(args, flag)+1] }
	say := func(s string) {
		if err := os.WriteFile(value("-U"), []byte(s+"\n"), 0o644); err != nil {
			panic(err)
		}
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	say("INITIALIZING [main]")
	for _, flag := range []string{"--xpub", "--xsub"} {
		l, err := net.Listen("tcp", strings.TrimPrefix(value(flag), "tcp://"))
		if err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			unix.Exit(1)
		}
		defer l.Close()
	}
	if _, err := os.ReadFile(value("--settings")); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		unix.Exit(1)
	}
	say("RUNNING [serving]")
	select {
	case <-term:
	case <-time.After(time.Minute):
		unix.Exit(9)
	}
	say("TERMINATED [done]")
}

// fakeArchiver does what of an archiver the agent sees, except for its socket: that is fakeArchivers.
func fakeArchiver(args []string) {
	value := func(flag string) string { return args[slices.Index(args, flag)+1] }
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	if _, err := os.ReadFile(value("--settings")); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		unix.Exit(1)
	}
	if err := os.WriteFile(value("-U"), []byte("RUNNING [serving]\n"), 0o644); err != nil {
		panic(err)
	}
	select {
	case <-term:
	case <-time.After(time.Minute):
		unix.Exit(9)
	}
}

// endFirstThread ends the thread that the process is known by, and no other: it looks like one that has ended,
// and is not gone.
func endFirstThread() {
	for range 100 { // one of them gets the first thread, for the others cannot leave theirs
		go func() {
			runtime.LockOSThread()
			if unix.Gettid() == os.Getpid() {
				_, _, _ = unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
			}
			time.Sleep(time.Minute)
		}()
	}
	time.Sleep(time.Minute)
	os.Exit(1)
}

// agentUntilKilled is an agent in a process of its own; it waits to be killed between the record of a
// start and its execution, when told so.
func agentUntilKilled(state, exe string) {
	a, err := New(Config{StateDir: state, Instance: "agent-a", DefaultZeek: exe, Launcher: launcher, AskZeek: askFake})
	if err != nil {
		panic(err)
	}
	a.write = func(path string, v any) error {
		err := writeJSON(path, v)
		if filepath.Base(path) == "running.json" {
			fmt.Println("recorded")
			select {}
		}
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = a.Run(ctx)
	os.Exit(1)
}

var launcher = []string{"/proc/self/exe", "exec-node"}

func askFake(_ context.Context, path string) desired.ZeekFacts {
	return desired.ZeekFacts{Path: path, Version: "8.2.2", ZeekPath: ".:/usr/share/zeek", StandIn: true}
}

// world is a state folder with a fake Zeek, and the agents that run on it one after the other.
type world struct {
	t     *testing.T
	state string
	zeek  string
	links fakeLinks
	cfg   Config

	*Agent
	stop func()
}

type fakeLinks struct {
	mu sync.Mutex
	is []net.Interface
}

func (l *fakeLinks) list() ([]net.Interface, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.is), nil
}

func (l *fakeLinks) set(is ...net.Interface) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.is = is
}

func up(name string, index int) net.Interface {
	return net.Interface{Name: name, Index: index, Flags: net.FlagUp}
}

func newWorld(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	w := &world{t: t, state: t.TempDir()}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w.zeek = filepath.Join(t.TempDir(), "zeek")
	if err := os.Symlink(exe, w.zeek); err != nil {
		t.Fatal(err)
	}
	w.links.set(up("lo", 1), up("eth0", 2))
	w.cfg = Config{
		StateDir: w.state, Instance: "agent-a", DefaultZeek: w.zeek, Launcher: launcher,
		Interfaces: w.links.list, AskZeek: askFake,
		Timings: Timings{
			StartDeadline: 30 * time.Second, StopDeadline: 30 * time.Second, Poll: 5 * time.Millisecond, Tick: 10 * time.Millisecond,
			BackoffStep: 10 * time.Millisecond, Leftovers: 100 * time.Millisecond,
		},
	}
	if testing.Verbose() {
		w.cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	for _, c := range change {
		c(&w.cfg)
	}
	t.Cleanup(w.killAll)
	w.start()
	return w
}

// start runs a new agent on the folder.
func (w *world) start(change ...func(*Agent)) {
	w.t.Helper()
	a, err := New(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range change {
		c(a)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	w.Agent = a
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(w.stop)
	select {
	case <-a.Ready():
	case <-time.After(time.Minute):
		w.t.Fatal("the agent does not become ready")
	}
}

// killAll ends what is left of the test: the processes that the records and marks name.
func (w *world) killAll() {
	marks, err := process.Marks()
	if err != nil {
		w.t.Error(err)
	}
	for m, pids := range marks {
		if !strings.HasPrefix(m, w.state+"/") {
			continue
		}
		for _, pid := range pids {
			id, err := process.Identify(pid)
			if err != nil {
				continue
			}
			if h, err := process.Open(id); err == nil {
				_ = h.Signal(unix.SIGKILL)
				<-h.Done()
				h.Close()
			}
		}
	}
}

func (w *world) do(o desired.Order) {
	w.t.Helper()
	if err := w.Do(w.t.Context(), o); err != nil {
		w.t.Fatalf("%s: %v", o.Verb, err)
	}
}

func (w *world) refused(o desired.Order, why string) {
	w.t.Helper()
	err := w.Do(w.t.Context(), o)
	if !observed.IsRefused(err) || !strings.Contains(err.Error(), why) {
		w.t.Fatalf("%s: %v, want it to be refused: %s", o.Verb, err, why)
	}
}

func (w *world) get(key string) (observed.Resource, bool) {
	rs := w.Report().Resources
	i := slices.IndexFunc(rs, func(r observed.Resource) bool { return r.Key() == key })
	if i < 0 {
		return observed.Resource{}, false
	}
	return rs[i], true
}

// until polls the report for a state of dmz/w1.
func (w *world) until(what string, ok func(observed.Resource) bool) observed.Resource {
	w.t.Helper()
	var r observed.Resource
	w.eventually(what, func() bool {
		r, _ = w.get("dmz/w1")
		return ok(r)
	})
	return r
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	b, _ := json.MarshalIndent(w.Report(), "", " ")
	w.t.Fatalf("not within a minute: %s\n%s", what, b)
}

func (w *world) untilState(s observed.State) observed.Resource {
	w.t.Helper()
	return w.until(string(s), func(r observed.Resource) bool { return r.State == s })
}

func (w *world) untilGone() {
	w.t.Helper()
	w.eventually("gone", func() bool { _, ok := w.get("dmz/w1"); return !ok })
}

func (w *world) kinds() []string {
	var out []string
	for _, e := range w.Report().Events {
		out = append(out, e.Kind)
	}
	return out
}

func (w *world) event(kind string) observed.Event {
	w.t.Helper()
	var e observed.Event
	w.eventually("event "+kind, func() bool {
		for _, e = range w.Report().Events {
			if e.Kind == kind {
				return true
			}
		}
		return false
	})
	return e
}

// worker is the resource dmz/w1, changed as asked.
func worker(change ...func(*desired.Resource)) desired.Resource {
	r := desired.Resource{
		Cluster: "dmz", Name: "w1", Type: desired.TypeNode, Role: desired.RoleWorker, Instance: "agent-a",
		Node: &desired.NodeSpec{
			Backend: desired.BackendZeroMQ, Interface: "eth0", BrokerMode: "manager",
			XPub: "tcp://127.0.0.1:5555", XSub: "tcp://127.0.0.1:5556", Env: map[string]string{},
			Layout: desired.Layout{Nodes: []desired.LayoutNode{{Name: "w1", Role: desired.RoleWorker, Address: "127.0.0.1"}}},
		},
	}
	for _, c := range change {
		c(&r)
	}
	r.Parts = append(r.Parts, &desired.Part{Field: "interface", Relation: desired.Equal, Values: []string{r.Node.Interface}})
	if v := r.Node.Env["FAKE"]; v != "" {
		r.Parts = append(r.Parts, &desired.Part{Field: "env", Relation: desired.Equal, Values: []string{"FAKE=" + v}})
	}
	r.Seal()
	return r
}

func fake(mode string) func(*desired.Resource) {
	return func(r *desired.Resource) { r.Node.Env["FAKE"] = mode }
}

func part(field string, rel desired.Relation, values ...string) func(*desired.Resource) {
	return func(r *desired.Resource) {
		r.Parts = append(r.Parts, &desired.Part{Field: field, Relation: rel, Values: values})
	}
}

func order(v desired.Verb, r desired.Resource, expect string) desired.Order {
	return desired.Order{Plan: "p1", Verb: v, Resource: r, Expect: expect, Reason: "test"}
}

func killPID(t *testing.T, pid int) {
	t.Helper()
	id, err := process.Identify(pid)
	if err != nil {
		t.Fatal(err)
	}
	// Without a handle, which would take the exit status away from the agent's own.
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); process.Alive(id); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it survives SIGKILL")
		}
	}
}
