package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/oklog/run"
	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/cmd/internal/fleet"
	"github.com/zeekrec/zeekrec/cmd/internal/identity"
	"github.com/zeekrec/zeekrec/cmd/internal/local"
)

func (a *app) agentCommand() *cobra.Command {
	var listen string
	c := &cobra.Command{
		Use:   "agent",
		Short: "Run the nodes of this host that a controller elsewhere has told it, in the foreground",
		Long: `Run this host's nodes as a controller elsewhere tells it. It dials the controller that it has
joined (zeekrec agent join), and goes on without it: what crashes is restarted, whether the
controller is there or not.

Nodes outlive it: when it ends they go on, and the next one finds them again, also those that a
zeekrec run has started with the same state folder.

An agent that cannot dial out waits for the controller at the port of --listen, and the
controller is told to dial it: in the cluster's file, [instances] has NAME = HOST:PORT.

With --nats agent and controller meet at a NATS server that there is already, whose own accounts
say who may; then nothing is joined.`,
		Example: `  zeekrec agent join zeekrec1…@controller.example.org
  zeekrec agent --zeek /opt/zeek/bin/zeek`,
		Args: cobra.NoArgs,
		RunE: a.action(func(ctx context.Context, _ []string) error { return a.runAgent(ctx, listen) }),
	}
	f := c.Flags()
	at := ""
	if a.env["ZEEK_AGENT_ADDR"] != "" || a.env["ZEEK_AGENT_PORT"] != "" {
		at = net.JoinHostPort(a.envOr("ZEEK_AGENT_ADDR", "0.0.0.0"), a.envOr("ZEEK_AGENT_PORT", "2151"))
	}
	f.StringVar(&listen, "listen", at, "wait for the controller at this `HOST:PORT` instead of dialling it")
	a.natsFlags(f)
	f.StringVar(&a.settings.fleet.files.Cert, "tls-cert", "", "with --nats: a certificate to show, a `FILE` in PEM")
	f.StringVar(&a.settings.fleet.files.Key, "tls-key", "", "its key, a `FILE` in PEM")
	f.StringVar(&a.settings.fleet.files.CA, "tls-ca", "", "what has signed the server's, a `FILE` in PEM")
	a.nameFlag(f)
	a.zeekFlag(f)
	a.backendFlag(f)
	a.logFlags(f, "info")
	c.AddCommand(a.joinCommand())
	return c
}

func (a *app) runAgent(ctx context.Context, listen string) (err error) {
	log := a.logger()
	service, err := openService(ctx, log)
	if err != nil {
		return err
	}
	server, name := a.settings.fleet.server(), a.settings.name
	if server.URL == "" {
		if name, err = fleet.Name(a.settings.stateDir); err != nil {
			return err
		}
	}
	now, err := agentClock()
	if err != nil {
		return err
	}
	h, err := local.OpenAgent(ctx, local.Config{
		StateDir: a.settings.stateDir, Instance: name, Zeek: a.settings.zeek, User: a.processUser(), ArchiveDir: a.settings.archiveDir, Backend: a.settings.backend, Output: a.settings.output,
		Launcher: launcher(), Version: Version(), Now: now, Log: log,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	s, err := fleet.NewAgent(fleet.AgentConfig{StateDir: a.settings.stateDir, Host: h, Server: server, Name: name, Listen: listen, Now: now, Log: log})
	if err != nil {
		return err
	}
	log.Info("Running", "agent", name, "state", a.settings.stateDir, "zeek", h.Zeek, "version", Version())
	var g run.Group
	wish, failed := context.WithCancel(ctx)
	defer failed()
	g.Add(func() error {
		<-wish.Done()
		if ctx.Err() != nil {
			log.Info("Ending; nodes go on without it", "reason", context.Cause(ctx))
		}
		return nil
	}, func(error) { failed() })
	// Whoever brings orders ends before the agent that takes them.
	watch := func(ctx context.Context) error { return attend(ctx, service, agentPulse(h.Agent)) }
	for _, part := range []func(context.Context) error{s.Run, h.Agent.Run, watch} {
		within, cancel := context.WithCancel(context.WithoutCancel(ctx))
		ended := make(chan struct{})
		g.Add(func() error {
			defer close(ended)
			return part(within)
		}, func(error) {
			cancel()
			select {
			case <-ended:
			case <-time.After(partEnds):
			}
		})
	}
	return g.Run()
}

// partEnds is how long a part of an agent may take to end.
const partEnds = 10 * time.Second

func (a *app) joinCommand() *cobra.Command {
	var wait time.Duration
	var listen string
	c := &cobra.Command{
		Use:   "join TOKEN@HOST[:PORT][,HOST[:PORT]…] | join --listen HOST:PORT TOKEN",
		Short: "Enrol this host with a controller",
		Long: `Enrol this host with the controller at HOST, with a token that was made there
(zeekrec agents token). The host makes a key of its own, which never leaves it, and gets a
certificate; the token serves once, and names the controller's own certificate, so nobody else
can pose as it. Without TOKEN before the @ it is read from standard input.

A token that was made without a name asks for an approval (zeekrec approve NAME), for which
this command waits.

A host that cannot dial out waits with --listen until the controller dials it, which it does where
a cluster's file names the host in [instances], as NAME = HOST:PORT.`,
		Example: `  zeekrec agent join zeekrec1…@controller.example.org
  ssh controller zeekrec agents token agent-b | zeekrec agent join @controller --name agent-b`,
		Args: cobra.ExactArgs(1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			text, hosts, _ := strings.Cut(args[0], "@")
			if (hosts == "") == (listen == "") {
				return usage(errors.New("cannot tell which controller to join: it has to be TOKEN@HOST, or TOKEN with --listen"))
			}
			if text == "" {
				line, err := bufio.NewReader(a.stdin).ReadString('\n')
				if text = strings.TrimSpace(line); text == "" {
					return fmt.Errorf("cannot read a token from standard input: %w", err)
				}
			}
			token, err := identity.ParseToken(text)
			if err != nil {
				return usage(err)
			}
			var at []string
			for h := range strings.SplitSeq(hosts, ",") {
				if hosts == "" {
					break
				}
				if _, _, err := net.SplitHostPort(h); err != nil {
					h = net.JoinHostPort(strings.Trim(h, "[]"), a.envOr("ZEEK_CONTROLLER_PORT", controllerPort))
				}
				at = append(at, h)
			}
			return a.join(ctx, token, at, listen, wait)
		}),
	}
	c.Flags().DurationVar(&wait, "wait", 10*time.Minute, "for how `LONG` to wait for the approval, where one is needed")
	c.Flags().StringVar(&listen, "listen", "", "wait for the controller at this `HOST:PORT` instead of dialling it")
	a.nameFlag(c.Flags())
	return c
}

func (a *app) join(ctx context.Context, token identity.Token, at []string, listen string, wait time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, wait, fmt.Errorf("waited %s; the same command goes on with it", wait))
	defer cancel()
	now, err := agentClock()
	if err != nil {
		return err
	}
	err = fleet.Join(ctx, fleet.JoinConfig{
		Token: token, Controller: at, Listen: listen, Name: a.settings.name, StateDir: a.settings.stateDir, Now: now,
		Waiting: func() {
			a.say("waits to be approved; on the controller's host: zeekrec approve %s", a.settings.name)
		},
	})
	if err != nil {
		return err
	}
	a.say("%s has joined; to serve it from now on: zeekrec agent", a.settings.name)
	return nil
}
