package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/reconciler"
)

// NotFound says that a command names something that there is not.
type NotFound struct{ What string }

// Error says what.
func (n *NotFound) Error() string { return n.What }

// errJournal is what a command gets that could not be journaled, and so is not done.
var errJournal = errors.New("cannot write the journal, so nothing was done; the reason is in the status")

// Sync asks the source to look now.
func (e *Engine) Sync(context.Context) error {
	if e.cfg.Look == nil {
		return errors.New("cannot sync: there is no source")
	}
	e.cfg.Look()
	return nil
}

// journaled runs a command that consists of records: the function returns them, or why it cannot be done.
func (e *Engine) journaled(ctx context.Context, records func() ([]*Record, error)) error {
	var err error
	cerr := e.call(ctx, func() {
		var rs []*Record
		if rs, err = records(); err != nil || len(rs) == 0 {
			return
		}
		if !e.record(ctx, rs...) {
			err = errJournal
			return
		}
		for _, w := range e.works {
			w.unblock()
			w.stalled = stall{}
		}
	})
	if cerr != nil {
		return cerr
	}
	return err
}

// history of a cluster by name.
func (e *Engine) history(cluster string) (*History, error) {
	h := e.state.Clusters[cluster]
	if h == nil {
		return nil, &NotFound{fmt.Sprintf("there is no cluster %q (there are: %s)", cluster, strings.Join(slices.Sorted(maps.Keys(e.state.Clusters)), ", "))}
	}
	return h, nil
}

// Confirm lets the revision of a cluster that waits pass the prune guard. An empty revision means
// whichever waits. It is an error when none does, or another.
func (e *Engine) Confirm(ctx context.Context, cluster, revision, by string) error {
	return e.journaled(ctx, func() ([]*Record, error) {
		h, err := e.history(cluster)
		if err != nil {
			return nil, err
		}
		w := h.Waiting()
		switch {
		case w == nil:
			return nil, fmt.Errorf("cannot confirm: no revision of %s waits for a confirmation", cluster)
		case revision != "" && revision != w.ID:
			return nil, fmt.Errorf("cannot confirm revision %s of %s: the one that waits is %s", revision, cluster, w.ID)
		}
		return []*Record{{Kind: KindConfirmed, Cluster: cluster, Revision: w.ID, By: by}}, nil
	})
}

// Suspend stops rollouts of a scope ("*", a cluster, "instance:NAME"), or all action on a node
// ("cluster/node"), until the time given; a zero time means until Resume.
func (e *Engine) Suspend(ctx context.Context, scope, reason, by string, until time.Time) error {
	return e.journaled(ctx, func() ([]*Record, error) {
		s, err := e.scope(scope)
		return []*Record{{Kind: KindSuspended, Scope: s, Reason: reason, By: by, Until: until}}, err
	})
}

// Resume ends a suspension; of a cluster that was rolled back it ends that, too, as Unpin does.
func (e *Engine) Resume(ctx context.Context, scope, by string) error {
	return e.journaled(ctx, func() ([]*Record, error) {
		s, err := e.scope(scope)
		if err != nil {
			return nil, err
		}
		var rs []*Record
		if _, ok := e.state.Suspended[s]; ok {
			rs = append(rs, &Record{Kind: KindResumed, Scope: s, By: by})
		}
		if h := e.state.Clusters[s]; h != nil && h.Pin != nil {
			rs = append(rs, &Record{Kind: KindUnpinned, Cluster: s, By: by})
		}
		if len(rs) == 0 {
			text := "nothing is"
			if len(e.state.Suspended) > 0 {
				text = "what is: " + strings.Join(slices.Sorted(maps.Keys(e.state.Suspended)), ", ")
			}
			return nil, fmt.Errorf("cannot resume %s: that is not suspended; %s", strings.Replace(s, "*", "everything", 1), text)
		}
		return rs, nil
	})
}

// Hold stops a cluster or a node and keeps it stopped.
func (e *Engine) Hold(ctx context.Context, scopes []string, reason, by string, until time.Time) error {
	return e.each(ctx, scopes, func(s string) (*Record, error) {
		if s == "*" || strings.HasPrefix(s, "instance:") {
			return nil, fmt.Errorf("cannot stop %s: name a cluster or a node", s)
		}
		return &Record{Kind: KindStopped, Scope: s, Reason: reason, By: by, Until: until}, nil
	})
}

// Release ends holds.
func (e *Engine) Release(ctx context.Context, scopes []string, by string) error {
	return e.each(ctx, scopes, func(s string) (*Record, error) {
		if _, ok := e.state.Holds[s]; !ok {
			if c, _, _ := strings.Cut(s, "/"); s != c {
				if _, ok := e.state.Holds[c]; ok {
					return nil, fmt.Errorf("cannot start %s: its whole cluster is stopped; start %s", s, c)
				}
			}
			return nil, fmt.Errorf("cannot start %s: it is not stopped by zeekrec stop", s)
		}
		return &Record{Kind: KindStarted, Scope: s, By: by}, nil
	})
}

func (e *Engine) each(ctx context.Context, scopes []string, f func(string) (*Record, error)) error {
	return e.journaled(ctx, func() ([]*Record, error) {
		var rs []*Record
		for _, raw := range scopes {
			s, err := e.scope(raw)
			if err != nil {
				return nil, err
			}
			r, err := f(s)
			if err != nil {
				return nil, err
			}
			rs = append(rs, r)
		}
		return rs, nil
	})
}

// Restart asks for restarts of nodes or whole clusters, or of everything that is outdated.
func (e *Engine) Restart(ctx context.Context, scopes []string, outdated bool, reason, by string) (keys []string, err error) {
	err = e.journaled(ctx, func() ([]*Record, error) {
		wish := map[string]int{}
		var want []string
		for _, raw := range scopes {
			s, err := e.scope(raw)
			if err != nil {
				return nil, err
			}
			want = append(want, s)
		}
		for name := range e.compiled.Resources {
			for i := range e.compiled.Resources[name] {
				r := &e.compiled.Resources[name][i]
				s := e.view(time.Now()).seen(r.Instance, r.Key())
				meant := slices.Contains(want, name) || slices.Contains(want, r.Key()) || outdated && len(want) == 0
				if s == nil || !meant || outdated && len(s.Outdated) == 0 {
					continue
				}
				if s.Hold != "" {
					if slices.Contains(want, r.Key()) {
						return nil, fmt.Errorf("cannot restart %s: it is kept %s; zeekrec start lets it run again", r.Key(), s.Hold)
					}
					continue
				}
				wish[r.Key()] = s.Incarnation
			}
		}
		keys = slices.Sorted(maps.Keys(wish))
		if len(wish) == 0 {
			if outdated {
				return nil, nil
			}
			return nil, &NotFound{"nothing of that name has been started"}
		}
		return []*Record{{Kind: KindRestart, Resources: wish, Reason: reason, By: by}}, nil
	})
	if err != nil {
		return nil, err
	}
	return keys, nil
}

// Rollback pins a cluster to an older revision, until Unpin.
func (e *Engine) Rollback(ctx context.Context, cluster, revision, reason, by string) error {
	return e.journaled(ctx, func() ([]*Record, error) {
		h, err := e.history(cluster)
		if err != nil {
			return nil, err
		}
		rev, err := h.match(revision)
		if err != nil {
			return nil, fmt.Errorf("cannot roll %s back: %w", cluster, err)
		}
		return []*Record{{Kind: KindPinned, Cluster: cluster, Revision: rev.ID, Reason: reason, By: by}}, nil
	})
}

// match finds a revision by an unambiguous beginning of its name, or of the commit that it was first seen in.
func (h *History) match(prefix string) (*Revision, error) {
	found := map[string]*Revision{}
	for i := range h.Revisions {
		if r := &h.Revisions[i]; !r.Removed && (strings.HasPrefix(r.ID, prefix) || len(prefix) >= 7 && strings.HasPrefix(r.Commit, prefix)) {
			found[r.ID] = r
		}
	}
	switch len(found) {
	case 1:
		for _, r := range found {
			return r, nil
		}
	case 0:
		return nil, &NotFound{fmt.Sprintf("no revision %q is remembered", prefix)}
	}
	return nil, fmt.Errorf("%q fits several revisions: %s", prefix, strings.Join(slices.Sorted(maps.Keys(found)), ", "))
}

// Unpin lets a cluster follow its source again.
func (e *Engine) Unpin(ctx context.Context, cluster, by string) error {
	return e.journaled(ctx, func() ([]*Record, error) {
		h, err := e.history(cluster)
		if err != nil {
			return nil, err
		}
		if h.Pin == nil {
			return nil, fmt.Errorf("cannot unpin %s: it is not pinned", cluster)
		}
		return []*Record{{Kind: KindUnpinned, Cluster: cluster, By: by}}, nil
	})
}

// Retry lifts the quarantine of a cluster, and ends the pause after a failed rollout.
func (e *Engine) Retry(ctx context.Context, cluster, by string) error {
	return e.journaled(ctx, func() ([]*Record, error) {
		if _, err := e.history(cluster); err != nil {
			return nil, err
		}
		return []*Record{{Kind: KindRetried, Cluster: cluster, By: by}}, nil
	})
}

// Plan is what is still to be done now, in all clusters.
func (e *Engine) Plan(ctx context.Context) (*reconciler.Plan, error) {
	var p *reconciler.Plan
	err := e.call(ctx, func() {
		var cs []reconciler.ClusterPlan
		for _, name := range slices.Sorted(maps.Keys(e.state.Clusters)) {
			if cp, ok := e.planOf(ctx, name); ok {
				cp.Paused = e.state.paused(name)
				cs = append(cs, cp)
			}
		}
		p = reconciler.NewPlan(cs, e.seen.diagnostics)
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// planOf a cluster: of the revision that waits for a confirmation, where one does.
func (e *Engine) planOf(ctx context.Context, name string) (reconciler.ClusterPlan, bool) {
	h := e.state.Clusters[name]
	w := h.Waiting()
	if w == nil || h.Pin != nil {
		cp, ok := e.plans[name]
		return cp, ok
	}
	v, limit := e.view(time.Now()), desired.Quantity{N: 1}
	var want []desired.Resource
	if !w.Removed {
		c := e.clusterOf(ctx, w)
		if c == nil {
			return reconciler.ClusterPlan{}, false
		}
		limit = c.Settings.MaxUnavailable
		cs := []*desired.Cluster{c}
		want = desired.Compile(cs, e.facts().WithAssumedKeys(cs), e.state.Assigned(), v.now).Resources[name]
	}
	cp := reconciler.Diff(v.input(name, w.ID, want, limit))
	if cp.Held = holdOf(h, want, w.Removed); cp.Held == nil {
		cp.Held = &reconciler.Hold{Code: "waiting", Reason: w.Guard, Stops: []string{}}
	}
	return cp, true
}

// StopAll stops everything that any revision of this source had, in waves, workers first, and returns when
// it is done, or why something cannot be stopped. The engine deploys nothing afterwards.
func (e *Engine) StopAll(ctx context.Context) error {
	ch := make(chan error, 1)
	if err := e.call(ctx, func() { e.draining = true; e.drained = append(e.drained, ch) }); err != nil {
		return err
	}
	select {
	case err := <-ch:
		return err
	case <-e.stopped:
		return ErrStopped
	case <-ctx.Done():
		return fmt.Errorf("cannot stop everything: %w", context.Cause(ctx))
	}
}

// scope makes a name that a person wrote into the scope of records. "NODE" alone will do where it fits
// one cluster only.
func (e *Engine) scope(raw string) (string, error) {
	if inst, ok := strings.CutPrefix(raw, "instance:"); ok && !e.isInstance(inst) {
		return "", &NotFound{fmt.Sprintf("there is no instance %q", inst)}
	} else if ok || raw == "*" {
		return raw, nil
	}
	if e.state.Clusters[raw] != nil {
		return raw, nil
	}
	names := e.resourceNames()
	if strings.Contains(raw, "/") {
		if names[raw] {
			return raw, nil
		}
		return "", &NotFound{fmt.Sprintf("there is no node %q", raw)}
	}
	var fits []string
	for key := range names {
		if strings.HasSuffix(key, "/"+raw) {
			fits = append(fits, key)
		}
	}
	slices.Sort(fits)
	switch len(fits) {
	case 0:
		if _, ok := e.fleet[raw]; ok {
			return "instance:" + raw, nil
		}
		return "", &NotFound{fmt.Sprintf("there is no cluster, node or instance %q", raw)}
	case 1:
		return fits[0], nil
	}
	return "", fmt.Errorf("%q fits several nodes: %s", raw, strings.Join(fits, ", "))
}

// isInstance reports whether an agent of that name has reported, or something is wanted there.
func (e *Engine) isInstance(name string) bool {
	if _, ok := e.fleet[name]; ok {
		return true
	}
	for _, rs := range e.compiled.Resources {
		if slices.ContainsFunc(rs, func(r desired.Resource) bool { return r.Instance == name }) {
			return true
		}
	}
	return false
}

// resourceNames are all keys that are wanted or seen.
func (e *Engine) resourceNames() map[string]bool {
	m := map[string]bool{}
	for _, rs := range e.compiled.Resources {
		for i := range rs {
			m[rs[i].Key()] = true
		}
	}
	for _, r := range e.fleet {
		for i := range r.Resources {
			m[r.Resources[i].Key()] = true
		}
	}
	return m
}

// Find resolves a node that a person named to its cluster, name and instance.
func (e *Engine) Find(ctx context.Context, raw string) (key, instance string, err error) {
	cerr := e.call(ctx, func() {
		if key, err = e.scope(raw); err != nil {
			return
		}
		if !strings.Contains(key, "/") {
			err = &NotFound{fmt.Sprintf("%q is not a node", raw)}
			return
		}
		if instance = e.instanceOf(key); instance == "" {
			for name, r := range e.fleet {
				for i := range r.Resources {
					if r.Resources[i].Key() == key {
						instance = name
					}
				}
			}
		}
	})
	if cerr != nil {
		return "", "", cerr
	}
	return key, instance, err
}
