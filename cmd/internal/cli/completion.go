package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// completeWithin is how long a person who presses TAB waits at most.
const completeWithin = 500 * time.Millisecond

// seen is the status for completions; nil where nobody answers.
func (a *app) seen(cmd *cobra.Command) *engine.Status {
	if err := a.readSettings(cmd); err != nil {
		return nil
	}
	ctx := cmd.Context()
	if ctx == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completeWithin)
	defer cancel()
	s, err := a.client().Status(ctx)
	if err != nil {
		return nil
	}
	return s
}

func (a *app) completeClusters(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var out []cobra.Completion
	if s := a.seen(cmd); s != nil {
		for i := range s.Clusters {
			out = append(out, s.Clusters[i].Name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeNodes(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var out []cobra.Completion
	if s := a.seen(cmd); s != nil {
		for i := range s.Clusters {
			for _, r := range s.Clusters[i].Resources {
				out = append(out, cobra.CompletionWithDesc(s.Clusters[i].Name+"/"+r.Name, r.Role+", "+string(r.State)))
			}
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completeScopes are clusters and nodes.
func (a *app) completeScopes(cmd *cobra.Command, args []string, to string) ([]cobra.Completion, cobra.ShellCompDirective) {
	clusters, _ := a.completeClusters(cmd, args, to)
	nodes, d := a.completeNodes(cmd, args, to)
	return append(clusters, nodes...), d
}

// completeRevisions are CLUSTER@REVISION of what runs or is wanted.
func (a *app) completeRevisions(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var out []cobra.Completion
	if s := a.seen(cmd); s != nil {
		for i := range s.Clusters {
			c := &s.Clusters[i]
			for _, rev := range []string{c.Revision.Running, c.Revision.Wanted} {
				if rev != "" && rev != engine.RemovedRevision {
					out = append(out, c.Name+"@"+rev)
				}
			}
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
