package fleet

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/zeekrec/zeekrec/cmd/internal/bus"
	"github.com/zeekrec/zeekrec/cmd/internal/identity"
	"github.com/zeekrec/zeekrec/cmd/internal/local"
)

// How an agent's connection is held. A controller that is back is found within a few seconds.
const (
	dialTimeout = 5 * time.Second
	// A handshake goes back and forth three times, which may be seconds each.
	handshake     = 15 * time.Second
	reconnectWait = 500 * time.Millisecond
	reconnectMost = 500 * time.Millisecond // of jitter
	pingInterval  = 2 * time.Second
	pingsOut      = 3
	// renewal is looked at so often.
	renewEvery  = time.Hour
	renewWithin = 30 * time.Second
	// sayAgain is how long a refusal is not mentioned again.
	sayAgain = time.Minute
	// pollApproval is how often somebody who joins asks whether he was approved meanwhile.
	pollApproval = 2 * time.Second
)

// options of every connection of an agent's. What is to be said while there is none is said anew later, so nothing is kept for it.
func options(ctx context.Context, log *slog.Logger) []nats.Option {
	var refused atomic.Int64 // when that was last said, in seconds since 1970
	return []nats.Option{
		nats.SetCustomDialer(&net.Dialer{Timeout: dialTimeout}), nats.Timeout(handshake), nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(pingsOut),
		nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.ReconnectJitter(reconnectMost, reconnectMost), nats.RetryOnFailedConnect(true),
		nats.ReconnectBufSize(-1), nats.NoEcho(), nats.IgnoreAuthErrorAbort(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			log.Warn("The controller is not connected; nodes are kept as they were told", "error", err)
		}),
		nats.ReconnectHandler(func(c *nats.Conn) { log.Info("The controller is connected again", "at", c.ConnectedUrl()) }),
		nats.ConnectHandler(func(c *nats.Conn) { log.Info("The controller is connected", "at", c.ConnectedUrl()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if !errors.Is(err, nats.ErrAuthorization) {
				log.Warn("The connection to the controller", "error", err)
				return
			}
			// It is tried on: somebody may change his mind.
			level := slog.LevelDebug
			if now := time.Now().Unix(); now-refused.Load() >= int64(sayAgain.Seconds()) {
				level = slog.LevelWarn
				refused.Store(now)
			}
			log.Log(ctx, level, "The controller refuses this agent: it was shut out, or has joined another one; to join again, make a token there (zeekrec agents token NAME)")
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { log.Debug("The controller cannot be reached", "error", err) }),
	}
}

// JoinConfig of a host that is to be enrolled.
type JoinConfig struct {
	Token identity.Token
	// Controller are addresses of it, HOST:PORT; none where it dials.
	Controller []string
	// Listen is HOST:PORT where the controller dials; "": it is dialled.
	Listen   string
	Name     string
	StateDir string
	// Waiting is called when the enrolment has to be approved.
	Waiting func()
	// Now is this host's clock; nil: time.Now.
	Now func() time.Time
}

// Join enrols this host: afterwards it has an identity in its state folder. It waits for the approval where that is needed, until ctx ends;
// it can be repeated, and then goes on. Errors to tell apart: *identity.Refused.
func Join(ctx context.Context, cfg JoinConfig) error {
	dir := identityDir(cfg.StateDir)
	csr, err := identity.NewRequest(dir, cfg.Name)
	if err != nil {
		return err
	}
	id, check := rand.Text(), identity.JoinTLS(cfg.Token.Fingerprint)
	check.Time = cfg.Now
	o := []nats.Option{
		nats.TLSHandshakeFirst(), nats.Timeout(handshake), nats.NoReconnect(),
		nats.Secure(check), nats.UserInfo(id, ""), nats.CustomInboxPrefix(bus.EnrolInboxPrefix(id)),
	}
	where, at := "at "+strings.Join(cfg.Controller, ", "), cfg.Controller
	if cfg.Listen != "" {
		l, err := listen(ctx, cfg.Listen)
		if err != nil {
			return err
		}
		defer func() { _ = l.Close() }()
		o, where, at = append(o, nats.SetCustomDialer(&callee{ctx: ctx, listener: l})), "that was to dial "+cfg.Listen, []string{nowhere}
	}
	conn, err := nats.Connect(urls(at), o...)
	for cfg.Listen != "" && errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil { // it has not dialled yet
		conn, err = nats.Connect(urls(at), o...)
	}
	if err != nil {
		return fmt.Errorf("cannot reach the controller %s: %w", where, err)
	}
	defer conn.Close()
	for told := false; ; {
		got, err := bus.Enrol(ctx, conn, bus.EnrolRequest{Secret: cfg.Token.Secret(), Name: cfg.Name, Request: csr})
		if err != nil {
			return err
		}
		if !got.Pending {
			return identity.Accept(dir, got, at)
		}
		if !told {
			cfg.Waiting()
			told = true
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot join: it was not approved in time: %w", context.Cause(ctx))
		case <-time.After(pollApproval):
		}
	}
}

func identityDir(stateDir string) string { return local.AgentDir(stateDir) + "/identity" }

// urls of addresses, for a connection.
func urls(at []string) string {
	return "tls://" + strings.Join(at, ",tls://")
}

// AgentConfig of a host's agent.
type AgentConfig struct {
	StateDir string
	Host     *local.AgentHost
	// Server is where agent and controller meet; the zero value: at the controller that this host has joined.
	Server Server
	// Name is the agent's.
	Name string
	// Listen is HOST:PORT where the controller dials; "": it is dialled.
	Listen string
	// Now is this host's clock; nil: time.Now.
	Now func() time.Time
	Log *slog.Logger
}

// Agent is a host that serves a controller.
type Agent struct {
	cfg      AgentConfig
	identity *identity.Identity // nil where it meets the controller at a server
}

// Name under which a state folder's host is enrolled. The error is *identity.NotEnrolled where it is not.
func Name(stateDir string) (string, error) {
	id, err := identity.Load(identityDir(stateDir))
	if err != nil {
		return "", err
	}
	return id.Name(), nil
}

// NewAgent reads who this host is, where it has joined a controller.
func NewAgent(cfg AgentConfig) (*Agent, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Server.URL != "" {
		return &Agent{cfg: cfg}, nil
	}
	id, err := identity.Load(identityDir(cfg.StateDir))
	if err != nil {
		return nil, err
	}
	return &Agent{cfg: cfg, identity: id}, nil
}

// Run serves the controller until ctx ends, whether it is there or not. The agent itself runs beside it.
func (a *Agent) Run(ctx context.Context) error {
	log := a.cfg.Log.With("part", "fleet")
	name := a.cfg.Name
	o := append(options(ctx, log), nats.CustomInboxPrefix(bus.InboxPrefix(name)), nats.Name(name))
	at := a.cfg.Server.URL
	switch {
	case a.identity == nil:
		more, err := a.cfg.Server.options()
		if err != nil {
			return err
		}
		o = append(o, more...)
	case a.cfg.Listen == "" && slices.Equal(a.identity.Addresses(), []string{nowhere}):
		return errors.New("cannot serve the controller: it is to dial this host, so say where (--listen HOST:PORT)")
	case a.cfg.Listen == "":
		o = append(o, nats.Secure(a.tls()), nats.TLSHandshakeFirst())
		at = urls(a.identity.Addresses())
	default:
		l, err := listen(ctx, a.cfg.Listen)
		if err != nil {
			return err
		}
		defer func() { _ = l.Close() }()
		log.Info("Waiting for the controller", "at", l.Addr())
		o = append(o, nats.Secure(a.tls()), nats.TLSHandshakeFirst(), nats.SetCustomDialer(&callee{ctx: ctx, listener: l}))
		at = urls([]string{nowhere})
	}
	conn, err := nats.Connect(at, o...)
	if err != nil {
		return fmt.Errorf("cannot serve the controller: %w", err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- bus.Serve(ctx, conn, bus.Config{
			Instance: name, Agent: a.cfg.Host.Agent, Nodes: a.cfg.Host.Nodes, Keys: a.cfg.Host.Keys,
			Dir: local.AgentDir(a.cfg.StateDir), Boot: rand.Text(), Now: a.cfg.Now, Log: log,
		})
	}()
	look := time.NewTicker(renewEvery)
	defer look.Stop()
	for {
		a.renew(ctx, conn, log)
		select {
		case err := <-done:
			return err
		case <-look.C:
		}
	}
}

// tls is what it dials its controller with.
func (a *Agent) tls() *tls.Config {
	c := a.identity.TLS()
	c.Time = a.cfg.Now
	return c
}

// renew has the certificate renewed where it is time.
func (a *Agent) renew(ctx context.Context, conn *nats.Conn, log *slog.Logger) {
	if a.identity == nil || !a.identity.NeedsRenewal(a.cfg.Now()) {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, renewWithin, errors.New("the controller does not answer"))
	defer cancel()
	csr, err := identity.NewRequest(identityDir(a.cfg.StateDir), a.identity.Name())
	if err == nil {
		var cert []byte
		if cert, err = bus.Renew(ctx, conn, a.identity.Name(), csr); err == nil {
			err = a.identity.Renewed(cert)
		}
	}
	if err != nil {
		log.Warn("The certificate cannot be renewed; that is tried again", "error", err)
		return
	}
	log.Info("The certificate was renewed")
}

func listen(ctx context.Context, at string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", at)
	if err != nil {
		return nil, fmt.Errorf("cannot wait for the controller: %w", err)
	}
	return l, nil
}

// callee makes a connection by waiting for one.
type callee struct {
	ctx      context.Context
	listener net.Listener
}

// nowhere stands for the address of a controller that dials. Nobody looks it up.
const nowhere = "controller.invalid:1"

// calleeWait is for how long it waits before the connection counts as failed, to be tried again.
const calleeWait = 10 * time.Second

// Dial returns the next connection that comes in.
func (c *callee) Dial(string, string) (net.Conn, error) {
	if d, ok := c.listener.(*net.TCPListener); ok {
		if err := d.SetDeadline(time.Now().Add(calleeWait)); err != nil {
			return nil, err
		}
	}
	return c.listener.Accept()
}
