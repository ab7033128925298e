package socket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// Client asks one process. It may be used by several goroutines at once.
type Client struct {
	path, whom string
	http       http.Client
}

// replyLimit is how large an answer may be.
const replyLimit = 64 << 20

// Dial makes a client for the process with its socket at a path; whom is what errors call it. It does not connect yet.
func Dial(path, whom string) *Client {
	return &Client{path: path, whom: whom, http: http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, // a process that was replaced is another one
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

// Do sends in, unless that is nil, and decodes the answer into out, unless that is nil. An answer that is an error is one
// here, in its words.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://socket"+path, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("cannot reach %s at %s: %w", c.whom, c.path, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, replyLimit))
	if err != nil {
		return fmt.Errorf("cannot read the answer of %s: %w", c.whom, err)
	}
	if resp.StatusCode != http.StatusOK {
		var p problem
		if json.Unmarshal(b, &p) == nil && p.Error != "" {
			return errors.New(p.Error)
		}
		return fmt.Errorf("%s answered %s", c.whom, resp.Status)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("cannot read the answer of %s: %w", c.whom, err)
	}
	return nil
}
