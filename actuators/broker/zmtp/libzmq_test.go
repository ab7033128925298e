package zmtp

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// requireLibzmq is set where these tests must not be skipped.
const requireLibzmq = "CI_REQUIRE_LIBZMQ"

// record writes what libzmq says in these tests to the seeds of the fuzz targets.
var record = flag.Bool("record", false, "record what libzmq says as seeds of the fuzz targets")

// libzmq is a process with sockets of libzmq's.
type libzmq struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

// startLibzmq starts one, or skips the test where there is no libzmq.
func startLibzmq(t *testing.T) *libzmq {
	t.Helper()
	if err := exec.Command("/usr/bin/python3", "-c", "import zmq; assert zmq.has('curve')").Run(); err != nil {
		if os.Getenv(requireLibzmq) != "" {
			t.Fatalf("no libzmq with CURVE (Debian: python3-zmq), and %s is set: %v", requireLibzmq, err)
		}
		t.Skipf("no libzmq with CURVE (Debian: python3-zmq): %v", err)
	}
	cmd := exec.Command("/usr/bin/python3", "testdata/libzmq_peer.py")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &libzmq{t, in, bufio.NewReader(out)}
}

// do gives an order, and waits for its answer.
func (z *libzmq) do(answer any, what string, args map[string]any) {
	z.t.Helper()
	order := map[string]any{"do": what}
	for k, v := range args {
		order[k] = v
	}
	line, err := json.Marshal(order)
	if err != nil {
		z.t.Fatal(err)
	}
	if _, err := z.in.Write(append(line, '\n')); err != nil {
		z.t.Fatal(err)
	}
	got, err := z.out.ReadBytes('\n')
	if err == nil && answer != nil {
		err = json.Unmarshal(got, answer)
	}
	if err != nil {
		z.t.Fatalf("libzmq to %s: %q, %v", what, got, err)
	}
}

// open opens a socket; it returns its endpoint.
func (z *libzmq) open(name, kind string, args map[string]any) (endpoint string) {
	z.t.Helper()
	args["name"], args["type"] = name, kind
	z.do(&endpoint, "open", args)
	return endpoint
}

func (z *libzmq) send(name string, frames ...string) {
	z.t.Helper()
	h := []string{}
	for _, f := range frames {
		h = append(h, hex.EncodeToString([]byte(f)))
	}
	z.do(nil, "send", map[string]any{"name": name, "frames": h})
}

// recv waits for a message.
func (z *libzmq) recv(name string) (frames []string) {
	z.t.Helper()
	var h []string
	z.do(&h, "recv", map[string]any{"name": name, "timeout": patience.Milliseconds()})
	if h == nil {
		z.t.Fatalf("libzmq's %s has received nothing", name)
	}
	for _, f := range h {
		b, err := hex.DecodeString(f)
		if err != nil {
			z.t.Fatal(err)
		}
		frames = append(frames, string(b))
	}
	return frames
}

// Events of libzmq's socket monitor (zmq.h).
const (
	eventDisconnected       = 0x0200
	eventFailedNoDetail     = 0x0800
	eventSucceeded          = 0x1000
	eventFailedProtocol     = 0x2000
	eventFailedAuth         = 0x4000
	eventsThatWouldEndAZeek = eventFailedProtocol | eventFailedAuth
)

// events waits for one of a kind, and returns all up to it.
func (z *libzmq) events(name string, want int) (all int) {
	z.t.Helper()
	for {
		var e int
		z.do(&e, "event", map[string]any{"name": name, "timeout": patience.Milliseconds()})
		if e == 0 {
			z.t.Fatalf("libzmq's %s: events %#x, and then nothing", name, all)
		}
		all |= e
		if e == want {
			return all
		}
	}
}

// listen opens a listener of ours.
func listen(t *testing.T) (l net.Listener, endpoint string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(2 * patience))
	return l, "tcp://" + l.Addr().String()
}

// heard is a connection that keeps what it has read.
type heard struct {
	net.Conn
	said bytes.Buffer
}

func (h *heard) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	h.said.Write(p[:n])
	return n, err
}

// accept takes a connection, and shakes hands.
func accept(t *testing.T, l net.Listener, cfg *ServerConfig) (*Peer, *heard, error) {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	h := &heard{Conn: c}
	p, err := ServerHandshake(h, cfg)
	return p, h, err
}

// frame is what a peer has sent, opened if it was sealed.
type frame struct {
	sealed bool
	flags  byte
	body   string
}

func (f frame) String() string {
	return fmt.Sprintf("%.100q (flags %d, sealed: %v)", f.body, f.flags, f.sealed)
}

// readFrame reads the next frame.
func readFrame(t *testing.T, c io.Reader, p *Peer) frame {
	t.Helper()
	f, err := nextFrame(c, p)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func nextFrame(c io.Reader, p *Peer) (frame, error) {
	var h []byte
	for {
		flags, size, n, err := ParseHeader(h)
		if err != nil {
			return frame{}, err
		}
		if n == 0 {
			h = append(h, 0)
			if _, err := io.ReadFull(c, h[len(h)-1:]); err != nil {
				return frame{}, err
			}
			continue
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(c, body); err != nil {
			return frame{}, err
		}
		if p.Open == nil {
			return frame{false, flags, string(body)}, nil
		}
		if flags != 0 {
			return frame{}, fmt.Errorf("a sealed frame with flags %d", flags)
		}
		flags, body, err = p.Open.Open(body)
		return frame{true, flags, string(body)}, err
	}
}

// clientKeys is how libzmq is a CURVE client of serverOf.
func clientKeys(t *testing.T, server, client KeyPair) map[string]any {
	return map[string]any{"SERVERKEY": server.Public.Z85(), "PUBLICKEY": client.Public.Z85(), "SECRETKEY": client.Secret.Z85()}
}

func mechanisms(t *testing.T, test func(t *testing.T, curve bool)) {
	for _, curve := range []bool{false, true} {
		name := Null
		if curve {
			name = Curve
		}
		t.Run(name, func(t *testing.T) { test(t, curve) })
	}
}

// connecting is how a socket of libzmq's connects to us.
func connecting(t *testing.T, endpoint string, curve bool, options map[string]any) map[string]any {
	args := map[string]any{"connect": endpoint}
	if curve {
		args["curve"] = clientKeys(t, fixedPair(t, 2), fixedPair(t, 3))
	}
	if options != nil {
		args["options"] = options
	}
	return args
}

// seed keeps what libzmq has said for a fuzz target.
func seed(t *testing.T, target string, said []byte) {
	t.Helper()
	if !*record {
		return
	}
	dir := filepath.Join("testdata", "fuzz", target)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	name := strings.ToLower(strings.NewReplacer("/", "-", "TestLibzmq", "libzmq-").Replace(t.Name()))
	if err := os.WriteFile(filepath.Join(dir, name), fmt.Appendf(nil, "go test fuzz v1\n[]byte(%q)\n", said), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A node's XSUB socket at our XPUB port: its subscriptions in both forms, and messages to it.
func TestLibzmqSubscriber(t *testing.T) {
	mechanisms(t, func(t *testing.T, curve bool) {
		z := startLibzmq(t)
		l, endpoint := listen(t)
		z.open("sub", "XSUB", connecting(t, endpoint, curve, nil))
		p, conn, err := accept(t, l, serverOf(t))
		if err != nil {
			t.Fatal(err)
		}
		if p.SocketType != "XSUB" || p.Minor != 1 || (p.Mechanism == Curve) != curve {
			t.Errorf("libzmq shows itself as %+v", p)
		}
		seed(t, "FuzzHandshake", conn.said.Bytes())
		conn.said.Reset()
		// While a connection lasts libzmq sends the old form, whatever version it was told.
		z.send("sub", "\x01topic.a")
		z.send("sub", "\x01topic.b")
		z.send("sub", "\x00topic.b")
		for _, want := range []frame{{curve, 0, "\x01topic.a"}, {curve, 0, "\x01topic.b"}, {curve, 0, "\x00topic.b"}} {
			if got := readFrame(t, conn, p); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		}
		seed(t, "FuzzFrame", conn.said.Bytes())
		conn.said.Reset()

		out := NewConn(conn, p)
		large := strings.Repeat("large", 1<<17)
		for _, want := range [][]string{{"topic.a", "sender", "", "payload"}, {"topic.a.b", large, "behind it"}, {"topic.a", strings.Repeat("x", 255-33), strings.Repeat("y", 256-33)}} {
			parts := [][]byte{}
			for _, f := range want {
				parts = append(parts, []byte(f))
			}
			if err := out.Send(parts...); err != nil {
				t.Fatal(err)
			}
			if err := out.Flush(); err != nil {
				t.Fatal(err)
			}
			if got := z.recv("sub"); !slices.Equal(got, want) {
				t.Errorf("libzmq has received %d frames: %.80q", len(got), got)
			}
		}

		// After a reconnect it sends what it still is subscribed to as a command.
		_ = conn.Close()
		p, conn, err = accept(t, l, serverOf(t))
		if err != nil {
			t.Fatal(err)
		}
		// It is the application's thread that sends it, when it next looks at its socket.
		z.do(nil, "recv", map[string]any{"name": "sub", "timeout": 1})
		got := readFrame(t, conn, p)
		if want := (frame{curve, FlagCommand, "\x09SUBSCRIBEtopic.a"}); got != want {
			t.Errorf("after a reconnect: got %v, want %v", got, want)
		}
		seed(t, "FuzzCommand", []byte(got.body))
	})
}

// A node's XPUB socket at our XSUB port: it understands subscriptions in both forms, and its messages come.
func TestLibzmqPublisher(t *testing.T) {
	mechanisms(t, func(t *testing.T, curve bool) {
		z := startLibzmq(t)
		l, endpoint := listen(t)
		config := serverOf(t)
		config.SocketType, config.Accept = "XSUB", []string{"XPUB", "PUB"}
		z.open("pub", "XPUB", connecting(t, endpoint, curve, map[string]any{"XPUB_VERBOSE": 1}))
		p, conn, err := accept(t, l, config)
		if err != nil {
			t.Fatal(err)
		}
		seed(t, "FuzzHandshake", conn.said.Bytes())
		conn.said.Reset()
		c := NewConn(conn, p)
		steps := []struct {
			minor byte
			do    func(string) error
			topic string
			want  string
		}{
			{1, c.Subscribe, "topic.new", "\x01topic.new"},
			{0, c.Subscribe, "topic.old", "\x01topic.old"},
			{1, c.Subscribe, "", "\x01"},
			{1, c.Cancel, "", "\x00"},
			{0, c.Cancel, "topic.old", "\x00topic.old"},
			{1, c.Subscribe, strings.Repeat("t", 300), "\x01" + strings.Repeat("t", 300)},
		}
		for _, step := range steps {
			p.Minor = step.minor
			if err := step.do(step.topic); err != nil {
				t.Fatal(err)
			}
			if got := z.recv("pub"); !slices.Equal(got, []string{step.want}) {
				t.Errorf("libzmq has received %q, want %q", got, step.want)
			}
		}
		for _, want := range [][]string{{"topic.new", "", "\x00", "payload"}, {"topic.new.and.more", strings.Repeat("large", 1<<17)}, {"topic.new"}} {
			z.send("pub", "topic.old", "nobody is subscribed to that")
			z.send("pub", want...)
			got, err := c.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if got.Subscription || len(got.Frames) != len(want) {
				t.Fatalf("received %d frames, want %d", len(got.Frames), len(want))
			}
			for i := range want {
				if string(got.Frames[i]) != want[i] {
					t.Errorf("frame %d: %.80q, want %.80q", i, got.Frames[i], want[i])
				}
			}
		}
	})
}

// Our client at servers of libzmq's.
func TestLibzmqServer(t *testing.T) {
	mechanisms(t, func(t *testing.T, curve bool) {
		z := startLibzmq(t)
		args := func() map[string]any {
			a := map[string]any{"bind": "tcp://127.0.0.1:*"}
			if curve {
				a["curve"] = map[string]any{"SERVER": true, "SECRETKEY": fixedPair(t, 2).Secret.Z85(), "PUBLICKEY": fixedPair(t, 2).Public.Z85()}
			}
			return a
		}
		dial := func(endpoint, kind string) *Conn {
			t.Helper()
			config := clientOf(t, curve)
			config.SocketType, config.Accept, config.Identity = kind, nil, "us"
			c, err := Dial(t.Context(), endpoint, config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			_ = c.SetReadDeadline(time.Now().Add(patience))
			return c
		}

		pull := dial(z.open("pull", "PULL", args()), "PUSH")
		if pull.Peer().SocketType != "PULL" {
			t.Errorf("libzmq shows itself as %+v", pull.Peer())
		}
		if err := pull.Send([]byte("log-write"), nil, []byte("data")); err != nil {
			t.Fatal(err)
		}
		if err := pull.Flush(); err != nil {
			t.Fatal(err)
		}
		if got := z.recv("pull"); !slices.Equal(got, []string{"log-write", "", "data"}) {
			t.Errorf("libzmq has received %q", got)
		}

		xpub := dial(z.open("xpub", "XPUB", args()), "XSUB")
		if err := xpub.Subscribe("a"); err != nil {
			t.Fatal(err)
		}
		if got := z.recv("xpub"); !slices.Equal(got, []string{"\x01a"}) {
			t.Errorf("libzmq has received %q", got)
		}
		z.send("xpub", "abc", "def")
		if got, err := xpub.Recv(); err != nil || len(got.Frames) != 2 || string(got.Frames[1]) != "def" {
			t.Errorf("received %q: %v", got.Frames, err)
		}

		xsub := dial(z.open("xsub", "XSUB", args()), "XPUB")
		z.events("xsub", eventSucceeded)
		z.do(nil, "recv", map[string]any{"name": "xsub", "timeout": 1}) // it looks at its socket
		z.send("xsub", "\x01t")
		z.send("xsub", "\x00t")
		for _, cancel := range []bool{false, true} {
			if got, err := xsub.Recv(); err != nil || !got.Subscription || got.Cancel != cancel || got.Topic != "t" {
				t.Errorf("received %+v: %v", got, err)
			}
		}
	})
}

// libzmq's heartbeats: PINGs, sealed with CURVE, with the TTL that it was told; it takes our PONGs for an answer, and
// answers our PINGs.
func TestLibzmqHeartbeat(t *testing.T) {
	mechanisms(t, func(t *testing.T, curve bool) {
		z := startLibzmq(t)
		l, endpoint := listen(t)
		z.open("sub", "XSUB", connecting(t, endpoint, curve, map[string]any{"HEARTBEAT_IVL": 30, "HEARTBEAT_TIMEOUT": 10000, "HEARTBEAT_TTL": 2300}))
		p, conn, err := accept(t, l, serverOf(t))
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			f := readFrame(t, conn, p)
			name, data, err := ParseCommand([]byte(f.body))
			if err != nil || f.flags != FlagCommand || f.sealed != curve || string(name) != "PING" {
				t.Fatalf("got %v: %v", f, err)
			}
			ttl, context, err := ParsePing(data)
			if err != nil || ttl != 2300*time.Millisecond || len(context) != 0 {
				t.Errorf("PING: ttl %v, context %x: %v", ttl, context, err)
			}
			seed(t, "FuzzCommand", []byte(f.body))
		}
		out := NewConn(conn, p)
		// Ours comes back, with its context.
		ping := appendCommand(nil, commandPing, []byte{0, 0}, []byte("0123456789abcdef"))
		out.mu.Lock()
		if err := out.put(FlagCommand, ping); err != nil {
			t.Fatal(err)
		}
		if err := out.w.Flush(); err != nil {
			t.Fatal(err)
		}
		out.unlock()
		for {
			f := readFrame(t, conn, p)
			if name, data, err := ParseCommand([]byte(f.body)); err == nil && string(name) == "PONG" {
				if string(data) != "0123456789abcdef" {
					t.Errorf("PONG with %q", data)
				}
				break
			}
		}
	})
}

// A libzmq that hears no PONG gives up; with Conn, which answers, it does not.
func TestLibzmqHeartbeatIsAnswered(t *testing.T) {
	mechanisms(t, func(t *testing.T, curve bool) {
		t.Parallel()
		z := startLibzmq(t)
		l, endpoint := listen(t)
		z.open("sub", "XSUB", connecting(t, endpoint, curve, map[string]any{"HEARTBEAT_IVL": 100, "HEARTBEAT_TIMEOUT": 1500}))
		p, conn, err := accept(t, l, serverOf(t))
		if err != nil {
			t.Fatal(err)
		}
		// Well over the timeout.
		c, pings := NewConn(conn, p), 0
		for start := time.Now(); pings < 12 || time.Since(start) < 2*time.Second; pings++ {
			flags, body, err := c.frame()
			if err != nil {
				t.Fatalf("after %d PINGs: %v", pings, err)
			}
			if _, ok, err := c.command(body); ok || err != nil || flags != FlagCommand {
				t.Fatalf("%q: %v", body, err)
			}
			c.memory = c.memory[:0]
		}
		// And then no more.
		for {
			if _, err := nextFrame(conn, p); err != nil {
				if !isEnd(err) {
					t.Fatal(err)
				}
				break
			}
		}
		z.events("sub", eventDisconnected)
	})
}

// A TTL in our PING makes libzmq give up when we say no more, as a node should when the broker's host is gone.
func TestLibzmqTTL(t *testing.T) {
	mechanisms(t, func(t *testing.T, curve bool) {
		z := startLibzmq(t)
		l, endpoint := listen(t)
		z.open("sub", "XSUB", connecting(t, endpoint, curve, nil))
		p, conn, err := accept(t, l, serverOf(t))
		if err != nil {
			t.Fatal(err)
		}
		ping := AppendPing(nil, 300*time.Millisecond, nil)
		if curve {
			ping = p.Seal.AppendMessage(nil, FlagCommand, ping[2:])
		}
		start := time.Now()
		if _, err := conn.Write(ping); err != nil {
			t.Fatal(err)
		}
		if f := readFrame(t, conn, p); f != (frame{curve, FlagCommand, "\x04PONG"}) {
			t.Errorf("got %v", f)
		}
		if f, err := nextFrame(conn, p); !isEnd(err) {
			t.Fatalf("got %v, %v", f, err)
		}
		if d := time.Since(start); d < 250*time.Millisecond {
			t.Errorf("it gave up after %v", d)
		}
		z.events("sub", eventDisconnected)
		// It comes again.
		if _, _, err := accept(t, l, serverOf(t)); err != nil {
			t.Fatal(err)
		}
	})
}

func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// Whoever is refused only sees its connection end, and tries again: no event comes up that makes a Zeek exit.
func TestLibzmqRefused(t *testing.T) {
	stranger := fixedPair(t, 99)
	tests := []struct {
		name   string
		kind   string
		curve  map[string]any
		server func(*ServerConfig)
		want   string
	}{
		{"NULL", "XSUB", nil, func(s *ServerConfig) { s.AllowNull = nil }, "mechanism"},
		{"CURVE", "XSUB", clientKeys(t, fixedPair(t, 2), fixedPair(t, 3)), func(s *ServerConfig) { s.Curve = nil }, "mechanism"},
		{"server key", "XSUB", clientKeys(t, stranger, fixedPair(t, 3)), nil, "key"},
		{"client key", "XSUB", clientKeys(t, fixedPair(t, 1), stranger), nil, "key"},
		{"socket type", "PULL", nil, nil, "socket-type"},
		{"socket type in CURVE", "PULL", clientKeys(t, fixedPair(t, 1), fixedPair(t, 4)), nil, "socket-type"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			z := startLibzmq(t)
			l, endpoint := listen(t)
			z.open("sock", test.kind, map[string]any{"connect": endpoint, "curve": test.curve})
			config := serverOf(t)
			if test.server != nil {
				test.server(config)
			}
			for range 3 {
				_, conn, err := accept(t, l, config)
				if got := reasonOf(err); got != test.want {
					t.Fatalf("refused for %q (%v), want %q", got, err, test.want)
				}
				seed(t, "FuzzHandshake", conn.said.Bytes())
				_ = conn.Close()
				if e := z.events("sock", eventFailedNoDetail); e&eventsThatWouldEndAZeek != 0 {
					t.Errorf("libzmq's monitor says %#x", e)
				}
			}
			// Let in, it is content.
			config = serverOf(t)
			if test.want == "mechanism" {
				if _, _, err := accept(t, l, config); err != nil {
					t.Fatal(err)
				}
				if e := z.events("sock", eventSucceeded); e&eventsThatWouldEndAZeek != 0 {
					t.Errorf("libzmq's monitor says %#x", e)
				}
			}
		})
	}
}

// libzmq's greeting comes in stages, and its mechanism without waiting for ours (facts/zeromq.md §4.3).
func TestLibzmqGreetingStages(t *testing.T) {
	z := startLibzmq(t)
	l, endpoint := listen(t)
	z.open("sub", "XSUB", connecting(t, endpoint, true, nil))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	own := newGreeting("", false)
	var got greeting
	for _, stage := range []struct{ saidBefore, say, hear, heardBefore int }{
		{0, 0, signatureSize, 0},                    // its signature, unasked
		{0, signatureSize, early, signatureSize},    // its major version
		{signatureSize, early, greetingSize, early}, // all the rest
	} {
		if _, err := c.Write(own[stage.saidBefore:stage.say]); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, got[stage.heardBefore:stage.hear]); err != nil {
			t.Fatalf("after %d bytes of ours, %d of its: %v", stage.say, stage.hear, err)
		}
	}
	// It says no more until it has heard our mechanism.
	if want := greetingOf(3, 1, "CURVE", 0); !bytes.Equal(got[early:], want[early:]) {
		t.Errorf("got %x", got)
	}
}
