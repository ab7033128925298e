package cli

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/zeekrec/zeekrec/actuators/agent"
	"github.com/zeekrec/zeekrec/cmd/internal/local"
	"github.com/zeekrec/zeekrec/cmd/internal/sdnotify"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// openService is this process as a service, which says that it ends as soon as ctx does.
func openService(ctx context.Context, log *slog.Logger) (*sdnotify.Service, error) {
	s, err := sdnotify.Open(log.With("part", "service"))
	if err == nil {
		context.AfterFunc(ctx, s.Stopping)
	}
	return s, err
}

// attend to a service until ctx ends: a part of a group, which has nothing to fail with.
func attend(ctx context.Context, s *sdnotify.Service, pulse sdnotify.Pulse) error {
	s.Run(ctx, pulse)
	<-ctx.Done()
	return nil
}

// machinePulse is that of the engine, and of the agent where that is in this process.
func machinePulse(m *local.Machine) sdnotify.Pulse {
	return func(ctx context.Context) (string, error) {
		s, err := m.Alive(ctx)
		if err != nil {
			return "", err
		}
		return clustersLine(s), nil
	}
}

// agentPulse is that of an agent whose controller is elsewhere.
func agentPulse(g *agent.Agent) sdnotify.Pulse {
	return func(ctx context.Context) (string, error) {
		if err := g.Alive(ctx); err != nil {
			return "", err
		}
		r := g.Report()
		running := 0
		for i := range r.Resources {
			if r.Resources[i].State == observed.Running {
				running++
			}
		}
		return fmt.Sprintf("agent %s: %d of %d processes run", r.Instance, running, len(r.Resources)), nil
	}
}

// clustersLine says in one line how all clusters are, with the names of those that are not as they should be.
func clustersLine(s *engine.Status) string {
	var unsynced, unhealthy []string
	for i := range s.Clusters {
		c := &s.Clusters[i]
		if !c.Synced {
			unsynced = append(unsynced, c.Name)
		}
		if !c.Healthy {
			unhealthy = append(unhealthy, c.Name)
		}
	}
	line := fmt.Sprintf("%d clusters", len(s.Clusters))
	switch len(s.Clusters) {
	case 0:
		line = "no cluster"
	case 1:
		line = "1 cluster"
	}
	switch {
	case len(unsynced)+len(unhealthy) > 0:
		line += ": " + strings.Join(nonEmpty(howMany("not synced", unsynced), howMany("not healthy", unhealthy)), ", ")
	case len(s.Clusters) > 0:
		line += ": all synced and healthy"
	}
	if s.Source.State != "ok" && s.Source.State != "" {
		line += "; source: " + s.Source.State
	}
	return line
}

// namesMax is how many names fit into a line.
const namesMax = 5

// howMany says how many are so, and which.
func howMany(what string, names []string) string {
	if len(names) == 0 {
		return ""
	}
	list := strings.Join(names[:min(len(names), namesMax)], ", ")
	if len(names) > namesMax {
		list += ", …"
	}
	return fmt.Sprintf("%d %s (%s)", len(names), what, list)
}

func nonEmpty(all ...string) (some []string) {
	for _, s := range all {
		if s != "" {
			some = append(some, s)
		}
	}
	return some
}
