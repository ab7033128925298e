package foreign

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/clustercfg"
)

// Imported is what an import made.
type Imported struct {
	// Text of the cluster.cfg.
	Text []byte
	// Notes say what has no counterpart; they are comments in Text, too.
	Notes []string
}

// pair is a key with its value.
type pair struct{ key, value string }

// draft is a cluster.cfg in the making.
type draft struct {
	origin   string // what it was made of, for the first line
	notes    []string
	settings []pair // [zeekrec]
	options  []pair // [zeekrec.options]
	broker   []pair
	archive  []pair
	limits   map[desired.Role][]pair
	nodes    []*node
	// addresses of instances; none: everything is on one host.
	addresses map[string]string
	// backend without ZeroMQ has no broker of zeekrec's.
	noBroker bool
}

// node is a section, or several of them.
type node struct {
	name      string
	role      desired.Role
	instance  string // empty: the only one
	iface     string
	port      int
	metrics   int
	scripts   []string
	cpu       *int
	env       map[string]string
	args      []string
	notes     []string
	group     string // of workers: the section that they came from
	groupKeys []pair // and what it said of lb_*
}

func (d *draft) note(format string, args ...any) {
	d.notes = append(d.notes, fmt.Sprintf(format, args...))
}

func (d *draft) limit(r desired.Role, key, value string) {
	if d.limits == nil {
		d.limits = map[desired.Role][]pair{}
	}
	d.limits[r] = append(d.limits[r], pair{key, value})
}

// finish writes the draft, with groups of workers where that means the same.
func (d *draft) finish(name string) Imported {
	short := d.text(true)
	if !d.means(name, short) {
		short = d.text(false)
	}
	notes := slices.Clone(d.notes)
	for _, n := range d.nodes {
		for _, x := range n.notes {
			notes = append(notes, n.name+": "+x)
		}
	}
	return Imported{Text: []byte(short), Notes: notes}
}

// means reports whether a text has the nodes of the draft, with their ports.
func (d *draft) means(name, text string) bool {
	c, ds := clustercfg.Parse(desired.ClusterFile{Name: name, File: name + ".cfg", Data: []byte(text)}, "agent-localhost")
	if c == nil || desired.HasErrors(ds) {
		return false
	}
	facts := desired.Facts{Default: "agent-localhost"}.WithAssumedKeys([]*desired.Cluster{c})
	for _, i := range c.Instances {
		if facts.Instances == nil {
			facts.Instances = map[string]desired.InstanceFacts{}
		}
		facts.Instances[i.Name] = desired.InstanceFacts{Addresses: []string{cmp.Or(d.addresses[i.Name], "127.0.0.1")}}
	}
	out := desired.Compile([]*desired.Cluster{c}, facts, desired.Assignment{}, time.Time{})
	have := map[string]*desired.Resource{}
	for i := range out.Resources[name] {
		r := &out.Resources[name][i]
		have[r.Name] = r
	}
	for _, n := range d.nodes {
		r := have[n.name]
		if r == nil || r.Node == nil || r.Node.Interface != n.iface || r.Node.MetricsPort != n.metrics || !maps.Equal(r.Node.Env, n.env) {
			return false
		}
	}
	return true
}

// text writes the draft; grouped says that workers of one section are written as one.
func (d *draft) text(grouped bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Imported by zeekrec from %s.\n", d.origin)
	for i, n := range d.notes {
		if i == 0 {
			b.WriteString("#\n# What has no counterpart here:\n")
		}
		b.WriteString("# - " + comment(n) + "\n")
	}
	b.WriteByte('\n')
	settings := slices.Clone(d.settings)
	if first := d.firstMetrics(); first != 0 && grouped {
		settings = append(settings, pair{"metrics_ports_from", strconv.Itoa(first)})
	}
	section(&b, "zeekrec", settings)
	section(&b, "zeekrec.options", d.options)
	if !d.noBroker {
		section(&b, "zeekrec.broker", d.broker)
	}
	section(&b, "zeekrec.archive", d.archive)
	for _, r := range []desired.Role{desired.RoleManager, desired.RoleLogger, desired.RoleProxy, desired.RoleWorker} {
		section(&b, "zeekrec.limits."+string(r), d.limits[r])
	}
	if len(d.addresses) > 0 {
		b.WriteString("[instances]\n")
		for _, name := range slices.Sorted(maps.Keys(d.addresses)) {
			fmt.Fprintf(&b, "# at %s\n%s\n", d.addresses[name], name)
		}
		b.WriteByte('\n')
	}
	written := map[string]bool{}
	for _, n := range d.nodes {
		if grouped && n.group != "" {
			if !written[n.group] {
				written[n.group] = true
				n.write(&b, n.group, true)
			}
			continue
		}
		n.write(&b, n.name, grouped)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func (d *draft) firstMetrics() int {
	first := 0
	for _, n := range d.nodes {
		if n.metrics != 0 && (first == 0 || n.metrics < first) {
			first = n.metrics
		}
	}
	return first
}

func comment(s string) string { return strings.Join(strings.Fields(s), " ") }

// section of zeekrec's own: nothing is interpolated there.
func section(b *strings.Builder, name string, pairs []pair) {
	if len(pairs) == 0 {
		return
	}
	fmt.Fprintf(b, "[%s]\n", name)
	for _, p := range pairs {
		if p.key == "#" {
			b.WriteString("# " + comment(p.value) + "\n")
			continue
		}
		b.WriteString(strings.TrimRight(p.key+" = "+p.value, " ") + "\n")
	}
	b.WriteByte('\n')
}

// write writes a node; assigned says that metrics ports are left to be assigned.
func (n *node) write(b *strings.Builder, name string, assigned bool) {
	for _, x := range n.notes {
		b.WriteString("# " + comment(x) + "\n")
	}
	fmt.Fprintf(b, "[%s]\n", name)
	key := func(k, v string) {
		if v != "" {
			fmt.Fprintf(b, "%s = %s\n", k, strings.ReplaceAll(v, "%", "%%"))
		}
	}
	number := func(k string, v int) {
		if v != 0 {
			key(k, strconv.Itoa(v))
		}
	}
	key("role", string(n.role))
	key("instance", n.instance)
	number("port", n.port)
	if name == n.group {
		for _, p := range n.groupKeys {
			key(p.key, p.value)
		}
	} else {
		key("interface", n.iface)
		if n.cpu != nil {
			key("cpu_affinity", strconv.Itoa(*n.cpu))
		}
	}
	if !assigned {
		number("metrics_port", n.metrics)
	}
	key("scripts", words(n.scripts))
	if env := n.env; len(env) > 0 {
		if name == n.group {
			env = n.ownEnv()
		}
		var items []string
		for _, k := range slices.Sorted(maps.Keys(env)) {
			items = append(items, clustercfg.QuoteWord(k+"="+env[k]))
		}
		key("env", strings.Join(items, " "))
	}
	key("args", words(n.args))
	b.WriteByte('\n')
}

// ownEnv is what a group states itself: what its method adds differs from worker to worker, or is added again.
func (n *node) ownEnv() map[string]string {
	out := maps.Clone(n.env)
	maps.DeleteFunc(out, func(k, _ string) bool { return strings.HasPrefix(k, "PCAP_PF_RING_") })
	return out
}

func words(list []string) string {
	out := make([]string, len(list))
	for i, w := range list {
		out[i] = clustercfg.QuoteWord(w)
	}
	return strings.Join(out, " ")
}
