package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
)

func (a *app) restartCommand() *cobra.Command {
	var outdated bool
	var reason string
	c := &cobra.Command{
		Use:   "restart CLUSTER|[CLUSTER/]NODE…",
		Short: "Restart nodes, in order and with health gates",
		Long: `Restart nodes or whole clusters the way a change is rolled out: in waves, no more at once
than max_unavailable, and the next ones only when the last are healthy. With --outdated only
those that a new zeekrec or a new Zeek has left behind; without names: all of these.`,
		Example: `  zeekrec restart worker-01
  zeekrec restart dmz --reason "new intel"
  zeekrec restart --outdated`,
		ValidArgsFunction: a.completeScopes,
		RunE: a.action(func(ctx context.Context, args []string) error {
			if len(args) == 0 && !outdated {
				return usage(errNoScope, "or --outdated")
			}
			res, err := a.client().Do(ctx, "restart", api.Request{Scopes: args, Outdated: outdated, Reason: reason})
			switch {
			case err != nil:
				return err
			case len(res.Resources) == 0:
				a.say("nothing is outdated")
			default:
				a.say("to be restarted: %s; follow it with: zeekrec status --watch", strings.Join(res.Resources, ", "))
			}
			return nil
		}),
	}
	c.Flags().BoolVar(&outdated, "outdated", false, "those that an upgrade left behind")
	c.Flags().StringVar(&reason, "reason", "", "why: it is kept in the history")
	return c
}
