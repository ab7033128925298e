package clustercfg

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/zeekrec/zeekrec/desired"
)

// maxFile is far beyond any cluster: 10,000 nodes with 400 bytes each fit.
const maxFile = 4 << 20

// Parse reads one file. host is the name of the instance that a file without instances means
// ("agent-<hostname>").
//
// It returns everything that is wrong, sorted by line, not the first thing only. The cluster is there whenever
// the file could be understood as a whole, also when some of the diagnostics are errors; it is to be run only when
// none is. It is nil for what is no cluster.cfg at all: unreadable, too large, binary, not UTF-8.
func Parse(f desired.ClusterFile, host string) (*desired.Cluster, []desired.Diagnostic) {
	rep := newReport(f.File)
	if why := unfit(f.Name); why != "" {
		rep.error(0, "unfit-name", fmt.Sprintf("the cluster's name %s cannot be the name of a folder: %s", quote(f.Name), why), "rename the file")
	} else if strings.Contains(f.Name, ":") {
		rep.error(0, "unfit-name", fmt.Sprintf("the cluster's name %s has a colon, which ends a folder's name on ZEEKPATH", quote(f.Name)), "rename the file")
	} else if strings.Contains(f.Name, "@") {
		rep.error(0, "unfit-name", fmt.Sprintf("the cluster's name %s has an @, which separates a cluster from its revision", quote(f.Name)), "rename the file")
	}
	text, ok := readable(f, rep)
	if !ok {
		return nil, rep.diagnostics()
	}
	doc := scan(text, rep)
	if doc == nil {
		return nil, rep.diagnostics()
	}
	rep.lines = doc.lines
	if err := doc.load(); err != nil {
		rep.error(0, "internal", err.Error(), "this is a mistake in zeekrec, please report it with the file")
		return nil, rep.diagnostics()
	}
	p := &parser{rep: rep, doc: doc, host: host, name: f.Name, resolver: &resolver{defaults: doc.defaults, used: map[*entry]bool{}}}
	c := p.cluster(f)
	return c, rep.diagnostics()
}

// readable checks the bytes, and returns them as text with "\n" for every kind of line end.
func readable(f desired.ClusterFile, rep *report) (string, bool) {
	data := f.Data
	switch {
	case f.Err != nil:
		rep.error(0, "unreadable", fmt.Sprintf("cannot read the file: %v", f.Err), "check that it exists and who may read it")
		return "", false
	case len(data) > maxFile:
		rep.error(0, "too-large", fmt.Sprintf("a cluster.cfg this large is a mistake: %d bytes, the limit is 4 MiB", len(data)), "is it the right file?")
		return "", false
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		rep.error(1, "not-utf-8", "the file is UTF-16", "save as UTF-8")
		return "", false
	}
	if rest, ok := bytes.CutPrefix(data, []byte("\ufeff")); ok {
		rep.error(1, "byte-order-mark", "the file begins with a byte order mark (U+FEFF), which zeek-client cannot read", "save as UTF-8 without BOM")
		data = rest
	}
	lineOf := func(i int) int {
		return 1 + strings.Count(newlines(string(data[:i])), "\n")
	}
	text := string(data)
	if i := strings.IndexByte(text, 0); i >= 0 {
		rep.error(lineOf(i), "binary", "the file is binary: this line has a NUL character", "is it the right file?")
		return "", false
	}
	for i, r := range text {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(text[i:]); size == 1 {
				rep.error(lineOf(i), "not-utf-8", fmt.Sprintf("the file is not UTF-8: this line has the byte 0x%02x", text[i]), "save as UTF-8")
				return "", false
			}
		}
		if unicode.IsControl(r) && !unicode.IsSpace(r) {
			rep.error(lineOf(i), "binary", fmt.Sprintf("this line has the control character %U", r), "remove it, or is it the right file?")
			return "", false
		}
	}
	return newlines(text), true
}

// newlines makes "\n" of every line end, as Python does when it opens a text.
func newlines(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
}

// parser makes a cluster of a document.
type parser struct {
	rep      *report
	doc      *document
	host     string
	name     string
	resolver *resolver
	declared bool // there is a section [instances]
	// inherited are the keys of [DEFAULT] that have to be interpolated in every section.
	inherited []*entry
}

func (p *parser) cluster(f desired.ClusterFile) *desired.Cluster {
	c := &desired.Cluster{Name: f.Name, File: f.File, Revision: f.Revision(), Files: f.Tree.Hash()}
	_, c.HasLocal = f.Tree["local.zeek"]
	for _, e := range p.doc.defaults.entries {
		if strings.Contains(e.value, "%") {
			p.inherited = append(p.inherited, e)
		}
	}
	var free []*desired.Node
	for _, sec := range p.doc.sections {
		if sec.name == instancesSection {
			p.declared = true
			c.Instances = p.instances(sec)
		}
	}
	c.Nodes = make([]desired.Node, 0, len(p.doc.sections))
	for _, sec := range p.doc.sections {
		if sec.name == instancesSection {
			continue
		}
		nodes, isFree := p.node(sec)
		c.Nodes = append(c.Nodes, nodes...)
		for i := range nodes {
			if isFree {
				free = append(free, &nodes[i])
			}
		}
	}
	slices.SortFunc(c.Nodes, func(a, b desired.Node) int { return strings.Compare(a.Name, b.Name) })
	p.allOrNone(c, free)
	c.Settings = p.settings()
	p.notYet(c)
	p.unknownKeys()
	unstated := map[string]bool{}
	if p.declared {
		for _, n := range free {
			unstated[n.Name] = true
		}
	}
	validate(c, p.rep, unstated)
	return c
}

// allOrNone has the rules of zeek-client about nodes that state no instance, and makes the instances of a file
// that declares none.
func (p *parser) allOrNone(c *desired.Cluster, free []*desired.Node) {
	if len(free) > 0 && len(free) < len(c.Nodes) {
		p.rep.error(free[0].Line, "mixed-instances", "either all or no nodes must state instances", fmt.Sprintf("node %s states none: add instance = NAME", quote(free[0].Name)))
	} else if len(free) > 0 && p.declared {
		p.rep.error(p.sectionLine(instancesSection), "unused-instances", "omit instances section when skipping instances in node definitions", "remove [instances], or add instance = NAME to each node")
	}
	if !p.declared {
		for _, n := range c.Nodes {
			if n.Instance != "" {
				c.Instances = append(c.Instances, desired.Instance{Name: n.Instance})
			}
		}
	}
	slices.SortFunc(c.Instances, func(a, b desired.Instance) int { return strings.Compare(a.Name, b.Name) })
	if !p.declared {
		c.Instances = slices.Compact(c.Instances)
	}
}

func (p *parser) sectionLine(name string) int {
	for _, sec := range p.doc.sections {
		if sec.name == name {
			return sec.line
		}
	}
	return 0
}
