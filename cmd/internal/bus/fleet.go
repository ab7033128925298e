package bus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/zeekrec/zeekrec/actuators/keys"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// Fleet are the agents that are reached over a connection: the engine's Agents. Its methods may be called from several goroutines.
type Fleet struct {
	conn  *nats.Conn
	codec *codec
	cfg   FleetConfig
	log   *slog.Logger
	sub   *nats.Subscription

	changed chan struct{}
	mu      sync.Mutex
	agents  map[string]*seat // by token
	order   []*seat          // as they came
	seen    uint64           // whole reports that were taken
	same    interner         // of the goroutine that hears
	room    scratch          // of the same

	answered answered
	encoding chan struct{} // held while a call is written
}

// Bounds of what goes out at the same time: a controller that starts a whole fleet has ten thousands of orders for it.
const (
	encodeAtOnce = 4 // calls being written
	ordersAtOnce = 8 // for one agent, sent and not yet taken
)

// FleetConfig of a controller's end.
type FleetConfig struct {
	// Epoch is of the controller, as long as it leads; then an error, and nothing more is asked.
	Epoch func() (uint64, error)
	// Keys of clusters that encrypt: agents get those of the clusters that they have resources of. nil: there are none.
	Keys interface {
		List(cluster string) ([]keys.Pair, error)
	}
	// Silence is how long an agent may say nothing before nobody waits for its answer any more; 0: three beats.
	Silence time.Duration
	Log     *slog.Logger
}

// seat is what is known of one agent.
type seat struct {
	boot   string
	number uint64
	report *observed.Report // At is when it, or the last beat, arrived; another one whenever anything of it is; empty before the first
	whole  bool             // report is the one that number names
	asked  time.Time        // when it was last asked for a whole one
	// orders has room for those that are on their way to it.
	orders chan struct{}
	// keys are the ids of those that it has been given in this life, by cluster.
	keys map[string]string
	// conn counts its connections in this life. lost is closed when there is another one, and what was asked over the one before is lost.
	conn uint64
	lost chan struct{}
	skew time.Duration // of its clock
	// calls are those that are not answered yet, by id.
	calls map[string]*waiting
}

// NewFleet listens to agents.
func NewFleet(conn *nats.Conn, cfg FleetConfig) (*Fleet, error) {
	c, err := newCodec()
	if err != nil {
		return nil, fmt.Errorf("cannot listen to agents: %w", err)
	}
	if cfg.Silence == 0 {
		cfg.Silence = 3 * Beat
	}
	f := &Fleet{conn: conn, codec: c, cfg: cfg, log: cfg.Log, changed: make(chan struct{}, 1), agents: map[string]*seat{}, encoding: make(chan struct{}, encodeAtOnce)}
	if f.sub, err = conn.Subscribe(reportSubject+"*", f.hear); err != nil {
		return nil, fmt.Errorf("cannot listen to agents: %w", err)
	}
	// Those that are there already have nothing new to say.
	if err := conn.Publish(wantSubject+everybody, nil); err != nil {
		return nil, fmt.Errorf("cannot listen to agents: %w", err)
	}
	return f, nil
}

// Close stops listening; the connection stays.
func (f *Fleet) Close() error { return f.sub.Unsubscribe() }

// hear takes a notice.
func (f *Fleet) hear(m *nats.Msg) {
	who := m.Subject[len(reportSubject):]
	n, err := f.codec.unpack(m.Data, &f.room)
	if err == nil && n.Report != nil && token(n.Report.Instance) != who {
		err = fmt.Errorf("it is of %q", n.Report.Instance)
	}
	if err != nil {
		f.log.Warn("A report cannot be used", "instance", who, "error", err)
		return
	}
	if n.Report != nil {
		f.same.report(n.Report)
	}
	f.mu.Lock()
	s := f.seat(who)
	s.connected(n)
	s.works(n, time.Now())
	news, ask := s.take(n, time.Now())
	if news {
		f.seen++
		s.report.Seen = f.seen // nobody has it yet
	}
	f.mu.Unlock()
	if ask {
		if err := f.conn.Publish(wantSubject+who, nil); err != nil {
			f.log.Warn("Cannot ask for a report", "instance", who, "error", err)
		}
	}
	if news {
		select {
		case f.changed <- struct{}{}:
		default: // it is known already that something is new
		}
	}
}

// seat of an agent, by its token. f.mu is held.
func (f *Fleet) seat(who string) *seat {
	s := f.agents[who]
	if s == nil {
		s = &seat{report: &observed.Report{}, orders: make(chan struct{}, ordersAtOnce), lost: make(chan struct{}), calls: map[string]*waiting{}}
		f.agents[who] = s
		f.order = append(f.order, s)
	}
	return s
}

// wantAgain is how long an agent has for a report that it was asked for.
const wantAgain = time.Second

// take takes a notice that arrived now. news: the report is another, or was overdue. ask: the whole report is to be asked for.
func (s *seat) take(n *notice, now time.Time) (news, ask bool) {
	late := n.Boot == s.boot && n.Number < s.number // was overtaken
	if late {
		return false, false
	}
	if n.Report != nil {
		if n.Boot != s.boot {
			s.keys = nil
		}
		s.boot, s.number, s.report, s.whole = n.Boot, n.Number, n.Report, true
		s.skew = skewOf(s.skew, now.Sub(s.report.At))
		shift(s.report, s.skew)
		s.report.At = now
		return true, false
	}
	if s.whole && n.Boot == s.boot && n.Number == s.number {
		again := *s.report
		again.At, s.report = now, &again
		return false, false
	}
	// What it has now is not here: what is here gets old until it is.
	if now.Sub(s.asked) < wantAgain {
		return false, false
	}
	s.asked = now
	return false, true
}

// Reports has the newest report of every agent that was heard of, in an order that seldom changes. They are stamped when they, or a sign
// that they hold, arrived. They are shared, and not to be changed but as the engine's Agents allow.
func (f *Fleet) Reports() []*observed.Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]*observed.Report, 0, len(f.agents))
	for _, s := range f.order {
		if s.boot != "" {
			out = append(out, s.report)
		}
	}
	return out
}

// Changed yields a value after Reports changed.
func (f *Fleet) Changed() <-chan struct{} { return f.changed }

// Do hands an order to an agent.
func (f *Fleet) Do(ctx context.Context, instance string, o desired.Order) error {
	f.mu.Lock()
	room := f.seat(token(instance)).orders
	f.mu.Unlock()
	select {
	case room <- struct{}{}:
		defer func() { <-room }()
	case <-ctx.Done():
		return fmt.Errorf("%s has not taken the orders before: %w", instance, context.Cause(ctx))
	}
	// Its clock may be another: what is left of the deadline is in the call.
	left := time.Duration(0)
	if !o.Deadline.IsZero() {
		if left = time.Until(o.Deadline); left <= 0 {
			return &observed.Refused{Why: "the order came too late"}
		}
		o.Deadline = time.Time{}
	}
	if err := f.bringKeys(ctx, instance, o.Resource); err != nil {
		return err
	}
	return f.ask(ctx, instance, methodDo, left, o, nil)
}

// Ask has the agent find out what the Zeek at a path is.
func (f *Fleet) Ask(ctx context.Context, instance, zeek string) error {
	return f.ask(ctx, instance, methodLearn, 0, zeek, nil)
}

// Loads asks which scripts of NAME/ each resource would load.
func (f *Fleet) Loads(ctx context.Context, instance string, rs []desired.Resource, each bool) (m map[string][]string, err error) {
	err = f.ask(ctx, instance, methodLoads, 0, loadsBody{pack(rs), each}, &m)
	return m, err
}

// Check asks for what would keep resources from running there.
func (f *Fleet) Check(ctx context.Context, instance string, rs []desired.Resource) (ps []observed.Problem, err error) {
	if err := f.bringKeys(ctx, instance, rs...); err != nil {
		return nil, err
	}
	err = f.ask(ctx, instance, methodCheck, 0, pack(rs), &ps)
	return ps, err
}

// CheckUpdate asks for what would keep nodes from taking options.
func (f *Fleet) CheckUpdate(ctx context.Context, instance string, rs []desired.Resource) (ps []observed.Problem, err error) {
	err = f.ask(ctx, instance, methodCheckUpdate, 0, pack(rs), &ps)
	return ps, err
}

// PutFiles makes NAME/ of a cluster available on an instance. What is there already is not sent, be it part of a file.
func (f *Fleet) PutFiles(ctx context.Context, instance, cluster string, t desired.Tree) error {
	list, blobs := manifest(cluster, t)
	for {
		var got filesAnswer
		if err := f.ask(ctx, instance, methodFiles, 0, list, &got); err != nil {
			return err
		}
		if len(got.Missing) == 0 {
			return nil
		}
		for _, blob := range slices.Sorted(maps.Keys(got.Missing)) {
			data, ours := blobs[blob]
			if at := got.Missing[blob]; !ours || at < 0 || at > int64(len(data)) {
				return fmt.Errorf("cannot bring files to %s: it asks for what it was not offered", instance)
			}
			for at := got.Missing[blob]; at < int64(len(data)) || at == 0; at += chunkSize {
				end := min(at+chunkSize, int64(len(data)))
				c := chunkBody{Blob: blob, Size: int64(len(data)), Offset: at, Data: data[at:end]}
				if err := f.ask(ctx, instance, methodChunk, 0, c, nil); err != nil {
					return err
				}
			}
		}
	}
}

// ask sends a call and waits for its answer until ctx ends, which has to have a deadline.
func (f *Fleet) ask(ctx context.Context, instance string, m method, left time.Duration, body, into any) error {
	end, ok := ctx.Deadline()
	if !ok {
		return fmt.Errorf("cannot ask %s: nothing says for how long to wait", instance)
	}
	if d := time.Until(end); left == 0 || d < left {
		left = d
	}
	epoch, err := f.cfg.Epoch()
	if err != nil {
		return fmt.Errorf("cannot ask %s: %w", instance, err)
	}
	b, err := f.write(ctx, call{Method: m, Epoch: epoch, Left: left}, body)
	if err != nil {
		return fmt.Errorf("cannot ask %s: %w", instance, err)
	}
	id := rand.Text()
	ctx, done := f.whileHeard(ctx, instance, id)
	defer done()
	msg, err := f.conn.RequestMsgWithContext(ctx, &nats.Msg{Subject: askSubject + token(instance), Header: nats.Header{callHeader: {id}}, Data: b})
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return &Unreachable{instance}
	case ctx.Err() != nil:
		return fmt.Errorf("%s does not answer: %w", instance, context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("cannot reach %s: %w", instance, err)
	}
	var a answer
	data, err := f.codec.grow(msg.Data)
	if err == nil {
		err = json.Unmarshal(data, &a)
	}
	if err != nil {
		return fmt.Errorf("cannot read the answer of %s: %w", instance, err)
	}
	if err := a.err(instance); err != nil || into == nil {
		return err
	}
	if err := json.Unmarshal(a.Body, into); err != nil {
		return fmt.Errorf("cannot read the answer of %s: %w", instance, err)
	}
	return nil
}

// write makes a message of a call, when there is room for that: what is large is short-lived.
func (f *Fleet) write(ctx context.Context, c call, body any) ([]byte, error) {
	select {
	case f.encoding <- struct{}{}:
		defer func() { <-f.encoding }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	c.Body = json.RawMessage("0")
	around, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	// The body is the last field. It is put in as it is: json would go through all of it once more.
	return f.codec.shrink(slices.Concat(around[:len(around)-len("0}")], b, []byte("}"))), nil
}
