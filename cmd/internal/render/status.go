package render

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// staleAfter is the age of a report from which on it is said.
const staleAfter = 10 * time.Second

// Status shows the source, the agents, and each cluster with its nodes.
func Status(s *engine.Status, o Options) string {
	var b strings.Builder
	sourceLines(&b, s, o)
	if s.Journal != "" {
		fmt.Fprintf(&b, "%s %s; nothing new is deployed until it can be written\n", o.paint(bad, "journal"), s.Journal)
	}
	for i := range s.Agents {
		agentLine(&b, &s.Agents[i], o)
	}
	if len(s.Clusters) == 0 {
		b.WriteString("\nno clusters\n")
	}
	for i := range s.Clusters {
		b.WriteByte('\n')
		clusterStatus(&b, &s.Clusters[i], o)
	}
	return b.String()
}

func sourceLines(b *strings.Builder, s *engine.Status, o Options) {
	src := &s.Source
	fmt.Fprintf(b, "%s  %s", o.paint(strong, "source"), src.URL)
	if src.Commit != "" {
		fmt.Fprintf(b, " at %s by %s", desired.ShortCommit(src.Commit), src.Author)
		if src.Signer != "" {
			fmt.Fprintf(b, ", signed by %s", src.Signer)
		}
	}
	t := good
	switch src.State {
	case "error":
		t = bad
	case "invalid", "held":
		t = warn
	}
	if src.CheckedAt.IsZero() {
		b.WriteString("  not looked at yet\n")
		return
	}
	fmt.Fprintf(b, "  %s, checked %s\n", o.paint(t, src.State), o.ago(src.CheckedAt))
	if src.Error != nil {
		fmt.Fprintf(b, "        %s\n", strings.ReplaceAll(*src.Error, "\n", "\n        "))
		if src.Since != nil {
			fmt.Fprintf(b, "        since %s (%s); what runs is left as it is\n", o.clock(*src.Since), o.ago(*src.Since))
		}
	}
	for _, n := range src.Notes {
		fmt.Fprintf(b, "        %s\n", n)
	}
}

func agentLine(b *strings.Builder, a *engine.AgentStatus, o Options) {
	t := good
	if a.State != "connected" {
		t = bad
	}
	fmt.Fprintf(b, "%s   %s  %s, reported %s", o.paint(strong, "agent"), a.Name, o.paint(t, a.State), o.ago(a.LastReport))
	switch {
	case a.ZeekError != "":
		fmt.Fprintf(b, ", %s", o.paint(bad, a.ZeekError))
	case a.StandIn:
		fmt.Fprintf(b, ", %s", o.paint(warn, "stand-in for Zeek "+a.Zeek+" (not Zeek: it analyses nothing)"))
	case a.Zeek != "":
		fmt.Fprintf(b, ", Zeek %s", a.Zeek)
	}
	if a.Suspended != "" {
		fmt.Fprintf(b, ", %s", o.paint(warn, a.Suspended))
	}
	b.WriteByte('\n')
}

func clusterStatus(b *strings.Builder, c *engine.ClusterStatus, o Options) {
	fmt.Fprintf(b, "%s  ", o.paint(strong, c.Name))
	switch c.Revision.Wanted {
	case "":
		b.WriteString("no accepted revision")
	case c.Revision.Running:
		fmt.Fprintf(b, "revision %s", c.Revision.Running)
	default:
		fmt.Fprintf(b, "revision %s runs, %s is wanted", short(c.Revision.Running), c.Revision.Wanted)
	}
	b.WriteString("  ")
	b.WriteString(o.paint(yes(c.Synced, good, warn), word(c.Synced, "synced", "not synced")))
	b.WriteString(", ")
	b.WriteString(o.paint(yes(c.Healthy, good, bad), word(c.Healthy, "healthy", "not healthy")))
	degraded := 0
	for i := range c.Resources {
		if len(c.Resources[i].Degraded) > 0 {
			degraded++
		}
	}
	if degraded > 0 {
		b.WriteString(", " + o.paint(warn, fmt.Sprintf("%d degraded", degraded)))
	}
	if c.Suspended {
		b.WriteString(", " + o.paint(warn, "suspended"))
	}
	b.WriteByte('\n')
	if c.Reason != "" {
		fmt.Fprintf(b, "  %s\n", strings.ReplaceAll(c.Reason, "\n", "\n  "))
	}
	if c.Since != nil {
		fmt.Fprintf(b, "  since %s (%s); the cluster stays at its last good revision\n", o.clock(*c.Since), o.ago(*c.Since))
	}
	if r := c.Rollout; r != nil {
		fmt.Fprintf(b, "  rollout to %s (%s) began %s: %d done, %d to go\n", r.To, r.Cause, o.ago(r.Began), r.Acted, r.Left)
	}
	if l := c.Last; l != nil && l.Outcome != engine.Succeeded && c.Rollout == nil {
		fmt.Fprintf(b, "  last rollout, to %s: %s %s", l.To, o.paint(bad, string(l.Outcome)), o.ago(l.At))
		if l.Reason != "" && !strings.Contains(c.Reason, l.Reason) {
			fmt.Fprintf(b, ": %s", strings.ReplaceAll(l.Reason, "\n", "\n  "))
		}
		b.WriteByte('\n')
	}
	resourceTable(b, c.Resources, o)
}

func resourceTable(b *strings.Builder, rs []engine.ResourceStatus, o Options) {
	if len(rs) == 0 {
		return
	}
	t := table{indent: "  "}
	t.head("NODE", "ROLE", "INSTANCE", "STATE", "PID", "PORT", "UP", "CRASHES", "REASON")
	for i := range rs {
		r := &rs[i]
		t.row(cell{r.Name, plain}, cell{r.Role, plain}, cell{r.Instance, plain}, stateCell(r),
			cell{number(r.PID), plain}, cell{port(r.Port), plain}, cell{up(r, o), plain}, cell{number(r.Restarts), warn},
			cell{note(r, o), plain})
	}
	t.write(b, o, true)
}

func stateCell(r *engine.ResourceStatus) cell {
	switch r.State {
	case observed.Running:
		return cell{string(r.State), yes(r.Healthy && len(r.Degraded) == 0, good, warn)}
	case observed.Pending:
		return cell{string(r.State), warn}
	case observed.Failed, observed.Crashed, observed.Unknown:
		return cell{string(r.State), bad}
	}
	return cell{string(r.State), plain}
}

// note is everything about a resource that is not in its own column. An old report never looks like news.
func note(r *engine.ResourceStatus, o Options) string {
	var parts []string
	if r.Reason != "" {
		first, _, _ := strings.Cut(r.Reason, "\n")
		parts = append(parts, first)
	}
	if len(r.Degraded) > 0 {
		parts = append(parts, "DEGRADED: "+firstOf(r.Degraded))
	} else if len(r.Notes) > 0 {
		parts = append(parts, r.Notes[0])
	}
	if r.Since != nil && r.State != observed.Running {
		parts = append(parts, "since "+o.clock(*r.Since))
	}
	if len(r.Outdated) > 0 {
		parts = append(parts, "outdated: "+strings.Join(r.Outdated, ", "))
	}
	if r.Orphaned && !strings.Contains(r.Reason, "orphaned") {
		parts = append(parts, "orphaned")
	}
	if len(r.Foreign) > 0 {
		parts = append(parts, fmt.Sprintf("other processes of the same node: %v", r.Foreign))
	}
	if r.StandIn {
		parts = append(parts, "stand-in")
	}
	if r.ObservedAt != nil && o.Now.Sub(*r.ObservedAt) > staleAfter {
		parts = append(parts, "seen "+o.ago(*r.ObservedAt))
	}
	return strings.Join(parts, "; ")
}

func up(r *engine.ResourceStatus, o Options) string {
	if r.StartedAt == nil {
		return ""
	}
	return Duration(o.Now.Sub(*r.StartedAt))
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func port(p *int) string {
	if p == nil {
		return ""
	}
	return number(*p)
}

func word(ok bool, a, b string) string {
	if ok {
		return a
	}
	return b
}

func yes(ok bool, a, b tone) tone {
	if ok {
		return a
	}
	return b
}
