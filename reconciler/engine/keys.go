package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

// This file is about the CURVE keys of clusters, of which the engine sees the ids alone.
//
// Which keys count is in the journal (History.Keys), so that what a cluster compiles to never depends on
// whether a file can be read now. The store holds at least those. It has more of them twice: for the moment between a
// rotation and its record, and at the end of one, until nobody refers to the old ones any more. A rotation goes
// by itself from the command on:
//
//	rotate   store and journal have the new keys, then the old ones: the broker is told to accept both, nodes
//	         are restarted with the new ones, by waves and health gates, as for any change
//	retire   every process of the cluster has the new ones, and is healthy: the journal drops the old, and the
//	         broker is told to accept the new ones alone
//	forget   it does: the store drops them too
//
// Each step follows from the store, the journal and the newest reports, so a crash at any point leads to the same end.
// A rollout that fails in the middle changes nothing about that: there is no other revision to go back to, the old
// and the new keys are both accepted, and the rollout is tried again.

// ClusterKeys are the keys of one cluster that count.
type ClusterKeys struct {
	// IDs of the keys, the one to use first. The others are still accepted: a rotation is under way.
	IDs []string `json:"ids"`
	// Who asked for the first of them, why and when.
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// keyIDs are the ids of the keys that count, the one to use first; none where there are none.
func (h *History) keyIDs() []string {
	if h.Keys == nil {
		return nil
	}
	return h.Keys.IDs
}

// rotating reports whether old keys are still accepted beside the new ones.
func (h *History) rotating() bool { return len(h.keyIDs()) > 1 }

// applyKeys adds a record about keys.
func (h *History) applyKeys(r *Record) {
	k := &ClusterKeys{IDs: r.Keys, By: r.By, Reason: r.Reason, At: r.At}
	if r.Kind == KindKeysRetired && h.Keys != nil {
		k.By, k.Reason, k.At = h.Keys.By, h.Keys.Reason, h.Keys.At
	}
	h.Keys = k
}

// keyFacts are the keys that count, by cluster.
func (s *State) keyFacts() map[string][]string {
	m := map[string][]string{}
	for name, h := range s.Clusters {
		if ids := h.keyIDs(); len(ids) > 0 {
			m[name] = ids
		}
	}
	return m
}

// keyring is how the keys of one cluster look in the store.
type keyring struct {
	ids   []string
	err   string    // why that is not known, or not as it should be
	look  time.Time // not before
	pause time.Duration
}

// keysLook is how often the store is looked at where nothing is known to have changed: a file that somebody
// damages is found out before it is needed.
const keysLook = time.Minute

func (k *keyring) failed(err error, now time.Time, first time.Duration) {
	k.err = err.Error()
	k.pause = min(max(first, 2*k.pause), time.Minute)
	k.look = now.Add(k.pause)
}

// keysLost says that keys which processes may be using are not in the store.
type keysLost struct{ cluster, id string }

// Error says what to do.
func (k *keysLost) Error() string {
	return fmt.Sprintf("the keys %s, which the cluster uses, are not in the state folder any more; what runs is left as it is. "+
		"Bring keys/%s.json back, or have new ones made: zeekrec keys rotate %s", k.id, k.cluster, k.cluster)
}

// tendKeys looks after the keys of all clusters that need some: makes the first ones, and takes notice of
// those that are in the store and not in the journal. What goes wrong is in the status; what was compiled before stays
// as it is.
func (e *Engine) tendKeys(ctx context.Context, now time.Time) {
	if e.cfg.Keys == nil {
		return
	}
	sums := *e.summed()
	for _, name := range sums.names {
		if !sums.curved[name] {
			delete(e.keyrings, name)
			continue
		}
		h, k := e.state.Clusters[name], e.keyrings[name]
		if k == nil {
			k = &keyring{}
			e.keyrings[name] = k
		}
		if now.Before(k.look) {
			continue
		}
		was := k.err
		if err := e.tend(ctx, name, h, k); err != nil {
			if k.failed(err, now, e.timings.Recheck); was != k.err {
				e.log.Error("Cannot look after the keys of a cluster; it stays as it was", "cluster", name, "error", err)
			}
			continue
		}
		k.err, k.pause, k.look = "", 0, now.Add(keysLook)
		if was != "" {
			e.log.Info("The keys of a cluster are well again", "cluster", name)
		}
	}
}

// targetCluster is what is wanted of a cluster, where that has been read already.
func (e *Engine) targetCluster(h *History) *desired.Cluster {
	rev := h.Target()
	if rev == nil || rev.Removed {
		return nil
	}
	return e.parsed[rev.Object]
}

func (e *Engine) tend(ctx context.Context, name string, h *History, k *keyring) error {
	ids, err := e.cfg.Keys.IDs(name)
	if err != nil {
		return err
	}
	k.ids = ids
	counted := h.keyIDs()
	switch lost := firstWithout(counted, ids); {
	case lost != "":
		return &keysLost{cluster: name, id: lost}
	case len(ids) == 0 && e.cfg.HoldsOnly:
		return nil // nothing is to be started
	case len(ids) == 0:
		id, err := e.cfg.Keys.Ensure(name)
		if err != nil {
			return err
		}
		k.ids = []string{id}
		return e.recordKeys(ctx, KindKeysMade, name, k.ids, "")
	case len(counted) == 0:
		// Of an earlier source, or made and not recorded.
		return e.recordKeys(ctx, KindKeysMade, name, ids, "found in the state folder")
	case !slices.Contains(counted, ids[0]):
		// The crash of a zeekrec came between a rotation and its record.
		return e.recordKeys(ctx, KindKeysRotated, name, ids, "found in the state folder")
	}
	return nil
}

// firstWithout returns the first of a that is not in b; empty for none.
func firstWithout(a, b []string) string {
	for _, s := range a {
		if !slices.Contains(b, s) {
			return s
		}
	}
	return ""
}

func (e *Engine) recordKeys(ctx context.Context, kind Kind, name string, ids []string, why string) error {
	if !e.record(ctx, &Record{Kind: kind, Cluster: name, By: "zeekrec", Reason: why, Keys: ids}) {
		return errJournal
	}
	e.log.Info("Keys of a cluster", "cluster", name, "what", string(kind), "ids", ids)
	return nil
}

// RotateKeys gives a cluster new CURVE keys, rolls them out, and drops the old ones when nobody uses them any
// more. It returns the id of the new ones when they are on disk and in the journal; the rest goes on by itself. It is
// refused while a rotation is under way. force is for clusters whose broker is somebody else's, which has to be given
// the new keys by hand.
func (e *Engine) RotateKeys(ctx context.Context, cluster, reason, by string, force bool) (id string, err error) {
	cerr := e.call(ctx, func() {
		if id, err = e.rotateKeys(ctx, cluster, reason, by, force); err != nil {
			err = fmt.Errorf("cannot rotate the keys of %s: %w", cluster, err)
		}
	})
	if cerr != nil {
		return "", cerr
	}
	return id, err
}

func (e *Engine) rotateKeys(ctx context.Context, cluster, reason, by string, force bool) (string, error) {
	h, err := e.history(cluster)
	if err != nil {
		return "", err
	}
	switch c := e.clusterOf(ctx, h.Target()); {
	case e.cfg.Keys == nil:
		return "", errors.New("this zeekrec has no place for keys")
	case c == nil:
		return "", errors.New("there is no revision of it that runs, or that revision cannot be read")
	case !c.UsesCurve():
		return "", errors.New("its traffic is not encrypted (curve = on in [zeekrec.broker] makes it so)")
	case c.BrokerMode() == desired.BrokerExternal && !force:
		return "", errors.New("its broker is somebody else's (mode = external) and would refuse nodes that are restarted with keys it has not been given; " +
			"with --force they are all the same, and reconnect once it has what zeekrec keys export prints")
	case h.rotating():
		return "", fmt.Errorf("a rotation to %s is under way since %s", h.Keys.IDs[0], h.Keys.At.Local().Format(time.DateTime))
	}
	before, err := e.cfg.Keys.IDs(cluster)
	if err != nil {
		return "", err
	}
	id, err := e.cfg.Keys.Rotate(cluster)
	if err != nil {
		return "", err
	}
	ids := append([]string{id}, before...)
	if !e.record(ctx, &Record{Kind: KindKeysRotated, Cluster: cluster, By: by, Reason: reason, Keys: ids}) {
		// Nothing was acted on yet: as if nothing had been asked.
		if len(before) == 1 {
			err = e.cfg.Keys.Retire(cluster, before[0])
		}
		return "", errors.Join(errJournal, err)
	}
	e.log.Info("Keys of a cluster are rotated", "cluster", cluster, "to", id, "by", by, "reason", reason)
	delete(e.keyrings, cluster)
	w := e.work(cluster)
	w.unblock()
	w.stalled = stall{}
	return id, nil
}

// retireKeys ends a rotation, step by step. It is to be called where the plan of a cluster is empty, and nothing
// of it is under way or waits.
func (e *Engine) retireKeys(ctx context.Context, name string, h *History, v *view, want []desired.Resource, now time.Time) {
	k, ids := e.keyrings[name], h.keyIDs()
	if k == nil || len(ids) == 0 || k.err != "" && now.Before(k.look) || len(ids) == 1 && len(k.ids) <= 1 {
		return
	}
	if e.keysWait(name, h, v, want) != "" {
		return
	}
	if len(ids) > 1 {
		if e.recordKeys(ctx, KindKeysRetired, name, ids[:1], "every node uses the new ones") == nil {
			k.look = time.Time{}
		}
		return
	}
	if err := e.cfg.Keys.Retire(name, ids[0]); err != nil {
		e.log.Error("Cannot remove old keys, which nobody uses any more", "cluster", name, "error", err)
		k.failed(fmt.Errorf("cannot remove old keys: %w", err), now, e.timings.Recheck)
		return
	}
	k.ids, k.look = slices.Clone(ids), time.Time{}
	e.log.Info("Old keys of a cluster are removed", "cluster", name, "kept", ids[0])
}

// keysWait says what a rotation waits for before the next step can be taken; empty: nothing. Whoever may still
// use or need the old keys counts, wanted or not.
func (e *Engine) keysWait(name string, h *History, v *view, want []desired.Resource) string {
	use, retired := h.keyIDs()[0], !h.rotating()
	for i := range want {
		switch s := v.seen(want[i].Instance, want[i].Key()); {
		case s == nil:
			return want[i].Name + " has not been seen"
		case !s.Healthy && s.Hold == "":
			return want[i].Name + " is not healthy" + reasonOf(s)
		}
	}
	places := map[string]bool{} // where it may run, seen or not
	for _, p := range h.Known {
		places[p.Instance] = true
	}
	for _, inst := range slices.Sorted(maps.Keys(places)) {
		if r, ok := v.fleet[inst]; !ok || v.now.Sub(r.At) > v.stale {
			return inst + " has not reported"
		}
	}
	for _, inst := range slices.Sorted(maps.Keys(v.fleet)) {
		r := v.fleet[inst]
		for i := range r.Resources {
			s := &r.Resources[i]
			if s.Cluster != name || s.PID == 0 && (s.Told == "" || s.Hold != "") {
				continue // it does not run, and when it shall again it is told anew what with
			}
			if v.now.Sub(r.At) > v.stale {
				return inst + " has not reported"
			}
			if other := firstWithout(s.Parts.Get("curve"), []string{use}); other != "" {
				return fmt.Sprintf("%s still runs with the keys %s", s.Name, other)
			}
			if other := firstWithout(s.Parts.Get("accepts"), []string{use}); retired && other != "" {
				return fmt.Sprintf("%s still accepts the keys %s", s.Name, other)
			}
		}
	}
	return ""
}

// KeysStatus is how the CURVE keys of a cluster are.
type KeysStatus struct {
	// ID of the keys that nodes use, or are to use.
	ID string `json:"id"`
	// Accepted are the ids of all keys that count: more than one while a rotation is under way.
	Accepted []string `json:"accepted"`
	// Rotation that is under way.
	Rotation *KeysRotation `json:"rotation,omitempty"`
	// Error is why the keys cannot be looked after.
	Error string `json:"error,omitempty"`
}

// KeysRotation is a rotation that is under way.
type KeysRotation struct {
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Began  time.Time `json:"began"`
	// Waiting is what the old keys are still accepted for.
	Waiting string `json:"waiting,omitempty"`
}

// keysStatus fills in what is to be said of a cluster's keys.
func (e *Engine) keysStatus(c *ClusterStatus, h *History, v *view) {
	k, ids := e.keyrings[c.Name], h.keyIDs()
	if k == nil {
		return
	}
	c.Keys = &KeysStatus{Accepted: slices.Clone(ids), Error: k.err}
	if len(ids) == 0 {
		c.Keys.Accepted = []string{}
	} else {
		c.Keys.ID = ids[0]
	}
	if h.rotating() {
		c.Keys.Rotation = &KeysRotation{By: h.Keys.By, Reason: h.Keys.Reason, Began: h.Keys.At, Waiting: e.keysWait(c.Name, h, v, e.compiled.Resources[c.Name])}
		c.Reason = joinReason(c.Reason, fmt.Sprintf("its keys are rotated to %s; until every node uses them, those before are accepted too", ids[0]))
	}
	if k.err != "" {
		c.Reason = joinReason(c.Reason, "its keys: "+k.err)
	}
}

func joinReason(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}
