package cli

import (
	"fmt"
	"strings"

	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// progress tells on standard error what has changed from one status to the next, a line for each change.
type progress struct {
	a        *app
	quiet    bool
	nodes    map[string]string // what was said last of a node
	rollouts map[string]string // the rollout of a cluster
}

func newProgress(a *app, quiet bool) *progress {
	return &progress{a: a, quiet: quiet, nodes: map[string]string{}, rollouts: map[string]string{}}
}

// show tells what is new. A node that runs when it is first seen is no news.
func (p *progress) show(s *engine.Status) {
	if p.quiet {
		return
	}
	gone := map[string]bool{}
	for key := range p.nodes {
		gone[key] = true
	}
	for i := range s.Clusters {
		c := &s.Clusters[i]
		if r := c.Rollout; r != nil && p.rollouts[c.Name] != r.ID {
			p.rollouts[c.Name] = r.ID
			p.a.say("%s: rollout to %s begins", c.Name, r.To)
		}
		for j := range c.Resources {
			key := c.Name + "/" + c.Resources[j].Name
			delete(gone, key)
			text := nodeText(&c.Resources[j])
			was, known := p.nodes[key]
			if was != text && (known || c.Resources[j].State != observed.Running) {
				p.a.say("%s %s", key, text)
			}
			p.nodes[key] = text
		}
	}
	for key := range gone {
		p.a.say("%s is gone", key)
		delete(p.nodes, key)
	}
}

func nodeText(r *engine.ResourceStatus) string {
	text := string(r.State)
	if r.PID != 0 {
		text += fmt.Sprintf(" (pid %d)", r.PID)
	}
	if r.Reason != "" {
		first, _, _ := strings.Cut(r.Reason, "\n")
		text += ": " + clip(first)
	}
	return text
}

// clip keeps a line of progress a line.
func clip(s string) string {
	const most = 160
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
