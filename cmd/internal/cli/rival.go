package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/fleet"
	"github.com/zeekrec/zeekrec/cmd/internal/ha"
	"github.com/zeekrec/zeekrec/cmd/internal/local"
	"github.com/zeekrec/zeekrec/cmd/internal/sdnotify"
	"github.com/zeekrec/zeekrec/reconciler/engine/journal"
)

// runRival is a controller beside others, which share a NATS cluster: it leads when no other does, and else stands by.
func (a *app) runRival(ctx context.Context, source string, confirm bool) error {
	log := a.logger()
	service, err := openService(ctx, log)
	if err != nil {
		return err
	}
	s := a.settings.fleet
	if err := os.MkdirAll(a.settings.stateDir, 0o711); err != nil {
		return fmt.Errorf("cannot make the state folder: %w", err)
	}
	lock, err := journal.Lock(filepath.Join(a.settings.stateDir, "rival.lock"))
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	r, err := fleet.NewRival(ctx, fleet.RivalConfig{
		Server: s.server(), Name: a.settings.controller, Replicas: s.replicas, StateDir: a.settings.stateDir, Log: log,
	})
	if err != nil {
		return fmt.Errorf("cannot be a controller: %w", err)
	}
	defer r.Close()
	for ctx.Err() == nil {
		lead, err := a.standBy(ctx, r, service, log)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			if !passing(err) {
				return fmt.Errorf("cannot be a controller: %w", err)
			}
			log.Warn("This controller cannot lead; that is tried again", "error", err)
			continue
		}
		err = a.lead(ctx, lead, hosted{source: source, confirm: confirm, log: log, listens: true, lead: lead, service: service})
		lost := lead.Err() != nil
		lead.Resign(ctx)
		if !lost && ctx.Err() == nil && !passing(err) {
			return err
		}
	}
	log.Info("Ending; agents go on without it, and another controller may lead", "reason", context.Cause(ctx))
	return nil
}

// passing reports whether an error is of the lead alone: it may be won again.
func passing(err error) bool {
	_, lost := errors.AsType[*ha.Lost](err)
	_, deposed := errors.AsType[*ha.Deposed](err)
	_, broken := errors.AsType[*ha.Broken](err)
	return lost || deposed || broken
}

// standBy waits until this controller leads. Whoever asks it meanwhile is told who does.
func (a *app) standBy(ctx context.Context, r *fleet.Rival, service *sdnotify.Service, log *slog.Logger) (*fleet.Lead, error) {
	l, err := api.Listen(api.SocketPath(a.settings.stateDir))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() {
		served <- api.Standby(ctx, l, func(ctx context.Context) string {
			name, since, err := r.Leader(ctx)
			switch {
			case err != nil:
				return "this controller stands by, and cannot tell which one leads: " + err.Error()
			case name == "":
				return "this controller stands by, and no other leads yet"
			}
			return fmt.Sprintf("this controller stands by: %s leads since %s; ask there", name, since.Local().Format(time.DateTime))
		}, log)
	}()
	log.Info("Standing by", "name", a.settings.controller)
	go service.Run(ctx, func(context.Context) (string, error) {
		return "stands by; zeekrec status says which controller leads", nil
	})
	lead, err := r.Lead(ctx)
	cancel()
	if serr := <-served; err == nil && serr != nil {
		lead.Resign(ctx)
		return nil, serr
	}
	return lead, err
}

// lead is host for as long as this controller leads.
func (a *app) lead(ctx context.Context, l *fleet.Lead, h hosted) error {
	return a.host(ctx, h, func(ctx context.Context, _ *local.Machine) error {
		h.log.Info("Running", "source", h.source, "state", a.settings.stateDir, "version", Version())
		select {
		case <-ctx.Done():
			return nil
		case <-l.Done():
			h.log.Warn("This controller does not lead any more", "why", l.Err())
			return l.Err()
		}
	})
}
