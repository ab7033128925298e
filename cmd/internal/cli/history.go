package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/render"
	"github.com/zeekrec/zeekrec/reconciler/engine"
	"github.com/zeekrec/zeekrec/reconciler/engine/journal"
)

func (a *app) historyCommand() *cobra.Command {
	var asJSON bool
	var n int
	c := &cobra.Command{
		Use:   "history [CLUSTER]",
		Short: "Show past revisions, rollouts and drift, with who and why",
		Long: `Show what was accepted, rolled out, asked for, and what happened without anybody asking
(drift), oldest first. It is read from the state folder where zeekrec does not run.`,
		Example: `  zeekrec history
  zeekrec history dmz -n 20
  zeekrec history --json | jq '.[] | select(.kind == "drift")'`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeClusters,
		RunE: a.action(func(ctx context.Context, args []string) error {
			cluster := ""
			if len(args) > 0 {
				cluster = args[0]
			}
			rs, err := a.client().History(ctx, cluster, n)
			if nothingHere(err) {
				rs, err = api.Newest(func(each func(engine.Record) error) error { return journal.History(a.settings.stateDir, each) }, cluster, n)
			}
			switch {
			case err != nil:
				return err
			case cluster != "" && len(rs) == 0:
				return fmt.Errorf("there is no cluster %q in the history", cluster)
			case asJSON:
				return a.printJSON(rs)
			}
			return a.print(render.History(rs, a.rendering()))
		}),
	}
	jsonFlag(c, &asJSON)
	c.Flags().IntVarP(&n, "lines", "n", 50, "show the newest `N`; 0: all")
	return c
}
