package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/zeekrec/zeekrec/actuators/broker"
	"github.com/zeekrec/zeekrec/actuators/broker/admin"
	"github.com/zeekrec/zeekrec/actuators/broker/internal/rawpeer"
	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
	"github.com/zeekrec/zeekrec/actuators/socket"
)

const testTime = 20 * time.Second

// rig is a broker that runs, its ports, and its socket at a path that fits into no address.
type rig struct {
	b          *broker.Broker
	xpub, xsub net.Listener
	path       string
	client     *admin.Client
}

func newRig(t *testing.T, cfg broker.Config) *rig {
	t.Helper()
	b, err := broker.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{b: b, xpub: listen(t), xsub: listen(t)}
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r.path = filepath.Join(dir, "broker.sock")
	ln, err := socket.Listen(r.path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- b.Serve(ctx, r.xpub, r.xsub) }()
	go func() { ended <- socket.Serve(ctx, ln, admin.Handler(b)) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	r.client = admin.Dial(r.path)
	return r
}

func listen(t *testing.T) net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func join(t *testing.T, ln net.Listener, k rawpeer.Kind) *rawpeer.Peer {
	t.Helper()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(testTime))
	p, err := rawpeer.Shake(conn, k)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// settle waits until the broker has read what was written: it answers a PING in its turn.
func settle(t *testing.T, p *rawpeer.Peer) {
	t.Helper()
	if err := p.Write(rawpeer.AppendCommand(nil, "PING", []byte("\x00\x00settle"))); err != nil {
		t.Fatal(err)
	}
	for {
		it, err := p.Next()
		if err != nil {
			t.Fatal(err)
		}
		if it.Command == "PONG" {
			return
		}
	}
}

// node joins as worker-1, on both ports.
func (r *rig) node(t *testing.T) (sub, pub *rawpeer.Peer) {
	t.Helper()
	sub, pub = join(t, r.xpub, rawpeer.XSUB(1)), join(t, r.xsub, rawpeer.XPUB(1))
	for _, topic := range []string{"zeek.cluster.nodeid.zeromq_worker-1_host_4711_Nx.", "zeek.cluster.node.worker-1.", "zeek.cluster.worker"} {
		if err := sub.Subscribe(topic); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, sub)
	if err := pub.Send("zeek.cluster.worker", "zeromq_worker-1_host_4711_Nx", "f", "p"); err != nil {
		t.Fatal(err)
	}
	settle(t, pub)
	if it, err := sub.Next(); err != nil || len(it.Frames) != 4 {
		t.Fatalf("got %+v, %v", it, err)
	}
	return sub, pub
}

func TestStatus(t *testing.T) {
	r := newRig(t, broker.Config{Version: "1.2.3"})
	r.node(t)
	got, err := r.client.Status(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	if got.Version != "1.2.3" || got.PID != os.Getpid() || got.XPub != "tcp://"+r.xpub.Addr().String() || got.XSub != "tcp://"+r.xsub.Addr().String() ||
		got.Settings.SndHWM != broker.DefaultSndHWM || got.Received.Messages != 1 || got.Peers != nil {
		t.Errorf("got %+v", got)
	}
	if len(got.Members) != 1 {
		t.Fatalf("members: %+v", got.Members)
	}
	m := got.Members[0]
	m.Since = time.Time{}
	if want := (broker.Member{Name: "worker-1", ID: "zeromq_worker-1_host_4711_Nx", Role: "worker", Host: "host", PID: 4711, Connected: true}); m != want {
		t.Errorf("got %+v, want %+v", m, want)
	}
	got, err = r.client.Status(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Peers) != 2 || got.Peers[0].Kind != "subscriber" || got.Peers[0].Node != "worker-1" || got.Peers[0].Subscriptions != 3 ||
		got.Peers[1].Kind != "publisher" || got.Peers[1].Node != "worker-1" || got.Peers[1].Passed.Messages != 1 || got.Peers[1].Mechanism != "NULL" {
		t.Errorf("peers: %+v", got.Peers)
	}
}

func TestSettings(t *testing.T) {
	r := newRig(t, broker.Config{})
	want := broker.Settings{SndHWM: 5, QueueBytes: -1, Policy: broker.Block, Grace: time.Minute, Heartbeat: -1}
	if err := r.client.Apply(t.Context(), want, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.client.Apply(t.Context(), broker.Settings{Policy: "none"}, nil); err == nil || !strings.Contains(err.Error(), "drop, disconnect or block") {
		t.Errorf("nonsense: %v", err)
	}
	if got := r.b.Status(false).Settings; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func keys(t *testing.T) admin.Keys {
	t.Helper()
	server, err := zmtp.GenerateKeyPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := zmtp.GenerateKeyPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	return admin.Keys{ServerPublic: server.Public.Z85(), ServerSecret: server.Secret.Z85(), ClientPublic: client.Public.Z85()}
}

// TestKeys: they are changed and taken away; no answer has a secret in it, not even one about a secret that is wrong.
func TestKeys(t *testing.T) {
	r := newRig(t, broker.Config{})
	a, b := keys(t), keys(t)
	public := func() []string { return r.b.Status(false).Curve }
	apply := func(ks []admin.Keys) error { return r.client.Apply(t.Context(), broker.Settings{}, ks) }
	if err := apply([]admin.Keys{b, a}); err != nil || !reflect.DeepEqual(public(), []string{b.ServerPublic, a.ServerPublic}) {
		t.Fatalf("%v, %v", public(), err)
	}
	if err := apply(nil); err != nil || len(public()) != 2 {
		t.Errorf("left alone: %v, %v", public(), err)
	}
	if conn, err := net.Dial("tcp", r.xpub.Addr().String()); err != nil {
		t.Error(err)
	} else if _, err := rawpeer.Shake(conn, rawpeer.XSUB(1)); err == nil {
		t.Error("NULL is let in")
	}
	mixed := a
	mixed.ServerSecret = b.ServerSecret
	short := a
	short.ServerSecret = short.ServerSecret[:39]
	odd := a
	odd.ServerSecret = `"` + odd.ServerSecret[1:]
	for name, k := range map[string]admin.Keys{"of another": mixed, "short": short, "odd": odd} {
		err := apply([]admin.Keys{a, k})
		if err == nil || strings.Contains(err.Error(), k.ServerSecret[1:20]) {
			t.Errorf("%s: %v", name, err)
		}
		if len(public()) != 2 {
			t.Errorf("%s: %v", name, public())
		}
	}
	for _, path := range []string{"/v1/status?peers=yes", "/metrics"} {
		w := httptest.NewRecorder()
		admin.Handler(r.b).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		for _, secret := range []string{a.ServerSecret, b.ServerSecret} {
			quoted, _ := json.Marshal(secret)
			if body := w.Body.String(); strings.Contains(body, secret) || strings.Contains(body, string(quoted)) {
				t.Errorf("%s has a secret in it", path)
			}
		}
	}
	if s := strings.Join([]string{a.String(), a.LogValue().String()}, " "); strings.Contains(s, a.ServerSecret) {
		t.Errorf("%s", s)
	}
	if err := apply([]admin.Keys{}); err != nil || len(public()) != 0 {
		t.Errorf("taken away: %v, %v", public(), err)
	}
	join(t, r.xpub, rawpeer.XSUB(1))
}

func TestDead(t *testing.T) {
	r := newRig(t, broker.Config{Settings: broker.Settings{Grace: time.Hour}})
	sub, _ := r.node(t)
	_ = sub.Conn.Close()
	for end := time.Now().Add(testTime); ; time.Sleep(time.Millisecond) {
		if m := r.b.Status(false).Members; len(m) == 1 && !m[0].Connected {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it is not lost")
		}
	}
	if err := r.client.Dead(t.Context(), "worker-1", 4712); err != nil {
		t.Fatal(err)
	}
	if m := r.b.Status(false).Members; len(m) != 1 {
		t.Errorf("members after the death of another process: %+v", m)
	}
	if err := r.client.Dead(t.Context(), "worker-1", 4711); err != nil {
		t.Fatal(err)
	}
	if m := r.b.Status(false).Members; len(m) != 0 {
		t.Errorf("members: %+v", m)
	}
}

func TestAsk(t *testing.T) {
	r := newRig(t, broker.Config{})
	sub, pub := r.node(t)
	go func() {
		it, err := sub.Next()
		if err != nil || len(it.Frames) != 4 {
			return
		}
		m, _ := zeekbus.NewMessage("zeek/control/id_value_response/worker-1", "x", zeekbus.FormatBin,
			zeekbus.Event{Name: "Control::id_value_response", Args: []zeekbus.Value{zeekbus.String("X::x"), zeekbus.String("42")}})
		_ = pub.Write(rawpeer.AppendMessage(nil, m.AppendFrames(nil)...))
	}()
	got, err := r.client.Ask(t.Context(), admin.Question{Node: "worker-1", ID: "X::x"})
	if err != nil || got != (admin.Answer{Node: "worker-1", ID: "X::x", Value: "42"}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := r.client.Ask(t.Context(), admin.Question{Node: "nobody", ID: "X::x"}); err == nil || !strings.Contains(err.Error(), "nobody is subscribed") {
		t.Errorf("nobody: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.client.Ask(ctx, admin.Question{Node: "worker-1", ID: "X::y"}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestAskIsPatient: a question may take longer than a request may take to arrive, and no longer than it says.
func TestAskIsPatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := broker.New(broker.Config{Settings: broker.Settings{Heartbeat: -1}})
		if err != nil {
			t.Fatal(err)
		}
		xpub, xsub, control := newPipes(), newPipes(), newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		go func() { ended <- b.Serve(ctx, xpub, xsub) }()
		go func() { ended <- socket.Serve(ctx, control, admin.Handler(b)) }()
		sub, err := rawpeer.Shake(xpub.dial(), rawpeer.XSUB(1))
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, sub.Conn) }()
		if err := sub.Subscribe("zeek.cluster.node.worker-1."); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for asked, want := range map[string]time.Duration{"0": 5 * time.Second, "100": 100 * time.Second, "1000000000": 5 * time.Minute} {
			conn := control.dial()
			begun := time.Now()
			body := `{"node":"worker-1","id":"X::x","timeout_seconds":` + asked + `}`
			go func() {
				_, _ = io.WriteString(conn, "POST /v1/ask HTTP/1.1\r\nHost: broker\r\nConnection: close\r\nContent-Length: "+itoa(len(body))+"\r\n\r\n"+body)
			}()
			reply, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(reply), "HTTP/1.1 504 ") {
				t.Errorf("%s: %q, %v", asked, reply, err)
			}
			if d := time.Since(begun); d != want {
				t.Errorf("%s: after %v, want %v", asked, d, want)
			}
		}
		_ = sub.Conn.Close()
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

// pipes is a listener without a network.
type pipes struct {
	conns chan net.Conn
	done  context.Context
	close context.CancelFunc
}

func newPipes() *pipes {
	p := &pipes{conns: make(chan net.Conn)}
	p.done, p.close = context.WithCancel(context.Background())
	return p
}

func (p *pipes) dial() net.Conn {
	near, far := net.Pipe()
	p.conns <- far
	return near
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done.Done():
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.close(); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func TestRequestsThatAreWrong(t *testing.T) {
	r := newRig(t, broker.Config{})
	before := r.b.Status(false).Settings
	for _, c := range []struct {
		method, path, body string
		code               int
	}{
		{"PUT", "/v1/settings", "{", 400}, {"PUT", "/v1/settings", `{"settings":5}`, 400}, {"PUT", "/v1/settings", `{"keys":[{"server_secret":5}]}`, 400},
		{"PUT", "/v1/settings", `{"settings":{"policy":"` + strings.Repeat("x", 2<<20) + `"}}`, 400},
		{"POST", "/v1/dead", "", 400}, {"POST", "/v1/ask", "[]", 400}, {"POST", "/v1/ask", "{}", 422}, {"GET", "/v1/settings", "", 405}, {"GET", "/", "", 404},
	} {
		w := httptest.NewRecorder()
		admin.Handler(r.b).ServeHTTP(w, httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)))
		if w.Code != c.code {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, w.Code, w.Body, c.code)
		}
	}
	if got := r.b.Status(false).Settings; got != before {
		t.Errorf("settings: %+v", got)
	}
	// What is served to everybody asks and tells nothing.
	for path, code := range map[string]int{"/metrics": 200, "/v1/status": 404, "/v1/ask": 404, "/v1/settings": 404, "/v1/dead": 404} {
		w := httptest.NewRecorder()
		admin.MetricsOnly(r.b).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != code {
			t.Errorf("%s on the metrics port: %d", path, w.Code)
		}
	}
}

func TestMetrics(t *testing.T) {
	r := newRig(t, broker.Config{})
	r.node(t)
	// Names and topics may be anything.
	odd := join(t, r.xpub, rawpeer.XSUB(1))
	for _, topic := range []string{"zeek.cluster.node.\xff.", "zeek.cluster.nodeid.\xfe.", "zeek.cluster.node.ä\"\\b."} {
		if err := odd.Subscribe(topic); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, odd)
	pub := join(t, r.xsub, rawpeer.XPUB(1))
	for _, topic := range []string{"", "\xff\xfe.x", "other", strings.Repeat("é", 100), "a.b.c", "a.b.d", `x"y\z`} {
		if err := pub.Send(topic); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		if err := pub.Send("class" + itoa(i) + ".x.y"); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, pub)
	scrape := func() string {
		w := httptest.NewRecorder()
		admin.Handler(r.b).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return w.Body.String()
	}
	text := scrape()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var own strings.Builder
	for name, f := range families {
		if strings.HasPrefix(name, "zeekrec_") {
			if _, err := expfmt.MetricFamilyToText(&own, f); err != nil {
				t.Fatal(err)
			}
		}
	}
	problems, err := promlint.New(strings.NewReader(own.String())).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	value := func(name string, labels ...string) float64 {
		for _, m := range families[name].GetMetric() {
			var got []string
			for _, l := range m.GetLabel() {
				got = append(got, l.GetName(), l.GetValue())
			}
			if reflect.DeepEqual(got, labels) || len(got) == 0 && len(labels) == 0 {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
		t.Errorf("no %s %q", name, labels)
		return -1
	}
	for _, c := range []struct {
		want   float64
		name   string
		labels []string
	}{
		{108, "zeekrec_broker_messages_total", []string{"direction", "received"}},
		{1, "zeekrec_broker_messages_total", []string{"direction", "sent"}},
		{0, "zeekrec_broker_messages_total", []string{"direction", "dropped"}},
		{1, "zeekrec_broker_topic_messages_total", []string{"class", "zeek.cluster.worker", "direction", "received"}},
		{2, "zeekrec_broker_topic_messages_total", []string{"class", "a.b", "direction", "received"}},
		{2, "zeekrec_broker_connections", []string{"kind", "subscriber", "mechanism", "NULL"}},
		{2, "zeekrec_broker_connections", []string{"kind", "publisher", "mechanism", "NULL"}},
		{1, "zeekrec_broker_member_joined", []string{"node", "worker-1", "role", "worker"}},
		{1, "zeekrec_broker_members", nil},
		{1, "zeekrec_broker_node_messages_total", []string{"direction", "received", "node", "worker-1"}},
		{0, "zeekrec_broker_holding", nil},
	} {
		if got := value(c.name, c.labels...); got != c.want {
			t.Errorf("%s %q is %v, want %v", c.name, c.labels, got, c.want)
		}
	}
	if n := len(families["zeekrec_broker_topic_messages_total"].GetMetric()); n > 3*65 {
		t.Errorf("%d classes of topics", n/3)
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, strings.Repeat("x", 60), strings.Repeat("y", 60))
	if _, err := socket.Listen(path); err == nil {
		t.Error("a folder that there is not")
	}
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second takes the place of what the first left
		ln, err := socket.Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		if fi, err := os.Lstat(path); err != nil || fi.Mode().Perm() != 0o600 || fi.Mode().Type() != os.ModeSocket {
			t.Errorf("%v, %v", fi, err)
		}
		_ = ln.Close()
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if ln, err := socket.Listen(file); err == nil {
		_ = ln.Close()
		t.Error("a file was replaced")
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := admin.Dial(filepath.Join(dir, "nobody")).Status(t.Context(), false); err == nil || !strings.Contains(err.Error(), "cannot reach the broker at ") {
		t.Errorf("nobody listens: %v", err)
	}
}
