package admin

import (
	"context"
	"net/http"

	"github.com/zeekrec/zeekrec/actuators/archive"
	"github.com/zeekrec/zeekrec/actuators/socket"
)

// Handler serves an archiver.
func Handler(a *archive.Archiver) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { socket.Reply(w, a.Status()) })
	mux.HandleFunc("PUT /v1/settings", func(w http.ResponseWriter, r *http.Request) {
		var s archive.Settings
		if !socket.Read(w, r, &s) {
			return
		}
		if err := a.Apply(s); err != nil {
			socket.Fail(w, http.StatusBadRequest, err)
			return
		}
		socket.Reply(w, struct{}{})
	})
	mux.Handle("GET /metrics", Metrics(a))
	return mux
}

// Client asks one archiver. It may be used by several goroutines at once.
type Client struct{ socket *socket.Client }

// Dial makes a client for the archiver with its socket at a path. It does not connect yet.
func Dial(path string) *Client { return &Client{socket.Dial(path, "the archiver")} }

// Status asks what the archiver does and sees.
func (c *Client) Status(ctx context.Context) (archive.Status, error) {
	var st archive.Status
	err := c.socket.Do(ctx, http.MethodGet, "/v1/status", nil, &st)
	return st, err
}

// Apply changes the settings.
func (c *Client) Apply(ctx context.Context, s archive.Settings) error {
	return c.socket.Do(ctx, http.MethodPut, "/v1/settings", s, nil)
}
