package fleet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/bus"
	"github.com/zeekrec/zeekrec/cmd/internal/ha"
	"github.com/zeekrec/zeekrec/cmd/internal/identity"
	"github.com/zeekrec/zeekrec/cmd/internal/local"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// Server is a NATS server, or a cluster of them, that there is already. Who may do what there is for its own accounts to say:
// bus.AgentSubjects and bus.ControllerSubjects have the subjects.
type Server struct {
	// URL, or several with commas in between.
	URL string
	// Creds is a file of credentials; "": none.
	Creds string
	// Files are certificates to show and to trust; the zero value: those of the machine are trusted.
	Files identity.Files
}

// options to connect with. To another machine nothing goes without TLS.
func (s Server) options() ([]nats.Option, error) {
	var o []nats.Option
	if s.Creds != "" {
		o = append(o, nats.UserCredentials(s.Creds))
	}
	if s.Files != (identity.Files{}) {
		t, err := s.Files.ClientTLS()
		if err != nil {
			return nil, err
		}
		return append(o, nats.Secure(t)), nil
	}
	if !loopback(s.URL) {
		o = append(o, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12}))
	}
	return o, nil
}

// RivalConfig of one of several controllers.
type RivalConfig struct {
	Server   Server
	Name     string
	Replicas int
	StateDir string
	Log      *slog.Logger
}

// Rival is one of several controllers that share a NATS cluster, of whom one leads.
type Rival struct {
	cfg   RivalConfig
	conn  *nats.Conn
	store *ha.Store
	lease *ha.Lease
}

// openWithin bounds the opening of what is shared.
const openWithin = time.Minute

// NewRival connects, and makes what is shared where it is missing. The caller closes it.
func NewRival(ctx context.Context, cfg RivalConfig) (_ *Rival, err error) {
	o, err := cfg.Server.options()
	if err != nil {
		return nil, err
	}
	log := cfg.Log.With("part", "fleet")
	r := &Rival{cfg: cfg}
	r.conn, err = nats.Connect(cfg.Server.URL, append(o, nats.Name("zeekrec "+cfg.Name), nats.Timeout(dialTimeout), nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(pingsOut), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.ReconnectJitter(reconnectMost, reconnectMost),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { log.Warn("NATS is not connected", "error", err) }),
		nats.ReconnectHandler(func(c *nats.Conn) { log.Info("NATS is connected again", "at", c.ConnectedUrlRedacted()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Warn("NATS", "error", err) }))...)
	if err != nil {
		return nil, fmt.Errorf("cannot reach NATS: %w", err)
	}
	defer func() {
		if err != nil {
			r.conn.Close()
		}
	}()
	floor, err := lastEpoch(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	if r.store, err = ha.New(r.conn, ha.Config{Replicas: cfg.Replicas}); err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeoutCause(ctx, openWithin, fmt.Errorf("not within %s", openWithin))
	defer cancel()
	if r.lease, err = r.store.Lease(within, ha.LeaseConfig{Name: cfg.Name, Floor: floor}); err != nil {
		return nil, err
	}
	return r, nil
}

// Close ends the connection.
func (r *Rival) Close() { r.conn.Close() }

// Leader says who leads, for people.
func (r *Rival) Leader(ctx context.Context) (name string, since time.Time, err error) {
	return r.lease.Leader(ctx)
}

// Lead is the time for which a controller leads.
type Lead struct {
	rival *Rival
	term  *ha.Term
	// Store is what is shared.
	Store *local.Store
	fleet *bus.Fleet
}

// Lead waits until this controller leads, and opens what is shared. It brings what the state folder has of the time when this controller was alone,
// where nothing is shared yet.
func (r *Rival) Lead(ctx context.Context) (_ *Lead, err error) {
	term, err := r.lease.Campaign(ctx)
	if err != nil {
		return nil, err
	}
	l := &Lead{rival: r, term: term}
	defer func() {
		if err != nil {
			l.Resign(ctx)
		}
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, openWithin, fmt.Errorf("not within %s", openWithin))
	defer cancel()
	log := r.cfg.Log.With("part", "fleet")
	switch err := r.store.Import(ctx, r.cfg.StateDir); {
	case errors.Is(err, fs.ErrNotExist):
	case err == nil:
		log.Info("What this controller had alone is shared", "state", r.cfg.StateDir)
	default:
		if _, ok := errors.AsType[*ha.NotEmpty](err); !ok {
			return nil, err
		}
	}
	j, state, err := r.store.Open(ctx, term.Epoch(), r.cfg.Name)
	if err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	ks, err := r.store.Keys(life)
	if err != nil {
		end()
		return nil, err
	}
	l.Store = &local.Store{
		Journal: j, State: state, Keys: ks,
		History: func(each func(engine.Record) error) error { return j.History(life, each) },
		Close:   func() error { end(); return nil },
	}
	log.Info("This controller leads", "epoch", term.Epoch())
	return l, nil
}

// Open is local.Config.Fleet.
func (l *Lead) Open(_ context.Context, ks local.Keys) (*local.Fleet, error) {
	log := l.rival.cfg.Log.With("part", "fleet")
	f, err := bus.NewFleet(l.rival.conn, bus.FleetConfig{Epoch: l.epoch, Keys: ks, Log: log})
	if err != nil {
		return nil, err
	}
	l.fleet = f
	return &local.Fleet{
		Agents: f,
		Nodes:  func(e *engine.Engine) api.Nodes { return bus.NewNodes(f, e) },
		Only:   l.only,
		Run: func(ctx context.Context) error {
			<-ctx.Done()
			return f.Close()
		},
	}, nil
}

// epoch is the term's, as long as it lasts.
func (l *Lead) epoch() (uint64, error) {
	if err := l.term.Err(); err != nil {
		return 0, err
	}
	return l.term.Epoch(), nil
}

// only is the one agent that was heard of.
func (l *Lead) only() (string, bool) {
	rs := l.fleet.Reports()
	if len(rs) != 1 {
		return "", false
	}
	return rs[0].Instance, true
}

// Done is closed when this controller does not lead any more. Nothing more is sent from then on.
func (l *Lead) Done() <-chan struct{} { return l.term.Done() }

// Err is why it does not lead any more.
func (l *Lead) Err() error { return l.term.Err() }

// resignWithin is how long it may take to say that somebody else may lead.
const resignWithin = 5 * time.Second

// Resign lets another one lead at once.
func (l *Lead) Resign(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), resignWithin, fmt.Errorf("not within %s", resignWithin))
	defer cancel()
	if err := l.term.Resign(ctx); err != nil {
		l.rival.cfg.Log.Warn("Others have to wait until the lease of this controller is over", "error", err)
	}
}

// loopback reports whether all of some URLs are of this machine.
func loopback(urls string) bool {
	for raw := range strings.SplitSeq(urls, ",") {
		raw = strings.TrimSpace(raw)
		if !strings.Contains(raw, "://") {
			raw = "nats://" + raw
		}
		u, err := url.Parse(raw)
		if err != nil {
			return false
		}
		ip := net.ParseIP(u.Hostname())
		if u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}
