package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/zeekrec/zeekrec/actuators/broker"
)

// Client asks one broker. It may be used by several goroutines at once.
type Client struct {
	path string
	http http.Client
}

// replyLimit is how large an answer may be.
const replyLimit = 64 << 20

// Dial makes a client for the broker with its socket at a path. It does not connect yet.
func Dial(path string) *Client {
	return &Client{path: path, http: http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, // a broker that was replaced is another one
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var conn net.Conn
			err := within(path, func(short string) (err error) {
				var d net.Dialer
				conn, err = d.DialContext(ctx, "unix", short)
				return err
			})
			return conn, err
		},
	}}}
}

// Status asks what the broker knows; with peers, all its connections too.
func (c *Client) Status(ctx context.Context, peers bool) (broker.Status, error) {
	path := "/v1/status"
	if peers {
		path += "?peers=yes"
	}
	var st broker.Status
	err := c.do(ctx, http.MethodGet, path, nil, &st)
	return st, err
}

// Apply changes the settings, and the keys unless keys is nil.
func (c *Client) Apply(ctx context.Context, s broker.Settings, keys []Keys) error {
	ch := Change{Settings: s}
	if keys != nil {
		ch.Keys = &keys
	}
	return c.do(ctx, http.MethodPut, "/v1/settings", ch, nil)
}

// Dead says that a node's process has ended.
func (c *Client) Dead(ctx context.Context, name string, pid int) error {
	return c.do(ctx, http.MethodPost, "/v1/dead", Death{name, pid}, nil)
}

// Ask asks a node for a value.
func (c *Client) Ask(ctx context.Context, q Question) (Answer, error) {
	var a Answer
	err := c.do(ctx, http.MethodPost, "/v1/ask", q, &a)
	return a, err
}

// Ping asks nodes for a sign of life.
func (c *Client) Ping(ctx context.Context, p Ping) (Pinged, error) {
	var got Pinged
	err := c.do(ctx, http.MethodPost, "/v1/ping", p, &got)
	return got, err
}

func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://broker"+path, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("cannot reach the broker at %s: %w", c.path, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, replyLimit))
	if err != nil {
		return fmt.Errorf("cannot read the broker's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var p problem
		if json.Unmarshal(b, &p) == nil && p.Error != "" {
			return errors.New(p.Error)
		}
		return fmt.Errorf("the broker answered %s", resp.Status)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("cannot read the broker's answer: %w", err)
	}
	return nil
}
