package hub

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/zeekrec/zeekrec/cmd/internal/bus"
	"github.com/zeekrec/zeekrec/cmd/internal/identity"
)

// rig is a hub with an authority, and hosts that have joined it.
type rig struct {
	t         *testing.T
	authority *identity.Authority
	hub       *Hub
	at        string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	a, err := identity.Open(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	conf, err := a.ServerTLS(nil)
	if err != nil {
		t.Fatal(err)
	}
	h, err := Start(Config{
		Listen: "127.0.0.1:0", TLS: conf, Admit: a.Check, Agent: bus.AgentSubjects, Stranger: bus.EnrolSubjects,
		ReplyWithin: bus.ReplyWithin, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &rig{t: t, authority: a, hub: h, at: h.Addr().String()}
}

// host enrols one, and returns how it dials.
func (r *rig) host(name string) *tls.Config {
	r.t.Helper()
	text, err := r.authority.NewToken(name, time.Hour, "ada")
	if err != nil {
		r.t.Fatal(err)
	}
	token, err := identity.ParseToken(text)
	if err != nil {
		r.t.Fatal(err)
	}
	dir := r.t.TempDir()
	csr, err := identity.NewRequest(dir, name)
	if err != nil {
		r.t.Fatal(err)
	}
	got, err := r.authority.Enrol(token.Secret(), name, csr)
	if err == nil {
		err = identity.Accept(dir, got, []string{r.at})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	id, err := identity.Load(dir)
	if err != nil {
		r.t.Fatal(err)
	}
	return id.TLS()
}

func (r *rig) dial(conf *tls.Config, o ...nats.Option) (*nats.Conn, error) {
	c, err := nats.Connect("tls://"+r.at, append([]nats.Option{nats.Secure(conf), nats.TLSHandshakeFirst(), nats.NoReconnect(), nats.Timeout(10 * time.Second)}, o...)...)
	if err == nil {
		r.t.Cleanup(c.Close)
	}
	return c, err
}

func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatal("not within 20 s: " + what)
		}
	}
}

// Who is enrolled uses what is his, and is out as soon as he is revoked.
func TestAgents(t *testing.T) {
	r := newRig(t)
	own, err := r.hub.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	heard := make(chan string, 10)
	if _, err := own.Subscribe("zr.v1.report.*", func(m *nats.Msg) { heard <- m.Subject + " " + string(m.Data) }); err != nil {
		t.Fatal(err)
	}
	if err := own.Flush(); err != nil {
		t.Fatal(err)
	}
	refused := make(chan error, 10)
	conf := r.host("agent-a")
	a, err := r.dial(conf, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"zr.v1.report.agent-b", "zr.v1.report.agent-a"} {
		if err := a.Publish(subject, []byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-heard; got != "zr.v1.report.agent-a hello" {
		t.Errorf("heard %q", got)
	}
	if err := <-refused; !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("it was told %v", err)
	}
	if !r.hub.Connected("agent-a") || r.hub.Connected("agent-b") {
		t.Error("who is connected is wrong")
	}
	if at, ok := r.hub.From("agent-a"); !ok || !at.Addr().Unmap().IsLoopback() || at.Port() == 0 {
		t.Errorf("agent-a comes from %v, %t", at, ok)
	}
	if at, ok := r.hub.From("agent-b"); ok {
		t.Errorf("agent-b, which is not connected, comes from %v", at)
	}

	// The newest connection counts.
	again, err := r.dial(conf)
	if err != nil {
		t.Fatal(err)
	}
	r.eventually("the old one is closed", a.IsClosed)
	if !again.IsConnected() || !r.hub.Connected("agent-a") {
		t.Error("the new one is not connected")
	}
	if err := r.authority.Revoke("agent-a", "ada"); err != nil {
		t.Fatal(err)
	}
	r.hub.Disconnect("agent-a")
	r.eventually("it is out", again.IsClosed)
	if _, err := r.dial(conf); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("it is in again: %v", err)
	}
	r.hub.Disconnect("agent-a")
	r.hub.Disconnect("nobody")
}

// Who has no certificate can ask to be enrolled, and no more, and there are only so many of them.
func TestStrangers(t *testing.T) {
	r := newRig(t)
	conf := identity.JoinTLS(r.authority.Fingerprint())
	refused := make(chan error, 10)
	id := rand.Text()
	c, err := r.dial(conf, nats.UserInfo(id, ""), nats.CustomInboxPrefix(bus.EnrolInboxPrefix(id)), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{">", "zr.v1.enrol", "_INBOX.>", "zr.v1.ask.agent-a", bus.EnrolInboxPrefix("another") + ".>"} {
		if _, err := c.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		if err := <-refused; !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%s: %v", subject, err)
		}
	}
	for _, name := range []string{"", "a b", "*", "abc", strings.Repeat("A", 65)} {
		if _, err := r.dial(conf, nats.UserInfo(name, "")); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("user %q is in: %v", name, err)
		}
	}
	// Nobody is the controller itself from outside.
	if _, err := r.dial(conf, nats.UserInfo(self, r.hub.secret)); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("a stranger is the controller: %v", err)
	}
	for i := 1; i < Strangers; i++ {
		if _, err := r.dial(conf, nats.UserInfo(rand.Text(), "")); err != nil {
			t.Fatalf("stranger %d: %v", i, err)
		}
	}
	if _, err := r.dial(conf, nats.UserInfo(rand.Text(), "")); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("there are too many strangers: %v", err)
	}
	if _, err := r.dial(r.host("agent-a")); err != nil {
		t.Errorf("an agent does not get in beside them: %v", err)
	}
}

// Nothing is said in plain text, not even what the server is.
func TestNoPlainText(t *testing.T) {
	r := newRig(t)
	if _, err := nats.Connect("nats://"+r.at, nats.UserInfo(self, r.hub.secret), nats.NoReconnect(), nats.Timeout(2*time.Second)); err == nil {
		t.Error("a connection without TLS")
	}
	c, err := net.Dial("tcp", r.at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "CONNECT {\"user\":%q,\"pass\":%q}\r\nPING\r\n", self, r.hub.secret); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if line, err := bufio.NewReader(c).ReadString('\n'); err == nil && !strings.HasPrefix(line, "\x15") {
		t.Errorf("it says %q", line)
	}
}

// A connection that the controller has made is like one that came in.
func TestTake(t *testing.T) {
	r := newRig(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conf := r.host("agent-a")
	dialled := make(chan *nats.Conn, 1)
	go func() {
		c, err := nats.Connect("tls://controller.invalid:1", nats.Secure(conf), nats.TLSHandshakeFirst(), nats.NoReconnect(), nats.Timeout(10*time.Second), nats.SetCustomDialer(accept{l}))
		if err != nil {
			t.Error(err)
		}
		dialled <- c
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.hub.Take(ctx, conn) }()
	c := <-dialled
	if c == nil {
		t.FailNow()
	}
	defer c.Close()
	r.eventually("it is connected", func() bool { return r.hub.Connected("agent-a") })
	if err := c.Publish("zr.v1.report.agent-a", nil); err != nil {
		t.Error(err)
	}
	if err := c.FlushTimeout(10 * time.Second); err != nil {
		t.Error(err)
	}
	cancel()
	<-ended
	r.eventually("it is closed", c.IsClosed)
}

type accept struct{ net.Listener }

func (a accept) Dial(string, string) (net.Conn, error) { return a.Accept() }

func TestStartRefuses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for at, want := range map[string]string{
		"here":            `cannot listen for agents at "here": it has to be HOST:PORT`,
		"127.0.0.1:x":     `cannot listen for agents at "127.0.0.1:x": it has to be HOST:PORT`,
		l.Addr().String(): "cannot listen for agents: listen tcp " + l.Addr().String() + ": bind: address already in use",
	} {
		_, err := Start(Config{Listen: at, Admit: func(*x509.Certificate) (string, error) { return "", nil }, Log: slog.New(slog.DiscardHandler)})
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v", at, err)
		}
	}
}
