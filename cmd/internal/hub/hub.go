package hub

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Config of a hub.
type Config struct {
	// Listen is HOST:PORT; port 0 takes a free one.
	Listen string
	// TLS has the certificate, and asks clients for theirs.
	TLS *tls.Config
	// Admit says which agent a certificate is of, which TLS has verified.
	Admit func(*x509.Certificate) (agent string, err error)
	// Agent has the subjects of an agent, Stranger those of somebody who is to be enrolled, by the name that he connects with.
	Agent, Stranger func(name string) (publish, subscribe []string)
	// ReplyWithin is how long an answer to a request may take.
	ReplyWithin time.Duration
	Log         *slog.Logger
}

// Bounds of connections.
const (
	// Strangers is how many connections those have together who are not enrolled, strangerTime how long one may last.
	Strangers    = 64
	strangerTime = time.Minute

	maxConnections = 20_000
	maxPayload     = 8 << 20
	maxPending     = 64 << 20
	handshake      = 5 * time.Second
	writeDeadline  = 5 * time.Second
	// A peer that is gone without a word is known as that after four times this.
	pingInterval = 2 * time.Second
	startWithin  = 10 * time.Second
)

// self is the name of the controller's own connections.
const self = "zeekrec-controller"

// Hub is a server that runs.
type Hub struct {
	cfg    Config
	server *natsserver.Server
	secret string // by which the controller's own connections are known

	mu        sync.Mutex
	agents    map[string]uint64 // the connection of each
	strangers map[uint64]*time.Timer
}

// Start opens the port and serves.
func Start(cfg Config) (*Hub, error) {
	h := &Hub{cfg: cfg, secret: rand.Text(), agents: map[string]uint64{}, strangers: map[uint64]*time.Timer{}}
	host, number, err := net.SplitHostPort(cfg.Listen)
	port := 0
	if err == nil {
		port, err = strconv.Atoi(number)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot listen for agents at %q: it has to be HOST:PORT", cfg.Listen)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	if port == 0 {
		port = natsserver.RANDOM_PORT
	}
	// The server ends the whole process where it cannot listen, so that is tried before.
	l, err := net.Listen("tcp", cfg.Listen)
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot listen for agents: %w", err)
	}
	o := &natsserver.Options{
		Host: host, Port: port,
		ServerName: self, NoSigs: true, NoLog: true,
		TLS: true, TLSConfig: cfg.TLS, TLSHandshakeFirst: true, TLSTimeout: handshake.Seconds(), AuthTimeout: handshake.Seconds(),
		MaxConn: maxConnections, MaxPayload: maxPayload, MaxPending: maxPending, WriteDeadline: writeDeadline,
		PingInterval: pingInterval, MaxPingsOut: 3, CustomClientAuthentication: h, DisableShortFirstPing: true,
	}
	s, err := natsserver.NewServer(o)
	if err != nil {
		return nil, fmt.Errorf("cannot serve agents: %w", err)
	}
	h.server = s
	s.SetLoggerV2(&logger{cfg.Log.With("by", "nats-server")}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(startWithin) {
		s.Shutdown()
		return nil, fmt.Errorf("cannot serve agents: the NATS server did not come up within %s", startWithin)
	}
	return h, nil
}

// Addr is where agents dial in.
func (h *Hub) Addr() net.Addr { return h.server.Addr() }

// Connect makes a connection of the controller's own.
func (h *Hub) Connect() (*nats.Conn, error) {
	c, err := nats.Connect("", nats.InProcessServer(h.server), nats.UserInfo(self, h.secret), nats.Name(self),
		nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("cannot connect within the controller: %w", err)
	}
	return c, nil
}

// Disconnect ends the connection of an agent, which may not come back unless it is admitted.
func (h *Hub) Disconnect(agent string) {
	h.mu.Lock()
	id, ok := h.agents[agent]
	h.mu.Unlock()
	if ok {
		_ = h.server.DisconnectClientByID(id) // it may have gone by itself
	}
}

// Connected reports whether an agent is connected.
func (h *Hub) Connected(agent string) bool {
	h.mu.Lock()
	id, ok := h.agents[agent]
	h.mu.Unlock()
	return ok && h.server.GetClient(id) != nil
}

// From is where the connection of an agent comes from; false where it is not connected. One that was handed over with Take comes from here.
func (h *Hub) From(agent string) (netip.AddrPort, bool) {
	h.mu.Lock()
	id, ok := h.agents[agent]
	h.mu.Unlock()
	if !ok {
		return netip.AddrPort{}, false
	}
	c := h.server.GetClient(id)
	if c == nil {
		return netip.AddrPort{}, false
	}
	at, ok := c.RemoteAddress().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	return at.AddrPort(), true
}

// Take hands a connection that was made elsewhere to the hub, as if it had come in at the port: its other end begins with TLS. It returns
// when the connection has ended.
func (h *Hub) Take(ctx context.Context, conn net.Conn) error {
	to, err := net.Dial("tcp", h.server.Addr().String())
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	return splice(ctx, conn, to)
}

// Run serves until ctx ends.
func (h *Hub) Run(ctx context.Context) error {
	<-ctx.Done()
	h.server.Shutdown()
	h.server.WaitForShutdown()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.strangers {
		t.Stop()
	}
	return nil
}

// Check decides what whoever connects may do. It is the server's natsserver.Authentication.
func (h *Hub) Check(c natsserver.ClientAuthentication) bool {
	if c.Kind() != natsserver.CLIENT {
		return false
	}
	state := c.GetTLSConnectionState()
	if state == nil {
		// Nobody comes in from outside without TLS.
		o := c.GetOpts()
		if o.Username != self || subtle.ConstantTimeCompare([]byte(o.Password), []byte(h.secret)) != 1 {
			return false
		}
		c.RegisterUser(&natsserver.User{Username: self})
		return true
	}
	if len(state.VerifiedChains) == 0 {
		return h.stranger(c)
	}
	name, err := h.cfg.Admit(state.PeerCertificates[0])
	if err != nil {
		h.cfg.Log.Warn("An agent was refused", "from", c.RemoteAddress(), "error", err)
		return false
	}
	publish, subscribe := h.cfg.Agent(name)
	c.RegisterUser(&natsserver.User{Username: name, Permissions: h.permissions(publish, subscribe)})
	h.mu.Lock()
	old, was := h.agents[name]
	h.agents[name] = c.GetID()
	h.mu.Unlock()
	if was {
		go func() { _ = h.server.DisconnectClientByID(old) }()
	}
	h.cfg.Log.Info("An agent is connected", "agent", name, "from", c.RemoteAddress())
	return true
}

// stranger lets somebody in who has no certificate: he may ask to be enrolled.
func (h *Hub) stranger(c natsserver.ClientAuthentication) bool {
	name, id := c.GetOpts().Username, c.GetID()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.strangers) >= Strangers || !plain(name) {
		h.cfg.Log.Warn("Somebody without a certificate was refused", "from", c.RemoteAddress())
		return false
	}
	h.strangers[id] = time.AfterFunc(strangerTime, func() {
		_ = h.server.DisconnectClientByID(id)
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.strangers, id)
	})
	publish, subscribe := h.cfg.Stranger(name)
	c.RegisterUser(&natsserver.User{Username: "stranger " + name, Permissions: h.permissions(publish, subscribe)})
	return true
}

// plain reports whether a name is made of what rand.Text has, so that it is no pattern of subjects.
func plain(name string) bool {
	if name == "" || len(name) > 64 {
		return false
	}
	for _, r := range name {
		if (r < 'A' || r > 'Z') && (r < '0' || r > '9') {
			return false
		}
	}
	return true
}

func (h *Hub) permissions(publish, subscribe []string) *natsserver.Permissions {
	return &natsserver.Permissions{
		Publish:   &natsserver.SubjectPermission{Allow: publish},
		Subscribe: &natsserver.SubjectPermission{Allow: subscribe},
		Response:  &natsserver.ResponsePermission{MaxMsgs: 1, Expires: h.cfg.ReplyWithin},
	}
}

// logger has what the server says in zeekrec's log.
type logger struct{ log *slog.Logger }

func (l *logger) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l *logger) Errorf(format string, v ...any)  { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l *logger) Fatalf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l *logger) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Tracef(string, ...any)           {}
