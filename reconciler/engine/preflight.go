package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler"
)

// preflight reports whether what the plan starts and restarts has been checked where it will run. It
// begins the check where it has not, and deals with what one found: a revision that is itself at fault is
// quarantined with the parser's own words, before anything was disturbed; a host that may come right
// by itself is waited for, as long as something runs that would be disturbed for it (decisions 16).
func (e *Engine) preflight(ctx context.Context, name string, w *work, target *Revision, plan reconciler.ClusterPlan, now time.Time) bool {
	r := w.rollout
	if r.checking {
		return false
	}
	byInstance := map[string][]desired.Resource{}
	for i := range plan.Actions {
		a := &plan.Actions[i]
		switch {
		case a.Target == nil:
		case (a.Kind == desired.Start || a.Kind == desired.Restart) && !r.checked[a.Target.ID+a.Resource]:
			byInstance[a.Instance] = append(byInstance[a.Instance], *a.Target)
		case a.Kind == desired.Update && a.Target.Node != nil && a.Target.Node.Loaded != "" && !r.checked[filesOn(a.Instance)] && byInstance[a.Instance] == nil:
			byInstance[a.Instance] = []desired.Resource{} // nothing to check, but its files have to be there
		}
	}
	if len(byInstance) == 0 {
		return true
	}
	var tree desired.Tree
	if f, ok := e.files[target.Object]; ok {
		tree = f.Tree
	}
	// Most resources share a command line, but nobody says that they do.
	limit := e.timings.Check + time.Duration(len(plan.Actions))*time.Second
	r.checking = true
	go func() {
		within, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the check took longer than %s", limit))
		defer cancel()
		ps, err := e.check(within, name, byInstance, tree)
		e.later(ctx, func() { e.checked(ctx, name, w, r, byInstance, ps, err) })
	}()
	return false
}

// check asks every instance, one after the other: checks load the hosts that are to keep working.
func (e *Engine) check(ctx context.Context, cluster string, byInstance map[string][]desired.Resource, tree desired.Tree) ([]observed.Problem, error) {
	var all []observed.Problem
	for _, inst := range slices.Sorted(maps.Keys(byInstance)) {
		if len(tree) > 0 {
			if err := e.cfg.Agents.PutFiles(ctx, inst, cluster, tree); err != nil {
				return nil, fmt.Errorf("cannot bring the files of %s to %s: %w", cluster, inst, err)
			}
		}
		if len(byInstance[inst]) == 0 {
			continue
		}
		ps, err := e.cfg.Agents.Check(ctx, inst, byInstance[inst])
		if err != nil {
			return nil, fmt.Errorf("cannot check on %s: %w", inst, err)
		}
		all = append(all, ps...)
	}
	return all, nil
}

// checked takes the result of a check, in the loop.
func (e *Engine) checked(ctx context.Context, name string, w *work, r *rollout, byInstance map[string][]desired.Resource, ps []observed.Problem, err error) {
	r.checking = false
	if w.rollout != r {
		return // another one took over meanwhile
	}
	h, now := e.state.Clusters[name], time.Now()
	if err != nil {
		w.block(err.Error(), now, e.timings.Recheck)
		return
	}
	bad := map[string]bool{}
	for _, p := range ps {
		bad[p.Resource] = true
	}
	for inst, rs := range byInstance {
		r.checked[filesOn(inst)] = true
		for i := range rs {
			if !bad[rs[i].Key()] {
				r.checked[rs[i].ID+rs[i].Key()] = true
			}
		}
	}
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
		for _, rs := range byInstance {
			for i := range rs {
				r.checked[rs[i].ID+rs[i].Key()] = true
			}
		}
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
	for _, r := range e.fleet {
		for i := range r.Resources {
			if r.Resources[i].Cluster == cluster && r.Resources[i].PID != 0 {
				return true
			}
		}
	}
	return false
}
