//go:build linux

package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
	"github.com/zeekrec/zeekrec/observed"
)

// fakeBrokers answers in the place of a broker.
type fakeBrokers struct {
	mu      sync.Mutex
	status  BrokerStatus
	silent  error    // of Status
	hangs   bool     // Status and Apply wait until their time is over
	refuses error    // of Apply
	deaf    error    // of Dead
	hung    []string // who do not answer a ping

	sockets  []string
	asked    int
	settings string
	keys     []launch.CurveKeys
	applied  int
	dead     []string
	pinged   [][]string
}

func (f *fakeBrokers) dial(socket string) BrokerControl {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sockets = append(f.sockets, socket)
	return f
}

func (f *fakeBrokers) with(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeBrokers) wait(ctx context.Context) error {
	f.mu.Lock()
	hangs := f.hangs
	f.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (f *fakeBrokers) Status(ctx context.Context) (BrokerStatus, error) {
	if err := f.wait(ctx); err != nil {
		return BrokerStatus{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	return f.status, f.silent
}

func (f *fakeBrokers) Apply(ctx context.Context, settings []byte, keys []launch.CurveKeys) error {
	if err := f.wait(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuses != nil {
		return f.refuses
	}
	f.applied++
	f.settings, f.keys = strings.TrimSpace(string(settings)), keys
	return nil
}

func (f *fakeBrokers) Dead(_ context.Context, node string, pid int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.deaf == nil {
		f.dead = append(f.dead, fmt.Sprint(node, " ", pid))
	}
	return f.deaf
}

// Ping is answered by everybody but those who hang.
func (f *fakeBrokers) Ping(ctx context.Context, nodes []string, within time.Duration) (Pinged, error) {
	if err := f.wait(ctx); err != nil {
		return Pinged{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pinged = append(f.pinged, nodes)
	p := Pinged{Answered: map[string]time.Duration{}}
	for _, n := range nodes {
		if !slices.Contains(f.hung, n) {
			p.Answered[n] = time.Millisecond
		}
	}
	return p, f.silent
}

func (f *fakeBrokers) Ask(_ context.Context, q Question) (Answer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.silent != nil {
		return Answer{}, f.silent
	}
	if q.ID == "nope" {
		return Answer{Refused: "unknown id"}, nil
	}
	return Answer{Value: fmt.Sprintf("%q", q.What+" "+q.ID+" of "+q.Node)}, nil
}

// has waits until the fake has heard what it should.
func (f *fakeBrokers) has(w *world, what string, ok func() bool) {
	w.t.Helper()
	w.eventually(what, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return ok()
	})
}

// fakeKeys are keys by id; those that are not there cannot be read.
type fakeKeys struct {
	mu   sync.Mutex
	keys map[string]launch.CurveKeys
}

func (k *fakeKeys) Get(_, id string) (launch.CurveKeys, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if v, ok := k.keys[id]; ok {
		return v, nil
	}
	return launch.CurveKeys{}, errors.New("it is not in the store")
}

func (k *fakeKeys) set(ids ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys = map[string]launch.CurveKeys{}
	for _, id := range ids {
		k.keys[id] = launch.CurveKeys{
			ServerPublic: "public-server-" + id, ServerSecret: "s3cret-server-" + id,
			ClientPublic: "public-client-" + id, ClientSecret: "s3cret-client-" + id,
		}
	}
}

// newBrokerWorld is a world with fakes of what brokers and keys are reached through.
func newBrokerWorld(t *testing.T, change ...func(*Config)) (*world, *fakeBrokers, *fakeKeys) {
	t.Helper()
	b, k := &fakeBrokers{status: BrokerStatus{Version: "1.0"}}, &fakeKeys{}
	w := newWorld(t, append([]func(*Config){func(c *Config) { c.Brokers, c.Keys, c.Version = b.dial, k, "1.0" }}, change...)...)
	return w, b, k
}

// broker is the resource dmz/broker, on ports that are free.
func broker(t *testing.T, change ...func(*desired.BrokerSpec)) desired.Resource {
	t.Helper()
	s := &desired.BrokerSpec{XPub: "tcp://" + freePort(t), XSub: "tcp://" + freePort(t)}
	for _, c := range change {
		c(s)
	}
	return brokerOf(s)
}

func brokerOf(s *desired.BrokerSpec) desired.Resource {
	r := desired.Resource{Cluster: "dmz", Name: "broker", Type: desired.TypeBroker, Role: desired.RoleBroker, Instance: "agent-a", Broker: s}
	r.Parts = desired.Parts{
		{Field: "xpub", Relation: desired.Equal, Values: []string{s.XPub}}, {Field: "xsub", Relation: desired.Equal, Values: []string{s.XSub}},
		{Field: "accepts", Relation: desired.Live, Values: s.Curve},
	}
	if s.SndHWM != 0 {
		r.Parts = append(r.Parts, &desired.Part{Field: "sndhwm", Relation: desired.Live, Values: []string{fmt.Sprint(s.SndHWM)}})
	}
	r.Seal()
	return r
}

// changed is the broker with another spec on the same ports.
func changed(r desired.Resource, change func(*desired.BrokerSpec)) desired.Resource {
	s := *r.Broker
	change(&s)
	return brokerOf(&s)
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (w *world) untilBroker(what string, ok func(observed.Resource) bool) observed.Resource {
	w.t.Helper()
	var r observed.Resource
	w.eventually(what, func() bool {
		r, _ = w.get("dmz/broker")
		return ok(r)
	})
	return r
}

func isHealthy(r observed.Resource) bool { return r.Healthy }

func TestBroker(t *testing.T) {
	w, b, _ := newBrokerWorld(t)
	r := broker(t, func(s *desired.BrokerSpec) { s.SndHWM = 50 })
	w.do(order(desired.Start, r, ""))
	got := w.untilBroker("healthy", isHealthy)
	if got.State != observed.Running || got.Reason != "" || got.Type != "broker" || got.PID == 0 || got.Incarnation != 1 || got.Version != "1.0" ||
		got.Members == nil || len(got.Members) > 0 || len(got.Outdated) > 0 || !strings.HasSuffix(r.Broker.XPub, fmt.Sprint(":", got.Port)) {
		t.Errorf("%+v", got)
	}
	f := w.folder("dmz", "broker")
	written, err := os.ReadFile(f.broker().Settings)
	b.has(w, "settings", func() bool { return b.settings == `{"sndhwm":50}` })
	if err != nil || strings.TrimSpace(string(written)) != `{"sndhwm":50}` {
		t.Errorf("settings on disk %q, %v", written, err)
	}
	b.with(func() {
		if want := []string{filepath.Join(w.state, "clusters/dmz/nodes/broker/work/admin.sock")}; !slices.Equal(b.sockets, want) {
			t.Errorf("sockets %v, want %v", b.sockets, want)
		}
		b.status.Members = []observed.Member{{Name: "w2", PID: 3}, {Name: "w1", PID: 7}}
	})
	w.untilBroker("members, sorted", func(r observed.Resource) bool {
		return slices.Equal(r.Members, []observed.Member{{Name: "w1", PID: 7}, {Name: "w2", PID: 3}})
	})
	w.do(order(desired.Start, r, "")) // repeated
	w.do(order(desired.Restart, r, r.ID))
	w.untilBroker("restarted", func(n observed.Resource) bool { return n.Healthy && n.Incarnation == 2 && n.PID != got.PID })
	w.do(order(desired.Stop, r, r.ID))
	w.eventually("gone", func() bool { _, ok := w.get("dmz/broker"); return !ok })
	if k := w.kinds(); len(k) > 0 {
		t.Errorf("events of mere orders: %v", k)
	}
}

func TestKilledBrokerIsReplaced(t *testing.T) {
	w, b, _ := newBrokerWorld(t)
	r := broker(t)
	begun := time.Now()
	w.do(order(desired.Start, r, ""))
	was := w.untilBroker("healthy", isHealthy)
	limit := time.Second + 2*time.Since(begun) // a second, where nothing else keeps the machine busy
	b.with(func() { b.applied = 0 })
	begun = time.Now()
	killPID(t, was.PID)
	now := w.untilBroker("a new process", func(r observed.Resource) bool { return r.Healthy && r.PID != was.PID })
	if d := time.Since(begun); d > limit {
		t.Errorf("took %s", d)
	}
	if now.Restarts != 1 || now.Incarnation != 2 || now.State != observed.Running {
		t.Errorf("%+v", now)
	}
	b.has(w, "told again", func() bool { return b.applied == 1 })
	if e := w.event("restarted"); !strings.HasSuffix(e.Text, "incarnation 2") {
		t.Errorf("%+v", e)
	}
}

// What is told while the broker runs is tried until it is taken; the agent has it as told meanwhile.
func TestBrokerIsToldUntilItHears(t *testing.T) {
	w, b, _ := newBrokerWorld(t)
	r := broker(t)
	w.do(order(desired.Start, r, ""))
	was := w.untilBroker("healthy", isHealthy)
	b.with(func() { b.refuses = errors.New("not now") })
	more := changed(r, func(s *desired.BrokerSpec) { s.SndHWM = 7 })
	w.do(order(desired.Update, more, r.ID))
	got := w.untilBroker("trouble", func(r observed.Resource) bool { return strings.Contains(r.Reason, "not now") })
	if got.Healthy || got.State != observed.Running || got.Told != more.ID || got.Reason != "it has not taken its settings: not now" || !slices.Equal(got.Parts.Get("sndhwm"), []string{"7"}) {
		t.Errorf("%+v", got)
	}
	b.with(func() { b.refuses = nil })
	got = w.untilBroker("taken", isHealthy)
	if got.PID != was.PID || got.Reason != "" {
		t.Errorf("%+v", got)
	}
	b.has(w, "settings", func() bool { return b.settings == `{"sndhwm":7}` })
	if written, err := os.ReadFile(w.folder("dmz", "broker").broker().Settings); err != nil || !strings.Contains(string(written), "7") {
		t.Errorf("for its next start: %q, %v", written, err)
	}
	w.refused(order(desired.Update, changed(more, func(s *desired.BrokerSpec) { s.XPub = "tcp://127.0.0.1:1" }), more.ID), "takes a restart")
}

func TestBrokerThatDoesNotAnswer(t *testing.T) {
	var ahead atomic.Int64
	w, b, _ := newBrokerWorld(t, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) } })
	r := broker(t)
	b.with(func() { b.silent = errors.New("connection refused") })
	w.do(order(desired.Start, r, ""))
	got := w.untilBroker("running", func(r observed.Resource) bool { return r.State == observed.Running })
	if got.Healthy || got.Members != nil || !strings.Contains(got.Reason, "not answer") {
		t.Errorf("%+v", got)
	}
	b.with(func() { b.silent = nil })
	w.untilBroker("healthy", isHealthy)

	// One answer that is missing is nothing yet.
	asked := 0
	b.with(func() { b.silent, asked = errors.New("connection refused"), b.asked })
	b.has(w, "asked in vain", func() bool { return b.asked > asked+2 })
	if got, _ := w.get("dmz/broker"); !got.Healthy || got.Members == nil {
		t.Errorf("%+v", got)
	}
	ahead.Store(int64(brokerPatience + time.Second))
	got = w.untilBroker("not healthy", func(r observed.Resource) bool { return !r.Healthy })
	if got.Members != nil || got.State != observed.Running || got.Reason != "it does not answer: connection refused" {
		t.Errorf("%+v", got)
	}

	// Another process in its place is no answer.
	b.with(func() { b.silent, b.status.PID = nil, got.PID+1 })
	w.untilBroker("another process", func(r observed.Resource) bool {
		return !r.Healthy && r.Reason == fmt.Sprintf("it does not answer: process %d answers in its place", got.PID+1)
	})
	b.with(func() { b.status.PID = got.PID })
	w.untilBroker("healthy again", isHealthy)
}

// A broker that hangs delays neither its own supervision nor the agent's end.
func TestBrokerThatHangs(t *testing.T) {
	w, b, _ := newBrokerWorld(t)
	r := broker(t)
	b.with(func() { b.hangs = true })
	w.do(order(desired.Start, r, ""))
	w.untilBroker("running", func(r observed.Resource) bool { return r.State == observed.Running })
	begun := time.Now()
	w.do(order(desired.Update, changed(r, func(s *desired.BrokerSpec) { s.SndHWM = 7 }), r.ID))
	if d := time.Since(begun); d > brokerAnswer/2 {
		t.Errorf("an update took %s", d)
	}
	w.untilBroker("said", func(r observed.Resource) bool { return r.Reason == "it does not answer: no answer within 1s" })
	begun = time.Now()
	w.stop()
	if d := time.Since(begun); d > brokerAnswer/2 {
		t.Errorf("the end took %s", d)
	}
}

func TestBrokersHearOfNodesThatEnded(t *testing.T) {
	w, b, _ := newBrokerWorld(t)
	w.do(order(desired.Start, broker(t), ""))
	was := w.untilBroker("healthy", isHealthy)
	w.do(order(desired.Start, worker(), ""))
	one := w.untilState(observed.Running)
	begun := time.Now()
	killPID(t, one.PID)
	b.has(w, "killed", func() bool { return slices.Equal(b.dead, []string{fmt.Sprint("w1 ", one.PID)}) })
	if d := time.Since(begun); d > time.Second {
		t.Errorf("took %s", d)
	}

	// It is told again where it could not be, and so is the next broker's process.
	b.with(func() { b.deaf = errors.New("connection refused") })
	two := w.until("replaced", func(r observed.Resource) bool { return r.State == observed.Running && r.PID != one.PID })
	w.do(order(desired.Stop, worker(), worker().ID))
	w.untilGone()
	killPID(t, was.PID)
	w.untilBroker("another broker", func(r observed.Resource) bool { return r.Healthy && r.PID != was.PID })
	b.with(func() { b.deaf, b.dead = nil, nil })
	b.has(w, "stopped", func() bool { return slices.Contains(b.dead, fmt.Sprint("w1 ", two.PID)) })

	// What ended while nobody looked, too.
	w.do(order(desired.Start, worker(), ""))
	three := w.untilState(observed.Running)
	w.stop()
	killPID(t, three.PID)
	w.start()
	b.has(w, "lost", func() bool { return slices.Contains(b.dead, fmt.Sprint("w1 ", three.PID)) })
}

func TestBrokerIsFoundAgain(t *testing.T) {
	w, b, k := newBrokerWorld(t)
	k.set("k1", "k2")
	r := broker(t, func(s *desired.BrokerSpec) { s.Curve = []string{"k1"} })
	w.do(order(desired.Start, r, ""))
	was := w.untilBroker("healthy", isHealthy)
	// Told, and not taken before the agent ended.
	b.with(func() { b.refuses = errors.New("not now") })
	more := changed(r, func(s *desired.BrokerSpec) { s.Curve = []string{"k2", "k1"} })
	w.do(order(desired.Update, more, r.ID))
	w.stop()
	b.with(func() { b.refuses, b.keys = nil, nil })
	w.start()
	got := w.untilBroker("healthy", isHealthy)
	if got.PID != was.PID || got.Told != more.ID {
		t.Errorf("%+v", got)
	}
	b.has(w, "keys", func() bool { return len(b.keys) == 2 && b.keys[0].ServerSecret == "s3cret-server-k2" })

	// One that nothing says should run is left alone: what it is to be, nobody knows.
	w.stop()
	f := w.folder("dmz", "broker")
	if err := os.Remove(f.told()); err != nil {
		t.Fatal(err)
	}
	b.with(func() { b.applied = 0 })
	orphan := func(r observed.Resource) bool {
		return r.Healthy && r.PID == was.PID && r.Type == "broker" && strings.Contains(r.Reason, "orphaned")
	}
	w.start()
	w.untilBroker("orphaned", orphan)
	b.with(func() {
		if b.applied != 0 {
			t.Error("an orphan was told something")
		}
	})
	w.do(order(desired.Start, more, ""))
	w.untilBroker("told again", func(r observed.Resource) bool { return r.Healthy && r.Told == more.ID && r.PID == was.PID })
	b.has(w, "keys", func() bool { return b.applied > 0 && len(b.keys) == 2 })

	// Without any record it is found by its mark.
	w.stop()
	if err := errors.Join(os.Remove(f.running()), os.Remove(f.told())); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.untilBroker("orphaned", orphan)
}

func TestFailedBrokerWaitsForItsPorts(t *testing.T) {
	w, _, _ := newBrokerWorld(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	r := broker(t, func(s *desired.BrokerSpec) { s.XPub = "tcp://" + taken.Addr().String() })
	w.do(order(desired.Start, r, ""))
	got := w.untilBroker("failed", func(r observed.Resource) bool { return r.State == observed.Failed })
	if !strings.Contains(got.Reason, "address already in use") {
		t.Errorf("%+v", got)
	}
	taken.Close()
	w.untilBroker("tried again", isHealthy)
}

func TestOutdatedBroker(t *testing.T) {
	w, b, _ := newBrokerWorld(t)
	dir := t.TempDir()
	program := func(name string) string {
		t.Helper()
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.Symlink(exe, path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	w.stop()
	w.cfg.Self = program("zeekrec")
	w.start()
	r := broker(t)
	w.do(order(desired.Start, r, ""))
	was := w.untilBroker("healthy", func(r observed.Resource) bool { return r.Healthy && r.Version == "1.0" })
	if len(was.Outdated) > 0 {
		t.Errorf("%q", was.Outdated)
	}

	// A newer zeekrec at the same place: the program on disk is another one.
	w.stop()
	script := filepath.Join(dir, "newer")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(script, w.cfg.Self); err != nil {
		t.Fatal(err)
	}
	w.cfg.Version = "1.1"
	w.start()
	w.untilBroker("version", func(r observed.Resource) bool { return slices.Equal(r.Outdated, []string{"zeekrec 1.0 -> 1.1"}) })

	// The program is what it was started with, and says that it is of another version than the agent: a fresh start
	// would change nothing.
	w.stop()
	if err := os.Remove(w.cfg.Self); err != nil {
		t.Fatal(err)
	}
	program("zeekrec")
	b.with(func() { b.status.Version = "1.2" })
	w.start()
	got := w.untilBroker("version", func(r observed.Resource) bool { return r.Version == "1.2" })
	if len(got.Outdated) > 0 || got.PID != was.PID {
		t.Errorf("%+v", got)
	}

	// Somewhere else.
	w.stop()
	w.cfg.Self = program("elsewhere")
	w.start()
	got = w.untilBroker("command line", func(r observed.Resource) bool { return slices.Contains(r.Outdated, "command line") })
	if got.PID != was.PID || !got.Healthy && got.State != observed.Running {
		t.Errorf("%+v", got)
	}
	// A crash is healed with the program that there is.
	if err := os.Remove(filepath.Join(dir, "zeekrec")); err != nil {
		t.Fatal(err)
	}
	killPID(t, was.PID)
	w.untilBroker("healed", func(r observed.Resource) bool { return r.Healthy && r.PID != was.PID && len(r.Outdated) == 0 })
}

// encrypts is a worker with keys.
func encrypts(id string) func(*desired.Resource) {
	return func(r *desired.Resource) {
		r.Node.Curve, r.Node.BrokerMode = id, desired.BrokerStandalone
		part("curve", desired.Equal, id)(r)
	}
}

func environ(t *testing.T, pid int) []string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
}

const curve = "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_"

func TestKeysGoToProcessesAlone(t *testing.T) {
	var mu sync.Mutex
	var log bytes.Buffer
	w, _, k := newBrokerWorld(t, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	k.set("k1", "k2")
	node, bro := worker(encrypts("k1")), broker(t, func(s *desired.BrokerSpec) { s.Curve = []string{"k2", "k1"} })
	w.do(order(desired.Start, bro, ""))
	w.do(order(desired.Start, node, ""))
	was := w.untilState(observed.Running)
	killPID(t, was.PID) // healing takes the command of the record, and the keys from the store
	now := w.until("healed", func(r observed.Resource) bool { return r.State == observed.Running && r.PID != was.PID })
	env := environ(t, now.PID)
	for _, want := range []string{curve + "CLIENT_PUBLICKEY=public-client-k1", curve + "CLIENT_SECRETKEY=s3cret-client-k1", curve + "SERVER_PUBLICKEY=public-server-k1"} {
		if !slices.Contains(env, want) {
			t.Errorf("a worker's environment lacks %s", want)
		}
	}
	if all := strings.Join(env, "\n"); strings.Contains(all, "s3cret-server") {
		t.Error("a worker has the server's secret")
	}

	b := w.untilBroker("healthy", isHealthy)
	env = environ(t, b.PID)
	for _, want := range []string{curve + "CLIENT_PUBLICKEY=public-client-k2", curve + "SERVER_PUBLICKEY=public-server-k2", curve + "SERVER_SECRETKEY=s3cret-server-k2"} {
		if !slices.Contains(env, want) {
			t.Errorf("the broker's environment lacks %s", want)
		}
	}
	i := slices.IndexFunc(env, func(e string) bool { return strings.HasPrefix(e, brokerKeysVariable+"=") })
	var list []map[string]string
	if i < 0 || json.Unmarshal([]byte(strings.TrimPrefix(env[i], brokerKeysVariable+"=")), &list) != nil || len(list) != 2 {
		t.Fatalf("the broker's keys: %d, %v", i, list)
	}
	for j, id := range []string{"k2", "k1"} {
		for field, want := range map[string]string{"server_public": "public-server-" + id, "server_secret": "s3cret-server-" + id, "client_public": "public-client-" + id} {
			if list[j][field] != want {
				t.Errorf("entry %d: %s", j, field)
			}
		}
		if len(list[j]) != 3 {
			t.Errorf("entry %d has %d fields", j, len(list[j]))
		}
	}
	if all := strings.Join(env, "\n"); strings.Contains(all, "s3cret-client") {
		t.Error("the broker has the clients' secret")
	}

	// And nowhere else.
	leaks := func(where string, b []byte) {
		if bytes.Contains(b, []byte("s3cret")) {
			t.Errorf("%s has a key", where)
		}
	}
	err := filepath.WalkDir(w.state, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		leaks(path, content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	report, err := json.Marshal(w.Report())
	if err != nil {
		t.Fatal(err)
	}
	leaks("the report", report)
	for _, name := range []string{"w1", "broker"} {
		d, err := w.Diag("dmz", name)
		if err != nil || len(d) < 5 {
			t.Fatalf("%v, %d files", err, len(d))
		}
		for file, content := range d {
			leaks("the bundle of "+name+": "+file, content)
		}
		if is, err := w.Encrypts("dmz", name); err != nil || !is {
			t.Errorf("%s: encrypts %t, %v", name, is, err)
		}
	}
	w.stop()
	mu.Lock()
	defer mu.Unlock()
	leaks("the log", log.Bytes())
	if log.Len() == 0 {
		t.Error("no log")
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func TestNodeWithoutItsKeysIsNotStarted(t *testing.T) {
	w, _, k := newBrokerWorld(t)
	r := worker(encrypts("k1"))
	if ps, err := w.Check(t.Context(), []desired.Resource{r}); err != nil || len(ps) != 1 || ps[0].Permanent ||
		ps[0].Message != "cannot read key k1 of dmz: it is not in the store" {
		t.Errorf("check: %+v, %v", ps, err)
	}
	w.do(order(desired.Start, r, ""))
	got := w.untilState(observed.Failed)
	if !strings.Contains(got.Reason, "cannot start: cannot read key k1 of dmz: it is not in the store") || got.PID != 0 || got.Incarnation != 0 {
		t.Errorf("%+v", got)
	}
	k.set("k1")
	w.untilState(observed.Running)
	if ps, err := w.Check(t.Context(), []desired.Resource{r}); err != nil || len(ps) > 0 {
		t.Errorf("check: %+v, %v", ps, err)
	}

	// An agent without a store of keys says so.
	w.stop()
	w.cfg.Keys = nil
	w.start()
	if ps, err := w.Check(t.Context(), []desired.Resource{r}); err != nil || len(ps) != 1 || !strings.Contains(ps[0].Message, "this agent has no keys") {
		t.Errorf("check: %+v, %v", ps, err)
	}
}

// A broker starts with the keys that there are. What it accepts is never made less because something cannot be read.
func TestBrokerWithoutSomeOfItsKeys(t *testing.T) {
	w, b, k := newBrokerWorld(t)
	k.set("k1")
	r := broker(t, func(s *desired.BrokerSpec) { s.Curve = []string{"k2", "k1"} })
	w.do(order(desired.Start, r, ""))
	got := w.untilBroker("running", func(r observed.Resource) bool {
		return r.State == observed.Running && strings.Contains(r.Reason, "cannot read key k2")
	})
	if got.Healthy || got.Reason != "it has not taken its settings: cannot read key k2 of dmz: it is not in the store" {
		t.Errorf("%+v", got)
	}
	if env := environ(t, got.PID); !slices.Contains(env, curve+"SERVER_SECRETKEY=s3cret-server-k1") {
		t.Error("it has not got the key that there is")
	}
	b.with(func() {
		if b.applied > 0 {
			t.Errorf("it was told to accept %v", b.keys)
		}
	})
	k.set("k1", "k2")
	w.untilBroker("healthy", isHealthy)
	b.has(w, "both", func() bool { return len(b.keys) == 2 })
}

func TestCheckOfBroker(t *testing.T) {
	w, _, k := newBrokerWorld(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	k.set("k1")
	check := func(r desired.Resource) string {
		t.Helper()
		ps, err := w.Check(t.Context(), []desired.Resource{r})
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, p := range ps {
			out = append(out, p.Message)
		}
		return strings.Join(out, "; ")
	}
	good := broker(t, func(s *desired.BrokerSpec) { s.Curve = []string{"k1"} })
	for want, r := range map[string]desired.Resource{
		"": good,
		"another program listens on " + taken.Addr().String():                              changed(good, func(s *desired.BrokerSpec) { s.XSub = "tcp://" + taken.Addr().String() }),
		"cannot read key k2 of dmz: it is not in the store":                                changed(good, func(s *desired.BrokerSpec) { s.Curve = []string{"k1", "k2"} }),
		`cannot become user "nobody-of-that-name": user: unknown user nobody-of-that-name`: changed(good, func(s *desired.BrokerSpec) { s.User = "nobody-of-that-name" }),
	} {
		if got := check(r); got != want {
			t.Errorf("got %q\nwant %q", got, want)
		}
	}
	w.stop()
	w.cfg.Self = "/nonexistent/zeekrec"
	w.start()
	if got := check(good); !strings.Contains(got, `there is no program at "/nonexistent/zeekrec"`) {
		t.Errorf("without a program: %q", got)
	}
}

func TestBrokersAreAskedOftenWhileNodesJoin(t *testing.T) {
	var ahead atomic.Int64
	w, _, _ := newBrokerWorld(t, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) } })
	want := func(what string, members []observed.Member, is bool) {
		t.Helper()
		if got := w.joining("dmz", members); got != is {
			t.Errorf("%s: %t", what, got)
		}
	}
	want("no nodes", nil, false)
	w.do(order(desired.Start, worker(part("broker", desired.Equal, "a", "b")), ""))
	r := w.untilState(observed.Running)
	member := []observed.Member{{Name: "w1", PID: r.PID}}
	want("just started", member, true)
	if w.joining("other", nil) {
		t.Error("another cluster's nodes")
	}
	ahead.Store(int64(joinLately + time.Second)) // less than the deadline would be due
	want("member", member, false)
	w.cfg.Timings.StartDeadline = time.Minute
	ahead.Store(int64(2 * time.Minute))
	want("long since given up", nil, false)
}

func TestEndingsAreBounded(t *testing.T) {
	var b brokers
	at := time.Unix(1000, 0)
	for i := range endedMost + 10 {
		b.died("dmz", "w", i, at)
	}
	if es := b.endedAfter(0, "dmz", at); len(es) != endedMost || es[0].pid != 10 {
		t.Errorf("%d, first %+v", len(es), es[0])
	}
	if es := b.endedAfter(endedMost+9, "dmz", at); len(es) != 1 {
		t.Errorf("%+v", es)
	}
	if es := b.endedAfter(0, "other", at); len(es) > 0 {
		t.Errorf("%+v", es)
	}
	at = at.Add(endedKept + time.Second)
	b.died("dmz", "w", 1, at)
	if es := b.endedAfter(0, "dmz", at); len(es) != 1 {
		t.Errorf("%d are kept", len(es))
	}
}
