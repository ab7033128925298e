package api

import (
	"bytes"
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

	"github.com/zeekrec/zeekrec/reconciler"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// Unreachable says that nothing answers at a socket.
type Unreachable struct {
	Socket string
	Err    error
}

// Error names the socket and the cause.
func (u *Unreachable) Error() string {
	return fmt.Sprintf("cannot reach zeekrec at %s: %v", u.Socket, u.Err)
}

// Unwrap gives the cause.
func (u *Unreachable) Unwrap() error { return u.Err }

// Client asks a running zeekrec. Its errors are *Unreachable, *Error, or ctx's.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient makes a client of the socket; nothing is opened yet.
func NewClient(socket string) *Client {
	var d net.Dialer
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", socket) },
		DisableKeepAlives: true,
	}}}
}

// do sends a request and returns the answer's body, which the caller closes.
func (c *Client) do(ctx context.Context, method, path string, q url.Values, body any) (io.ReadCloser, error) {
	if err := CheckPath(c.socket); err != nil {
		return nil, &Unreachable{c.socket, err}
	}
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			return nil, fmt.Errorf("cannot make the request: %w", err)
		}
	}
	u := url.URL{Scheme: "http", Host: "zeekrec", Path: "/v1/" + path, RawQuery: q.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), &b)
	if err != nil {
		return nil, fmt.Errorf("cannot make the request: %w", err)
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
		return nil, &Unreachable{c.socket, err}
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	e := &Error{}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(e); err != nil || e.Text == "" {
		e = &Error{Text: "zeekrec answers " + resp.Status, Code: CodeRefused}
	}
	return nil, e
}

func get[T any](ctx context.Context, c *Client, path string, q url.Values) (T, error) {
	return send[T](ctx, c, http.MethodGet, path, q, nil)
}

// send sends a request with a body and reads the answer.
func send[T any](ctx context.Context, c *Client, method, path string, q url.Values, body any) (T, error) {
	var v T
	ctx, cancel := context.WithTimeoutCause(ctx, requestTimeout, fmt.Errorf("zeekrec at %s does not answer within %s", c.socket, requestTimeout))
	defer cancel()
	answer, err := c.do(ctx, method, path, q, body)
	if err != nil {
		return v, err
	}
	defer answer.Close()
	if err := json.NewDecoder(answer).Decode(&v); err != nil {
		return v, fmt.Errorf("cannot understand the answer of zeekrec at %s: %w", c.socket, err)
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
		return fmt.Errorf("cannot read from zeekrec at %s: %w", c.socket, err)
	}
	return nil
}

// Do sends a command: one of the POSTs of the package's documentation.
func (c *Client) Do(ctx context.Context, command string, r Request) (Result, error) {
	return send[Result](ctx, c, http.MethodPost, command, nil, r)
}
