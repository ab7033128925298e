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
// knows as well. Where Zeek cannot say, a change is taken to be a restart. Only the cluster that is asked for waits, for as long as
// one question may take (Timings.Check), and what a person has asked to stop is stopped meanwhile.

// namesRetry is how long Zeek is not asked again after it could not say.
const namesRetry = time.Minute

// namesPatience is how long a plan waits for answers that are due, which take a second or two each: without them it would show
// restarts where none is needed.
const namesPatience = 15 * time.Second

// namesKept bounds what is known of an instance; beyond it what no target has is forgotten. Names of one key are some hundred kB.
const namesKept = 32

// namesAtOnce bounds the questions that are asked at the same time for plans to come.
const namesAtOnce = 8

// names are what is known of the names in nodes' scripts, by instance and desired.NamesKey.
type names struct {
	known  map[string]map[string]desired.ZeekNames
	failed map[string]time.Time // when a question was in vain, by instance and key
	asking map[string]bool
	// open is how many questions are asked for a cluster.
	open map[string]int
	// room is for questions that nothing waits for but plans to come: each is a run of Zeek, and a controller that begins anew has one for
	// every kind of node on every host.
	room chan struct{}
	// idle is closed when nothing is asked any more; nil: nobody waits for that.
	idle chan struct{}
	// since is when the newest revision of a cluster, by its name, began to wait for answers.
	since map[string]time.Time
	// withheld are clusters, by name, of whose target nothing is rolled out yet.
	withheld map[string]bool
	// alike is the newest answer to each question, by NamesKey, of any instance.
	alike map[string]desired.ZeekNames
	// settled is what a cluster was compiled as when its names were asked for last.
	settled map[string]string
}

func newNames() names {
	return names{
		known: map[string]map[string]desired.ZeekNames{}, failed: map[string]time.Time{}, asking: map[string]bool{},
		open: map[string]int{}, room: make(chan struct{}, namesAtOnce),
		since: map[string]time.Time{}, withheld: map[string]bool{}, settled: map[string]string{}, alike: map[string]desired.ZeekNames{},
	}
}

// answered is closed when nothing is asked.
func (n *names) answered() <-chan struct{} {
	if n.idle == nil {
		n.idle = make(chan struct{})
	}
	idle := n.idle
	n.heard()
	return idle
}

// heard lets those go on who wait for answers, where no more are due.
func (n *names) heard() {
	if n.idle != nil && len(n.asking) == 0 {
		close(n.idle)
		n.idle = nil
	}
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
// asks for those that are not. tree is NAME/ of their cluster. A question that was in vain counts as an answer, unless that was
// namesRetry before since: so who waits since then asks each once at most, and an answer of any age is enough with the zero time.
// Where room is not nil, questions are asked when there is room in it.
func (e *Engine) learnedNames(ctx context.Context, facts desired.Facts, rs []desired.Resource, tree desired.Tree, since time.Time, room chan struct{}) bool {
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
		case known && (n.Err == "" || since.Sub(e.names.failed[id]) < namesRetry):
			continue
		case e.names.asking[id]:
			all = false
			continue
		}
		all = false
		e.names.asking[id] = true
		e.names.open[r.Cluster]++
		go func() {
			if room != nil {
				select {
				case room <- struct{}{}:
					defer func() { <-room }()
				case <-ctx.Done():
					return
				}
			}
			within, cancel := context.WithTimeoutCause(ctx, e.timings.Check, fmt.Errorf("no answer within %s", e.timings.Check))
			defer cancel()
			n, err := e.askNames(within, r, tree)
			e.later(ctx, func() { e.heardNames(&r, key, n, err) })
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
func (e *Engine) heardNames(r *desired.Resource, key string, n desired.ZeekNames, err error) {
	instance := r.Instance
	if e.names.open[r.Cluster]--; e.names.open[r.Cluster] <= 0 {
		delete(e.names.open, r.Cluster)
		e.attention.touch(r.Cluster)
	}
	e.factsNew = e.factsNew || e.options
	id := instance + "\x00" + key
	delete(e.names.asking, id)
	defer e.names.heard()
	if err != nil {
		e.log.Warn("Cannot ask Zeek for its names; a change of [zeekrec.options] is taken to be a restart", "instance", instance, "error", err)
		e.names.failed[id] = time.Now()
		n = desired.ZeekNames{Err: err.Error()}
	}
	if e.names.known[instance] == nil {
		e.names.known[instance] = map[string]desired.ZeekNames{}
	}
	e.names.known[instance][key] = e.names.shared(key, n)
	if i, ok := e.hosts[instance]; ok { // the rest of it is as it was
		i.Names = e.names.known[instance]
		e.hosts[instance] = i
	}
}

// shared is the same as n, in the memory of what another instance has answered to the question of this key: they are many, and mostly
// alike.
func (n *names) shared(key string, answer desired.ZeekNames) desired.ZeekNames {
	if old, ok := n.alike[key]; ok && old.Err == answer.Err && maps.Equal(old.Kinds, answer.Kinds) {
		return old
	}
	n.alike[key] = answer
	return answer
}

// postpone takes those of the good clusters back that have options of whose names it is not known yet what they are.
func (e *Engine) postpone(ctx context.Context, in *judged, now time.Time) {
	maps.DeleteFunc(e.names.since, func(name string, _ time.Time) bool { return in.good[name] == nil })
	if e.cfg.HoldsOnly || !slices.ContainsFunc(slices.Collect(maps.Values(in.good)), hasOptions) {
		return
	}
	cs := clusterList(in.good) // they share ports
	facts := e.facts()
	out := desired.Compile(cs, facts.WithAssumedKeys(cs), e.state.Assigned(), now)
	for _, c := range cs {
		if !hasOptions(c) {
			continue
		}
		if _, waits := e.names.since[c.Name]; !waits {
			e.names.since[c.Name] = now
		}
		if e.learnedNames(ctx, facts, out.Resources[c.Name], in.files[c.Name].Tree, e.names.since[c.Name], nil) {
			delete(e.names.since, c.Name)
			continue
		}
		delete(in.good, c.Name)
		in.later[c.Name] = true
	}
}

func hasOptions(c *desired.Cluster) bool { return len(c.Settings.Options) > 0 }

// withhold notes of which clusters that were compiled it is not known yet what a change of their options takes, and reports
// whether there are none. A cluster that Zeek could not answer for goes on: it is asked again when there is a new revision.
func (e *Engine) withhold(ctx context.Context, cs []*desired.Cluster, facts desired.Facts) bool {
	clear(e.names.withheld)
	for _, c := range cs {
		if hasOptions(c) && !e.cfg.HoldsOnly && !e.learnedNames(ctx, facts, e.compiled.Resources[c.Name], e.treeOf(c.Name), time.Time{}, nil) {
			e.names.withheld[c.Name] = true
		}
	}
	return len(e.names.withheld) == 0
}

// forgetNames keeps what is known within its bound.
func (e *Engine) forgetNames(facts desired.Facts) {
	var used map[string]bool
	for inst, keys := range e.names.known {
		if len(keys) <= namesKept {
			continue
		}
		if used == nil {
			used = map[string]bool{}
			for _, rs := range e.compiled.Resources {
				for i := range rs {
					if r := &rs[i]; r.Node != nil {
						used[r.Instance+"\x00"+desired.NamesKey(r, facts.Instances[r.Instance].Zeek[r.Node.Zeek])] = true
					}
				}
			}
		}
		maps.DeleteFunc(keys, func(key string, _ desired.ZeekNames) bool { return !used[inst+"\x00"+key] })
	}
	maps.DeleteFunc(e.names.alike, func(key string, _ desired.ZeekNames) bool {
		for _, keys := range e.names.known {
			if _, known := keys[key]; known {
				return false
			}
		}
		return true
	})
	maps.DeleteFunc(e.names.failed, func(id string, _ time.Time) bool {
		inst, key, _ := strings.Cut(id, "\x00")
		_, known := e.names.known[inst][key]
		return !known
	})
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
	if e.draining || e.cfg.HoldsOnly || e.names.settled[name] == e.compiledAs[name] || e.names.open[name] > 0 {
		return // or is looked at again when the last answer has come
	}
	if e.learnedNames(ctx, e.facts(), want, e.treeOf(name), now, e.names.room) {
		e.names.settled[name] = e.compiledAs[name]
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
