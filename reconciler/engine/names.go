package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

// What a change of [zeekrec.options] takes depends on the names that Zeek's scripts have, and only Zeek knows those. Agents ask
// it: before a revision with options is taken in, and for all other clusters once they run as they should, so that a plan
// knows as well. Where Zeek cannot say, a change is taken to be a restart.

// namesRetry is how long Zeek is not asked again after it could not say.
const namesRetry = time.Minute

// names are what is known of the names in nodes' scripts, by instance and desired.NamesKey.
type names struct {
	known  map[string]map[string]desired.ZeekNames
	failed map[string]time.Time // when a question was in vain, by instance and key
	asking map[string]bool
	// settled is what a cluster was compiled as when its names were asked for last.
	settled map[string]string
}

func newNames() names {
	return names{known: map[string]map[string]desired.ZeekNames{}, failed: map[string]time.Time{}, asking: map[string]bool{}, settled: map[string]string{}}
}

// snapshot is a copy for another goroutine.
func (n *names) snapshot() map[string]map[string]desired.ZeekNames {
	out := make(map[string]map[string]desired.ZeekNames, len(n.known))
	for inst, keys := range n.known {
		out[inst] = maps.Clone(keys)
	}
	return out
}

// withNames adds them to facts.
func withNames(f desired.Facts, known map[string]map[string]desired.ZeekNames) desired.Facts {
	for inst, i := range f.Instances {
		i.Names = known[inst]
		f.Instances[inst] = i
	}
	return f
}

// learnedNames reports whether the names are known that the scripts of these resources have, as far as agents can tell, and
// asks for those that are not. tree is NAME/ of their cluster.
func (e *Engine) learnedNames(ctx context.Context, facts desired.Facts, rs []desired.Resource, tree desired.Tree, now time.Time) bool {
	all := true
	for i := range rs {
		r := rs[i]
		in, here := facts.Instances[r.Instance]
		if r.Node == nil || !here {
			continue
		}
		z, asked := in.Zeek[r.Node.Zeek]
		if !asked || z.Err != "" {
			continue
		}
		key := desired.NamesKey(&r, z)
		id := r.Instance + "\x00" + key
		switch n, known := in.Names[key]; {
		case known && (n.Err == "" || now.Sub(e.names.failed[id]) < namesRetry):
			continue
		case e.names.asking[id]:
			all = false
			continue
		}
		all = false
		e.names.asking[id] = true
		go func() {
			within, cancel := context.WithTimeoutCause(ctx, e.timings.Check, fmt.Errorf("no answer within %s", e.timings.Check))
			defer cancel()
			n, err := e.askNames(within, r, tree)
			e.later(ctx, func() { e.heardNames(r.Instance, key, n, err) })
		}()
	}
	return all
}

func (e *Engine) askNames(ctx context.Context, r desired.Resource, tree desired.Tree) (desired.ZeekNames, error) {
	if len(tree) > 0 {
		if err := e.cfg.Agents.PutFiles(ctx, r.Instance, r.Cluster, tree); err != nil {
			return desired.ZeekNames{}, err
		}
	}
	return e.cfg.Agents.Names(ctx, r.Instance, r)
}

// heardNames takes an answer, in the loop.
func (e *Engine) heardNames(instance, key string, n desired.ZeekNames, err error) {
	id := instance + "\x00" + key
	delete(e.names.asking, id)
	if err != nil {
		e.log.Warn("Cannot ask Zeek for its names; a change of [zeekrec.options] is taken to be a restart", "instance", instance, "error", err)
		e.names.failed[id] = time.Now()
		n = desired.ZeekNames{Err: err.Error()}
	}
	if e.names.known[instance] == nil {
		e.names.known[instance] = map[string]desired.ZeekNames{}
	}
	e.names.known[instance][key] = n
}

// learnedOptions is learnedNames for those of the clusters that have options.
func (e *Engine) learnedOptions(ctx context.Context, in judged, now time.Time) bool {
	some := maps.Clone(in.good)
	maps.DeleteFunc(some, func(_ string, c *desired.Cluster) bool { return len(c.Settings.Options) == 0 })
	if len(some) == 0 || e.cfg.HoldsOnly {
		return true
	}
	cs := clusterList(in.good) // they share ports
	facts := e.facts()
	out := desired.Compile(cs, facts.WithAssumedKeys(cs), e.state.Assigned(), now)
	all := true
	for _, name := range slices.Sorted(maps.Keys(some)) {
		all = e.learnedNames(ctx, facts, out.Resources[name], in.files[name].Tree, now) && all
	}
	return all
}

// withhold takes the resources of clusters out of what was compiled of whose options it is not known yet what a change of
// them takes; false: there were some.
func (e *Engine) withhold(ctx context.Context, cs []*desired.Cluster, facts desired.Facts, now time.Time) bool {
	all := true
	for _, c := range cs {
		if len(c.Settings.Options) == 0 || e.cfg.HoldsOnly {
			continue
		}
		if !e.learnedNames(ctx, facts, e.compiled.Resources[c.Name], e.treeOf(c.Name), now) {
			delete(e.compiled.Resources, c.Name)
			all = false
		}
	}
	return all
}

// treeOf is NAME/ of a cluster's target.
func (e *Engine) treeOf(cluster string) desired.Tree {
	if t := e.state.look(cluster).Target(); t != nil {
		return e.files[t.Object].Tree
	}
	return nil
}

// settledNames asks for the names of a cluster that runs as it should, for the plans to come.
func (e *Engine) settledNames(ctx context.Context, name string, want []desired.Resource, now time.Time) {
	if e.draining || e.cfg.HoldsOnly || e.names.settled[name] == e.compiledAs {
		return
	}
	if e.learnedNames(ctx, e.facts(), want, e.treeOf(name), now) {
		e.names.settled[name] = e.compiledAs
	}
}

// namesKey is what is known of names, for factsKey.
func namesKey(known map[string]desired.ZeekNames) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(known)) {
		fmt.Fprintf(&b, " %s %t", key, known[key].Err == "")
	}
	return b.String()
}
