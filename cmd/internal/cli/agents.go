package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/render"
)

func (a *app) agentsCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "agents",
		Short: "Show which hosts have joined this controller",
		Long: `Show the hosts that have joined this controller, or wait to be approved, and whether they are
connected.`,
		Example: "  zeekrec agents\n  zeekrec agents token --name agent-a",
		Args:    cobra.NoArgs,
		RunE: a.action(func(ctx context.Context, _ []string) error {
			as, err := a.client().Agents(ctx)
			switch {
			case err != nil:
				return err
			case asJSON:
				return a.printJSON(map[string]any{"format_version": 1, "agents": as})
			}
			return a.print(render.Agents(as, a.rendering()))
		}),
	}
	jsonFlag(c, &asJSON)
	c.AddCommand(a.tokenCommand())
	return c
}

func (a *app) tokenCommand() *cobra.Command {
	var name string
	var valid time.Duration
	c := &cobra.Command{
		Use:   "token",
		Short: "Make a token with which one host can join",
		Long: `Make a token with which one host can join, once and soon. With --name it serves a host of that
name, and approves it; a host that was enrolled under that name before is replaced. Without, the
host that comes has to be approved (zeekrec approve).`,
		Example: `  zeekrec agents token --name agent-a
  zeekrec agents token --valid 10m`,
		Args: cobra.NoArgs,
		RunE: a.action(func(ctx context.Context, _ []string) error {
			r, err := a.client().Do(ctx, "agent-token", api.Request{Agent: name, Valid: valid})
			if err != nil {
				return err
			}
			a.say("for %s; on the host that is to join: zeekrec agent join TOKEN@THIS-HOST", valid)
			return a.print(r.Token + "\n")
		}),
	}
	c.Flags().StringVar(&name, "name", "", "the `NAME` that the agent will have")
	c.Flags().DurationVar(&valid, "valid", time.Hour, "for how `LONG` it can be used")
	return c
}

func (a *app) approveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "approve AGENT",
		Short: "Let a host in that has asked to join",
		Long: `Let a host in that has asked to join with a token that was for anybody. Compare the key's
fingerprint, which zeekrec agents shows, with what the host says, if in doubt.`,
		Example: "  zeekrec agents\n  zeekrec approve agent-b",
		Args:    cobra.ExactArgs(1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			return a.do(ctx, "approve", api.Request{Agent: args[0]}, args[0]+" is approved")
		}),
	}
}

func (a *app) revokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke AGENT",
		Short: "Shut a host out",
		Long: `Shut a host out: its certificate is worth nothing from now on, and it is disconnected. Its nodes
go on, and are shown as UNKNOWN; to be rid of them, take it out of the files first. It can join
again with a new token.`,
		Example: "  zeekrec revoke agent-b",
		Args:    cobra.ExactArgs(1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			return a.do(ctx, "revoke", api.Request{Agent: args[0]}, args[0]+" is shut out")
		}),
	}
}
