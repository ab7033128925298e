package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/zeekrec/zeekrec/cmd/internal/bus"
	"github.com/zeekrec/zeekrec/cmd/internal/identity"
	"github.com/zeekrec/zeekrec/cmd/internal/local"
)

// How an agent's connection is held. A controller that is back is found within a few seconds.
const (
	dialTimeout   = 3 * time.Second
	reconnectWait = 500 * time.Millisecond
	reconnectMost = 500 * time.Millisecond // of jitter
	pingInterval  = 2 * time.Second
	pingsOut      = 2
	// renewal is looked at so often.
	renewEvery  = time.Hour
	renewWithin = 30 * time.Second
	// pollApproval is how often somebody who joins asks whether he was approved meanwhile.
	pollApproval = 2 * time.Second
)

// options of every connection of an agent's. What is to be said while there is none is said anew later, so nothing is kept for it.
func options(log *slog.Logger) []nats.Option {
	return []nats.Option{
		nats.TLSHandshakeFirst(), nats.Timeout(dialTimeout), nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(pingsOut),
		nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.ReconnectJitter(reconnectMost, reconnectMost), nats.RetryOnFailedConnect(true),
		nats.ReconnectBufSize(-1), nats.NoEcho(), nats.IgnoreAuthErrorAbort(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			log.Warn("The controller is not connected; nodes are kept as they were told", "error", err)
		}),
		nats.ReconnectHandler(func(c *nats.Conn) { log.Info("The controller is connected again", "at", c.ConnectedUrl()) }),
		nats.ConnectHandler(func(c *nats.Conn) { log.Info("The controller is connected", "at", c.ConnectedUrl()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("The connection to the controller", "error", err)
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { log.Debug("The controller cannot be reached", "error", err) }),
	}
}

// JoinConfig of a host that is to be enrolled.
type JoinConfig struct {
	Token identity.Token
	// Controller are addresses of it, HOST:PORT.
	Controller []string
	Name       string
	StateDir   string
	// Waiting is called when the enrolment has to be approved.
	Waiting func()
}

// Join enrols this host: afterwards it has an identity in its state folder. It waits for the approval where that is needed, until ctx ends;
// it can be repeated, and then goes on. Errors to tell apart: *identity.Refused.
func Join(ctx context.Context, cfg JoinConfig) error {
	dir := identityDir(cfg.StateDir)
	csr, err := identity.NewRequest(dir, cfg.Name)
	if err != nil {
		return err
	}
	id := rand.Text()
	conn, err := connect(cfg.Controller, nats.TLSHandshakeFirst(), nats.Timeout(dialTimeout), nats.NoReconnect(),
		nats.Secure(identity.JoinTLS(cfg.Token.Fingerprint)), nats.UserInfo(id, ""), nats.CustomInboxPrefix(bus.EnrolInboxPrefix(id)))
	if err != nil {
		return fmt.Errorf("cannot reach the controller at %s: %w", cfg.Controller[0], err)
	}
	defer conn.Close()
	for told := false; ; {
		got, err := bus.Enrol(ctx, conn, bus.EnrolRequest{Secret: cfg.Token.Secret(), Name: cfg.Name, Request: csr})
		if err != nil {
			return err
		}
		if !got.Pending {
			return identity.Accept(dir, got, cfg.Controller)
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

func connect(at []string, o ...nats.Option) (*nats.Conn, error) {
	var urls string
	for i, a := range at {
		if i > 0 {
			urls += ","
		}
		urls += "tls://" + a
	}
	return nats.Connect(urls, o...)
}

// AgentConfig of a host that is enrolled.
type AgentConfig struct {
	StateDir string
	Host     *local.AgentHost
	// Listen is HOST:PORT where the controller dials; "": it is dialled.
	Listen string
	Log    *slog.Logger
}

// Agent is an enrolled host.
type Agent struct {
	cfg      AgentConfig
	identity *identity.Identity
}

// Name under which a state folder's host is enrolled. The error is *identity.NotEnrolled where it is not.
func Name(stateDir string) (string, error) {
	id, err := identity.Load(identityDir(stateDir))
	if err != nil {
		return "", err
	}
	return id.Name(), nil
}

// NewAgent reads who this host is.
func NewAgent(cfg AgentConfig) (*Agent, error) {
	id, err := identity.Load(identityDir(cfg.StateDir))
	if err != nil {
		return nil, err
	}
	return &Agent{cfg: cfg, identity: id}, nil
}

// Run serves the controller until ctx ends, whether it is there or not. The agent itself runs beside it.
func (a *Agent) Run(ctx context.Context) error {
	log := a.cfg.Log.With("part", "fleet")
	name := a.identity.Name()
	o := append(options(log), nats.Secure(a.identity.TLS()), nats.CustomInboxPrefix(bus.InboxPrefix(name)), nats.Name(name))
	at := a.identity.Addresses()
	if a.cfg.Listen != "" {
		l, err := listen(ctx, a.cfg.Listen)
		if err != nil {
			return err
		}
		defer func() { _ = l.Close() }()
		log.Info("Waiting for the controller", "at", l.Addr())
		o = append(o, nats.SetCustomDialer(&callee{ctx: ctx, listener: l}))
		at = []string{"controller.invalid:1"} // nobody looks it up
	}
	conn, err := connect(at, o...)
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
			Dir: local.AgentDir(a.cfg.StateDir), Boot: rand.Text(), Log: log,
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

// renew has the certificate renewed where it is time.
func (a *Agent) renew(ctx context.Context, conn *nats.Conn, log *slog.Logger) {
	if !a.identity.NeedsRenewal(time.Now()) {
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
