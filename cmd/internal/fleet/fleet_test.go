package fleet

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

// No epoch is used twice, and what cannot be read is not begun anew.
func TestEpochs(t *testing.T) {
	dir := t.TempDir()
	for want := uint64(1); want < 4; want++ {
		got, err := nextEpoch(dir)
		if err != nil || got != want {
			t.Fatalf("epoch %d, %v; want %d", got, err, want)
		}
		if last, err := lastEpoch(dir); err != nil || last != want {
			t.Errorf("the last one is %d, %v", last, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "99999999999999999999"} {
		if err := os.WriteFile(filepath.Join(dir, epochFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := nextEpoch(dir); err == nil || !strings.HasPrefix(err.Error(), "cannot tell which epochs were used before: ") {
			t.Errorf("%q: %v", text, err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, epochFile)); err != nil || string(b) != text {
			t.Errorf("%q became %q, %v", text, b, err)
		}
	}
	if _, err := nextEpoch(filepath.Join(dir, "missing")); err == nil || !strings.HasPrefix(err.Error(), "cannot keep the epoch: ") {
		t.Errorf("a folder that is missing: %v", err)
	}
}

// To another machine nothing goes without TLS.
func TestPlainOnLoopbackAlone(t *testing.T) {
	for urls, want := range map[string]bool{
		"nats://127.0.0.1:4222": true, "localhost": true, "127.0.0.5:4222,nats://[::1]:4222": true, "nats://ada:secret@localhost:4222": true,
		"n1.example.org": false, "nats://10.0.0.1:4222": false, "nats://127.0.0.1:4222, nats://10.0.0.1": false, "nats://localhost.example.org": false, "": false, "nats://%zz": false,
	} {
		if got := loopback(urls); got != want {
			t.Errorf("%q is of this machine: %t, want %t", urls, got, want)
		}
		o, err := Server{URL: urls}.options()
		if err != nil || (len(o) == 0) != want {
			t.Errorf("%q: %d options, %v", urls, len(o), err)
		}
	}
}

// Agents are dialled where the files say, one connection at a time, and not while they are connected.
func TestDialer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	var mu sync.Mutex
	connected := map[string]bool{"agent-b": true}
	taken := make(chan net.Conn)
	d := &dialer{
		log: slog.New(slog.DiscardHandler),
		connected: func(agent string) bool {
			mu.Lock()
			defer mu.Unlock()
			return connected[agent]
		},
		take: func(ctx context.Context, c net.Conn) error {
			taken <- c
			_, err := io.Copy(io.Discard, c)
			return errors.Join(err, c.Close())
		},
	}
	at := func(name string) desired.Instance { return desired.Instance{Name: name, Host: "127.0.0.1", Port: port} }
	d.seen(&desired.Cluster{Name: "dmz", Instances: []desired.Instance{at("agent-a"), at("agent-b"), {Name: "agent-c"}, {Name: "agent-d", Host: "127.0.0.1"}}})
	d.seen(&desired.Cluster{Name: "campus", Instances: []desired.Instance{at("agent-e")}})
	if got := strings.Join(sorted(d.todo()), " "); got != "agent-a agent-e" {
		t.Errorf("to dial are %s", got)
	}
	d.seen(&desired.Cluster{Name: "campus"})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); d.run(ctx) }()
	for range 2 { // again, when the first has ended
		theirs, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		<-taken
		if got := d.todo(); len(got) > 0 {
			t.Errorf("while it lasts, %v is to be dialled", got)
		}
		if at, ok := d.where("agent-a"); !ok || int(at.Port()) != port {
			t.Errorf("while it lasts, its other end is %v, %t", at, ok)
		}
		if err := theirs.Close(); err != nil {
			t.Error(err)
		}
	}
	cancel()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
	if at, ok := d.where("agent-a"); ok {
		t.Errorf("when it has ended, its other end is %v", at)
	}
}

// Agents of a cluster without nodes are dialled until its file has some, which then says where they are.
func TestDialerAwaits(t *testing.T) {
	d := &dialer{log: slog.New(slog.DiscardHandler), connected: func(string) bool { return false }}
	at := func(host string) []desired.Instance {
		return []desired.Instance{{Name: "agent-a", Host: host, Port: 2151}}
	}
	d.await("dmz", at("192.0.2.1"))
	d.seen(&desired.Cluster{Name: "dmz"}) // a file with sections of zeekrec's alone
	if got := d.todo()["agent-a"]; got != "192.0.2.1:2151" {
		t.Errorf("it is dialled at %q", got)
	}
	d.seen(&desired.Cluster{Name: "dmz", Instances: at("192.0.2.2"), Nodes: []desired.Node{{Name: "manager"}}})
	if got := d.todo()["agent-a"]; got != "192.0.2.2:2151" {
		t.Errorf("as the file says, it is dialled at %q", got)
	}
	d.seen(&desired.Cluster{Name: "dmz"})
	if got := d.todo(); len(got) > 0 {
		t.Errorf("without a place it is dialled all the same: %v", got)
	}
}

func sorted(m map[string]string) []string {
	var out []string
	for _, k := range []string{"agent-a", "agent-b", "agent-c", "agent-d", "agent-e"} {
		if _, ok := m[k]; ok {
			out = append(out, k)
		}
	}
	return out
}
