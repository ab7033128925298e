package foreign

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/clustercfg"
)

// ZeekConfFile is the zeek.conf of one host. Where there are several, Host is the name that its file has before ".zeek.conf".
type ZeekConfFile struct {
	File string // for diagnostics
	Host string
	Data []byte
}

// ZeekConf imports what Zeek's systemd generator reads: a zeek.conf without sections, one with [zeek] and [interface NAME], or the
// files of several hosts.
func ZeekConf(name string, files []ZeekConfFile) (Imported, []desired.Diagnostic) {
	c := &zeekConf{draft: draft{origin: "zeek.conf"}, several: len(files) > 1}
	var ds []desired.Diagnostic
	var hosts []*confHost
	for _, f := range files {
		h, problems := parseConf(f)
		ds = append(ds, problems...)
		hosts = append(hosts, h)
	}
	if desired.HasErrors(ds) {
		return Imported{}, ds
	}
	// The ports go on from host to host, the first being the one with the manager.
	slices.SortStableFunc(hosts, func(a, b *confHost) int { return boolInt(b.manager) - boolInt(a.manager) })
	for _, h := range hosts {
		if err := c.host(h); err != nil {
			return Imported{}, append(ds, confError(h.file, 0, err.Error()))
		}
	}
	c.commonScripts()
	return c.finish(name), ds
}

// commonScripts makes the arguments that all nodes share the cluster's scripts. Where they do not, each keeps its own, in the
// generator's order, and the cluster has none.
func (c *zeekConf) commonScripts() {
	if len(c.nodes) == 0 {
		return
	}
	common := c.nodes[0].args
	for _, n := range c.nodes {
		if !slices.Equal(n.args, common) {
			c.settings = append(c.settings, pair{"scripts", ""})
			return
		}
	}
	for _, n := range c.nodes {
		n.args = nil
	}
	c.settings = append(c.settings, pair{"scripts", words(common)})
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func confError(file string, line int, text string) desired.Diagnostic {
	return desired.Diagnostic{File: file, Line: line, Severity: desired.Error, Code: "zeek-conf", Message: text, Hint: "zeek-systemd-generator would not take this either; mend it first"}
}

// confHost is one file, read.
type confHost struct {
	file, name string
	keys       map[string]string   // of [zeek], or of the file without sections
	faces      []map[string]string // of each [interface NAME], with its name under ""
	manager    bool
}

// parseConf splits a file into sections. A line that is indented goes on with the value before where the key ends in env or args.
func parseConf(f ZeekConfFile) (*confHost, []desired.Diagnostic) {
	h := &confHost{file: f.File, name: f.Host, keys: map[string]string{}}
	cur, last := h.keys, ""
	var ds []desired.Diagnostic
	sectioned := false
	for i, raw := range slices.Collect(strings.Lines(string(f.Data))) {
		raw = strings.TrimRight(raw, "\r\n")
		line := strings.TrimSpace(raw)
		indented := raw != "" && (raw[0] == ' ' || raw[0] == '\t')
		switch {
		case line == "" || line[0] == '#' && (!indented || last == ""):
			continue
		case line[0] == '[' && strings.HasSuffix(line, "]"):
			if len(h.keys) > 0 && !sectioned {
				ds = append(ds, confError(f.File, i+1, "keys without a section stand before a section"))
			}
			sectioned, last = true, ""
			switch name, isFace := strings.CutPrefix(line[1:len(line)-1], "interface "); {
			case line == "[zeek]":
				cur = h.keys
			case isFace:
				cur = map[string]string{"": strings.TrimSpace(name)}
				h.faces = append(h.faces, cur)
			default:
				cur = map[string]string{} // other programs' sections
			}
			continue
		case indented && last != "" && (strings.HasSuffix(last, "env") || strings.HasSuffix(last, "args")):
			cur[last] += " " + line
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			ds = append(ds, confError(f.File, i+1, fmt.Sprintf("the line %q has no =", line)))
			continue
		}
		key = strings.ToLower(strings.TrimSpace(key))
		cur[key], last = strings.TrimSpace(value), key
	}
	if !sectioned {
		h.split()
	}
	h.manager = !sectioned || truthy(h.keys["manager"])
	return h, ds
}

// split makes a section of the keys about workers of a file without sections, in which one of each other process is the default.
func (h *confHost) split() {
	face := map[string]string{"": ""}
	for _, k := range []string{"interface", "workers", "worker_args", "worker_env", "workers_cpu_list", "workers_numa_policy", "worker_nice", "worker_memory_max"} {
		if v, ok := h.keys[k]; ok {
			face[k] = v
			delete(h.keys, k)
		}
	}
	for _, k := range []string{"loggers", "proxies"} {
		if _, stated := h.keys[k]; !stated {
			h.keys[k] = "1"
		}
	}
	h.keys["manager"] = "1"
	h.faces = []map[string]string{face}
}

func truthy(s string) bool { return s == "1" || strings.EqualFold(s, "true") }

// zeekConf is an import under way.
type zeekConf struct {
	draft
	several bool
	port    int // the next
	indexes int // of workers, over all hosts
}

// host adds the processes of one host.
func (c *zeekConf) host(h *confHost) error {
	take := func(key, otherwise string) string {
		v, ok := h.keys[key]
		delete(h.keys, key)
		if !ok || v == "" {
			return otherwise
		}
		return v
	}
	var err error
	number := func(key string, otherwise int) int {
		v := take(key, "")
		if v == "" {
			return otherwise
		}
		n, e := strconv.Atoi(v)
		if e != nil || n < 0 || n > 65535 {
			err = fmt.Errorf("%s = %q is not a number", key, v)
		}
		return n
	}
	instance, prefix := "", take("cluster_node_prefix", h.name)
	if c.several {
		instance = "agent-" + h.name
		if c.addresses == nil {
			c.addresses = map[string]string{}
		}
		c.addresses[instance] = h.name
	} else if h.name == "" {
		prefix = strings.TrimSuffix(prefix, "-")
	}
	named := func(s string) string {
		if prefix == "" {
			return s
		}
		return prefix + "-" + s
	}
	base := number("port", number("cluster_port", 27760))
	if c.port == 0 {
		c.port = base
	}
	metrics := number("metrics_port", 9991)
	if a := take("address", take("cluster_address", "")); a != "" && !c.several && a != "127.0.0.1" {
		c.settings = append(c.settings, pair{"address", a})
	} else if a != "" && c.several {
		c.addresses[instance] = a
	}
	c.shared(h, take, metrics)

	args, env := take("args", "local"), take("env", "")
	add := func(name string, role desired.Role, listens bool) *node {
		n := &node{name: name, role: role, instance: instance}
		if listens {
			n.port = c.port
			c.port++
		}
		if metrics != 0 {
			n.metrics = metrics
			metrics++
		}
		c.nodes = append(c.nodes, n)
		return n
	}
	var role []*node
	finish := func(kind, more, moreEnv string, vars func(i int) map[string]string) {
		for i, n := range role {
			if e := n.settle(args, more, env, moreEnv, vars, i); e != nil && err == nil {
				err = fmt.Errorf("%s: %w", kind, e)
			}
		}
		role = nil
	}
	none := func(int) map[string]string { return nil }
	if truthy(take("manager", "0")) {
		role = append(role, add("manager", desired.RoleManager, true))
		finish("manager", take("manager_args", ""), take("manager_env", ""), none)
	}
	for i := range number("loggers", 0) {
		role = append(role, add(named(fmt.Sprintf("logger-%d", i+1)), desired.RoleLogger, true))
	}
	finish("logger", take("logger_args", ""), take("logger_env", ""), none)
	for i := range number("proxies", 0) {
		role = append(role, add(named(fmt.Sprintf("proxy-%d", i+1)), desired.RoleProxy, true))
	}
	finish("proxy", take("proxy_args", ""), take("proxy_env", ""), none)
	onHost := 0
	for _, face := range h.faces {
		if e := c.workers(face, named, add, args, env, &onHost); e != nil && err == nil {
			err = e
		}
	}
	for _, k := range slices.Sorted(maps.Keys(h.keys)) {
		if h.keys[k] != "" {
			c.note("%s: %s = %s", h.file, k, h.keys[k])
		}
	}
	return err
}

// shared are the settings that concern all processes of a host.
func (c *zeekConf) shared(h *confHost, take func(string, string) string, metrics int) {
	set := func(key, value string) {
		if !slices.Contains(c.settings, pair{key, value}) {
			c.settings = append(c.settings, pair{key, value})
		}
	}
	if base := take("base_dir", ""); base != "" {
		set("zeek", filepath.Join(base, "bin/zeek"))
	}
	set("user", take("user", "zeek"))
	if group := take("group", "zeek"); group != "zeek" {
		c.note("group = %s: processes have the groups of their user", group)
	}
	if metrics == 0 {
		set("metrics", "no")
	}
	if a := take("metrics_address", ""); a != "" && a != "127.0.0.1" {
		set("metrics_address", a)
	}
	switch b := take("cluster_backend_args", "frameworks/cluster/backend/zeromq"); strings.TrimPrefix(b, "policy/") {
	case "frameworks/cluster/backend/zeromq", "frameworks/cluster/backend/zeromq/connect":
	case "frameworks/cluster/backend/broker":
		set("backend", "broker")
	default:
		c.note("cluster_backend_args = %s: zeekrec runs the backends zeromq and broker", b)
	}
	for _, r := range []desired.Role{desired.RoleManager, desired.RoleLogger, desired.RoleProxy} {
		c.roleLimits(r, take(string(r)+"_memory_max", ""), take(string(r)+"_nice", ""), take(string(r)+"_cpu_set", ""))
	}
	switch a := take("archiver", ""); {
	case a == "0":
		c.archive = append(c.archive, pair{"enabled", "no"})
	case strings.HasPrefix(a, "/"):
		c.archive = append(c.archive, pair{"command", a})
	}
	if v := take("ext_zeek_path", ""); v != "" {
		c.note("ext_zeek_path = %s: copy what is there into the folder NAME/ beside the .cfg file, which is on ZEEKPATH", v)
	}
	take("restart_interval_sec", "") // restarts have a back-off of their own
}

func (c *zeekConf) roleLimits(r desired.Role, memory, nice, cpus string) {
	add := func(key, value string) {
		if value != "" && !slices.Contains(c.limits[r], pair{key, value}) {
			c.limit(r, key, value)
		}
	}
	if memory != "" && strings.Trim(memory, "0123456789") == "" {
		if n, err := strconv.ParseInt(memory, 10, 64); err == nil {
			memory = fmt.Sprintf("%dK", max(1, n/1024)) // bytes, which have no unit there
		}
	}
	add("memory_max", memory)
	if nice != "0" {
		add("nice", nice)
	}
	add("cpus", strings.Join(strings.Fields(cpus), ","))
}

// workers adds those of one interface.
func (c *zeekConf) workers(face map[string]string, named func(string) string, add func(string, desired.Role, bool) *node, args, env string, onHost *int) error {
	take := func(key string) string {
		v := face[key]
		delete(face, key)
		return v
	}
	section, iface := take(""), take("interface")
	count := 1
	if v := take("workers"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 || n > 1024 {
			return fmt.Errorf("workers = %q is not a number of workers", v)
		}
		count = n
	}
	if iface == "" {
		c.note("the interface is empty, so there are no workers")
		count = 0
	}
	cpus, err := cpuList(take("workers_cpu_list"))
	if err != nil {
		return err
	}
	numa, old := take("worker_numa_policy"), take("workers_numa_policy")
	if p := numa + old; p != "" && p != "default" {
		c.note("worker_numa_policy = %s", p)
	}
	c.roleLimits(desired.RoleWorker, take("worker_memory_max"), take("worker_nice"), "")
	moreArgs, moreEnv := take("worker_args"), take("worker_env")
	for i := range count {
		c.indexes++
		*onHost++
		name := fmt.Sprintf("worker-%d", i+1)
		if section != "" {
			name = fmt.Sprintf("worker-%s-%d", section, i+1)
		}
		n := add(named(name), desired.RoleWorker, false)
		vars := map[string]string{
			"worker_index": strconv.Itoa(i + 1), "worker_index0": strconv.Itoa(i), "host_worker_index": strconv.Itoa(*onHost),
			"host_worker_index0": strconv.Itoa(*onHost - 1), "worker_cpu": "", "interface_section_name": section,
		}
		if len(cpus) > 0 {
			cpu := cpus[(*onHost-1)%len(cpus)] // the list goes round over all interfaces of a host
			n.cpu, vars["worker_cpu"] = &cpu, strconv.Itoa(cpu)
		}
		if n.iface, err = fill(iface, vars); err != nil {
			return err
		}
		if err := n.settle(args, moreArgs, env, moreEnv, func(int) map[string]string { return vars }, i); err != nil {
			return err
		}
	}
	for _, k := range slices.Sorted(maps.Keys(face)) {
		c.note("[interface %s] %s = %s", section, k, face[k])
	}
	return nil
}

// settle gives a node its arguments, its own before those of all, and its environment.
func (n *node) settle(args, more, env, moreEnv string, vars func(int) map[string]string, i int) error {
	words, err := clustercfg.SplitWords(more + " " + args)
	if err != nil {
		return fmt.Errorf("arguments: %w", err)
	}
	n.args = words
	for _, list := range []string{env, moreEnv} {
		filled, err := fill(list, vars(i))
		if err != nil {
			return err
		}
		items, err := clustercfg.SplitWords(filled)
		if err != nil {
			return fmt.Errorf("environment: %w", err)
		}
		for _, item := range items {
			k, v, ok := strings.Cut(item, "=")
			if !ok {
				return fmt.Errorf("the environment has %q, which is not NAME=VALUE", item)
			}
			if n.env == nil {
				n.env = map[string]string{}
			}
			n.env[k] = v
		}
	}
	return nil
}

// fill puts values in the place of ${name}; \${ stays ${.
func fill(s string, vars map[string]string) (string, error) {
	var err error
	re := regexp.MustCompile(`\\?\$\{[^}]*\}?`)
	out := re.ReplaceAllStringFunc(s, func(m string) string {
		if rest, escaped := strings.CutPrefix(m, `\`); escaped {
			return rest
		}
		name := strings.TrimSuffix(strings.TrimPrefix(m, "${"), "}")
		v, ok := vars[name]
		if !ok || !strings.HasSuffix(m, "}") {
			err = fmt.Errorf("there is no variable %s", m)
		}
		return v
	})
	return out, err
}

// cpuList reads lists, ranges and strides: 1,3,8-16:2.
func cpuList(s string) ([]int, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	bad := fmt.Errorf("workers_cpu_list %q has to be numbers and ranges: 0,2,4-10:2", s)
	var out []int
	for part := range strings.SplitSeq(s, ",") {
		span, step, strided := strings.Cut(strings.TrimSpace(part), ":")
		first, last, ranged := strings.Cut(span, "-")
		low, err := strconv.Atoi(first)
		high, by := low, 1
		if err == nil && ranged {
			high, err = strconv.Atoi(last)
		}
		if err == nil && strided {
			by, err = strconv.Atoi(step)
		}
		if err != nil || low < 0 || high < low || by < 1 || high > 8191 || strided && !ranged {
			return nil, bad
		}
		for n := low; n <= high; n += by {
			out = append(out, n)
		}
	}
	return out, nil
}
