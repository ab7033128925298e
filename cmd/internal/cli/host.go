package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/oklog/run"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/fleet"
	"github.com/zeekrec/zeekrec/cmd/internal/local"
	"github.com/zeekrec/zeekrec/cmd/internal/mgmt"
	"github.com/zeekrec/zeekrec/cmd/internal/sdnotify"
)

// hosted is what host runs.
type hosted struct {
	source  string
	confirm bool // that the state folder may belong to another source than before
	anyZeek bool // nothing is to be started: do without a Zeek
	listens bool // for zeek-client and people on other machines, where that is set
	// service is told how it goes; nil: nobody is.
	service *sdnotify.Service
	fleet   bool // the agents are on other hosts, and dial in here
	// lead is this controller's, where several meet agents elsewhere.
	lead *fleet.Lead
	log  *slog.Logger
}

// host takes the state folder, runs controller and agent with the local API, and ends them when body
// returns. What it started goes on. ctx's end is for body to see; the rest ends after it, in order.
func (a *app) host(ctx context.Context, h hosted, body func(context.Context, *local.Machine) error) (err error) {
	socket := api.SocketPath(a.settings.stateDir)
	if err := api.CheckPath(socket); err != nil {
		return err
	}
	told, err := a.readHooks(h)
	if err != nil {
		return err
	}
	cfg := local.Config{
		StateDir: a.settings.stateDir, Source: h.source, Instance: a.settings.name, Zeek: a.settings.zeek, User: a.processUser(),
		ArchiveDir: a.settings.archiveDir, Backend: a.settings.backend, Output: a.settings.output, Git: a.gitOptions(), AnyZeek: h.anyZeek, Confirm: h.confirm, By: a.userName(), Launcher: launcher(), Version: Version(), Log: h.log,
	}
	if told != nil {
		cfg.News = told
	}
	var enrolment api.Enrolment
	var controller *fleet.Controller
	if h.fleet {
		controller = a.newFleet(h.log)
		cfg.Instance, cfg.Fleet, enrolment = "", controller.Open, controller
	}
	if h.lead != nil {
		cfg.Instance, cfg.Fleet, cfg.Shared = "", h.lead.Open, h.lead.Store
	}
	m, err := local.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := m.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("cannot close the journal: %w", cerr)
		}
	}()
	remote, err := a.openServing(ctx, h, controller)
	if err != nil {
		return err
	}
	l, err := api.Listen(socket)
	if err != nil {
		return errors.Join(err, remote.close())
	}
	server := &api.Server{
		Tokens: remote.tokens,
		Engine: m.Engine, Nodes: m.Nodes, Enrolment: enrolment, Version: Version(), Log: h.log.With("part", "api"),
		History: m.History,
	}
	controllers := a.controllers(m, server, controller, h.source, h.log.With("part", "management"))
	server.Management = mgmt.NewServer(controllers.Named, Version(), h.log.With("part", "management"))
	var open *mgmt.Listener
	if h.listens {
		if open, err = a.listenManagement(ctx, h.log.With("part", "management")); err != nil {
			return errors.Join(err, l.Close(), remote.close())
		}
	}
	hook, err := a.listenWebhook(ctx, m.Engine.Sync, h.log)
	if err != nil {
		err = errors.Join(err, l.Close(), remote.close())
		if open != nil {
			err = errors.Join(err, open.Close())
		}
		return err
	}
	var g run.Group
	add := func(ctx context.Context, wait time.Duration, f func(context.Context) error) {
		ctx, cancel := context.WithCancelCause(ctx)
		ended := make(chan struct{})
		g.Add(func() error {
			defer close(ended)
			return f(ctx)
		}, func(why error) {
			cancel(why)
			select {
			case <-ended:
			case <-time.After(wait):
			}
		})
	}
	rest := context.WithoutCancel(ctx)
	// What the command is about. When it ends, everything ends; in this order:
	add(ctx, time.Minute, func(ctx context.Context) error { return body(ctx, m) })
	// Nobody asks any more.
	add(rest, 5*time.Second, func(ctx context.Context) error { return server.Serve(ctx, l) })
	if remote.listener != nil {
		add(rest, 5*time.Second, func(ctx context.Context) error { return server.ServeTLS(ctx, remote.listener, remote.tls) })
	}
	if open != nil {
		public := mgmt.NewServer(controllers.Default, Version(), h.log.With("part", "management"))
		add(rest, 5*time.Second, func(ctx context.Context) error { return public.Serve(ctx, open) })
	}
	if hook != nil {
		add(rest, 5*time.Second, hook)
	}
	add(rest, 5*time.Second, func(ctx context.Context) error { return remote.tokens.Run(ctx, h.log.With("part", "api")) })
	// Source, engine, agent.
	add(rest, 30*time.Second, m.Run)
	if h.service != nil {
		add(rest, 5*time.Second, func(ctx context.Context) error { return attend(ctx, h.service, machinePulse(m)) })
	}
	// Whoever is to hear of the last of it.
	if told != nil {
		add(rest, 5*time.Second, told.Run)
	}
	return g.Run()
}
