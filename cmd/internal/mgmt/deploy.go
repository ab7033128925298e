package mgmt

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// deploy makes the staged configuration the cluster's file and answers when it is known how that went.
func (c *Controller) deploy(ctx context.Context, q request) []Result {
	if other := c.begin(q.id); other != "" {
		return []Result{refusal("earlier deployment " + other + " still pending")} // compatibility string
	}
	defer c.end()
	config, err := c.store.staged()
	switch {
	case err != nil:
		return []Result{refusal(err.Error())}
	case config == nil:
		return []Result{refusal(errNothingToDo)}
	}
	began := time.Now()
	revision, err := c.write(ctx, config, q)
	if err != nil {
		c.Log.Warn("A configuration was not deployed", "id", config.ID, "peer", q.peer, "reason", err)
		return []Result{refusal(err.Error())}
	}
	if err := c.store.deploy(config, revision); err != nil {
		return []Result{refusal(err.Error())}
	}
	c.Log.Info("Deploying a configuration", "id", config.ID, "cluster", c.Cluster, "revision", revision, "peer", q.peer)
	if revision == "" {
		if err := c.gather(ctx, config); err != nil {
			return []Result{refusal(err.Error())}
		}
		return []Result{{Success: true, Data: String(config.ID)}}
	}
	o := c.await(ctx, revision, began)
	return append(c.outcomes(ctx, config, o, began), Result{Success: true, Data: String(config.ID)})
}

// begin notes that a deploy is under way, or returns the one that is.
func (c *Controller) begin(id string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deploying != "" {
		return c.deploying
	}
	if c.deploying = id; id == "" {
		c.deploying = "without an id"
	}
	return ""
}

func (c *Controller) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deploying = ""
}

// write puts the configuration into the cluster's file and returns the revision that it becomes; empty for a configuration
// without nodes, where there is no cluster to lose them.
func (c *Controller) write(ctx context.Context, config *Configuration, q request) (string, error) {
	d, err := c.Engine.Deployed(ctx, c.Cluster)
	if err != nil {
		return "", err
	}
	if len(config.Nodes) == 0 {
		if d != nil && len(d.Cluster.Nodes) > 0 {
			return "", c.emptied()
		}
		return "", nil
	}
	f, _, err := c.Target.Read(ctx)
	if err != nil {
		return "", err
	}
	text, problems := c.file(config, f) // again: the file's own sections may have changed
	if len(problems) > 0 {
		return "", errors.New(strings.Join(problems, "; "))
	}
	if err := c.Target.Write(text); err != nil {
		return "", err
	}
	if f, _, err = c.Target.Read(ctx); err != nil {
		return "", err
	}
	if err := c.Engine.Sync(ctx); err != nil {
		return "", err
	}
	revision := f.Revision()
	if d != nil && d.Revision == revision {
		// It was there already. To deploy it again means to try it again.
		if err := c.Engine.Retry(ctx, c.Cluster, q.peer); err != nil {
			return "", err
		}
	}
	return revision, nil
}

// gather has the agents of a configuration without nodes dialled that are to be, and waits until they are connected.
func (c *Controller) gather(ctx context.Context, config *Configuration) error {
	if !c.expect(config) {
		return nil
	}
	late := time.NewTimer(c.Timings.Expire)
	defer late.Stop()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		s, err := c.Engine.Status(ctx)
		if err != nil {
			return err
		}
		here := connected(s)
		if !slices.ContainsFunc(config.Instances, func(i desired.Instance) bool { return i.Port != 0 && !slices.Contains(here, i.Name) }) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-late.C:
			return errors.New(errTimedOut)
		case <-tick.C:
		}
	}
}

// outcome of a deploy.
type outcome struct {
	done bool
	// held is why the cluster as a whole is not at the revision: a guard, a suspension, a file that was not accepted.
	held string
	// failed is why the rollout did not get to its end.
	failed string
}

// lookEvery is the time between two looks of await.
const lookEvery = 100 * time.Millisecond

// await waits until it is known what became of a revision, within the time that a client waits.
func (c *Controller) await(ctx context.Context, revision string, began time.Time) outcome {
	late := time.NewTimer(c.Timings.Deploy)
	defer late.Stop()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var blocked time.Time // since when it waits for something
	last := ""
	for {
		if s, err := c.Engine.Status(ctx); err == nil {
			o, waits := judge(s, c.Cluster, revision, began)
			if o.done {
				return o
			}
			if waits == "" || waits != last {
				blocked, last = time.Now(), waits
			}
			if waits != "" && time.Since(blocked) >= c.Timings.Blocked {
				return outcome{done: true, failed: waits}
			}
		}
		select {
		case <-ctx.Done():
			return outcome{failed: "zeekrec ends, or the client is gone"}
		case <-late.C:
			if last == "" {
				last = fmt.Sprintf("it is still being rolled out after %s; see zeekrec status", c.Timings.Deploy)
			}
			return outcome{failed: last}
		case <-tick.C:
		}
	}
}

// judge says what has become of a revision of a cluster that was written at a time, and what its rollout waits for. It is pure.
func judge(s *engine.Status, cluster, revision string, began time.Time) (o outcome, waits string) {
	if s.Source.State == "error" && s.Source.Error != nil && s.Source.CheckedAt.After(began) {
		return outcome{done: true, held: *s.Source.Error}, ""
	}
	i := slices.IndexFunc(s.Clusters, func(c engine.ClusterStatus) bool { return c.Name == cluster })
	if i < 0 {
		return outcome{}, ""
	}
	c := &s.Clusters[i]
	last := c.Last != nil && c.Last.To == revision && !c.Last.At.Before(began)
	switch {
	case c.Since != nil && s.Source.CheckedAt.After(began):
		return outcome{done: true, held: c.Reason}, ""
	case c.Revision.Wanted != revision:
		return outcome{}, "" // it was not seen yet
	case c.Waiting == revision, c.Pinned != "" && c.Pinned != revision, c.Suspended:
		return outcome{done: true, held: c.Reason}, ""
	case c.Quarantined == revision && c.Rollout == nil:
		return outcome{done: true, failed: c.Reason}, ""
	case last && c.Last.Outcome == engine.Failed && c.Rollout == nil:
		return outcome{done: true, failed: c.Last.Reason}, ""
	case c.Rollout != nil:
		return outcome{}, c.Rollout.Waiting
	case c.Synced && c.Healthy:
		return outcome{done: true}, ""
	case c.Synced && settled(c):
		return outcome{done: true, failed: c.Reason}, ""
	case !c.Synced:
		return outcome{}, c.Reason
	}
	return outcome{}, ""
}

// settled reports whether no node is on its way to anything.
func settled(c *engine.ClusterStatus) bool {
	return !slices.ContainsFunc(c.Resources, func(r engine.ResourceStatus) bool {
		return !r.Healthy && r.State != observed.Failed && r.State != observed.Crashed && r.State != observed.Stopped
	})
}

// outcomes are the results of all nodes. Where one is not up as it should be, its instance reports a timeout, as in the framework, and
// the node has the reason among its outputs.
func (c *Controller) outcomes(ctx context.Context, config *Configuration, o outcome, began time.Time) []Result {
	var out []Result
	if o.held != "" {
		out = append(out, refusal(o.held))
	}
	s, err := c.Engine.Status(ctx)
	if err != nil {
		return append(out, refusal(err.Error()))
	}
	d, err := c.Engine.Deployed(ctx, c.Cluster)
	if err != nil {
		return append(out, refusal(err.Error()))
	}
	seen := map[string]engine.ResourceStatus{}
	for _, r := range c.resources(s) {
		seen[r.Name] = r
	}
	failing := map[string]bool{}
	for i := range config.Nodes {
		n := &config.Nodes[i]
		r, known := seen[n.Name]
		pending := "it is not known to run"
		if d != nil && known {
			pending = d.Pending[n.Name]
		}
		result := Result{Success: pending == "" && r.State == observed.Running && (r.Healthy || o == outcome{done: true}), Instance: n.Instance, Node: n.Name}
		if !result.Success {
			failing[n.Instance] = true
			result.Data = c.outputs(ctx, n, &r, o, began)
		}
		out = append(out, result)
	}
	if o.held == "" {
		for _, i := range config.Instances {
			if failing[i.Name] {
				out = append(out, Result{Instance: i.Name, Error: errTimedOut})
			}
		}
	}
	return out
}

// zeeksWords are what Zeek and its parser begin an error with.
var zeeksWords = regexp.MustCompile(`(?:^|: )((?:fatal error|internal error|error in [^\n]+, lines? [0-9]+).*)$`)

// zeeksFirst takes out of reasons what Zeek itself has said: that is what the framework's controller shows, and people look for. The reasons
// are whole, but for lines that are Zeek's alone.
func zeeksFirst(reasons []string) (said, rest []string) {
	for _, reason := range reasons {
		var ours []string
		for line := range strings.SplitSeq(reason, "\n") {
			m := zeeksWords.FindStringSubmatchIndex(line)
			if m == nil || m[0] > 0 {
				ours = append(ours, line)
			}
			if m != nil && !slices.Contains(said, line[m[2]:]) {
				said = append(said, line[m[2]:])
			}
		}
		if len(ours) > 0 {
			rest = append(rest, strings.Join(ours, "\n"))
		}
	}
	return said, rest
}

// outputs are what a node that is not up has written since the deploy began. Unless it ended, which its stderr explains, they end with
// why it is not up.
func (c *Controller) outputs(ctx context.Context, n *desired.Node, r *engine.ResourceStatus, o outcome, began time.Time) Value {
	stdout, stderr := c.Nodes.Outputs(ctx, c.Cluster+"/"+n.Name, began)
	stdout, stderr = withoutMarks(stdout), withoutMarks(stderr)
	if ended := r.State == observed.Failed || r.State == observed.Crashed; !ended || strings.TrimSpace(stderr) == "" {
		var reasons []string
		for _, why := range []string{r.Reason, o.failed, o.held} {
			if why != "" && !slices.Contains(reasons, why) {
				reasons = append(reasons, why)
			}
		}
		said, reasons := zeeksFirst(reasons)
		stderr = strings.Join(slices.Concat([]string{stderr}, said, reasons), "\n")
	}
	return Vector{String(strings.TrimSpace(stdout)), String(strings.TrimSpace(stderr))}
}
