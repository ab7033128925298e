package mgmt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Value is one value of Broker's data model, as Zeek's WebSocket interface writes it: {"@data-type": TYPE, "data": …}.
type Value interface {
	// form is the name of the type, and what stands under "data".
	form() (name string, data any)
}

// The values. Records of Zeek are vectors of their fields, in order, with None for a field that is not set.
//
//nolint:revive // one comment for all of them
type (
	None     struct{}
	Bool     bool
	Count    uint64
	Integer  int64
	Real     float64
	String   string
	Enum     string // Module::NAME
	Address  netip.Addr
	Subnet   netip.Prefix
	Timespan string // as it was written: 5s
	Time     string // as it was written: 2026-01-02T03:04:05.678
	Vector   []Value
	Set      []Value
	Table    []Entry
)

// TypeOf is the name of a value's type.
func TypeOf(v Value) string {
	name, _ := v.form()
	return name
}

// Port is a transport port: number 1 to 65535, protocol tcp, udp, icmp or ?.
type Port struct {
	Number   int
	Protocol string
}

// Entry of a Table.
type Entry struct{ Key, Value Value }

// TCP returns a port, or None for 0: zeek-client cannot read a port 0.
func TCP(n int) Value {
	if n == 0 {
		return None{}
	}
	return Port{Number: n, Protocol: "tcp"}
}

// Text returns a string, or None where it is empty.
func Text(s string) Value {
	if s == "" {
		return None{}
	}
	return String(s)
}

func (None) form() (string, any)       { return "none", struct{}{} }
func (v Bool) form() (string, any)     { return "boolean", bool(v) }
func (v Count) form() (string, any)    { return "count", uint64(v) }
func (v Integer) form() (string, any)  { return "integer", int64(v) }
func (v Real) form() (string, any)     { return "real", float64(v) }
func (v String) form() (string, any)   { return "string", string(v) }
func (v Enum) form() (string, any)     { return "enum-value", string(v) }
func (v Address) form() (string, any)  { return "address", netip.Addr(v).String() }
func (v Subnet) form() (string, any)   { return "subnet", netip.Prefix(v).String() }
func (v Timespan) form() (string, any) { return "timespan", string(v) }
func (v Time) form() (string, any)     { return "timestamp", string(v) }
func (v Port) form() (string, any)     { return "port", strconv.Itoa(v.Number) + "/" + v.Protocol }
func (v Vector) form() (string, any)   { return "vector", wireAll(v) }
func (v Set) form() (string, any)      { return "set", wireAll(v) }

func (v Table) form() (string, any) {
	entries := make([]map[string]any, len(v))
	for i, e := range v {
		entries[i] = map[string]any{"key": wire{e.Key}, "value": wire{e.Value}}
	}
	return "table", entries
}

func wireAll(vs []Value) []wire {
	out := make([]wire, len(vs))
	for i, v := range vs {
		out[i] = wire{v}
	}
	return out
}

// wire writes a value as JSON.
type wire struct{ Value }

// MarshalJSON writes {"@data-type": …, "data": …}.
func (w wire) MarshalJSON() ([]byte, error) {
	name, data := w.form()
	return json.Marshal(struct {
		Type string `json:"@data-type"`
		Data any    `json:"data"`
	}{name, data})
}

// Bounds of what is read: no configuration is nested deeper than a table in a node in a set in a configuration.
const (
	maxDepth  = 16
	maxValues = 2_000_000
)

// decoder reads values within the bounds.
type decoder struct{ left int }

var errTooMuch = errors.New("more values than a message may have")

// ParseValue reads {"@data-type": TYPE, "data": …}. It never panics; what is too deep or too much is an error.
func ParseValue(b []byte) (Value, error) {
	d := &decoder{left: maxValues}
	return d.value(b, 0)
}

func (d *decoder) value(b []byte, depth int) (Value, error) {
	if d.left--; d.left < 0 {
		return nil, errTooMuch
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("values nested deeper than %d", maxDepth)
	}
	var raw struct {
		Type *string         `json:"@data-type"`
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, fmt.Errorf("not a value: %w", err)
	}
	if raw.Type == nil || raw.Data == nil {
		return nil, errors.New(`not a value: "@data-type" or "data" is missing`)
	}
	return d.typed(*raw.Type, raw.Data, depth)
}

func (d *decoder) typed(name string, data json.RawMessage, depth int) (Value, error) {
	switch name {
	case "none":
		return None{}, nil
	case "boolean":
		return plain[Bool](name, data)
	case "count":
		return plain[Count](name, data)
	case "integer":
		return plain[Integer](name, data)
	case "real":
		return plain[Real](name, data)
	case "vector":
		vs, err := d.list(name, data, depth)
		return Vector(vs), err
	case "set":
		vs, err := d.list(name, data, depth)
		return Set(vs), err
	case "table":
		return d.table(data, depth)
	}
	text, err := plain[String](name, data)
	if err != nil {
		return nil, err
	}
	s := string(text)
	switch name {
	case "string":
		return text, nil
	case "enum-value":
		return Enum(s), nil
	case "timespan":
		return Timespan(s), nil
	case "timestamp":
		return Time(s), nil
	case "address":
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return nil, fmt.Errorf("not an address: %.60q", s)
		}
		return Address(a), nil
	case "subnet":
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("not a subnet: %.60q", s)
		}
		return Subnet(p), nil
	case "port":
		return parsePort(s)
	}
	return nil, fmt.Errorf("there is no data type %.60q", name)
}

// plain reads what JSON has itself.
func plain[T Bool | Count | Integer | Real | String](name string, data json.RawMessage) (T, error) {
	var v *T
	if err := json.Unmarshal(data, &v); err != nil || v == nil {
		var zero T
		return zero, fmt.Errorf("not a %s: %.60s", name, data)
	}
	return *v, nil
}

func (d *decoder) list(name string, data json.RawMessage, depth int) ([]Value, error) {
	var raws []json.RawMessage
	if err := json.Unmarshal(data, &raws); err != nil || raws == nil {
		return nil, fmt.Errorf("not a %s: %.60s", name, data)
	}
	out := make([]Value, 0, min(len(raws), 1024))
	for _, r := range raws {
		v, err := d.value(r, depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func (d *decoder) table(data json.RawMessage, depth int) (Value, error) {
	var raws []struct {
		Key   json.RawMessage `json:"key"`
		Value json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(data, &raws); err != nil || raws == nil {
		return nil, fmt.Errorf("not a table: %.60s", data)
	}
	out := Table{}
	for _, r := range raws {
		k, err := d.value(r.Key, depth+1)
		if err != nil {
			return nil, err
		}
		v, err := d.value(r.Value, depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, Entry{k, v})
	}
	return out, nil
}

func parsePort(s string) (Value, error) {
	number, protocol, ok := strings.Cut(s, "/")
	n, err := strconv.ParseUint(number, 10, 16)
	if !ok || err != nil || !slices.Contains([]string{"tcp", "udp", "icmp", "?", "unknown"}, protocol) {
		return nil, fmt.Errorf("not a port: %.60q", s)
	}
	return Port{Number: int(n), Protocol: protocol}, nil
}

// Marshal writes a value.
func Marshal(v Value) ([]byte, error) {
	if r, ok := v.(Real); ok && (math.IsNaN(float64(r)) || math.IsInf(float64(r), 0)) {
		return nil, errors.New("JSON has no such number")
	}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	err := e.Encode(wire{v})
	return bytes.TrimSpace(buf.Bytes()), err
}
