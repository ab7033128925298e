package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/actuators/agent"
	"github.com/zeekrec/zeekrec/cmd/internal/api"
)

// Nodes is what can be had of the nodes on this machine beyond the agent's reports.
type Nodes struct {
	agent    *agent.Agent
	stateDir string
}

// OfflineNodes are the nodes of a state folder whose agent does not run.
func OfflineNodes(stateDir string) *Nodes { return &Nodes{stateDir: stateDir} }

// dir of a resource. The key is checked, since it may come from a person.
func (n *Nodes) dir(key string) (string, error) {
	cluster, name, ok := strings.Cut(key, "/")
	if !ok || !plainName(cluster) || !plainName(name) {
		return "", fmt.Errorf("%q is not the name of a node; it has the form CLUSTER/NODE", key)
	}
	return filepath.Join(n.stateDir, "clusters", cluster, "nodes", name), nil
}

func plainName(s string) bool {
	return s != "" && !strings.HasPrefix(s, ".") && !strings.ContainsAny(s, "/\\\x00")
}

// Logs copies the outputs of a node to w, and goes on with what is added where that is asked for, until
// ctx ends.
func (n *Nodes) Logs(ctx context.Context, key string, o api.LogOptions, w io.Writer) error {
	dir, err := n.dir(key)
	if err != nil {
		return err
	}
	if !isDir(dir) {
		return fmt.Errorf("cannot read the logs of %s: it was never started here", key)
	}
	l := &logWriter{w: w, options: o}
	return l.run(ctx, dir)
}

// offlineAgent can read records, and is never run.
func (n *Nodes) offlineAgent() (*agent.Agent, error) {
	if n.agent != nil {
		return n.agent, nil
	}
	if !isDir(n.stateDir) {
		return nil, errors.New("there is no state folder at " + n.stateDir)
	}
	return agent.New(agent.Config{StateDir: n.stateDir, Instance: "offline", Launcher: []string{"/bin/false"}, Now: time.Now})
}

// FindNode finds a node in a state folder by its name, which is CLUSTER/NODE, or NODE where only one
// cluster has it.
func FindNode(stateDir, raw string) (string, error) {
	cluster, name, ok := strings.Cut(raw, "/")
	if !ok {
		cluster, name = "*", raw
	} else if !plainName(cluster) {
		return "", fmt.Errorf("%q is not the name of a node", raw)
	}
	if !plainName(name) || strings.ContainsAny(raw, "*?[") {
		return "", fmt.Errorf("%q is not the name of a node", raw)
	}
	clusters, err := os.ReadDir(filepath.Join(stateDir, "clusters"))
	if err != nil {
		return "", fmt.Errorf("cannot find %s: zeekrec does not run, and there is no state in %s", raw, stateDir)
	}
	var fits []string
	for _, c := range clusters {
		if (cluster == "*" || cluster == c.Name()) && isDir(filepath.Join(stateDir, "clusters", c.Name(), "nodes", name)) {
			fits = append(fits, c.Name()+"/"+name)
		}
	}
	switch len(fits) {
	case 0:
		return "", fmt.Errorf("cannot find %s: no such node was ever started here", raw)
	case 1:
		return fits[0], nil
	}
	return "", fmt.Errorf("%s fits several nodes: %s", raw, strings.Join(fits, ", "))
}
