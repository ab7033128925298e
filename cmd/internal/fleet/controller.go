package fleet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/renameio/v2"
	"github.com/nats-io/nats.go"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/bus"
	"github.com/zeekrec/zeekrec/cmd/internal/hub"
	"github.com/zeekrec/zeekrec/cmd/internal/identity"
	"github.com/zeekrec/zeekrec/cmd/internal/local"
	"github.com/zeekrec/zeekrec/desired"
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

// Controller is the controller's side of a fleet. It is asked nothing before Open.
type Controller struct {
	cfg       Config
	authority *identity.Authority
	tls       *tls.Config // of the authority's certificate, which has one owner; nil: it is the user's own

	hub   *hub.Hub
	conn  *nats.Conn
	fleet *bus.Fleet
	dial  *dialer
	// changes has a value when somebody was enrolled, approved or revoked.
	changes chan struct{}
	engine  atomic.Pointer[engine.Engine]
}

// NewController makes one; nothing is opened yet.
func NewController(cfg Config) *Controller {
	return &Controller{cfg: cfg, changes: make(chan struct{}, 1)}
}

// APITLS is the configuration of a port where people ask with tokens, and the fingerprint that these have to carry.
func (c *Controller) APITLS() (*tls.Config, [32]byte, error) {
	if c.cfg.Files != (identity.Files{}) {
		return c.cfg.Files.APITLS()
	}
	return identity.ForAPI(c.tls), c.authority.Fingerprint(), nil
}

// Open reads who is enrolled and opens the port; it is local.Config.Fleet. The caller holds the state folder.
func (c *Controller) Open(_ context.Context, ks local.Keys) (_ *local.Fleet, err error) {
	if c.authority, err = identity.Open(filepath.Join(c.cfg.StateDir, "pki"), time.Now); err != nil {
		return nil, err
	}
	epoch, err := nextEpoch(c.cfg.StateDir)
	if err != nil {
		return nil, err
	}
	t, admit := (*tls.Config)(nil), c.authority.Check
	if c.cfg.Files == (identity.Files{}) {
		c.tls, err = c.authority.ServerTLS(c.cfg.Names)
		t = c.tls
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
		Agent: bus.AgentSubjects, Stranger: bus.EnrolSubjects, ReplyWithin: bus.ReplyWithin,
	})
	if err != nil {
		return nil, err
	}
	if c.conn, err = c.hub.Connect(); err != nil {
		return nil, err
	}
	if c.fleet, err = bus.NewFleet(c.conn, bus.FleetConfig{Epoch: func() (uint64, error) { return epoch, nil }, Keys: ks, Log: log}); err != nil {
		return nil, err
	}
	if err := bus.ServeEnrolment(c.conn, c.authority, c.enrolled, log); err != nil {
		return nil, err
	}
	c.dial = &dialer{connected: c.hub.Connected, take: c.hub.Take, log: log}
	log.Info("Listening for agents", "at", c.hub.Addr(), "epoch", epoch)
	return &local.Fleet{
		Agents: c.fleet,
		Nodes: func(e *engine.Engine) api.Nodes {
			c.engine.Store(e)
			return bus.NewNodes(c.fleet, e)
		},
		Only: c.only,
		Seen: c.dial.seen,
		Run:  c.run,
	}, nil
}

func (c *Controller) run(ctx context.Context) error {
	defer c.conn.Close()
	var dials sync.WaitGroup
	defer dials.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dials.Go(func() { c.dial.run(ctx) })
	dials.Go(func() { c.follow(ctx) })
	return c.hub.Run(ctx)
}

// enrolled notes that it has changed who is enrolled.
func (c *Controller) enrolled() {
	select {
	case c.changes <- struct{}{}:
	default:
	}
}

// follow has the files read again when it has changed who is enrolled: what one without instances means may have changed with it.
func (c *Controller) follow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.changes:
		}
		if e := c.engine.Load(); e != nil {
			if err := e.Sync(ctx); err != nil && ctx.Err() == nil {
				c.cfg.Log.Warn("Cannot look at the source", "error", err)
			}
		}
	}
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

// Where is the address at which an agent is connected, with its port where it was dialled; false where it is not connected. The controller
// is open.
func (c *Controller) Where(agent string) (host netip.Addr, port int, ok bool) {
	if at, dialled := c.dial.where(agent); dialled {
		return at.Addr().Unmap(), int(at.Port()), true
	}
	at, ok := c.hub.From(agent)
	return at.Addr().Unmap(), 0, ok
}

// Await has agents dialled where they are stated to wait, before there is a file of their cluster that says so.
func (c *Controller) Await(cluster string, instances []desired.Instance) {
	c.dial.await(cluster, instances)
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
	c.enrolled()
	return nil
}

// Revoke shuts an agent out, at once. Its nodes go on.
func (c *Controller) Revoke(name, by string) error {
	if err := c.authority.Revoke(name, by); err != nil {
		return err
	}
	c.cfg.Log.Info("An agent was revoked", "agent", name, "by", by)
	c.enrolled()
	if c.hub != nil {
		c.hub.Disconnect(name)
	}
	return nil
}

// epochFile of a state folder has the newest epoch of a controller that was alone.
const epochFile = "epoch"

// Forget removes an agent that was revoked from the list.
func (c *Controller) Forget(name, by string) error {
	if err := c.authority.Forget(name); err != nil {
		return err
	}
	c.cfg.Log.Info("A revoked agent was forgotten", "agent", name, "by", by)
	return nil
}

// nextEpoch is that of this life of the controller: no other has it. It is on disk before it is used. Whoever calls this holds the state
// folder.
func nextEpoch(stateDir string) (uint64, error) {
	last, err := lastEpoch(stateDir)
	if err != nil {
		return 0, err
	}
	next := last + 1
	if err := renameio.WriteFile(filepath.Join(stateDir, epochFile), []byte(strconv.FormatUint(next, 10)+"\n"), 0o600); err != nil {
		return 0, fmt.Errorf("cannot keep the epoch: %w", err)
	}
	return next, nil
}

// lastEpoch is the newest that this folder's controller had; 0: none.
func lastEpoch(stateDir string) (uint64, error) {
	b, err := os.ReadFile(filepath.Join(stateDir, epochFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err == nil {
		var n uint64
		if n, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("cannot tell which epochs were used before: %w", err)
}
