package bus

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/zeekrec/zeekrec/actuators/keys"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// late is a host that takes its time.
type late struct {
	*host
	began, end chan struct{}
}

func (s *late) CheckUpdate(context.Context, []desired.Resource) ([]observed.Problem, error) {
	close(s.began)
	<-s.end
	return nil, nil
}

// What a controller asked that is gone is not answered to the next one: it never asked, so an agent may not.
func TestNoAnswerOverAnotherConnection(t *testing.T) {
	b := newBench(t)
	port := b.s.Addr().(*net.TCPAddr).Port
	conn := b.connect("agent a", nats.CustomInboxPrefix(InboxPrefix("a")), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	h := &late{&host{instance: "a", changes: make(chan struct{}, 1), trees: map[string]desired.Tree{}, report: observed.Report{Instance: "a"}}, make(chan struct{}), make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- Serve(ctx, conn, Config{Instance: "a", Agent: h, Keys: keys.Open(t.TempDir()), Dir: t.TempDir(), Boot: "1", Log: slog.New(slog.DiscardHandler)})
	}()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	b.until(func() bool { return len(b.fleet.Reports()) == 1 })
	asked, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	go func() { _, _ = b.fleet.CheckUpdate(asked, "a", nil) }()
	<-h.began

	b.s.Shutdown()
	b.s.WaitForShutdown()
	b.until(func() bool { return !conn.IsConnected() })
	close(h.end) // so its answer waits for a connection, if it is given one
	s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true, Users: users("a")})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not come up")
	}
	notices, err := b.controller().SubscribeSync(reportSubject + "a")
	if err != nil {
		t.Fatal(err)
	}
	for {
		m, err := notices.NextMsg(30 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := b.fleet.codec.unpack(m.Data, &scratch{}); err == nil && n.Conn > 0 && len(n.Calls) == 0 {
			break
		}
		h.changes <- struct{}{}
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := conn.LastError(); err != nil {
		t.Errorf("the server says: %v", err)
	}
}
