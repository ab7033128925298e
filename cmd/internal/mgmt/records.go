package mgmt

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
)

// Result is the framework's Management::Result. Empty strings are fields that are not set.
type Result struct {
	Success  bool
	Instance string
	Data     Value // nil: not set
	Error    string
	Node     string
}

func refusal(text string) Result { return Result{Error: text} }

// Value of a result: always six fields.
func (r Result) Value(reqid string) Value {
	data := r.Data
	if data == nil {
		data = None{}
	}
	return Vector{String(reqid), Bool(r.Success), Text(r.Instance), data, Text(r.Error), Text(r.Node)}
}

// resultOf reads a result.
func resultOf(v Value) (Result, error) {
	f := &fields{what: "result", v: v, least: 6}
	_ = f.text(0)
	r := Result{Success: f.boolean(1), Instance: f.optional(2), Error: f.optional(4), Node: f.optional(5)}
	if f.err == nil {
		r.Data = f.at(3)
		if _, none := r.Data.(None); none {
			r.Data = nil
		}
	}
	return r, f.err
}

// resultsOf reads a vector of results.
func resultsOf(v Value) ([]Result, error) {
	list, ok := v.(Vector)
	if !ok {
		return nil, errors.New("not a vector of results")
	}
	var out []Result
	for _, x := range list {
		r, err := resultOf(x)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// Configuration is the framework's Management::Configuration: a cluster.cfg on the wire, under an id that the client chose.
type Configuration struct {
	ID        string
	Instances []desired.Instance
	Nodes     []desired.Node
}

// unspecified stands for the host of an instance whose agent connects by itself.
const unspecified = "0.0.0.0"

// Value of a configuration. Hosts have to be addresses.
func (c *Configuration) Value() Value {
	instances, nodes := Set{}, Set{}
	for _, i := range c.Instances {
		instances = append(instances, instanceValue(i))
	}
	for i := range c.Nodes {
		nodes = append(nodes, nodeValue(&c.Nodes[i]))
	}
	return Vector{String(c.ID), instances, nodes}
}

func instanceValue(i desired.Instance) Value {
	host, err := netip.ParseAddr(i.Host)
	if err != nil {
		host = netip.IPv4Unspecified() // what the wire has no field for
	}
	return Vector{String(i.Name), Address(host), TCP(i.Port)}
}

func nodeValue(n *desired.Node) Value {
	scripts, env := Value(None{}), Table{}
	if n.Scripts != nil {
		list := Vector{}
		for _, s := range n.Scripts {
			list = append(list, String(s))
		}
		scripts = list
	}
	for _, k := range slices.Sorted(maps.Keys(n.Env)) {
		env = append(env, Entry{String(k), String(n.Env[k])})
	}
	cpu, iface := Value(None{}), Text(n.Interface)
	if n.CPUAffinity != nil {
		cpu = Integer(*n.CPUAffinity)
	}
	if _, stated := n.Keys.Line("interface"); stated {
		iface = String(n.Interface)
	}
	return Vector{
		String(n.Name), String(n.Instance), roleValue(n.Role), Enum("Management::RUNNING"), TCP(n.Port), scripts, None{}, iface, cpu, env, TCP(n.MetricsPort),
	}
}

func roleValue(r desired.Role) Value { return Enum("Supervisor::" + strings.ToUpper(string(r))) }

// configurationOf reads a configuration, sorted by name. Surplus fields are passed over, as Zeek does.
func configurationOf(v Value) (*Configuration, error) {
	f := &fields{what: "configuration", v: v, least: 3}
	c := &Configuration{ID: f.text(0)}
	for _, x := range f.list(1) {
		i, err := instanceOf(x)
		if err != nil {
			return nil, err
		}
		c.Instances = append(c.Instances, i)
	}
	for _, x := range f.list(2) {
		n, err := nodeOf(x)
		if err != nil {
			return nil, err
		}
		c.Nodes = append(c.Nodes, n)
	}
	slices.SortStableFunc(c.Instances, func(a, b desired.Instance) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port))
	})
	slices.SortStableFunc(c.Nodes, func(a, b desired.Node) int { return strings.Compare(a.Name, b.Name) })
	return c, f.err
}

func instanceOf(v Value) (desired.Instance, error) {
	f := &fields{what: "instance", v: v, least: 3}
	i := desired.Instance{Name: f.text(0), Host: f.address(1), Port: f.port(2)}
	if i.Host == unspecified && i.Port == 0 {
		i.Host = ""
	}
	return i, f.err
}

func nodeOf(v Value) (desired.Node, error) {
	f := &fields{what: "node", v: v, least: 10}
	n := desired.Node{Name: f.text(0), Instance: f.text(1), Role: f.role(2), Port: f.port(4)}
	_ = f.enum(3)
	if f.set(5) {
		n.Scripts = []string{}
		for _, s := range f.list(5) {
			text, ok := s.(String)
			f.require(ok, "scripts")
			n.Scripts = append(n.Scripts, string(text))
		}
	}
	if f.set(7) {
		n.Interface = f.text(7)
		n.Keys.Set("interface", 0) // stated, on no line
	}
	if f.set(8) {
		cpu := f.integer(8)
		n.CPUAffinity = &cpu
	}
	n.Env = f.env(9)
	if len(f.all()) > 10 {
		n.MetricsPort = f.port(10)
	}
	return n, f.err
}

// fields reads the fields of a record and keeps the first error.
type fields struct {
	what  string
	v     Value
	least int
	err   error
}

func (f *fields) all() Vector {
	list, ok := f.v.(Vector)
	if !ok || len(list) < f.least {
		if f.err == nil {
			f.err = fmt.Errorf("not a %s: a vector of %d values is due", f.what, f.least)
		}
		return nil
	}
	return list
}

func (f *fields) at(i int) Value {
	if list := f.all(); list != nil {
		return list[i]
	}
	return None{}
}

func (f *fields) require(ok bool, what string) {
	if !ok && f.err == nil {
		f.err = fmt.Errorf("not a %s: its %s has another type", f.what, what)
	}
}

func (f *fields) set(i int) bool {
	_, none := f.at(i).(None)
	return !none
}

func (f *fields) number(i int) string { return fmt.Sprintf("field %d", i+1) }

func (f *fields) text(i int) string {
	s, ok := f.at(i).(String)
	f.require(ok, f.number(i))
	return string(s)
}

func (f *fields) optional(i int) string {
	if !f.set(i) {
		return ""
	}
	return f.text(i)
}

func (f *fields) boolean(i int) bool {
	b, ok := f.at(i).(Bool)
	f.require(ok, f.number(i))
	return bool(b)
}

func (f *fields) enum(i int) string {
	e, ok := f.at(i).(Enum)
	f.require(ok, f.number(i))
	return string(e)
}

func (f *fields) address(i int) string {
	a, ok := f.at(i).(Address)
	f.require(ok, f.number(i))
	if !ok {
		return ""
	}
	return a.host()
}

func (a Address) host() string { return netip.Addr(a).String() }

func (f *fields) port(i int) int {
	if !f.set(i) {
		return 0
	}
	p, ok := f.at(i).(Port)
	f.require(ok, f.number(i))
	return p.Number
}

// integer takes a count, too.
func (f *fields) integer(i int) int {
	switch n := f.at(i).(type) {
	case Integer:
		return int(n)
	case Count:
		return int(n)
	}
	f.require(false, f.number(i))
	return 0
}

func (f *fields) role(i int) desired.Role {
	name := f.enum(i)
	return desired.Role(strings.ToLower(name[strings.LastIndexByte(name, ':')+1:]))
}

func (f *fields) list(i int) []Value {
	switch v := f.at(i).(type) {
	case Vector:
		return v
	case Set:
		return v
	case Table:
		if len(v) == 0 {
			return nil // zeek-client cannot tell an empty set from an empty table
		}
	}
	f.require(false, f.number(i))
	return nil
}

func (f *fields) env(i int) map[string]string {
	if !f.set(i) {
		return nil
	}
	t, ok := f.at(i).(Table)
	f.require(ok, f.number(i))
	if len(t) == 0 {
		return nil
	}
	env := map[string]string{}
	for _, e := range t {
		k, ok := e.Key.(String)
		v, ok2 := e.Value.(String)
		f.require(ok && ok2, f.number(i))
		env[string(k)] = string(v)
	}
	return env
}

// NodeStatus is the framework's Management::NodeStatus.
type NodeStatus struct {
	Node        string
	State       string // PENDING, RUNNING, …
	MgmtRole    string // NONE, AGENT, CONTROLLER, NODE
	ClusterRole string // NONE, MANAGER, …
	PID         int    // 0: none
	Port        int
	MetricsPort int
}

// Value of a status: always seven fields.
func (s NodeStatus) Value() Value {
	pid := Value(None{})
	if s.PID != 0 {
		pid = Integer(s.PID)
	}
	return Vector{
		String(s.Node), Enum("Management::" + s.State), Enum("Management::" + s.MgmtRole), Enum("Supervisor::" + s.ClusterRole),
		pid, TCP(s.Port), TCP(s.MetricsPort),
	}
}

func nodeStatusOf(v Value) (NodeStatus, error) {
	f := &fields{what: "node status", v: v, least: 6}
	label := func(i int) string {
		_, name, _ := strings.Cut(f.enum(i), "::")
		return name
	}
	s := NodeStatus{Node: f.text(0), State: label(1), MgmtRole: label(2), ClusterRole: label(3), Port: f.port(5)}
	if f.set(4) {
		s.PID = f.integer(4)
	}
	if len(f.all()) > 6 {
		s.MetricsPort = f.port(6)
	}
	return s, f.err
}
