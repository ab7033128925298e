package desired

import (
	"path"
	"slices"
	"strings"
)

// LoadedNothing stands for the hash of nothing.
const LoadedNothing = "none"

// Loads says which scripts of NAME/ some nodes of a cluster load, as a Zeek said of itself.
type Loads struct {
	Nodes   []string `json:"nodes"`   // sorted
	Scripts []string `json:"scripts"` // names within NAME/, sorted
}

// Loaded is the hash of what counts of a tree for a node that loads these scripts: the scripts, and whatever is no script and may be read
// at a start without being named by it: signatures, plugins, compiled analyzers, JavaScript. LoadedNothing where there is none.
func (t Tree) Loaded(scripts []string) string {
	some := Tree{}
	for name, f := range t {
		if slices.Contains(scripts, name) || readAtStart(name) {
			some[name] = f
		}
	}
	if len(some) == 0 {
		return LoadedNothing
	}
	return some.Hash()
}

// Scripts are the names in a tree that are scripts by their form, sorted.
func (t Tree) Scripts() []string {
	var out []string
	for name := range t {
		switch strings.ToLower(path.Ext(name)) {
		case ".zeek", ".bro":
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Code is the hash of all that a node may load of a tree: as long as it is the same, and all that is loaded is among Scripts, Zeek loads the same.
func (t Tree) Code() string { return t.Loaded(t.Scripts()) }

func readAtStart(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".sig", ".so", ".hlto", ".spicy", ".evt", ".js", ".cjs", ".mjs":
		return true
	}
	return path.Base(name) == "__preload__.zeek"
}

// ByNode makes what Cluster.Loaded is of what nodes load.
func (t Tree) ByNode(all []Loads) map[string]string {
	if len(all) == 0 || len(t) == 0 {
		return nil
	}
	m := map[string]string{}
	for _, l := range all {
		h := t.Loaded(l.Scripts)
		for _, n := range l.Nodes {
			m[n] = h
		}
	}
	return m
}
