package reconciler

import (
	"slices"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// place is a port of an instance.
type place struct{ instance, port string }

// claim is an item's wish for a place, at one of the instance's addresses.
type claim struct {
	item int
	host string
}

// bound splits an address that a process listens on.
func bound(address string) (host, port string) {
	i := strings.LastIndexByte(address, ':')
	if i < 0 {
		return "", address
	}
	switch host = address[:i]; host {
	case "0.0.0.0", "[::]":
		host = ""
	case "localhost":
		host = "127.0.0.1"
	}
	return host, address[i+1:]
}

// listens are the addresses that a resource listens on as its instance has it.
func listens(o *observed.Resource) []string {
	return desired.ListensOf(func(field string) []string { return o.Parts.Get(field) })
}

// clash reports whether two hosts cannot be bound with the same port: "" is all addresses.
func clash(a, b string) bool { return a == b || a == "" || b == "" }

// binds reports whether a resource, once it runs, has a port at an address that clashes with host.
func binds(r *desired.Resource, host, port string) bool {
	for _, v := range r.Listens() {
		if h, p := bound(v); p == port && clash(h, host) {
			return true
		}
	}
	return false
}

// holds reports whether a resource has its ports, or may have them at any moment: a process that crashed
// comes back with them.
func holds(o *observed.Resource) bool {
	return alive(o) || (o.Told != "" && o.Hold == "")
}

// linkPorts finds, for what is to be started, who has its ports now. Where that is another item of the plan
// that gives them up, the one has to go before the other (item.needs). Where nobody is going to give
// them up (the holder is suspended, orphaned, of another cluster, or waits itself) the start could only
// fail: it waits.
func (d *differ) linkPorts() {
	claims, instances := d.claims()
	if len(claims) == 0 {
		return
	}
	type seenAt struct{ key, instance string }
	leaving := map[seenAt]int{} // who gives up the ports that it has
	for j := range d.items {
		it := &d.items[j]
		if it.Kind == desired.Restart || it.Kind == desired.Stop {
			leaving[seenAt{it.Resource, it.Instance}] = j
		}
		for k := range it.first {
			leaving[seenAt{it.Resource, it.first[k].Instance}] = j
		}
	}

	why := map[int]string{}       // items that have to wait
	dependents := map[int][]int{} // and who waits for those
	for _, at := range instances {
		rs := d.in.Instances[at].Resources
		for k := range rs {
			o := &rs[k]
			if !holds(o) {
				continue
			}
			key := o.Key()
			j, leaves := leaving[seenAt{key, at}]
			for _, v := range listens(o) {
				host, port := bound(v)
				freed := leaves
				if leaves && d.items[j].Kind == desired.Restart && d.items[j].Instance == at {
					freed = !binds(d.items[j].Target, host, port)
				}
				for _, c := range claims[place{at, port}] {
					it := &d.items[c.item]
					switch {
					case !clash(c.host, host), it.Resource == key:
					case !freed:
						why[c.item] = "port " + port + " is in use by " + key
					case !slices.Contains(it.needs, j):
						it.needs, it.Follows = append(it.needs, j), true
						dependents[j] = append(dependents[j], c.item)
					}
				}
			}
		}
	}
	d.drop(why, dependents)
}

// claims are the places that items need, and the instances that these are on.
func (d *differ) claims() (map[place][]claim, []string) {
	m := map[place][]claim{}
	on := map[string]bool{}
	for i := range d.items {
		it := &d.items[i]
		if it.Kind != desired.Start && it.Kind != desired.Restart {
			continue
		}
		for _, v := range it.Target.Listens() {
			host, port := bound(v)
			p := place{it.Instance, port}
			m[p] = append(m[p], claim{i, host})
			on[it.Instance] = true
		}
	}
	return m, sortedKeys(on)
}

// drop turns items that have to wait into waiting ones, and with them those that wait for what they would
// have given up.
func (d *differ) drop(why map[int]string, dependents map[int][]int) {
	if len(why) == 0 {
		return
	}
	var queue []int
	for i := range why {
		queue = append(queue, i)
	}
	slices.Sort(queue)
	for len(queue) > 0 {
		j := queue[0]
		queue = queue[1:]
		for _, i := range dependents[j] {
			if _, ok := why[i]; !ok {
				why[i] = "a port that it needs is in use by " + d.items[j].Resource + ", which waits"
				queue = append(queue, i)
			}
		}
	}
	place := make([]int, len(d.items)) // of each item among those that stay
	kept := make([]item, 0, len(d.items)-len(why))
	for i := range d.items {
		if w, waits := why[i]; waits {
			d.wait(d.items[i].Resource, w)
			continue
		}
		place[i] = len(kept)
		kept = append(kept, d.items[i])
	}
	for i := range kept {
		for k, j := range kept[i].needs {
			kept[i].needs[k] = place[j]
		}
	}
	d.items = kept
}
