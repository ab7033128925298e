package bus

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/zeekrec/zeekrec/actuators/keys"
	"github.com/zeekrec/zeekrec/desired"
)

// bringKeys gives an agent the keys of the clusters of resources that encrypt, unless it has them. It has those that it was given before
// on disk, so it can start such a resource again while no controller is there.
func (f *Fleet) bringKeys(ctx context.Context, instance string, rs ...desired.Resource) error {
	if f.cfg.Keys == nil {
		return nil
	}
	seen := map[string]bool{}
	for i := range rs {
		r := &rs[i]
		encrypts := r.Broker != nil && len(r.Broker.Curve) > 0 || r.Node != nil && r.Node.Curve != ""
		if seen[r.Cluster] || !encrypts {
			continue
		}
		boot, had := f.keysAt(instance, r.Cluster)
		if hasAll(strings.Fields(had), r) {
			continue
		}
		seen[r.Cluster] = true
		pairs, err := f.cfg.Keys.List(r.Cluster)
		if err != nil {
			return err
		}
		ids := make([]string, len(pairs))
		for i := range pairs {
			ids[i] = pairs[i].ID
		}
		have := strings.Join(ids, " ")
		if len(pairs) == 0 || had == have {
			continue
		}
		b, err := keys.Encode(pairs)
		if err != nil {
			return fmt.Errorf("cannot bring the keys of %s to %s: %w", r.Cluster, instance, err)
		}
		if err := f.ask(ctx, instance, methodKeys, 0, keysBody{Cluster: r.Cluster, Keys: b}, nil); err != nil {
			return err
		}
		f.brought(instance, boot, r.Cluster, have)
	}
	return nil
}

// hasAll reports whether the keys of these ids are enough for a resource.
func hasAll(ids []string, r *desired.Resource) bool {
	if r.Broker != nil {
		return !slices.ContainsFunc(r.Broker.Curve, func(id string) bool { return !slices.Contains(ids, id) })
	}
	return slices.Contains(ids, r.Node.Curve)
}

// keysAt are the ids of the keys that an agent was given in its present life.
func (f *Fleet) keysAt(instance, cluster string) (boot, ids string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.agents[token(instance)]
	if s == nil {
		return "", ""
	}
	return s.boot, s.keys[cluster]
}

func (f *Fleet) brought(instance, boot, cluster, ids string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.agents[token(instance)]
	if s == nil || s.boot != boot {
		return // it has begun anew meanwhile
	}
	if s.keys == nil {
		s.keys = map[string]string{}
	}
	s.keys[cluster] = ids
}
