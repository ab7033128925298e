package api

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Standby answers on l until ctx ends, and closes it: whatever is asked, the answer is why there is nobody to ask here.
func Standby(ctx context.Context, l net.Listener, why func(context.Context) string, log *slog.Logger) error {
	s := &http.Server{
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: requestTimeout, MaxHeaderBytes: 1 << 16,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fail(w, &Error{Text: why(r.Context()), Code: CodeRefused})
		}),
	}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	if err := s.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}
