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
// disk. Scripts that a kind of node could parse are parsed again when a file has changed that they may come from. The problems are
// sorted; the error is ctx's.
func (a *Agent) Check(ctx context.Context, rs []desired.Resource) ([]observed.Problem, error) {
	var problems []observed.Problem
	add := func(key string, permanent bool, err error) {
		if err != nil {
			problems = append(problems, observed.Problem{Resource: key, Permanent: permanent, Message: err.Error()})
		}
	}
	l, held := listLinks(a.cfg.Interfaces), a.heldByNodes()
	room := roomFor(a.cfg.StateDir, diskNeeded)
	type group struct {
		first string // the key of its first resource
		cmds  []launch.Launch
		tree  *tree // what the scripts are read from; nil where that is not known
	}
	groups := map[string]*group{}
	looked := imprints{}
	refusals := map[string]string{} // of interfaces, in Zeek's own words
	for i := range rs {
		r := &rs[i]
		if !known(r) {
			continue
		}
		add(r.Key(), true, errors.Join(checkName("cluster", r.Cluster), checkName("resource", r.Name)))
		add(r.Key(), false, room)
		broken := -1 // the problem that the interface is
		if r.Node != nil {
			if text := l.trouble(device(r.Node.Interface)); text != "" {
				broken = len(problems)
				add(r.Key(), false, errors.New(text))
			}
		}
		_, err := a.keysOf(r.Cluster, curveIDs(r))
		add(r.Key(), false, err)
		for _, at := range r.Listens() {
			add(r.Key(), false, checkPort(ctx, at, held))
		}
		become, err := process.LookupUser(a.userOf(r))
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
		if broken >= 0 {
			said, asked := refusals[r.Node.Interface]
			if !asked {
				said = a.refusal(ctx, cmd, r.Node.Interface)
				refusals[r.Node.Interface] = said
			}
			problems[broken].Message = strings.TrimRight(problems[broken].Message+"\n"+said, "\n")
		}
		cmd = cmd.Check()
		sort := fmt.Sprintf("%s\x00%s\x00%d %s\x00%s\x00%s", r.Cluster, r.Role, program.Size, program.ModTime, cmd.User, commandLine(cmd))
		g := groups[sort]
		if g == nil {
			g = &group{first: r.Key(), tree: looked.of(cmd, facts.Plugins)}
			if g.tree != nil && a.parsed.holds(sort, g.tree.imprint) {
				continue
			}
			groups[sort] = g
		}
		g.cmds = append(g.cmds, cmd)
	}

	var mu sync.Mutex
	var todo errgroup.Group
	todo.SetLimit(checksAtOnce)
	for sort, g := range groups {
		todo.Go(func() error {
			permanent, began := false, time.Now()
			run, err := a.runApart(ctx, g.cmds[0], "", nil)
			if err == nil {
				permanent, err = run.verdict(g.cmds[0])
			}
			if err == nil && g.tree != nil && g.tree.imprint.settled(began) {
				if why := g.tree.stays(); why == nil {
					a.parsed.add(sort, g.tree.imprint)
				} else {
					a.log.Debug("scripts are parsed before each start", "resource", g.first, "why", why)
				}
			}
			if n := len(g.cmds) - 1; err != nil && n > 0 {
				err = fmt.Errorf("%w\n(and %d more like it)", err, n)
			}
			mu.Lock()
			defer mu.Unlock()
			add(g.first, permanent, err)
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
		// A node's own port for metrics and what is in its folder are the lines that differ from node to node, and a number.
		var own []string
		for line := range strings.Lines(l.Files[n]) {
			if name, _, ok := strings.Cut(line, " AF_Packet::fanout_id = "); ok {
				line = name + " AF_Packet::fanout_id\n"
			}
			if !strings.Contains(line, "Telemetry::metrics_port") && !strings.Contains(line, nodeDir+"/") {
				own = append(own, line)
			}
		}
		parts = append(parts, n, strings.Join(own, ""))
	}
	return strings.Join(parts, "\x00")
}

// Loads asks Zeek itself which scripts of NAME/ each resource would load, by its key: names within NAME/, sorted. Their files are on
// disk (PutFiles). It runs one program for each distinct command line, or with each for each resource, beside the nodes, and disturbs nothing. Who is missing in the
// answer could not be asked: its scripts do not parse, for one.
func (a *Agent) Loads(ctx context.Context, rs []desired.Resource, each bool) (map[string][]string, error) {
	groups, keys := map[string]launch.Launch{}, map[string][]string{}
	for i := range rs {
		r := &rs[i]
		if r.Node == nil || r.Node.Files == "" || checkName("cluster", r.Cluster) != nil || checkName("resource", r.Name) != nil {
			continue
		}
		facts, _, err := a.program(ctx, r)
		if err != nil {
			continue
		}
		cmd, err := launch.Render(r, a.place(a.folder(r.Cluster, r.Name), facts))
		if err != nil {
			continue
		}
		sort := r.Cluster + "\x00" + string(r.Role) + "\x00" + r.Node.Files + "\x00" + commandLine(cmd.Check())
		if each {
			sort += "\x00" + r.Name
		}
		groups[sort] = cmd
		keys[sort] = append(keys[sort], r.Key())
	}
	out := map[string][]string{}
	var mu sync.Mutex
	var todo errgroup.Group
	todo.SetLimit(checksAtOnce)
	for sort, cmd := range groups {
		todo.Go(func() error {
			cluster, _, _ := strings.Cut(sort, "\x00")
			hash := strings.Split(sort, "\x00")[2]
			names, err := a.loads(ctx, cmd, filepath.Join(a.clusterDir(cluster), "files", hash))
			if err != nil {
				a.log.Debug("cannot tell which scripts are loaded", "resource", keys[sort][0], "error", err)
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			for _, k := range keys[sort] {
				out[k] = names
			}
			return nil
		})
	}
	_ = todo.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("cannot tell which scripts are loaded: %w", context.Cause(ctx))
	}
	return out, nil
}

// loads runs one of these. The answer counts only where it is whole: the script that names them names itself last.
func (a *Agent) loads(ctx context.Context, l launch.Launch, files string) ([]string, error) {
	run, err := a.runApart(ctx, l, "", func(dir string) (launch.Launch, error) {
		script := filepath.Join(dir, "zeekrec-loads.zeek")
		return l.Loads(script), os.WriteFile(script, []byte(launch.LoadsScript()), 0o644)
	})
	if err != nil {
		return nil, err
	}
	if run.exit != nil {
		return nil, fmt.Errorf("status %d: %s", run.exit.ExitCode(), run.said)
	}
	real, err := filepath.EvalSymlinks(files)
	if err != nil {
		return nil, err
	}
	var names []string
	whole := false
	for line := range strings.Lines(run.said) {
		at, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), launch.LoadsMark)
		if !ok {
			continue
		}
		whole = at == filepath.Join(run.dir, "zeekrec-loads.zeek")
		for _, root := range []string{files, real} {
			if rel, err := filepath.Rel(root, at); err == nil && filepath.IsLocal(rel) {
				names = append(names, filepath.ToSlash(rel))
				break
			}
		}
	}
	if !whole {
		return nil, errors.New("it did not come to the end of its list")
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// ran is what a run beside the nodes has left.
type ran struct {
	dir     string // where it ran; gone by now
	said    string
	product []byte          // the content of the file that was asked for
	exit    *exec.ExitError // nil where it ended with 0, or has left its product
}

// refuses is how long a Zeek that loads nothing takes to refuse an interface: a second, and more on a busy machine.
const refuses = 10 * time.Second

// refusal is what Zeek itself says to an interface that cannot be captured on; empty where it says nothing of the kind. People know these
// words, and look for them.
func (a *Agent) refusal(ctx context.Context, l launch.Launch, iface string) string {
	ctx, cancel := context.WithTimeoutCause(ctx, refuses, errors.New("it does not refuse the interface"))
	defer cancel()
	run, err := a.runApart(ctx, l.Opens(iface), "", nil)
	if err != nil {
		a.log.Debug("cannot ask Zeek about an interface", "interface", iface, "error", err)
		return ""
	}
	for line := range strings.Lines(run.said) {
		if strings.HasPrefix(line, "fatal error: problem with interface") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// verdict is why a run that parsed scripts has failed. The problem is permanent where the parser has spoken.
func (r *ran) verdict(l launch.Launch) (permanent bool, err error) {
	if r.exit == nil {
		return false, nil
	}
	if r.said == "" {
		return true, fmt.Errorf("%s ended with status %d and said nothing", strings.Join(l.Argv, " "), r.exit.ExitCode())
	}
	lines := strings.Split(r.said, "\n")
	if s, _ := diagnose(lines); s != nil && s.kind == faultDisk {
		return false, errors.New(strings.Join(lines, "\n"))
	}
	return true, errors.New(strings.Join(lines[max(0, len(lines)-10):], "\n"))
}

// runApart runs a launch that opens nothing beside the nodes, as the user of the node and in a folder of its own. Where product is the
// name of a file, the run is over when that is there: the process is not waited for, since the end of a Zeek may take its time. prepare,
// where it is not nil, puts files into the folder, and returns the launch for there.
func (a *Agent) runApart(ctx context.Context, l launch.Launch, product string, prepare func(dir string) (launch.Launch, error)) (r ran, err error) {
	if err := a.putGenerated(ctx, l); err != nil {
		return r, err
	}
	if r.dir, err = os.MkdirTemp("", "zeekrec-check-"); err != nil {
		return r, fmt.Errorf("cannot check scripts: %w", err)
	}
	defer func() { _ = os.RemoveAll(r.dir) }()
	become, err := process.LookupUser(l.User)
	if err != nil {
		return r, err
	}
	if prepare != nil {
		if l, err = prepare(r.dir); err != nil {
			return r, fmt.Errorf("cannot check scripts: %w", err)
		}
	}
	if err := handOver(r.dir, l.User); err != nil {
		return r, fmt.Errorf("cannot check scripts: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timings.Check)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.Argv[0], l.Argv[1:]...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = l.Env, r.dir, time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: become}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	made := filepath.Join(r.dir, product)
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
			r.product = b
			return r, nil
		}
	}
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil && product != "":
		return r, fmt.Errorf("cannot check scripts: the check has left no %s", product)
	case err == nil:
	case ctx.Err() != nil:
		return r, fmt.Errorf("cannot check scripts: no answer within %s", a.cfg.Timings.Check)
	case !exited || !exit.Exited():
		return r, fmt.Errorf("cannot check scripts: %w", err)
	default:
		r.exit = exit
	}
	r.said = strings.TrimSpace(out.String())
	return r, nil
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
			held = append(held, desired.ListensOf(func(field string) []string { return v.Parts.Get(field) })...)
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
