package bus

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

var (
	_ api.Nodes = (*Nodes)(nil)
	_ Finder    = (*engine.Engine)(nil)
)

// hostNodes are the nodes of one host.
type hostNodes struct {
	instance string
	line     chan string // what is added to a log that is followed
	began    chan struct{}
	ended    chan struct{}
	topErr   error
	hang     bool // Top does not answer
}

func newHostNodes(instance string) *hostNodes {
	return &hostNodes{instance: instance, line: make(chan string), began: make(chan struct{}, 2*streamsAtOnce), ended: make(chan struct{}, 2*streamsAtOnce)}
}

// large does not fit into a few pieces, and is no multiple of one.
var large = bytes.Repeat([]byte("0123456789abcde\n"), 3*pieceSize/16+1)

func (n *hostNodes) Logs(ctx context.Context, key string, o api.LogOptions, w io.Writer) error {
	switch key {
	case "dmz/never":
		return errors.New("cannot read the logs of dmz/never: it was never started here")
	case "dmz/coded":
		return &api.Error{Text: "there is none", Code: api.CodeNotFound}
	case "dmz/large":
		_, err := w.Write(large)
		return err
	case "dmz/breaks":
		_, _ = io.WriteString(w, "half")
		return errors.New("the disk is gone")
	}
	_, _ = fmt.Fprintf(w, "%s of %s: %d lines, %t\n", key, n.instance, o.Lines, o.Stdout)
	w.(interface{ Flush() }).Flush()
	if !o.Follow {
		return nil
	}
	n.began <- struct{}{}
	defer func() { n.ended <- struct{}{} }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case l := <-n.line:
			if _, err := io.WriteString(w, l); err != nil {
				return err
			}
			w.(interface{ Flush() }).Flush()
		}
	}
}

func (n *hostNodes) Top(ctx context.Context) ([]api.Usage, error) {
	if n.hang {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return []api.Usage{{Resource: "dmz/" + n.instance, PID: 7}}, n.topErr
}

func (n *hostNodes) Ask(ctx context.Context, cluster, node, what, id string) ([]byte, error) {
	switch id {
	case "coded":
		return nil, &api.Error{Text: "cannot ask the nodes of dmz: none runs here", Code: api.CodeRefused}
	case "nope":
		return nil, errors.New("unknown id")
	case "large":
		return large, nil
	case "deadline":
		end, _ := ctx.Deadline()
		return json.Marshal(time.Until(end))
	}
	return fmt.Appendf(nil, `"%s %s of %s/%s by %s"`, what, id, cluster, node, n.instance), nil
}

func (n *hostNodes) Diag(_ context.Context, key string, more map[string][]byte, at time.Time, w io.Writer) error {
	if key == "dmz/never" {
		return errors.New("cannot find dmz/never")
	}
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	_ = t.WriteHeader(&tar.Header{Name: "x/stdout", Size: int64(len(large)), ModTime: at, Format: tar.FormatPAX})
	_, _ = t.Write(large)
	return errors.Join(t.Close(), z.Close())
}

// finder has instances by the key of a resource.
type finder map[string]string

func (f finder) Find(_ context.Context, raw string) (string, string, error) {
	i, ok := f[raw]
	if !ok {
		return "", "", &engine.NotFound{}
	}
	return raw, i, nil
}

// lines is a writer that hands over what is flushed.
type lines struct {
	buf bytes.Buffer
	c   chan string
}

func (l *lines) Write(p []byte) (int, error) { return l.buf.Write(p) }
func (l *lines) Flush()                      { l.c <- l.buf.String(); l.buf.Reset() }

func TestLogs(t *testing.T) {
	b := newBench(t)
	h := newHostNodes("a")
	b.agentWith("a", t.TempDir(), "1", h)
	_, stopB := b.agentWith("b", t.TempDir(), "1", newHostNodes("b"))
	n := NewNodes(b.fleet, finder{"dmz/w": "a", "dmz/w2": "b", "dmz/never": "a", "dmz/coded": "a", "dmz/large": "a", "dmz/breaks": "a", "dmz/gone": "c", "dmz/nowhere": ""})
	for _, c := range []struct{ key, want, err string }{
		{"dmz/w", "dmz/w of a: 7 lines, true\n", ""},
		{"dmz/w2", "dmz/w2 of b: 7 lines, true\n", ""},
		{"dmz/large", string(large), ""},
		{"dmz/never", "", "a: cannot read the logs of dmz/never: it was never started here"},
		{"dmz/breaks", "half", "a: the disk is gone"},
		{"dmz/coded", "", "there is none"},
		{"dmz/gone", "", "cannot reach c: no agent of that name is connected"},
		{"dmz/nowhere", "", "cannot find dmz/nowhere: no instance has it"},
	} {
		var w bytes.Buffer
		err := n.Logs(b.within(time.Minute), c.key, api.LogOptions{Lines: 7, Stdout: true}, &w)
		if w.String() != c.want || fmt.Sprint(err) != c.err && (err != nil || c.err != "") {
			t.Errorf("%s: %v, %d bytes of %d", c.key, err, w.Len(), len(c.want))
		}
		if e, ok := errors.AsType[*api.Error](err); c.key == "dmz/coded" && (!ok || e.Code != api.CodeNotFound) {
			t.Errorf("%s: %#v", c.key, err)
		}
	}
	// What is added arrives while it is followed; whoever stops reading ends it on the other side.
	w := &lines{c: make(chan string)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Logs(ctx, "dmz/w", api.LogOptions{Follow: true}, w) }()
	if got := <-w.c; got != "dmz/w of a: 0 lines, false\n" {
		t.Errorf("it begins with %q", got)
	}
	for _, l := range []string{"one\n", "two\n"} {
		h.line <- l
		if got := <-w.c; got != l {
			t.Errorf("%q became %q", l, got)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("the end of following: %v", err)
	}
	<-h.ended
	// An agent that ends says so.
	w = &lines{c: make(chan string)}
	go func() { done <- n.Logs(t.Context(), "dmz/w2", api.LogOptions{Follow: true}, w) }()
	<-w.c
	stopB()
	if err := <-done; err == nil || err.Error() != "b: the agent ends" {
		t.Errorf("the end of an agent: %v", err)
	}
	// A writer that fails is who ends it.
	if err := n.Logs(t.Context(), "dmz/w", api.LogOptions{Follow: true}, failing{}); !errors.Is(err, errFull) {
		t.Errorf("a writer that fails: %v", err)
	}
	<-h.ended
}

var errFull = errors.New("it is full")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errFull }

// TestManyStreams: an agent sends so many at once, and no more.
func TestManyStreams(t *testing.T) {
	b := newBench(t)
	h := newHostNodes("a")
	b.agentWith("a", t.TempDir(), "1", h)
	n := NewNodes(b.fleet, finder{"dmz/w": "a"})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range streamsAtOnce {
		wg.Go(func() {
			if err := n.Logs(ctx, "dmz/w", api.LogOptions{Follow: true}, io.Discard); err != nil {
				t.Error(err)
			}
		})
	}
	for range streamsAtOnce {
		<-h.began
	}
	err := n.Logs(b.within(time.Minute), "dmz/w", api.LogOptions{}, io.Discard)
	e, ok := errors.AsType[*api.Error](err)
	if want := "a sends 32 logs and bundles at once, and no more; end one of them (zeekrec logs -f), and try again"; !ok || e.Text != want || e.Code != api.CodeRefused {
		t.Errorf("one more: %v", err)
	}
	cancel()
	wg.Wait()
	for range streamsAtOnce {
		<-h.ended
	}
	b.until(func() bool { return n.Logs(t.Context(), "dmz/w", api.LogOptions{}, io.Discard) == nil })
}

func TestTop(t *testing.T) {
	b := newBench(t)
	var log bytes.Buffer
	b.fleet.log = slog.New(slog.NewTextHandler(&log, nil))
	n := NewNodes(b.fleet, finder{})
	if us, err := n.Top(t.Context()); err != nil || us == nil || len(us) > 0 {
		t.Errorf("of no agents: %v, %v", us, err)
	}
	one, other := newHostNodes("a"), newHostNodes("b")
	b.agentWith("b", t.TempDir(), "1", other)
	_, stop := b.agentWith("a", t.TempDir(), "1", one)
	us, err := n.Top(t.Context())
	if err != nil || len(us) != 2 || us[0].Resource != "dmz/a" || us[1].Resource != "dmz/b" || us[1].PID != 7 {
		t.Errorf("%+v, %v", us, err)
	}
	other.topErr = errors.New("it cannot measure")
	if us, err := n.Top(t.Context()); err != nil || len(us) != 1 || us[0].Resource != "dmz/a" || !strings.Contains(log.String(), "b: it cannot measure") {
		t.Errorf("%+v, %v, %s", us, err, &log)
	}
	one.topErr = errors.New("nor can it")
	if us, err := n.Top(t.Context()); us != nil || err == nil || err.Error() != "a: nor can it\nb: it cannot measure" {
		t.Errorf("nobody can: %+v, %v", us, err)
	}
	one.hang, other.topErr = true, nil
	for d := 100 * time.Millisecond; ; d *= 2 { // on a busy machine the one that answers is slow, too
		us, err := n.Top(b.within(d))
		if err == nil && len(us) == 1 && us[0].Resource == "dmz/b" {
			break
		}
		if d > topWithin {
			t.Fatalf("one does not answer: %+v, %v", us, err)
		}
	}
	stop()
	log.Reset()
	if us, err := n.Top(t.Context()); err != nil || len(us) != 1 || us[0].Resource != "dmz/b" || log.Len() > 0 {
		t.Errorf("one has gone: %+v, %v, %s", us, err, &log)
	}
}

func TestAsk(t *testing.T) {
	b := newBench(t)
	h, _ := b.agentWith("a", t.TempDir(), "1", newHostNodes("a"))
	_, stopB := b.agentWith("b", t.TempDir(), "1", newHostNodes("b"))
	n := NewNodes(b.fleet, finder{"dmz/zeekrec.broker": "b", "dmz/m": "a", "dmz/w": "a", "lab/w": "b"})
	ask := func(cluster, node, id string) (string, error) {
		v, err := n.Ask(b.within(time.Minute), cluster, node, api.AskValue, id)
		return string(v), err
	}
	tell := func(rs ...observed.Resource) {
		h.mu.Lock()
		h.report.Resources = rs
		h.mu.Unlock()
		h.changes <- struct{}{}
		b.until(func() bool { return len(b.fleet.Reports()[0].Resources) == len(rs) })
	}
	for _, c := range []struct {
		what    string
		tell    []observed.Resource
		cluster string
		want    string
	}{
		{"of the node itself", nil, "dmz", `"value x of dmz/w by a"`},
		{"of another cluster", []observed.Resource{{Cluster: "dmz", Name: "m", Role: "manager"}}, "lab", `"value x of lab/w by b"`},
		{"of the manager", []observed.Resource{{Cluster: "dmz", Name: "m", Role: "manager"}}, "dmz", `"value x of dmz/w by a"`},
		{"of the broker", []observed.Resource{{Cluster: "dmz", Name: "zeekrec.broker", Type: "broker"}, {Cluster: "dmz", Name: "m", Role: "manager"}}, "dmz", `"value x of dmz/w by b"`},
	} {
		tell(c.tell...)
		if v, err := ask(c.cluster, "w", "x"); err != nil || v != c.want {
			t.Errorf("%s: %s, %v", c.what, v, err)
		}
	}
	if v, err := ask("dmz", "w", "large"); err != nil || v != string(large) {
		t.Errorf("a large value: %d bytes, %v", len(v), err)
	}
	if _, err := ask("dmz", "w", "nope"); err == nil || err.Error() != "unknown id" {
		t.Errorf("what a node refuses: %v", err)
	}
	var left time.Duration
	if v, err := ask("dmz", "w", "deadline"); err != nil || json.Unmarshal([]byte(v), &left) != nil || left <= 0 || left > askWithin-answerEarly {
		t.Errorf("the agent gives the node %s, so that nobody hears that it does not answer: %v", v, err)
	}
	_, err := ask("dmz", "w", "coded")
	if e, ok := errors.AsType[*api.Error](err); !ok || *e != (api.Error{Text: "cannot ask the nodes of dmz: none runs here", Code: api.CodeRefused}) {
		t.Errorf("what concerns all: %#v", err)
	}
	stopB()
	_, err = ask("dmz", "w", "x")
	if e, ok := errors.AsType[*api.Error](err); !ok || *e != (api.Error{Text: "cannot ask the nodes of dmz: cannot reach b: no agent of that name is connected", Code: api.CodeRefused}) {
		t.Errorf("no agent: %#v", err)
	}
}

func TestDiag(t *testing.T) {
	b := newBench(t)
	b.agentWith("a", t.TempDir(), "1", newHostNodes("a"))
	n := NewNodes(b.fleet, finder{"dmz/w": "a", "dmz/never": "a"})
	at := time.Unix(1000, 0)
	var w bytes.Buffer
	if err := n.Diag(b.within(time.Minute), "dmz/w", map[string][]byte{"status.json": []byte("{}"), "plan.json": []byte("[]")}, at, &w); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(&w)
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(z)
	for _, want := range []struct{ name, data string }{
		{"zeekrec-diag-dmz-w/plan.json", "[]"}, {"zeekrec-diag-dmz-w/status.json", "{}"}, {"x/stdout", string(large)},
	} {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if data, err := io.ReadAll(r); err != nil || h.Name != want.name || string(data) != want.data || !h.ModTime.Equal(at) {
			t.Errorf("%s of %s with %d bytes, want %s with %d: %v", h.Name, h.ModTime, len(data), want.name, len(want.data), err)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("something follows: %v", err)
	}
	if err := n.Diag(b.within(time.Minute), "dmz/never", map[string][]byte{"x": nil}, at, &w); err == nil || err.Error() != "a: cannot find dmz/never" || w.Len() > 0 {
		t.Errorf("none: %v, and %d bytes", err, w.Len())
	}
}

// idOf is the id of the stream that a call asks for.
func idOf(t *testing.T, data []byte) string {
	var c call
	var b streamBody
	if err := errors.Join(json.Unmarshal(data, &c), json.Unmarshal(c.Body, &b)); err != nil {
		t.Error(err)
	}
	return b.ID
}

// TestForeignReply: what an agent wants answered elsewhere than in its inbox is not.
func TestForeignReply(t *testing.T) {
	b := newBench(t)
	conn, spy := b.as("a"), b.controller()
	heard, err := spy.SubscribeSync("zr.v1.want.b")
	if err != nil {
		t.Fatal(err)
	}
	if err := spy.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Subscribe("zr.v1.ask.a", func(m *nats.Msg) {
		id := idOf(t, m.Data)
		_ = m.Respond([]byte("{}"))
		// First the one that is to be ignored; the stream goes on with the other.
		_ = conn.PublishRequest("zr.v1.stream.a."+id, "zr.v1.want.b", (&piece{pieceData, 1, []byte("bad")}).pack())
		_, _ = conn.Request("zr.v1.stream.a."+id, (&piece{pieceData, 1, []byte("good")}).pack(), time.Minute)
		_, _ = conn.Request("zr.v1.stream.a."+id, (&piece{kind: pieceLast, number: 2}).pack(), time.Minute)
	}); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	var w bytes.Buffer
	if err := NewNodes(b.fleet, finder{"dmz/w": "a"}).Logs(b.within(time.Minute), "dmz/w", api.LogOptions{}, &w); err != nil || w.String() != "good" {
		t.Errorf("%q, %v", &w, err)
	}
	if err := spy.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, _ := heard.Pending(); n != 0 {
		t.Error("the controller has asked another agent for it")
	}
}

func TestServeInbox(t *testing.T) {
	b := newBench(t)
	err := Serve(t.Context(), b.connect("agent a"), Config{Instance: "a", Dir: t.TempDir()})
	if want := `cannot serve: the connection's inbox is at "", where no controller answers a; connect with nats.CustomInboxPrefix("_INBOX_a")`; err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}
