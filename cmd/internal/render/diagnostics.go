package render

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
)

// Diagnostics shows each as "file:line: severity: message [code]", with the way out in a line below.
func Diagnostics(ds []desired.Diagnostic, o Options) string {
	var b strings.Builder
	for _, d := range ds {
		pos := d.File
		if d.Line > 0 {
			pos = fmt.Sprintf("%s:%d", d.File, d.Line)
		}
		t := faint
		switch d.Severity {
		case desired.Error:
			t = bad
		case desired.Warning:
			t = warn
		}
		if pos != "" {
			pos += ": "
		}
		fmt.Fprintf(&b, "%s%s %s [%s]\n", o.paint(strong, pos), o.paint(t, string(d.Severity)+":"), d.Message, d.Code)
		if d.Hint != "" {
			fmt.Fprintf(&b, "    hint: %s\n", d.Hint)
		}
	}
	return b.String()
}

// Valid is the line about one file that was read: what it describes, or how many errors it has.
func Valid(c *desired.Cluster, file string, ds []desired.Diagnostic, o Options) string {
	errs, warnings := 0, 0
	for _, d := range ds {
		switch d.Severity {
		case desired.Error:
			errs++
		case desired.Warning:
			warnings++
		}
	}
	tail := ""
	if warnings > 0 {
		tail = "; " + count(warnings, "warning")
	}
	if errs > 0 || c == nil {
		return fmt.Sprintf("%s  %s: %s%s\n", o.paint(bad, "invalid"), file, count(errs, "error"), tail)
	}
	return fmt.Sprintf("%s  %s: %s, revision %s%s\n", o.paint(good, "ok"), file, Census(c), c.Revision, tail)
}

// Census is what a cluster consists of: "1 manager, 3 workers on agent-a".
func Census(c *desired.Cluster) string {
	n := map[desired.Role]int{}
	var instances []string
	for i := range c.Nodes {
		n[c.Nodes[i].Role]++
		if !slices.Contains(instances, c.Nodes[i].Instance) {
			instances = append(instances, c.Nodes[i].Instance)
		}
	}
	slices.Sort(instances)
	var parts []string
	for _, r := range []desired.Role{desired.RoleManager, desired.RoleLogger, desired.RoleProxy, desired.RoleWorker} {
		if n[r] > 0 {
			parts = append(parts, count(n[r], string(r)))
		}
	}
	if len(parts) == 0 {
		return "no nodes"
	}
	return strings.Join(parts, ", ") + " on " + few(instances, 4)
}
