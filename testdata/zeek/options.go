package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired/launch"
)

// zeekName is one of the few names of Zeek's scripts that the stand-in knows.
type zeekName struct {
	name, typ string
	option    bool
	value     string
}

func zeekNames() []zeekName {
	return []zeekName{
		{"LogAscii::use_json", "bool", false, "F"},
		{"Site::local_nets", "set[subnet]", true, ""},
		{"Weird::sampling_rate", "count", true, "1000"},
		{"Weird::sampling_threshold", "count", true, "25"},
		{"X::table", "table[string] of count", true, ""},
		{launch.RevisionName, "string", true, ""},
	}
}

// probe is zeekrec-probe.zeek: the names that there are, in a file.
func (n *node) probe() error {
	self, _ := n.program.Self()
	names := map[string]any{}
	for _, z := range zeekNames() {
		about := map[string]any{"opt": z.option, "t": z.typ}
		if z.option {
			about["json"] = n.json(z.name)
		}
		names[z.name] = about
	}
	logs := self.Type == "LOGGER" || self.Type == "MANAGER" && n.program.Bool("Cluster::manager_is_logger", true)
	if err := os.WriteFile("zeekrec-probe.tmp", []byte(toJSON(map[string]any{"logs": logs, "names": names})), 0o644); err != nil {
		return err
	}
	return os.Rename("zeekrec-probe.tmp", launch.ProbeFile)
}

// json is the value of an option now.
func (n *node) json(name string) string {
	if v, ok := n.told[name]; ok {
		return valueJSON(v)
	}
	if v, ok := n.program.Value(name); ok {
		return valueJSON(v)
	}
	for _, z := range zeekNames() {
		switch {
		case z.name != name:
		case strings.HasPrefix(z.typ, "set["):
			return "[]"
		default:
			return valueJSON(z.value)
		}
	}
	return "null"
}

// tuneEach is how often zeekrec-tune.zeek's file is looked at: Zeek's heartbeat is longer.
const tuneEach = 200 * time.Millisecond

// follow is zeekrec-tune.zeek: it takes what is new in the file, and answers.
func (n *node) follow(now time.Time) error {
	file := n.program.String("Zeekrec::tune_file", "")
	if file == "" || now.Before(n.toldDue) {
		return nil
	}
	n.toldDue = now.Add(tuneEach)
	b, err := os.ReadFile(file)
	if err != nil || string(b) == n.toldFrom {
		return nil // a file that cannot be read changes nothing
	}
	n.toldFrom = string(b)
	if n.told == nil {
		n.told = map[string]string{}
	}
	for line := range strings.Lines(string(b)) {
		name, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch {
		case !ok || name == "#":
		case !slices.ContainsFunc(zeekNames(), func(z zeekName) bool { return z.name == name && z.option }):
			fmt.Fprintln(os.Stderr, n.reporter.problem("warning", "%s/Input::READER_CONFIG: Option '%s' does not exist. Ignoring line.", file, name))
		case name == launch.RevisionName:
			values := map[string]string{}
			for id := range n.told {
				values[id] = n.json(id)
			}
			answer := n.program.String("Zeekrec::tune_answer_file", "")
			if err := os.WriteFile(answer+".tmp", []byte(toJSON(launch.Tuned{Revision: text, Values: values, Refused: []string{}})), 0o644); err != nil {
				return err
			}
			if err := os.Rename(answer+".tmp", answer); err != nil {
				return err
			}
		default:
			n.told[name] = text
		}
	}
	return nil
}
