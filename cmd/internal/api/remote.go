package api

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/netutil"
)

// Bounds of what others can make a server do.
const (
	// maxConns is how many connections are open at a time; more wait.
	maxConns = 256
	// writeWithin is for taking an answer, beyond the time for making it.
	writeWithin = 30 * time.Second
)

// ServeTLS answers people on other machines, who come with a token of s.Tokens, until ctx ends. l is a plain listener. Who they are, for
// the history, is "NAME (token)". The management API is not served.
func (s *Server) ServeTLS(ctx context.Context, l net.Listener, config *tls.Config) error {
	config = config.Clone()
	config.NextProtos = []string{"http/1.1"}
	g := &gate{tokens: s.Tokens, log: s.Log, failures: newFailures(time.Now)}
	h := &http.Server{
		Handler: g.handler(s.routes(ctx), s.nothing),
		// Anybody can break a handshake, as often as he likes.
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	return s.serve(ctx, tls.NewListener(netutil.LimitListener(l, maxConns), config), h)
}

// gate lets requests in that come with a token.
type gate struct {
	tokens   Tokens
	log      *slog.Logger
	failures *failures
}

// handler of all requests that come with a token. One without learns nothing, not even what there is.
func (g *gate) handler(rs []route, nothing http.HandlerFunc) http.Handler {
	mux := http.NewServeMux()
	for _, r := range rs {
		if r.need != needHidden {
			mux.HandleFunc(r.method+" "+r.path, g.guarded(r))
		}
	}
	mux.HandleFunc("/", nothing)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := g.admit(r)
		if err != nil {
			if e, ok := errors.AsType[*Error](err); ok && e.Code == CodeUnauthorized {
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
			w.Header().Set("Connection", "close")
			fail(w, err)
			return
		}
		ctx, cancel := context.WithDeadline(r.Context(), caller.Expires)
		defer cancel()
		over := ctx.Done()
		go func() {
			select {
			case <-caller.Ended:
				cancel()
			case <-over:
			}
		}()
		ctx = context.WithValue(ctx, peerKey{}, caller.Name+" (token)")
		ctx = context.WithValue(ctx, callerKey{}, caller)
		mux.ServeHTTP(w, r.WithContext(ctx))
	})
}

type callerKey struct{}

// guarded serves a route to those whose role is enough.
func (g *gate) guarded(rt route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		caller, _ := r.Context().Value(callerKey{}).(Caller)
		if err := enough(rt, caller.Role); err != nil {
			g.log.Warn("A token's role is not enough", "token", caller.Name, "role", caller.Role, "from", r.RemoteAddr, "request", rt.method+" "+rt.path)
			fail(w, err)
			return
		}
		// Who takes nothing of an answer does not hold it for ever. Logs may be followed for as long as they like.
		if rt.path != "/v1/logs" {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(requestTimeout + writeWithin))
		}
		rt.serve(w, r)
	}
}

// enough says why a role is not enough for a route.
func enough(rt route, role Role) error {
	switch {
	case rt.need == needView && (role == RoleView || role == RoleOperate), rt.need == needOperate && role == RoleOperate:
		return nil
	case rt.need == needView, rt.need == needOperate:
		return &Error{Text: fmt.Sprintf("this needs a token of the role %s, and yours has the role %s", rt.need, role), Code: CodeForbidden}
	}
	return &Error{Text: "this needs somebody on the host of zeekrec itself; no role of a token is enough", Code: CodeForbidden}
}

// admit says who asks. Who fails too often is not even looked at for a while.
func (g *gate) admit(r *http.Request) (Caller, error) {
	from := source(r.RemoteAddr)
	if wait, first := g.failures.blocked(from); wait > 0 {
		if first {
			g.log.Warn("Too many tokens were refused; the address has to wait", "from", r.RemoteAddr, "wait", wait.Round(time.Second))
		}
		return Caller{}, &Error{Text: fmt.Sprintf("too many tokens were refused from your address; wait %s", max(time.Second, wait.Round(time.Second))), Code: CodeSlowDown}
	}
	token, ok := bearer(r.Header.Get("Authorization"))
	if !ok {
		return Caller{}, g.refuse(r, from, "", &Error{Text: "this needs a token: Authorization: Bearer TOKEN; tokens are made on the host of zeekrec (zeekrec tokens new)", Code: CodeUnauthorized})
	}
	caller, err := g.tokens.Check(token)
	if err == nil {
		return caller, nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return Caller{}, g.refuse(r, from, caller.Name, e)
	}
	// Paths are nobody's business out there. It is no failure of whoever asks, but is bounded all the same, for it is logged.
	_ = g.refuse(r, from, "", err)
	return Caller{}, &Error{Text: "nobody can be let in with a token now, because the tokens cannot be used; zeekrec's log says why, on its host", Code: CodeUnavailable}
}

// refuse notes a failure.
func (g *gate) refuse(r *http.Request, from netip.Prefix, name string, err error) error {
	g.failures.add(from)
	g.log.Warn("Somebody was refused", "from", r.RemoteAddr, "request", r.Method+" "+clip(r.URL.Path), "token", cmp.Or(name, "unknown"), "error", err)
	return err
}

// clip bounds what a stranger can put into the log with one request.
func clip(s string) string { return s[:min(len(s), 100)] }

// bearer is the token of an Authorization header.
func bearer(header string) (string, bool) {
	scheme, token, ok := strings.Cut(header, " ")
	token = strings.TrimSpace(token)
	return token, ok && strings.EqualFold(scheme, "Bearer") && token != ""
}

// source is what failures are counted by: an address, and of IPv6 the network of 64 bits, which one host has to itself.
func source(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{} // all those share one count
	}
	ip, bits := at.Addr().Unmap().WithZone(""), 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.Prefix(bits) // these lengths fit
	return p
}
