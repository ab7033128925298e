package broker

import (
	"bytes"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/zeekrec/zeekrec/actuators/broker/internal/rawpeer"
	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

// sealedRig is a rig with keys.
type sealedRig struct {
	*rig
	keys zmtp.ClientKeys
}

func newSealedRig(t testing.TB, s Settings) *sealedRig {
	t.Helper()
	server, err := zmtp.GenerateKeyPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := zmtp.GenerateKeyPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, Config{Settings: s, Keys: Keyring{Servers: []zmtp.KeyPair{server}, Clients: []zmtp.Key{client.Public}}})
	return &sealedRig{r, zmtp.ClientKeys{Server: server.Public, Client: client}}
}

// sealed is a connection that has shaken hands.
type sealed struct {
	net.Conn
	peer *zmtp.Peer
	t    testing.TB
}

func (r *sealedRig) connect(socketType string) *sealed {
	r.t.Helper()
	conn := r.dial(socketType == "XSUB", "")
	r.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(testTime))
	peer, err := zmtp.ClientHandshake(conn, &zmtp.ClientConfig{SocketType: socketType, Curve: &r.keys})
	if err != nil {
		r.t.Fatal(err)
	}
	_ = conn.SetWriteDeadline(noDeadline)
	return &sealed{conn, peer, r.t}
}

// seal is frames as they travel. Each is that of rawpeer.
func (s *sealed) seal(frames []byte) (out []byte) {
	for len(frames) > 0 {
		flags, body, n, bad := refFrame(frames)
		if bad || n == 0 {
			s.t.Fatal("not a frame")
		}
		out = s.peer.Seal.AppendMessage(out, flags&^2, body)
		frames = frames[n:]
	}
	return out
}

func (s *sealed) send(frames []byte) {
	s.t.Helper()
	if _, err := s.Write(s.seal(frames)); err != nil {
		s.t.Fatal(err)
	}
}

// subscriber receives what comes, PINGs being answered. It is subscribed when the broker knows.
func (r *sealedRig) subscriber(topics ...string) *zmtp.Conn {
	r.t.Helper()
	before := r.subscriptions()
	s := r.connect("XSUB")
	for _, t := range topics {
		s.send(rawpeer.AppendCommand(nil, "SUBSCRIBE", []byte(t)))
	}
	eventually(r.t, "it is subscribed", func() bool { return r.subscriptions() == before+len(topics) })
	return zmtp.NewConn(s.Conn, s.peer)
}

func (r *sealedRig) subscriptions() (n int) {
	for _, p := range r.b.Status(true).Peers {
		n += p.Subscriptions
	}
	return n
}

// TestSealedRelaysWhateverTheCuts is TestRelaysWhateverTheCuts with CURVE.
func TestSealedRelaysWhateverTheCuts(t *testing.T) {
	r := newSealedRig(t, Settings{SndHWM: -1, QueueBytes: -1})
	subs := []*zmtp.Conn{r.subscriber("t"), r.subscriber("")}
	p := r.connect("XPUB")
	_ = p.SetDeadline(noDeadline)
	for _, s := range subs {
		_ = s.SetReadDeadline(noDeadline)
	}
	rapid.Check(t, func(t *rapid.T) {
		var messages [][][]byte
		var frames []byte
		for i := range rapid.IntRange(1, 20).Draw(t, "messages") {
			m := [][]byte{[]byte("t" + rapid.StringN(0, 3, 10).Draw(t, "topic"))}
			for range rapid.SampledFrom([]int{0, 0, 1, 3, 3, 3, 3, 8}).Draw(t, "frames") {
				n := rapid.SampledFrom([]int{0, 1, 20, 221, 222, 223, 254, 255, 256, 257, 1000, 4096, 5000, 16 << 10, 32<<10 - 34, 32<<10 - 33, 32 << 10, 60 << 10, 64 << 10, 65 << 10, 300 << 10}).Draw(t, "size")
				m = append(m, bytes.Repeat([]byte{byte(i)}, n))
			}
			messages = append(messages, m)
			for j, f := range m {
				if rapid.IntRange(0, 9).Draw(t, "ping") == 0 {
					frames = rawpeer.AppendCommand(frames, "PONG", []byte("x"))
				}
				flags := byte(rawpeer.More)
				if j == len(m)-1 {
					flags = 0
				}
				frames = rawpeer.AppendFrame(frames, flags, f)
			}
		}
		stream := p.seal(frames)
		var cuts []int
		for range rapid.IntRange(0, 40).Draw(t, "cuts") {
			cuts = append(cuts, rapid.IntRange(0, len(stream)).Draw(t, "cut"))
		}
		slices.Sort(cuts)
		sent := make(chan error, 1)
		go func() {
			from := 0
			for _, c := range append(cuts, len(stream)) {
				if _, err := p.Write(stream[from:c]); err != nil {
					sent <- err
					return
				}
				from = c
			}
			sent <- nil
		}()
		for _, s := range subs {
			for i, m := range messages {
				it, err := s.Recv()
				if err != nil || !slices.EqualFunc(it.Frames, m, bytes.Equal) {
					t.Fatalf("message %d: got %s, want %s: %v", i, brief(rawpeer.Item{Frames: it.Frames}.Message()), brief(rawpeer.Item{Frames: m}.Message()), err)
				}
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	})
}

// TestSealedLarge: frames that lie in one piece on a sealed connection, and topics among them.
func TestSealedLarge(t *testing.T) {
	r := newSealedRig(t, Settings{})
	prefix := bytes.Repeat([]byte("p"), maxTopic)
	s := r.subscriber(string(prefix), "t")
	p := r.connect("XPUB")
	sizes := []int{9 << 20, 3 << 20, 1}
	if testing.Short() {
		sizes[0] = 1 << 20
	}
	for _, size := range sizes {
		payload := bytes.Repeat([]byte("abc"), size/3+1)
		topic := slices.Concat(prefix, bytes.Repeat([]byte("q"), 40<<10))
		var sending sync.WaitGroup
		sending.Go(func() {
			p.send(slices.Concat(
				rawpeer.AppendMessage(nil, []byte("t"), []byte("me"), payload, []byte("end")),
				rawpeer.AppendMessage(nil, topic, payload),
				rawpeer.AppendMessage(nil, []byte("t"), []byte("after"))))
		})
		for _, want := range [][][]byte{{[]byte("t"), []byte("me"), payload, []byte("end")}, {topic, payload}, {[]byte("t"), []byte("after")}} {
			it, err := s.Recv()
			if err != nil || !slices.EqualFunc(it.Frames, want, bytes.Equal) {
				t.Fatalf("got %s: %v", brief(rawpeer.Item{Frames: it.Frames}.Message()), err)
			}
		}
		sending.Wait()
	}
}

// TestUnsealedIsNotBelieved: what is not sealed, was changed or comes again on a sealed connection ends it, and has no effect.
func TestUnsealedIsNotBelieved(t *testing.T) {
	subscribe := rawpeer.AppendCommand(nil, "SUBSCRIBE", []byte("injected"))
	message := rawpeer.AppendMessage(nil, []byte("t"), []byte("injected"))
	for name, c := range map[string]struct {
		socketType string
		bytes      func(*sealed) []byte
	}{
		"a command to the XPUB port":    {"XSUB", func(*sealed) []byte { return subscribe }},
		"a subscription as a message":   {"XSUB", func(*sealed) []byte { return rawpeer.AppendMessage(nil, []byte("\x01injected")) }},
		"a PING to the XPUB port":       {"XSUB", func(*sealed) []byte { return rawpeer.AppendCommand(nil, "PING", []byte("\x00\x00")) }},
		"a message to the XSUB port":    {"XPUB", func(*sealed) []byte { return message }},
		"a PING to the XSUB port":       {"XPUB", func(*sealed) []byte { return rawpeer.AppendCommand(nil, "PING", []byte("\x00\x00")) }},
		"a sealed one that was changed": {"XPUB", func(s *sealed) []byte { b := s.seal(message); b[len(b)-1] ^= 1; return b }},
		"a large one that was changed": {"XPUB", func(s *sealed) []byte {
			b := s.seal(rawpeer.AppendMessage(nil, []byte("t"), make([]byte, 100<<10)))
			b[len(b)-1] ^= 1
			return b
		}},
		"a subscription that was changed": {"XSUB", func(s *sealed) []byte { b := s.seal(subscribe); b[len(b)-1] ^= 1; return b }},
		"a sealed one without its end":    {"XPUB", func(s *sealed) []byte { b := s.seal(message); b[1]--; return b[:len(b)-1] }},
		"a sealed one that goes on":       {"XPUB", func(s *sealed) []byte { b := s.seal(message); b[0] |= 1; return b }},
	} {
		t.Run(name, func(t *testing.T) {
			r := newSealedRig(t, Settings{})
			s, p := r.subscriber("t"), r.connect("XPUB")
			bad := r.connect(c.socketType)
			_, _ = bad.Write(c.bytes(bad))
			closed(t, bad.Conn)
			eventually(t, "it is counted", func() bool { return r.b.Status(false).Refused["misbehaved"] == 1 })
			if n := r.subscriptions(); n != 1 {
				t.Errorf("%d subscriptions", n)
			}
			p.send(rawpeer.AppendMessage(nil, []byte("t"), []byte("good")))
			if it, err := s.Recv(); err != nil || len(it.Frames) != 2 || string(it.Frames[1]) != "good" {
				t.Errorf("got %q, %v", it.Frames, err)
			}
		})
	}
	t.Run("one that comes again", func(t *testing.T) {
		r := newSealedRig(t, Settings{})
		s, bad := r.subscriber("t"), r.connect("XPUB")
		b := bad.seal(message)
		_, _ = bad.Write(append(b, b...))
		closed(t, bad.Conn)
		p := r.connect("XPUB")
		p.send(rawpeer.AppendMessage(nil, []byte("t"), []byte("good")))
		for {
			it, err := s.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if string(it.Frames[1]) == "good" {
				break
			}
		}
		if n := r.b.Status(false).Received.Messages; n > 2 {
			t.Errorf("%d messages were received", n)
		}
	})
}

// TestAnnouncedIsNotTaken: no memory is taken for what was only announced, in the open or sealed.
func TestAnnouncedIsNotTaken(t *testing.T) {
	const connections = 40
	header := []byte{2, 0, 0, 0, 0, 0x3f, 0xff, 0xff, 0xff} // a gigabyte
	plain := newRig(t, Config{})
	keyed := newSealedRig(t, Settings{})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	begin := append(header, make([]byte, 70<<10)...)
	for range connections {
		p := plain.publisher()
		p.must(p.Write(rawpeer.AppendMessage(nil, []byte("t"))))
		p.must(p.Write(begin))
		s := keyed.connect("XPUB")
		s.send(rawpeer.AppendMessage(nil, []byte("t")))
		if _, err := s.Write(begin); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all is read", func() bool {
		return plain.b.Status(false).Received.Messages == connections && keyed.b.Status(false).Received.Messages == connections
	})
	runtime.GC()
	runtime.ReadMemStats(&after)
	if used := int64(after.HeapInuse) - int64(before.HeapInuse); used > 2*connections*(2<<20) {
		t.Errorf("%d bytes for %d connections that have sent 70 KiB each", used, 2*connections)
	}
}

// TestKeysChangeWhileItRuns: new keys are good for new connections, and old connections stay.
func TestKeysChangeWhileItRuns(t *testing.T) {
	r := newSealedRig(t, Settings{})
	s, p := r.subscriber("t"), r.connect("XPUB")
	next := newSealedRig(t, Settings{})
	old := *r.b.keys.Load()
	fresh := *next.b.keys.Load()
	r.b.SetKeys(Keyring{Servers: slices.Concat(fresh.Servers, old.Servers), Clients: slices.Concat(fresh.Clients, old.Clients)})
	both := &sealedRig{r.rig, next.keys}
	for i, pub := range []*sealed{p, r.connect("XPUB"), both.connect("XPUB")} {
		pub.send(rawpeer.AppendMessage(nil, []byte("t"), fmt.Append(nil, i)))
		if it, err := s.Recv(); err != nil || string(it.Frames[1]) != fmt.Sprint(i) {
			t.Errorf("%d: %q, %v", i, it.Frames, err)
		}
	}
	r.b.SetKeys(fresh)
	conn := r.dial(true, "")
	_ = conn.SetDeadline(time.Now().Add(testTime))
	if _, err := zmtp.ClientHandshake(conn, &zmtp.ClientConfig{SocketType: "XSUB", Curve: &r.keys}); err == nil {
		t.Error("an old key is let in")
	}
	_ = conn.Close()
	p.send(rawpeer.AppendMessage(nil, []byte("t"), []byte("still")))
	if it, err := s.Recv(); err != nil || string(it.Frames[1]) != "still" {
		t.Errorf("%q, %v", it.Frames, err)
	}
}
