package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/identity"
	"github.com/zeekrec/zeekrec/reconciler"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// Unreachable says that nothing answers at a socket, or a server.
type Unreachable struct {
	Socket string // empty where it is a server
	Server string // HOST:PORT
	Err    error
}

// Error names what was to be reached, and the cause.
func (u *Unreachable) Error() string {
	return fmt.Sprintf("cannot reach zeekrec at %s: %v", cmp.Or(u.Socket, u.Server), u.Err)
}

// Unwrap gives the cause.
func (u *Unreachable) Unwrap() error { return u.Err }

// Client asks a running zeekrec. Its errors are *Unreachable, *Error, or ctx's.
type Client struct {
	socket string // or
	server string // HOST:PORT
	scheme string
	token  func() (string, error) // nil: none is needed
	http   *http.Client
}

// NewClient makes a client of the socket; nothing is opened yet.
func NewClient(socket string) *Client {
	var d net.Dialer
	return &Client{socket: socket, scheme: "http", http: &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", socket) },
		DisableKeepAlives: true,
	}}}
}

// Bounds of connecting to another machine.
const (
	dialTimeout = 10 * time.Second
	idleTimeout = 30 * time.Second // less than the server's
)

// NewRemote makes a client of the zeekrec at HOST:PORT; nothing is opened yet. It trusts none but the one that the token is from, and shows
// the token only to that.
func NewRemote(server string, token identity.Token) *Client {
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		host = server // dialling will say what is wrong with it
	}
	d := net.Dialer{Timeout: dialTimeout}
	return &Client{
		server: server, scheme: "https", token: func() (string, error) { return token.Reveal(), nil },
		http: &http.Client{
			// Whoever sends a token elsewhere gives it away.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				DialContext: d.DialContext, TLSClientConfig: identity.APITLS(token.Fingerprint, host), TLSHandshakeTimeout: dialTimeout,
				MaxIdleConns: 1, IdleConnTimeout: idleTimeout,
			},
		},
	}
}

// Failing makes a client whose every request fails with an error: that of somebody who has not said all that is needed to ask.
func Failing(err error) *Client {
	return &Client{token: func() (string, error) { return "", err }}
}

// at is what it talks to.
func (c *Client) at() string { return cmp.Or(c.socket, c.server) }

// unreachable wraps why nothing answers.
func (c *Client) unreachable(err error) error {
	return &Unreachable{Socket: c.socket, Server: c.server, Err: err}
}

// request makes one.
func (c *Client) request(ctx context.Context, method, path string, q url.Values, body io.Reader) (*http.Request, error) {
	u := url.URL{Scheme: c.scheme, Host: cmp.Or(c.server, "zeekrec"), Path: "/v1/" + path, RawQuery: q.Encode()}
	var token string
	var err error
	if c.token != nil {
		if token, err = c.token(); err != nil {
			return nil, err
		}
	} else if err := CheckPath(c.socket); err != nil {
		return nil, c.unreachable(err)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("cannot make the request: %w", err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req, nil
}

// do sends a request and returns the answer's body, which the caller closes.
func (c *Client) do(ctx context.Context, method, path string, q url.Values, body any) (io.ReadCloser, error) {
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			return nil, fmt.Errorf("cannot make the request: %w", err)
		}
	}
	req, err := c.request(ctx, method, path, q, &b)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err
		}
		if oe, ok := errors.AsType[*net.OpError](err); ok {
			err = oe.Err
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			err = errors.New("nothing is listening there")
		}
		return nil, c.unreachable(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	e := &Error{}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(e); err != nil || e.Text == "" {
		e = &Error{Text: "zeekrec answers " + resp.Status, Code: CodeRefused}
	}
	switch e.Code {
	case CodeUnauthorized, CodeForbidden, CodeSlowDown, CodeUnavailable: // it is about the way there
		e.Text = "zeekrec at " + c.at() + " refuses: " + e.Text
	}
	return nil, e
}

func get[T any](ctx context.Context, c *Client, path string, q url.Values) (T, error) {
	return send[T](ctx, c, http.MethodGet, path, q, nil)
}

// send sends a request with a body and reads the answer.
func send[T any](ctx context.Context, c *Client, method, path string, q url.Values, body any) (T, error) {
	var v T
	ctx, cancel := context.WithTimeoutCause(ctx, requestTimeout, fmt.Errorf("zeekrec at %s does not answer within %s", c.at(), requestTimeout))
	defer cancel()
	answer, err := c.do(ctx, method, path, q, body)
	if err != nil {
		return v, err
	}
	defer answer.Close()
	if err := json.NewDecoder(answer).Decode(&v); err != nil {
		return v, fmt.Errorf("cannot understand the answer of zeekrec at %s: %w", c.at(), err)
	}
	return v, nil
}

// Status of everything.
func (c *Client) Status(ctx context.Context) (*engine.Status, error) {
	return get[*engine.Status](ctx, c, "status", nil)
}

// Plan is what is still to be done.
func (c *Client) Plan(ctx context.Context) (*reconciler.Plan, error) {
	return get[*reconciler.Plan](ctx, c, "plan", nil)
}

// World that plans are made against.
func (c *Client) World(ctx context.Context) (*engine.World, error) {
	w, err := get[*engine.World](ctx, c, "world", nil)
	if err == nil && w.State != nil {
		w.State.Init()
	}
	return w, err
}

// History has the n newest records of a cluster, oldest first; no cluster: of all, 0: as many as there are.
func (c *Client) History(ctx context.Context, cluster string, n int) ([]engine.Record, error) {
	return get[[]engine.Record](ctx, c, "history", url.Values{"cluster": {cluster}, "n": {strconv.Itoa(n)}})
}

// Agents of the fleet.
func (c *Client) Agents(ctx context.Context) ([]Agent, error) {
	return get[[]Agent](ctx, c, "agents", nil)
}

// Tokens of people on other machines.
func (c *Client) Tokens(ctx context.Context) ([]Token, error) {
	return get[[]Token](ctx, c, "tokens", nil)
}

// Top is what the nodes use.
func (c *Client) Top(ctx context.Context) ([]Usage, error) { return get[[]Usage](ctx, c, "top", nil) }

// Logs copies a node's outputs to w.
func (c *Client) Logs(ctx context.Context, node string, o LogOptions, w io.Writer) error {
	return c.stream(ctx, "logs", o.query(node), w)
}

// Diag copies a bundle to w.
func (c *Client) Diag(ctx context.Context, node string, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, bundleTimeout)
	defer cancel()
	return c.stream(ctx, "diag", url.Values{"node": {node}}, w)
}

func (c *Client) stream(ctx context.Context, path string, q url.Values, w io.Writer) error {
	body, err := c.do(ctx, http.MethodGet, path, q, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := io.Copy(w, body); err != nil && ctx.Err() == nil {
		return fmt.Errorf("cannot read from zeekrec at %s: %w", c.at(), err)
	}
	return nil
}

// Do sends a command: one of the POSTs of the package's documentation.
func (c *Client) Do(ctx context.Context, command string, r Request) (Result, error) {
	return send[Result](ctx, c, http.MethodPost, command, nil, r)
}
