package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/cmd/internal/render"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

func (a *app) statusCommand() *cobra.Command {
	var asJSON, watch bool
	var every time.Duration
	c := &cobra.Command{
		Use:   "status [CLUSTER…]",
		Short: "Show clusters, revisions and nodes",
		Long: `Show the source, the agents, and each cluster with its nodes: which revision is wanted
and which one runs, the state of each node with its reason, and how old that is.`,
		Example: `  zeekrec status
  zeekrec status --watch
  zeekrec status --json | jq '.clusters[].healthy'`,
		ValidArgsFunction: a.completeClusters,
		RunE: a.action(func(ctx context.Context, args []string) error {
			if watch {
				return a.watchStatus(ctx, args, asJSON, every)
			}
			return a.status(ctx, args, asJSON)
		}),
	}
	jsonFlag(c, &asJSON)
	c.Flags().BoolVarP(&watch, "watch", "w", false, "keep it on the screen, until interrupted")
	c.Flags().DurationVar(&every, "interval", time.Second, "with --watch: how often to look")
	return c
}

func (a *app) status(ctx context.Context, clusters []string, asJSON bool) error {
	s, err := a.client().Status(ctx)
	if err != nil {
		return err
	}
	if err := only(s, clusters); err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(s)
	}
	return a.print(render.Status(s, a.rendering()))
}

// only leaves the named clusters in a status; none named: all.
func only(s *engine.Status, names []string) error {
	if len(names) == 0 {
		return nil
	}
	byName := map[string]engine.ClusterStatus{}
	for _, c := range s.Clusters {
		byName[c.Name] = c
	}
	s.Clusters = s.Clusters[:0]
	for _, n := range names {
		c, ok := byName[n]
		if !ok {
			return errors.New("there is no cluster " + n)
		}
		s.Clusters = append(s.Clusters, c)
	}
	return nil
}

// watchStatus shows the status again and again; on a terminal in place, else one after the other. That
// zeekrec cannot be reached for a while is shown and does not end it.
func (a *app) watchStatus(ctx context.Context, clusters []string, asJSON bool, every time.Duration) error {
	every = max(every, 100*time.Millisecond)
	tick := time.NewTicker(every)
	defer tick.Stop()
	c, screen := a.client(), isTerminal(a.stdout) && !asJSON
	for {
		s, err := c.Status(ctx)
		if err == nil {
			err = only(s, clusters)
		}
		if ctx.Err() != nil {
			return nil // interrupted: that is how it ends
		}
		var text string
		switch {
		case err != nil && (!screen || !unreachable(err)):
			return err
		case err != nil:
			text = err.Error() + "\n"
		case asJSON:
			if err := a.printJSON(s); err != nil {
				return err
			}
		default:
			text = render.Status(s, a.rendering())
		}
		if screen {
			text = "\x1b[H" + strings.ReplaceAll(text, "\n", "\x1b[K\n") + "\x1b[J"
		} else if !asJSON {
			text += "\n"
		}
		if err := a.print(text); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
