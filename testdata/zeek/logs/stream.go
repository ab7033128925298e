package logs

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Stream is one kind of log.
type Stream struct {
	Path   string
	Fields []string
	Types  []string
}

// The streams that the stand-in writes, with the leading fields of Zeek's own.
var (
	Conn = Stream{
		Path:   "conn",
		Fields: []string{"ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "service", "conn_state"},
		Types:  []string{"time", "string", "addr", "port", "addr", "port", "enum", "string", "string"},
	}
	DNS = Stream{
		Path:   "dns",
		Fields: []string{"ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "query"},
		Types:  []string{"time", "string", "addr", "port", "addr", "port", "enum", "string"},
	}
	Cluster = Stream{
		Path:   "cluster",
		Fields: []string{"ts", "node", "message"},
		Types:  []string{"time", "string", "string"},
	}
	Reporter = Stream{
		Path:   "reporter",
		Fields: []string{"ts", "level", "message", "location"},
		Types:  []string{"time", "enum", "string", "string"},
	}
	Stats = Stream{
		Path:   "stats",
		Fields: []string{"ts", "peer", "mem", "pkts_proc", "bytes_recv"},
		Types:  []string{"time", "string", "count", "count", "count"},
	}
	Telemetry = Stream{
		Path:   "telemetry",
		Fields: []string{"ts", "peer", "metric_type", "name", "value"},
		Types:  []string{"time", "string", "string", "string", "double"},
	}
)

func (s Stream) header(open string) string {
	return "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n" +
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
	for i, v := range values {
		separator := byte(',')
		if i == 0 {
			separator = '{'
		}
		b.WriteByte(separator)
		fmt.Fprintf(&b, "%q:", s.Fields[i])
		switch s.Types[i] {
		case "time", "port", "count", "double":
			b.WriteString(v)
		default:
			quoted, err := json.Marshal(v)
			if err != nil {
				return "", fmt.Errorf("cannot log to %s: %w", s.Path, err)
			}
			b.Write(quoted)
		}
	}
	return b.String() + "}\n", nil
}
