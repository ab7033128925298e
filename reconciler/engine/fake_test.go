package engine_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// hosts is one instance whose agent does what it is told, at once, unless a test says otherwise.
type hosts struct {
	mu       sync.Mutex
	instance string
	silent   bool
	res      map[string]*observed.Resource
	orders   []string // "restart dmz/worker-1"
	pid      int
	asked    []string
	// check stands before a preflight; stuck resources do not end when they are told to.
	check   func(ctx context.Context) error
	stuck   map[string]bool
	events  []observed.Event
	changed chan struct{}
	// said is the newest report as it was made, last as it was given to the engine.
	said, last observed.Report
	// fails says why a resource crashes when it is started from this spec.
	fails func(r *desired.Resource) string
	// members are the nodes that have joined the brokers; nil: brokers do not say.
	members func(running map[string]*observed.Resource) []observed.Member
	// problems of a preflight.
	problems func(r *desired.Resource) *observed.Problem
	doErr    func(o desired.Order) error
	// names are what Zeek says of its names; namesErr why it says nothing. untaken is what nodes say of what they were told.
	names    map[string]desired.NameKind
	namesErr error
	untaken  string
	// answer, when it is closed, lets Zeek say its names; nil: at once.
	answer chan struct{}
	// loads are the scripts of NAME/ that a resource loads; nil: nobody can say.
	loads      func(r *desired.Resource) []string
	loadsAsked int
	// loadsWait, as long as it is open, keeps that from being said; nil: it is said at once.
	loadsWait chan struct{}
}

func newHosts() *hosts {
	return &hosts{instance: "agent-a", res: map[string]*observed.Resource{}, changed: make(chan struct{}, 1)}
}

func (h *hosts) touch() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

func (h *hosts) Changed() <-chan struct{} { return h.changed }

var silentSince = time.Unix(1, 0)

func (h *hosts) Reports() []*observed.Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := observed.Report{Instance: h.instance, At: time.Now(), Events: slices.Clone(h.events)}
	r.Host.Zeek = map[string]observed.Zeek{"": {Version: "8.2.2"}}
	for _, z := range h.asked {
		r.Host.Zeek[z] = observed.Zeek{Path: z, Version: "8.1.0"}
	}
	if h.silent {
		r.At = silentSince
	}
	for _, k := range slices.Sorted(maps.Keys(h.res)) {
		s := *h.res[k]
		if s.Type == "broker" && s.PID != 0 && h.members != nil {
			s.Members = h.members(h.res)
			slices.SortFunc(s.Members, func(x, y observed.Member) int { return strings.Compare(x.Name, y.Name) })
		}
		r.Resources = append(r.Resources, s)
	}
	slices.SortFunc(r.Resources, func(x, y observed.Resource) int {
		return cmp.Or(strings.Compare(x.Cluster, y.Cluster), strings.Compare(x.Name, y.Name))
	})
	r = h.numbered(r)
	return []*observed.Report{&r}
}

// numbered numbers a report as the engine relies on it: what says the same is the same, with what the engine has written into it.
func (h *hosts) numbered(r observed.Report) observed.Report {
	at := r.At
	if r.At = (time.Time{}); h.last.Seen == 0 || !reflect.DeepEqual(r, h.said) {
		seen := h.last.Seen + 1
		h.said, h.last = r, r
		h.last.Resources, h.last.Seen = slices.Clone(r.Resources), seen
	}
	h.last.At = at
	return h.last
}

func (h *hosts) Do(_ context.Context, _ string, o desired.Order) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.touch()
	if h.doErr != nil {
		if err := h.doErr(o); err != nil {
			return err
		}
	}
	key := o.Resource.Key()
	h.orders = append(h.orders, fmt.Sprintf("%s %s", o.Verb, key))
	s := h.res[key]
	told := ""
	if s != nil {
		told = s.Told
	}
	if told != o.Expect {
		return &observed.Refused{Why: "told " + told + ", not " + o.Expect}
	}
	switch o.Verb {
	case desired.Stop:
		if h.stuck[key] {
			c := *s
			c.Told = ""
			h.res[key] = &c
			return nil
		}
		if o.Hold == "" {
			delete(h.res, key)
			return nil
		}
		s.PID, s.State, s.Hold, s.Healthy = 0, observed.Stopped, o.Hold, false
	case desired.Update:
		s.Told = o.Resource.ID
		follows := desired.Follows(s.Parts.Get(desired.PartMembership))
		s.Parts = slices.DeleteFunc(slices.Clone(s.Parts), func(p *observed.Part) bool { return p.Field == desired.PartOptions })
		s.Untaken = h.untaken
		s.Tunable = slices.Concat(s.Tunable, o.Resource.Tunable)
		for _, p := range o.Resource.Parts {
			if p.Relation == desired.Live || p.Relation == desired.Follow && follows || p.Relation == desired.Tune {
				s.Parts = s.Parts.With(p.Field, p.Values...)
			}
		}
	default:
		h.start(&o.Resource)
	}
	return nil
}

func (h *hosts) start(r *desired.Resource) {
	s := h.res[r.Key()]
	inc := 0
	if s != nil {
		inc = s.Incarnation
	}
	h.pid++
	s = &observed.Resource{
		Cluster: r.Cluster, Name: r.Name, Type: string(r.Type), Role: string(r.Role), State: observed.Running, Since: time.Now(),
		PID: 1000 + h.pid, Incarnation: inc + 1, Healthy: true, Tunable: r.Tunable, Told: r.ID, Started: r.ID, StartedAt: time.Now(),
	}
	for _, p := range r.Parts {
		s.Parts = s.Parts.With(p.Field, p.Values...)
	}
	if h.fails != nil {
		if why := h.fails(r); why != "" {
			s.State, s.Healthy, s.PID, s.Reason, s.Restarts = observed.Crashed, false, 0, why, 1
		}
	}
	h.res[r.Key()] = s
}

func (h *hosts) Ask(_ context.Context, _, zeek string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, zeek)
	return nil
}

func (h *hosts) Names(ctx context.Context, _ string, _ desired.Resource) (desired.ZeekNames, error) {
	h.mu.Lock()
	answer := h.answer
	h.mu.Unlock()
	if answer != nil {
		select {
		case <-answer:
		case <-ctx.Done():
			return desired.ZeekNames{}, context.Cause(ctx)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return desired.ZeekNames{Kinds: maps.Clone(h.names)}, h.namesErr
}

func (h *hosts) CheckUpdate(ctx context.Context, instance string, rs []desired.Resource) ([]observed.Problem, error) {
	return h.Check(ctx, instance, rs)
}

func (h *hosts) PutFiles(context.Context, string, string, desired.Tree) error { return nil }

func (h *hosts) Loads(ctx context.Context, _ string, rs []desired.Resource, _ bool) (map[string][]string, error) {
	h.mu.Lock()
	wait := h.loadsWait
	h.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.loadsAsked++
	if h.loads == nil {
		return nil, nil
	}
	m := map[string][]string{}
	for i := range rs {
		if l := h.loads(&rs[i]); l != nil {
			m[rs[i].Key()] = l
		}
	}
	return m, nil
}

func (h *hosts) Check(ctx context.Context, _ string, rs []desired.Resource) ([]observed.Problem, error) {
	h.mu.Lock()
	check := h.check
	h.mu.Unlock()
	if check != nil {
		if err := check(ctx); err != nil {
			return nil, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var ps []observed.Problem
	for i := range rs {
		if h.problems != nil {
			if p := h.problems(&rs[i]); p != nil {
				p.Resource = rs[i].Key()
				ps = append(ps, *p)
			}
		}
	}
	return ps, nil
}

// took returns the orders since the last call that disturb something. Orders of one wave go out at the
// same time, so each run of one verb and one role is sorted.
func (h *hosts) took() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := slices.DeleteFunc(h.orders, func(o string) bool { return strings.HasPrefix(o, "update ") })
	h.orders = nil
	kind := func(o string) string {
		return strings.Replace(strings.TrimRight(o, "0123456789"), "start dmz/proxy-", "start dmz/manager", 1) // these start together
	}
	for i := 0; i < len(out); {
		j := i
		for j < len(out) && kind(out[j]) == kind(out[i]) {
			j++
		}
		slices.Sort(out[i:j])
		i = j
	}
	return strings.Join(out, ", ")
}

// updates are the resources that were told to update since the last call of it or of took.
func (h *hosts) updates() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, o := range h.orders {
		if key, ok := strings.CutPrefix(o, "update dmz/"); ok {
			out = append(out, key)
		}
	}
	h.orders = slices.DeleteFunc(h.orders, func(o string) bool { return strings.HasPrefix(o, "update ") })
	slices.Sort(out)
	return strings.Join(out, " ")
}

// set changes a resource behind everybody's back.
func (h *hosts) set(key string, f func(*observed.Resource)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := *h.res[key]
	f(&r)
	h.res[key] = &r
	h.touch()
}

func (h *hosts) pidOf(key string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.res[key].PID
}

// behave changes what the hosts do.
func (h *hosts) behave(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

// count of orders that were not taken yet.
func (h *hosts) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.orders)
}

// up are the names of resources that run.
func (h *hosts) up() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, k := range slices.Sorted(maps.Keys(h.res)) {
		if h.res[k].PID != 0 {
			out = append(out, strings.TrimPrefix(k, "dmz/"))
		}
	}
	return strings.Join(out, " ")
}

// memory is a journal that forgets nothing, as long as it is not told to fail.
type memory struct {
	mu      sync.Mutex
	records []engine.Record
	files   map[string]desired.ClusterFile
	fail    error
	gate    func() error // asked before each Append
}

func (m *memory) Append(_ context.Context, rs ...*engine.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	if m.gate != nil {
		if err := m.gate(); err != nil {
			return err
		}
	}
	for _, r := range rs {
		r.Seq = int64(len(m.records) + 1)
		m.records = append(m.records, *r)
	}
	return nil
}

func (m *memory) PutFile(_ context.Context, f desired.ClusterFile) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return "", m.fail
	}
	if m.files == nil {
		m.files = map[string]desired.ClusterFile{}
	}
	m.files[f.Name+f.Revision()] = f
	return f.Name + f.Revision(), nil
}

func (m *memory) File(_ context.Context, o string) (desired.ClusterFile, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok := m.files[o]
	if !ok {
		return f, fmt.Errorf("cannot read %s: not there", o)
	}
	return f, nil
}

func (m *memory) RollError() error { return nil }

func (m *memory) Collect(context.Context) error { return nil }

// state is what the records add up to: what a new engine would begin with.
func (m *memory) state() *engine.State {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := engine.NewState()
	for _, r := range m.records {
		s.Apply(r)
	}
	return s
}

func (m *memory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.records)
}

// outcomes are "revision-prefix Outcome" of all rollouts.
func (m *memory) outcomes() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, r := range m.records {
		if r.Kind == engine.KindOutcome {
			out = append(out, string(r.Outcome))
		}
	}
	return strings.Join(out, " ")
}

// rejected is what was wrong with revisions that were not accepted.
func (m *memory) rejected() string {
	var out []string
	for _, r := range m.kinds(engine.KindRejected) {
		for _, p := range r.Problems {
			out = append(out, p.Message)
		}
	}
	return strings.Join(out, "; ")
}

func (m *memory) kinds(k engine.Kind) []engine.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []engine.Record
	for _, r := range m.records {
		if r.Kind == k {
			out = append(out, r)
		}
	}
	return out
}

// bench is an engine with its hosts and journal, in a synctest bubble.
type bench struct {
	t       *testing.T
	ctx     context.Context
	hosts   *hosts
	journal *memory
	keys    *ring
	obs     chan engine.Observation
	e       *engine.Engine
	stop    func()
}

func run(t *testing.T, f func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, hosts: newHosts(), journal: &memory{}, keys: &ring{}}
		b.start()
		f(b)
		b.stop()
	})
}

// start begins a new engine on the same hosts and journal, as a restart of zeekrec does.
func (b *bench) start() { b.startOn(b.hosts, parse) }

func (b *bench) startOn(agents engine.Agents, parse engine.Parser) {
	ctx, cancel := context.WithCancel(b.t.Context())
	b.ctx = ctx
	b.obs = make(chan engine.Observation, 1)
	b.e = engine.New(engine.Config{
		Source: "/etc/zeek/clusters", Observations: b.obs, Look: func() {}, Agents: agents, Journal: b.journal, Keys: b.keys, State: b.journal.state(),
		Parse: parse, Validate: func([]*desired.Cluster) []desired.Diagnostic { return nil }, Instance: "agent-a",
	})
	done := make(chan struct{})
	go func() { defer close(done); _ = b.e.Run(ctx) }()
	b.stop = func() { cancel(); <-done }
}

// see lets the source yield files: "dmz": "worker-1 worker-2=env".
func (b *bench) see(files map[string]string) {
	b.obs <- observation(files)
	b.settle()
}

func observation(files map[string]string) engine.Observation {
	s := &desired.Snapshot{URL: "/etc/zeek/clusters", At: time.Now()}
	for _, n := range slices.Sorted(maps.Keys(files)) {
		s.Files = append(s.Files, desired.ClusterFile{Name: n, File: n + ".cfg", Data: []byte(files[n])})
	}
	return engine.Observation{Snapshot: s, CheckedAt: time.Now()}
}

// settle lets a minute pass, which is none.
func (b *bench) settle() {
	time.Sleep(time.Minute)
	synctest.Wait()
}

func (b *bench) status(cluster string) engine.ClusterStatus {
	b.t.Helper()
	s, err := b.e.Status(b.ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range s.Clusters {
		if c.Name == cluster {
			return c
		}
	}
	return engine.ClusterStatus{}
}

func (b *bench) want(what, got, want string) {
	b.t.Helper()
	if got != want {
		b.t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

// parse reads the tests' own little language: words, each a node by the beginning of its name; "name=x" sets
// its environment, "name:N" its port, "!suspend" the setting, "!broker" asks for a broker of its own, "!external" for somebody
// else's, "!curve" for encryption, "!bad" is an error.
func parse(f desired.ClusterFile, instance string) (*desired.Cluster, []desired.Diagnostic) {
	c := &desired.Cluster{Name: f.Name, File: f.File, Revision: f.Revision(), Files: f.Tree.Hash(), Instances: []desired.Instance{{Name: instance}}}
	c.Settings = desired.Settings{
		Backend: desired.BackendZeroMQ, MaxUnavailable: desired.Quantity{N: 1}, PruneGuard: desired.Quantity{N: 30, Percent: true}, AutoRevert: true,
		ScriptsStated: true, Broker: desired.BrokerSettings{Mode: "manager"},
	}
	for w := range strings.FieldsSeq(string(f.Data)) {
		switch w {
		case "!suspend":
			c.Settings.Suspend = true
			continue
		case "!broker":
			c.Settings.Broker.Mode = "standalone"
			continue
		case "!external":
			c.Settings.Broker = desired.BrokerSettings{Mode: "external", XPub: "tcp://192.0.2.1:5555", XSub: "tcp://192.0.2.1:5556"}
			continue
		case "!curve":
			c.Settings.Broker.Curve = "on"
			continue
		case "!bad":
			return c, []desired.Diagnostic{{File: f.File, Line: 1, Severity: desired.Error, Code: "bad", Message: "it is bad"}}
		case "#comment":
			continue
		}
		name, env, _ := strings.Cut(w, "=")
		if name == "!option" {
			name, value, _ := strings.Cut(env, "=")
			c.Settings.Options = append(c.Settings.Options, desired.Option{Name: name, Value: value, Line: 1})
			continue
		}
		if name == "!zeek" {
			c.Settings.Zeek = env
			continue
		}
		name, number, _ := strings.Cut(name, ":")
		port, _ := strconv.Atoi(number)
		n := desired.Node{Name: name, Instance: instance, Role: desired.RoleWorker, Port: port}
		for _, r := range []desired.Role{desired.RoleManager, desired.RoleLogger, desired.RoleProxy} {
			if strings.HasPrefix(name, string(r)) {
				n.Role = r
			}
		}
		if env != "" {
			n.Env = map[string]string{"E": env}
		}
		c.Nodes = append(c.Nodes, n)
	}
	return c, nil
}
