package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/local"
	"github.com/zeekrec/zeekrec/reconciler/engine"
	"github.com/zeekrec/zeekrec/reconciler/engine/journal"
)

// applyFlags of zeekrec apply.
type applyFlags struct {
	json, quiet bool
	confirm     string
	timeout     time.Duration
}

func (a *app) applyCommand() *cobra.Command {
	var f applyFlags
	c := &cobra.Command{
		Use:   "apply [SOURCE | PLAN.json]",
		Short: "Converge once, show progress, and end",
		Long: `Make what runs equal to SOURCE, show the progress, and end when everything is converged and
healthy. With a running zeekrec, that one looks at its source now, and apply waits for it.
Without, apply takes the state folder itself, and nothing supervises the nodes afterwards.

A plan saved by zeekrec plan -o is refused (3) if anything has changed that it was computed
from. Held by the prune guard, a suspension or a rollback: 4.`,
		Example: `  zeekrec apply ./clusters
  zeekrec plan -o plan.json ./clusters && zeekrec apply plan.json
  zeekrec apply --confirm dmz@3f2a91c07be1d855
  zeekrec apply --confirm 1a2b3c4d5e6f            a commit that does not descend from the last`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.action(func(ctx context.Context, args []string) error { return a.apply(ctx, args, f) }),
	}
	fl := c.Flags()
	jsonFlag(c, &f.json)
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "show no progress")
	fl.StringVar(&f.confirm, "confirm", "", "let `WHAT` waits pass: a CLUSTER@REVISION that the prune guard holds, or a COMMIT of rewritten history")
	fl.DurationVar(&f.timeout, "timeout", 10*time.Minute, "how long to wait")
	a.nameFlag(fl)
	a.zeekFlag(fl)
	a.logFlags(fl, "error")
	a.gitFlags(fl)
	return c
}

// applying is one apply under way.
type applying struct {
	a       *app
	flags   applyFlags
	watch   *progress
	cluster string // wait for this one only; empty: for all
	// confirm, where that is asked for.
	confirmCluster, confirmRevision string
	confirmCommit                   string
}

func (a *app) apply(ctx context.Context, args []string, f applyFlags) error {
	p := &applying{a: a, flags: f, watch: newProgress(a, f.quiet)}
	if isCommit(f.confirm) {
		p.confirmCommit = strings.ToLower(f.confirm)
	} else if f.confirm != "" {
		var err error
		if p.confirmCluster, p.confirmRevision, err = clusterRevision(f.confirm); err != nil {
			return err
		}
		p.cluster = p.confirmCluster
	}
	if isSavedPlan(args) {
		saved, err := loadPlan(args[0])
		if err != nil {
			return err
		}
		if err := a.checkFresh(ctx, saved); err != nil {
			return err
		}
		args = []string{saved.Source}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, fmt.Errorf("not done within %s", f.timeout))
	defer cancel()
	s, err := a.client().Status(ctx)
	switch {
	case nothingHere(err):
		return p.alone(ctx, args)
	case err != nil:
		return err
	}
	return p.through(ctx, args, s)
}

// through has the running zeekrec do it.
func (p *applying) through(ctx context.Context, args []string, s *engine.Status) error {
	if len(args) > 0 {
		path, err := sourcePath(args[0])
		if err != nil {
			return err
		}
		switch {
		case path == s.Source.URL:
		case filepath.Dir(path) == s.Source.URL && filepath.Ext(path) == ".cfg":
			p.cluster = strings.TrimSuffix(filepath.Base(path), ".cfg")
		default:
			hint := "end it, or use another --state-dir for another source"
			if p.a.settings.server != "" {
				hint = "leave out SOURCE to have it look at its own"
			}
			return withHint(fmt.Errorf("cannot apply %s: the running zeekrec follows %s", path, s.Source.URL), hint)
		}
	}
	c := p.a.client()
	command, req := "sync", api.Request{}
	if p.confirmCluster != "" {
		command, req = "confirm", api.Request{Cluster: p.confirmCluster, Revision: p.confirmRevision}
	}
	if p.confirmCommit != "" {
		command, req = "admit", api.Request{Commit: p.confirmCommit}
	}
	res, err := c.Do(ctx, command, req)
	if err != nil {
		return err
	}
	since := res.At
	if command != "sync" {
		since = time.Time{} // the source was looked at before
	}
	return p.wait(ctx, c.Status, since, res.At)
}

// alone takes the state folder, and leaves nothing behind that supervises.
func (p *applying) alone(ctx context.Context, args []string) error {
	source, err := p.a.argOr(args)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		if state, err := journal.Load(p.a.settings.stateDir); err == nil && state.Source != "" {
			source = state.Source
		}
	}
	began := time.Now()
	err = p.a.host(ctx, hosted{source: source, log: p.a.logger()}, func(ctx context.Context, m *local.Machine) error {
		if p.confirmCluster != "" {
			if _, err := waitStatus(ctx, m.Engine.Status, func(s *engine.Status) bool { return !s.Source.CheckedAt.IsZero() }); err != nil {
				return err
			}
			if err := m.Engine.Confirm(ctx, p.confirmCluster, p.confirmRevision, p.a.userName()); err != nil {
				return err
			}
		}
		if p.confirmCommit != "" {
			if _, err := waitStatus(ctx, m.Engine.Status, func(s *engine.Status) bool { return !s.Source.CheckedAt.IsZero() }); err != nil {
				return err
			}
			if err := m.Engine.Admit(ctx, p.confirmCommit, p.a.userName()); err != nil {
				return err
			}
		}
		return p.wait(ctx, m.Engine.Status, began, began)
	})
	if _, failed := errors.AsType[*failure](err); err == nil || failed {
		p.a.say("nothing supervises the nodes now: what crashes stays down; to change that: zeekrec run %s", source)
	}
	return err
}

// wait follows the status until it is decided how this ends. The source has to have been looked at since
// the one time; rollouts that failed count since the other.
func (p *applying) wait(ctx context.Context, status statusFunc, looked, began time.Time) error {
	var v verdict
	s, err := waitStatus(ctx, status, func(s *engine.Status) bool {
		p.watch.show(s)
		v = judge(s, p.cluster, p.confirmCluster != "", looked, began)
		return v.decided()
	})
	if err != nil {
		for _, w := range v.pending {
			p.a.say("%s", w)
		}
		return fmt.Errorf("cannot tell how it ends: %w", err)
	}
	if p.flags.json {
		err = p.a.printJSON(s)
	} else {
		err = p.a.print(summary(s, p.cluster))
	}
	for _, w := range append(v.failed, v.held...) {
		p.a.say("%s", w)
	}
	switch {
	case err != nil:
		return err
	case len(v.failed) > 0:
		return &failure{code: exitFailed}
	case len(v.held) > 0:
		return &failure{code: exitHeld}
	}
	return nil
}
