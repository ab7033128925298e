package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
	"github.com/zeekrec/zeekrec/observed"
)

// probeNice is how nice a Zeek is that is only asked for its names: nodes have work to do.
const probeNice = 10

// checksAtOnce bounds how many programs a check runs beside the nodes.
const checksAtOnce = 2

// Check looks for what would keep resources from running here, before anything is stopped (decisions 16):
// scripts that do not parse, interfaces that do not exist or are down, ports that others hold, a full
// disk. Unless something is disturbed for them, scripts of a kind of node that parsed before are not parsed again, since
// the second that Zeek takes for that is half of what it takes to come up; should they have been broken in place since,
// what is to start fails, and nothing else. The problems are sorted; the error is ctx's.
func (a *Agent) Check(ctx context.Context, rs []desired.Resource, disturbs bool) ([]observed.Problem, error) {
	var problems []observed.Problem
	add := func(key string, permanent bool, err error) {
		if err != nil {
			problems = append(problems, observed.Problem{Resource: key, Permanent: permanent, Message: err.Error()})
		}
	}
	l, held := listLinks(a.cfg.Interfaces), a.heldByNodes()
	room := roomFor(a.cfg.StateDir, diskNeeded)
	groups := map[string][]launch.Launch{}
	first := map[string]string{} // the key of a group's first resource
	for i := range rs {
		r := &rs[i]
		if !known(r) {
			continue
		}
		add(r.Key(), true, errors.Join(checkName("cluster", r.Cluster), checkName("resource", r.Name)))
		add(r.Key(), false, room)
		if r.Node != nil {
			if text := l.trouble(device(r.Node.Interface)); text != "" {
				add(r.Key(), false, errors.New(text))
			}
		}
		_, err := a.keysOf(r.Cluster, curveIDs(r))
		add(r.Key(), false, err)
		for _, at := range r.Listens() {
			add(r.Key(), false, checkPort(ctx, at, held))
		}
		become, err := process.LookupUser(userOf(r))
		add(r.Key(), false, err)
		if err := passable(a.clusterDir(r.Cluster), become); err != nil {
			add(r.Key(), false, err)
			continue // what its Zeek would say of that is misleading
		}
		facts, program, err := a.program(ctx, r)
		if err != nil {
			add(r.Key(), false, err)
			continue
		}
		cmd, err := launch.Render(r, a.place(a.folder(r.Cluster, r.Name), facts))
		if err != nil {
			add(r.Key(), true, err)
			continue
		}
		if r.Node == nil {
			continue // it has no scripts
		}
		cmd = cmd.Check()
		sort := fmt.Sprintf("%s\x00%s\x00%d %s\x00%s", r.Cluster, r.Role, program.Size, program.ModTime, commandLine(cmd))
		if !disturbs && a.parsed.has(sort) {
			continue
		}
		if groups[sort] == nil {
			first[sort] = r.Key()
		}
		groups[sort] = append(groups[sort], cmd)
	}

	var mu sync.Mutex
	var todo errgroup.Group
	todo.SetLimit(checksAtOnce)
	for sort, cmds := range groups {
		todo.Go(func() error {
			permanent, err := a.runApart(ctx, cmds[0], "", nil)
			if err == nil {
				a.parsed.add(sort)
			}
			if n := len(cmds) - 1; err != nil && n > 0 {
				err = fmt.Errorf("%w\n(and %d more like it)", err, n)
			}
			mu.Lock()
			defer mu.Unlock()
			add(first[sort], permanent, err)
			return nil
		})
	}
	_ = todo.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("cannot check: %w", context.Cause(ctx))
	}
	slices.SortFunc(problems, func(x, y observed.Problem) int {
		return strings.Compare(x.Resource+"\x00"+x.Message, y.Resource+"\x00"+y.Message)
	})
	return problems, nil
}

// parsed remembers what kinds of nodes had scripts that Zeek could parse.
type parsed struct {
	mu    sync.Mutex
	kinds map[string]bool
}

// parsedKept bounds what is remembered; more are looked at again.
const parsedKept = 64

func (p *parsed) has(kind string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kinds[kind]
}

func (p *parsed) add(kind string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kinds == nil || len(p.kinds) >= parsedKept {
		p.kinds = map[string]bool{}
	}
	p.kinds[kind] = true
}

// commandLine is what two nodes of one role have to have in common to be checked as one, of the launches of checks:
// everything that is parsed, but not what is a node's own by nature.
func commandLine(l launch.Launch) string {
	parts := slices.Clone(l.Argv)
	nodeDir := filepath.Dir(filepath.Dir(l.StatusFile))
	for _, e := range l.Env {
		switch name, _, _ := strings.Cut(e, "="); name {
		case "CLUSTER_NODE", "HOME":
		case "ZEEKPATH": // begins with the folder of generated files, which is compared by its content
			parts = append(parts, strings.TrimPrefix(e, "ZEEKPATH="+l.GenDir))
		default:
			parts = append(parts, e)
		}
	}
	names := make([]string, 0, len(l.Files))
	for n := range l.Files {
		if n != launch.LayoutScript { // who else is there makes no difference to a parser
			names = append(names, n)
		}
	}
	slices.Sort(names)
	for _, n := range names {
		// A node's own port for metrics and what is in its folder are the lines that differ from node to node.
		var own []string
		for line := range strings.Lines(l.Files[n]) {
			if !strings.Contains(line, "Telemetry::metrics_port") && !strings.Contains(line, nodeDir+"/") {
				own = append(own, line)
			}
		}
		parts = append(parts, n, strings.Join(own, ""))
	}
	return strings.Join(parts, "\x00")
}

// runApart runs the launch of a check, which opens nothing, in a folder of its own. Where product is the name of a file, the run is
// over when that is there: the process is not waited for, since the end of a Zeek may take its time, and read sees the
// content. The error is permanent where the parser has spoken.
func (a *Agent) runApart(ctx context.Context, l launch.Launch, product string, read func(content []byte) error) (permanent bool, err error) {
	if err := a.putGenerated(ctx, l); err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "zeekrec-check-")
	if err != nil {
		return false, fmt.Errorf("cannot check scripts: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	become, err := process.LookupUser(l.User)
	if err != nil {
		return false, err
	}
	if err := handOver(dir, l.User); err != nil {
		return false, fmt.Errorf("cannot check scripts: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timings.Check)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.Argv[0], l.Argv[1:]...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = l.Env, dir, time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: become}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	made := filepath.Join(dir, product)
	if product != "" {
		over := make(chan struct{})
		defer close(over)
		go endWhenThere(made, over, cancel)
	}
	if err = cmd.Start(); err == nil {
		if product != "" { // it may take its time
			_ = unix.Setpriority(unix.PRIO_PROCESS, cmd.Process.Pid, probeNice)
		}
		err = cmd.Wait()
	}
	if product != "" {
		if b, err := os.ReadFile(made); err == nil {
			return false, read(b)
		}
	}
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil && product != "":
		return false, fmt.Errorf("cannot check scripts: the check has left no %s", product)
	case err == nil:
		return false, nil
	case ctx.Err() != nil:
		return false, fmt.Errorf("cannot check scripts: no answer within %s", a.cfg.Timings.Check)
	case !exited || !exit.Exited():
		return false, fmt.Errorf("cannot check scripts: %w", err)
	}
	said := strings.TrimSpace(out.String())
	if said == "" {
		return true, fmt.Errorf("%s ended with status %d and said nothing", strings.Join(l.Argv, " "), exit.ExitCode())
	}
	lines := strings.Split(said, "\n")
	if s, _ := diagnose(lines); s != nil && s.kind == faultDisk {
		return false, errors.New(strings.Join(lines, "\n"))
	}
	return true, errors.New(strings.Join(lines[max(0, len(lines)-10):], "\n"))
}

// endWhenThere calls end as soon as a file is there, and returns then, or when over is closed.
func endWhenThere(path string, over <-chan struct{}, end func()) {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		if _, err := os.Stat(path); err == nil {
			end()
			return
		}
		select {
		case <-over:
			return
		case <-look.C:
		}
	}
}

// heldByNodes are the addresses that the agent's own processes hold: whether they become free is the plan's affair.
func (a *Agent) heldByNodes() []string {
	var held []string
	for _, u := range a.allUnits() {
		if v, ok := u.current(); ok && v.PID != 0 {
			held = append(held, desired.ListensOf(func(field string) []string { return v.Parts[field] })...)
		}
	}
	return held
}

// overlap reports whether two addresses cannot be listened on at the same time: they have one port, and one
// host, or all of them.
func overlap(x, y string) bool {
	split := func(at string) (host, port string) {
		host, port, err := net.SplitHostPort(at)
		if err != nil {
			return at, ""
		}
		switch host {
		case "0.0.0.0", "::", "*":
			host = ""
		case "localhost":
			host = "127.0.0.1"
		}
		return host, port
	}
	xHost, xPort := split(x)
	yHost, yPort := split(y)
	return xPort == yPort && (xHost == yHost || xHost == "" || yHost == "")
}

func checkPort(ctx context.Context, at string, held []string) error {
	if _, _, err := net.SplitHostPort(at); err != nil {
		return nil // what is no address is for validate to say
	}
	if slices.ContainsFunc(held, func(h string) bool { return overlap(at, h) }) {
		return nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", at)
	if err == nil {
		return l.Close()
	}
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("another program listens on %s", at)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("cannot listen on %s: this machine has no such address", at)
	}
	return fmt.Errorf("cannot listen on %s: %w", at, err)
}
