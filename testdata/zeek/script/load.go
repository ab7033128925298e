package script

import (
	"fmt"
	"os"
	"strings"
)

// Options say what to load.
type Options struct {
	Library *Library
	// Node is CLUSTER_NODE; when it is set, cluster-layout is loaded before Names.
	Node string
	// Names are the scripts of the command line, in its order.
	Names []string
	// Params are the var=value arguments.
	Params []string
	// Code is the argument of -e.
	Code string
	// Bare is -b: base/ is left out but for what Zeek cannot start without.
	Bare bool
	// Getenv answers getenv() in conditions; nil: every variable is unset.
	Getenv func(string) string
}

// impliedBy are the scripts that a built-in script loads and that can be seen from
// outside by the log files that they leave.
var impliedBy = map[string][]string{
	"/site/local.zeek": {"/policy/misc/stats.zeek", "/policy/misc/loaded-scripts.zeek", "/policy/frameworks/telemetry/log.zeek"},
}

// Load reads everything that a Zeek started with these options would read before
// it does anything. The program is not nil, and complete where the problem is nil.
func Load(o Options) (*Program, *Problem) {
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	l := &loader{Options: o, program: newProgram(o.Node), seen: make(map[string]bool)}
	return l.program, l.all()
}

type loader struct {
	Options
	program *Program
	seen    map[string]bool
}

func (l *loader) all() *Problem {
	base := []string{"base/init-bare.zeek", "base/init-default.zeek"}
	if l.Bare {
		base = base[:1]
	}
	for _, name := range base {
		if _, ok := l.Library.find(name, ""); !ok {
			return fatalAt("", 0, "can't find %s", name)
		}
	}
	if l.Node != "" && !l.Bare {
		if p := l.load("cluster-layout", Prefix+"/base/frameworks/cluster/__load__.zeek", 36); p != nil {
			return p
		}
	}
	for _, name := range l.Names {
		if p := l.load(name, "", 0); p != nil {
			return p
		}
	}
	if l.Code != "" {
		if p := newReader(l, "<command line>", l.Code).run(); p != nil {
			return p
		}
	}
	return l.params()
}

// load reads what name leads to, once; file and line are where it is asked for.
func (l *loader) load(name, file string, line int) *Problem {
	at, ok := l.Library.find(name, file)
	if !ok {
		return fatalAt(file, line, "can't find %s", name)
	}
	if l.seen[at.path] {
		return nil
	}
	l.seen[at.path] = true
	if at.builtin {
		l.program.loaded = append(l.program.loaded, at.path)
		l.program.loaded = append(l.program.loaded, impliedBy[strings.TrimPrefix(at.path, Prefix)]...)
		return nil
	}
	src, err := os.ReadFile(at.path)
	if err != nil {
		p := &Problem{Fatal: true}
		if at.pkg != "" {
			_ = p.add("error", file, line, "Failed to open package '%s': missing '__load__.zeek' file", at.pkg)
		}
		return p.add("fatal error", file, line, "can't open %s", at.path)
	}
	l.program.loaded = append(l.program.loaded, at.path)
	return newReader(l, at.path, string(src)).run()
}

// params carries out the var=value arguments. Zeek knows every global; the stand-in
// takes a name with a module for known, and of those without one the few in use.
func (l *loader) params() *Problem {
	for _, param := range l.Params {
		name, value, _ := strings.Cut(param, "=")
		switch name {
		case "ignore_checksums", "log_rotate_base_time", "digest_salt", "peer_description", "table_expire_interval":
		default:
			if !strings.Contains(name, "::") {
				return errorAt("", 0, "unknown identifier '%s' in command-line options", name)
			}
		}
		if p := newReader(l, "<params>", fmt.Sprintf("redef %s = %s;", name, value)).run(); p != nil {
			return p
		}
	}
	return nil
}
