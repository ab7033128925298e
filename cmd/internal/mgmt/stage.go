package mgmt

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/clustercfg"
)

// stage validates a configuration and keeps it. All errors are answered, sorted.
func (c *Controller) stage(ctx context.Context, q request, config *Configuration) []Result {
	if problems := c.problems(ctx, config); len(problems) > 0 {
		var out []Result
		for _, p := range problems {
			out = append(out, refusal(p))
		}
		return out
	}
	if err := c.store.stage(config); err != nil {
		c.Log.Error("Cannot stage a configuration", "peer", q.peer, "error", err)
		return []Result{refusal(err.Error())}
	}
	c.Log.Info("Staged a configuration", "id", config.ID, "nodes", len(config.Nodes), "peer", q.peer)
	return []Result{{Success: true, Data: String(config.ID)}}
}

// problems are what is wrong with a configuration: what the framework's controller checks, with its texts, and what keeps it from
// being a cluster.cfg that zeekrec runs. One without nodes is valid.
func (c *Controller) problems(ctx context.Context, config *Configuration) []string {
	if len(config.Nodes) == 0 {
		return nil
	}
	cluster := config.cluster(c.Cluster)
	out := errorTexts(clustercfg.Validate(cluster))
	for i := range cluster.Nodes {
		if n := &cluster.Nodes[i]; n.Instance == "" {
			out = append(out, fmt.Sprintf("node '%s' has undeclared instance name ''", n.Name))
		}
	}
	if len(out) == 0 {
		f, _, err := c.Target.Read(ctx)
		if err != nil {
			return []string{err.Error()}
		}
		_, out = c.file(config, f)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func errorTexts(ds []desired.Diagnostic) []string {
	var out []string
	for _, d := range ds {
		if d.Severity == desired.Error {
			out = append(out, d.Message)
		}
	}
	return out
}

// cluster of a configuration, before anything is assigned.
func (c *Configuration) cluster(name string) *desired.Cluster {
	return &desired.Cluster{Name: name, File: name + ".cfg", Instances: c.Instances, Nodes: c.Nodes}
}

// heading of the files that deploys write.
const heading = "# Written by a deploy through the management API, which keeps the [zeekrec] sections and replaces all else.\n\n"

// file makes the cluster.cfg of a configuration, with zeekrec's own sections of the present one. What is returned says the same
// as the configuration when it is read; where nothing can, the problems say why.
func (c *Controller) file(config *Configuration, present desired.ClusterFile) ([]byte, []string) {
	text := []byte(heading)
	text = append(text, clustercfg.OwnText(present.Data)...)
	text = append(text, clustercfg.ConfigINI(config.cluster(c.Cluster))...)
	text = append(bytes.TrimRight(text, "\n"), '\n')
	present.Name, present.File, present.Data = c.Cluster, c.Cluster+".cfg", text
	read, ds := c.Parse(present, c.Instance)
	if problems := errorTexts(ds); len(problems) > 0 || read == nil {
		return nil, problems
	}
	if what := differs(config, read); what != "" {
		return nil, []string{"cannot be written as a cluster.cfg: " + what}
	}
	return text, nil
}

// differs says where a cluster that was read is not the configuration that was written; empty: it is.
func differs(config *Configuration, read *desired.Cluster) string {
	have := map[string]desired.Instance{}
	for _, i := range read.Instances {
		have[i.Name] = i
	}
	for _, i := range config.Instances {
		if got, ok := have[i.Name]; !ok || got.Port != i.Port || i.Port != 0 && got.Host != i.Host {
			return fmt.Sprintf("instance %q", i.Name)
		}
	}
	if len(have) != len(config.Instances) {
		return "its instances"
	}
	nodes := nodeNames(read)
	if len(nodes) != len(config.Nodes) {
		return "its nodes"
	}
	for i := range config.Nodes {
		n := &config.Nodes[i]
		got := nodes[n.Name]
		switch {
		case got == nil:
			return fmt.Sprintf("the name %q of a node", n.Name)
		case got.Instance != n.Instance, got.Role != n.Role, got.Port != n.Port, got.MetricsPort != n.MetricsPort:
			return fmt.Sprintf("instance, role or ports of node %q", n.Name)
		case got.Interface != n.Interface:
			return fmt.Sprintf("the interface of node %q", n.Name)
		case !slices.Equal(slices.Sorted(slices.Values(got.Scripts)), slices.Sorted(slices.Values(n.Scripts))):
			return fmt.Sprintf("the scripts of node %q", n.Name)
		case !maps.Equal(got.Env, n.Env):
			return fmt.Sprintf("env of node %q", n.Name)
		case (got.CPUAffinity == nil) != (n.CPUAffinity == nil) || n.CPUAffinity != nil && *got.CPUAffinity != *n.CPUAffinity:
			return fmt.Sprintf("cpu_affinity of node %q", n.Name)
		}
	}
	return ""
}

// withoutMarks drops the lines that zeekrec itself adds to outputs at each start.
func withoutMarks(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		if !strings.HasPrefix(line, "# ") {
			out = append(out, strings.TrimRight(line, "\n"))
		}
	}
	return strings.Join(out, "\n")
}
