package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler"
)

// reconcile brings one cluster one step nearer to its target.
func (e *Engine) reconcile(ctx context.Context, name string, now time.Time) {
	h, w := e.state.Clusters[name], e.work(name)
	v := e.view(now)
	target, want, c, ok := e.wanted(ctx, name, h)
	if !ok {
		delete(e.plans, name)
		if w.rollout != nil && target == nil {
			e.end(ctx, name, w, Cancelled, "there is no revision to go to")
		}
		return
	}
	limit := desired.Quantity{N: 1}
	if c != nil {
		limit = c.Settings.MaxUnavailable
	}
	plan := reconciler.Diff(v.input(name, target.ID, want, limit))
	e.plans[name] = plan

	e.follow(w, v)
	w.giveUp(v)
	if w.rollout != nil && w.rollout.target != target.ID {
		if !e.end(ctx, name, w, Superseded, "revision "+target.ID+" took over") && !e.draining {
			return
		}
		w.rollout = nil
	}
	suspended := e.suspended(name, c, v)
	if e.draining {
		suspended = ""
	}
	if w.rollout != nil && suspended == "" {
		careful := h.Good != "" && h.Good != target.ID
		if why := w.trouble(v, careful, len(plan.Actions)); why != "" {
			e.fail(ctx, name, w, h, target, why, v)
			return
		}
	}
	if u := h.unfinished(target.ID); u != nil && w.rollout == nil && suspended == "" && !e.draining {
		// One that a zeekrec before this one began.
		if !e.begin(ctx, name, w, h, target, plan, now) {
			return
		}
		w.resume(v, want, u.Keys, e.timings.Start)
	}
	busy := len(w.progress.InFlight)+len(w.progress.Unsettled) > 0
	if len(plan.Actions) == 0 {
		if !busy && len(plan.Waiting) == 0 {
			e.complete(ctx, name, w, h, target, v, want)
			if w.rollout == nil && suspended == "" && !e.draining {
				e.retireKeys(ctx, name, h, v, want, now)
				e.settledNames(ctx, name, want, now)
			}
		}
		return
	}
	e.sendHolds(ctx, name, w, &plan, v)
	if suspended != "" {
		w.blocked = suspended
		return
	}
	if w.stalled.target == target.ID && now.Before(w.stalled.until) && !e.draining {
		w.blocked = w.stalled.reason
		return
	}
	w.stalled = stall{}
	if now.Before(w.retryAt) {
		return
	}
	if w.rollout == nil && !e.begin(ctx, name, w, h, target, plan, now) {
		return
	}
	if !e.preflight(ctx, name, w, target, plan, now) {
		return
	}
	w.blocked = ""
	room := ordersAtOnce - e.flying()
	for _, a := range reconciler.Next(&plan, w.progress) {
		if room <= 0 {
			break // Next completes the wave when what was sent has settled
		}
		room--
		e.send(ctx, name, w, a, v)
	}
}

// ordersAtOnce bounds the orders that are on their way: their deadlines run from when they are sent, and a first start of a whole fleet
// has ten thousands of them.
const ordersAtOnce = 2000

// flying is how many orders are on their way.
func (e *Engine) flying() (n int) {
	for _, w := range e.works {
		n += len(w.progress.InFlight)
	}
	return n
}

func (e *Engine) view(now time.Time) *view {
	return &view{state: e.state, fleet: e.fleet, relation: e.relation, stale: e.timings.Stale, patience: e.timings.Start, now: now, draining: e.draining, places: e.attention.places}
}

// wanted is what is to run of a cluster. ok is false where that is not known, and so nothing is done.
func (e *Engine) wanted(ctx context.Context, name string, h *History) (target *Revision, want []desired.Resource, c *desired.Cluster, ok bool) {
	target = h.Target()
	switch {
	case e.draining:
		return &Revision{ID: "draining"}, nil, nil, true
	case target == nil || !e.ready():
		return target, nil, nil, false
	case target.Removed:
		return target, nil, nil, true
	}
	want, ok = e.compiled.Resources[name]
	if !ok {
		return target, nil, nil, false
	}
	return target, want, e.clusterOf(ctx, target), true
}

// suspended says why nothing may be rolled out; empty: it may.
func (e *Engine) suspended(name string, c *desired.Cluster, v *view) string {
	if e.cfg.HoldsOnly {
		return "this zeekrec only stops what it was asked to"
	}
	for _, scope := range []string{"*", name} {
		if s, ok := v.state.Suspended[scope]; ok {
			return suspensionText(s)
		}
	}
	if c != nil && c.Settings.Suspend {
		return "suspended by the file (suspend = yes)"
	}
	if e.names.withheld[name] {
		return "waits until Zeek has said which options it has"
	}
	return ""
}

// begin journals a new rollout.
func (e *Engine) begin(ctx context.Context, name string, w *work, h *History, target *Revision, plan reconciler.ClusterPlan, now time.Time) bool {
	if e.draining {
		w.rollout = newRollout(RolloutRecord{ID: "stop-on-exit"}, target.ID, now)
		return true
	}
	r := RolloutRecord{ID: fmt.Sprintf("%s-%d", name, e.state.Seq+1), From: h.Good, To: target.ID, Cause: string(reconciler.CauseChange)}
	switch {
	case h.Good == target.ID && h.Last != nil && h.Last.Outcome == Failed && h.Quarantined[h.Last.To] != "":
		r.Cause = "revert"
	case h.Good == target.ID && h.rotating():
		r.Cause = string(reconciler.CauseAsked)
	case h.Good == target.ID && len(plan.Actions) > 0:
		r.Cause = string(plan.Actions[0].Cause)
	}
	r.Actions = actionTexts(plan.Actions)
	r.Keys = disruptedKeys(plan.Actions)
	if u := h.unfinished(target.ID); u != nil {
		r.Keys = slices.Compact(slices.Sorted(slices.Values(append(r.Keys, u.Keys...))))
	}
	if !e.record(ctx, &Record{Kind: KindRollout, Cluster: name, Revision: target.ID, By: "zeekrec", Rollout: &r}) {
		return false
	}
	s := plan.Summary()
	e.log.Info("Rollout begins", "cluster", name, "revision", target.ID, "cause", r.Cause,
		"start", s.Start, "stop", s.Stop, "restart", s.Restart, "update", s.Update, "unchanged", s.Unchanged)
	w.rollout = newRollout(r, target.ID, now)
	w.unblock()
	return true
}

// disruptedKeys are those of what is started or restarted, sorted.
func disruptedKeys(as []reconciler.Action) []string {
	var keys []string
	for i := range as {
		if k := as[i].Kind; k == desired.Start || k == desired.Restart {
			keys = append(keys, as[i].Resource)
		}
	}
	slices.Sort(keys)
	return keys
}

// unfinished is a rollout to the target that began and has not ended; nil for none.
func (h *History) unfinished(target string) *RolloutRecord {
	if h.Rollout != nil && h.Rollout.To == target {
		return h.Rollout
	}
	return nil
}

// actionTexts are the actions in words, for the journal: what is disturbed or new first, and of very many
// the first fifty.
func actionTexts(as []reconciler.Action) []string {
	var out []string
	updates := 0
	for i := range as {
		a := &as[i]
		if a.Kind == desired.Update {
			updates++
			continue
		}
		out = append(out, fmt.Sprintf("%s %s (%s)", a.Kind, a.Resource, reasonText(a.Reasons)))
	}
	if n := len(out) - 50; n > 0 {
		out = append(out[:50], fmt.Sprintf("%d more", n))
	}
	if updates > 0 {
		out = append(out, fmt.Sprintf("update %d in place", updates))
	}
	return out
}

func reasonText(rs []reconciler.Reason) string {
	var out []string
	for _, r := range rs {
		out = append(out, fmt.Sprintf("%s: %s -> %s", r.Field, cmpOr(r.From, "none"), cmpOr(r.To, "none")))
	}
	return strings.Join(out, ", ")
}

// end journals the outcome of the rollout. False: it could not be journaled, and has not ended.
func (e *Engine) end(ctx context.Context, name string, w *work, o Outcome, why string, more ...*Record) bool {
	r := w.rollout
	if r.ID == "stop-on-exit" {
		w.rollout = nil
		return true
	}
	r.Acted = len(w.acts)
	commit := e.state.look(name).find(r.target).firstSeenIn()
	rs := append([]*Record{{Kind: KindOutcome, Cluster: name, Revision: r.target, By: "zeekrec", Outcome: o, Reason: why, Commit: commit, Rollout: &r.RolloutRecord}}, more...)
	if !e.record(ctx, rs...) {
		return false
	}
	level := e.log.Info
	if o == Failed {
		level = e.log.Error
	}
	level("Rollout ended", "cluster", name, "revision", r.target, "outcome", o, "reason", why, "took", time.Since(r.began).Round(time.Millisecond))
	w.rollout = nil
	w.unblock()
	return true
}

// complete notes that the cluster runs the target.
func (e *Engine) complete(ctx context.Context, name string, w *work, h *History, target *Revision, v *view, want []desired.Resource) {
	if w.rollout == nil {
		if h.Good == target.ID || e.draining {
			w.unblock()
			return
		}
		if h.failed(target.ID) && !allHealthy(v, want) {
			return // its rollout failed, and nothing has come right since
		}
		// A revision that changes no process: nothing had to be done for it.
		w.rollout = newRollout(RolloutRecord{ID: fmt.Sprintf("%s-%d", name, e.state.Seq+1), From: h.Good, To: target.ID, Cause: string(reconciler.CauseChange)}, target.ID, time.Now())
	}
	w.unblock()
	w.stalled = stall{}
	o, why := Succeeded, ""
	if w.rollout.Cause == "revert" {
		o, why = RolledBack, "back on the last good revision"
	}
	if e.end(ctx, name, w, o, why) {
		w.acts = map[string]*act{}
	}
}

// failed reports whether the last rollout was one to this revision, and failed.
func (h *History) failed(revision string) bool {
	return h.Last != nil && h.Last.To == revision && h.Last.Outcome == Failed
}

func allHealthy(v *view, want []desired.Resource) bool {
	for i := range want {
		s := v.seen(want[i].Instance, want[i].Key())
		if s == nil || !s.Healthy && s.Hold == "" {
			return false
		}
	}
	return true
}

// fail ends a rollout that makes things worse, and goes back where that is possible and allowed.
func (e *Engine) fail(ctx context.Context, name string, w *work, h *History, target *Revision, why string, v *view) {
	why = target.origin() + why
	revert := h.Good != "" && h.Good != target.ID && h.Pin == nil && e.mayRevert(ctx, h)
	if !revert {
		// There is nothing to go back to. What runs, runs on; what failed is its agent's to heal.
		if e.end(ctx, name, w, Failed, why) {
			w.stalled = stall{target: target.ID, reason: why, until: v.now.Add(e.timings.Stalled)}
			e.abandon(w)
		}
		return
	}
	q := &Record{Kind: KindQuarantined, Cluster: name, Revision: target.ID, By: "zeekrec", Reason: why}
	if e.end(ctx, name, w, Failed, why+"; going back to revision "+h.Good, q) {
		e.abandon(w)
	}
}

// abandon forgets what the rollout acted on: a failed node that is to be left alone or replaced must
// not hold up what comes next.
func (e *Engine) abandon(w *work) {
	for key := range w.acts {
		w.progress.Settled(key)
	}
	w.acts = map[string]*act{}
}

// mayRevert asks the setting of the revision that is known to be good: the one under judgement cannot
// switch off its own safety net.
func (e *Engine) mayRevert(ctx context.Context, h *History) bool {
	c := e.clusterOf(ctx, h.find(h.Good))
	return c != nil && c.Settings.AutoRevert
}

// sendHolds sends the stops that a person asked for: they wait for no preflight and no suspension, and for other stops of
// their kind alone. Who sends logs or events goes before who takes them, or the last ones would be lost (decisions 17).
func (e *Engine) sendHolds(ctx context.Context, name string, w *work, plan *reconciler.ClusterPlan, v *view) {
	wave := 0
	for _, a := range plan.Actions {
		if a.Kind != desired.Stop || a.Hold == "" {
			continue
		}
		// One that does not end holds up the others no longer than it should have taken.
		if sent := w.acts[a.Resource]; sent != nil && v.now.After(sent.first.Add(e.timings.Stop)) {
			continue
		}
		if wave == 0 {
			wave = a.Wave
		}
		if a.Wave != wave {
			return
		}
		if _, flying := w.progress.InFlight[a.Resource]; !flying {
			e.send(ctx, name, w, a, v)
		}
	}
}

// send hands one action to its agent.
func (e *Engine) send(ctx context.Context, name string, w *work, a reconciler.Action, v *view) {
	wait := e.timings.Start
	if a.Kind == desired.Stop || a.Kind == desired.Restart {
		wait += e.timings.Stop
	}
	key := a.Resource
	id := "hold"
	if w.rollout != nil {
		id = w.rollout.ID
	}
	n := &act{rollout: id, verb: a.Kind, role: a.Role, instance: a.Instance, incarnation: a.Incarnation, deadline: v.now.Add(wait)}
	if a.Target != nil {
		n.id = a.Target.ID
	}
	n.first = v.now
	if was := w.acts[key]; was != nil && was.verb == n.verb && was.id == n.id {
		n.first = was.first
	}
	w.acts[key] = n
	w.progress.Sent(&a)
	e.log.Info("Action", "cluster", name, "action", a.Kind, "resource", key, "reason", reasonText(a.Reasons))

	o := a.Order(id, v.now.Add(wait))
	go func() {
		within, cancel := context.WithTimeoutCause(ctx, wait, fmt.Errorf("%s did not take the order within %s", a.Instance, wait))
		defer cancel()
		err := e.cfg.Agents.Do(within, a.Instance, o)
		if err == nil {
			return
		}
		if within.Err() != nil {
			return // it may have been taken up all the same: follow decides, by reports that are younger
		}
		e.later(ctx, func() {
			w.progress.Lost(key)
			delete(w.acts, key)
			if observed.IsRefused(err) {
				e.log.Info("An order no longer fits what runs; planning again", "resource", key, "reason", err)
				w.block("", time.Now(), 100*time.Millisecond)
				return
			}
			e.log.Error("Cannot carry an action out", "resource", key, "action", a.Kind, "error", err)
			w.block(fmt.Sprintf("cannot %s %s: %v", a.Kind, key, err), time.Now(), time.Second)
		})
	}()
}

// finishDraining tells those who wait for it that everything has stopped.
func (e *Engine) finishDraining() {
	if !e.draining {
		return
	}
	var err error
	for name, p := range e.plans {
		w := e.work(name)
		if len(p.Actions) > 0 || len(w.progress.InFlight)+len(w.progress.Unsettled) > 0 {
			return
		}
		for _, x := range p.Waiting {
			err = errors.Join(err, fmt.Errorf("cannot stop %s: %s", x.Resource, x.Why))
		}
	}
	for _, ch := range e.drained {
		ch <- err // has room for it
	}
	e.drained = nil
}
