package mgmt

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/coder/websocket"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/desired"
)

// Endpoint is a controller to talk to: the local zeekrec, or any controller with a port.
type Endpoint struct {
	// Socket of the local zeekrec; then Cluster is the cluster that is meant, empty for its default.
	Socket, Cluster string
	// Address is HOST:PORT, with TLS where that is set.
	Address string
	TLS     *tls.Config
	// Attempts to connect, with pauses of Retry between; 0: one.
	Attempts int
	Retry    time.Duration
}

// String is the address.
func (e Endpoint) String() string {
	if e.Socket != "" {
		return e.Socket
	}
	return e.Address
}

// Client is a connection to a controller. Requests are made one after the other.
type Client struct {
	ws *websocket.Conn
	at Endpoint
}

// Dial connects and shakes hands. Where nobody listens it tries again, as the endpoint says. An error of the local socket is an
// *api.Unreachable.
func Dial(ctx context.Context, e Endpoint) (*Client, error) {
	for attempt := 1; ; attempt++ {
		c, err := dial(ctx, e)
		if err == nil || attempt >= e.Attempts || ctx.Err() != nil {
			return c, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(e.Retry):
		}
	}
}

// dialWithin bounds one attempt.
const dialWithin = 5 * time.Second

func dial(ctx context.Context, e Endpoint) (*Client, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dialWithin, fmt.Errorf("no answer from %s within %s", e, dialWithin))
	defer cancel()
	u := url.URL{Scheme: "ws", Host: e.Address, Path: Path}
	transport := &http.Transport{TLSClientConfig: e.TLS}
	if e.TLS != nil {
		u.Scheme = "wss"
	}
	if e.Socket != "" {
		u.Host = "zeekrec"
		if e.Cluster != "" {
			u.RawQuery = url.Values{"cluster": {e.Cluster}}.Encode()
		}
		var d net.Dialer
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", e.Socket) }
	}
	ws, resp, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		return nil, dialError(e, resp, err)
	}
	ws.SetReadLimit(2 * maxMessage)
	c := &Client{ws: ws, at: e}
	if err := c.shake(ctx); err != nil {
		_ = ws.CloseNow()
		return nil, err
	}
	return c, nil
}

func dialError(e Endpoint, resp *http.Response, err error) error {
	if resp != nil && resp.Body != nil {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
		if resp.StatusCode == http.StatusBadRequest && len(b) > 0 {
			return errors.New(string(b[:len(b)-1]))
		}
		return fmt.Errorf("cannot talk to the controller at %s: it answers %s", e, resp.Status)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	if e.Socket != "" {
		return &api.Unreachable{Socket: e.Socket, Err: errors.New("nothing is listening there")}
	}
	return fmt.Errorf("cannot reach the controller at %s: %w", e, err)
}

// shake sends the topic and waits for the acknowledgement.
func (c *Client) shake(ctx context.Context) error {
	hello, _ := json.Marshal([]string{Topic})
	if err := c.ws.Write(ctx, websocket.MessageText, hello); err != nil {
		return c.broken(ctx, err)
	}
	_, b, err := c.ws.Read(ctx)
	if err != nil {
		return c.broken(ctx, err)
	}
	var m ackMessage
	if err := json.Unmarshal(b, &m); err != nil || m.Type != "ack" {
		return fmt.Errorf("cannot talk to the controller at %s: it answers %.200s", c.at, b)
	}
	return nil
}

func (c *Client) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("cannot talk to the controller at %s: %w", c.at, err)
}

// Close ends the connection.
func (c *Client) Close() { _ = c.ws.Close(websocket.StatusNormalClosure, "") }

// Receive returns the next event. Messages of another kind are passed over; an event that cannot be understood is an error.
func (c *Client) Receive(ctx context.Context) (Event, error) {
	for {
		_, b, err := c.ws.Read(ctx)
		if err != nil {
			return Event{}, c.broken(ctx, err)
		}
		var m errorMessage
		if json.Unmarshal(b, &m) == nil && m.Type == "error" {
			if m.Code == codeDeserialize {
				return Event{}, fmt.Errorf("the controller does not understand: %s", m.Context)
			}
			continue
		}
		return ParseEvent(b)
	}
}

// ask makes a request and returns the argument of its answer.
func (c *Client) ask(ctx context.Context, name string, args ...Value) (Value, error) {
	id := NewID()
	b, err := Event{Name: apiPrefix + name + "_request", Args: append([]Value{String(id)}, args...)}.Message()
	if err != nil {
		return nil, err
	}
	if err := c.ws.Write(ctx, websocket.MessageText, b); err != nil {
		return nil, c.broken(ctx, err)
	}
	for {
		e, err := c.Receive(ctx)
		if err != nil {
			return nil, err
		}
		if e.Name == apiPrefix+name+"_response" && len(e.Args) == 2 && e.Args[0] == String(id) {
			return e.Args[1], nil
		}
	}
}

// NewID makes an identifier of requests and configurations.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Results of a request that has several.
func (c *Client) results(ctx context.Context, name string, args ...Value) ([]Result, error) {
	v, err := c.ask(ctx, name, args...)
	if err != nil {
		return nil, err
	}
	return resultsOf(v)
}

// one is the result of a request that has one.
func (c *Client) one(ctx context.Context, name string, args ...Value) (Result, error) {
	v, err := c.ask(ctx, name, args...)
	if err != nil {
		return Result{}, err
	}
	return resultOf(v)
}

// Refused is a failing result.
type Refused struct{ Text string }

// Error is the controller's text.
func (r *Refused) Error() string { return r.Text }

// Stage sends a configuration.
func (c *Client) Stage(ctx context.Context, config *Configuration) ([]Result, error) {
	return c.results(ctx, "stage_configuration", config.Value())
}

// Deploy has the staged configuration deployed.
func (c *Client) Deploy(ctx context.Context) ([]Result, error) { return c.results(ctx, "deploy") }

// Configuration returns the staged or the deployed one; a *Refused where there is none.
func (c *Client) Configuration(ctx context.Context, deployed bool) (*Configuration, error) {
	r, err := c.one(ctx, "get_configuration", Bool(deployed))
	switch {
	case err != nil:
		return nil, err
	case !r.Success:
		return nil, &Refused{r.Error}
	case r.Data == nil:
		return nil, errors.New("the answer has no configuration")
	}
	return configurationOf(r.Data)
}

// Instances returns those that are connected.
func (c *Client) Instances(ctx context.Context) ([]desired.Instance, error) {
	r, err := c.one(ctx, "get_instances")
	if err == nil && !r.Success {
		err = &Refused{r.Error}
	}
	list, ok := r.Data.(Vector)
	if err == nil && !ok {
		err = errors.New("the answer has no instances")
	}
	if err != nil {
		return nil, err
	}
	var out []desired.Instance
	for _, v := range list {
		i, err := instanceOf(v)
		if err != nil {
			return nil, err
		}
		out = append(out, i)
	}
	return out, nil
}

// InstanceNodes are the nodes of one instance, or why they are not known.
type InstanceNodes struct {
	Result
	Nodes []NodeStatus
}

// Nodes returns the nodes of all instances.
func (c *Client) Nodes(ctx context.Context) ([]InstanceNodes, error) {
	rs, err := c.results(ctx, "get_nodes")
	if err != nil {
		return nil, err
	}
	var out []InstanceNodes
	for _, r := range rs {
		in := InstanceNodes{Result: r}
		list, _ := r.Data.(Vector)
		for _, v := range list {
			s, err := nodeStatusOf(v)
			if err != nil {
				return nil, err
			}
			in.Nodes = append(in.Nodes, s)
		}
		out = append(out, in)
	}
	return out, nil
}

// Value asks nodes, or all where none is named, for the value of a global identifier of their scripts: a result for each, whose
// data is a String that holds JSON.
func (c *Client) Value(ctx context.Context, id string, nodes []string) ([]Result, error) {
	names := Set{}
	for _, n := range nodes {
		names = append(names, String(n))
	}
	return c.results(ctx, "get_id_value", String(id), names)
}

// OutputsOf takes the outputs out of the result of a node that did not start; ok is false where there are none.
func OutputsOf(r Result) (stdout, stderr string, ok bool) {
	f := &fields{what: "node's outputs", v: r.Data, least: 2}
	if r.Data == nil {
		return "", "", false
	}
	stdout, stderr = f.text(0), f.text(1)
	return stdout, stderr, f.err == nil
}
