package admin

import (
	"context"
	"net/http"

	"github.com/zeekrec/zeekrec/actuators/broker"
	"github.com/zeekrec/zeekrec/actuators/socket"
)

// Client asks one broker. It may be used by several goroutines at once.
type Client struct{ socket *socket.Client }

// Dial makes a client for the broker with its socket at a path. It does not connect yet.
func Dial(path string) *Client { return &Client{socket.Dial(path, "the broker")} }

// Status asks what the broker knows; with peers, all its connections too.
func (c *Client) Status(ctx context.Context, peers bool) (broker.Status, error) {
	path := "/v1/status"
	if peers {
		path += "?peers=yes"
	}
	var st broker.Status
	err := c.socket.Do(ctx, http.MethodGet, path, nil, &st)
	return st, err
}

// Apply changes the settings, and the keys unless keys is nil.
func (c *Client) Apply(ctx context.Context, s broker.Settings, keys []Keys) error {
	ch := Change{Settings: s}
	if keys != nil {
		ch.Keys = &keys
	}
	return c.socket.Do(ctx, http.MethodPut, "/v1/settings", ch, nil)
}

// Dead says that a node's process has ended.
func (c *Client) Dead(ctx context.Context, name string, pid int) error {
	return c.socket.Do(ctx, http.MethodPost, "/v1/dead", Death{name, pid}, nil)
}

// Ask asks a node for a value.
func (c *Client) Ask(ctx context.Context, q Question) (Answer, error) {
	var a Answer
	err := c.socket.Do(ctx, http.MethodPost, "/v1/ask", q, &a)
	return a, err
}

// Ping asks nodes for a sign of life.
func (c *Client) Ping(ctx context.Context, p Ping) (Pinged, error) {
	var got Pinged
	err := c.socket.Do(ctx, http.MethodPost, "/v1/ping", p, &got)
	return got, err
}
