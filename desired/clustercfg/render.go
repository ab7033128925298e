package clustercfg

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/zeekrec/zeekrec/desired"
)

// The JSON form of zeek-client's get-config, without the id; the fields are in the order of their names.
type (
	jsonConfig struct {
		Instances []jsonInstance `json:"instances"`
		Nodes     []jsonNode     `json:"nodes"`
	}
	jsonInstance struct {
		Host string `json:"host,omitempty"`
		Name string `json:"name"`
		Port int    `json:"port,omitempty"`
	}
	jsonNode struct {
		CPUAffinity *int              `json:"cpu_affinity"`
		Env         map[string]string `json:"env"`
		Instance    string            `json:"instance"`
		Interface   *string           `json:"interface"`
		MetricsPort *int              `json:"metrics_port"`
		Name        string            `json:"name"`
		Options     []string          `json:"options"` // always null: a cluster.cfg has none
		Port        *int              `json:"port"`
		Role        string            `json:"role"`
		Scripts     []string          `json:"scripts"`
	}
)

// ConfigJSON returns the instances and nodes of a cluster as zeek-client's "get-config --as-json" has them, without the
// id: sorted by name, keys sorted, characters beyond ASCII escaped. It is one line; use json.Indent
// with two blanks for what zeek-client prints.
func ConfigJSON(c *desired.Cluster) json.RawMessage {
	out := jsonConfig{Instances: []jsonInstance{}, Nodes: []jsonNode{}}
	for _, i := range sortedInstances(c) {
		out.Instances = append(out.Instances, jsonInstance{Host: i.Host, Name: i.Name, Port: i.Port})
	}
	for _, n := range sortedNodes(c) {
		j := jsonNode{
			CPUAffinity: n.CPUAffinity, Env: n.Env, Instance: n.Instance, Name: n.Name, Scripts: n.Scripts,
			Role: strings.ToUpper(string(n.Role)), Port: nonZero(n.Port), MetricsPort: nonZero(n.MetricsPort),
		}
		if j.Env == nil {
			j.Env = map[string]string{}
		}
		if hasInterface(n) {
			j.Interface = &n.Interface
		}
		out.Nodes = append(out.Nodes, j)
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		panic(fmt.Sprintf("cannot encode strings and numbers: %v", err)) // nothing in it can fail
	}
	return asciiJSON(bytes.TrimSpace(buf.Bytes()))
}

// asciiJSON escapes all that is not ASCII, as Python does; in JSON such characters are only found in strings.
func asciiJSON(b []byte) json.RawMessage {
	out := make([]byte, 0, len(b))
	for _, r := range string(b) {
		switch {
		case r < 0x80:
			out = append(out, byte(r))
		case r < 0x10000:
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		}
	}
	return out
}

func nonZero(n int) *int {
	if n == 0 {
		return nil
	}
	return &n
}

// hasInterface tells an interface that is stated and empty, which zeek-client keeps, from none.
func hasInterface(n *desired.Node) bool {
	_, stated := n.Keys.Line("interface")
	return n.Interface != "" || stated
}

func sortedInstances(c *desired.Cluster) []desired.Instance {
	return slices.SortedStableFunc(slices.Values(c.Instances), func(a, b desired.Instance) int { return strings.Compare(a.Name, b.Name) })
}

func sortedNodes(c *desired.Cluster) []*desired.Node {
	nodes := make([]*desired.Node, len(c.Nodes))
	for i := range c.Nodes {
		nodes[i] = &c.Nodes[i]
	}
	slices.SortStableFunc(nodes, func(a, b *desired.Node) int { return strings.Compare(a.Name, b.Name) })
	return nodes
}

// ConfigINI returns the instances and nodes of a cluster as zeek-client's "get-config" does. Where that loses something
// (quotation marks, backslashes, empty words, percent signs), this does not: Parse reads the same nodes from it. Only
// values over several lines of which one begins or ends with a blank, or begins with a comment sign, cannot be written.
func ConfigINI(c *desired.Cluster) []byte {
	var w iniWriter
	if len(c.Instances) > 0 && !implied(c) {
		w.section(instancesSection)
		for _, i := range sortedInstances(c) {
			switch {
			case i.Port != 0:
				w.key(i.Name, i.Host+":"+strconv.Itoa(i.Port))
			default:
				w.buf.WriteString(i.Name + "\n")
			}
		}
		w.end()
	}
	for _, n := range sortedNodes(c) {
		w.section(n.Name)
		w.key("instance", n.Instance)
		w.key("role", strings.ToUpper(string(n.Role)))
		if n.Port != 0 {
			w.key("port", strconv.Itoa(n.Port))
		}
		if len(n.Scripts) > 0 {
			w.key("scripts", join(slices.Sorted(slices.Values(n.Scripts))))
		}
		if hasInterface(n) {
			w.key("interface", n.Interface)
		}
		if n.CPUAffinity != nil {
			w.key("cpu_affinity", strconv.Itoa(*n.CPUAffinity))
		}
		if len(n.Env) > 0 {
			var items []string
			for _, k := range slices.Sorted(maps.Keys(n.Env)) {
				items = append(items, value(k)+"="+value(n.Env[k]))
			}
			w.key("env", strings.Join(items, " "))
		}
		if n.MetricsPort != 0 {
			w.key("metrics_port", strconv.Itoa(n.MetricsPort))
		}
		if len(n.Args) > 0 {
			w.key("args", join(n.Args))
		}
		w.end()
	}
	return w.buf.Bytes()
}

// implied reports whether [instances] has to be left out: it would not say what the nodes say, since names are
// lower-cased there and cannot have a delimiter, and none of them has an address to tell.
func implied(c *desired.Cluster) bool {
	odd := false
	for _, i := range c.Instances {
		if i.Port != 0 {
			return false
		}
		key, _, delimiter := cut(i.Name)
		_, bracket := header(i.Name)
		if i.Name == "" || delimiter || bracket || lower(strip(key)) != i.Name || i.Name[0] == '#' || i.Name[0] == ';' || strings.Contains(i.Name, "\n") {
			odd = true
		}
	}
	return odd
}

type iniWriter struct{ buf bytes.Buffer }

func (w *iniWriter) section(name string) { w.buf.WriteString("[" + name + "]\n") }

func (w *iniWriter) key(key, value string) {
	value = strings.ReplaceAll(strings.ReplaceAll(value, "%", "%%"), "\n", "\n\t")
	w.buf.WriteString(key + " = " + value + "\n")
}

func (w *iniWriter) end() { w.buf.WriteByte('\n') }

func join(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = word(s)
	}
	return strings.Join(out, " ")
}

// word writes what splitWords reads as one word.
func word(s string) string {
	if s == "" {
		return `""`
	}
	return value(s)
}

// value writes a part of a word, in quotation marks where it needs them.
func value(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return isBlank(r) || r == '"' || r == '\'' || r == '\\' }) {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
