package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
)

// zeekProcess is a Zeek that runs on this machine.
type zeekProcess struct {
	pid  int
	args []string
	node string // as it calls itself; empty where it cannot be seen
	ours bool   // zeekrec started it, with the state folder that is in use
}

// zeeksRunning finds the Zeeks of this machine.
func zeeksRunning(stateDir string) []zeekProcess {
	var out []zeekProcess
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || len(b) == 0 {
			continue // gone, or a thread of the kernel
		}
		env, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ")) // another user's cannot be read
		if p, ok := zeekOf(pid, split0(b), split0(env), stateDir); ok {
			out = append(out, p)
		}
	}
	return out
}

func split0(b []byte) []string { return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00") }

// zeekOf says whether a process is a Zeek, and which node it is: by CLUSTER_NODE, or by the last of zeekctl's prefixes (-p).
func zeekOf(pid int, args, env []string, stateDir string) (zeekProcess, bool) {
	if name := filepath.Base(args[0]); name != "zeek" && name != "bro" {
		return zeekProcess{}, false
	}
	p := zeekProcess{pid: pid, args: args}
	for i := 1; i < len(args)-1; i++ {
		switch args[i] {
		case "-p":
			p.node = args[i+1]
		case "-U":
			p.ours = stateDir != "" && strings.HasPrefix(args[i+1], stateDir+"/clusters/")
		}
	}
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "CLUSTER_NODE="); ok {
			p.node = v
		}
	}
	return p, true
}

// adoption says what would become of the processes that run when a cluster is given to zeekrec. It is pure.
func adoption(c *desired.Cluster, ps []zeekProcess) string {
	var restarts, alone []string
	seen := map[string]bool{}
	for _, p := range ps {
		where := fmt.Sprintf("pid %d", p.pid)
		known := slices.ContainsFunc(c.Nodes, func(n desired.Node) bool { return n.Name == p.node })
		switch {
		case p.ours:
			alone = append(alone, fmt.Sprintf("%s (%s): zeekrec started it", p.node, where))
		case known:
			restarts = append(restarts, fmt.Sprintf("%s (%s): another manager started it: it holds no lock of zeekrec's, reads another layout, and nobody could tell how it ended", p.node, where))
			seen[p.node] = true
		default:
			alone = append(alone, fmt.Sprintf("%s: no node of this configuration: %s", where, strings.Join(p.args, " ")))
		}
	}
	var starts []string
	for i := range c.Nodes {
		if n := &c.Nodes[i]; !seen[n.Name] {
			starts = append(starts, n.Name+": it does not run here now")
		}
	}
	var b strings.Builder
	list := func(title string, lines []string) {
		if len(lines) > 0 {
			fmt.Fprintf(&b, "%s:\n  %s\n", title, strings.Join(lines, "\n  "))
		}
	}
	b.WriteString("To hand this cluster over to zeekrec:\n")
	list("Restarted", restarts)
	list("Started", starts)
	list("Left alone", alone)
	if len(restarts) > 0 {
		b.WriteString("Steps: stop them where they were started (zeekctl stop, and its cron entry; or systemctl disable --now zeek.target), " +
			"then zeekrec run. Ports stay the same, so both cannot run at a time.\n")
	}
	return b.String()
}
