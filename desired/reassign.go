package desired

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// reassign is assign, where something was compiled before: of many clusters mostly one has changed, and no other can be affected than
// those that are on one of its hosts, or on one of theirs. Numbers are given out by instance, but for fan-out ids, of which all are
// looked at.
func reassign(clusters []*Cluster, prev Assignment, addr func(*Cluster, string) string, now time.Time, before *Compiled) (Assignment, []Diagnostic) {
	near, ok := before.affected(clusters, prev)
	if !ok {
		return assign(clusters, prev, addr, now)
	}
	var some []*Cluster
	var names []string
	elsewhere := map[string]bool{}
	files := map[string]bool{}
	for _, c := range clusters {
		if !near[c.Name] {
			elsewhere[c.Name] = true
			continue
		}
		some, names, files[c.File] = append(some, c), append(names, c.Name), true
	}
	// What is wrong stays so; that a number was moved was said when it was.
	diags := slices.DeleteFunc(slices.Clone(before.assigned), func(d Diagnostic) bool { return files[d.File] || d.Severity != Error })
	if len(some) == 0 {
		return prev.clone(), diags
	}
	around := prev.filter(func(key string) bool { return !elsewhere[clusterOf(key)] })
	around.Addresses, around.Fanout = prev.Addresses, prev.Fanout
	next, said := assign(some, around, addr, now)
	return prev.Overlay(next.Parts(names)), append(diags, said...)
}

// affected are the clusters whose numbers may be others than they were, by name; false: all are to be looked at.
func (c *Compiled) affected(clusters []*Cluster, prev Assignment) (map[string]bool, bool) {
	if c.said == nil {
		return nil, false
	}
	changed := prev.differs(c.Assignment)
	was := make(map[string]string, len(clusters))
	for _, of := range c.of {
		was[of.name] = of.revision
	}
	there := map[string]bool{}
	for _, x := range clusters {
		there[x.Name] = true
		if rev, known := was[x.Name]; !known || rev != x.Revision || x.Revision == "" {
			changed[x.Name] = true
		}
	}
	gone := func(name string) bool { return !there[name] } // its numbers are kept for it
	if slices.ContainsFunc(slices.Collect(maps.Keys(changed)), gone) || slices.ContainsFunc(slices.Collect(maps.Keys(was)), gone) {
		return nil, false
	}
	on := map[string][]string{} // clusters of instances
	hosts := map[string][]string{}
	for _, x := range clusters {
		at := x.UsedInstances()
		for _, i := range x.Instances {
			if !slices.Contains(at, i.Name) {
				at = append(at, i.Name)
			}
		}
		hosts[x.Name] = at
	}
	// What has gone keeps its numbers where it was.
	also := func(key, instance string) {
		if name := clusterOf(key); !slices.Contains(hosts[name], instance) {
			hosts[name] = append(hosts[name], instance)
		}
	}
	for _, m := range []map[string]Assigned{prev.Ports, prev.Metrics} {
		for key, a := range m {
			also(key, a.Instance)
		}
	}
	for key, b := range prev.Brokers {
		also(key, b.Instance)
	}
	for key := range prev.LogSlots {
		if _, instance, ok := strings.Cut(key, "@"); ok {
			also(key, instance)
		}
	}
	for name, at := range hosts {
		if !there[name] {
			continue // everybody keeps clear of it
		}
		for _, i := range at {
			on[i] = append(on[i], name)
		}
	}
	todo := slices.Collect(maps.Keys(changed))
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, i := range hosts[name] {
			for _, other := range on[i] {
				if !changed[other] {
					changed[other] = true
					todo = append(todo, other)
				}
			}
			delete(on, i)
		}
	}
	return changed, true
}
