package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of --check.
const (
	heardWithin   = 10.0  // seconds
	changedWithin = 2.0   // seconds, until the changed worker runs
	cpuBelow      = 20.0  // percent of a core
	memoryBelow   = 300.0 // MiB
)

// figuresAre begins the line with a controller's figures.
const figuresAre = "figures "

// options of all processes.
type options struct {
	role      string
	dir       string
	port      int
	url       string
	shape     shape
	first     bool
	versions  map[int]int // of clusters that were changed, in the life before too
	steadyFor time.Duration
	settle    time.Duration // before that
	pprof     string
}

func main() {
	if err := bench(); err != nil {
		fmt.Fprintln(os.Stderr, "fleetbench:", err)
		os.Exit(1)
	}
}

func bench() error {
	o := options{versions: map[int]int{}}
	check := flag.Bool("check", false, "end with an error where a figure is beyond its bound")
	flag.StringVar(&o.role, "role", "", "of a process that fleetbench itself starts")
	flag.StringVar(&o.dir, "dir", "", "the `DIR` to work in (default: a temporary one)")
	flag.IntVar(&o.port, "port", 0, "the controller's `PORT` (default: a free one)")
	flag.IntVar(&o.shape.clusters, "clusters", 100, "how many clusters")
	flag.IntVar(&o.shape.hosts, "hosts", 10, "how many hosts each has, with an agent each")
	flag.IntVar(&o.shape.nodes, "nodes", 50, "how many nodes a host has")
	flag.BoolVar(&o.first, "first", false, "of the controller's first life")
	flag.DurationVar(&o.steadyFor, "steady", 30*time.Second, "how long to measure while nothing happens")
	flag.DurationVar(&o.settle, "settle", 10*time.Second, "how long to wait before that")
	flag.StringVar(&o.pprof, "pprof", "", "the `ADDRESS` of the controller's profiles")
	flag.Parse()
	o.url = fmt.Sprintf("tls://127.0.0.1:%d", o.port)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	switch o.role {
	case "controller":
		if !o.first {
			for i := range changes { // as the life before left them
				o.versions[(i*7+3)%o.shape.clusters]++
			}
		}
		return runController(ctx, o)
	case "agents":
		return runAgents(ctx, o)
	}
	return orchestrate(ctx, o, *check)
}

// orchestrate starts the processes.
func orchestrate(ctx context.Context, o options, check bool) error {
	base := o.dir
	dir, err := os.MkdirTemp(base, "fleetbench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	o.dir = dir
	if err := makeCertificates(dir, o.shape.names()); err != nil {
		return err
	}
	if o.port == 0 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		o.port = l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			return err
		}
	}
	fmt.Printf("%d agents with %d nodes each, in %d clusters: %d nodes\n", o.shape.agents(), o.shape.nodes, o.shape.clusters, o.shape.agents()*o.shape.nodes)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var agents *exec.Cmd
	first, err := o.life(ctx, "-first", func() error {
		agents = o.process(ctx, "agents")
		agents.Stdout = os.Stdout
		return agents.Start()
	})
	if agents != nil {
		defer func() { cancel(); _ = agents.Wait() }()
	}
	if err != nil {
		return err
	}
	fmt.Println("controller: is killed, and begins again")
	second, err := o.life(ctx, "", func() error { return nil })
	if err != nil {
		return err
	}
	return report(first, second, check)
}

// process is one of the bench's own.
func (o options) process(ctx context.Context, role string, more ...string) *exec.Cmd {
	args := []string{
		"-role", role, "-dir", o.dir, "-port", fmt.Sprint(o.port), "-clusters", fmt.Sprint(o.shape.clusters), "-hosts", fmt.Sprint(o.shape.hosts),
		"-nodes", fmt.Sprint(o.shape.nodes), "-steady", o.steadyFor.String(), "-settle", o.settle.String(),
	}
	if o.pprof != "" && role == "controller" {
		args = append(args, "-pprof", o.pprof)
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", append(args, more...)...)
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// life runs the controller until it has measured, and ends it by KILL. listens is called when it can be connected to.
func (o options) life(ctx context.Context, flag string, listens func() error) (f figures, err error) {
	var more []string
	if flag != "" {
		more = []string{flag}
	}
	cmd := o.process(ctx, "controller", more...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return f, err
	}
	if err := cmd.Start(); err != nil {
		return f, err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		l := lines.Text()
		if rest, ok := strings.CutPrefix(l, figuresAre); ok {
			return f, json.Unmarshal([]byte(rest), &f)
		}
		fmt.Println(l)
		if l == "controller: listens" {
			if err := listens(); err != nil {
				return f, err
			}
		}
	}
	return f, errors.Join(errors.New("the controller has ended before it had measured"), lines.Err())
}

// report prints the figures, and judges them.
func report(first, second figures, check bool) error {
	var missed []string
	row := func(what string, got, bound float64, unit string) {
		verdict := ""
		if bound > 0 {
			verdict = fmt.Sprintf("  (bound: %g)", bound)
			if got >= bound {
				verdict += "  MISSED"
				missed = append(missed, what)
			}
		}
		fmt.Printf("  %-52s %8.2f %s%s\n", what, got, unit, verdict)
	}
	worst := func(f figures, of func(change) float64) (w float64) {
		for _, c := range f.Changes {
			w = max(w, of(c))
		}
		return w
	}
	for i, f := range []figures{first, second} {
		fmt.Printf("\n%s\n", []string{"first life: everything is started", "second life: everything runs"}[i])
		row("all agents heard", f.Heard, heardWithin, "s")
		row("CPU time for that", f.HeardCPU, 0, "s")
		if i == 0 {
			row("everything started", f.Settled, 0, "s")
			row("CPU time for that", f.StartCPU, 0, "s")
			row("memory at most until then", f.StartPeak, 0, "MiB")
		}
		row("a changed worker runs, worst of 5", worst(f, func(c change) float64 { return c.Runs }), changedWithin, "s")
		row("CPU time for that", worst(f, func(c change) float64 { return c.CPU }), 0, "s")
		row("its rollout has ended (stable for 2 s), worst of 5", worst(f, func(c change) float64 { return c.Ends }), 0, "s")
		row(fmt.Sprintf("CPU over %.0f s without changes", f.Steady), f.CPU, cpuBelow, "% of a core")
		row("resident memory then", f.RSS, memoryBelow, "MiB")
		row("resident memory at most, of this life", f.Peak, 0, "MiB")
		row("journal", f.Journal, 0, "MiB")
		row("processes disturbed that were not changed", float64(f.Disturbed), 0, "")
		if f.Disturbed != 0 {
			missed = append(missed, "processes disturbed")
		}
	}
	if check && len(missed) > 0 {
		return fmt.Errorf("missed: %s", strings.Join(missed, ", "))
	}
	return nil
}
