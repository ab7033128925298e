package foreign

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/clustercfg"
)

// ExportZeekConf writes a cluster that is on one host as a zeek.conf with sections, for Zeek's systemd generator of Zeek 9.0 and
// later. Notes say what has no counterpart; they are comments in the text, too.
func ExportZeekConf(c *desired.Cluster) (text []byte, notes []string, err error) {
	if on := c.UsedInstances(); len(on) > 1 {
		return nil, nil, fmt.Errorf("cannot export %s: it is on %d instances, and zeek.conf is for one host", c.Name, len(on))
	}
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	count := map[desired.Role]int{}
	args, env := map[desired.Role]string{}, map[desired.Role]string{}
	groups := map[string][]*desired.Node{} // of workers, that differ in their CPU alone
	var order []string
	for i := range c.Nodes {
		n := &c.Nodes[i]
		count[n.Role]++
		a, e := quoted(append(slices.Clone(n.Scripts), n.Args...)), envText(n.Env)
		if n.Port != 0 || n.MetricsPort != 0 {
			note("the ports of %s: there, they are numbered from port and metrics_port", n.Name)
		}
		if n.Role == desired.RoleWorker {
			key := n.Interface + "\x00" + a + "\x00" + e
			if groups[key] == nil {
				order = append(order, key)
			}
			groups[key] = append(groups[key], n)
			continue
		}
		if count[n.Role] > 1 && (args[n.Role] != a || env[n.Role] != e) {
			note("scripts, args and env of %s: there, all processes of a role have the same", n.Name)
			continue
		}
		args[n.Role], env[n.Role] = a, e
		if n.CPUAffinity != nil {
			note("cpu_affinity = %d of %s: state %s_cpu_set", *n.CPUAffinity, n.Name, n.Role)
		}
	}
	own(c, note)

	var b strings.Builder
	key := func(k, v string) {
		if v != "" {
			fmt.Fprintf(&b, "%s = %s\n", k, v)
		}
	}
	b.WriteString("[zeek]\n")
	key("manager", strconv.Itoa(count[desired.RoleManager]))
	key("loggers", strconv.Itoa(count[desired.RoleLogger]))
	key("proxies", strconv.Itoa(count[desired.RoleProxy]))
	key("user", c.Settings.User)
	scripts := c.Settings.Scripts
	if !c.Settings.ScriptsStated {
		scripts = []string{"local"}
	}
	key("args", quoted(append(slices.Clone(scripts), c.Settings.Args...)))
	if c.Settings.Backend == desired.BackendBroker {
		key("cluster_backend_args", "frameworks/cluster/backend/broker")
	}
	if c.Settings.Address != "" {
		key("address", c.Settings.Address)
	}
	if !c.Settings.Metrics {
		key("metrics_port", "0")
	}
	for _, r := range []desired.Role{desired.RoleManager, desired.RoleLogger, desired.RoleProxy} {
		key(string(r)+"_args", args[r])
		key(string(r)+"_env", env[r])
		limits(c, r, key, note)
	}
	for i, k := range order {
		ws := groups[k]
		name := "main"
		if len(order) > 1 {
			name = strconv.Itoa(i + 1)
		}
		fmt.Fprintf(&b, "\n[interface %s]\n", name)
		key("interface", strings.ReplaceAll(ws[0].Interface, "${", `\${`))
		key("workers", strconv.Itoa(len(ws)))
		key("worker_args", quoted(append(slices.Clone(ws[0].Scripts), ws[0].Args...)))
		key("worker_env", strings.ReplaceAll(envText(ws[0].Env), "${", `\${`))
		key("workers_cpu_list", cpusOf(ws, note))
		limits(c, desired.RoleWorker, key, note)
	}
	head := "# Written by zeekrec export zeek.conf.\n"
	for i, n := range notes {
		if i == 0 {
			head += "#\n# What has no counterpart here:\n"
		}
		head += "# - " + comment(n) + "\n"
	}
	return []byte(head + "\n" + b.String()), notes, nil
}

// own notes what [zeekrec…] sections say that zeek.conf has no words for.
func own(c *desired.Cluster, note func(string, ...any)) {
	for _, o := range c.Settings.Options {
		note("[zeekrec.options] %s = %s: write redef %s = %s; into local.zeek", o.Name, o.Value, o.Name, o.Value)
	}
	if len(c.Settings.LocalNets) > 0 {
		note("local_nets = %s: redef Site::local_nets in local.zeek", strings.Join(c.Settings.LocalNets, " "))
	}
	if c.Files != "" {
		note("the files of %s/: copy them, and name the folder in ext_zeek_path", c.Name)
	}
	if c.Settings.Zeek != "" {
		note("zeek = %s: the generator runs the Zeek that it was installed with; see base_dir", c.Settings.Zeek)
	}
}

func limits(c *desired.Cluster, r desired.Role, key func(string, string), note func(string, ...any)) {
	l := c.Settings.Limits[r]
	if l.Group.MemoryMax != 0 {
		key(string(r)+"_memory_max", strconv.FormatInt(l.Group.MemoryMax, 10))
	}
	if l.Nice != nil {
		key(string(r)+"_nice", strconv.Itoa(*l.Nice))
	}
	if len(l.CPUs) > 0 {
		if r == desired.RoleWorker {
			note("cpus of [zeekrec.limits.worker]: see workers_cpu_list")
		} else {
			key(string(r)+"_cpu_set", numbers(l.CPUs))
		}
	}
}

// cpusOf a group of workers; where only some have one, none is written.
func cpusOf(ws []*desired.Node, note func(string, ...any)) string {
	var cpus []int
	for _, n := range ws {
		if n.CPUAffinity != nil {
			cpus = append(cpus, *n.CPUAffinity)
		}
	}
	if len(cpus) > 0 && len(cpus) < len(ws) {
		note("cpu_affinity of %s and others: some of the group have none", ws[0].Name)
		return ""
	}
	return numbers(cpus)
}

func numbers(list []int) string {
	out := make([]string, len(list))
	for i, n := range list {
		out[i] = strconv.Itoa(n)
	}
	return strings.Join(out, ",")
}

func quoted(list []string) string {
	out := make([]string, len(list))
	for i, w := range list {
		out[i] = clustercfg.QuoteWord(w)
	}
	return strings.Join(out, " ")
}

func envText(env map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(env)) {
		out = append(out, clustercfg.QuoteWord(k+"="+env[k]))
	}
	return strings.Join(out, " ")
}
