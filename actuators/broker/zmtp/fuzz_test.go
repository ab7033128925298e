package zmtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/nacl/box"
)

// fuzzStream is a script that watches how it is read from.
type fuzzStream struct {
	script
	asked int // the largest piece
}

func (s *fuzzStream) Read(p []byte) (int, error) {
	s.asked = max(s.asked, len(p))
	return s.script.Read(p)
}

func streamOf(in []byte) *fuzzStream { return &fuzzStream{script: script{in: bytes.NewReader(in)}} }

// read is how much of it was read.
func (s *fuzzStream) read() int { return int(s.in.Size()) - s.in.Len() }

// fuzzServer lets in everybody that it can.
func fuzzServer(t testing.TB) *ServerConfig {
	config := serverOf(t)
	config.Accept = []string{"XSUB", "SUB", "XPUB", "PUB"}
	return config
}

func FuzzGreeting(f *testing.F) {
	for _, g := range [][]byte{
		greetingOf(3, 1, "NULL", 0), greetingOf(3, 0, "CURVE", 0), greetingOf(3, 1, "CURVE", 1), greetingOf(255, 255, "PLAIN", 255),
		[]byte("\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x01\x02\x00\x00"), []byte("\x01\x00"), []byte("GET / HTTP/1.1\r\n\r\n"),
	} {
		f.Add(g)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		s := streamOf(in)
		g, err := acceptGreeting(s)
		if s.read() > greetingSize || s.asked > greetingSize {
			t.Errorf("%d bytes were read, %d at once", s.read(), s.asked)
		}
		if err == nil && !bytes.Equal(g[:], in[:greetingSize]) {
			t.Error("that is not the greeting")
		}
		if n := s.out.Len(); n != 0 && n != early {
			t.Errorf("%d bytes were written", n)
		}
		if s.out.Len() > 0 && in[0] != 0xff {
			t.Error("garbage was answered")
		}
		if m := g.mechanism(); len(m) > mechanismSize || g.minorVersion() > minor {
			t.Errorf("mechanism %q, minor version %d", m, g.minorVersion())
		}
	})
}

func FuzzHandshake(f *testing.F) {
	null, curve := transcript(f, false), transcript(f, true)
	f.Add(null)
	f.Add(curve)
	f.Add(append(greetingOf(3, 0, "NULL", 0), nullReady...))
	server := fuzzServer(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		s := streamOf(in)
		p, err := ServerHandshake(s, server.again())
		if (p == nil) != (err != nil) {
			t.Fatalf("a peer %v and an error %v", p, err)
		}
		if most := 64 + 202 + 2*MaxHeader + maxReady + 8; s.read() > most || s.asked > most {
			t.Errorf("%d bytes were read, %d at once", s.read(), s.asked)
		}
		if s.out.Len() > 64+170+200 {
			t.Errorf("%d bytes were written", s.out.Len())
		}
		checkAnswer(t, s.out.Bytes(), err == nil)
		if err != nil {
			return
		}
		// It has read what belongs to the handshake, and no more: with that alone it succeeds, with a byte less it does not.
		n := s.read()
		if _, err := ServerHandshake(streamOf(in[:n]), server.again()); err != nil {
			t.Errorf("with what it has read alone: %v", err)
		}
		if _, err := ServerHandshake(streamOf(in[:n-1]), server.again()); err == nil {
			t.Error("it does not need what it reads")
		}
		if (p.Mechanism == Curve) != (p.Seal != nil && p.Open != nil && p.ClientKey != Key{}) || len(p.Identity) > maxIdentity {
			t.Errorf("%+v", p)
		}
	})
}

// FuzzMetadata: what a READY holds, in the open or within a box.
func FuzzMetadata(f *testing.F) {
	f.Add([]byte(nullReady[8:]))
	f.Add(metadata(nil, "XPUB", "me"))
	f.Add([]byte("\x01a\x00\x00\x00\x00\x01a\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		kind, identity, err := parseMetadata(in)
		if err != nil {
			if reasonOf(err) != "protocol" {
				t.Error(err)
			}
			return
		}
		if len(kind)+len(identity) > len(in) {
			t.Errorf("%q and %q out of %d bytes", kind, identity, len(in))
		}
		kind2, identity2, err := parseMetadata(metadata(nil, kind, identity))
		if err != nil || kind2 != kind || identity2 != identity {
			t.Errorf("%q and %q become %q and %q: %v", kind, identity, kind2, identity2, err)
		}
	})
}

func FuzzCommand(f *testing.F) {
	f.Add(AppendPing(nil, time.Second, []byte("context"))[2:])
	f.Add(AppendPong(nil, []byte("context"))[2:])
	f.Add(AppendSubscribe(nil, []byte("topic"))[2:])
	f.Add(AppendCancel(nil, nil)[2:])
	f.Fuzz(func(t *testing.T, in []byte) {
		name, data, err := ParseCommand(in)
		if err != nil {
			return
		}
		if !bytes.Equal(appendCommand(nil, string(name), data), in) {
			t.Errorf("%q and %q do not make %q", name, data, in)
		}
		ttl, context, err := ParsePing(data)
		if err == nil {
			if again := AppendPing(nil, ttl, context)[2+1+len(commandPing):]; !bytes.Equal(again, data) {
				t.Errorf("a PING of %x becomes %x", data, again)
			}
		}
	})
}

// fuzzConn is a connection on which everything has arrived.
type fuzzConn struct {
	net.Conn
	*fuzzStream
}

func (c fuzzConn) Read(p []byte) (int, error)  { return c.fuzzStream.Read(p) }
func (c fuzzConn) Write(p []byte) (int, error) { return c.fuzzStream.Write(p) }

func FuzzFrame(f *testing.F) {
	f.Add([]byte("\x01\x05topic\x00\x04data"))
	f.Add([]byte("\x03\x00\x00\x00\x00\x00\x00\x00\x05topic\x02\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x00\x06\x01topic\x00\x06\x00topic\x04\x0e\x09SUBSCRIBEthat\x04\x0b\x06CANCELthat\x04\x07\x04PING\x00\x05\x04\x05\x04PONG"))
	f.Add([]byte("\x01\x01a\x04\x0a\x09SUBSCRIBE\x00\x00"))
	f.Add([]byte("\x02\x7f\xff\xff\xff\xff\xff\xff\xff"))
	f.Add([]byte("\x02\x00\x00\x00\x00\x40\x00\x00\x00some"))
	f.Fuzz(func(t *testing.T, in []byte) {
		// Header by header.
		for rest := in; ; {
			flags, size, n, err := ParseHeader(rest)
			if err != nil || n == 0 {
				if n != 0 || err == nil && len(rest) >= MaxHeader {
					t.Errorf("%x: n %d, %v", rest[:min(len(rest), MaxHeader)], n, err)
				}
				break
			}
			if n > len(rest) || size < 0 || n+size < size || flags&FlagLong != 0 {
				t.Fatalf("%x: flags %d, %d bytes behind %d", rest[:n], flags, size, n)
			}
			if _, _, early, _ := ParseHeader(rest[:n-1]); early != 0 {
				t.Errorf("%x: there is a header in a part of it", rest[:n])
			}
			again := AppendHeader(nil, flags, size)
			if f, s, m, err := ParseHeader(again); f != flags || s != size || m != len(again) || m != HeaderSize(size) || err != nil {
				t.Errorf("%x becomes %x", rest[:n], again)
			}
			if len(rest)-n < size {
				break
			}
			rest = rest[n+size:]
		}
		// As messages.
		c := NewConn(fuzzConn{nil, streamOf(in)}, &Peer{SocketType: "XSUB"})
		c.Limit = 1 << 30
		for {
			r, err := c.Recv()
			if err != nil {
				break
			}
			if r.Subscription != (r.Frames == nil) {
				t.Errorf("%+v", r)
			}
		}
		if most := 4*len(in) + 4<<20; cap(c.memory) > most {
			t.Errorf("%d bytes of memory for %d bytes", cap(c.memory), len(in))
		}
	})
}

func FuzzOpen(f *testing.F) {
	shared := &[KeySize]byte{1, 2, 3}
	for _, n := range []int{0, 1, 30, 223, 224, 500, piece + 300} {
		f.Add(sealedByNacl(fromClient, uint64(n)+1, byte(n%3), make([]byte, n), shared), uint64(n))
	}
	f.Fuzz(func(t *testing.T, in []byte, last uint64) {
		o := newOpener(shared, true, last)
		flags, data, err := o.Open(bytes.Clone(in))
		// It is right when nacl says so too, and the counter is new.
		const head = len(messageName) + 8
		var want []byte
		ok := len(in) > head && string(in[:len(messageName)]) == messageName && binary.BigEndian.Uint64(in[len(messageName):]) > last
		if ok {
			var nonce [24]byte
			copy(nonce[:], fromClient)
			copy(nonce[16:], in[len(messageName):head])
			want, ok = box.OpenAfterPrecomputation(nil, in[head:], &nonce, shared)
			ok = ok && len(want) > 0 && want[0]&3 != 3
		}
		if ok != (err == nil) {
			t.Fatalf("nacl: %v, we: %v", ok, err)
		}
		if ok {
			if inner, _ := fromSealed(want[0]); inner != flags || !bytes.Equal(want[1:], data) {
				t.Errorf("flags %d instead of %d, or other data", flags, inner)
			}
			if again, _, err := o.Open(bytes.Clone(in)); !errors.Is(err, ErrReplayed) {
				t.Errorf("a second time: %d, %v", again, err)
			}
		}
	})
}

// What libzmq was recorded to say is still understood: the handshakes, and what follows.
func TestRecordedHandshakes(t *testing.T) {
	for _, name := range []string{"subscriber-null", "subscriber-curve", "publisher-null", "publisher-curve"} {
		t.Run(name, func(t *testing.T) {
			said := recorded(t, "FuzzHandshake", "libzmq-"+name)
			p, err := ServerHandshake(streamOf(said), fuzzServer(t))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(name, strings.ToLower(p.Mechanism)) || p.Minor != 1 {
				t.Errorf("%+v", p)
			}
			if !strings.HasPrefix(name, "subscriber") {
				return
			}
			after := bytes.NewReader(recorded(t, "FuzzFrame", "libzmq-"+name))
			for _, want := range []string{"\x01topic.a", "\x01topic.b", "\x00topic.b"} {
				if f, err := nextFrame(after, p); err != nil || f.body != want || f.flags != 0 {
					t.Errorf("got %v, want %q: %v", f, want, err)
				}
			}
			if _, err := nextFrame(after, p); !errors.Is(err, io.EOF) {
				t.Error(err)
			}
		})
	}
}

// recorded reads a seed.
func recorded(t *testing.T, target, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "fuzz", target, name))
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(b), "\n")
	text, err := strconv.Unquote(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "[]byte("), ")"))
	if err != nil {
		t.Fatal(err)
	}
	return []byte(text)
}
