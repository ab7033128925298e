package desired

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// PartOptions names the part that has the lines of [zeekrec.options], each as "NAME = VALUE" in the file's order.
const PartOptions = "options"

// NameKind says what a change of a name in Zeek's scripts takes.
type NameKind string

// The kinds of names that can be given a value in [zeekrec.options].
const (
	NameOption   NameKind = "option"   // can be changed while Zeek runs
	NameFixed    NameKind = "fixed"    // an option to Zeek, but of a type that it reads from no file: a record, a table
	NameConstant NameKind = "constant" // read by the scripts' start
	NameUnused   NameKind = "unused"   // a constant that nothing of the node reads
)

// ZeekNames are the names that the scripts of a node let be redefined.
type ZeekNames struct {
	Kinds map[string]NameKind `json:"kinds,omitempty"`
	Err   string              `json:"error,omitempty"` // why they are not known; then there are none
}

// NamesKey is the same for nodes whose scripts have the same names: same program (z is what it says of itself), same
// scripts, same conditions that scripts go by. Of NAME/ only what is loaded counts, where that is known.
func NamesKey(r *Resource, z ZeekFacts) string {
	s := r.Node
	files := s.Files
	if s.Loaded != "" {
		files = s.Loaded
	}
	h := xxhash.New()
	field := func(vs ...string) { fmt.Fprintf(h, "%q\n", vs) }
	field(z.Path, z.Version, z.ZeekPath, string(s.Backend), string(r.Role), string(s.Membership), s.BrokerMode, s.User, files)
	field(fmt.Sprint(s.Layout.ManagerIsLogger, s.FanoutID != 0))
	field(s.Scripts...)
	field(s.Args...)
	field(envValues(s.Env)...)
	return fmt.Sprintf("%016x", h.Sum64())
}

func optionValues(os []Option) []string {
	var out []string
	for _, o := range os {
		out = append(out, o.Name+" = "+o.Value)
	}
	return out
}

// SplitOptions parts the values of PartOptions by whether their names are in one of the lists of tunable ones. Both
// results are sorted: the order of the lines has no meaning.
func SplitOptions(values []string, tunable ...[]string) (fixed, tuned []string) {
	for _, v := range values {
		name, _, _ := strings.Cut(v, " = ")
		if slices.ContainsFunc(tunable, func(l []string) bool { return slices.Contains(l, name) }) {
			tuned = append(tuned, v)
		} else {
			fixed = append(fixed, v)
		}
	}
	slices.Sort(fixed)
	slices.Sort(tuned)
	return fixed, tuned
}

// options says which options of the nodes are tunable, as far as it is known, and what is to be said of the lines of
// [zeekrec.options].
func (k *compiler) options(c *Cluster, rs []Resource) {
	if len(c.Settings.Options) == 0 {
		return
	}
	names := map[string]ZeekNames{} // by resource
	unknown := ""                   // a node of whose names nothing is known
	for i := range rs {
		r := &rs[i]
		if r.Node == nil {
			continue
		}
		in := k.facts.Instances[r.Instance]
		n, ok := in.Names[NamesKey(r, in.Zeek[r.Node.Zeek])]
		if !ok || n.Err != "" {
			unknown = r.Name
			continue
		}
		names[r.Name] = n
		for _, o := range r.Node.Options {
			if kind, has := n.Kinds[o.Name]; !has || kind == NameOption || kind == NameUnused {
				r.Tunable = append(r.Tunable, o.Name)
			}
		}
		slices.Sort(r.Tunable)
	}
	say := func(line int, s Severity, code, message, hint string) {
		k.diags = append(k.diags, Diagnostic{File: c.File, Line: line, Severity: s, Code: code, Message: message, Hint: hint})
	}
	if len(names) == 0 {
		say(c.Settings.Options[0].Line, Info, "options-assumed", "nothing is known of the names that Zeek has: a change of [zeekrec.options] is taken to restart the nodes", "zeekrec run asks Zeek, and changes in place what it can")
		return
	}
	if unknown != "" {
		say(c.Settings.Options[0].Line, Info, "options-assumed", fmt.Sprintf("nothing is known of the names that the Zeek of %s has: a change of [zeekrec.options] is taken to restart such nodes", unknown), "")
	}
	var live []string
	for _, o := range c.Settings.Options {
		users := map[NameKind][]string{}
		for _, node := range slices.Sorted(maps.Keys(names)) {
			if kind, has := names[node].Kinds[o.Name]; has {
				users[kind] = append(users[kind], node)
			}
		}
		switch restart := slices.Sorted(slices.Values(append(users[NameConstant], users[NameFixed]...))); {
		case len(users) == 0 && unknown != "":
		case len(users) == 0:
			say(o.Line, Error, "unknown-option", k.meantOption(o.Name, names), "Zeek's scripts, with those of the nodes, have no option or redefinable constant of that name")
		case len(users[NameFixed]) > 0:
			say(o.Line, Info, "option-fixed", fmt.Sprintf("%s is an option, but of a type that Zeek reads from no file: a change restarts %s", o.Name, some(restart)), "")
		case len(restart) > 0:
			say(o.Line, Info, "option-constant", fmt.Sprintf("%s is a constant: a change restarts %s", o.Name, some(restart)), "")
		default:
			live = append(live, o.Name)
		}
	}
	if len(live) > 0 {
		say(c.Settings.Options[0].Line, Info, "option-live", "changed while the nodes run: "+some(live), "")
	}
}

// meantOption words a name that no node has.
func (k *compiler) meantOption(name string, names map[string]ZeekNames) string {
	all := map[string]bool{}
	for _, n := range names {
		for other := range n.Kinds {
			all[other] = true
		}
	}
	text := fmt.Sprintf("unknown option %q", name)
	if near := Closest(name, slices.Sorted(maps.Keys(all))); near != "" {
		text += fmt.Sprintf(": did you mean %q?", near)
	}
	return text
}

// some of the names, in words.
func some(names []string) string {
	const most = 8
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
