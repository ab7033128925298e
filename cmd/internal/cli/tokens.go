package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/render"
	"github.com/zeekrec/zeekrec/desired/clustercfg"
)

// whyTokensHere is why tokens are no matter for other machines.
const whyTokensHere = "tokens are shown, made and revoked on the host of zeekrec alone, whatever role a token has"

func (a *app) tokensCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "tokens",
		Short: "Show, make and revoke tokens for people on other machines",
		Long: `A zeekrec that runs with --serve HOST:PORT can be asked from other machines: with the same
commands, in TLS, by whoever has a token. Its role says for what: view for what looks (status,
plan, history, logs, top, netstats, agents, get-id-value), operate for everything else. In the
history, who asked is "NAME (token)".

Tokens are made here, on zeekrec's own host, and shown once. There, no certificate is needed: the
token names the one that the server has to show, and is sent to no other. --server is HOST or
HOST:PORT (` + apiPort + `); the token is in a file (--token-file, ZEEKREC_TOKEN_FILE) or in the
variable ZEEKREC_TOKEN, and never in an argument. Without a certificate of your own (--tls-cert),
it does not matter by which name or address the server is reached.

Without arguments, the tokens are listed.`,
		Example: `  zeekrec controller --serve :` + apiPort + ` /etc/zeek/clusters
  zeekrec tokens new anna --role operate --valid 30d >anna.token
  zeekrec tokens
  zeekrec tokens revoke anna

  On another machine:
  zeekrec status --server controller.example.org --token-file ~/anna.token
  export ZEEKREC_SERVER=controller.example.org ZEEKREC_TOKEN_FILE=~/anna.token
  zeekrec restart dmz/worker-01 --reason "new intel"`,
		Args: unknownSubcommand,
		RunE: a.action(func(ctx context.Context, _ []string) error {
			if err := a.onlyHere(whyTokensHere); err != nil {
				return err
			}
			ts, err := a.client().Tokens(ctx)
			switch {
			case err != nil:
				return err
			case asJSON:
				return a.printJSON(map[string]any{"format_version": 1, "tokens": ts})
			}
			return a.print(render.Tokens(ts, a.rendering()))
		}),
	}
	jsonFlag(c, &asJSON)
	c.AddCommand(a.newTokenCommand(), a.revokeTokenCommand())
	return c
}

func (a *app) newTokenCommand() *cobra.Command {
	var role string
	valid := age(90 * 24 * time.Hour)
	c := &cobra.Command{
		Use:   "new NAME --role view|operate",
		Short: "Make a token, and print it",
		Long: `Make a token for NAME, a person or a program, and print it, and nothing else, on standard
output. It is not kept, so it cannot be shown again.`,
		Example: `  zeekrec tokens new grafana --role view --valid 365d >grafana.token
  zeekrec tokens new anna --role operate --valid 12h`,
		Args: cobra.ExactArgs(1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			if err := a.onlyHere(whyTokensHere); err != nil {
				return err
			}
			if r := api.Role(role); r != api.RoleView && r != api.RoleOperate {
				return usage(fmt.Errorf("cannot use %q for --role: it takes %s, %s", role, api.RoleView, api.RoleOperate))
			}
			r, err := a.client().Do(ctx, "new-token", api.Request{Name: args[0], Role: api.Role(role), Valid: time.Duration(valid)})
			if err != nil {
				return err
			}
			a.say("%s may %s for %s; on another machine: zeekrec status --server THIS-HOST --token-file FILE", args[0], role, &valid)
			return a.print(r.Token + "\n")
		}),
	}
	c.Flags().StringVar(&role, "role", "", "what it is good for: `ROLE` is view or operate")
	c.Flags().Var(&valid, "valid", "for how `LONG` (12h, 90d)")
	_ = c.MarkFlagRequired("role")
	_ = c.RegisterFlagCompletionFunc("role", cobra.FixedCompletions([]cobra.Completion{"view", "operate"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *app) revokeTokenCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "revoke NAME",
		Short:   "Make a token worthless",
		Long:    "Make a token worthless, at once: what is under way with it, a followed log for example, ends.",
		Example: "  zeekrec tokens revoke anna",
		Args:    cobra.ExactArgs(1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			if err := a.onlyHere(whyTokensHere); err != nil {
				return err
			}
			return a.do(ctx, "revoke-token", api.Request{Name: args[0]}, "the token of "+args[0]+" is worth nothing any more")
		}),
	}
}

// age is a duration with days and weeks: 90d, 1h30m.
type age time.Duration

// String is in days where that is exact.
func (d *age) String() string {
	const day = 24 * time.Hour
	if t := time.Duration(*d); t%day == 0 && t > 0 {
		return fmt.Sprintf("%dd", t/day)
	}
	return time.Duration(*d).String()
}

// Type for --help.
func (*age) Type() string { return "duration" }

// Set reads one.
func (d *age) Set(text string) error {
	t, err := clustercfg.Span(text)
	if err != nil {
		return err
	}
	*d = age(t)
	return nil
}
