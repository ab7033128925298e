package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/local"
	"github.com/zeekrec/zeekrec/reconciler/engine"
	"github.com/zeekrec/zeekrec/reconciler/engine/journal"
)

func (a *app) stopCommand() *cobra.Command {
	var w why
	var all bool
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "stop CLUSTER|[CLUSTER/]NODE…",
		Short: "Stop clusters or nodes, and keep them stopped",
		Long: `Stop clusters or nodes, in order, and keep them stopped until zeekrec start or the end of
--for. Without a running zeekrec this command takes the state folder itself, waits until
they have stopped, and ends.`,
		Example: `  zeekrec stop dmz/worker-01 --reason "card is replaced" --for 1h
  zeekrec stop dmz
  zeekrec stop --all`,
		ValidArgsFunction: a.completeScopes,
		RunE: a.action(func(ctx context.Context, args []string) error {
			if all == (len(args) > 0) {
				return usage(errNoScope, "or --all for every cluster")
			}
			end, err := until(w.lasts)
			if err != nil {
				return err
			}
			return a.stop(ctx, args, w.reason, end, timeout)
		}),
	}
	f := c.Flags()
	f.BoolVar(&all, "all", false, "every cluster")
	f.StringVar(&w.reason, "reason", "", "why: it is shown in the status and kept in the history")
	f.DurationVar(&w.lasts, "for", 0, "start again by itself after this `TIME` (1h)")
	f.DurationVar(&timeout, "timeout", 5*time.Minute, "without a running zeekrec: how long to wait")
	a.nameFlag(f)
	a.zeekFlag(f)
	a.logFlags(f, "error")
	return c
}

// stop holds what is named; nothing named means every cluster.
func (a *app) stop(ctx context.Context, names []string, reason string, end time.Time, timeout time.Duration) error {
	c := a.client()
	s, err := c.Status(ctx)
	if nothingHere(err) {
		return a.stopOffline(ctx, names, reason, end, timeout)
	}
	if err != nil {
		return err
	}
	if len(names) == 0 {
		if names = clusterNames(s); len(names) == 0 {
			a.say("there is no cluster to stop")
			return nil
		}
	}
	return a.do(ctx, "stop", api.Request{Scopes: names, Reason: reason, Until: end},
		strings.Join(names, ", ")+": stopping, to stay stopped until zeekrec start"+lasting(end))
}

// clusterNames are those that zeekrec knows of its source; strangers are not its to stop.
func clusterNames(s *engine.Status) []string {
	var out []string
	for i := range s.Clusters {
		if s.Clusters[i].Revision.Wanted != "" {
			out = append(out, s.Clusters[i].Name)
		}
	}
	return out
}

// stopOffline does it without a running zeekrec: what is already accepted is all that counts.
func (a *app) stopOffline(ctx context.Context, names []string, reason string, end time.Time, timeout time.Duration) error {
	state, err := journal.Load(a.settings.stateDir)
	if err != nil {
		return err
	}
	if state.Source == "" {
		return withHint(fmt.Errorf("cannot stop anything: zeekrec does not run, and there is no state in %s", a.settings.stateDir),
			"name the state folder with --state-dir")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not done within %s", timeout))
	defer cancel()
	err = a.host(ctx, hosted{source: state.Source, log: a.logger(), anyZeek: true}, func(ctx context.Context, m *local.Machine) error {
		s, err := waitStatus(ctx, m.Engine.Status, func(s *engine.Status) bool { return len(s.Agents) > 0 })
		if err != nil {
			return err
		}
		if len(names) == 0 {
			names = clusterNames(s)
		}
		if err := m.Engine.Hold(ctx, names, reason, a.userName(), end); err != nil {
			return err
		}
		a.say("stopping %s", strings.Join(names, ", "))
		_, err = waitStatus(ctx, m.Engine.Status, func(s *engine.Status) bool { return stopped(s, names) })
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot stop %s: %w", strings.Join(names, ", "), err)
	}
	a.say("stopped, and kept so by the next `zeekrec run`, until zeekrec start%s; nothing supervises what else runs now", lasting(end))
	return nil
}

// stopped reports whether none of the clusters and nodes has a process.
func stopped(s *engine.Status, names []string) bool {
	for i := range s.Clusters {
		for _, r := range s.Clusters[i].Resources {
			if r.PID != 0 && named(names, s.Clusters[i].Name, r.Name) {
				return false
			}
		}
	}
	return true
}

func named(names []string, cluster, node string) bool {
	for _, n := range names {
		if n == cluster || n == cluster+"/"+node || n == node {
			return true
		}
	}
	return false
}

func (a *app) startCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:               "start CLUSTER|[CLUSTER/]NODE…",
		Short:             "Start again what zeekrec stop keeps stopped",
		Long:              "End what zeekrec stop began: the clusters or nodes are started again, in order.",
		Example:           "  zeekrec start dmz/worker-01\n  zeekrec start --all",
		ValidArgsFunction: a.completeScopes,
		RunE: a.action(func(ctx context.Context, args []string) error {
			if all == (len(args) > 0) {
				return usage(errNoScope, "or --all for everything that is stopped")
			}
			if all {
				w, err := a.client().World(ctx)
				if err != nil {
					return err
				}
				for scope := range w.State.Holds {
					args = append(args, scope)
				}
				if len(args) == 0 {
					return errors.New("cannot start anything: nothing is stopped by zeekrec stop")
				}
			}
			return a.do(ctx, "start", api.Request{Scopes: args}, strings.Join(args, ", ")+": starting")
		}),
	}
	c.Flags().BoolVar(&all, "all", false, "everything that zeekrec stop keeps stopped")
	return c
}
