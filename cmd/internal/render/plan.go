package render

import (
	"fmt"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/reconciler"
)

// foldFrom is how many updates in place of one wave are shown as one line.
const foldFrom = 4

// symbol stands for a kind of action; no fact depends on the colour.
func symbol(k desired.Verb) (string, tone) {
	switch k {
	case desired.Start:
		return "+", added
	case desired.Stop:
		return "-", bad
	case desired.Restart:
		return "~", changed
	default:
		return "=", faint
	}
}

// Plan shows what would be done, grouped by cluster and wave, each action with its reasons; then what is
// held, waits, or is left alone; and a summary as the last line. Diagnostics are not part of it.
func Plan(p *reconciler.Plan, o Options) string {
	var b strings.Builder
	for i := range p.Clusters {
		c := &p.Clusters[i]
		if len(c.Actions)+len(c.Waiting)+len(c.Orphaned) == 0 && c.Held == nil && c.Paused == "" && c.Revision.From == c.Revision.To {
			continue
		}
		clusterPlan(&b, c, o)
		b.WriteByte('\n')
	}
	b.WriteString(planSummary(p, o))
	return b.String()
}

func clusterPlan(b *strings.Builder, c *reconciler.ClusterPlan, o Options) {
	fmt.Fprintf(b, "%s  ", o.paint(strong, c.Name))
	if c.Revision.From == c.Revision.To {
		fmt.Fprintf(b, "revision %s\n", short(c.Revision.To))
	} else {
		fmt.Fprintf(b, "revision %s -> %s\n", short(c.Revision.From), short(c.Revision.To))
	}
	if c.Held != nil {
		fmt.Fprintf(b, "  %s %s\n", o.paint(bad, "held:"), c.Held.Reason)
		fmt.Fprintf(b, "        nothing of this is done before: zeekrec apply --confirm %s@%s\n", c.Name, c.Revision.To)
	}
	if c.Paused != "" {
		fmt.Fprintf(b, "  %s %s\n", o.paint(warn, "paused:"), c.Paused)
	}
	for rest := c.Actions; len(rest) > 0; {
		n := 0
		for n < len(rest) && rest[n].Wave == rest[0].Wave {
			n++
		}
		fmt.Fprintf(b, "  %s\n", o.paint(faint, fmt.Sprintf("wave %d", rest[0].Wave)))
		wavePlan(b, rest[:n], o)
		rest = rest[n:]
	}
	if c.Unchanged > 0 && len(c.Actions) > 0 {
		fmt.Fprintf(b, "  %s\n", o.paint(faint, count(c.Unchanged, "resource")+" unchanged"))
	}
	for _, w := range c.Waiting {
		fmt.Fprintf(b, "  %s %s: %s\n", o.paint(warn, "waiting:"), w.Resource, w.Why)
	}
	for _, key := range c.Orphaned {
		fmt.Fprintf(b, "  %s %s runs, is not wanted, and is in no revision that was ever accepted: left alone\n", o.paint(warn, "orphaned:"), key)
	}
}

func wavePlan(b *strings.Builder, as []reconciler.Action, o Options) {
	var updates []*reconciler.Action
	t := table{indent: "    "}
	for i := range as {
		if a := &as[i]; a.Kind == desired.Update {
			updates = append(updates, a)
		}
	}
	fold := len(updates) >= foldFrom
	for i := range as {
		if a := &as[i]; a.Kind != desired.Update || !fold {
			t.row(actionRow(a)...)
		}
	}
	t.write(b, o, false)
	if fold {
		names := make([]string, 0, len(updates))
		for _, a := range updates {
			names = append(names, nameOf(a.Resource))
		}
		sym, tone := symbol(desired.Update)
		fmt.Fprintf(b, "    %s\n", o.paint(tone, fmt.Sprintf("%s %d updated in place, nothing is disturbed: %s (%s)",
			sym, len(updates), few(names, 6), strings.Join(fields(updates), ", "))))
	}
}

func actionRow(a *reconciler.Action) []cell {
	sym, tone := symbol(a.Kind)
	what := string(a.Role)
	if a.Type != desired.TypeNode {
		what = string(a.Type)
	}
	reasons := make([]string, 0, len(a.Reasons))
	for _, r := range a.Reasons {
		reasons = append(reasons, Reason(r))
	}
	why := strings.Join(reasons, "; ")
	switch {
	case a.Cause == reconciler.CauseDrift:
		why += " (drift)"
	case a.Kind == desired.Update:
		why += " (in place, nothing is disturbed)"
	}
	return []cell{
		{sym + " " + string(a.Kind), tone}, {nameOf(a.Resource), plain},
		{what + " on " + a.Instance, faint}, {why, plain},
	}
}

// Reason is one difference in words: "interface: eth0 -> eth1".
func Reason(r reconciler.Reason) string {
	switch {
	case r.Field == "resource" && (r.From == "" || r.To == "removed"):
		return r.To
	case r.From == "" && r.To == "":
		return r.Field
	case r.From == "" && strings.HasPrefix(r.To, "+"), r.From == "" && (r.Field == "hold" || r.Field == "asked" || r.Field == "port"):
		return r.Field + ": " + r.To
	case r.To == "" && strings.HasPrefix(r.From, "-"):
		return r.Field + ": " + r.From
	case strings.HasPrefix(r.From, "-") && strings.HasPrefix(r.To, "+"):
		return r.Field + ": " + r.From + ", " + r.To
	}
	return r.Field + ": " + orNone(r.From) + " -> " + orNone(r.To)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// fields that the updates are about, each once, in their order.
func fields(as []*reconciler.Action) []string {
	var out []string
	seen := map[string]bool{}
	for _, a := range as {
		for _, r := range a.Reasons {
			if !seen[r.Field] {
				seen[r.Field] = true
				out = append(out, r.Field)
			}
		}
	}
	return out
}

// few of many names.
func few(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most-1], ", "), len(names)-most+1)
}

// nameOf a resource's key, without its cluster.
func nameOf(key string) string {
	if _, name, ok := strings.Cut(key, "/"); ok {
		return name
	}
	return key
}

func planSummary(p *reconciler.Plan, o Options) string {
	s := p.Summary
	if p.Empty() {
		return "Nothing to do: " + count(s.Unchanged, "resource") + " unchanged.\n"
	}
	var parts []string
	add := func(n int, what string, t tone) {
		if n > 0 {
			parts = append(parts, o.paint(t, fmt.Sprintf("%d to %s", n, what)))
		}
	}
	add(s.Start, "start", added)
	add(s.Stop, "stop", bad)
	add(s.Restart, "restart", changed)
	add(s.Update, "update in place", plain)
	return "Plan: " + strings.Join(parts, ", ") + fmt.Sprintf("; %d unchanged.\n", s.Unchanged)
}
