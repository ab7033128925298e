package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// need says who may use a route. The zero value is nobody with a token: what was not decided is not open.
type need string

const (
	needView    need = need(RoleView)
	needOperate need = need(RoleOperate)
	// needSocket is for who comes by the socket alone, whatever role a token has.
	needSocket need = "socket"
	// needHidden is not served to who comes with a token: to them there is no such thing.
	needHidden need = "hidden"
)

// route is one of the API.
type route struct {
	method, path string
	need         need
	serve        http.HandlerFunc
}

// post is what a POST does, for whoever by is.
type post func(ctx context.Context, r Request, by string) (Result, error)

// routes are all there are, in one list. What may go on for ever ends with ctx.
func (s *Server) routes(ctx context.Context) []route {
	get := func(path string, n need, f func(*http.Request) (any, error)) route {
		return route{http.MethodGet, "/v1/" + path, n, func(w http.ResponseWriter, r *http.Request) { answer(w, r, f) }}
	}
	rs := []route{
		get("status", needView, func(r *http.Request) (any, error) { return s.status(r.Context()) }),
		get("plan", needView, func(r *http.Request) (any, error) { return s.Engine.Plan(r.Context()) }),
		get("world", needView, func(r *http.Request) (any, error) { return s.Engine.World(r.Context()) }),
		get("history", needView, s.history),
		get("agents", needView, func(*http.Request) (any, error) {
			if s.Enrolment == nil {
				return nil, errNoFleet
			}
			return s.Enrolment.Agents(), nil
		}),
		get("top", needView, func(r *http.Request) (any, error) { return s.Nodes.Top(r.Context()) }),
		get("tokens", needSocket, func(*http.Request) (any, error) {
			if s.Tokens == nil {
				return nil, errNoTokens
			}
			return s.Tokens.List()
		}),
		{http.MethodGet, "/v1/logs", needView, endsWith(ctx, s.logs)},
		// A bundle has the environments' names, core dumps and whatever else a node has left.
		{http.MethodGet, "/v1/diag", needOperate, s.diag},
		// It asks, and changes nothing.
		{http.MethodPost, "/v1/ask", needView, func(w http.ResponseWriter, r *http.Request) { answer(w, r, s.ask) }},
	}
	if s.Management != nil {
		rs = append(rs, route{http.MethodGet, ManagementPath, needHidden, endsWith(ctx, s.Management.ServeHTTP)})
	}
	return append(rs, s.posts()...)
}

// endsWith ends f's requests with ctx.
func endsWith(ctx context.Context, f http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		within, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		f(w, r.WithContext(within))
	}
}

// posts are the commands.
func (s *Server) posts() []route {
	e := s.Engine
	// Those that are answered by nothing but an error.
	plain := func(f func(ctx context.Context, r Request, by string) error) post {
		return func(ctx context.Context, r Request, by string) (Result, error) { return Result{}, f(ctx, r, by) }
	}
	var rs []route
	add := func(path string, n need, f post) {
		rs = append(rs, route{http.MethodPost, "/v1/" + path, n, f.serve})
	}
	add("sync", needOperate, plain(func(ctx context.Context, _ Request, _ string) error { return e.Sync(ctx) }))
	add("confirm", needOperate, plain(func(ctx context.Context, r Request, by string) error {
		return e.Confirm(ctx, r.Cluster, r.Revision, by)
	}))
	add("admit", needOperate, plain(func(ctx context.Context, r Request, by string) error { return e.Admit(ctx, r.Commit, by) }))
	add("suspend", needOperate, plain(func(ctx context.Context, r Request, by string) error {
		return e.Suspend(ctx, r.Scope, r.Reason, by, r.Until)
	}))
	add("resume", needOperate, plain(func(ctx context.Context, r Request, by string) error { return e.Resume(ctx, r.Scope, by) }))
	add("stop", needOperate, plain(func(ctx context.Context, r Request, by string) error {
		return e.Hold(ctx, r.Scopes, r.Reason, by, r.Until)
	}))
	add("start", needOperate, plain(func(ctx context.Context, r Request, by string) error { return e.Release(ctx, r.Scopes, by) }))
	add("restart", needOperate, func(ctx context.Context, r Request, by string) (Result, error) {
		resources, err := e.Restart(ctx, r.Scopes, r.Outdated, r.Reason, by)
		return Result{Resources: resources}, err
	})
	add("rollback", needOperate, plain(func(ctx context.Context, r Request, by string) error {
		return e.Rollback(ctx, r.Cluster, r.Revision, r.Reason, by)
	}))
	add("unpin", needOperate, plain(func(ctx context.Context, r Request, by string) error { return e.Unpin(ctx, r.Cluster, by) }))
	add("retry", needOperate, plain(func(ctx context.Context, r Request, by string) error { return e.Retry(ctx, r.Cluster, by) }))
	add("rotate-keys", needOperate, func(ctx context.Context, r Request, by string) (Result, error) {
		id, err := e.RotateKeys(ctx, r.Cluster, r.Reason, by, r.Force)
		return Result{Keys: id}, err
	})
	// What it makes outlives the token that asked for it, as with new-token.
	add("agent-token", needSocket, s.enrolling(func(f Enrolment, r Request, by string) (Result, error) {
		token, err := f.Token(r.Agent, r.Valid, by)
		return Result{Token: token}, err
	}))
	add("forget", needOperate, s.enrolling(func(f Enrolment, r Request, by string) (Result, error) { return Result{}, f.Forget(r.Agent, by) }))
	add("approve", needOperate, s.enrolling(func(f Enrolment, r Request, by string) (Result, error) { return Result{}, f.Approve(r.Agent, by) }))
	add("revoke", needOperate, s.enrolling(func(f Enrolment, r Request, by string) (Result, error) { return Result{}, f.Revoke(r.Agent, by) }))
	add("new-token", needSocket, func(_ context.Context, r Request, by string) (Result, error) {
		if s.Tokens == nil {
			return Result{}, errNoTokens
		}
		token, err := s.Tokens.New(r.Name, r.Role, r.Valid, by)
		if err == nil {
			s.Log.Info("A token was made for the API", "token", r.Name, "role", r.Role, "valid", r.Valid, "by", by)
		}
		return Result{Token: token}, err
	})
	add("revoke-token", needSocket, func(_ context.Context, r Request, by string) (Result, error) {
		if s.Tokens == nil {
			return Result{}, errNoTokens
		}
		err := s.Tokens.Revoke(r.Name)
		if err == nil {
			s.Log.Info("A token for the API was revoked", "token", r.Name, "by", by)
		}
		return Result{}, err
	})
	return rs
}

// serve reads the body, and answers with the time at which that was done.
func (f post) serve(w http.ResponseWriter, r *http.Request) {
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
}

// errNoFleet is the answer to questions about a fleet where there is none.
var errNoFleet = &Error{Text: "this is controller and agent in one process (zeekrec run), which no agent joins; a fleet has a zeekrec controller", Code: CodeRefused}

// errNoTokens is the answer where nobody can come with one.
var errNoTokens = &Error{Text: "this zeekrec serves nobody on other machines", Code: CodeRefused}

// enrolling is a command about agents.
func (s *Server) enrolling(f func(Enrolment, Request, string) (Result, error)) post {
	return func(_ context.Context, r Request, by string) (Result, error) {
		if s.Enrolment == nil {
			return Result{}, errNoFleet
		}
		return f(s.Enrolment, r, by)
	}
}
