package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

// Config is what a broker is made of. All of it may be left out.
type Config struct {
	Settings Settings
	// Keys are the CURVE keys; empty: no encryption, and nobody who wants it is let in.
	Keys Keyring
	// StateFile remembers who is there across a restart; empty: nothing does.
	StateFile string
	// Endpoints that nodes know it by: a state file of other endpoints says nothing.
	Endpoints string
	Version   string
	Log       *slog.Logger     // nil: none
	Now       func() time.Time // nil: time.Now
}

// Broker joins publishers and subscribers. Make one with New.
type Broker struct {
	log        *slog.Logger
	now        func() time.Time
	version    string
	stateFile  string
	endpoints  string
	settings   atomic.Pointer[Settings]
	keys       atomic.Pointer[Keyring]
	pools      pools
	counters   counters
	refused    refusals
	processes  processes
	done       chan struct{} // closed when Serve ends
	released   chan struct{} // closed when publishers are read from
	haunted    chan struct{} // there is a ghost
	dirty      chan struct{} // there is something to remember
	applied    chan struct{} // the settings have changed
	generation atomic.Uint64 // of subscriptions; changed under mu
	catchUp    atomic.Int64  // until when publishers are still giving what they had to keep, in Unix nanoseconds; 0: they had nothing
	local      *local        // speaks for the broker itself
	asker      asker
	seenFormat atomic.Pointer[zeekbus.Format] // of nodes' events; nil: none was seen

	saving      sync.Mutex // of the state file
	mu          sync.Mutex
	since       time.Time
	xpub, xsub  string // as they are served
	table       *table
	subscribers map[*subscriber]struct{}
	publishers  map[*publisher]struct{}
	ghosts      []*ghost
	lost        []lostPublisher
	cancelled   []cancelled
	deaths      []death
	free        []int
	slots       int
	recovered   bool // there was a broker before this one
	open        bool // released is closed
	stopping    bool
	gone        Counts // sent by connections that have ended
	goneLost    Counts // dropped for them
	goneIn      Counts // received from them
}

// New makes a broker, with what it remembers of the one before it. Serve does the work.
func New(cfg Config) (*Broker, error) {
	b := &Broker{
		log: cfg.Log, now: cfg.Now, version: cfg.Version, stateFile: cfg.StateFile, endpoints: cfg.Endpoints, processes: localProcesses(),
		done: make(chan struct{}), released: make(chan struct{}),
		haunted: make(chan struct{}, 1), dirty: make(chan struct{}, 1), applied: make(chan struct{}, 1),
		table: newTable(), subscribers: map[*subscriber]struct{}{}, publishers: map[*publisher]struct{}{},
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if b.now == nil {
		b.now = time.Now
	}
	b.since = b.now()
	b.asker.run = strconv.FormatInt(b.since.UnixNano(), 36) + "."
	if err := b.Apply(cfg.Settings); err != nil {
		return nil, err
	}
	b.SetKeys(cfg.Keys)
	b.local = newLocal(b)
	if err := b.recall(); err != nil {
		// Nothing stops for that: the nodes come back by themselves.
		b.log.Error("Cannot recall who was there", "error", err)
	}
	return b, nil
}

// Apply changes settings while the broker runs. What waits in queues stays there; publishers that wait for room do so by the
// new settings.
func (b *Broker) Apply(s Settings) error {
	s, err := s.Complete()
	if err != nil {
		return err
	}
	b.settings.Store(&s)
	signalTo(b.applied)
	b.mu.Lock()
	defer b.mu.Unlock()
	for sub := range b.subscribers {
		sub.q.admit()
	}
	return nil
}

// SetKeys changes which keys are accepted from now on. Connections that are there stay.
func (b *Broker) SetKeys(k Keyring) { b.keys.Store(&k) }

// limits of a subscriber's queue.
func (b *Broker) limits() limits {
	s := b.settings.Load()
	return limits{max(0, s.SndHWM), int(max(0, s.QueueBytes))}
}

// Serve relays until ctx ends, or a listener fails. Publishers' messages are held back until those who were there before are back
// (Config.StateFile), or have been waited for. It closes the listeners and can be called once.
func (b *Broker) Serve(ctx context.Context, xpub, xsub net.Listener) error {
	b.mu.Lock()
	b.xpub, b.xsub = endpoint(xpub), endpoint(xsub)
	b.releaseIfComplete()
	b.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var tasks sync.WaitGroup
	tasks.Go(func() { b.haunt(b.done) })
	tasks.Go(b.beat)
	tasks.Go(b.remember)
	tasks.Go(b.local.listen)
	for _, p := range []*port{
		{b: b, ln: xpub, config: b.handshake("XPUB", "XSUB", "SUB"), serve: b.serveSubscriber},
		{b: b, ln: xsub, config: b.handshake("XSUB", "XPUB", "PUB"), serve: b.servePublisher},
	} {
		tasks.Go(func() { p.accept(ctx, cancel) })
	}

	<-ctx.Done()
	_ = xpub.Close()
	_ = xsub.Close()
	b.stop()
	tasks.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// stop closes everything. Nobody is told that anybody is gone: they come back, to the next broker.
func (b *Broker) stop() {
	if err := b.saveLast(); err != nil {
		b.log.Error("Cannot remember who is there; the next broker will not know", "error", err)
	}
	b.mu.Lock()
	close(b.done)
	for s := range b.subscribers {
		s.close()
	}
	for p := range b.publishers {
		p.close()
	}
	b.mu.Unlock()
	b.local.close()
}

func (b *Broker) ended() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

func (b *Broker) handshake(ours string, theirs ...string) *zmtp.ServerConfig {
	return &zmtp.ServerConfig{
		SocketType: ours, Accept: theirs,
		AllowNull: func() bool { return len(b.keys.Load().Servers) == 0 },
		Curve: func() zmtp.Keyring {
			k := b.keys.Load()
			return zmtp.Keyring{Servers: k.Servers, Clients: k.Clients}
		},
	}
}

// serveSubscriber has a connection that has shaken hands until it ends.
func (b *Broker) serveSubscriber(conn net.Conn, peer *zmtp.Peer) {
	s := &subscriber{}
	s.init(b, conn, peer)
	s.holder = newHolder(s)
	b.mu.Lock()
	if b.stopping {
		b.mu.Unlock()
		_ = conn.Close()
		return
	}
	s.slot = b.takeSlot()
	b.subscribers[s] = struct{}{}
	b.mu.Unlock()
	var writing sync.WaitGroup
	writing.Go(s.write)
	err := s.read()
	s.close()
	writing.Wait()
	b.detach(s)
	b.blame(&s.link, err)
}

// servePublisher does the same on the other port.
func (b *Broker) servePublisher(conn net.Conn, peer *zmtp.Peer) {
	p := &publisher{}
	p.init(b, conn, peer)
	var writing sync.WaitGroup
	writing.Go(p.write)
	b.attach(p)
	if b.ended() {
		p.close()
	}
	p.paused.Store(true)
	var err error
	select {
	case <-b.released:
		p.paused.Store(false)
		err = p.read()
	case <-b.done:
	}
	p.close()
	writing.Wait()
	b.leave(p)
	b.blame(&p.link, err)
}

// blame says why a connection ended where that is no matter of course.
func (b *Broker) blame(l *link, err error) {
	if err != nil && !harmless(err) {
		b.refused.count("misbehaved")
		b.log.Warn("Closed a connection", "peer", l.addr, "error", err)
	}
}

func (c *Counts) add(o Counts) {
	c.Messages += o.Messages
	c.Bytes += o.Bytes
}

func endpoint(l net.Listener) string { return "tcp://" + l.Addr().String() }

func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}

// Listen opens the port of an endpoint, "tcp://HOST:PORT".
func Listen(ctx context.Context, endpoint string) (net.Listener, error) {
	addr, ok := trimScheme(endpoint)
	if !ok {
		return nil, fmt.Errorf("cannot listen on %q: it is not of the form tcp://HOST:PORT", endpoint)
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", endpoint, err)
	}
	return ln, nil
}
