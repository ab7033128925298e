package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
)

// What of NAME/ a node loads is asked of Zeek itself, once for each new revision and before it is accepted, and is journaled with it: so
// the same revision means the same restarts, whatever happens to zeekrec. Where nobody can be asked, or the scripts do not parse, all of
// NAME/ counts once it changes, and preflight says what is wrong.

// loading is a question under way.
type loading struct {
	done  bool
	loads []desired.Loads
}

// loadAnswer is what a Zeek said that a node loads.
type loadAnswer struct {
	scripts []string
	// tree, where it is not empty, is the only one that this is true of: something is loaded that is no script by its form.
	tree string
}

// maxLoadCache bounds what is remembered of answers.
const maxLoadCache = 10_000

// findLoads fills in what the nodes of new revisions load. Clusters of which that is not known yet are taken back until there is an answer; no
// other waits for it.
func (e *Engine) findLoads(ctx context.Context, in *judged) {
	in.loads = map[string][]desired.Loads{}
	wanted := map[string]bool{}
	var resources map[string][]desired.Resource
	for _, name := range slices.Sorted(maps.Keys(in.good)) {
		c, f := in.good[name], in.files[name]
		if len(f.Tree) == 0 {
			continue
		}
		if n := e.state.look(name).Newest(); n != nil && n.ID == f.Revision() {
			c.Loaded = f.Tree.ByNode(n.Loads)
			continue
		}
		if resources == nil {
			cs := clusterList(in.good)
			resources = desired.Compile(cs, e.facts().WithAssumedKeys(cs), e.state.Assigned(), e.seen.checked).Resources
		}
		key := name + "@" + f.Revision()
		wanted[key] = true
		l := e.loadings[key]
		if l == nil {
			l = &loading{}
			e.loadings[key] = l
			if known, ok := e.rememberedLoads(resources[name], f.Tree); ok {
				l.done, l.loads = true, known
			} else {
				e.askLoads(ctx, name, f.Tree, resources[name], l)
			}
		}
		if !l.done {
			in.later[name] = true
			continue
		}
		in.loads[name] = e.asBefore(ctx, name, f.Tree, l.loads)
		c.Loaded = f.Tree.ByNode(in.loads[name])
	}
	maps.DeleteFunc(e.loadings, func(key string, l *loading) bool { return l.done && !wanted[key] })
	maps.DeleteFunc(in.good, func(name string, _ *desired.Cluster) bool { return in.later[name] })
}

// asBefore keeps a restart from coming of an answer, or the want of one, alone: where the scripts of NAME/ are what they are in the target, who
// could not be asked now goes on as it was told; and where all of it is, who could not then is still taken to load all.
func (e *Engine) asBefore(ctx context.Context, cluster string, tree desired.Tree, loads []desired.Loads) []desired.Loads {
	t := e.state.look(cluster).Target()
	if e.clusterOf(ctx, t) == nil {
		return loads
	}
	was := e.files[t.Object].Tree
	if was.Code() != tree.Code() {
		return loads
	}
	same := was.Hash() == tree.Hash()
	before, found := byNode(t.Loads), byNode(loads)
	for n := range t.Resources {
		scripts, known := before[n]
		switch _, answered := found[n]; {
		case !known && same:
			delete(found, n)
		case known && !answered:
			found[n] = scripts
		}
	}
	return groupLoads(found)
}

// byNode undoes groupLoads.
func byNode(loads []desired.Loads) map[string][]string {
	m := map[string][]string{}
	for _, l := range loads {
		for _, n := range l.Nodes {
			m[n] = l.Scripts
		}
	}
	return m
}

// askLoads asks every instance at the same time, beside the loop.
func (e *Engine) askLoads(ctx context.Context, cluster string, tree desired.Tree, rs []desired.Resource, l *loading) {
	byInstance := map[string][]desired.Resource{}
	keys := map[string]string{} // of the memory, by resource
	scripts := scriptsOf(tree)
	remembered := map[string][]string{} // by node
	for i := range rs {
		if rs[i].Node == nil {
			continue
		}
		key := e.loadKey(&rs[i], scripts)
		if a, ok := e.loadMemory[key]; ok && a.of(scripts) {
			remembered[rs[i].Name] = a.scripts
		} else if _, known := e.fleet[rs[i].Instance]; known {
			byInstance[rs[i].Instance] = append(byInstance[rs[i].Instance], rs[i])
			keys[rs[i].Key()] = key
		}
	}
	go func() {
		within, cancel := context.WithTimeoutCause(ctx, e.timings.Check, fmt.Errorf("no answer within %s", e.timings.Check))
		defer cancel()
		found := map[string][]string{}
		for inst, some := range byInstance {
			err := e.cfg.Agents.PutFiles(within, inst, cluster, tree)
			var answer map[string][]string
			if err == nil {
				answer, err = e.cfg.Agents.Loads(within, inst, some, scripts.namesNodes)
			}
			if err != nil {
				e.log.Warn("Cannot ask which scripts are loaded; all of them are taken to be", "cluster", cluster, "instance", inst, "error", err)
			}
			maps.Copy(found, answer)
		}
		e.later(ctx, func() {
			if len(e.loadMemory) > maxLoadCache {
				clear(e.loadMemory)
			}
			byName := maps.Clone(remembered)
			for key, loaded := range found {
				a := loadAnswer{scripts: loaded}
				if slices.ContainsFunc(loaded, func(n string) bool { _, found := slices.BinarySearch(scripts.usual, n); return !found }) {
					a.tree = scripts.hash
				}
				e.loadMemory[keys[key]] = a
				_, name, _ := strings.Cut(key, "/")
				byName[name] = loaded
			}
			l.done, l.loads = true, groupLoads(byName)
		})
	}()
}

// rememberedLoads are what is known already of just these command lines and scripts.
func (e *Engine) rememberedLoads(rs []desired.Resource, tree desired.Tree) ([]desired.Loads, bool) {
	found, scripts := map[string][]string{}, scriptsOf(tree)
	for i := range rs {
		if rs[i].Node == nil {
			continue
		}
		a, ok := e.loadMemory[e.loadKey(&rs[i], scripts)]
		if !ok || !a.of(scripts) {
			return nil, false
		}
		found[rs[i].Name] = a.scripts
	}
	return groupLoads(found), true
}

// loadKey names all that the answer for a resource depends on: its name only where its scripts know nodes by their names.
func (e *Engine) loadKey(r *desired.Resource, s treeScripts) string {
	n := r.Node
	z := e.fleet[r.Instance].Host.Zeek[n.Zeek]
	name := ""
	if s.namesNodes {
		name = r.Name
	}
	return fmt.Sprintf("%q %q %q %v %q %q %q %q %v %q %q", r.Instance, r.Role, name, z, n.Backend, n.Scripts, n.Args, n.Env, n.Options, n.LocalNets, s.code)
}

// treeScripts is what answers depend on of a NAME/.
type treeScripts struct {
	code, hash string
	usual      []string // Tree.Scripts
	namesNodes bool
}

func scriptsOf(t desired.Tree) treeScripts {
	return treeScripts{code: t.Code(), hash: t.Hash(), usual: t.Scripts(), namesNodes: t.NamesNodes()}
}

// of reports whether an answer is good for a NAME/ of the same code.
func (a loadAnswer) of(s treeScripts) bool { return a.tree == "" || a.tree == s.hash }

// groupLoads has nodes that load the same together, of scripts by the node's name.
func groupLoads(found map[string][]string) []desired.Loads {
	var out []desired.Loads
	at := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		id := strings.Join(found[name], "\x00")
		i, ok := at[id]
		if !ok {
			i = len(out)
			at[id] = i
			out = append(out, desired.Loads{Scripts: found[name]})
		}
		out[i].Nodes = append(out[i].Nodes, name)
	}
	return out
}
