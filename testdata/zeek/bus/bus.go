package bus

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

// The defaults of Config, which are Zeek's.
const (
	DefaultSendHWM  = 1000
	DefaultInputHWM = 10000
	DefaultLinger   = 500 * time.Millisecond
)

// unlimited is what an HWM of 0 comes to.
const unlimited = 1 << 20

// Config is a node's place on the bus.
type Config struct {
	// ID of the process; it signs what it sends, and does not hear itself.
	ID string
	// Subscribe and Publish are the broker's endpoints: the one that the node's XSUB connects to, and its XPUB's.
	Subscribe, Publish string
	// Topics that are subscribed to, in the order in which they are told.
	Topics []string
	// Loggers are the endpoints that log writes are pushed to, in turn.
	Loggers []string
	// Immediate leaves out loggers that there is no connection to (log_immediate).
	Immediate bool
	// Logs is where others push their log writes to; nil: nowhere. It is closed by Close.
	Logs net.Listener
	// Keys are for CURVE.
	Keys Keys
	// SendHWM is how many events wait for the broker, LogHWM how many log writes for one logger, and InputHWM how many events for the
	// node's loop. 0: many.
	SendHWM, LogHWM, InputHWM int
	// Linger is how long Close waits for what is not sent yet.
	Linger time.Duration
	// Stderr gets what Zeek's threads write there themselves; nil: nothing does.
	Stderr io.Writer
}

// Keys are for CURVE.
type Keys struct {
	Client *zmtp.ClientKeys // nil: NULL
	Server *zmtp.Keyring    // nil: NULL
}

// Input is something that has come from the bus. One of the fields says what.
type Input struct {
	// Subscription is a topic that is subscribed to by anybody, for the first time; with Cancel, that it is by nobody any more.
	Subscription string
	Cancel       bool
	Event        *zeekbus.Message
	LogWrite     *zeekbus.Message
	Failure      *Failure
}

// Bus is the sockets of a node. Its methods are for one goroutine, the node's loop.
type Bus struct {
	cfg     Config
	inputs  *queue[Input]
	pub     *socket
	push    []*socket
	next    int // of push
	cancel  context.CancelFunc
	closing chan struct{}
	done    <-chan struct{}
	tasks   sync.WaitGroup

	mu      sync.Mutex
	topics  map[string]bool // that others, and the node itself, are subscribed to
	said    map[string]bool // warnings that are said once
	dropped uint64
}

// Open connects in the background, and tries for ever. ctx ends everything at once; Close does it in order.
func Open(ctx context.Context, cfg Config) *Bus {
	ctx, cancel := context.WithCancel(ctx)
	b := &Bus{cfg: cfg, inputs: newQueue[Input](orMany(cfg.InputHWM)), cancel: cancel, closing: make(chan struct{}), done: ctx.Done(),
		topics: map[string]bool{}, said: map[string]bool{}}
	sub := b.socket(cfg.Subscribe, "XSUB", []string{"XPUB", "PUB"}, 1, b.hearEvent)
	sub.topics = slices.Clone(cfg.Topics)
	b.pub = b.socket(cfg.Publish, "XPUB", []string{"XSUB", "SUB"}, cfg.SendHWM, b.hearSubscription)
	run := []*socket{sub, b.pub}
	for _, endpoint := range cfg.Loggers {
		s := b.socket(endpoint, "PUSH", []string{"PULL"}, cfg.LogHWM, func(zmtp.Received) {})
		s.immediate = cfg.Immediate
		b.push = append(b.push, s)
	}
	for _, s := range append(run, b.push...) {
		b.tasks.Go(func() { s.run(ctx, b.closing) })
	}
	if cfg.Logs != nil {
		b.tasks.Go(func() { b.pull(ctx) })
	}
	return b
}

func (b *Bus) socket(endpoint, kind string, accept []string, hwm int, hear func(zmtp.Received)) *socket {
	return &socket{
		endpoint: endpoint,
		config:   zmtp.ClientConfig{SocketType: kind, Accept: accept, Curve: b.cfg.Keys.Client},
		out:      newQueue[[][]byte](orMany(hwm)),
		hear:     hear,
		failed:   func(f Failure) { b.inputs.put(b.done, Input{Failure: &f}) },
	}
}

// Ready says when there is something to Take. A nil Bus never is.
func (b *Bus) Ready() <-chan struct{} {
	if b == nil {
		return nil
	}
	return b.inputs.some
}

// Take returns what has come since.
func (b *Bus) Take() []Input { return b.inputs.take() }

// Publish sends a message to whoever has subscribed to its topic. What nobody has is dropped, and what finds the queue full.
func (b *Bus) Publish(m zeekbus.Message) {
	if b.wanted(string(m.Topic)) && !b.pub.out.offer(m.AppendFrames(nil)) {
		b.mu.Lock()
		b.dropped++
		b.mu.Unlock()
		b.warnOnce("xpub: warn: dropped a message due to hwm")
	}
}

// Dropped is how many messages have found the queue full.
func (b *Bus) Dropped() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dropped
}

func (b *Bus) wanted(topic string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range len(topic) + 1 {
		if b.topics[topic[:i]] {
			return true
		}
	}
	return false
}

// Push sends a log write to the next logger that has room for it. False: none has, and it is dropped; or there is no logger.
func (b *Bus) Push(m zeekbus.Message) bool {
	frames := m.AppendFrames(nil)
	for range b.push {
		s := b.push[b.next]
		b.next = (b.next + 1) % len(b.push)
		if (!s.immediate || s.connected.Load()) && s.out.offer(frames) {
			return true
		}
	}
	return false
}

// Close ends the connections, after what waits was sent; it takes no longer than Linger. What came before it can still be taken.
func (b *Bus) Close() {
	close(b.closing)
	if b.cfg.Logs != nil {
		_ = b.cfg.Logs.Close()
	}
	linger := time.AfterFunc(b.cfg.Linger, b.cancel)
	b.tasks.Wait()
	linger.Stop()
	b.cancel()
}

// hearSubscription is for the XPUB.
func (b *Bus) hearSubscription(r zmtp.Received) {
	if !r.Subscription {
		b.warn(fmt.Sprintf("xpub: error: expected 1 part, have %d!", len(r.Frames)))
		return
	}
	b.mu.Lock()
	known := b.topics[r.Topic]
	if r.Cancel {
		delete(b.topics, r.Topic)
	} else {
		b.topics[r.Topic] = true
	}
	b.mu.Unlock()
	if r.Cancel || !known {
		b.inputs.put(b.done, Input{Subscription: r.Topic, Cancel: r.Cancel})
	}
}

// hearEvent is for the XSUB.
func (b *Bus) hearEvent(r zmtp.Received) {
	if r.Subscription {
		return
	}
	m, err := zeekbus.SplitMessage(r.Frames)
	if err != nil {
		b.warn(fmt.Sprintf("xsub: error: expected 4 parts, have %d!", len(r.Frames)))
		return
	}
	if string(m.Sender) == b.cfg.ID {
		return
	}
	if !b.inputs.offer(Input{Event: copied(m)}) {
		b.warnOnce("warn: dropped a message due to onloop queue full")
	}
}

// copied is a message that lasts.
func copied(m zeekbus.Message) *zeekbus.Message {
	return &zeekbus.Message{Topic: slices.Clone(m.Topic), Sender: slices.Clone(m.Sender), Format: slices.Clone(m.Format), Payload: slices.Clone(m.Payload)}
}

func (b *Bus) warn(text string) {
	if b.cfg.Stderr != nil {
		fmt.Fprintln(b.cfg.Stderr, "[zeromq] "+text)
	}
}

func (b *Bus) warnOnce(text string) {
	b.mu.Lock()
	said := b.said[text]
	b.said[text] = true
	b.mu.Unlock()
	if !said {
		b.warn(text)
	}
}

func orMany(hwm int) int {
	if hwm <= 0 {
		return unlimited
	}
	return hwm
}
