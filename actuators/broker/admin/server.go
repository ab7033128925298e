package admin

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

	"github.com/zeekrec/zeekrec/actuators/broker"
	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
)

// bodyLimit is how large a request may be.
const bodyLimit = 1 << 20

// Handler serves a broker.
func Handler(b *broker.Broker) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		reply(w, b.Status(r.URL.Query().Get("peers") == "yes"))
	})
	mux.HandleFunc("PUT /v1/settings", func(w http.ResponseWriter, r *http.Request) {
		var c Change
		if !read(w, r, &c) {
			return
		}
		var ring broker.Keyring
		if c.Keys != nil {
			var err error
			if ring, err = Keyring(*c.Keys); err != nil {
				fail(w, http.StatusBadRequest, err)
				return
			}
		}
		if err := b.Apply(c.Settings); err != nil {
			fail(w, http.StatusBadRequest, err)
			return
		}
		if c.Keys != nil {
			b.SetKeys(ring)
		}
		reply(w, struct{}{})
	})
	mux.HandleFunc("POST /v1/dead", func(w http.ResponseWriter, r *http.Request) {
		var d Death
		if read(w, r, &d) {
			b.Dead(d.Name, d.PID)
			reply(w, struct{}{})
		}
	})
	mux.HandleFunc("POST /v1/ask", func(w http.ResponseWriter, r *http.Request) {
		var q Question
		if read(w, r, &q) {
			ask(w, r, b, q)
		}
	})
	mux.HandleFunc("POST /v1/ping", func(w http.ResponseWriter, r *http.Request) {
		var p Ping
		if read(w, r, &p) {
			ping(w, r, b, p)
		}
	})
	mux.Handle("GET /metrics", Metrics(b))
	return mux
}

// askTimeout is how long a node may take to answer; askLongest is how long somebody may want to wait.
const (
	askTimeout = 5 * time.Second
	askLongest = 5 * time.Minute
)

func ask(w http.ResponseWriter, r *http.Request, b *broker.Broker, q Question) {
	ctx, cancel, ok := patience(w, r, time.Duration(q.TimeoutSeconds)*time.Second)
	if !ok {
		return
	}
	defer cancel()
	a := Answer{Node: q.Node, ID: q.ID}
	var err error
	if q.What == "" {
		a.Value, err = b.Ask(ctx, q.Node, q.ID, q.Format)
	} else {
		var got zeekbus.Reply
		got, err = b.Question(ctx, zeekbus.Question{Node: q.Node, Kind: zeekbus.QuestionKind(q.What), Arg: q.ID}, q.Format)
		if got.OK {
			a.Value = got.Text
		} else {
			a.Refused = got.Text
		}
	}
	switch {
	case err == nil:
		reply(w, a)
	case errors.Is(err, context.DeadlineExceeded):
		fail(w, http.StatusGatewayTimeout, err)
	default:
		fail(w, http.StatusUnprocessableEntity, err)
	}
}

func ping(w http.ResponseWriter, r *http.Request, b *broker.Broker, p Ping) {
	ctx, cancel, ok := patience(w, r, time.Duration(p.TimeoutMillis)*time.Millisecond)
	if !ok {
		return
	}
	defer cancel()
	got, err := b.Ping(ctx, p.Nodes, "")
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, err)
		return
	}
	out := Pinged{Answered: make(map[string]float64, len(got.Answered)), Absent: got.Absent}
	for n, d := range got.Answered {
		out.Answered[n] = d.Seconds()
	}
	reply(w, out)
}

// patience is the time that nodes have to answer within; 0: askTimeout. false: the request has been answered.
func patience(w http.ResponseWriter, r *http.Request, d time.Duration) (context.Context, context.CancelFunc, bool) {
	if d <= 0 {
		d = askTimeout
	}
	// Reading the request is over, and its time would end the question with it.
	if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		fail(w, http.StatusInternalServerError, err)
		return nil, nil, false
	}
	ctx, cancel := context.WithTimeout(r.Context(), min(d, askLongest))
	return ctx, cancel, true
}

func read(w http.ResponseWriter, r *http.Request, v any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyLimit))
	if err := d.Decode(v); err != nil {
		fail(w, http.StatusBadRequest, fmt.Errorf("cannot read the request: %w", err))
		return false
	}
	return true
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, code int, err error) {
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
// broker before this one left is replaced. The path may be longer than the 107 bytes that an address holds.
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
