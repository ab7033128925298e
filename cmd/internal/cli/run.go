package cli

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/local"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// stopWithin bounds --stop-on-exit.
const stopWithin = 10 * time.Minute

func (a *app) runCommand() *cobra.Command {
	var stopOnExit, confirm bool
	c := &cobra.Command{
		Use:   "run [SOURCE]",
		Short: "Keep this machine's clusters equal to SOURCE, in the foreground",
		Long: `Keep this machine's clusters equal to SOURCE: controller and agent in one process, in
the foreground. It reads SOURCE (a folder, a .cfg file, or the URL of a Git repository),
starts what it describes, keeps it so, and changes only what a change names.

Nodes outlive it: when it ends they go on, and the next run finds them again. With
--stop-on-exit they are stopped in order when it ends.`,
		Example: `  zeekrec run ./clusters
  zeekrec run --zeek /opt/zeek/bin/zeek /etc/zeek/clusters
  zeekrec run 'https://git.example.org/zeek.git?ref=main&path=clusters'
  zeekrec run --stop-on-exit --state-dir /tmp/demo ./clusters`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			source, err := a.argOr(args)
			if err != nil {
				return err
			}
			return a.run(ctx, source, confirm, stopOnExit)
		}),
	}
	c.Flags().BoolVar(&stopOnExit, "stop-on-exit", false, "stop all nodes, in order, when it ends")
	c.Flags().BoolVar(&confirm, "confirm", false, "let the state folder belong to SOURCE from now on, where it belonged to another")
	a.nameFlag(c.Flags())
	a.zeekFlag(c.Flags())
	a.backendFlag(c.Flags())
	a.logFlags(c.Flags(), "info")
	a.serveFlags(c.Flags())
	a.managementFlags(c.Flags())
	a.gitFlags(c.Flags())
	a.followFlags(c.Flags())
	a.hooksFlag(c.Flags())
	return c
}

func (a *app) run(ctx context.Context, source string, confirm, stopOnExit bool) error {
	log, signals, last := a.logger(), ctx, ""
	service, err := openService(ctx, log)
	if err != nil {
		return err
	}
	err = a.host(ctx, hosted{source: source, confirm: confirm, log: log, listens: true, service: service}, func(ctx context.Context, m *local.Machine) error {
		log.Info("Running", "source", source, "state", a.settings.stateDir, "socket", api.SocketPath(a.settings.stateDir), "version", Version())
		go sayZeek(ctx, m, log)
		<-ctx.Done()
		if signals.Err() == nil {
			return nil // a part has failed: there is nobody left to ask
		}
		log.Info("Ending", "reason", context.Cause(signals))
		var err error
		last, err = leave(context.WithoutCancel(ctx), m, log, stopOnExit)
		return err
	})
	if last != "" {
		a.say("%s", last)
	}
	return err
}

// leave ends the work: it stops the nodes where that is wanted, and returns what there is to say at the
// very end.
func leave(ctx context.Context, m *local.Machine, log *slog.Logger, stop bool) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, stopWithin, fmt.Errorf("not done within %s", stopWithin))
	defer cancel()
	n, err := running(ctx, m.Engine)
	if err != nil {
		return "", err
	}
	if !stop {
		if n == 0 {
			return "ended; no node runs", nil
		}
		return fmt.Sprintf("ended; %s go on without it. The next `zeekrec run` finds them again; to stop them: zeekrec stop --all", nodes(n)), nil
	}
	if n > 0 {
		log.Info("Stopping all nodes, in order; a second signal leaves them running", "nodes", n)
	}
	if err := m.Engine.StopAll(ctx); err != nil {
		return "", err
	}
	if n, err = running(ctx, m.Engine); err == nil && n > 0 {
		return fmt.Sprintf("ended; %s that this source never had go on", nodes(n)), nil
	}
	return "ended; all nodes are stopped", nil
}

// running counts the nodes that have a process.
func running(ctx context.Context, e *engine.Engine) (int, error) {
	s, err := e.Status(ctx)
	if err != nil {
		return 0, err
	}
	n := 0
	for i := range s.Clusters {
		for _, r := range s.Clusters[i].Resources {
			if r.PID != 0 && r.Type == string(desired.TypeNode) {
				n++
			}
		}
	}
	return n, nil
}

func nodes(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}

// sayZeek logs which Zeek there is, once that is known.
func sayZeek(ctx context.Context, m *local.Machine, log *slog.Logger) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := m.Engine.Status(ctx)
		if err != nil {
			return
		}
		for _, g := range s.Agents {
			switch {
			case m.Zeek == "":
				log.Info("Every cluster names its own Zeek")
			case g.ZeekError != "":
				log.Error("Zeek cannot be used", "path", m.Zeek, "error", g.ZeekError)
			case g.StandIn:
				log.Warn("This is not Zeek but the stand-in: it analyses nothing", "path", m.Zeek, "version", g.Zeek)
			default:
				log.Info("Zeek", "path", m.Zeek, "version", g.Zeek)
			}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
