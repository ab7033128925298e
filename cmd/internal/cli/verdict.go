package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// verdict is how far an apply has come, in words about each cluster.
type verdict struct {
	failed  []string // will not come right by itself
	held    []string // waits for a person
	pending []string // under way
}

func (v *verdict) decided() bool { return len(v.pending) == 0 }

// judge reads a status: which clusters are as they should be, which never will be, and which are on their
// way. Only cluster counts where it is not empty; removal says that it may be gone. The source has to have been looked at since the one time;
// failures of rollouts count since the other.
func judge(s *engine.Status, cluster string, removal bool, looked, began time.Time) verdict {
	var v verdict
	if s.Source.CheckedAt.IsZero() || s.Source.CheckedAt.Before(looked) {
		v.pending = append(v.pending, "the source has not been looked at yet")
		return v
	}
	switch s.Source.State {
	case "error":
		v.failed = append(v.failed, *s.Source.Error)
	case "held":
		v.held = append(v.held, *s.Source.Error)
	}
	if s.Journal != "" {
		v.failed = append(v.failed, s.Journal)
	}
	found := false
	for i := range s.Clusters {
		c := &s.Clusters[i]
		if cluster != "" && c.Name != cluster || c.Revision.Wanted == "" && c.Since == nil {
			continue // not asked for, or a stranger
		}
		found = true
		v.judge(c, began)
	}
	if cluster != "" && !found && !removal && s.Source.State != "error" {
		v.failed = append(v.failed, "there is no cluster "+cluster)
	}
	return v
}

func (v *verdict) judge(c *engine.ClusterStatus, began time.Time) {
	say := func(to *[]string, format string, args ...any) {
		*to = append(*to, c.Name+": "+fmt.Sprintf(format, args...))
	}
	l := c.Last
	switch {
	case c.Since != nil:
		say(&v.failed, "%s", c.Reason)
	case c.Rollout != nil && c.Rollout.Waiting == "":
		say(&v.pending, "%s", c.Reason)
	case c.Waiting != "", c.Pinned != "" && !c.Synced, c.Suspended && !c.Synced:
		say(&v.held, "%s", c.Reason)
	case c.Quarantined != "":
		say(&v.failed, "%s", c.Reason)
	case l != nil && l.At.After(began) && (l.Outcome == engine.Failed || l.Outcome == engine.RolledBack):
		say(&v.failed, "the rollout of %s ended as %s: %s", l.To, l.Outcome, l.Reason)
	case c.Synced && c.Healthy:
	default:
		for _, r := range c.Resources {
			if c.Synced && r.State == observed.Failed {
				say(&v.failed, "%s is %s: %s", r.Name, r.State, r.Reason)
				return
			}
		}
		say(&v.pending, "%s", waitsFor(c))
	}
}

// waitsFor says what a cluster is still waiting for.
func waitsFor(c *engine.ClusterStatus) string {
	if c.Reason != "" {
		return c.Reason
	}
	for _, r := range c.Resources {
		if !r.Healthy {
			return strings.TrimSuffix(fmt.Sprintf("%s is %s: %s", r.Name, r.State, r.Reason), ": ")
		}
	}
	return "not converged yet"
}

// summary is the result of an apply: a line for each cluster.
func summary(s *engine.Status, only string) string {
	var b strings.Builder
	for i := range s.Clusters {
		c := &s.Clusters[i]
		if only != "" && c.Name != only || c.Revision.Wanted == "" {
			continue
		}
		healthy, all := 0, 0
		for _, r := range c.Resources {
			if r.Type != string(desired.TypeNode) {
				continue
			}
			all++
			if r.Healthy {
				healthy++
			}
		}
		rev := c.Revision.Running
		if rev == "" {
			rev = "none"
		}
		fmt.Fprintf(&b, "%s: revision %s runs, %d of %d nodes healthy\n", c.Name, rev, healthy, all)
	}
	switch {
	case b.Len() == 0 && only != "":
		return only + ": removed, nothing of it runs\n"
	case b.Len() == 0:
		return "no clusters\n"
	}
	return b.String()
}

// statusFunc asks for the status, here or over the socket.
type statusFunc func(context.Context) (*engine.Status, error)

// waitStatus asks again and again until done is satisfied; ctx bounds it.
func waitStatus(ctx context.Context, status statusFunc, done func(*engine.Status) bool) (*engine.Status, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := status(ctx)
		if err != nil {
			return nil, err
		}
		if done(s) {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
}
