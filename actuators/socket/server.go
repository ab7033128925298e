package socket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// bodyLimit is how large a request may be.
const bodyLimit = 1 << 20

// problem is the body of an answer that is none.
type problem struct {
	Error string `json:"error"`
}

// Read decodes the body of a request into v; false: it could not, and has answered.
func Read(w http.ResponseWriter, r *http.Request, v any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyLimit))
	if err := d.Decode(v); err != nil {
		Fail(w, http.StatusBadRequest, fmt.Errorf("cannot read the request: %w", err))
		return false
	}
	return true
}

// Reply answers with v.
func Reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// Fail answers with an error.
func Fail(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(problem{err.Error()})
}

// Serve answers on a listener until ctx ends.
func Serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(ln); err != nil && ctx.Err() == nil {
		return fmt.Errorf("cannot serve on %s: %w", ln.Addr(), err)
	}
	return nil
}

// Listen opens a Unix socket at a path, which only the owner of the process can connect to. A socket that a
// process before this one left is replaced. The path may be longer than the 107 bytes that an address holds.
func Listen(path string) (net.Listener, error) {
	var ln net.Listener
	err := within(path, func(short string) (err error) {
		if err := removeSocket(short); err != nil {
			return err
		}
		if ln, err = net.Listen("unix", short); err != nil {
			return err
		}
		ln.(*net.UnixListener).SetUnlinkOnClose(false) // its short name is good for now only
		return os.Chmod(short, 0o600)
	})
	if err != nil {
		if ln != nil {
			_ = ln.Close()
		}
		return nil, fmt.Errorf("cannot open the socket %s: %w", path, err)
	}
	return ln, nil
}

// removeSocket removes a socket, where there is one, and nothing else.
func removeSocket(path string) error {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.Mode().Type() != os.ModeSocket:
		return errors.New("there is something that is no socket")
	}
	return os.Remove(path)
}

// within has f work with a path that is short enough for a socket: through an open descriptor of its folder.
func within(path string, f func(short string) error) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return f(filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), filepath.Base(path)))
}
