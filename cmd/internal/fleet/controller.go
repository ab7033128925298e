package fleet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"
	"github.com/nats-io/nats.go"

	"github.com/zeekrec/zeekrec/actuators/keys"
	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/bus"
	"github.com/zeekrec/zeekrec/cmd/internal/hub"
	"github.com/zeekrec/zeekrec/cmd/internal/identity"
	"github.com/zeekrec/zeekrec/cmd/internal/local"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// Config of a controller of a fleet.
type Config struct {
	StateDir string
	// Listen is HOST:PORT for agents.
	Listen string
	// Names are further ones, or addresses, under which agents reach the controller.
	Names []string
	// Files are the user's own certificate; the zero value: zeekrec makes one.
	Files identity.Files
	Log   *slog.Logger
}

// Controller is the controller's side of a fleet. It can be asked who is enrolled as soon as it is made.
type Controller struct {
	cfg       Config
	authority *identity.Authority

	hub   *hub.Hub
	conn  *nats.Conn
	fleet *bus.Fleet
	dial  *dialer
}

// NewController reads who is enrolled.
func NewController(cfg Config) (*Controller, error) {
	a, err := identity.Open(filepath.Join(cfg.StateDir, "pki"), time.Now)
	if err != nil {
		return nil, err
	}
	return &Controller{cfg: cfg, authority: a}, nil
}

// Open opens the port; it is local.Config.Fleet.
func (c *Controller) Open(_ context.Context, ks *keys.Store) (*local.Fleet, error) {
	epoch, err := nextEpoch(c.cfg.StateDir)
	if err != nil {
		return nil, err
	}
	t, admit := (*tls.Config)(nil), c.authority.Check
	if c.cfg.Files == (identity.Files{}) {
		t, err = c.authority.ServerTLS(c.cfg.Names)
	} else {
		t, err = c.cfg.Files.ServerTLS()
		admit = identity.NameOf
	}
	if err != nil {
		return nil, err
	}
	log := c.cfg.Log.With("part", "fleet")
	c.hub, err = hub.Start(hub.Config{
		Listen: c.cfg.Listen, TLS: t, Log: log,
		Admit: admit,
		Agent: bus.AgentSubjects, Stranger: bus.EnrolSubjects,
	})
	if err != nil {
		return nil, err
	}
	if c.conn, err = c.hub.Connect(); err != nil {
		return nil, err
	}
	if c.fleet, err = bus.NewFleet(c.conn, bus.FleetConfig{Epoch: func() uint64 { return epoch }, Keys: ks, Log: log}); err != nil {
		return nil, err
	}
	if err := bus.ServeEnrolment(c.conn, c.authority, log); err != nil {
		return nil, err
	}
	c.dial = &dialer{connected: c.hub.Connected, known: c.known, take: c.hub.Take, log: log}
	log.Info("Listening for agents", "at", c.hub.Addr(), "epoch", epoch)
	return &local.Fleet{
		Agents: c.fleet,
		Nodes:  func(e *engine.Engine) api.Nodes { return bus.NewNodes(c.fleet, e) },
		Only:   c.only,
		Seen:   c.dial.seen,
		Run:    c.run,
	}, nil
}

func (c *Controller) run(ctx context.Context) error {
	defer c.conn.Close()
	var dials sync.WaitGroup
	defer dials.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dials.Go(func() { c.dial.run(ctx) })
	return c.hub.Run(ctx)
}

// known reports whether an agent may serve.
func (c *Controller) known(name string) bool {
	return slices.ContainsFunc(c.authority.Agents(), func(m identity.Member) bool { return m.Name == name && m.State == identity.Approved })
}

// only is the one agent that may serve.
func (c *Controller) only() (string, bool) {
	name := ""
	for _, m := range c.authority.Agents() {
		if m.State != identity.Approved {
			continue
		}
		if name != "" {
			return "", false
		}
		name = m.Name
	}
	return name, name != ""
}

// Agents are those that are, were or want to be enrolled, by name.
func (c *Controller) Agents() []api.Agent {
	heard := map[string]time.Time{}
	if c.fleet != nil {
		for _, r := range c.fleet.Reports() {
			heard[r.Instance] = r.At
		}
	}
	var out []api.Agent
	for _, m := range c.authority.Agents() {
		a := api.Agent{Name: m.Name, State: string(m.State), Since: m.Since, By: m.By, Key: m.Key, Expires: m.Expires, Heard: heard[m.Name]}
		a.Connected = c.hub != nil && c.hub.Connected(m.Name)
		out = append(out, a)
	}
	return out
}

// Token makes a token for one agent, by the name that it is to have; "" for any, which then waits for Approve.
func (c *Controller) Token(name string, valid time.Duration, by string) (string, error) {
	t, err := c.authority.NewToken(name, valid, by)
	if err == nil {
		c.cfg.Log.Info("A token was made for an agent", "agent", name, "valid", valid, "by", by)
	}
	return t, err
}

// Approve lets an agent in that waits for it.
func (c *Controller) Approve(name, by string) error {
	if err := c.authority.Approve(name, by); err != nil {
		return err
	}
	c.cfg.Log.Info("An agent was approved", "agent", name, "by", by)
	return nil
}

// Revoke shuts an agent out, at once. Its nodes go on.
func (c *Controller) Revoke(name, by string) error {
	if err := c.authority.Revoke(name, by); err != nil {
		return err
	}
	c.cfg.Log.Info("An agent was revoked", "agent", name, "by", by)
	if c.hub != nil {
		c.hub.Disconnect(name)
	}
	return nil
}

// nextEpoch is that of this life of the controller: no other has it. It is on disk before it is used. Whoever calls this holds the state
// folder.
func nextEpoch(stateDir string) (uint64, error) {
	path := filepath.Join(stateDir, "epoch")
	last := uint64(0)
	b, err := os.ReadFile(path)
	if err == nil {
		last, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("cannot tell which epochs were used before: %w", err)
	}
	next := last + 1
	if err := renameio.WriteFile(path, []byte(strconv.FormatUint(next, 10)+"\n"), 0o600); err != nil {
		return 0, fmt.Errorf("cannot keep the epoch: %w", err)
	}
	return next, nil
}
