package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

const patience = 10 * time.Second

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// server is one port of a broker, or a logger.
type server struct {
	t      *testing.T
	ln     net.Listener
	config *zmtp.ServerConfig
}

func newServer(t *testing.T, kind, accept string) *server {
	t.Helper()
	s := &server{t: t, config: &zmtp.ServerConfig{SocketType: kind, Accept: []string{accept}, AllowNull: func() bool { return true }}}
	s.listen("127.0.0.1:0")
	return s
}

func (s *server) listen(addr string) {
	s.t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { ln.Close() })
	s.ln = ln
}

func (s *server) endpoint() string { return "tcp://" + s.ln.Addr().String() }

// accept waits for a node's socket.
func (s *server) accept() *zmtp.Conn {
	s.t.Helper()
	conn, err := s.ln.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	peer, err := zmtp.ServerHandshake(conn, s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	return zmtp.NewConn(conn, peer)
}

// recv is the last frame of a message, or "+topic" and "-topic".
func recv(t *testing.T, c *zmtp.Conn) string {
	t.Helper()
	r, err := c.Recv()
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case r.Subscription && r.Cancel:
		return "-" + r.Topic
	case r.Subscription:
		return "+" + r.Topic
	}
	return string(r.Frames[len(r.Frames)-1])
}

func open(t *testing.T, cfg Config) *Bus {
	t.Helper()
	for _, endpoint := range []*string{&cfg.Subscribe, &cfg.Publish} {
		if *endpoint == "" {
			*endpoint = "tcp://127.0.0.1:1" // nobody
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	b := Open(ctx, cfg)
	t.Cleanup(func() {
		cancel()
		b.tasks.Wait()
	})
	return b
}

// inputs waits for a number of inputs.
func inputs(t *testing.T, b *Bus, n int) []Input {
	t.Helper()
	var got []Input
	eventually(t, fmt.Sprintf("%d inputs", n), func() bool {
		got = append(got, b.Take()...)
		return len(got) >= n
	})
	return got
}

func message(topic, payload string) zeekbus.Message {
	return zeekbus.Message{Topic: []byte(topic), Sender: []byte("me"), Format: []byte("f"), Payload: []byte(payload)}
}

func TestSubscriptionsAreRepeatedWithEachConnection(t *testing.T) {
	s := newServer(t, "XPUB", "XSUB")
	topics := []string{"b", "a", "c"}
	open(t, Config{Subscribe: s.endpoint(), Topics: topics})
	for range 3 {
		c := s.accept()
		for _, topic := range topics {
			if got := recv(t, c); got != "+"+topic {
				t.Fatalf("got %s instead of %s", got, topic)
			}
		}
		c.Close()
	}
}

func TestEventsArriveButItsOwn(t *testing.T) {
	s := newServer(t, "XPUB", "XSUB")
	var said strings.Builder
	b := open(t, Config{ID: "me", Subscribe: s.endpoint(), Topics: []string{"t"}, Stderr: &said})
	c := s.accept()
	recv(t, c)
	for _, frames := range [][]string{{"t", "me", "f", "own"}, {"t", "you"}, {"t", "you", "f", "first"}, {"t", "you", "f", "second"}} {
		var m [][]byte
		for _, f := range frames {
			m = append(m, []byte(f))
		}
		if err := c.Send(m...); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, in := range inputs(t, b, 2) {
		got = append(got, string(in.Event.Payload))
	}
	if diff := cmp.Diff([]string{"first", "second"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if want := "[zeromq] xsub: error: expected 4 parts, have 2!\n"; said.String() != want {
		t.Errorf("said %q", said.String())
	}
}

// What is published while the broker is away is sent when it is back, up to the bound: the newest are dropped.
func TestPublishesWhatFitsWhileDisconnected(t *testing.T) {
	s := newServer(t, "XSUB", "XPUB")
	var said strings.Builder
	b := open(t, Config{ID: "me", Publish: s.endpoint(), SendHWM: 1000, Stderr: &said})
	c := s.accept()
	b.Publish(message("topic.x", "nobody wants it yet"))
	if err := c.Subscribe("topic."); err != nil {
		t.Fatal(err)
	}
	if err := c.Subscribe("topic."); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Input{{Subscription: "topic."}}, inputs(t, b, 1)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	s.ln.Close()
	c.Close()
	eventually(t, "the end of the connection is noticed", func() bool { return !b.pub.connected.Load() })
	for i := range 1005 {
		b.Publish(message("topic.x", fmt.Sprint(i)))
		b.Publish(message("other", "nobody wants it"))
	}
	if n := b.Dropped(); n != 5 {
		t.Errorf("%d were dropped", n)
	}
	if want := "[zeromq] xpub: warn: dropped a message due to hwm\n"; said.String() != want {
		t.Errorf("said %q", said.String())
	}
	s.listen(s.ln.Addr().String())
	c = s.accept()
	for i := range 1000 {
		if got := recv(t, c); got != fmt.Sprint(i) {
			t.Fatalf("got %s instead of %d", got, i)
		}
	}
	// A subscription that is known is no news; the end of one is.
	for _, err := range []error{c.Subscribe("topic."), c.Cancel("topic."), c.Subscribe("topic.")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]Input{{Subscription: "topic.", Cancel: true}, {Subscription: "topic."}}, inputs(t, b, 2)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestPushesInTurn(t *testing.T) {
	for _, immediate := range []bool{false, true} {
		t.Run(fmt.Sprintf("immediate %v", immediate), func(t *testing.T) {
			one, two, gone := newServer(t, "PULL", "PUSH"), newServer(t, "PULL", "PUSH"), newServer(t, "PULL", "PUSH")
			gone.ln.Close()
			b := open(t, Config{ID: "me", Loggers: []string{one.endpoint(), gone.endpoint(), two.endpoint()}, Immediate: immediate, LogHWM: 2})
			first, second := one.accept(), two.accept()
			eventually(t, "two connections", func() bool { return b.push[0].connected.Load() && b.push[2].connected.Load() })
			for i := range 9 {
				if !b.Push(message(zeekbus.TopicLogWrite, fmt.Sprint(i))) {
					t.Fatalf("%d: no room", i)
				}
				eventually(t, "it is sent", func() bool { return b.push[0].out.empty() && b.push[2].out.empty() })
			}
			var got [2][]string
			want := [2][]string{{"0", "3", "6", "8"}, {"2", "5", "7"}} // two wait for the one that is gone
			if immediate {
				want = [2][]string{{"0", "2", "4", "6", "8"}, {"1", "3", "5", "7"}}
			}
			for i, c := range []*zmtp.Conn{first, second} {
				for range want[i] {
					got[i] = append(got[i], recv(t, c))
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			// Nobody has room.
			for _, s := range []*server{one, two} {
				s.ln.Close()
			}
			first.Close()
			second.Close()
			eventually(t, "both are noticed", func() bool { return !b.push[0].connected.Load() && !b.push[2].connected.Load() })
			taken := 0
			for b.Push(message(zeekbus.TopicLogWrite, "x")) {
				taken++
			}
			if want := map[bool]int{false: 4, true: 0}[immediate]; taken != want {
				t.Errorf("%d were taken, want %d", taken, want)
			}
		})
	}
}

// A logger takes what others push, with and without keys.
func TestPull(t *testing.T) {
	ring, client := keys(t)
	for name, k := range map[string]Keys{"NULL": {}, "CURVE": {Client: client, Server: ring}} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, "PULL", "PUSH")
			logger := open(t, Config{ID: "logger", Logs: s.ln, Keys: k})
			sender := open(t, Config{ID: "me", Loggers: []string{s.endpoint()}, Keys: k})
			for i := range 100 {
				if !sender.Push(message(zeekbus.TopicLogWrite, fmt.Sprint(i))) {
					t.Fatal("no room")
				}
			}
			for i, in := range inputs(t, logger, 100) {
				if got := string(in.LogWrite.Payload); got != fmt.Sprint(i) {
					t.Fatalf("got %s instead of %d", got, i)
				}
			}
		})
	}
}

func keys(t *testing.T) (*zmtp.Keyring, *zmtp.ClientKeys) {
	t.Helper()
	server, err := zmtp.GenerateKeyPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := zmtp.GenerateKeyPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &zmtp.Keyring{Servers: []zmtp.KeyPair{server}, Clients: []zmtp.Key{client.Public}}, &zmtp.ClientKeys{Server: server.Public, Client: client}
}

// The numbers are those that a Zeek 8.2.2 said with libzmq on the other side.
func TestFailures(t *testing.T) {
	ring, client := keys(t)
	_, other := keys(t)
	sealed := newServer(t, "PULL", "PUSH")
	open(t, Config{ID: "logger", Logs: sealed.ln, Keys: Keys{Server: ring}})
	plain := newServer(t, "PULL", "PUSH")
	open(t, Config{ID: "logger", Logs: plain.ln})
	for _, c := range []struct {
		name  string
		at    *server
		keys  *zmtp.ClientKeys
		event int
		value int
	}{
		{"no keys", sealed, nil, 0x2000, 285212674},
		{"keys that nobody wants", plain, client, 0x2000, 285212674},
		{"another server's key", sealed, &zmtp.ClientKeys{Server: other.Server, Client: client.Client}, 0x800, 32},
		{"a client's key that is not allowed", sealed, &zmtp.ClientKeys{Server: client.Server, Client: other.Client}, 0x4000, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := open(t, Config{ID: "me", Loggers: []string{c.at.endpoint()}, Keys: Keys{Client: c.keys}})
			want := Failure{c.at.endpoint(), c.event, c.value}
			got := inputs(t, b, 1)[0].Failure
			if got == nil || *got != want || got.Fatal() != (c.event != 0x800) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// A connection that breaks, or is refused by TCP, is no reason to end.
func TestBreaksAreNotFatal(t *testing.T) {
	s := newServer(t, "XPUB", "XSUB")
	b := open(t, Config{ID: "me", Subscribe: s.endpoint()})
	conn, err := s.ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if f := inputs(t, b, 1)[0].Failure; f == nil || *f != (Failure{s.endpoint(), 0x800, 32}) || f.Fatal() {
		t.Errorf("got %v", f)
	}
	s.accept().Close()
	c := s.accept()
	if in := b.Take(); len(in) > 0 {
		t.Errorf("after a handshake, nobody hears of an end: %+v", in)
	}
	c.Close()
}

// Somebody who changes what is sealed is noticed, and fatal.
func TestBrokenSealIsFatal(t *testing.T) {
	ring, client := keys(t)
	s := newServer(t, "XPUB", "XSUB")
	s.config.AllowNull, s.config.Curve = nil, func() zmtp.Keyring { return *ring }
	b := open(t, Config{ID: "me", Subscribe: s.endpoint(), Keys: Keys{Client: client}})
	conn, err := s.ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	peer, err := zmtp.ServerHandshake(conn, s.config)
	if err != nil {
		t.Fatal(err)
	}
	sealed := peer.Seal.AppendMessage(nil, 0, []byte("hello"))
	sealed[len(sealed)-1]++
	if _, err := conn.Write(sealed); err != nil {
		t.Fatal(err)
	}
	if f := inputs(t, b, 1)[0].Failure; f == nil || *f != (Failure{s.endpoint(), 0x2000, 0x11000001}) || !f.Fatal() {
		t.Errorf("got %v", f)
	}
}

func TestClose(t *testing.T) {
	const linger = 300 * time.Millisecond
	took := func(b *Bus) time.Duration {
		began := time.Now()
		b.Close()
		return time.Since(began)
	}
	t.Run("nobody there, nothing to send", func(t *testing.T) {
		b := open(t, Config{Loggers: []string{"tcp://127.0.0.1:1"}, Linger: patience})
		if d := took(b); d > patience/2 {
			t.Errorf("%v", d)
		}
	})
	t.Run("nobody answers, nothing to send", func(t *testing.T) {
		// As a broker that is stopped: the kernel takes the connection.
		s := newServer(t, "XPUB", "XSUB")
		b := open(t, Config{Subscribe: s.endpoint(), Linger: patience})
		conn, err := s.ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if d := took(b); d > patience/2 {
			t.Errorf("%v", d)
		}
	})
	t.Run("nobody there, something to send", func(t *testing.T) {
		b := open(t, Config{Loggers: []string{"tcp://127.0.0.1:1"}, Linger: linger})
		b.Push(message("t", "x"))
		if d := took(b); d < linger || d > patience/2 {
			t.Errorf("%v", d)
		}
	})
	t.Run("what waits is sent", func(t *testing.T) {
		s := newServer(t, "PULL", "PUSH")
		b := open(t, Config{Loggers: []string{s.endpoint()}, Linger: patience})
		for i := range 500 {
			b.Push(message("t", fmt.Sprint(i)))
		}
		got := make(chan error, 1)
		go func() {
			conn, err := s.ln.Accept()
			if err != nil {
				got <- err
				return
			}
			defer conn.Close()
			peer, err := zmtp.ServerHandshake(conn, s.config)
			if err != nil {
				got <- err
				return
			}
			c := zmtp.NewConn(conn, peer)
			for i := range 500 {
				r, err := c.Recv()
				if err != nil || string(r.Frames[3]) != fmt.Sprint(i) {
					got <- fmt.Errorf("%d: %v (%w)", i, r.Frames, err)
					return
				}
			}
			_, err = c.Recv()
			got <- err
		}()
		if d := took(b); d > patience/2 {
			t.Errorf("%v", d)
		}
		if err := <-got; !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	})
}

func TestQueue(t *testing.T) {
	q := newQueue[int](2)
	if !q.offer(1) || !q.offer(2) || q.offer(3) {
		t.Error("a queue of two takes two")
	}
	done := make(chan struct{})
	defer close(done)
	var put atomic.Int32
	for range 3 { // one more than there is room for
		go func() {
			if q.put(done, 9) {
				put.Add(1)
			}
		}()
	}
	eventually(t, "two get in", func() bool { return put.Load() == 2 })
	if x, ok := q.pop(); !ok || x != 1 {
		t.Errorf("got %d", x)
	}
	eventually(t, "the third gets in", func() bool { return put.Load() == 3 })
	if got := q.take(); !slices.Equal(got, []int{2, 9, 9, 9}) {
		t.Errorf("got %v", got)
	}
	if _, ok := q.pop(); ok || !q.empty() {
		t.Error("not empty")
	}
	for range 4 {
		q.put(done, 1)
	}
	ended := make(chan struct{})
	close(ended)
	if q.put(ended, 1) {
		t.Error("put into a full queue")
	}
}
