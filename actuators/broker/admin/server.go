package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker"
	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
	"github.com/zeekrec/zeekrec/actuators/socket"
)

// Handler serves a broker.
func Handler(b *broker.Broker) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		socket.Reply(w, b.Status(r.URL.Query().Get("peers") == "yes"))
	})
	mux.HandleFunc("PUT /v1/settings", func(w http.ResponseWriter, r *http.Request) {
		var c Change
		if !socket.Read(w, r, &c) {
			return
		}
		var ring broker.Keyring
		if c.Keys != nil {
			var err error
			if ring, err = Keyring(*c.Keys); err != nil {
				socket.Fail(w, http.StatusBadRequest, err)
				return
			}
		}
		if err := b.Apply(c.Settings); err != nil {
			socket.Fail(w, http.StatusBadRequest, err)
			return
		}
		if c.Keys != nil {
			b.SetKeys(ring)
		}
		socket.Reply(w, struct{}{})
	})
	mux.HandleFunc("POST /v1/dead", func(w http.ResponseWriter, r *http.Request) {
		var d Death
		if socket.Read(w, r, &d) {
			b.Dead(d.Name, d.PID)
			socket.Reply(w, struct{}{})
		}
	})
	mux.HandleFunc("POST /v1/ask", func(w http.ResponseWriter, r *http.Request) {
		var q Question
		if socket.Read(w, r, &q) {
			ask(w, r, b, q)
		}
	})
	mux.HandleFunc("POST /v1/ping", func(w http.ResponseWriter, r *http.Request) {
		var p Ping
		if socket.Read(w, r, &p) {
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
		socket.Reply(w, a)
	case errors.Is(err, context.DeadlineExceeded):
		socket.Fail(w, http.StatusGatewayTimeout, err)
	default:
		socket.Fail(w, http.StatusUnprocessableEntity, err)
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
		socket.Fail(w, http.StatusUnprocessableEntity, err)
		return
	}
	out := Pinged{Answered: make(map[string]float64, len(got.Answered)), Absent: got.Absent}
	for n, d := range got.Answered {
		out.Answered[n] = d.Seconds()
	}
	socket.Reply(w, out)
}

// patience is the time that nodes have to answer within; 0: askTimeout. false: the request has been answered.
func patience(w http.ResponseWriter, r *http.Request, d time.Duration) (context.Context, context.CancelFunc, bool) {
	if d <= 0 {
		d = askTimeout
	}
	// Reading the request is over, and its time would end the question with it.
	if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		socket.Fail(w, http.StatusInternalServerError, err)
		return nil, nil, false
	}
	ctx, cancel := context.WithTimeout(r.Context(), min(d, askLongest))
	return ctx, cancel, true
}
