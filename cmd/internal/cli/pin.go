package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
)

func (a *app) rollbackCommand() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "rollback CLUSTER@REVISION",
		Short: "Go back to an older revision, and stay there",
		Long: `Roll a cluster back to a revision that was accepted before, and stay there, whatever the
source says, until zeekrec unpin. The beginning of a revision's name is enough.`,
		Example:           "  zeekrec history dmz\n  zeekrec rollback dmz@3f2a --reason \"drops since noon\"",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeRevisions,
		RunE: a.action(func(ctx context.Context, args []string) error {
			cluster, rev, err := clusterRevision(args[0])
			if err != nil {
				return err
			}
			return a.do(ctx, "rollback", api.Request{Cluster: cluster, Revision: rev, Reason: reason},
				cluster+" goes back to "+rev+" and stays there; to follow the source again: zeekrec unpin "+cluster)
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why: it is shown in the status and kept in the history")
	return c
}

func (a *app) unpinCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "unpin CLUSTER",
		Short:             "Follow the source again after a rollback",
		Long:              "End a rollback: the cluster follows its source again, from its newest accepted revision on.",
		Example:           "  zeekrec unpin dmz",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeClusters,
		RunE: a.action(func(ctx context.Context, args []string) error {
			return a.do(ctx, "unpin", api.Request{Cluster: args[0]}, args[0]+" follows its source again")
		}),
	}
}

func (a *app) retryCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "retry CLUSTER",
		Short: "Try a revision again that failed",
		Long: `Lift the quarantine of a cluster: a revision whose rollout failed, and that was gone back
from, is tried once more. Saving new content does the same by itself.`,
		Example:           "  zeekrec retry dmz",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeClusters,
		RunE: a.action(func(ctx context.Context, args []string) error {
			return a.do(ctx, "retry", api.Request{Cluster: args[0]}, args[0]+" is tried again")
		}),
	}
}

func (a *app) syncCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "sync",
		Short: "Look at the source now instead of at the next poll",
		Long: `Have the running zeekrec look at its source now. It does so by itself when a file changes; this
is for file systems that do not tell. It does not wait: zeekrec apply does.`,
		Example: "  zeekrec sync",
		Args:    cobra.NoArgs,
		RunE: a.action(func(ctx context.Context, _ []string) error {
			return a.do(ctx, "sync", api.Request{}, "looking at the source")
		}),
	}
}
