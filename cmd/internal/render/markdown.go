package render

import (
	"fmt"
	"strings"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/reconciler"
)

// PlanMarkdown shows a plan as a comment on a pull request: the summary first, then a table for each cluster, and what is wrong with the
// files.
func PlanMarkdown(p *reconciler.Plan) string {
	var b strings.Builder
	b.WriteString("### zeekrec plan\n\n")
	fmt.Fprintf(&b, "**%s**\n", strings.TrimSpace(planSummary(p, Options{})))
	for i := range p.Clusters {
		if c := &p.Clusters[i]; len(c.Actions)+len(c.Waiting)+len(c.Orphaned) > 0 || c.Held != nil || c.Paused != "" {
			markdownCluster(&b, c)
		}
	}
	if ds := worth(p.Diagnostics); len(ds) > 0 {
		b.WriteString("\n| | file | |\n| --- | --- | --- |\n")
		for _, d := range ds {
			at := d.File
			if d.Line > 0 {
				at = fmt.Sprintf("%s:%d", d.File, d.Line)
			}
			text := d.Message
			if d.Hint != "" {
				text += " (" + d.Hint + ")"
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", d.Severity, code(at), markdownCell(text))
		}
	}
	return b.String()
}

// worth are the diagnostics that a reviewer has to see.
func worth(ds []desired.Diagnostic) []desired.Diagnostic {
	var out []desired.Diagnostic
	for _, d := range ds {
		if d.Severity != desired.Info {
			out = append(out, d)
		}
	}
	return out
}

func markdownCluster(b *strings.Builder, c *reconciler.ClusterPlan) {
	fmt.Fprintf(b, "\n#### %s\n", markdownCell(c.Name))
	if c.Held != nil {
		fmt.Fprintf(b, "\n> **Held:** %s. Nothing of this is done before `zeekrec apply --confirm %s@%s`.\n", markdownCell(c.Held.Reason), c.Name, c.Revision.To)
	}
	if c.Paused != "" {
		fmt.Fprintf(b, "\n> **Paused:** %s.\n", markdownCell(c.Paused))
	}
	if len(c.Actions) > 0 {
		b.WriteString("\n| wave | action | node | role | why |\n| ---: | --- | --- | --- | --- |\n")
	}
	for i := range c.Actions {
		a := &c.Actions[i]
		sym, _ := symbol(a.Kind)
		var why []string
		for _, r := range a.Reasons {
			why = append(why, Reason(r))
		}
		what := string(a.Kind)
		if a.Kind == desired.Update {
			what = "update in place"
		}
		fmt.Fprintf(b, "| %d | %s %s | %s | %s on %s | %s |\n", a.Wave, code(sym), what, code(nameOf(a.Resource)), a.Role, markdownCell(a.Instance), markdownCell(strings.Join(why, "; ")))
	}
	if len(c.Actions) > 0 {
		fmt.Fprintf(b, "\n%s unchanged.\n", count(c.Unchanged, "resource"))
	}
	for _, w := range c.Waiting {
		fmt.Fprintf(b, "- waiting: %s: %s\n", code(w.Resource), markdownCell(w.Why))
	}
	for _, key := range c.Orphaned {
		fmt.Fprintf(b, "- orphaned, left alone: %s\n", code(key))
	}
}

// code is a text as it stands.
func code(s string) string {
	return "`" + strings.NewReplacer("`", "'", "|", `\|`, "\n", " ").Replace(s) + "`"
}

// markdownCell is a text that means nothing to Markdown: what is in a repository must not write the comment.
func markdownCell(s string) string {
	return strings.NewReplacer("\n", " ", "|", `\|`, "`", "\\`", "<", "&lt;", ">", "&gt;", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "@", "@\u200b", "#", `\#`).Replace(s)
}
