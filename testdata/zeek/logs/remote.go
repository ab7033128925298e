package logs

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
)

// tags are the types that a field can have in a log write.
var tags = map[string]zeekbus.Tag{
	"bool": zeekbus.TypeBool, "int": zeekbus.TypeInt, "count": zeekbus.TypeCount, "double": zeekbus.TypeDouble, "time": zeekbus.TypeTime,
	"interval": zeekbus.TypeInterval, "string": zeekbus.TypeString, "enum": zeekbus.TypeEnum, "port": zeekbus.TypePort, "addr": zeekbus.TypeAddr,
	"subnet": zeekbus.TypeSubnet, "file": zeekbus.TypeFile, "func": zeekbus.TypeFunc,
}

// ToLogWrite is what takes lines to a logger; each has the values that [Set.Write] takes.
func (s Stream) ToLogWrite(lines [][]string) (zeekbus.LogWrite, error) {
	w := zeekbus.LogWrite{Stream: s.ID, Writer: "Log::WRITER_ASCII", Filter: "default", Path: s.Path}
	for i, name := range s.Fields {
		element, list := elementOf(s.Types[i])
		f := zeekbus.LogField{Name: name, Type: tags[element], Subtype: zeekbus.TypeVoid, Optional: true}
		if list {
			f.Type, f.Subtype = listTag(s.Types[i]), tags[element]
		}
		w.Fields = append(w.Fields, f)
	}
	for _, line := range lines {
		if len(line) != len(s.Fields) {
			return w, fmt.Errorf("cannot push to %s: %d values for %d fields", s.Path, len(line), len(s.Fields))
		}
		record := make([]zeekbus.LogValue, len(line))
		for i, text := range line {
			v, err := parseValue(text, s.Types[i])
			if err != nil {
				return w, fmt.Errorf("cannot push %s to %s: %w", s.Fields[i], s.Path, err)
			}
			record[i] = v
		}
		w.Records = append(w.Records, record)
	}
	return w, nil
}

func listTag(typ string) zeekbus.Tag {
	if strings.HasPrefix(typ, "set[") {
		return zeekbus.TypeSet
	}
	return zeekbus.TypeVector
}

// parseValue reads what a log has.
func parseValue(text, typ string) (v zeekbus.LogValue, err error) {
	element, list := elementOf(typ)
	v = zeekbus.LogValue{Type: tags[element], Subtype: zeekbus.TypeVoid}
	if list {
		v.Type, v.Subtype = listTag(typ), tags[element]
	}
	if text == Unset {
		return v, nil
	}
	if list {
		data := []zeekbus.LogValue{}
		for _, e := range elements(text) {
			one, err := parseValue(e, element)
			if err != nil {
				return v, err
			}
			data = append(data, one)
		}
		v.Data = data
		return v, nil
	}
	switch element {
	case "bool":
		v.Data = text == "T"
	case "int":
		v.Data, err = strconv.ParseInt(text, 10, 64)
	case "count":
		v.Data, err = strconv.ParseUint(text, 10, 64)
	case "double", "time", "interval":
		v.Data, err = strconv.ParseFloat(text, 64)
	case "port":
		var n uint64
		n, err = strconv.ParseUint(text, 10, 16)
		v.Data = zeekbus.Port{Number: uint16(n)}
	case "addr":
		v.Data, err = netip.ParseAddr(text)
	case "subnet":
		v.Data, err = netip.ParsePrefix(text)
	default:
		if text == Empty {
			text = ""
		}
		v.Data = text
	}
	return v, err
}

// FromLogWrite is the stream of a log write that has come, and its lines, with the values that [Set.Write] takes.
func FromLogWrite(w zeekbus.LogWrite) (Stream, [][]string, error) {
	s := Stream{ID: w.Stream, Path: w.Path}
	for _, f := range w.Fields {
		name, err := typeName(f)
		if err != nil {
			return s, nil, err
		}
		s.Fields = append(s.Fields, f.Name)
		s.Types = append(s.Types, name)
	}
	lines := make([][]string, len(w.Records))
	for i, r := range w.Records {
		for _, v := range r {
			lines[i] = append(lines[i], formatValue(v, false))
		}
	}
	return s, lines, nil
}

func typeName(f zeekbus.LogField) (string, error) {
	kind, tag := "%s", f.Type
	switch f.Type {
	case zeekbus.TypeSet:
		kind, tag = "set[%s]", f.Subtype
	case zeekbus.TypeVector:
		kind, tag = "vector[%s]", f.Subtype
	}
	for name, t := range tags {
		if t == tag {
			return fmt.Sprintf(kind, name), nil
		}
	}
	return "", fmt.Errorf("cannot log %s: type %d", f.Name, tag)
}

// formatValue writes a value as Zeek's ASCII writer does.
func formatValue(v zeekbus.LogValue, inside bool) string {
	switch d := v.Data.(type) {
	case nil:
		return Unset
	case bool:
		if d {
			return "T"
		}
		return "F"
	case int64:
		return strconv.FormatInt(d, 10)
	case uint64:
		return strconv.FormatUint(d, 10)
	case float64:
		text := strconv.FormatFloat(d, 'f', 6, 64)
		if v.Type == zeekbus.TypeDouble && !math.IsInf(d, 0) && !math.IsNaN(d) {
			text = strings.TrimRight(text, "0")
			if strings.HasSuffix(text, ".") {
				text += "0"
			}
		}
		return text
	case zeekbus.Port:
		return strconv.Itoa(int(d.Number))
	case []zeekbus.LogValue:
		if len(d) == 0 {
			return Empty
		}
		var list []string
		for _, e := range d {
			list = append(list, formatValue(e, true))
		}
		return strings.Join(list, ",")
	case string:
		return escaped(d, inside)
	}
	return fmt.Sprint(v.Data) // addresses and networks
}

// escaped is a string without what would end the field or the line.
func escaped(s string, inside bool) string {
	switch s {
	case "":
		return Empty
	case Unset, Empty:
		return fmt.Sprintf(`\x%02x`, s[0]) + s[1:]
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == 0x7f || c == ',' && inside {
			fmt.Fprintf(&b, `\x%02x`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
