package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler"
)

// toCheck is what a preflight is about, by instance: what is to be started, what runs and is to be told options, and where
// nodes that run are to see files of NAME/, which have to be there.
type toCheck struct {
	start, update map[string][]desired.Resource
	files         map[string]bool
}

// toCheckOf is what of a plan a rollout has not checked yet, on instances that do not check something just now: hosts that turn up
// meanwhile need not wait for those that were there before.
func toCheckOf(plan *reconciler.ClusterPlan, r *rollout) toCheck {
	c := toCheck{start: map[string][]desired.Resource{}, update: map[string][]desired.Resource{}, files: map[string]bool{}}
	for i := range plan.Actions {
		a := &plan.Actions[i]
		if a.Target == nil || r.checking[a.Instance] {
			continue
		}
		if a.Kind == desired.Update && a.Target.Node != nil && a.Target.Node.Loaded != "" && !r.checked[filesOn(a.Instance)] {
			c.files[a.Instance] = true
		}
		if r.checked[a.Target.ID+a.Resource] {
			continue
		}
		switch {
		case a.Kind == desired.Start, a.Kind == desired.Restart:
			c.start[a.Instance] = append(c.start[a.Instance], *a.Target)
		case a.Kind == desired.Update && slices.ContainsFunc(a.Reasons, func(r reconciler.Reason) bool { return r.Field == desired.PartOptions }):
			c.update[a.Instance] = append(c.update[a.Instance], *a.Target)
		}
	}
	return c
}

// instances are those that it is about, sorted.
func (c *toCheck) instances() []string {
	insts := slices.Collect(maps.Keys(c.start))
	insts = slices.AppendSeq(insts, maps.Keys(c.update))
	insts = slices.AppendSeq(insts, maps.Keys(c.files))
	slices.Sort(insts)
	return slices.Compact(insts)
}

// each calls f with every resource.
func (c *toCheck) each(f func(*desired.Resource)) {
	for _, by := range []map[string][]desired.Resource{c.start, c.update} {
		for _, rs := range by {
			for i := range rs {
				f(&rs[i])
			}
		}
	}
}

// preflight reports whether what the plan starts and restarts has been checked where it will run, and the options that it
// tells. It begins the check where it has not, and deals with what one found: a revision that is itself at fault is
// quarantined with the parser's own words, before anything was disturbed; a host that may come right
// by itself is waited for, as long as something runs that would be disturbed for it (decisions 16).
func (e *Engine) preflight(ctx context.Context, name string, w *work, target *Revision, plan reconciler.ClusterPlan, now time.Time) bool {
	r := w.rollout
	todo := toCheckOf(&plan, r)
	insts := todo.instances()
	if len(insts) == 0 {
		return len(r.checking) == 0
	}
	var tree desired.Tree
	if f, ok := e.files[target.Object]; ok {
		tree = f.Tree
	}
	// Most resources share a command line, but nobody says that they do.
	limit := e.timings.Check + time.Duration(len(plan.Actions))*time.Second
	for _, inst := range insts {
		r.checking[inst] = true
	}
	go func() {
		within, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the check took longer than %s", limit))
		defer cancel()
		ps, err := e.check(within, name, todo, tree, r.room)
		e.later(ctx, func() { e.checked(ctx, name, w, r, todo, ps, err) })
	}()
	return false
}

// hostsAtOnce bounds how many instances check for one rollout at the same time. Each loads its own host alone.
const hostsAtOnce = 16

// check asks every instance, when there is room for it. The problems are in the order of their names; the first that cannot be asked ends
// the check.
func (e *Engine) check(ctx context.Context, cluster string, todo toCheck, tree desired.Tree, room chan struct{}) ([]observed.Problem, error) {
	insts := todo.instances()
	found := make([][]observed.Problem, len(insts))
	g, ctx := errgroup.WithContext(ctx)
	for i, inst := range insts {
		g.Go(func() (err error) {
			select {
			case room <- struct{}{}:
				defer func() { <-room }()
			case <-ctx.Done():
				return fmt.Errorf("cannot check on %s: %w", inst, context.Cause(ctx))
			}
			found[i], err = e.checkOn(ctx, inst, cluster, todo, tree)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(found...), nil
}

// checkOn asks one instance, one thing after the other: checks load the hosts that are to keep working.
func (e *Engine) checkOn(ctx context.Context, inst, cluster string, todo toCheck, tree desired.Tree) ([]observed.Problem, error) {
	if len(tree) > 0 {
		if err := e.cfg.Agents.PutFiles(ctx, inst, cluster, tree); err != nil {
			return nil, fmt.Errorf("cannot bring the files of %s to %s: %w", cluster, inst, err)
		}
	}
	var starts, updates []observed.Problem
	var err error
	if rs := todo.start[inst]; len(rs) > 0 {
		starts, err = e.cfg.Agents.Check(ctx, inst, rs)
	}
	if rs := todo.update[inst]; err == nil && len(rs) > 0 {
		updates, err = e.cfg.Agents.CheckUpdate(ctx, inst, rs)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot check on %s: %w", inst, err)
	}
	return append(starts, updates...), nil
}

// checked takes the result of a check, in the loop.
func (e *Engine) checked(ctx context.Context, name string, w *work, r *rollout, todo toCheck, ps []observed.Problem, err error) {
	for _, inst := range todo.instances() {
		delete(r.checking, inst)
	}
	if w.rollout != r {
		return // another one took over meanwhile
	}
	h, now := e.state.Clusters[name], time.Now()
	if err != nil {
		w.block(err.Error(), now, e.timings.Recheck)
		if slices.ContainsFunc(todo.instances(), e.view(now).silent) {
			w.retryAt = time.Time{} // the plan does without it
		}
		return
	}
	bad := map[string]bool{}
	for _, p := range ps {
		bad[p.Resource] = true
	}
	for _, inst := range todo.instances() {
		r.checked[filesOn(inst)] = true
	}
	todo.each(func(x *desired.Resource) {
		if !bad[x.Key()] {
			r.checked[x.ID+x.Key()] = true
		}
	})
	if len(ps) == 0 {
		return
	}
	if i := slices.IndexFunc(ps, func(p observed.Problem) bool { return p.Permanent }); i >= 0 && r.target != h.Good && h.Pin == nil {
		why := h.find(r.target).origin() + "the check before the rollout failed, nothing was disturbed: " + problemText(ps[i])
		e.end(ctx, name, w, Failed, why, &Record{Kind: KindQuarantined, Cluster: name, Revision: r.target, By: "zeekrec", Reason: why})
		return
	}
	if !e.anythingRuns(name) && !slices.ContainsFunc(ps, func(p observed.Problem) bool { return p.Permanent }) {
		// Nothing would be disturbed: what can start, starts, and what cannot is seen as FAILED.
		todo.each(func(x *desired.Resource) { r.checked[x.ID+x.Key()] = true })
		for _, p := range ps {
			e.log.Warn("A node may not start; it is tried all the same, since nothing would be disturbed", "resource", p.Resource, "reason", p.Message)
		}
		return
	}
	w.block("waits until it can start: "+problemText(ps[0]), now, e.timings.Recheck)
	e.log.Warn("A rollout waits", "cluster", name, "reason", problemText(ps[0]))
}

// filesOn names, among what was checked, that an instance has NAME/.
func filesOn(instance string) string { return "files on " + instance }

func problemText(p observed.Problem) string {
	return p.Resource + ": " + strings.TrimSpace(p.Message)
}

// anythingRuns reports whether any process of the cluster is up.
func (e *Engine) anythingRuns(cluster string) bool {
	for inst := range e.attention.places[cluster] {
		r := e.fleet[inst]
		for i := range r.Resources {
			if r.Resources[i].Cluster == cluster && r.Resources[i].PID != 0 {
				return true
			}
		}
	}
	return false
}
