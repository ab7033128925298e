package clustercfg

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
)

// nodeKeyNames are the keys of a node that mean something. All but args and the keys of several workers are zeek-client's.
func nodeKeyNames() []string {
	return append([]string{"instance", "role", "port", "scripts", "interface", "cpu_affinity", "env", "metrics_port", "args"}, balanceKeys()...)
}

func isNodeKey(key string) bool { return slices.Contains(nodeKeyNames(), key) }

// nodeReader reads one section as a node.
type nodeReader struct {
	*parser
	sec  *section
	node desired.Node
}

// text returns the value of a key. One without a value reads as absent; one whose value cannot be used
// is bad, which was reported.
func (r *nodeReader) text(key string) (value string, line int, ok, bad bool) {
	e := r.resolver.find(r.sec, key)
	switch {
	case e == nil:
		return "", r.sec.line, false, false
	case !e.hasValue:
		return "", e.line, false, false
	}
	value, prob := r.resolver.resolve(r.sec, e)
	if prob != nil {
		r.rep.error(e.line, prob.code, fmt.Sprintf("%s of node %s: %s", key, quote(r.sec.name), prob.what), prob.hint)
		return "", e.line, false, true
	}
	r.node.Keys.Set(key, e.line)
	return value, e.line, true, false
}

// bad reports a value that cannot be used.
func (r *nodeReader) bad(line int, code, what, hint string) {
	r.rep.error(line, code, fmt.Sprintf("node %s: %s", quote(r.sec.name), what), hint)
}

// node reads a section, which may stand for several workers; free says that it states no instance.
func (p *parser) node(sec *section) (nodes []desired.Node, free bool) {
	r := &nodeReader{parser: p, sec: sec}
	r.node = desired.Node{Name: sec.name, Line: sec.line}
	if why := unfit(sec.name); why != "" {
		r.bad(sec.line, "unfit-name", "the name cannot be the name of a folder: "+why, "rename the section")
	}
	free = p.resolver.find(sec, "instance") == nil
	r.instance()
	r.role()
	r.node.Port = r.port("port", "port")
	r.node.MetricsPort = r.port("metrics_port", "metrics port")
	r.scripts()
	r.netInterface()
	r.cpuAffinity()
	r.env()
	r.args()
	r.state()
	r.others()
	return r.workers(), free
}

func (r *nodeReader) instance() {
	value, line, _, bad := r.text("instance")
	switch {
	case bad:
	case value == "":
		value = r.host
	case strings.Contains(value, "\n"):
		r.bad(line, "continued-value", "the name of the instance goes on over several lines: "+quote(value), "the lines that follow are indented deeper than instance; indent them alike")
	case trailingComment(value):
		r.rep.warn(line, "trailing-comment", "the name of the instance is "+quote(value), ownLine)
	case strings.ContainsAny(value, `"'`):
		r.rep.warn(line, "quotes", "the quotation marks are part of the instance's name "+quote(value), "leave them out")
	}
	r.node.Instance = value
}

// role looks the role up as zeek-client does: without any scope ("Supervisor::WORKER"), in any case.
func (r *nodeReader) role() {
	value, line, ok, bad := r.text("role")
	if bad {
		return
	}
	if e := r.resolver.find(r.sec, "type"); e != nil {
		alias, aliasLine, stated, aliasBad := r.text("type")
		switch {
		case ok:
			r.rep.warn(e.line, "alias", "type is another name of role, and role is stated, too: type is ignored", "remove type")
		case stated || aliasBad:
			r.rep.warn(e.line, "alias", "type works, but it is an old name of role", "write role")
			value, line, ok = alias, aliasLine, stated
			r.node.Keys.Delete("type")
			if stated {
				r.node.Keys.Set("role", aliasLine)
			}
		}
		if aliasBad {
			return
		}
	}
	if !ok || value == "" {
		r.noRole(line)
		return
	}
	scopes := strings.Split(value, "::")
	name := scopes[len(scopes)-1]
	name = strings.ToUpper(name[strings.LastIndexByte(name, '.')+1:])
	r.node.Role = desired.Role(strings.ToLower(name))
	switch name {
	case "MANAGER", "LOGGER", "PROXY", "WORKER":
	case "NONE":
		r.bad(line, "role-none", "the role NONE runs nothing", "manager, logger, proxy or worker")
	default:
		hint := "the roles are manager, logger, proxy and worker"
		if trailingComment(value) {
			hint = ownLine
		} else if strings.Contains(value, "\n") {
			hint = "the value goes on over several lines: what is indented deeper than its key continues it"
		}
		r.rep.error(line, "unknown-role", meant("role", value, "", []string{"manager", "logger", "proxy", "worker"}), hint)
	}
}

func (r *nodeReader) noRole(line int) {
	name := r.sec.name
	hint := "add role = manager, logger, proxy or worker"
	switch l := lower(strip(name)); {
	case l == instancesSection:
		hint = "if it is not meant as a node: the section of the instances is called [instances], in lower case and without blanks"
	case strings.HasPrefix(l, ownName):
		hint = "if it is not meant as a node: zeekrec's own sections are called [zeekrec] and [zeekrec.NAME], in lower case and without blanks"
	case closest(name, []string{instancesSection}) != "":
		hint = "if it is not meant as a node: did you mean [instances]?"
	}
	r.rep.error(line, "no-role", fmt.Sprintf(`invalid node "%s" configuration: node requires a role`, name), hint)
}

func (r *nodeReader) port(key, what string) int {
	value, line, ok, _ := r.text(key)
	if !ok {
		return 0
	}
	n, isInt := parseInt(value)
	switch {
	case !isInt:
		r.bad(line, "bad-port", fmt.Sprintf("the %s %s is not a number", what, quote(value)), r.numberHint(key, value))
	case n < 1 || n > 65535:
		r.bad(line, "bad-port", fmt.Sprintf("%s %s outside valid range", what, clip(strip(value), 40)), "a port is a number from 1 to 65535; without "+key+" one is assigned")
	default:
		return n
	}
	return 0
}

func (r *nodeReader) numberHint(key, value string) string {
	switch digits, protocol, _ := strings.Cut(value, "/"); {
	case trailingComment(value):
		return ownLine
	case value == "":
		return "write a number, or leave " + key + " out"
	case protocol == "tcp":
		return fmt.Sprintf("write %s = %s; it is always TCP", key, digits)
	}
	return "write a number"
}

func (r *nodeReader) scripts() {
	value, line, ok, _ := r.text("scripts")
	if !ok || value == "" {
		return
	}
	words, err := splitWords(value)
	if err != nil {
		r.bad(line, "bad-quotes", fmt.Sprintf("scripts %s: %v", quote(value), err), "close the quotation mark, or write a backslash before one that is meant as such")
		return
	}
	if slices.ContainsFunc(words, func(w string) bool { return w == "#" || w == ";" }) {
		r.rep.warn(line, "trailing-comment", "scripts are "+quote(value), ownLine)
	}
	slices.Sort(words)
	r.node.Scripts = words
}

func (r *nodeReader) netInterface() {
	value, line, ok, bad := r.text("interface")
	if bad {
		value = r.resolver.find(r.sec, "interface").value // as it stands there, so that none is missing
	}
	r.node.Interface = value
	if !ok {
		return
	}
	switch {
	case strings.Contains(value, "\n"):
		r.bad(line, "continued-value", "the interface goes on over several lines: "+quote(value), "the lines that follow are indented deeper than interface; indent them alike")
	case trailingComment(value):
		r.bad(line, "trailing-comment", "the interface is "+quote(value), ownLine)
	case strings.ContainsAny(value, `"'`):
		r.rep.warn(line, "quotes", "the quotation marks are part of the interface's name "+quote(value), "leave them out")
	}
}

func (r *nodeReader) cpuAffinity() {
	value, line, ok, _ := r.text("cpu_affinity")
	if !ok {
		return
	}
	n, isInt := parseInt(value)
	switch {
	case !isInt:
		hint := r.numberHint("cpu_affinity", value)
		if strings.ContainsAny(value, ",-") {
			hint = "a node is pinned to one CPU; for several, use cpus in [zeekrec.limits.ROLE]"
		}
		r.bad(line, "bad-cpu", fmt.Sprintf("cpu_affinity %s is not a number", quote(value)), hint)
		return
	case n == math.MaxInt || n == -math.MaxInt:
		r.bad(line, "bad-cpu", fmt.Sprintf("cpu_affinity %s is too large", clip(value, 40)), "write the number of a CPU")
		return
	case n < 0 || n > maxCPU:
		r.rep.warn(line, "bad-cpu", fmt.Sprintf("node %s: there is no CPU %d", quote(r.sec.name), n), "the first CPU is 0; leave cpu_affinity out to use all")
	}
	r.node.CPUAffinity = &n
}

func (r *nodeReader) env() {
	value, line, ok, _ := r.text("env")
	if !ok || value == "" {
		return
	}
	words, err := splitWords(value)
	if err != nil {
		r.bad(line, "bad-env", fmt.Sprintf("env %s: %v", quote(value), err), "close the quotation mark, or write a backslash before one that is meant as such")
		return
	}
	env := make(map[string]string, len(words))
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		switch {
		case !ok:
			hint := "separate by blanks, and put a value with blanks into quotation marks: NAME=\"a b\""
			if w == "#" || w == ";" {
				hint = ownLine
			}
			r.bad(line, "bad-env", fmt.Sprintf("env has %s, which is not NAME=VALUE", quote(w)), hint)
			continue
		case k == "":
			r.bad(line, "bad-env", fmt.Sprintf("env has %s, which has no name", quote(w)), "write NAME=VALUE")
		case reservedEnv(k):
			r.bad(line, "reserved-env", k+" in env would break what zeekrec itself sets", "remove it; files beside the configuration belong into the folder "+r.name+"/, which is on ZEEKPATH")
		}
		env[k] = v
	}
	if len(env) > 0 {
		r.node.Env = env
	}
}

// reservedEnv are variables that decide which node of which cluster a process is (decisions 10).
func reservedEnv(name string) bool {
	return name == "CLUSTER_NODE" || name == "ZEEKPATH" || strings.HasPrefix(name, "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_")
}

func (r *nodeReader) args() {
	value, line, ok, _ := r.text("args")
	if !ok || value == "" {
		return
	}
	words, err := splitWords(value)
	if err != nil {
		r.bad(line, "bad-quotes", fmt.Sprintf("args %s: %v", quote(value), err), "close the quotation mark, or write a backslash before one that is meant as such")
		return
	}
	r.node.Args = words
}

// state is read by zeek-client only to say that it is ignored.
func (r *nodeReader) state() {
	value, line, ok, _ := r.text("state")
	r.node.Keys.Delete("state")
	if ok && value != "" {
		r.rep.warn(line, "ignored-key", fmt.Sprintf(`ignoring node "%s" state "%s" in configuration`, r.sec.name, value), "remove it; zeekrec stop holds a node stopped")
	}
}

// others has the values of all further keys interpolated: zeek-client does that, too, and fails where it cannot be done.
func (r *nodeReader) others() {
	check := func(e *entry) {
		if isNodeKey(e.key) || e.key == "type" || e.key == "state" || !strings.Contains(e.value, "%") {
			return
		}
		if _, prob := r.resolver.resolve(r.sec, e); prob != nil {
			r.rep.error(e.line, prob.code, fmt.Sprintf("%s: %s", e.key, prob.what), prob.hint)
		}
	}
	for _, e := range r.inherited {
		if r.resolver.exhausted() {
			return // which was reported
		}
		if r.sec.index[e.key] == nil {
			check(e)
		}
	}
	for _, e := range r.sec.entries {
		check(e)
	}
}

// unknownKeys warns of keys that nothing reads and no reference uses. It is for the end, when all references
// are known.
func (p *parser) unknownKeys() {
	check := func(e *entry) {
		if isNodeKey(e.key) || e.key == "type" || e.key == "state" || p.resolver.used[e] {
			return
		}
		p.rep.warn(e.line, "unknown-key", meant("key", e.key, "", nodeKeyNames()), "it is ignored; the keys of a node are "+one(nodeKeyNames()))
	}
	for _, sec := range p.doc.sections {
		if sec.name != instancesSection {
			for _, e := range sec.entries {
				check(e)
			}
		}
	}
	if len(p.doc.sections) > 0 && !p.declared {
		for _, e := range p.doc.defaults.entries {
			check(e)
		}
	}
}
