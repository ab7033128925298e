package bus

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/zeekrec/zeekrec/actuators/keys"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

var _ engine.Agents = (*Fleet)(nil)

// host is an agent that notes what it is told.
type host struct {
	instance string
	changes  chan struct{}

	mu     sync.Mutex
	orders []desired.Order
	trees  map[string]desired.Tree
	report observed.Report
}

func (h *host) Report() observed.Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.report
	r.At, r.Host.Zeek = time.Unix(1, 0), map[string]observed.Zeek{"": {}}
	return r
}
func (h *host) Changes() <-chan struct{} { return h.changes }
func (h *host) Do(_ context.Context, o desired.Order) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if o.Expect == "another" {
		return &observed.Refused{Why: "it was told something else"}
	}
	h.orders = append(h.orders, o)
	return nil
}
func (h *host) PutFiles(_ context.Context, cluster string, t desired.Tree) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.trees[cluster] = t
	return nil
}
func (h *host) LearnZeek(context.Context, string) {}
func (h *host) Loads(context.Context, []desired.Resource, bool) (map[string][]string, error) {
	return map[string][]string{"dmz/worker-1": {"local.zeek"}}, nil
}
func (h *host) Check(_ context.Context, rs []desired.Resource) ([]observed.Problem, error) {
	if len(rs) > 0 {
		return []observed.Problem{{Resource: rs[0].Key(), Message: "it is broken"}}, nil
	}
	return nil, errors.New("the disk is full")
}
func (h *host) CheckUpdate(ctx context.Context, _ []desired.Resource) ([]observed.Problem, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}
func (h *host) Names(context.Context, desired.Resource) (desired.ZeekNames, error) {
	return desired.ZeekNames{Err: "it cannot say"}, nil
}

// bench is a NATS server with a fleet and agents.
type bench struct {
	t     *testing.T
	s     *natsserver.Server
	url   string
	epoch uint64
	keys  *keys.Store // of the controller
	fleet *Fleet
}

func newBench(t *testing.T) *bench {
	t.Helper()
	s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, Users: users("a", "b", "agent-a.example.org")})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not come up")
	}
	b := &bench{t: t, s: s, url: s.ClientURL(), epoch: 1, keys: keys.Open(t.TempDir())}
	if b.fleet, err = NewFleet(b.controller(), FleetConfig{Epoch: func() (uint64, error) { return b.epoch, nil }, Keys: b.keys, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	return b
}

// users of a server: a controller, agents, and one that wants to become one, each with no more than it needs.
func users(instances ...string) []*natsserver.User {
	may := func(user string, publish, subscribe []string) *natsserver.User {
		return &natsserver.User{Username: user, Password: "x", Permissions: &natsserver.Permissions{
			Publish: &natsserver.SubjectPermission{Allow: publish}, Subscribe: &natsserver.SubjectPermission{Allow: subscribe},
			Response: &natsserver.ResponsePermission{MaxMsgs: 1, Expires: ReplyWithin},
		}}
	}
	p, s := ControllerSubjects()
	out := []*natsserver.User{may("controller", p, s)}
	for _, i := range instances {
		p, s = AgentSubjects(i)
		out = append(out, may("agent "+i, p, s))
	}
	p, s = EnrolSubjects("x1")
	return append(out, may("enrol", p, s))
}

func (b *bench) controller() *nats.Conn { return b.connect("controller") }

// as connects as the agent of an instance.
func (b *bench) as(instance string) *nats.Conn {
	return b.connect("agent "+instance, nats.CustomInboxPrefix(InboxPrefix(instance)))
}

func (b *bench) connect(user string, more ...nats.Option) *nats.Conn {
	b.t.Helper()
	c, err := nats.Connect(b.url, append(more, nats.UserInfo(user, "x"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(c.Close)
	return c
}

// agent serves a host from a folder; the second result ends that.
func (b *bench) agent(instance, dir, boot string) (*host, func()) {
	b.t.Helper()
	return b.agentWith(instance, dir, boot, nil)
}

func (b *bench) agentWith(instance, dir, boot string, nodes Local) (*host, func()) {
	b.t.Helper()
	h := &host{instance: instance, changes: make(chan struct{}, 1), trees: map[string]desired.Tree{}, report: observed.Report{Instance: instance}}
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	conn := b.as(instance)
	go func() {
		done <- Serve(ctx, conn, Config{Instance: instance, Agent: h, Nodes: nodes, Keys: keys.Open(dir), Dir: dir, Boot: boot, Log: slog.New(slog.DiscardHandler)})
	}()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	})
	b.t.Cleanup(stop)
	b.until(func() bool {
		b.fleet.mu.Lock()
		defer b.fleet.mu.Unlock()
		s := b.fleet.agents[token(instance)]
		return s != nil && s.boot == boot && s.whole
	})
	return h, stop
}

func (b *bench) until(ok func() bool) {
	b.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		select {
		case <-b.fleet.Changed():
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(end) {
			b.t.Fatal("not within a minute")
		}
	}
}

func (b *bench) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(b.t.Context(), d)
	b.t.Cleanup(cancel)
	return ctx
}

// An agent says which calls it works on, as long as it does.
func TestAgentsSayWhatTheyWorkOn(t *testing.T) {
	b := newBench(t)
	h, _ := b.agent("a", t.TempDir(), "1")
	notices, err := b.controller().SubscribeSync(reportSubject + "*")
	if err != nil {
		t.Fatal(err)
	}
	calls := func() int {
		select {
		case h.changes <- struct{}{}:
		default:
		}
		m, err := notices.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		n, err := b.fleet.codec.unpack(m.Data, &scratch{})
		if err != nil {
			t.Fatal(err)
		}
		if n.Calls == nil {
			t.Fatal("the agent does not say")
		}
		return len(n.Calls)
	}
	if n := calls(); n != 0 {
		t.Errorf("it works on %d calls, and was asked nothing", n)
	}
	asked := make(chan error, 1)
	go func() {
		_, err := b.fleet.CheckUpdate(b.within(2*time.Second), "a", nil) // it works on that until its time is over
		asked <- err
	}()
	for end := time.Now().Add(10 * time.Second); calls() != 1; {
		if time.Now().After(end) {
			t.Fatal("it does not work on what it was asked")
		}
	}
	for end := time.Now().Add(10 * time.Second); calls() != 0; {
		if time.Now().After(end) {
			t.Fatal("it goes on with what is over")
		}
	}
	if err := <-asked; err == nil || errors.Is(err, errLost) {
		t.Errorf("the call ended with %v", err)
	}
}

func TestReports(t *testing.T) {
	b := newBench(t)
	h, _ := b.agent("agent-a.example.org", t.TempDir(), "1")
	h.mu.Lock()
	h.report.Host.CPUs = 7
	h.report.At = time.Now().Add(-time.Hour) // its clock is wrong
	h.mu.Unlock()
	h.changes <- struct{}{}
	b.until(func() bool { return b.fleet.Reports()[0].Host.CPUs == 7 })
	if at := b.fleet.Reports()[0].At; time.Since(at) > time.Minute {
		t.Errorf("a report that has just arrived is of %s", at)
	}
	// A controller that comes later hears of it, too.
	other, err := NewFleet(b.controller(), FleetConfig{Epoch: func() (uint64, error) { return 1, nil }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	b.until(func() bool { rs := other.Reports(); return len(rs) == 1 && rs[0].Host.CPUs == 7 })
}

func TestSeat(t *testing.T) {
	r := func(n int) *observed.Report { return &observed.Report{Host: observed.Host{CPUs: n}} }
	now := time.Unix(1000, 0)
	s := seat{report: &observed.Report{}}
	for _, c := range []struct {
		what      string
		n         notice
		news, ask bool
		cpus      int
		fresh     bool
	}{
		{"a beat of one that is not known", notice{Boot: "a", Number: 3}, false, true, 0, false},
		{"again, at once", notice{Boot: "a", Number: 3}, false, false, 0, false},
		{"its report", notice{Boot: "a", Number: 4, Report: r(4)}, true, false, 4, true},
		{"an older one", notice{Boot: "a", Number: 3, Report: r(3)}, false, false, 4, true},
		{"a beat", notice{Boot: "a", Number: 4}, false, false, 4, true},
		{"a beat of a newer one", notice{Boot: "a", Number: 6}, false, true, 4, false},
		{"a beat of another life", notice{Boot: "b", Number: 1}, false, true, 4, false},
		{"its report", notice{Boot: "b", Number: 1, Report: r(1)}, true, false, 1, true},
	} {
		if c.what != "again, at once" {
			now = now.Add(time.Minute)
		}
		news, ask := s.take(&c.n, now)
		if news != c.news || ask != c.ask || s.report.Host.CPUs != c.cpus || s.report.At.Equal(now) != c.fresh && c.what != "an older one" {
			t.Errorf("%s: news %t, ask %t, %d CPUs, at %s", c.what, news, ask, s.report.Host.CPUs, s.report.At)
		}
	}
}

func TestCalls(t *testing.T) {
	b := newBench(t)
	h, _ := b.agent("a", t.TempDir(), "1")
	r := desired.Resource{Cluster: "dmz", Name: "worker-1"}
	order := desired.Order{Verb: desired.Start, Resource: r, Deadline: time.Now().Add(time.Minute)}
	if err := b.fleet.Do(b.within(time.Minute), "a", order); err != nil || len(h.orders) != 1 || time.Until(h.orders[0].Deadline) < 50*time.Second {
		t.Errorf("%v, %+v", err, h.orders)
	}
	order.Expect = "another"
	if err := b.fleet.Do(b.within(time.Minute), "a", order); !observed.IsRefused(err) || !strings.Contains(err.Error(), "something else") {
		t.Errorf("a refusal became %v", err)
	}
	order.Deadline = time.Now().Add(-time.Second)
	if err := b.fleet.Do(b.within(time.Minute), "a", order); !observed.IsRefused(err) {
		t.Errorf("an order that is late: %v", err)
	}
	if m, err := b.fleet.Loads(b.within(time.Minute), "a", []desired.Resource{r}, true); err != nil || len(m["dmz/worker-1"]) != 1 {
		t.Errorf("loads %v, %v", m, err)
	}
	if ps, err := b.fleet.Check(b.within(time.Minute), "a", []desired.Resource{r}); err != nil || len(ps) != 1 || ps[0].Message != "it is broken" {
		t.Errorf("check %v, %v", ps, err)
	}
	if _, err := b.fleet.Check(b.within(time.Minute), "a", nil); err == nil || err.Error() != "a: the disk is full" {
		t.Errorf("an error became %v", err)
	}
	if _, err := b.fleet.CheckUpdate(b.within(100*time.Millisecond), "a", nil); err == nil {
		t.Error("it waited for ever")
	}
	if n, err := b.fleet.Names(b.within(time.Minute), "a", r); err != nil || n.Err != "it cannot say" {
		t.Errorf("names %v, %v", n, err)
	}
	if err := b.fleet.Ask(b.within(time.Minute), "nobody", ""); err == nil || !strings.Contains(err.Error(), "no agent of that name is connected") {
		t.Errorf("nobody: %v", err)
	}
}

// TestEpoch: who led before is not obeyed, by the next life of the agent either.
func TestEpoch(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	_, stop := b.agent("a", dir, "1")
	order := desired.Order{Verb: desired.Start}
	b.epoch = 7
	if err := b.fleet.Do(b.within(time.Minute), "a", order); err != nil {
		t.Fatal(err)
	}
	b.epoch = 6
	if err := b.fleet.Do(b.within(time.Minute), "a", order); !observed.IsRefused(err) || !strings.Contains(err.Error(), "another controller leads") {
		t.Errorf("a lower epoch: %v", err)
	}
	stop()
	b.agent("a", dir, "2")
	if err := b.fleet.Do(b.within(time.Minute), "a", order); !observed.IsRefused(err) {
		t.Errorf("after a restart of the agent: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "epoch"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Serve(t.Context(), b.as("b"), Config{Instance: "b", Dir: dir}); err == nil {
		t.Error("it obeys anybody, not knowing who led")
	}
}

// TestFiles: they arrive in pieces, and go on where they were broken off.
func TestFiles(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	h, _ := b.agent("a", dir, "1")
	big := []byte(strings.Repeat("0123456789", chunkSize/4)) // some pieces
	tree := desired.Tree{"local.zeek": {Data: []byte("1")}, "intel/big.dat": {Data: big}, "empty": {}, "tool": {Data: []byte("1"), Exec: true}}
	list, _ := manifest("dmz", tree)
	part := &store{dir: filepath.Join(dir, "pieces")}
	if err := part.add(&chunkBody{Blob: blobName(big), Size: int64(len(big)), Data: big[:chunkSize]}); err != nil {
		t.Fatal(err)
	}
	if _, missing, err := part.assemble(&list); err != nil || missing[blobName(big)] != chunkSize {
		t.Errorf("%v are missing, %v", missing, err)
	}
	if err := b.fleet.PutFiles(b.within(time.Minute), "a", "dmz", tree); err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if got := h.trees["dmz"]; got.Hash() != tree.Hash() || len(got) != len(tree) {
		t.Errorf("it has %v", slices.Sorted(maps.Keys(got)))
	}
	if es, _ := os.ReadDir(part.dir); len(es) > 0 {
		t.Errorf("%d pieces are left", len(es))
	}
}

func TestToken(t *testing.T) {
	seen := map[string]string{}
	for _, n := range []string{"a.b", "a%2Eb", "a_b", "*", ">", "a b", "agent-ä", "_all", "enrol_x", "a\r\nPUB b"} {
		x := token(n)
		if strings.ContainsAny(x, ".*>_ \r\n") || seen[x] != "" || x == everybody {
			t.Errorf("%q becomes %q, as %q does", n, x, seen[x])
		}
		seen[x] = n
	}
}
