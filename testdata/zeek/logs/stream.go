package logs

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Stream is one kind of log.
type Stream struct {
	ID     string // of the stream in Zeek's scripts, "Conn::LOG"
	Path   string
	Fields []string
	Types  []string // as the header of a log has them, "set[string]"
}

// What stands for a value that is not there, and for one that is empty.
const (
	Unset = "-"
	Empty = "(empty)"
)

// The streams that the stand-in writes. Of those that are pushed to a logger, which may be a Zeek, the fields are Zeek's: all of them.
var (
	Conn = Stream{
		ID:   "Conn::LOG",
		Path: "conn",
		Fields: []string{"ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "service", "duration", "orig_bytes", "resp_bytes",
			"conn_state", "local_orig", "local_resp", "missed_bytes", "history", "orig_pkts", "orig_ip_bytes", "resp_pkts", "resp_ip_bytes",
			"tunnel_parents", "ip_proto"},
		Types: []string{"time", "string", "addr", "port", "addr", "port", "enum", "string", "interval", "count", "count",
			"string", "bool", "bool", "count", "string", "count", "count", "count", "count",
			"set[string]", "count"},
	}
	DNS = Stream{
		ID:   "DNS::LOG",
		Path: "dns",
		Fields: []string{"ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "trans_id", "rtt", "query", "qclass", "qclass_name",
			"qtype", "qtype_name", "rcode", "rcode_name", "AA", "TC", "RD", "RA", "Z", "answers", "TTLs", "rejected", "opcode", "opcode_name"},
		Types: []string{"time", "string", "addr", "port", "addr", "port", "enum", "count", "interval", "string", "count", "string",
			"count", "string", "count", "string", "bool", "bool", "bool", "bool", "count", "vector[string]", "vector[interval]", "bool", "count", "string"},
	}
	Cluster = Stream{
		ID:     "Cluster::LOG",
		Path:   "cluster",
		Fields: []string{"ts", "node", "message"},
		Types:  []string{"time", "string", "string"},
	}
	Reporter = Stream{
		ID:     "Reporter::LOG",
		Path:   "reporter",
		Fields: []string{"ts", "level", "message", "location"},
		Types:  []string{"time", "enum", "string", "string"},
	}
	Stats = Stream{
		ID:     "Stats::LOG",
		Path:   "stats",
		Fields: []string{"ts", "peer", "mem", "pkts_proc", "bytes_recv"},
		Types:  []string{"time", "string", "count", "count", "count"},
	}
	Telemetry = Stream{
		ID:     "Telemetry::LOG",
		Path:   "telemetry",
		Fields: []string{"ts", "peer", "metric_type", "name", "value"},
		Types:  []string{"time", "string", "string", "string", "double"},
	}
)

func (s Stream) header(open string) string {
	return "#separator \\x09\n#set_separator\t,\n#empty_field\t" + Empty + "\n#unset_field\t" + Unset + "\n" +
		"#path\t" + s.Path + "\n#open\t" + open + "\n" +
		"#fields\t" + strings.Join(s.Fields, "\t") + "\n#types\t" + strings.Join(s.Types, "\t") + "\n"
}

// line formats one entry, tab separated or as a JSON object.
func (s Stream) line(values []string, asJSON bool) (string, error) {
	if len(values) != len(s.Fields) {
		return "", fmt.Errorf("cannot log to %s: %d values for %d fields", s.Path, len(values), len(s.Fields))
	}
	if !asJSON {
		return strings.Join(values, "\t") + "\n", nil
	}
	var b strings.Builder
	separator := byte('{')
	for i, v := range values {
		if v == Unset {
			continue // as Zeek leaves it out
		}
		b.WriteByte(separator)
		separator = ','
		fmt.Fprintf(&b, "%q:", s.Fields[i])
		element, list := elementOf(s.Types[i])
		if !list {
			b.WriteString(jsonValue(v, element))
			continue
		}
		b.WriteByte('[')
		for j, e := range elements(v) {
			if j > 0 {
				b.WriteByte(',')
			}
			b.WriteString(jsonValue(e, element))
		}
		b.WriteByte(']')
	}
	if b.Len() == 0 {
		b.WriteByte('{')
	}
	return b.String() + "}\n", nil
}

// elementOf is the type of the elements of a set or vector; of anything else itself, and false.
func elementOf(typ string) (string, bool) {
	for _, kind := range []string{"set[", "vector["} {
		if rest, ok := strings.CutPrefix(typ, kind); ok {
			return strings.TrimSuffix(rest, "]"), true
		}
	}
	return typ, false
}

// elements of a set or vector.
func elements(v string) []string {
	if v == Empty {
		return nil
	}
	return strings.Split(v, ",")
}

func jsonValue(v, typ string) string {
	switch typ {
	case "time", "interval", "port", "count", "int", "double":
		return v
	case "bool":
		return map[string]string{"T": "true", "F": "false"}[v]
	}
	if v == Empty {
		v = ""
	}
	quoted, err := json.Marshal(v)
	if err != nil {
		return `""` // no string is refused
	}
	return string(quoted)
}
