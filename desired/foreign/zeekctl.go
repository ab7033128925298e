package foreign

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/clustercfg"
)

// ZeekctlFiles are what zeekctl reads. Only Nodes has to be there.
type ZeekctlFiles struct {
	Nodes    []byte // node.cfg
	Config   []byte // zeekctl.cfg
	Networks []byte // networks.cfg
}

// Zeekctl imports a cluster that zeekctl runs. name is that of the cluster. Errors of node.cfg that zeekctl would stop at are
// returned as diagnostics; there is no import then.
func Zeekctl(name string, files ZeekctlFiles) (Imported, []desired.Diagnostic) {
	z := &zeekctl{draft: draft{origin: "zeekctl's node.cfg"}, options: map[string]string{}, used: map[string]bool{}}
	z.config(files.Config)
	sections, ds := clustercfg.ReadINI(desired.ClusterFile{Name: name, File: "node.cfg", Data: files.Nodes})
	for _, sec := range sections {
		ds = append(ds, z.section(sec)...)
	}
	if !desired.HasErrors(ds) {
		ds = append(ds, z.check()...)
	}
	if desired.HasErrors(ds) {
		return Imported{}, ds
	}
	z.globals()
	z.networks(files.Networks)
	z.instances()
	z.ports()
	z.rest()
	return z.finish(name), ds
}

// zeekctl is an import under way.
type zeekctl struct {
	draft
	options map[string]string // of zeekctl.cfg, by name in lower case
	used    map[string]bool
	hosts   map[*node]string
	alone   bool // a standalone Zeek
	rings   map[string][]string
	apps    map[string]int
}

// config reads zeekctl.cfg: KEY = VALUE, names in any case, ${Name} for another option.
func (z *zeekctl) config(b []byte) {
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			z.note("zeekctl.cfg: the line %q has no =", line)
			continue
		}
		z.options[strings.ToLower(strings.TrimSpace(key))] = strings.TrimSpace(value)
	}
	for old, now := range map[string]string{"broport": "zeekport", "broargs": "zeekargs", "brobase": "zeekbase"} {
		if v, ok := z.options[old]; ok {
			z.used[old] = true
			if _, both := z.options[now]; !both {
				z.options[now] = v
			}
		}
	}
	for range 8 { // references to references
		for k, v := range z.options {
			z.options[k] = z.substitute(v)
		}
	}
}

func (z *zeekctl) substitute(s string) string {
	for other, v := range z.options {
		for {
			i := strings.Index(strings.ToLower(s), "${"+other+"}")
			if i < 0 || strings.Contains(strings.ToLower(v), "${"+other+"}") {
				break
			}
			s = s[:i] + v + s[i+len(other)+3:]
		}
	}
	return s
}

// option of zeekctl.cfg, or the default.
func (z *zeekctl) option(name, otherwise string) string {
	z.used[name] = true
	if v, ok := z.options[name]; ok {
		return v
	}
	return otherwise
}

func (z *zeekctl) number(name string, otherwise int) int {
	v := z.option(name, "")
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		z.note("zeekctl.cfg: %s = %s is not a number; %d is used", name, v, otherwise)
		return otherwise
	}
	return n
}

func (z *zeekctl) yes(name string, otherwise bool) bool {
	switch strings.ToLower(z.option(name, "")) {
	case "1", "true":
		return true
	case "0", "false":
		return false
	}
	return otherwise
}

// section reads a node of node.cfg.
func (z *zeekctl) section(sec clustercfg.INISection) []desired.Diagnostic {
	var ds []desired.Diagnostic
	bad := func(line int, format string, args ...any) {
		ds = append(ds, desired.Diagnostic{File: "node.cfg", Line: line, Severity: desired.Error, Code: "node-cfg",
			Message: fmt.Sprintf("node %q: ", sec.Name) + fmt.Sprintf(format, args...), Hint: "zeekctl would not take this either; mend it first"})
	}
	keys, lines := map[string]string{}, map[string]int{}
	for _, k := range sec.Keys {
		if !k.HasValue {
			bad(k.Line, "%s has no value", k.Name)
		}
		keys[strings.ReplaceAll(k.Name, ".", "_")], lines[strings.ReplaceAll(k.Name, ".", "_")] = k.Value, k.Line
	}
	n := &node{name: sec.Name, iface: keys["interface"]}
	switch keys["type"] {
	case "standalone":
		z.alone = true
	case "manager", "logger", "proxy", "worker":
		n.role = desired.Role(keys["type"])
	case "":
		bad(sec.Line, "it has no type")
	default:
		bad(lines["type"], "there is no type %q", keys["type"])
	}
	if keys["host"] == "" {
		bad(sec.Line, "it has no host")
	}
	var err error
	if n.env, err = envVars(keys["env_vars"]); err != nil {
		bad(lines["env_vars"], "%v", err)
	}
	if shellVariable.MatchString(keys["env_vars"]) {
		n.notes = append(n.notes, "env_vars = "+keys["env_vars"]+literally)
	}
	if n.args, err = clustercfg.SplitWords(keys["aux_scripts"]); err != nil {
		bad(lines["aux_scripts"], "aux_scripts: %v", err)
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		switch setting, isAF := strings.CutPrefix(k, "af_packet_"); {
		case isAF && keys["lb_procs"] != "":
			n.args = append(n.args, "AF_Packet::"+setting+"="+keys[k])
		case isAF:
			n.notes = append(n.notes, k+" = "+keys[k]+" has no effect without lb_procs")
		case slices.Contains([]string{"type", "host", "interface", "env_vars", "aux_scripts", "lb_method", "lb_procs", "lb_interfaces", "pin_cpus"}, k):
		case k == "zone_id":
			n.notes = append(n.notes, "zone_id = "+keys[k]+": state the address with its zone, where it is needed")
		case slices.Contains([]string{"zeekbase", "brobase", "ether", "count"}, k):
			n.notes = append(n.notes, k+" = "+keys[k]+" has no counterpart")
		default:
			n.notes = append(n.notes, "zeekctl does not know "+k+" = "+keys[k]+" either")
		}
	}
	if len(ds) > 0 {
		return ds
	}
	if z.hosts == nil {
		z.hosts = map[*node]string{}
	}
	z.expand(n, keys, func(format string, args ...any) { bad(lines["lb_procs"], format, args...) })
	for _, x := range z.nodes {
		if z.hosts[x] == "" {
			z.hosts[x] = keys["host"]
		}
	}
	return ds
}

// shellVariable finds a $ that zeekctl's shell would put something in the place of; none stands in '…'.
var shellVariable = regexp.MustCompile(`^(?:[^'$]|'[^']*')*\$`)

const literally = ": zeekctl's shell puts a variable's value in the place of what begins with $, which is taken as it stands here"

// envVars reads K=V,K2=V2 as zeekctl does: it hands them to a shell, which takes quotation marks away.
func envVars(s string) (map[string]string, error) {
	env := map[string]string{}
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		k, v, ok := strings.Cut(part, "=")
		k, v = strings.TrimSpace(k), strings.TrimSpace(v)
		if !ok || k == "" {
			return nil, fmt.Errorf("env_vars has %q, which is not NAME=VALUE", part)
		}
		w, err := clustercfg.SplitWords(v)
		if err != nil {
			return nil, fmt.Errorf("env_vars has %q: %w", part, err)
		}
		env[k] = strings.Join(w, " ")
	}
	return env, nil
}

// expand makes as many workers of a section as it says.
func (z *zeekctl) expand(n *node, keys map[string]string, bad func(string, ...any)) {
	pins, err := pinList(keys["pin_cpus"])
	if err != nil {
		bad("%v", err)
		return
	}
	if keys["lb_procs"] == "" {
		if keys["lb_method"] != "" {
			bad("lb_method needs lb_procs")
			return
		}
		if len(pins) > 0 {
			n.cpu = &pins[0]
		}
		z.nodes = append(z.nodes, n)
		return
	}
	procs, err := strconv.Atoi(strings.TrimSpace(keys["lb_procs"]))
	method := keys["lb_method"]
	var list []string
	for part := range strings.SplitSeq(keys["lb_interfaces"], ",") {
		list = append(list, strings.TrimSpace(part))
	}
	switch {
	case n.role != desired.RoleWorker:
		bad("load balancing is for workers")
	case err != nil || procs < 1 || procs > 1024:
		bad("lb_procs %q is not a number from 1 to 1024", keys["lb_procs"])
	case !slices.Contains([]string{"af_packet", "pf_ring", "myricom", "custom", "interfaces"}, method):
		bad("there is no lb_method %q", method)
	case method == "af_packet" && strings.HasPrefix(n.iface, "af_packet::"):
		bad("its interface has the prefix af_packet:: already")
	case method == "interfaces" && len(list) != procs:
		bad("lb_interfaces has to name %d interfaces", procs)
	default:
		for i := range procs {
			w := *n
			w.name, w.env, w.group = fmt.Sprintf("%s-%d", n.name, i+1), maps.Clone(n.env), n.name
			if len(pins) > 0 {
				w.cpu = &pins[i%len(pins)]
			}
			if method == "interfaces" {
				w.iface = list[len(list)-1-i]
			}
			for _, k := range []string{"interface", "lb_method", "lb_procs", "lb_interfaces", "pin_cpus"} {
				if keys[k] != "" {
					w.groupKeys = append(w.groupKeys, pair{k, keys[k]})
				}
			}
			z.nodes = append(z.nodes, &w)
		}
	}
}

func pinList(s string) ([]int, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var out []int
	for part := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 0 {
			return nil, fmt.Errorf("pin_cpus %q has to be numbers with commas between them", s)
		}
		out = append(out, n)
	}
	return out, nil
}

// check has zeekctl's rules about the whole.
func (z *zeekctl) check() []desired.Diagnostic {
	count := map[desired.Role]int{}
	names := map[string]bool{}
	var err error
	for _, n := range z.nodes {
		count[n.role]++
		if names[strings.ToLower(n.name)] {
			err = errors.Join(err, fmt.Errorf("several nodes are called %s", n.name))
		}
		names[strings.ToLower(n.name)] = true
	}
	switch {
	case len(z.nodes) == 0:
		err = errors.New("it has no nodes")
	case z.alone && len(z.nodes) > 1:
		err = errors.New("a standalone node has to be the only one")
	case !z.alone && count[desired.RoleManager] != 1:
		err = fmt.Errorf("it has %d managers instead of one", count[desired.RoleManager])
	}
	if !z.alone && count[desired.RoleProxy] == 0 {
		z.note("zeekctl wants at least one proxy; without one, it is none here either")
	}
	if err == nil {
		return nil
	}
	return []desired.Diagnostic{{File: "node.cfg", Severity: desired.Error, Code: "node-cfg", Message: err.Error(), Hint: "zeekctl would not take this either; mend it first"}}
}

// instances gives each host one, unless there is only one.
func (z *zeekctl) instances() {
	local := func(h string) bool { return h == "localhost" || h == "127.0.0.1" || h == "::1" }
	hosts := map[string]bool{}
	for _, h := range z.hosts {
		if local(h) {
			h = "localhost"
		}
		hosts[h] = true
	}
	if len(hosts) == 1 {
		return
	}
	z.addresses = map[string]string{}
	for _, n := range z.nodes {
		h := z.hosts[n]
		n.instance = "agent-" + strings.ToLower(strings.NewReplacer(":", "-", "%", "-").Replace(h))
		z.addresses[n.instance] = h
	}
	z.note("the agents on the hosts have to bear the names under [instances] (zeekrec agent --name)")
}

// of are the nodes of a role in the file's order, in which zeekctl numbers them.
func (z *zeekctl) of(r desired.Role) []*node {
	var out []*node
	for _, n := range z.nodes {
		if n.role == r {
			out = append(out, n)
		}
	}
	return out
}

// ports numbers as zeekctl does: the broker's two, one for its control, then manager, loggers, proxies. Workers take some, too, and
// do not listen there.
func (z *zeekctl) ports() {
	port, metrics := z.number("zeekport", 27760), z.number("metricsport", 9991)
	zeromq := !strings.EqualFold(z.option("clusterbackend", "ZeroMQ"), "broker")
	if !zeromq {
		z.settings = append(z.settings, pair{"backend", "broker"})
		z.noBroker = true
	}
	if metrics == 0 {
		z.settings = append(z.settings, pair{"metrics", "no"})
	} else if a := z.option("metricsaddress", "127.0.0.1"); a != "127.0.0.1" {
		z.settings = append(z.settings, pair{"metrics_address", a})
	}
	if zeromq {
		host := "127.0.0.1"
		if !z.alone {
			host = cmp.Or(z.addresses[z.of(desired.RoleManager)[0].instance], host)
		}
		if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
			host = "[" + host + "]"
		}
		z.broker = append(z.broker, pair{"xpub", fmt.Sprintf("tcp://%s:%d", host, port)}, pair{"xsub", fmt.Sprintf("tcp://%s:%d", host, port+1)})
		switch z.option("cluster_backend_zeromq.use_curve_encryption", "auto") {
		case "0", "false":
			z.broker = append(z.broker, pair{"curve", "off"})
		case "1", "true":
			z.broker = append(z.broker, pair{"curve", "on"})
		}
		port += 2
	}
	if z.alone {
		z.standalone(port, metrics)
		return
	}
	port++ // control
	for _, r := range []desired.Role{desired.RoleManager, desired.RoleLogger, desired.RoleProxy, desired.RoleWorker} {
		for _, n := range z.of(r) {
			if r != desired.RoleWorker {
				n.port = port
			}
			port++
			if metrics != 0 {
				n.metrics = metrics
				metrics++
			}
		}
	}
}

// standalone makes a manager, which logs, and a worker of the one Zeek.
func (z *zeekctl) standalone(port, metrics int) {
	z.note("the standalone Zeek becomes two processes: a manager, which also writes the logs, and a worker, which analyses; zeekrec runs clusters only")
	w := z.nodes[0]
	w.role = desired.RoleWorker
	m := &node{name: "manager", role: desired.RoleManager, port: port, env: maps.Clone(w.env), args: w.args}
	if w.name == m.name {
		w.name = "worker"
	}
	if metrics != 0 {
		m.metrics, w.metrics = metrics, metrics+1
	}
	z.nodes = []*node{m, w}
}
