package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
)

// scopesHelp says what suspend and resume take.
const scopesHelp = `
Scopes: a CLUSTER; an instance, as instance:NAME; a node, as CLUSTER/NODE; none means
everything.`

func (a *app) suspendCommand() *cobra.Command {
	var w why
	c := &cobra.Command{
		Use:   "suspend [SCOPE]",
		Short: "Stop acting on changes, and go on watching",
		Long: `Stop rolling out changes. What runs is left as it is, and what crashes is still restarted;
only the suspension of a single node stops its healing too. It is kept over restarts of
zeekrec, until zeekrec resume or the end of --for.` + "\n" + scopesHelp,
		Example: `  zeekrec suspend --reason "change freeze" --for 2h
  zeekrec suspend dmz/worker-01 --reason "being looked at"`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeScopes,
		RunE: a.action(func(ctx context.Context, args []string) error {
			end, err := until(w.lasts)
			if err != nil {
				return err
			}
			return a.do(ctx, "suspend", api.Request{Scope: scopeOr(args), Reason: w.reason, Until: end}, scopeText(args)+" is suspended"+lasting(end))
		}),
	}
	c.Flags().StringVar(&w.reason, "reason", "", "why: it is shown in the status and kept in the history")
	c.Flags().DurationVar(&w.lasts, "for", 0, "end by itself after this `TIME` (2h)")
	return c
}

func (a *app) resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "resume [SCOPE]",
		Short:             "Go on acting after a suspend",
		Long:              "End a suspension, and of a cluster a rollback as well, as unpin does. What has changed\nmeanwhile is rolled out now.\n" + scopesHelp,
		Example:           "  zeekrec resume\n  zeekrec resume dmz",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeScopes,
		RunE: a.action(func(ctx context.Context, args []string) error {
			return a.do(ctx, "resume", api.Request{Scope: scopeOr(args)}, scopeText(args)+" is no longer suspended")
		}),
	}
}

func scopeOr(args []string) string {
	if len(args) == 0 {
		return "*"
	}
	return args[0]
}

func scopeText(args []string) string {
	if s := scopeOr(args); s != "*" {
		return s
	}
	return "everything"
}
