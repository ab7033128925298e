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
}

// ManagementPath is where the management API is, as in Zeek's WebSocket interface.
const ManagementPath = "/v1/messages/json"

// Serve answers on l until ctx ends; requests that are under way then get a moment.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := &http.Server{
		Handler:           s.handler(ctx),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    1 << 16,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peer(c))
		},
	}
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

// Peer is who asks in a request with this context, as the kernel has it; empty where it does not say.
func Peer(ctx context.Context) string {
	who, _ := ctx.Value(peerKey{}).(string)
	return who
}

// by is who asks.
func by(r *http.Request) string { return cmp.Or(Peer(r.Context()), "somebody") }

// handler of all requests. Followed logs end with ctx.
func (s *Server) handler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	get := func(path string, f func(*http.Request) (any, error)) {
		mux.HandleFunc("GET /v1/"+path, func(w http.ResponseWriter, r *http.Request) { answer(w, r, f) })
	}
	post := func(path string, f func(context.Context, Request, string) (Result, error)) {
		mux.HandleFunc("POST /v1/"+path, func(w http.ResponseWriter, r *http.Request) {
			answer(w, r, func(r *http.Request) (any, error) {
				var req Request
				if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&req); err != nil {
					return nil, &Error{Text: "cannot understand the request: " + err.Error(), Code: CodeBadRequest}
				}
				at := time.Now()
				res, err := f(r.Context(), req, by(r))
				res.At = at
				return res, err
			})
		})
	}
	get("status", func(r *http.Request) (any, error) { return s.status(r.Context()) })
	get("plan", func(r *http.Request) (any, error) { return s.Engine.Plan(r.Context()) })
	get("world", func(r *http.Request) (any, error) { return s.Engine.World(r.Context()) })
	get("history", s.history)
	get("agents", func(*http.Request) (any, error) {
		if s.Enrolment == nil {
			return nil, errNoFleet
		}
		return s.Enrolment.Agents(), nil
	})
	get("top", func(r *http.Request) (any, error) { return s.Nodes.Top(r.Context()) })
	// What may go on for ever ends with ctx.
	open := func(path string, f http.HandlerFunc) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			within, cancel := context.WithCancel(r.Context())
			defer cancel()
			defer context.AfterFunc(ctx, cancel)()
			f(w, r.WithContext(within))
		})
	}
	open("/v1/logs", s.logs)
	if s.Management != nil {
		open(ManagementPath, s.Management.ServeHTTP)
	}
	mux.HandleFunc("GET /v1/diag", s.diag)
	mux.HandleFunc("POST /v1/ask", func(w http.ResponseWriter, r *http.Request) { answer(w, r, s.ask) })
	s.commands(post)
	s.enrolment(post)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, &Error{Text: "there is no " + r.Method + " " + r.URL.Path + "; this zeekrec is version " + s.Version, Code: CodeNotFound})
	})
	return mux
}

// commands are the POSTs.
func (s *Server) commands(post func(string, func(context.Context, Request, string) (Result, error))) {
	e := s.Engine
	post("sync", func(ctx context.Context, _ Request, _ string) (Result, error) { return Result{}, e.Sync(ctx) })
	post("confirm", func(ctx context.Context, r Request, by string) (Result, error) {
		return Result{}, e.Confirm(ctx, r.Cluster, r.Revision, by)
	})
	post("admit", func(ctx context.Context, r Request, by string) (Result, error) {
		return Result{}, e.Admit(ctx, r.Commit, by)
	})
	post("suspend", func(ctx context.Context, r Request, by string) (Result, error) {
		return Result{}, e.Suspend(ctx, r.Scope, r.Reason, by, r.Until)
	})
	post("resume", func(ctx context.Context, r Request, by string) (Result, error) {
		return Result{}, e.Resume(ctx, r.Scope, by)
	})
	post("stop", func(ctx context.Context, r Request, by string) (Result, error) {
		return Result{}, e.Hold(ctx, r.Scopes, r.Reason, by, r.Until)
	})
	post("start", func(ctx context.Context, r Request, by string) (Result, error) {
		return Result{}, e.Release(ctx, r.Scopes, by)
	})
	post("restart", func(ctx context.Context, r Request, by string) (Result, error) {
		resources, err := e.Restart(ctx, r.Scopes, r.Outdated, r.Reason, by)
		return Result{Resources: resources}, err
	})
	post("rollback", func(ctx context.Context, r Request, by string) (Result, error) {
		return Result{}, e.Rollback(ctx, r.Cluster, r.Revision, r.Reason, by)
	})
	post("unpin", func(ctx context.Context, r Request, by string) (Result, error) {
		return Result{}, e.Unpin(ctx, r.Cluster, by)
	})
	post("retry", func(ctx context.Context, r Request, by string) (Result, error) {
		return Result{}, e.Retry(ctx, r.Cluster, by)
	})
	post("rotate-keys", func(ctx context.Context, r Request, by string) (Result, error) {
		id, err := e.RotateKeys(ctx, r.Cluster, r.Reason, by, r.Force)
		return Result{Keys: id}, err
	})
}

// errNoFleet is the answer to questions about a fleet where there is none.
var errNoFleet = &Error{Text: "this is controller and agent in one process (zeekrec run), which no agent joins; a fleet has a zeekrec controller", Code: CodeRefused}

// enrolment are the commands about agents.
func (s *Server) enrolment(post func(string, func(context.Context, Request, string) (Result, error))) {
	of := func(f func(Enrolment, Request, string) (Result, error)) func(context.Context, Request, string) (Result, error) {
		return func(_ context.Context, r Request, by string) (Result, error) {
			if s.Enrolment == nil {
				return Result{}, errNoFleet
			}
			return f(s.Enrolment, r, by)
		}
	}
	post("agent-token", of(func(e Enrolment, r Request, by string) (Result, error) {
		token, err := e.Token(r.Agent, r.Valid, by)
		return Result{Token: token}, err
	}))
	post("approve", of(func(e Enrolment, r Request, by string) (Result, error) { return Result{}, e.Approve(r.Agent, by) }))
	post("revoke", of(func(e Enrolment, r Request, by string) (Result, error) { return Result{}, e.Revoke(r.Agent, by) }))
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
	}[e.Code])
	_ = json.NewEncoder(w).Encode(e)
}
