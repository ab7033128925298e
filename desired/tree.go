package desired

import (
	"path"
	"regexp"
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

var (
	conditions = regexp.MustCompile(`@if\s*\(`)
	nodeNames  = regexp.MustCompile(`\bCluster::node\b|\bCLUSTER_NODE\b`)
	calls      = regexp.MustCompile(`([\w:]+)\s*\(`)
)

// ofTheRole are functions whose results are the same for all nodes of a role and a host.
var ofTheRole = map[string]bool{"Cluster::local_node_type": true, "Cluster::is_enabled": true, "Version::at_least": true, "getenv": true}

// NamesNodes reports whether what two nodes of one role load of the tree may differ: whether a condition (@if) of its scripts knows nodes by
// their names, or calls a function that may.
func (t Tree) NamesNodes() bool {
	return slices.ContainsFunc(t.Scripts(), func(name string) bool {
		text := t[name].Data
		for _, at := range conditions.FindAllIndex(text, -1) {
			cond := parenthesis(text[at[1]:])
			if nodeNames.Match(cond) {
				return true
			}
			for _, call := range calls.FindAllSubmatch(cond, -1) {
				if !ofTheRole[string(call[1])] {
					return true
				}
			}
		}
		return false
	})
}

// parenthesis is what comes before the parenthesis that closes one just opened.
func parenthesis(b []byte) []byte {
	open := 1
	for i, c := range b {
		switch c {
		case '(':
			open++
		case ')':
			if open--; open == 0 {
				return b[:i]
			}
		}
	}
	return b
}

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
