package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"
	"github.com/nats-io/nats.go"

	"github.com/zeekrec/zeekrec/actuators/keys"
	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// callsAtOnce bounds what an agent works on for controllers; more are told to come again.
const callsAtOnce = 64

// Agent is what is served; *agent.Agent is one.
type Agent interface {
	Report() observed.Report
	Changes() <-chan struct{}
	Do(ctx context.Context, o desired.Order) error
	PutFiles(ctx context.Context, cluster string, t desired.Tree) error
	LearnZeek(ctx context.Context, zeek string)
	Loads(ctx context.Context, rs []desired.Resource, each bool) (map[string][]string, error)
	Check(ctx context.Context, rs []desired.Resource) ([]observed.Problem, error)
	CheckUpdate(ctx context.Context, rs []desired.Resource) ([]observed.Problem, error)
	Names(ctx context.Context, r desired.Resource) (desired.ZeekNames, error)
}

// Local is what can be had of the nodes of one host beyond what is reported of them, as api.Nodes has it; *local.Nodes is one.
type Local interface {
	Logs(ctx context.Context, key string, o api.LogOptions, w io.Writer) error
	Top(ctx context.Context) ([]api.Usage, error)
	Ask(ctx context.Context, cluster, node, what, id string) ([]byte, error)
	Diag(ctx context.Context, key string, more map[string][]byte, at time.Time, w io.Writer) error
}

// Config of an agent's end.
type Config struct {
	Instance string
	Agent    Agent
	// Keys is where the keys of clusters that encrypt are kept; nil: no such cluster can run here.
	Keys interface {
		Put(cluster string, pairs []keys.Pair) error
	}
	// Nodes answers what a person asks of nodes; nil: nobody does.
	Nodes Local
	// Dir is where the highest epoch and pieces of files are kept.
	Dir string
	// Boot names this life of the agent; no other has it.
	Boot string
	// Now is the clock of the agent, by which it takes deadlines; nil: time.Now.
	Now func() time.Time
	Log *slog.Logger
}

// server is an agent's end.
type server struct {
	Config
	conn    *nats.Conn
	codec   *codec
	files   *store
	calls   chan struct{}
	streams *streams

	mu      sync.Mutex
	epoch   uint64
	working map[string]bool // ids of calls
}

// Serve publishes an agent's reports and answers what controllers ask, until ctx ends. The connection may come and go meanwhile; it
// has to have been made with nats.CustomInboxPrefix(InboxPrefix(cfg.Instance)). When Serve returns, no stream goes on.
func Serve(ctx context.Context, conn *nats.Conn, cfg Config) error {
	if want := InboxPrefix(cfg.Instance); conn.Opts.InboxPrefix != want {
		return fmt.Errorf("cannot serve: the connection's inbox is at %q, where no controller answers %s; connect with nats.CustomInboxPrefix(%q)", conn.Opts.InboxPrefix, cfg.Instance, want)
	}
	c, err := newCodec()
	if err != nil {
		return fmt.Errorf("cannot serve: %w", err)
	}
	s := newServer(cfg, c, func(ctx context.Context, subject string, data []byte) ([]byte, error) {
		m, err := conn.RequestWithContext(ctx, subject, data)
		if err != nil {
			return nil, err
		}
		return m.Data, nil
	})
	s.conn = conn
	if s.epoch, err = readEpoch(s.epochFile()); err != nil {
		return err
	}
	wanted := make(chan struct{}, 1)
	want := func(*nats.Msg) {
		select {
		case wanted <- struct{}{}:
		default:
		}
	}
	me := token(cfg.Instance)
	ending := ctx
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ending))
	defer context.AfterFunc(ending, func() { cancel(errAgentEnds) })()
	var subs []*nats.Subscription
	defer func() {
		cancel(errAgentEnds)
		s.streams.close()
		for _, x := range subs {
			_ = x.Unsubscribe()
		}
		if conn.IsConnected() {
			_ = conn.FlushTimeout(time.Second) // else controllers wait for answers for a moment longer
		}
	}()
	for subject, f := range map[string]nats.MsgHandler{
		wantSubject + me: want, wantSubject + everybody: want,
		askSubject + me:    func(m *nats.Msg) { s.called(ctx, m) },
		cancelSubject + me: func(m *nats.Msg) { s.streams.cancel(string(m.Data)) },
	} {
		x, err := conn.Subscribe(subject, f)
		if err != nil {
			return fmt.Errorf("cannot serve: %w", err)
		}
		subs = append(subs, x)
	}
	// What was said while the connection was away is lost.
	changes := conn.StatusChanged(nats.CONNECTED)
	defer conn.RemoveStatusListener(changes) // closes it
	go func() {
		for range changes {
			want(nil)
		}
	}()
	return s.publish(ctx, wanted)
}

// newServer is an agent's end without its subscriptions. request sends pieces of streams.
func newServer(cfg Config, c *codec, request requestFunc) *server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &server{
		Config: cfg, codec: c, files: &store{dir: filepath.Join(cfg.Dir, "pieces")}, calls: make(chan struct{}, callsAtOnce),
		streams: newStreams(cfg.Instance, request), working: map[string]bool{},
	}
}

// pace is the least time between two whole reports: while many nodes start, each is a change.
const pace = 200 * time.Millisecond

// publish says what is new, and every Beat that nothing is.
func (s *server) publish(ctx context.Context, wanted <-chan struct{}) error {
	beat := time.NewTicker(Beat)
	defer beat.Stop()
	number, last := uint64(0), time.Time{}
	for whole := true; ; {
		n := notice{Boot: s.Boot, Number: number, Conn: s.conn.Stats().Reconnects, Calls: s.calling()}
		r := s.Agent.Report()
		if _, asked := r.Host.Zeek[""]; r.At.IsZero() || !asked {
			// It does not know yet what runs and what its Zeek is: plans that rest on less would be made anew a moment later, at the cost of
			// restarts.
			select {
			case <-ctx.Done():
				return nil
			case <-s.Agent.Changes():
			case <-beat.C:
			}
			continue
		}
		if whole {
			if wait := pace - time.Since(last); wait > 0 {
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(wait):
				}
				r = s.Agent.Report()
			}
			last = time.Now()
			number++
			n.Number, n.Report = number, &r
		}
		b, err := s.codec.pack(&n)
		if !s.conn.IsConnected() {
			err = nats.ErrDisconnected // said anew when it is
		} else if err == nil {
			err = s.conn.Publish(reportSubject+token(s.Instance), b)
		}
		if err != nil && !errors.Is(err, nats.ErrDisconnected) {
			s.Log.Warn("Cannot report", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.Agent.Changes():
			whole = true
		case <-wanted:
			whole = true
		case <-beat.C:
			whole = err != nil // what did not go out is said again
		}
	}
}

// called works on a call beside the others.
func (s *server) called(ctx context.Context, m *nats.Msg) {
	select {
	case s.calls <- struct{}{}:
	default:
		s.answer(m, answerOf(nil, &observed.Refused{Why: "it has too much to do"}))
		return
	}
	id, over := m.Header.Get(callHeader), s.conn.Stats().Reconnects
	s.begin(id)
	go func() {
		defer func() { <-s.calls }()
		defer s.end(id) // when the answer is on its way, so before a notice without it
		a := s.work(ctx, m.Data)
		if !s.conn.IsConnected() || s.conn.Stats().Reconnects != over {
			return // nobody waits for what was asked over another connection, and nobody may answer it
		}
		s.answer(m, a)
	}()
}

func (s *server) begin(call string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.working[call] = true
}

func (s *server) end(call string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.working, call)
}

// calling are the ids of the calls that are worked on, in any order; never nil.
func (s *server) calling() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.AppendSeq([]string{}, maps.Keys(s.working))
}

func (s *server) answer(m *nats.Msg, a answer) {
	b, err := json.Marshal(a)
	if err == nil {
		err = m.Respond(s.codec.shrink(b))
	}
	if errors.Is(err, nats.ErrMaxPayload) {
		if b, err = json.Marshal(answer{Error: fmt.Sprintf("its answer is too large: it has %d bytes", len(b))}); err == nil {
			err = m.Respond(b)
		}
	}
	if err != nil {
		s.Log.Warn("Cannot answer", "error", err)
	}
}

// work does what a call asks for.
func (s *server) work(ctx context.Context, data []byte) answer {
	var c call
	data, err := s.codec.grow(data)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil {
		return answerOf(nil, fmt.Errorf("cannot read what is asked: %w", err))
	}
	if err := s.admit(c.Epoch); err != nil {
		return answerOf(nil, err)
	}
	if c.Left <= 0 {
		return answerOf(nil, &observed.Refused{Why: "it came too late"})
	}
	whole := ctx // of what outlives the call
	ctx, cancel := context.WithTimeoutCause(ctx, c.Left, errors.New("whoever asks does not wait any longer"))
	defer cancel()
	if s.Nodes == nil && (c.Method == methodTop || c.Method == methodAsk || c.Method == methodStream) {
		return answerOf(nil, errors.New("this agent tells no more of its nodes than it reports"))
	}
	switch c.Method {
	case methodDo:
		return with(c.Body, func(o desired.Order) (any, error) {
			o.Deadline = s.Now().Add(c.Left)
			return nil, s.Agent.Do(ctx, o)
		})
	case methodFiles:
		return with(c.Body, func(l filesBody) (any, error) { return s.take(ctx, &l) })
	case methodChunk:
		return with(c.Body, func(p chunkBody) (any, error) { return nil, s.files.add(&p) })
	case methodLearn:
		return with(c.Body, func(zeek string) (any, error) { s.Agent.LearnZeek(ctx, zeek); return nil, nil })
	case methodLoads:
		return with(c.Body, func(b loadsBody) (any, error) { return s.Agent.Loads(ctx, b.Resources.unpack(), b.Each) })
	case methodCheck:
		return with(c.Body, func(rs resources) (any, error) { return s.Agent.Check(ctx, rs.unpack()) })
	case methodCheckUpdate:
		return with(c.Body, func(rs resources) (any, error) { return s.Agent.CheckUpdate(ctx, rs.unpack()) })
	case methodKeys:
		return with(c.Body, func(b keysBody) (any, error) { return nil, s.keep(b) })
	case methodNames:
		return with(c.Body, func(q namesBody) (any, error) { return s.names(ctx, &q) })
	case methodTop:
		us, err := s.Nodes.Top(ctx)
		return answerOf(us, err)
	case methodAsk:
		return with(c.Body, func(q askBody) (any, error) { return s.asked(ctx, &q) })
	case methodStream:
		return with(c.Body, func(b streamBody) (any, error) { return nil, s.stream(whole, &b) })
	}
	return answerOf(nil, fmt.Errorf("this agent does not know how to %q: it is older than its controller", c.Method))
}

func with[T any](body []byte, f func(T) (any, error)) answer {
	var x T
	if err := json.Unmarshal(body, &x); err != nil {
		return answerOf(nil, fmt.Errorf("cannot read what is asked: %w", err))
	}
	return answerOf(f(x))
}

// asked asks a node. Its answer may be larger than one message can be.
func (s *server) asked(ctx context.Context, q *askBody) (askAnswer, error) {
	v, err := s.Nodes.Ask(ctx, q.Cluster, q.Node, q.What, q.ID)
	if err != nil || len(v) > askInline {
		return askAnswer{Large: true}, err
	}
	return askAnswer{Value: v}, nil
}

// take puts files in their place where all of them are there.
func (s *server) take(ctx context.Context, l *filesBody) (filesAnswer, error) {
	t, missing, err := s.files.assemble(l)
	if err != nil || len(missing) > 0 {
		return filesAnswer{missing}, err
	}
	if err := s.Agent.PutFiles(ctx, l.Cluster, t); err != nil {
		return filesAnswer{}, err
	}
	s.files.drop(l)
	return filesAnswer{}, nil
}

// keep takes the keys of a cluster.
func (s *server) keep(b keysBody) error {
	if s.Keys == nil {
		return errors.New("this agent keeps no keys")
	}
	pairs, err := keys.Decode(b.Keys)
	if err != nil {
		return fmt.Errorf("cannot use the keys of %s: %w", b.Cluster, err)
	}
	return s.Keys.Put(b.Cluster, pairs)
}

func (s *server) epochFile() string { return filepath.Join(s.Dir, "epoch") }

// admit refuses the epoch of a controller that does not lead any more. A higher one is on disk before anything is done for it.
func (s *server) admit(epoch uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case epoch < s.epoch:
		return &observed.Refused{Why: fmt.Sprintf("another controller leads: this one's epoch is %d, and %d was seen", epoch, s.epoch)}
	case epoch == s.epoch:
		return nil
	}
	if err := renameio.WriteFile(s.epochFile(), []byte(strconv.FormatUint(epoch, 10)+"\n"), 0o600); err != nil {
		return fmt.Errorf("cannot keep the epoch, so nothing is done: %w", err)
	}
	s.epoch = epoch
	return nil
}

func readEpoch(path string) (uint64, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err == nil {
		var n uint64
		if n, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("cannot tell which controllers led before, so none is obeyed: %w", err)
}
