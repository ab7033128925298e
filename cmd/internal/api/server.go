package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// Bounds of requests.
const (
	maxBody        = 1 << 20
	requestTimeout = 30 * time.Second
	bundleTimeout  = 5 * time.Minute
)

// Server answers the commands.
type Server struct {
	Engine Engine
	Nodes  Nodes
	// History calls each with every record of the journal, oldest first.
	History func(each func(engine.Record) error) error
	Version string
	Log     *slog.Logger
	// Enrolment, where this is the controller of a fleet.
	Enrolment Enrolment
	// Management, where there is one, answers at ManagementPath, which is a WebSocket.
	Management http.Handler
	// Tokens, where people on other machines may be given any. What is below is made through the socket alone.
	Tokens Tokens
}

// ManagementPath is where the management API is, as in Zeek's WebSocket interface.
const ManagementPath = "/v1/messages/json"

// Serve answers those who come by the socket, until ctx ends; requests that are under way then get a moment.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return s.serve(ctx, l, &http.Server{
		Handler: s.handler(ctx),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peer(c))
		},
	})
}

// serve gives a server its bounds, and ends it with ctx.
func (s *Server) serve(ctx context.Context, l net.Listener, h *http.Server) error {
	h.ReadHeaderTimeout = 5 * time.Second
	h.ReadTimeout = 30 * time.Second
	h.IdleTimeout = time.Minute
	h.MaxHeaderBytes = 1 << 16
	if h.ErrorLog == nil {
		h.ErrorLog = slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn)
	}
	h.BaseContext = func(net.Listener) context.Context { return context.WithoutCancel(ctx) }
	served := make(chan error, 1)
	go func() { served <- h.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := h.Shutdown(wait); err != nil {
		return h.Close()
	}
	return nil
}

type peerKey struct{}

// Peer is who asks in a request with this context: as the kernel has it, or as the token is called; empty where neither says.
func Peer(ctx context.Context) string {
	who, _ := ctx.Value(peerKey{}).(string)
	return who
}

// by is who asks.
func by(r *http.Request) string { return cmp.Or(Peer(r.Context()), "somebody") }

// handler of all requests that come by the socket. Followed logs end with ctx.
func (s *Server) handler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.routes(ctx) {
		mux.HandleFunc(r.method+" "+r.path, r.serve)
	}
	mux.HandleFunc("/", s.nothing)
	return mux
}

// nothing answers what there is not.
func (s *Server) nothing(w http.ResponseWriter, r *http.Request) {
	fail(w, &Error{Text: "there is no " + r.Method + " " + r.URL.Path + "; this zeekrec is version " + s.Version, Code: CodeNotFound})
}

func (s *Server) status(ctx context.Context) (*engine.Status, error) {
	st, err := s.Engine.Status(ctx)
	if err == nil {
		st.Version = s.Version
	}
	return st, err
}

// answer runs f with a deadline and writes what it returns.
func answer(w http.ResponseWriter, r *http.Request, f func(*http.Request) (any, error)) {
	ctx, cancel := context.WithTimeoutCause(r.Context(), requestTimeout, &Error{Text: "no answer within " + requestTimeout.String(), Code: CodeEnding})
	defer cancel()
	v, err := f(r.WithContext(ctx))
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the other end is gone: nothing is left to be told
}

// fail writes an error.
func fail(w http.ResponseWriter, err error) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = &Error{Text: err.Error(), Code: CodeRefused}
		if _, ok := errors.AsType[*engine.NotFound](err); ok {
			e.Code = CodeNotFound
		}
		if errors.Is(err, engine.ErrStopped) || errors.Is(err, context.Canceled) {
			e.Code = CodeEnding
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(map[string]int{
		CodeBadRequest: http.StatusBadRequest, CodeNotFound: http.StatusNotFound,
		CodeRefused: http.StatusConflict, CodeEnding: http.StatusServiceUnavailable,
		CodeUnauthorized: http.StatusUnauthorized, CodeForbidden: http.StatusForbidden,
		CodeSlowDown: http.StatusTooManyRequests, CodeUnavailable: http.StatusServiceUnavailable,
	}[e.Code])
	_ = json.NewEncoder(w).Encode(e)
}
