package clustercfg

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
)

// A worker section with lb_procs stands for several workers, in zeekctl's words (node.cfg):
//
//	[worker]
//	role = worker
//	interface = eth0
//	lb_method = af_packet
//	lb_procs = 4
//	pin_cpus = 2,3,4,5
//
// are worker-1 to worker-4 (worker-1 also where lb_procs is 1); worker-1 is on the first CPU of the list, and so on, and round
// again. The methods are af_packet, pf_ring, myricom, custom, and interfaces, with lb_interfaces = e1,e2: as many as lb_procs, of
// which worker-1 has the last.
//
// Nothing but a worker's own number says what it is: with one more, the others stay as they are.

// maxProcs is more than a machine has CPUs for.
const maxProcs = 1024

// balanceKeys are the keys of such a section.
func balanceKeys() []string {
	return []string{"lb_method", "lb_procs", "lb_interfaces", "pin_cpus"}
}

func balanceMethods() []string {
	return []string{"af_packet", "pf_ring", "myricom", "custom", "interfaces"}
}

// workers returns what the section stands for: the node itself, or as many workers as it says.
func (r *nodeReader) workers() []desired.Node {
	method, methodLine, balanced, _ := r.text("lb_method")
	procs, line, counted := r.procs()
	pins := r.pins()
	interfaces, listLine, listed, _ := r.text("lb_interfaces")
	for _, key := range balanceKeys() {
		if l, stated := r.node.Keys.Line(key); stated && r.node.Role != desired.RoleWorker && r.node.Role != "" {
			r.bad(l, "not-a-worker", key+" is for workers", "remove it, or write role = worker")
			return []desired.Node{r.node}
		}
	}
	switch {
	case !balanced && !counted:
		if listed {
			r.bad(listLine, "no-lb-method", "lb_interfaces needs lb_method = interfaces and lb_procs", "add them, or remove it")
		}
		if len(pins) > 0 {
			r.pin(&r.node, pins[0])
		}
		return []desired.Node{r.node}
	case !balanced:
		r.bad(line, "no-lb-method", "lb_procs needs lb_method", "add lb_method = af_packet")
		return []desired.Node{r.node}
	case !counted:
		if _, stated := r.node.Keys.Line("lb_procs"); !stated { // else that was reported
			r.bad(methodLine, "no-lb-procs", "lb_method needs lb_procs", "add lb_procs = 4, the number of workers")
		}
		return []desired.Node{r.node}
	case r.node.MetricsPort != 0 || r.node.Port != 0:
		r.bad(line, "one-port", "several workers cannot share a port", "leave port and metrics_port out, to have them assigned")
	}
	if !slices.Contains(balanceMethods(), method) {
		r.rep.error(methodLine, "unknown-lb-method", meant("lb_method", method, " of node "+quote(r.sec.name), balanceMethods()), "the methods are "+one(balanceMethods()))
		return []desired.Node{r.node}
	}
	each := r.share(method, methodLine, listLine, interfaces, procs)
	if each == nil {
		return []desired.Node{r.node}
	}
	out := make([]desired.Node, procs)
	for i := range out {
		n := r.node
		n.Name = fmt.Sprintf("%s-%d", r.node.Name, i+1)
		n.Keys, n.Env = slices.Clone(r.node.Keys), maps.Clone(r.node.Env)
		each(&n, i)
		if len(pins) > 0 {
			r.pin(&n, pins[i%len(pins)])
		}
		out[i] = n
	}
	return out
}

func (r *nodeReader) pin(n *desired.Node, cpu int) {
	if l, both := n.Keys.Line("cpu_affinity"); both {
		r.bad(l, "two-pins", "cpu_affinity and pin_cpus are stated", "keep one of them")
	}
	n.CPUAffinity = &cpu
}

func (r *nodeReader) procs() (n, line int, ok bool) {
	value, line, stated, _ := r.text("lb_procs")
	if !stated {
		return 0, line, false
	}
	n, isInt := parseInt(value)
	if !isInt || n < 1 || n > maxProcs {
		r.bad(line, "bad-lb-procs", fmt.Sprintf("lb_procs %s is not a number from 1 to %d", quote(value), maxProcs), "write how many workers there shall be")
		return 0, line, false
	}
	return n, line, true
}

func (r *nodeReader) pins() []int {
	value, line, stated, _ := r.text("pin_cpus")
	if !stated {
		return nil
	}
	var out []int
	for part := range strings.SplitSeq(value, ",") {
		n, isInt := parseInt(part)
		if !isInt || n < 0 || n > maxCPU {
			r.bad(line, "bad-cpu", fmt.Sprintf("pin_cpus has %s, which is not the number of a CPU", quote(strip(part))), "write numbers from 0, with commas between them: 2,3,4,5")
			return nil
		}
		out = append(out, n)
	}
	return out
}

// share returns what gives the i-th worker its share of the traffic; nil after an error.
func (r *nodeReader) share(method string, line, listLine int, list string, procs int) func(n *desired.Node, i int) {
	if list != "" && method != "interfaces" {
		r.bad(listLine, "no-lb-method", "lb_interfaces needs lb_method = interfaces", "remove one of them")
		return nil
	}
	iface := r.node.Interface
	switch method {
	case "af_packet":
		if strings.Contains(iface, "::") {
			r.bad(line, "prefixed-interface", fmt.Sprintf("lb_method = af_packet adds af_packet:: to the interface, and %s has a prefix", quote(iface)), "write interface = eth0 alone")
			return nil
		}
		return func(n *desired.Node, _ int) {
			if n.Interface != "" {
				n.Interface = "af_packet::" + n.Interface
			}
		}
	case "interfaces":
		var names []string
		for part := range strings.SplitSeq(list, ",") {
			names = append(names, strip(part))
		}
		if len(names) != procs || slices.Contains(names, "") {
			r.bad(max(line, listLine), "bad-lb-interfaces", fmt.Sprintf("lb_interfaces has to name %d interfaces, as many as lb_procs", procs), "write their names with commas between them")
			return nil
		}
		return func(n *desired.Node, i int) {
			n.Interface = names[len(names)-1-i]
			n.Keys.Set("interface", listLine)
		}
	case "myricom":
		return func(n *desired.Node, _ int) {
			withEnv(n, map[string]string{"SNF_NUM_RINGS": strconv.Itoa(procs), "SNF_FLAGS": "0x101"})
		}
	case "pf_ring":
		ring, before := r.ring()
		return func(n *desired.Node, i int) { pfRing(n, before+i, ring) }
	}
	return func(*desired.Node, int) {} // custom: the interface as it stands
}

// withEnv adds variables where the section does not state them itself.
func withEnv(n *desired.Node, more map[string]string) {
	if n.Env == nil {
		n.Env = map[string]string{}
	}
	for k, v := range more {
		if _, stated := n.Env[k]; !stated {
			n.Env[k] = v
		}
	}
}

// zeekctl's defaults (PFRINGClusterID, PFRINGClusterType); others are stated in env.
const (
	firstRing = 21
	ringType  = "PCAP_PF_RING_USE_CLUSTER_PER_FLOW_4_TUPLE"
)

// ring is the PF_RING cluster of the section, which is that of its interface on its instance, and how many workers of
// sections before are in it.
func (r *nodeReader) ring() (ring, before int) {
	stated := func(sec *section, key string) string {
		if e := r.resolver.find(sec, key); e != nil {
			return strip(e.value)
		}
		return ""
	}
	here := stated(r.sec, "interface")
	var seen []string
	for _, sec := range r.doc.sections {
		if sec == r.sec {
			break
		}
		if stated(sec, "lb_method") != "pf_ring" || stated(sec, "instance") != stated(r.sec, "instance") {
			continue
		}
		iface := stated(sec, "interface")
		if !slices.Contains(seen, iface) {
			seen = append(seen, iface)
		}
		if n, isInt := parseInt(stated(sec, "lb_procs")); isInt && iface == here {
			before += n
		}
	}
	if i := slices.Index(seen, here); i >= 0 {
		return firstRing + i, before
	}
	return firstRing + len(seen), before
}

// pfRing gives a worker its part of a PF_RING cluster, or of a card that shares out by itself.
func pfRing(n *desired.Node, i, ring int) {
	withEnv(n, map[string]string{ringType: "1"})
	at := fmt.Sprintf("%s@%d", n.Interface, i)
	switch name := n.Interface; {
	case strings.HasPrefix(name, "zc:"), strings.HasPrefix(name, "pf_ring::zc:"):
		n.Interface = at
		withEnv(n, map[string]string{"PCAP_PF_RING_ZC_RSS": "1"})
	case strings.HasPrefix(name, "dnacl"):
		n.Interface = at
	case strings.HasPrefix(name, "dna"):
		n.Interface = at
		withEnv(n, map[string]string{"PCAP_PF_RING_DNA_RSS": "1"})
	default:
		withEnv(n, map[string]string{"PCAP_PF_RING_CLUSTER_ID": strconv.Itoa(ring)})
	}
	withEnv(n, map[string]string{"PCAP_PF_RING_APPNAME": "zeek-" + n.Interface})
}
