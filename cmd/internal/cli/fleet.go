package cli

import (
	"context"
	"log/slog"
	"net"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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
	serve  string // HOST:PORT for people on other machines; empty: for nobody

	nats, creds string
	replicas    int
}

// server is the NATS that there is already.
func (s fleetSettings) server() fleet.Server {
	return fleet.Server{URL: s.nats, Creds: s.creds, Files: s.files}
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
the state folder of a zeekrec run that has ended.

With --api-listen it serves zeek-client, for all hosts. Beyond loopback clients need certificates
(--api-client-ca), unless --api-insecure says that whoever reaches the port may deploy.

With --nats controller and agents meet at a NATS server that there is already. Several controllers
may run then: one leads, and when it is gone another one does within 15 s. What they share is kept
in JetStream, so that takes three servers to survive the loss of one.`,
		Example: `  zeekrec controller /etc/zeek/clusters
  zeekrec agents token agent-a
  zeekrec agents
  zeekrec controller --nats tls://n1.example.org,tls://n2.example.org,tls://n3.example.org --nats-creds c.creds`,
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
	a.serveFlags(f)
	a.natsFlags(f)
	f.IntVar(&a.settings.fleet.replicas, "nats-replicas", 3, "with --nats: keep what controllers share in so `MANY` servers, 1 or 3")
	f.StringVar(&a.settings.controller, "controller-name", a.controllerName(), "the `NAME` of this controller, among several")
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
	fleet.Frugal(ctx)
	if a.settings.fleet.nats != "" {
		return a.runRival(ctx, source, confirm)
	}
	log, signals := a.logger(), ctx
	service, err := openService(ctx, log)
	if err != nil {
		return err
	}
	return a.host(ctx, hosted{source: source, confirm: confirm, log: log, listens: true, fleet: true, service: service}, func(ctx context.Context, _ *local.Machine) error {
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
func (a *app) newFleet(log *slog.Logger) *fleet.Controller {
	s := a.settings.fleet
	return fleet.NewController(fleet.Config{StateDir: a.settings.stateDir, Listen: s.listen, Names: a.tlsNames(), Files: s.files, Log: log})
}

// natsFlags are those of a controller and of an agent that meet at a NATS server.
func (a *app) natsFlags(f *pflag.FlagSet) {
	f.StringVar(&a.settings.fleet.nats, "nats", "", "meet at this NATS server, a `URL` or several with commas in between")
	f.StringVar(&a.settings.fleet.creds, "nats-creds", "", "its credentials, a `FILE`")
}
