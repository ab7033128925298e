package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/oklog/run"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/local"
	"github.com/zeekrec/zeekrec/cmd/internal/mgmt"
	"github.com/zeekrec/zeekrec/reconciler/engine"
	"github.com/zeekrec/zeekrec/reconciler/engine/journal"
)

// logger of a long-running command.
func (a *app) logger() *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(a.settings.logLevel)) // checked with the settings
	o := &slog.HandlerOptions{Level: level}
	if a.settings.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, o))
	}
	return slog.New(slog.NewTextHandler(a.stderr, o))
}

// hosted is what host runs.
type hosted struct {
	source  string
	confirm bool // that the state folder may belong to another source than before
	anyZeek bool // nothing is to be started: do without a Zeek
	listens bool // for zeek-client, where that is set
	fleet   bool // the agents are on other hosts
	log     *slog.Logger
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
		StateDir: a.settings.stateDir, Source: h.source, Instance: a.settings.name, Zeek: a.settings.zeek,
		ArchiveDir: a.settings.archiveDir, Git: a.gitOptions(), AnyZeek: h.anyZeek, Confirm: h.confirm, By: a.userName(), Launcher: launcher(), Version: Version(), Log: h.log,
	}
	if told != nil {
		cfg.News = told
	}
	var enrolment api.Enrolment
	if h.fleet {
		c, err := a.newFleet(h.log)
		if err != nil {
			return err
		}
		cfg.Instance, cfg.Fleet, enrolment = "", c.Open, c
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
	l, err := api.Listen(socket)
	if err != nil {
		return err
	}
	server := &api.Server{
		Engine: m.Engine, Nodes: m.Nodes, Enrolment: enrolment, Version: Version(), Log: h.log.With("part", "api"),
		History: func(each func(engine.Record) error) error { return journal.History(a.settings.stateDir, each) },
	}
	controllers := a.controllers(m, server, h.source, h.log.With("part", "management"))
	server.Management = mgmt.NewServer(controllers.Named, Version(), h.log.With("part", "management"))
	var open *mgmt.Listener
	if h.listens {
		if open, err = a.listenManagement(ctx, h.log.With("part", "management")); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	hook, err := a.listenWebhook(ctx, m.Engine.Sync, h.log)
	if err != nil {
		err = errors.Join(err, l.Close())
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
	if open != nil {
		public := mgmt.NewServer(controllers.Default, Version(), h.log.With("part", "management"))
		add(rest, 5*time.Second, func(ctx context.Context) error { return public.Serve(ctx, open) })
	}
	if hook != nil {
		add(rest, 5*time.Second, hook)
	}
	// Source, engine, agent.
	add(rest, 30*time.Second, m.Run)
	// Whoever is to hear of the last of it.
	if told != nil {
		add(rest, 5*time.Second, told.Run)
	}
	return g.Run()
}
