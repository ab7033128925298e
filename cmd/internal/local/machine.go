package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/oklog/run"

	"github.com/zeekrec/zeekrec/actuators/keys"
	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/clustercfg"
	"github.com/zeekrec/zeekrec/desired/source"
	"github.com/zeekrec/zeekrec/desired/source/git"
	"github.com/zeekrec/zeekrec/reconciler/engine"
	"github.com/zeekrec/zeekrec/reconciler/engine/journal"
)

// Config of a machine.
type Config struct {
	StateDir string
	// Source is the path of a folder or a .cfg file, or the URL of a Git repository, in the form of git.URL.String.
	Source string
	// Git says how to reach a repository; its Dir and Base are the machine's own.
	Git git.Options
	// Instance is the agent's name.
	Instance string
	// Zeek to run where a cluster names none; empty: that on PATH.
	Zeek string
	// User is whom processes become of clusters that name nobody; empty: who zeekrec is.
	User string
	// ArchiveDir is where logs are archived of clusters that name no folder; empty: in the state folder.
	ArchiveDir string
	// Backend is what keeps processes together, one of Backends; empty: BackendAuto.
	Backend string
	// Output is where what nodes write goes, one of Outputs; empty: OutputAuto.
	Output string
	// AnyZeek: do without one where there is none, since nothing is to be started.
	AnyZeek bool
	// Confirm that the state folder may be bound to another source than before.
	Confirm bool
	// By is who asks, for the journal.
	By string
	// Launcher is the command that ends in process.ExecNode.
	Launcher []string
	// Fleet makes the way to the agents of other hosts, once the state folder is held; nil: there is one agent, in this process.
	Fleet func(ctx context.Context, ks Keys) (*Fleet, error)
	// Shared is what the controllers of a fleet share, in place of the state folder's journal and keys; nil: those.
	Shared *Store
	// News are told of what is journaled; nil: nobody is.
	News    News
	Version string
	// Now is the clock of the agent; nil: time.Now.
	Now func() time.Time
	Log *slog.Logger
}

// Keys of clusters, as the engine and a fleet need them.
type Keys interface {
	engine.Keys
	List(cluster string) ([]keys.Pair, error)
	Get(cluster, id string) (keys.Pair, error)
}

// Store is where a controller keeps what it alone knows.
type Store struct {
	Journal engine.Journal
	// State is what the journal adds up to.
	State *engine.State
	Keys  Keys
	// History calls each with every record that is kept, oldest first.
	History func(each func(engine.Record) error) error
	// Close gives it back.
	Close func() error
}

// openStore takes the state folder. What is shared has been opened already; the folder is this process's alone then, too.
func openStore(cfg Config) (*Store, error) {
	if cfg.Shared == nil {
		j, state, err := journal.Open(cfg.StateDir)
		if err != nil {
			return nil, err
		}
		return &Store{
			Journal: j, State: state, Keys: keys.Open(cfg.StateDir), Close: j.Close,
			History: func(each func(engine.Record) error) error { return journal.History(cfg.StateDir, each) },
		}, nil
	}
	if err := os.MkdirAll(cfg.StateDir, 0o711); err != nil {
		return nil, fmt.Errorf("cannot make the state folder: %w", err)
	}
	lock, err := journal.Lock(filepath.Join(cfg.StateDir, "lock"))
	if err != nil {
		return nil, err
	}
	s := *cfg.Shared
	s.Close = func() error { return errors.Join(cfg.Shared.Close(), lock.Close()) }
	return &s, nil
}

// Fleet is the way to the agents of other hosts.
type Fleet struct {
	Agents engine.Agents
	// Nodes of the hosts, which the engine finds.
	Nodes func(*engine.Engine) api.Nodes
	// Only is the instance that a file without instances means; false where there is not exactly one.
	Only func() (instance string, ok bool)
	// Seen is called with each cluster that was read, from any goroutine; nil: nobody is.
	Seen func(*desired.Cluster)
	// Run serves until ctx ends.
	Run func(ctx context.Context) error
}

// News take what is in the journal. Begin is called once, before the first Take, with the number of the newest record; Take then gets every
// record after it is on disk, in their order, and must not block.
type News interface {
	Begin(last int64, history func(each func(engine.Record) error) error) error
	Take(rs ...*engine.Record)
}

// telling is a journal that News are told of.
type telling struct {
	engine.Journal
	news News
}

// Append tells of what was written.
func (t telling) Append(ctx context.Context, rs ...*engine.Record) error {
	err := t.Journal.Append(ctx, rs...)
	if err == nil {
		t.news.Take(rs...)
	}
	return err
}

// Machine is controller and agent of one host, or the controller of a fleet.
type Machine struct {
	Engine *engine.Engine
	Nodes  api.Nodes
	// History calls each with every record of the journal that is kept, oldest first.
	History func(each func(engine.Record) error) error
	// Zeek is the path of the default Zeek; empty where every cluster names its own.
	Zeek string

	agents func(ctx context.Context) error // the agent, or what reaches those of other hosts
	alive  func(ctx context.Context) error // the agent; nil: it is elsewhere
	lock   *os.File                        // of the agent
	source follower
	seen   chan engine.Observation
	store  *Store
	log    *slog.Logger
}

// follower is a source that is followed: a folder, or a repository.
type follower interface {
	Run(ctx context.Context) error
	Updates() <-chan source.Update
	Sync()
}

// Bound says that the state folder belongs to another source.
type Bound struct{ StateDir, Was, Now string }

// Error names both.
func (b *Bound) Error() string {
	return fmt.Sprintf("cannot use the state folder %s for the source %s: it belongs to %s", b.StateDir, b.Now, b.Was)
}

// Open takes the state folder and makes the parts; nothing runs yet. Errors to tell apart:
// journal.ErrLocked, *Bound, *NoZeek.
func Open(ctx context.Context, cfg Config) (_ *Machine, err error) {
	if cfg.StateDir, err = filepath.Abs(cfg.StateDir); err != nil {
		return nil, fmt.Errorf("cannot tell where the state folder is: %w", err)
	}
	zeek := ""
	if cfg.Fleet == nil {
		if zeek, err = findZeek(ctx, cfg); err != nil {
			return nil, err
		}
	}
	st, err := openStore(cfg)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.Close())
		}
	}()
	state := st.State
	if err := bind(ctx, st.Journal, state, cfg); err != nil {
		return nil, err
	}
	records := st.Journal
	if cfg.News != nil {
		if err := cfg.News.Begin(state.Seq, st.History); err != nil {
			return nil, err
		}
		records = telling{records, cfg.News}
	}
	m := &Machine{Zeek: zeek, store: st, History: st.History, log: cfg.Log, seen: make(chan engine.Observation)}
	parse, agents := clustercfg.Parse, engine.Agents(nil)
	if cfg.Fleet == nil {
		var a *AgentHost
		if a, err = openAgent(ctx, cfg, zeek, keyring{st.Keys}); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, a.Close())
			}
		}()
		agents, m.agents, m.lock = &localAgents{agent: a.Agent, instance: cfg.Instance}, a.Agent.Run, a.lock
		m.Nodes, m.alive = a.Nodes, a.Agent.Alive
	}
	var taken atomic.Value // the commit that counts, a string
	taken.Store("")
	if state.Commit != nil {
		taken.Store(state.Commit.ID)
	}
	src, err := follow(cfg, func() string { return taken.Load().(string) })
	if err != nil {
		return nil, err
	}
	m.source = src
	var fleet *Fleet
	if cfg.Fleet != nil {
		if fleet, err = cfg.Fleet(ctx, st.Keys); err != nil {
			return nil, err
		}
		agents, m.agents, parse = fleet.Agents, fleet.Run, parseFor(fleet)
	}
	m.Engine = engine.New(engine.Config{
		Source: cfg.Source, Observations: m.seen, Look: src.Sync, Took: func(c string) { taken.Store(c) }, Agents: agents,
		Journal: records, Keys: st.Keys, State: state, Parse: parse, Validate: clustercfg.ValidateAll, Instance: cfg.Instance, Log: cfg.Log,
		HoldsOnly: cfg.AnyZeek,
	})
	if fleet != nil {
		m.Nodes = fleet.Nodes(m.Engine)
	}
	return m, nil
}

// follow makes the source.
func follow(cfg Config, base func() string) (follower, error) {
	log := cfg.Log.With("part", "source")
	if !git.IsURL(cfg.Source) {
		return source.NewFolder(cfg.Source, source.Options{Log: log}), nil
	}
	u, err := git.Parse(cfg.Source)
	if err != nil {
		return nil, err
	}
	o := cfg.Git
	o.Dir, o.Base, o.Log = filepath.Join(cfg.StateDir, "git"), base, log
	return git.New(u, o)
}

// bind makes sure that the state folder is this source's. Nodes of another source are no longer known
// afterwards: they are shown as orphaned, and never stopped.
func bind(ctx context.Context, j engine.Journal, state *engine.State, cfg Config) error {
	if state.Source == "" || state.Source == cfg.Source {
		return nil
	}
	if !cfg.Confirm {
		return &Bound{StateDir: cfg.StateDir, Was: state.Source, Now: cfg.Source}
	}
	r := &engine.Record{At: time.Now(), Kind: engine.KindBound, Source: cfg.Source, By: cfg.By}
	if err := j.Append(ctx, r); err != nil {
		return err
	}
	state.Apply(*r)
	return nil
}

// endWithin is how long a part may take to end.
const endWithin = 10 * time.Second

// Run runs the parts until ctx ends or one of them fails, and ends them in order: what asks first, what
// acts last.
func (m *Machine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var g run.Group
	add := func(what string, f func(context.Context) error) {
		part, stop := context.WithCancelCause(context.WithoutCancel(ctx))
		ended := make(chan struct{})
		g.Add(func() error {
			defer close(ended)
			return f(part)
		}, func(why error) {
			stop(why)
			select {
			case <-ended:
			case <-time.After(endWithin):
				m.log.Error("A part does not end", "part", what, "waited", endWithin)
			}
		})
	}
	// The wish to end comes first: the first to end makes all others end, in this order.
	g.Add(func() error {
		<-ctx.Done()
		return context.Cause(ctx)
	}, func(why error) { cancel(why) })
	// The source, and what carries its news to the engine.
	add("source", func(ctx context.Context) error { return m.source.Run(ctx) })
	add("observer", m.observe)
	// The engine sends orders, so it ends before the agent that takes them.
	add("engine", m.Engine.Run)
	// The agent supervises until the end.
	add("agents", m.agents)

	err := g.Run()
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return nil
	}
	return err
}

// Alive returns the status when the main loops have answered, the engine's and the agent's where that is in this process.
func (m *Machine) Alive(ctx context.Context) (*engine.Status, error) {
	s, err := m.Engine.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot hear from the controller's main loop: %w", err)
	}
	if m.alive != nil {
		err = m.alive(ctx)
	}
	return s, err
}

// observe hands updates of the source to the engine.
func (m *Machine) observe(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case u := <-m.source.Updates():
			select {
			case m.seen <- observation(u):
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// observation is an update in the engine's words.
func observation(u source.Update) engine.Observation {
	o := engine.Observation{Snapshot: u.Snapshot, Err: u.Err, Commit: u.Commit, CheckedAt: u.CheckedAt}
	for _, p := range u.Pending {
		o.Notes = append(o.Notes, fmt.Sprintf("%s waits since %s: %s", p.File, p.Since.Format(time.TimeOnly), p.Reason))
	}
	if u.Degraded != nil {
		o.Notes = append(o.Notes, u.Degraded.Error())
	}
	return o
}

// Close gives the state folder back.
func (m *Machine) Close() error {
	err := m.store.Close()
	if m.lock != nil {
		err = errors.Join(err, m.lock.Close())
	}
	return err
}
