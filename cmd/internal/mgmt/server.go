package mgmt

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
)

// Bounds of messages and requests.
const (
	maxMessage = 16 << 20 // a configuration of 10,000 nodes takes 11 MiB
	// freely is how much of a message is read without asking; more only largeOnce at a time, so that memory is bounded by few
	// large messages and not by many.
	freely    = 256 << 10
	largeOnce = 2

	handshakeWithin = 10 * time.Second
	messageWithin   = 30 * time.Second // from its first byte to its last
	writeWithin     = 15 * time.Second

	requestsPerSecond, requestsAtOnce = 20, 40 // of a connection
	underWay, underWayInAll           = 4, 64

	// pingEvery is longer than zeek-client's 20 s for an answer, which begin anew with whatever arrives: more pings would keep it
	// waiting for ever.
	pingEvery  = 30 * time.Second
	pongWithin = 10 * time.Second
)

// Handler answers requests.
type Handler interface {
	// Handle returns the answer to a request of peer; nil where there is none. It returns when ctx ends. Requests
	// that it does not understand are an error.
	Handle(ctx context.Context, request Event, peer string) (*Event, error)
}

// Server is the controller's end of the WebSocket interface. Make one with NewServer.
type Server struct {
	pick    func(*http.Request) (Handler, error)
	version string
	log     *slog.Logger
	large   chan struct{}
	all     *semaphore.Weighted
}

// NewServer returns a server. pick has the handler for a connection; version is that of zeekrec.
func NewServer(pick func(*http.Request) (Handler, error), version string, log *slog.Logger) *Server {
	return &Server{pick: pick, version: version, log: log, large: make(chan struct{}, largeOnce), all: semaphore.NewWeighted(underWayInAll)}
}

// Serve answers on l until ctx ends.
func (s *Server) Serve(ctx context.Context, l *Listener) error {
	inner := newListener(l.Listener, l.TLS, l.Plain, s.log)
	h := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       10 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // anybody may send nonsense
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, counted(c))
		},
	}
	accepting := make(chan error, 1)
	go func() { accepting <- inner.run(ctx) }()
	served := make(chan error, 1)
	go func() { served <- h.Serve(inner) }()
	<-ctx.Done()
	err := errors.Join(l.Close(), <-accepting)
	_ = h.Close()
	<-served //nolint:errcheck // that it was closed
	return err
}

type connKey struct{}

// ServeHTTP upgrades a request to a WebSocket and answers on it until it ends. Requests from elsewhere, that is, from pages
// that a browser has open, are refused.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	handler, err := s.pick(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has said why
	}
	defer func() { _ = ws.CloseNow() }()
	held, _ := r.Context().Value(connKey{}).(*conn)
	c := &client{Server: s, ws: ws, handler: handler, held: held, peer: cmp.Or(api.Peer(r.Context()), r.RemoteAddr)}
	if r.URL.Path != Path {
		c.send(r.Context(), failure(codeURI, "there is nothing at "+r.URL.Path+"; use "+Path))
		_ = ws.Close(websocket.StatusPolicyViolation, "invalid URI")
		return
	}
	ws.SetReadLimit(maxMessage)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	c.serve(ctx)
	if r.Context().Err() != nil {
		_ = ws.Close(websocket.StatusGoingAway, "zeekrec ends")
	}
}

// client is one connection.
type client struct {
	*Server
	ws      *websocket.Conn
	handler Handler
	held    *conn  // nil: not counted
	peer    string // who asks, for the log and the history
}

func (c *client) serve(ctx context.Context) {
	if !c.handshake(ctx) {
		return
	}
	c.held.asks(0)
	ctx, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	defer working.Wait()
	defer cancel() // who is gone needs no answers
	working.Go(func() { c.ping(ctx, cancel) })
	slots := make(chan struct{}, underWay)
	limit := rate.NewLimiter(requestsPerSecond, requestsAtOnce)
	for {
		b, err := c.read(ctx)
		if err != nil {
			return // zeek-client leaves without a word
		}
		if limit.Wait(ctx) != nil {
			return
		}
		event, err := ParseEvent(b)
		if err != nil {
			c.send(ctx, failure(codeDeserialize, err.Error()))
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		c.held.asks(1)
		working.Go(func() {
			defer func() { c.held.asks(-1); <-slots }()
			c.answer(ctx, event)
		})
	}
}

// handshake waits for the topics and acknowledges them. What is wrong is answered, and may be mended.
func (c *client) handshake(ctx context.Context) bool {
	within, cancel := context.WithTimeout(ctx, handshakeWithin)
	defer cancel()
	for range 10 {
		b, err := c.read(within)
		if err != nil {
			return false
		}
		if _, err := parseHandshake(b); err != nil {
			c.send(within, failure(codeDeserialize, err.Error()))
			continue
		}
		return c.send(within, ack("zeekrec", c.version))
	}
	return false
}

// read returns the next message.
func (c *client) read(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_, r, err := c.ws.Reader(ctx)
	if err != nil {
		return nil, err
	}
	late := time.AfterFunc(messageWithin, cancel)
	defer late.Stop()
	b, err := io.ReadAll(io.LimitReader(r, freely))
	if err != nil || len(b) < freely {
		return b, err
	}
	select {
	case c.large <- struct{}{}:
		defer func() { <-c.large }()
	case <-ctx.Done():
		return nil, fmt.Errorf("too many large messages at a time: %w", ctx.Err())
	}
	rest, err := io.ReadAll(r)
	return append(b, rest...), err
}

func (c *client) answer(ctx context.Context, request Event) {
	if c.all.Acquire(ctx, 1) != nil {
		return
	}
	defer c.all.Release(1)
	c.log.Debug("Request", "event", request.Name, "peer", c.peer)
	response, err := c.handler.Handle(ctx, request, c.peer)
	if err != nil {
		c.send(ctx, failure(codeDeserialize, err.Error()))
		return
	}
	if response == nil {
		return
	}
	b, err := response.Message()
	if err != nil {
		c.log.Error("Cannot write an answer", "event", response.Name, "error", err)
		return
	}
	c.send(ctx, b)
}

func (c *client) send(ctx context.Context, b []byte) bool {
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	return c.ws.Write(ctx, websocket.MessageText, b) == nil
}

// ping ends the connection when nobody is there any more.
func (c *client) ping(ctx context.Context, end context.CancelFunc) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		within, cancel := context.WithTimeout(ctx, pongWithin)
		err := c.ws.Ping(within)
		cancel()
		if err != nil {
			end()
			return
		}
	}
}

// Listener is where a Server listens.
type Listener struct {
	net.Listener
	TLS   *tls.Config // nil: plain connections only
	Plain bool        // plain connections are served, too
}
