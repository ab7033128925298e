package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/fleet"
	"github.com/zeekrec/zeekrec/cmd/internal/identity"
	"github.com/zeekrec/zeekrec/cmd/internal/local"
)

// fleetSettings are those of a controller of several hosts.
type fleetSettings struct {
	listen string
	names  string
	files  identity.Files
}

// controllerPort is where Zeek's own controller listens for agents.
const controllerPort = "2150"

func (a *app) controllerCommand() *cobra.Command {
	var confirm bool
	c := &cobra.Command{
		Use:   "controller [SOURCE]",
		Short: "Keep the clusters of several hosts equal to SOURCE, in the foreground",
		Long: `Keep the clusters of several hosts equal to SOURCE. Each host has an agent (zeekrec agent),
which dials in at the port of --listen: NATS in TLS, with certificates that zeekrec makes and
renews by itself. The files are those of zeekrec run; their instances name the agents.

Agents and nodes go on when it ends, and nothing is restarted when it is back. It takes over
the state folder of a zeekrec run that has ended.`,
		Example: `  zeekrec controller /etc/zeek/clusters
  zeekrec agents token --name agent-a
  zeekrec agents`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			source, err := a.argOr(args)
			if err != nil {
				return err
			}
			return a.runController(ctx, source, confirm)
		}),
	}
	f := c.Flags()
	f.BoolVar(&confirm, "confirm", false, "let the state folder belong to SOURCE from now on, where it belonged to another")
	f.StringVar(&a.settings.fleet.listen, "listen", net.JoinHostPort(a.envOr("ZEEK_CONTROLLER_ADDR", "0.0.0.0"), a.envOr("ZEEK_CONTROLLER_PORT", controllerPort)), "wait for agents at this `HOST:PORT`")
	f.StringVar(&a.settings.fleet.names, "tls-names", "", "further host `NAMES` and addresses for the certificate, separated by commas")
	f.StringVar(&a.settings.fleet.files.Cert, "tls-cert", "", "a certificate of your own to show, a `FILE` in PEM with its chain")
	f.StringVar(&a.settings.fleet.files.Key, "tls-key", "", "its key, a `FILE` in PEM")
	f.StringVar(&a.settings.fleet.files.CA, "tls-ca", "", "what has signed it, a `FILE` in PEM")
	a.logFlags(f, "info")
	a.managementFlags(f)
	a.gitFlags(f)
	a.followFlags(f)
	a.hooksFlag(f)
	return c
}

func (a *app) envOr(name, or string) string {
	if v := a.env[name]; v != "" {
		return v
	}
	return or
}

func (a *app) runController(ctx context.Context, source string, confirm bool) error {
	log, signals := a.logger(), ctx
	return a.host(ctx, hosted{source: source, confirm: confirm, log: log, listens: true, fleet: true}, func(ctx context.Context, _ *local.Machine) error {
		log.Info("Running", "source", source, "state", a.settings.stateDir, "socket", api.SocketPath(a.settings.stateDir), "version", Version())
		<-ctx.Done()
		if signals.Err() == nil {
			return nil // a part has failed
		}
		log.Info("Ending; agents go on without it", "reason", context.Cause(signals))
		return nil
	})
}

// newFleet is the controller's side of a fleet.
func (a *app) newFleet(log *slog.Logger) (*fleet.Controller, error) {
	s := a.settings.fleet
	fleet.Frugal()
	c, err := fleet.NewController(fleet.Config{StateDir: a.settings.stateDir, Listen: s.listen, Names: strings.FieldsFunc(s.names, func(r rune) bool { return r == ',' || r == ' ' }), Files: s.files, Log: log})
	if err != nil {
		return nil, fmt.Errorf("cannot be a controller: %w", err)
	}
	return c, nil
}
