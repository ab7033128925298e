package launch

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/zeekrec/zeekrec/desired"
)

// tuneFileName is the script by which a process can be told options.
const tuneFileName = "zeekrec-tune.zeek"

// TuneScript is where that is among the generated files of a start (Launch.GenDir). A process whose start has none, of an
// older zeekrec, cannot be told options.
func TuneScript(genDir string) string { return filepath.Join(genDir, tuneFileName) }

// tuneScript lets a node be told options while it runs. Zeek 8.0 to 9.1 have what it relies on of the config framework
// without a difference.
//
//go:embed zeek/zeekrec-tune.zeek
var tuneScript string

// TuneFile has the options that the node of that folder (Place.NodeDir) is to have now, where they are not those of its
// start. Whoever starts the node writes TuneTable(nil) there before. It is to be replaced like MembersFile.
func TuneFile(nodeDir string) string { return filepath.Join(nodeDir, "options.conf") }

// TuneAnswerFile is where the node writes what it has taken of TuneFile; ReadTuned reads it. It is to be removed before a
// start.
func TuneAnswerFile(nodeDir string) string { return filepath.Join(nodeDir, "work", ".options.json") }

// RevisionName is the option by which a node notices that a table is complete: its last line.
const RevisionName = "Zeekrec::tune_revision"

// OptionText is a value in the config framework's notation.
type OptionText struct{ Name, Text string }

// TuneTable is the content of TuneFile, and the revision that the node names in its answer; without options none.
func TuneTable(options []OptionText) (content []byte, revision string) {
	var b bytes.Buffer
	b.WriteString("# Written by zeekrec: options that were changed since the node's start.\n")
	if len(options) == 0 {
		return b.Bytes(), ""
	}
	for _, o := range options {
		fmt.Fprintf(&b, "%s %s\n", o.Name, o.Text)
	}
	revision = fmt.Sprintf("r%016x", xxhash.Sum64(b.Bytes()))
	fmt.Fprintf(&b, "%s %s\n", RevisionName, revision)
	return b.Bytes(), revision
}

// TuneNames are the names of the options in the content of a TuneFile, in order.
func TuneNames(content []byte) []string {
	var out []string
	for line := range strings.Lines(string(content)) {
		if name, _, ok := strings.Cut(line, " "); ok && name != "#" && name != RevisionName {
			out = append(out, name)
		}
	}
	return out
}

// Tuned is what a node has taken: values as JSON, by name.
type Tuned struct {
	Revision string            `json:"revision"`
	Values   map[string]string `json:"values"`
	Refused  []string          `json:"refused"`
}

// ReadTuned reads what a node has written to TuneAnswerFile.
func ReadTuned(b []byte) (Tuned, error) {
	var t Tuned
	if err := json.Unmarshal(b, &t); err != nil {
		return Tuned{}, fmt.Errorf("cannot read what the node has written of its options: %w", err)
	}
	return t, nil
}

// SameValue reports whether two values of an option, as JSON, are the same: the order of a set has no meaning.
func SameValue(typ, a, b string) bool {
	if a == b {
		return true
	}
	if !strings.HasPrefix(typ, "set[") {
		return false
	}
	x, errX := elements(a)
	y, errY := elements(b)
	return errX == nil && errY == nil && slices.Equal(x, y)
}

// elements of a JSON array, sorted.
func elements(s string) ([]string, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal([]byte(s), &raw); err != nil {
		return nil, err
	}
	out := make([]string, len(raw))
	for i, r := range raw {
		out[i] = string(r)
	}
	slices.Sort(out)
	return out, nil
}

// atoms are the types that the config framework reads.
var atoms = []string{"bool", "int", "count", "double", "time", "interval", "string", "port", "addr", "subnet", "enum"}

// split tells the type of a set's or a vector's elements; container is "" for any other type.
func split(typ string) (container, of string) {
	if rest, ok := strings.CutPrefix(typ, "set["); ok && strings.HasSuffix(rest, "]") {
		return "set", strings.TrimSuffix(rest, "]")
	}
	if rest, ok := strings.CutPrefix(typ, "vector of "); ok {
		return "vector", rest
	}
	return "", typ
}

// Settable reports whether an option of a type, in Zeek's words ("set[addr]"), can be set while Zeek runs: what the config
// framework reads from a file. Patterns are settable by themselves alone.
func Settable(typ string) bool {
	container, of := split(typ)
	base, _, _ := strings.Cut(of, " ") // enum Notice::Type
	return slices.Contains(atoms, base) || container == "" && of == "pattern"
}

// Text puts a value, as JSON, in the config framework's notation. It fails for those few values that the notation has no
// words for.
func Text(typ, value string) (string, error) {
	container, of := split(typ)
	if container == "" {
		return atom(of, []byte(value))
	}
	var raw []json.RawMessage
	if err := json.Unmarshal([]byte(value), &raw); err != nil {
		return "", fmt.Errorf("cannot read the value of a %s: %w", typ, err)
	}
	out := make([]string, len(raw))
	for i, r := range raw {
		var err error
		if out[i], err = atom(of, r); err != nil {
			return "", err
		}
	}
	if container == "set" {
		slices.Sort(out)
	}
	if n := len(out); n > 0 && out[n-1] == "" {
		return "", errors.New("a list that ends with an empty string cannot be told to a Zeek that runs")
	}
	return strings.Join(out, ","), nil
}

// atom is one value of a type that is no container.
func atom(typ string, value []byte) (string, error) {
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return "", fmt.Errorf("cannot read the value of a %s: %w", typ, err)
	}
	switch v := v.(type) {
	case bool:
		return zeekBool(v), nil
	case json.Number:
		return v.String(), nil
	case map[string]any: // a port
		return fmt.Sprintf("%v/%v", v["port"], v["proto"]), nil
	case string:
		if typ == "pattern" {
			return patternText(v)
		}
		return plain(v)
	}
	return "", fmt.Errorf("the value %s of a %s cannot be told to a Zeek that runs", value, typ)
}

// patternText takes off what Zeek puts around a pattern and will put there again.
func patternText(s string) (string, error) {
	inner, ok := strings.CutPrefix(s, "/^?(")
	if inner, ok2 := strings.CutSuffix(inner, ")$?/"); ok && ok2 && balanced(inner) {
		text, err := plain("/" + inner + "/")
		return text, err
	}
	return "", errors.New("a pattern with flags, or joined from several, cannot be told to a Zeek that runs")
}

// balanced reports whether the parentheses of a pattern are its own. Those in brackets or quotation marks are none; they
// count all the same, which is safe: such a pattern may be refused.
func balanced(s string) bool {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth < 0 {
				return false
			}
		}
	}
	return depth == 0
}

// plain escapes what separates, ends or begins something in the config framework's notation.
func plain(s string) (string, error) {
	if strings.Contains(s, `\x`) {
		// In JSON Zeek writes bytes that are no text in the same way.
		return "", errors.New(`a string with \x cannot be told to a Zeek that runs`)
	}
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c == 0x7f, c == '\\', c == ',', c == ' ' && (i == 0 || i == len(s)-1):
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

//go:embed zeek/zeekrec-probe.zeek
var probeScript string

// ProbeFile is where, in the folder that it runs in, the launch of a Probe writes what it has found out.
const ProbeFile = "zeekrec-probe.json"

// Probe is the launch of a run that parses the node's scripts with its options, writes ProbeFile, and ends with status 0
// before anything is opened.
func Probe(r *desired.Resource, p Place) (Launch, error) {
	l, err := Render(r, p)
	if err != nil {
		return Launch{}, err
	}
	l.Files["zeekrec-probe.zeek"] = probeScript
	l.Argv = append(l.withoutMachine(), "zeekrec-probe")
	l.Env = environment(r, p, l.Dir)
	l.seal(p, r.Node)
	l.Env = l.apart()
	return l, nil
}

// Found is what a probe has found out.
type Found struct {
	names map[string]foundName
	logs  bool
}

type foundName struct {
	Option bool   `json:"opt"`
	Type   string `json:"t"`
	JSON   string `json:"json"`
}

// ReadProbe reads the content of ProbeFile.
func ReadProbe(b []byte) (Found, error) {
	var f struct {
		Logs  bool                 `json:"logs"`
		Names map[string]foundName `json:"names"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return Found{}, fmt.Errorf("cannot read what Zeek says of its names: %w", err)
	}
	if len(f.Names) == 0 {
		return Found{}, errors.New("cannot read what Zeek says of its names: there are none")
	}
	maps.DeleteFunc(f.Names, func(name string, _ foundName) bool { return strings.HasPrefix(name, "Zeekrec::") })
	return Found{names: f.Names, logs: f.Logs}, nil
}

// Names are all that can be redefined.
func (f *Found) Names() desired.ZeekNames {
	z := desired.ZeekNames{Kinds: make(map[string]desired.NameKind, len(f.names))}
	for name, n := range f.names {
		switch {
		case n.Option && Settable(n.Type):
			z.Kinds[name] = desired.NameOption
		case n.Option:
			z.Kinds[name] = desired.NameFixed
		case !f.logs && strings.HasPrefix(name, "LogAscii::"):
			// The writer's constants: read where logs are written, and by no script.
			z.Kinds[name] = desired.NameUnused
		default:
			z.Kinds[name] = desired.NameConstant
		}
	}
	return z
}

// Value is that of an option which can be told to a running Zeek, as JSON, with its type; ok is false for any other name.
func (f *Found) Value(name string) (typ, value string, ok bool) {
	n, has := f.names[name]
	return n.Type, n.JSON, has && n.Option && Settable(n.Type)
}
