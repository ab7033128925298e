package ha

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// within bounds what is waited for.
const within = 30 * time.Second

// node is a NATS server that can be killed and started again with what it has stored.
type node struct {
	t    *testing.T
	opts natsserver.Options
	*natsserver.Server
}

func (n *node) start() {
	n.t.Helper()
	o := n.opts
	s, err := natsserver.NewServer(&o)
	if err != nil {
		n.t.Fatal(err)
	}
	s.Start()
	n.Server = s
}

func (n *node) kill() {
	n.Shutdown()
	n.WaitForShutdown()
}

// servers starts a NATS server, or a cluster of them on the loopback.
func servers(t *testing.T, count int) []*node {
	t.Helper()
	ports := freePorts(t, 2*count)
	var routes string
	for i := range count {
		routes += fmt.Sprintf(",nats://127.0.0.1:%d", ports[count+i])
	}
	var nodes []*node
	for i := range count {
		n := &node{t: t, opts: natsserver.Options{
			ServerName: fmt.Sprintf("n%d", i), Host: "127.0.0.1", Port: ports[i], NoSigs: true, NoLog: true,
			JetStream: true, StoreDir: t.TempDir(), SyncAlways: true,
		}}
		if count > 1 {
			n.opts.Cluster = natsserver.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[count+i]}
			n.opts.Routes = natsserver.RoutesFromStr(routes[1:])
		}
		n.start()
		t.Cleanup(n.kill)
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		if !n.ReadyForConnections(within) {
			t.Fatal("a server does not start")
		}
	}
	if count > 1 {
		until(t, "the cluster has a leader and all its peers", func() bool {
			for _, n := range nodes {
				if n.JetStreamIsLeader() && len(n.JetStreamClusterPeers()) == count {
					return true
				}
			}
			return false
		})
	}
	return nodes
}

func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

func urls(nodes []*node) (all string) {
	for _, n := range nodes {
		all += fmt.Sprintf(",nats://127.0.0.1:%d", n.opts.Port)
	}
	return all[1:]
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func connect(t *testing.T, url string) *nats.Conn {
	t.Helper()
	c, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.Timeout(2*time.Second), nats.RetryOnFailedConnect(true), nats.IgnoreDiscoveredServers(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// openStore is a controller's access, over a connection of its own.
func openStore(t *testing.T, url string, cfg Config) *Store {
	t.Helper()
	s, err := New(connect(t, url), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openJournal(t *testing.T, s *Store, epoch uint64) (*Journal, *engine.State) {
	t.Helper()
	j, state, err := s.Open(t.Context(), epoch, "test")
	if err != nil {
		t.Fatal(err)
	}
	return j, state
}

func accept(revision string) *engine.Record {
	return &engine.Record{Kind: engine.KindAccepted, Cluster: "dmz", Revision: revision, Accepted: &engine.Accepted{Object: revision}}
}

func file(content string) desired.ClusterFile {
	return desired.ClusterFile{Name: "dmz", File: "dmz.cfg", Data: []byte(content)}
}

// history of a store: the revisions, in their order, after a look at the numbers.
func history(t *testing.T, s *Store) (revisions []string) {
	t.Helper()
	var last int64
	err := s.History(t.Context(), func(r engine.Record) error {
		if last > 0 && r.Seq != last+1 {
			t.Errorf("record %d follows record %d", r.Seq, last)
		}
		last = r.Seq
		revisions = append(revisions, r.Revision)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return revisions
}

// proxy stands between a client and a server; it can hold all that passes, or cut everything off.
type proxy struct {
	t  *testing.T
	l  net.Listener
	to string

	mu    sync.Mutex
	open  chan struct{} // closed while things pass
	delay time.Duration
	lost  bool // what the server says
	conns []net.Conn
}

func newProxy(t *testing.T, to *node) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, l: l, to: fmt.Sprintf("127.0.0.1:%d", to.opts.Port), open: make(chan struct{})}
	close(p.open)
	t.Cleanup(func() {
		_ = l.Close()
		p.hold(false)
		p.drop()
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", p.to)
			if err != nil {
				_ = c.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, c, s)
			p.mu.Unlock()
			go p.pass(s, c, false)
			go p.pass(c, s, true)
		}
	}()
	return p
}

func (p *proxy) url() string { return "nats://" + p.l.Addr().String() }

func (p *proxy) pass(dst, src net.Conn, back bool) {
	defer dst.Close()
	defer src.Close()
	b := make([]byte, 32<<10)
	holes := false // what comes after one is of no use
	for {
		n, err := src.Read(b)
		if err != nil {
			return
		}
		p.mu.Lock()
		open, delay := p.open, p.delay
		holes = holes || p.lost && back
		p.mu.Unlock()
		<-open
		if delay > 0 {
			time.Sleep(delay)
		}
		if holes {
			continue
		}
		if _, err := dst.Write(b[:n]); err != nil {
			return
		}
	}
}

// hold keeps what is sent, in both directions, or lets it go on.
func (p *proxy) hold(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
		if on {
			p.open = make(chan struct{})
		}
	default:
		if !on {
			close(p.open)
		}
	}
}

// lose swallows what the server says.
func (p *proxy) lose() { p.mu.Lock(); p.lost = true; p.mu.Unlock() }

func (p *proxy) slow(d time.Duration) { p.mu.Lock(); p.delay = d; p.mu.Unlock() }

// heal closes the connections, which have holes, and lets new ones speak.
func (p *proxy) heal() {
	p.mu.Lock()
	p.lost = false
	p.mu.Unlock()
	p.drop()
}

// drop closes all connections.
func (p *proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

func sameState(t *testing.T, want, got *engine.State) {
	t.Helper()
	w, err := json.Marshal(want)
	g, err2 := json.Marshal(got)
	if err != nil || err2 != nil || !bytes.Equal(w, g) {
		t.Errorf("the state is not the same: want\n%.2000s\ngot\n%.2000s", w, g)
	}
}
