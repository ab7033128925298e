package script

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Node is an entry of the cluster layout.
type Node struct {
	Name        string
	Type        string // LOGGER, MANAGER, PROXY, WORKER
	IP          string
	Port        int // 0: none
	MetricsPort int // 0: none
}

// Program is what the scripts say, as far as anything of it is used.
type Program struct {
	node   string
	loaded []string
	values map[string][]token // what redef last assigned
	added  map[string][]token // what redef += added
	nodes  map[string]Node
}

func newProgram(node string) *Program {
	return &Program{node: node, values: make(map[string][]token), added: make(map[string][]token), nodes: make(map[string]Node)}
}

// redef keeps what a statement of the form "redef NAME = VALUE" or "+= VALUE" says.
// Anything else is ignored.
func (p *Program) redef(statement []token) {
	if len(statement) < 5 || statement[0].text != "redef" || statement[1].kind != word {
		return
	}
	name, op, value := statement[1].text, statement[2].text, slices.Clone(statement[3:len(statement)-1])
	switch op {
	case "=":
		p.values[name] = value
		delete(p.added, name)
	case "+=":
		p.added[name] = append(p.added[name], value...)
	default:
		return
	}
	if name == "Cluster::nodes" {
		for _, e := range entries(value) {
			p.nodes[e.key] = p.layoutNode(e)
		}
	}
}

// Loaded says whether a script whose path ends in suffix was loaded.
func (p *Program) Loaded(suffix string) bool {
	return slices.ContainsFunc(p.loaded, func(path string) bool { return strings.HasSuffix(path, suffix) })
}

// Scripts are the paths of all that was loaded, in this order.
func (p *Program) Scripts() []string { return slices.Clone(p.loaded) }

// Nodes returns the layout, sorted by name.
func (p *Program) Nodes() []Node {
	var nodes []Node
	for _, n := range p.nodes {
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return nodes
}

// Self returns the node's own entry in the layout; false when it has none.
func (p *Program) Self() (Node, bool) {
	n, ok := p.nodes[p.node]
	return n, ok
}

// String returns a name's value as text, or what is given.
func (p *Program) String(name, otherwise string) string {
	if v, ok := p.values[name]; ok {
		return p.text(v)
	}
	return otherwise
}

// Bool returns a name's value as T or F, or what is given.
func (p *Program) Bool(name string, otherwise bool) bool {
	if v, ok := p.values[name]; ok && len(v) == 1 {
		return v[0].text == "T"
	}
	return otherwise
}

// Port returns a name's value as a port number, or what is given.
func (p *Program) Port(name string, otherwise int) int {
	v, ok := p.values[name]
	if !ok || len(v) == 0 {
		return otherwise
	}
	if v[0].text == "Cluster::local_node_metrics_port" {
		self, _ := p.Self()
		return self.MetricsPort
	}
	return port(v[0].text)
}

// Interval returns a name's value as a duration, or what is given.
func (p *Program) Interval(name string, otherwise time.Duration) time.Duration {
	if v, ok := p.values[name]; ok {
		if d, ok := interval(concat(v)); ok {
			return d
		}
	}
	return otherwise
}

// Count returns a name's value as a number, or what is given.
func (p *Program) Count(name string, otherwise int) int {
	if v, ok := p.values[name]; ok {
		if n, err := strconv.Atoi(concat(v)); err == nil {
			return n
		}
	}
	return otherwise
}

// Strings returns the strings that a set's or vector's value has and that were added to it, in the order of the scripts.
func (p *Program) Strings(name string) []string {
	var found []string
	for _, t := range slices.Concat(p.values[name], p.added[name]) {
		if t.kind == str {
			found = append(found, t.text)
		}
	}
	return found
}

// Value returns what a name was given as text, as Zeek prints it: a string, number, port, address, boolean or enumerator. False for what it was
// not given, and for what is none of these.
func (p *Program) Value(name string) (string, bool) {
	v, ok := p.values[name]
	if !ok || len(p.added[name]) > 0 {
		return "", false
	}
	text := slices.ContainsFunc(v, func(t token) bool { return t.kind == str || t.text == "Cluster::node" })
	for _, t := range v {
		if t.kind == punct && t.text != "+" || t.kind != punct && !text && len(v) > 1 {
			return "", false
		}
	}
	if _, isInterval := interval(concat(v)); !text && isInterval && strings.ContainsAny(concat(v), "dhmsu") {
		return "", false // "3 secs" is "3.0 secs" to Zeek
	}
	return p.text(v), true
}

// Pairs returns the string entries that a table's value has and that were added
// to it, in the order of the scripts.
func (p *Program) Pairs(name string) [][2]string {
	var pairs [][2]string
	for _, e := range append(entries(p.values[name]), entries(p.added[name])...) {
		pairs = append(pairs, [2]string{e.key, p.text(e.value)})
	}
	return pairs
}

// text evaluates strings joined by "+", in which Cluster::node is known. Other
// tokens stand for themselves.
func (p *Program) text(v []token) string {
	var b strings.Builder
	for _, t := range v {
		switch {
		case t.kind == punct && t.text == "+":
		case t.kind == word && t.text == "Cluster::node":
			b.WriteString(p.node)
		default:
			b.WriteString(t.text)
		}
	}
	return b.String()
}

func (p *Program) layoutNode(e entry) Node {
	n := Node{Name: e.key}
	for name, value := range fields(e.value) {
		switch name {
		case "node_type":
			n.Type = strings.TrimPrefix(concat(value), "Cluster::")
		case "ip":
			n.IP = strings.Trim(concat(value), "[]")
		case "p":
			n.Port = port(concat(value))
		case "metrics_port":
			n.MetricsPort = port(concat(value))
		}
	}
	return n
}

// entry is one ["key"] = value of a table.
type entry struct {
	key   string
	value []token
}

// entries finds the entries of a table wherever they stand in the value: in
// { … } or table( … ).
func entries(v []token) []entry {
	var found []entry
	for i := 0; i+4 < len(v); i++ {
		if v[i].text == "[" && v[i+1].kind == str && v[i+2].text == "]" && v[i+3].text == "=" {
			value := untilComma(v[i+4:])
			found = append(found, entry{key: v[i+1].text, value: value})
			i += 3 + len(value)
		}
	}
	return found
}

// fields yields the $name=value of a record.
func fields(v []token) map[string][]token {
	found := make(map[string][]token)
	for i := 0; i+3 < len(v); i++ {
		if v[i].text == "$" && v[i+1].kind == word && v[i+2].text == "=" {
			value := untilComma(v[i+3:])
			found[v[i+1].text] = value
			i += 2 + len(value)
		}
	}
	return found
}

// untilComma returns the tokens before the next comma or closing bracket of the
// same level.
func untilComma(v []token) []token {
	depth := 0
	for i, t := range v {
		if t.kind != punct {
			continue
		}
		switch t.text {
		case "(", "[", "{":
			depth++
		case ")", "]", "}":
			if depth--; depth < 0 {
				return v[:i]
			}
		case ",":
			if depth == 0 {
				return v[:i]
			}
		}
	}
	return v
}

func concat(v []token) string {
	var b strings.Builder
	for _, t := range v {
		b.WriteString(t.text)
	}
	return b.String()
}

// port reads "9000/tcp"; anything else is 0.
func port(s string) int {
	number, _, _ := strings.Cut(s, "/")
	n, err := strconv.Atoi(number)
	if err != nil {
		return 0
	}
	return n
}

// interval reads Zeek's "2.5 min", here without the blank.
func interval(s string) (time.Duration, bool) {
	i := strings.IndexFunc(s, func(r rune) bool { return r != '.' && r != '-' && (r < '0' || r > '9') })
	if i < 0 {
		i = len(s)
	}
	n, err := strconv.ParseFloat(s[:i], 64)
	if err != nil {
		return 0, false
	}
	unit := time.Second
	switch strings.TrimSuffix(s[i:], "s") {
	case "day":
		unit = 24 * time.Hour
	case "hr":
		unit = time.Hour
	case "min":
		unit = time.Minute
	case "msec":
		unit = time.Millisecond
	case "usec":
		unit = time.Microsecond
	}
	return time.Duration(n * float64(unit)), true
}
