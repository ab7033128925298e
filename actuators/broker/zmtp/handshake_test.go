package zmtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// patience is how long a test waits for what should happen at once.
const patience = 20 * time.Second

// fixedRand is a source of random numbers that are always the same.
func fixedRand(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

func fixedPair(t testing.TB, seed byte) KeyPair {
	t.Helper()
	p, err := GenerateKeyPair(fixedRand(seed))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func yes() bool { return true }

// serverOf is a server for everything, as the XPUB port is, with the keys of fixedPair 1 and 2; 3 may come in as a client.
func serverOf(t testing.TB) *ServerConfig {
	ring := Keyring{Servers: []KeyPair{fixedPair(t, 1), fixedPair(t, 2)}, Clients: []Key{fixedPair(t, 4).Public, fixedPair(t, 3).Public}}
	return &ServerConfig{
		SocketType: "XPUB", Accept: []string{"XSUB", "SUB"}, AllowNull: yes,
		Curve: func() Keyring { return ring }, Rand: fixedRand(10),
	}
}

// again is the same server for another handshake, with the same random numbers.
func (c *ServerConfig) again() *ServerConfig {
	a := *c
	a.Rand = fixedRand(10)
	return &a
}

func clientOf(t testing.TB, curve bool) *ClientConfig {
	c := &ClientConfig{SocketType: "XSUB", Accept: []string{"XPUB", "PUB"}, Rand: fixedRand(11)}
	if curve {
		c.Curve = &ClientKeys{Server: fixedPair(t, 2).Public, Client: fixedPair(t, 3)}
	}
	return c
}

// pipe is a stream that buffers nothing.
func pipe(t testing.TB) (server, client net.Conn) {
	server, client = net.Pipe()
	t.Cleanup(func() { _, _ = server.Close(), client.Close() })
	for _, c := range []net.Conn{server, client} {
		_ = c.SetDeadline(time.Now().Add(patience))
	}
	return server, client
}

type result struct {
	peer *Peer
	err  error
}

// shake has a server and a client shake hands; each side closes its end when it fails.
func shake(t testing.TB, server *ServerConfig, client *ClientConfig) (s, c result, sc, cc net.Conn) {
	t.Helper()
	sc, cc = pipe(t)
	done := make(chan result, 1)
	go func() {
		p, err := ServerHandshake(sc, server)
		if err != nil {
			_ = sc.Close()
		}
		done <- result{p, err}
	}()
	p, err := ClientHandshake(cc, client)
	if err != nil {
		_ = cc.Close()
	}
	return <-done, result{p, err}, sc, cc
}

func TestHandshake(t *testing.T) {
	for _, curve := range []bool{false, true} {
		mechanism := map[bool]string{false: Null, true: Curve}[curve]
		t.Run(mechanism, func(t *testing.T) {
			config := clientOf(t, curve)
			config.Identity = "the \x00 client"
			s, c, sc, cc := shake(t, serverOf(t), config)
			if s.err != nil || c.err != nil {
				t.Fatalf("server: %v, client: %v", s.err, c.err)
			}
			if s.peer.SocketType != "XSUB" || s.peer.Identity != config.Identity || s.peer.Mechanism != mechanism || s.peer.Minor != 1 {
				t.Errorf("the server sees %+v", s.peer)
			}
			if c.peer.SocketType != "XPUB" || c.peer.Mechanism != mechanism || c.peer.Minor != 1 {
				t.Errorf("the client sees %+v", c.peer)
			}
			if !curve {
				if s.peer.Seal != nil || s.peer.Open != nil || c.peer.Seal != nil || c.peer.Open != nil || s.peer.ClientKey != (Key{}) {
					t.Errorf("NULL has ciphers: %+v, %+v", s.peer, c.peer)
				}
				return
			}
			if s.peer.ClientKey != config.Curve.Client.Public {
				t.Error("the server does not know the client's key")
			}
			// Both directions, and the stream begins right behind the handshake.
			for _, way := range []struct {
				from, to *Peer
				w, r     net.Conn
			}{{s.peer, c.peer, sc, cc}, {c.peer, s.peer, cc, sc}} {
				go func() { _, _ = way.w.Write(way.from.Seal.AppendMessage(nil, FlagMore, []byte("hello"))) }()
				frame := make([]byte, SealedSize(5))
				if _, err := io.ReadFull(way.r, frame); err != nil {
					t.Fatal(err)
				}
				flags, data, err := way.to.Open.Open(frame[2:])
				if err != nil || flags != FlagMore || string(data) != "hello" {
					t.Fatalf("flags %d, %q: %v", flags, data, err)
				}
			}
		})
	}
}

// reasonOf is why a peer was refused; "" when it is not that.
func reasonOf(err error) string {
	if r, ok := errors.AsType[*RefusedError](err); ok {
		return r.Reason
	}
	return ""
}

func TestServerRefuses(t *testing.T) {
	stranger := fixedPair(t, 99)
	tests := []struct {
		name   string
		curve  bool
		server func(*ServerConfig)
		client func(*ClientConfig)
		want   string
	}{
		{"NULL where it is not allowed", false, func(s *ServerConfig) { s.AllowNull = func() bool { return false } }, nil, "mechanism"},
		{"NULL where nothing is said of it", false, func(s *ServerConfig) { s.AllowNull = nil }, nil, "mechanism"},
		{"CURVE where there are no keys", true, func(s *ServerConfig) { s.Curve = nil }, nil, "mechanism"},
		{"CURVE where the ring is empty", true, func(s *ServerConfig) { s.Curve = func() Keyring { return Keyring{} } }, nil, "mechanism"},
		{"another type", false, nil, func(c *ClientConfig) { c.SocketType = "PULL" }, "socket-type"},
		{"another type, in CURVE", true, nil, func(c *ClientConfig) { c.SocketType = "PULL" }, "socket-type"},
		{"no type", false, nil, func(c *ClientConfig) { c.SocketType = "" }, "socket-type"},
		{"the type in small letters", false, nil, func(c *ClientConfig) { c.SocketType = "xsub" }, "socket-type"},
		{"an identity too long", false, nil, func(c *ClientConfig) { c.Identity = strings.Repeat("x", 256) }, "protocol"},
		{"metadata too large", false, nil, func(c *ClientConfig) { c.Identity = strings.Repeat("x", maxReady) }, "too-large"},
		{"metadata too large, in CURVE", true, nil, func(c *ClientConfig) { c.Identity = strings.Repeat("x", maxReady) }, "too-large"},
		{"another server's key", true, nil, func(c *ClientConfig) { c.Curve.Server = stranger.Public }, "key"},
		{"a server's key that fits everybody", true, nil, func(c *ClientConfig) { c.Curve.Client.Public = Key{} }, "key"},
		{"a client's key that is not on the list", true, nil, func(c *ClientConfig) { c.Curve.Client = stranger }, "key"},
		{"a client's key without its secret", true, nil, func(c *ClientConfig) { c.Curve.Client.Secret = stranger.Secret }, "key"},
		{"an empty list", true, func(s *ServerConfig) {
			ring := s.Curve()
			s.Curve = func() Keyring { return Keyring{Servers: ring.Servers} }
		}, nil, "key"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server, client := serverOf(t), clientOf(t, test.curve)
			if test.server != nil {
				test.server(server)
			}
			if test.client != nil {
				test.client(client)
			}
			s, c, _, _ := shake(t, server, client)
			if got := reasonOf(s.err); got != test.want {
				t.Errorf("refused for %q (%v), want %q", got, s.err, test.want)
			}
			// The client is told nothing: it sees the end of the stream, no ERROR and no other mechanism.
			if c.err == nil || reasonOf(c.err) != "" {
				t.Errorf("the client sees %v", c.err)
			}
		})
	}
}

func TestClientRefuses(t *testing.T) {
	tests := []struct {
		name   string
		curve  bool
		change func(*ServerConfig, *ClientConfig)
		want   string
	}{
		{"another type", false, func(_ *ServerConfig, c *ClientConfig) { c.Accept = []string{"PULL"} }, "socket-type"},
		{"another type, in CURVE", true, func(_ *ServerConfig, c *ClientConfig) { c.Accept = []string{"PULL"} }, "socket-type"},
		{"none in particular", true, func(_ *ServerConfig, c *ClientConfig) { c.Accept = nil }, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server, client := serverOf(t), clientOf(t, test.curve)
			test.change(server, client)
			_, c, _, _ := shake(t, server, client)
			if got := reasonOf(c.err); got != test.want || (c.err == nil) != (test.want == "") {
				t.Errorf("refused for %q (%v), want %q", got, c.err, test.want)
			}
		})
	}
}

// Keys are asked for anew in each handshake.
func TestKeysRotate(t *testing.T) {
	server, client := serverOf(t), clientOf(t, true)
	ring := Keyring{}
	server.AllowNull, server.Curve = nil, func() Keyring { return ring }
	if s, _, _, _ := shake(t, server, client); reasonOf(s.err) != "mechanism" {
		t.Fatalf("without keys: %v", s.err)
	}
	ring = serverOf(t).Curve()
	if s, c, _, _ := shake(t, server, client); s.err != nil || c.err != nil {
		t.Fatalf("with keys: %v, %v", s.err, c.err)
	}
	ring.Servers = ring.Servers[:1] // the client knows the second
	if s, _, _, _ := shake(t, server, client); reasonOf(s.err) != "key" {
		t.Fatalf("after its key was taken away: %v", s.err)
	}
}

// script is a stream of which everything that is read is known before, and what is written is kept.
type script struct {
	in  *bytes.Reader
	out bytes.Buffer
}

func (s *script) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s *script) Write(p []byte) (int, error) { return s.out.Write(p) }

// greetingOf is a greeting, spelled out as RFC 37 has it.
func greetingOf(major, minor byte, mechanism string, asServer byte) []byte {
	g := append([]byte{0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, major, minor}, mechanism...)
	g = append(g, make([]byte, 20-len(mechanism))...)
	return append(append(g, asServer), make([]byte, 31)...)
}

// nullReady is a READY that libzmq's XSUB sends, spelled out.
const nullReady = "\x04\x27\x05READY\x0bSocket-Type\x00\x00\x00\x04XSUB\x08Identity\x00\x00\x00\x00"

func TestServerByBytes(t *testing.T) {
	null := string(greetingOf(3, 0, "NULL", 0))
	ready := func(flags byte, body string) string {
		return null + string([]byte{flags, byte(len(body))}) + body
	}
	long := func(size uint64) string {
		return null + string(binary.BigEndian.AppendUint64([]byte{FlagCommand | FlagLong}, size))
	}
	tests := []struct {
		name, in string
		reason   string // "-": none
		err      error
		minor    byte
	}{
		{"NULL of 3.0", null + nullReady, "", nil, 0},
		{"NULL of 3.1", string(greetingOf(3, 1, "NULL", 0)) + nullReady, "", nil, 1},
		{"as-server is ignored", string(greetingOf(3, 1, "NULL", 1)) + nullReady, "", nil, 1},
		{"a version to come", string(greetingOf(4, 0, "NULL", 0)) + nullReady, "", nil, 1},
		{"names in any case", ready(4, "\x05READY\x0bSOCKET-type\x00\x00\x00\x03SUB"), "", nil, 0},
		{"names twice", ready(4, "\x05READY\x0bSocket-Type\x00\x00\x00\x03FOO\x0bSocket-Type\x00\x00\x00\x03SUB"), "", nil, 0},
		{"names unknown", ready(4, "\x05READY\x03X-a\x00\x00\x00\x01\xff\x0bSocket-Type\x00\x00\x00\x03SUB"), "", nil, 0},
		{"a short READY in a long frame", long(25) + "\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB", "", nil, 0},

		{"nothing", "", "-", io.EOF, 0},
		{"half a signature", null[:5], "-", io.EOF, 0},
		{"half a greeting", null[:30], "-", io.EOF, 0},
		{"no READY", null, "-", io.EOF, 0},
		{"half a READY", ready(4, nullReady[2:20])[:80], "-", io.ErrUnexpectedEOF, 0},
		{"HTTP, a short one", "GET", "garbage", nil, 0},
		{"HTTP", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "garbage", nil, 0},
		{"ZMTP 1.0", "\x01\x00", "garbage", nil, 0},
		{"a signature that ends otherwise", "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x00\x03\x00", "garbage", nil, 0},
		{"ZMTP 2.0", "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x01\x02\x00\x00", "version", nil, 0},
		{"ZMTP 2.1", "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x02", "version", nil, 0},
		{"PLAIN", string(greetingOf(3, 0, "PLAIN", 0)), "mechanism", nil, 0},
		{"a mechanism of 20 bytes", string(greetingOf(3, 0, "NULLNULLNULLNULLNULL", 0)), "mechanism", nil, 0},
		{"no mechanism", string(greetingOf(3, 0, "", 0)), "mechanism", nil, 0},
		{"a message first", ready(0, nullReady[2:]), "protocol", nil, 0},
		{"reserved flags", ready(0x0c, nullReady[2:]), "protocol", nil, 0},
		{"a command of several frames", ready(5, nullReady[2:]), "protocol", nil, 0},
		{"another command", ready(4, "\x05HELLO"), "protocol", nil, 0},
		{"a command without a name", ready(4, ""), "protocol", nil, 0},
		{"a name that is cut off", ready(4, "\x05REA"), "protocol", nil, 0},
		{"metadata that is cut off", ready(4, "\x05READY\x0bSocket-Type\x00\x00\x00\x04SUB"), "protocol", nil, 0},
		{"metadata of 4 GiB", ready(4, "\x05READY\x0bSocket-Type\xff\xff\xff\xffSUB"), "protocol", nil, 0},
		{"metadata without a name", ready(4, "\x05READY\x00\x00\x00\x00\x00"), "protocol", nil, 0},
		{"an ERROR", ready(4, "\x05ERROR\x03why"), "error", nil, 0},
		{"a READY of 8 KiB and more", long(maxReady + 7), "too-large", nil, 0},
		{"a READY of all the memory there is", long(1 << 62), "too-large", nil, 0},
		{"a READY of a negative size", long(1 << 63), "too-large", nil, 0},

		{"CURVE, HELLO too short", string(greetingOf(3, 1, "CURVE", 0)) + "\x04\x06\x05HELLO", "protocol", nil, 0},
		{"CURVE, HELLO too long", string(greetingOf(3, 1, "CURVE", 0)) + "\x04\xc9\x05HELLO", "too-large", nil, 0},
		{"CURVE, HELLO 2.0", string(greetingOf(3, 1, "CURVE", 0)) + "\x04\xc8\x05HELLO\x02" + strings.Repeat("\x00", 193), "version", nil, 0},
		{"CURVE, HELLO with a key that fits everybody", string(greetingOf(3, 1, "CURVE", 0)) + "\x04\xc8\x05HELLO\x01" + strings.Repeat("\x00", 193), "key", nil, 0},
		{"CURVE, HELLO with something in its padding", string(greetingOf(3, 1, "CURVE", 0)) + "\x04\xc8\x05HELLO\x01\x00\x01" + strings.Repeat("\x00", 191), "protocol", nil, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := &script{in: bytes.NewReader([]byte(test.in + "behind it"))}
			if test.err != nil {
				s.in = bytes.NewReader([]byte(test.in))
			}
			p, err := ServerHandshake(s, serverOf(t))
			want := test.reason
			if want == "-" {
				want = ""
			}
			if got := reasonOf(err); got != want {
				t.Fatalf("refused for %q (%v), want %q", got, err, want)
			}
			if test.err != nil && !errors.Is(err, test.err) {
				t.Fatalf("got %v, want %v", err, test.err)
			}
			if test.reason == "" {
				if err != nil {
					t.Fatal(err)
				}
				if p.Minor != test.minor {
					t.Errorf("minor version %d, want %d", p.Minor, test.minor)
				}
				if rest, _ := io.ReadAll(s); string(rest) != "behind it" {
					t.Errorf("what follows the handshake is %q", rest)
				}
			}
			checkAnswer(t, s.out.Bytes(), err == nil)
		})
	}
}

// checkAnswer checks what a server has said: no mechanism that the client has not, no ERROR, nothing at all to garbage.
func checkAnswer(t *testing.T, out []byte, accepted bool) {
	t.Helper()
	if bytes.Contains(out, []byte("ERROR")) {
		t.Errorf("the server sent an ERROR: %q", out)
	}
	if !accepted && bytes.Contains(out, []byte("READY")) {
		t.Errorf("the server sent a READY to whom it refused: %q", out)
	}
	said := out[:min(len(out), greetingSize)]
	null, curve := greetingOf(3, 1, "NULL", 0), greetingOf(3, 1, "CURVE", 1)
	if n := len(said); n != 0 && n != early && n != greetingSize || !bytes.Equal(said, null[:n]) && !bytes.Equal(said, curve[:n]) {
		t.Errorf("the server's greeting is %x", said)
	}
}

// Who says nothing is not answered, and waits for the deadline that the caller has set.
func TestSilentClient(t *testing.T) {
	server, client := pipe(t)
	_ = server.SetReadDeadline(time.Unix(1, 0))
	if _, err := ServerHandshake(server, serverOf(t)); !errors.Is(err, os.ErrDeadlineExceeded) || reasonOf(err) != "" {
		t.Fatalf("got %v", err)
	}
	_ = client.SetReadDeadline(time.Unix(1, 0))
	if n, err := client.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("it was told something: %d bytes, %v", n, err)
	}
}

// transcript is what a client says to a server in a handshake that succeeds; with the fixed random numbers it is always
// the same.
func transcript(t testing.TB, curve bool) []byte {
	t.Helper()
	sc, cc := pipe(t)
	var said bytes.Buffer
	done := make(chan error, 1)
	go func() {
		_, err := ServerHandshake(sc, serverOf(t))
		done <- err
	}()
	_, err := ClientHandshake(struct {
		io.Reader
		io.Writer
	}{cc, io.MultiWriter(cc, &said)}, clientOf(t, curve))
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	return said.Bytes()
}

// No byte of a CURVE handshake may be another one, up to those that mean nothing.
func TestEveryByteOfCurveCounts(t *testing.T) {
	good := transcript(t, true)
	if len(good) < 64+202+9+initiateMinimum {
		t.Fatalf("a transcript of %d bytes", len(good))
	}
	server := serverOf(t)
	const box = 64 + 202 + MaxHeader + 1 + len(commandInitiate) + cookieSize + 8 // of INITIATE
	for i := 0; i < len(good); i++ {
		if i >= box {
			i = min(i+6, len(good)-1) // one tag is for all its bytes
		}
		free := i >= 1 && i < 9 || i == 10 || i == 11 || i > atServer-20+len(Curve) && i < greetingSize // padding, a later version, after the mechanism
		b := bytes.Clone(good)
		b[i] ^= 0x41
		s := &script{in: bytes.NewReader(b)}
		_, err := ServerHandshake(s, server.again())
		if (err == nil) != free {
			t.Errorf("byte %d changed: %v", i, err)
		}
		checkAnswer(t, s.out.Bytes(), err == nil)
	}
	for n := 0; n < len(good); n += 17 {
		if _, err := ServerHandshake(&script{in: bytes.NewReader(good[:n])}, server.again()); err == nil || reasonOf(err) != "" {
			t.Errorf("cut off after %d bytes: %v", n, err)
		}
	}
}

// A HELLO, and an INITIATE, whose counters do not grow are refused.
func TestNoncesOfTheHandshakeGrow(t *testing.T) {
	good := transcript(t, true)
	at := 64 + 2 + 6 + 2 + 72 + 32 // the counter in HELLO
	if n := binary.BigEndian.Uint64(good[at:]); n != 1 {
		t.Fatalf("the counter in HELLO is %d", n)
	}
	client, server := fixedPair(t, 20), fixedPair(t, 1)
	h := &hello{client: client.Public, server: server.Public, last: 2}
	temporary := fixedPair(t, 21)
	both, err := share(&client.Public, &temporary.Secret)
	if err != nil {
		t.Fatal(err)
	}
	config := clientOf(t, true)
	config.Curve.Server = server.Public
	content, err := initiateBox(fixedRand(5), config, &temporary.Public, &client.Public)
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[uint64]string{1: "protocol", 2: "protocol", 3: "", 1 << 63: ""} {
		var long Key
		_, last, err := openInitiate(both.seal(counter(n), content, nonce(nonceInitiate, counter(n))), h, both, &temporary.Secret, &long)
		if got := reasonOf(err); got != want {
			t.Errorf("counter %d: refused for %q (%v), want %q", n, got, err, want)
		} else if err == nil && (last != n || long != config.Curve.Client.Public) {
			t.Errorf("counter %d: %d", n, last)
		}
	}
	// A vouch for another connection, or for another server.
	for _, change := range []func(){func() { h.client[3] ^= 1 }, func() { h.client[3] ^= 1; h.server[3] ^= 1 }} {
		change()
		var long Key
		_, _, err := openInitiate(both.seal(counter(9), content, nonce(nonceInitiate, counter(9))), h, both, &temporary.Secret, &long)
		if reasonOf(err) != "key" {
			t.Errorf("a vouch for something else: %v", err)
		}
	}
}

// What errors say has nothing in it that a terminal would act upon.
func TestRefusalsArePrintable(t *testing.T) {
	for _, in := range []string{
		string(greetingOf(3, 0, "\x1b[2J\n\xff", 0)),
		string(greetingOf(3, 0, "NULL", 0)) + "\x04\x0a\x09\x1b[2J\n\xff\x00\x07\x08",
		string(greetingOf(3, 0, "NULL", 0)) + "\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06\x1b[2J\n\xff",
		string(greetingOf(3, 0, "NULL", 0)) + "\x04\x0d\x05ERROR\x1b[2J\n\xff\x08",
	} {
		_, err := ServerHandshake(&script{in: bytes.NewReader([]byte(in))}, serverOf(t))
		if reasonOf(err) == "" {
			t.Errorf("not refused: %v", err)
			continue
		}
		for _, c := range err.Error() {
			if c < ' ' || c == 0x7f || c == 0xfffd {
				t.Errorf("%q", err.Error())
				break
			}
		}
	}
}
