package clustercfg

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
)

// ValidateAll checks what only shows when all clusters of a source are seen together. It is pure. Each
// diagnostic is there for every cluster concerned, since none of them can be blamed: neither may
// be taken into use before the files agree.
func ValidateAll(clusters []*desired.Cluster) []desired.Diagnostic {
	clusters = slices.DeleteFunc(slices.Clone(clusters), func(c *desired.Cluster) bool { return c == nil })
	slices.SortFunc(clusters, func(a, b *desired.Cluster) int { return strings.Compare(a.Name, b.Name) })
	a := across{}
	for _, c := range clusters {
		a.collect(c)
	}
	return a.report(clusters)
}

// claim is a use that a cluster makes of something on an instance.
type claim struct {
	cluster *desired.Cluster
	line    int
	what    string // "port of node 'x'"
}

type device struct{ instance, name string }

type across struct {
	ports      map[place][]claim
	interfaces map[device][]claim
	archives   map[device][]claim // by instance and folder
	agents     map[string][]claim // by instance; what is host:port
}

func (a *across) collect(c *desired.Cluster) {
	if a.ports == nil {
		a.ports, a.interfaces, a.agents = map[place][]claim{}, map[device][]claim{}, map[string][]claim{}
		a.archives = map[device][]claim{}
	}
	port := func(instance string, n, line int, what string) {
		if n != 0 && instance != "" {
			at := place{instance, n}
			a.ports[at] = append(a.ports[at], claim{c, line, what})
		}
	}
	for _, i := range c.Instances {
		if i.Port == 0 {
			continue
		}
		port(i.Name, i.Port, i.Line, agentClaim)
		a.agents[i.Name] = append(a.agents[i.Name], claim{c, i.Line, net.JoinHostPort(i.Host, strconv.Itoa(i.Port))})
	}
	for i := range c.Nodes {
		n := &c.Nodes[i]
		port(n.Instance, n.Port, line(n, "port"), fmt.Sprintf("the port of node '%s'", n.Name))
		if c.Settings.Metrics {
			port(n.Instance, n.MetricsPort, line(n, "metrics_port"), fmt.Sprintf("the metrics port of node '%s'", n.Name))
		}
		if n.Role == desired.RoleWorker && n.Interface != "" {
			_, bare, plugin := strings.Cut(n.Interface, "::")
			if !plugin {
				bare = n.Interface
			}
			d := device{n.Instance, bare}
			a.interfaces[d] = append(a.interfaces[d], claim{c, line(n, "interface"), fmt.Sprintf("worker '%s'", n.Name)})
		}
	}
	a.archiveInto(c)
	if mode := c.BrokerMode(); mode != "" && mode != desired.BrokerExternal {
		at := c.BrokerInstance()
		port(at, endpointPort(c.Settings.Broker.XPub), 0, "the broker's xpub")
		port(at, endpointPort(c.Settings.Broker.XSub), 0, "the broker's xsub")
	}
}

const agentClaim = "the agent's port"

// endpointPort of tcp://HOST:PORT; 0 where there is none.
func endpointPort(e string) int {
	n, err := strconv.Atoi(e[strings.LastIndexByte(e, ':')+1:])
	if err != nil {
		return 0
	}
	return n
}

func (a *across) report(clusters []*desired.Cluster) []desired.Diagnostic {
	reps := make(map[*desired.Cluster]*report, len(clusters))
	for _, c := range clusters {
		reps[c] = newReport(c.File)
	}
	for at, claims := range a.ports {
		for _, p := range pairs(claims) {
			if p.mine.what == agentClaim && p.other.what == agentClaim {
				continue // the same agent
			}
			reps[p.mine.cluster].error(p.mine.line, "port-in-two-clusters",
				fmt.Sprintf("port %d/tcp on instance '%s' is %s, and %s in %s", at.port, at.instance, p.mine.what, p.other.what, where(p.other)),
				"choose another, or leave it out to have one assigned")
		}
	}
	for d, claims := range a.interfaces {
		for _, p := range pairs(claims) {
			reps[p.mine.cluster].warn(p.mine.line, "interface-in-two-clusters",
				fmt.Sprintf("interface '%s' on instance '%s' is read by %s, and by %s in %s", d.name, d.instance, p.mine.what, p.other.what, where(p.other)),
				"both clusters see all packets, and take twice the CPU; is that meant?")
		}
	}
	for name, claims := range a.agents {
		for _, p := range pairs(claims) {
			if p.mine.what != p.other.what {
				reps[p.mine.cluster].warn(p.mine.line, "instance-differs",
					fmt.Sprintf("instance '%s' is at %s here, and at %s in %s", name, p.mine.what, p.other.what, where(p.other)),
					"it is one agent: give it one address")
			}
		}
	}
	a.reportArchives(reps)
	var out []desired.Diagnostic
	for _, c := range clusters {
		out = append(out, reps[c].diagnostics()...)
	}
	desired.SortDiagnostics(out)
	return out
}

// where is "other.cfg:12".
func where(c claim) string {
	if c.line == 0 {
		return c.cluster.File
	}
	return fmt.Sprintf("%s:%d", c.cluster.File, c.line)
}

type pair struct{ mine, other claim }

// pairs has, for each cluster with claims of the same thing, its first claim beside the first one of
// another cluster.
func pairs(claims []claim) []pair {
	var firsts []claim
	for _, c := range claims {
		if !slices.ContainsFunc(firsts, func(f claim) bool { return f.cluster == c.cluster }) {
			firsts = append(firsts, c)
		}
	}
	if len(firsts) < 2 {
		return nil
	}
	out := make([]pair, len(firsts))
	for i, f := range firsts {
		other := firsts[0]
		if i == 0 {
			other = firsts[1]
		}
		out[i] = pair{f, other}
	}
	return out
}
