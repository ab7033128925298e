package broker

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/internal/rawpeer"
	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

// closed reads until the other side closes, and returns what came before that.
func closed(t testing.TB, conn net.Conn) []byte {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(testTime))
	b, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("was not closed: %v", err)
	}
	return b
}

// TestRefusedAreOnlyClosed: whatever a client does wrong, it is sent no command, an ERROR least of all.
func TestRefusedAreOnlyClosed(t *testing.T) {
	noise := make([]byte, 4096)
	_, _ = rand.Read(noise)
	noise[0] = 'G'
	old := rawpeer.Greeting(1, "NULL")
	old[10] = 2
	keys := func(b *Broker) { b.SetKeys(Keyring{Servers: []zmtp.KeyPair{{}}}) }
	for name, c := range map[string]struct {
		sends  []byte
		reason string
		with   func(*Broker)
		more   int // bytes of the broker's behind its early greeting
	}{
		"random bytes":         {noise, "garbage", nil, 0},
		"HTTP":                 {[]byte("GET / HTTP/1.1\r\nHost: example\r\n\r\n"), "garbage", nil, 0},
		"ZMTP 2":               {old, "version", nil, 0},
		"another mechanism":    {rawpeer.Greeting(1, "PLAIN"), "mechanism", nil, 0},
		"CURVE without keys":   {rawpeer.Greeting(1, "CURVE"), "mechanism", nil, 0},
		"NULL where keys are":  {append(rawpeer.Greeting(1, "NULL"), rawpeer.Ready("XSUB")...), "mechanism", keys, 0},
		"noise instead of C":   {append(rawpeer.Greeting(1, "CURVE"), noise...), "protocol", keys, 53},
		"another socket":       {append(rawpeer.Greeting(1, "NULL"), rawpeer.Ready("DEALER")...), "socket-type", nil, 200},
		"noise behind":         {append(rawpeer.Greeting(1, "NULL"), noise...), "protocol", nil, 200},
		"a message":            {append(rawpeer.Greeting(1, "NULL"), rawpeer.AppendMessage(nil, []byte("x"))...), "protocol", nil, 200},
		"ERROR":                {append(rawpeer.Greeting(1, "NULL"), rawpeer.AppendCommand(nil, "ERROR", []byte("\x03abc"))...), "error", nil, 200},
		"a READY beyond all":   {append(rawpeer.Greeting(1, "NULL"), 6, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff), "too-large", nil, 200},
		"a READY half":         {append(rawpeer.Greeting(1, "NULL"), 4, 100), "broken-off", nil, 200},
		"a greeting half":      {rawpeer.Greeting(1, "NULL")[:40], "broken-off", nil, 0},
		"nothing":              {nil, "broken-off", nil, 0},
		"READY that is broken": {append(rawpeer.Greeting(1, "NULL"), rawpeer.AppendCommand(nil, "READY", []byte("\x0bSocket-Type\xff\xff\xff\xff"))...), "protocol", nil, 200},
	} {
		t.Run(name, func(t *testing.T) {
			var prepare []func(*Broker)
			if c.with != nil {
				prepare = append(prepare, c.with)
			}
			r := newRig(t, Config{}, prepare...)
			for _, xpub := range []bool{true, false} {
				conn := r.dial(xpub, "")
				defer conn.Close()
				if _, err := conn.Write(c.sends); err != nil {
					t.Fatal(err)
				}
				if c.reason == "broken-off" {
					_ = conn.(*net.TCPConn).CloseWrite()
				}
				got := closed(t, conn)
				if bytes.Contains(got, []byte("ERROR")) || len(got) > 11+c.more {
					t.Errorf("was sent %q", got)
				}
			}
			eventually(t, "both are counted", func() bool {
				n := uint64(0)
				for _, k := range r.b.Status(false).Refused {
					n += k
				}
				return n == 2
			})
			if got := r.b.Status(false).Refused; got[c.reason] != 2 {
				t.Errorf("refused: %v, want %s", got, c.reason)
			}
		})
	}
}

// TestMisbehaved: after the handshake, too, whoever breaks the rules is only disconnected.
func TestMisbehaved(t *testing.T) {
	for name, c := range map[string]struct {
		kind  rawpeer.Kind
		sends []byte
	}{
		"reserved flags":                        {rawpeer.XPUB(1), []byte{0xf8, 0}},
		"a command that goes on":                {rawpeer.XPUB(1), []byte{5, 0}},
		"an unknown command":                    {rawpeer.XPUB(1), rawpeer.AppendCommand(nil, "HELLO", nil)},
		"a command without a name":              {rawpeer.XPUB(1), []byte{4, 0}},
		"a command that is too long":            {rawpeer.XPUB(1), rawpeer.AppendCommand(nil, "PING", make([]byte, maxCommand))},
		"a PING that is too long":               {rawpeer.XPUB(1), rawpeer.AppendCommand(nil, "PING", make([]byte, 19))},
		"a PING that is too short":              {rawpeer.XPUB(1), rawpeer.AppendCommand(nil, "PING", []byte{0})},
		"SUBSCRIBE by a publisher":              {rawpeer.XPUB(1), rawpeer.AppendCommand(nil, "SUBSCRIBE", []byte("x"))},
		"a frame beyond all bounds":             {rawpeer.XPUB(1), []byte{2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
		"a frame larger than a message may be":  {rawpeer.XPUB(1), []byte{2, 0, 0, 0, 0, 0x40, 0, 0, 1}},
		"a large command in a large message":    {rawpeer.XPUB(1), append(rawpeer.AppendFrame(nil, 1, make([]byte, 200<<10)), rawpeer.AppendCommand(nil, "PING", make([]byte, 600))...)},
		"a bad command in a large message":      {rawpeer.XPUB(1), append(rawpeer.AppendFrame(nil, 1, make([]byte, 200<<10)), 4, 0)},
		"reserved flags in a large message":     {rawpeer.XPUB(1), append(rawpeer.AppendFrame(nil, 1, make([]byte, 200<<10)), 0xf8, 0)},
		"an unknown command by a subscriber":    {rawpeer.XSUB(1), rawpeer.AppendCommand(nil, "HELLO", nil)},
		"reserved flags by a subscriber":        {rawpeer.XSUB(1), []byte{0xf8, 0}},
		"a frame too large for a subscriber":    {rawpeer.XSUB(1), []byte{2, 0, 0, 0, 0, 0, 1, 0, 1}},
		"a command without a name by the other": {rawpeer.XSUB(1), []byte{4, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{})
			s, p := r.subscriber("t"), r.publisher()
			bad := r.join(c.kind, "")
			_ = bad.Write(c.sends)
			if got := closed(t, bad.Conn); bytes.Contains(got, []byte("ERROR")) {
				t.Errorf("was sent %q", got)
			}
			eventually(t, "it is counted", func() bool { return r.b.Status(false).Refused["misbehaved"] == 1 })
			p.must(p.Send("t", "still there"))
			s.want("t", "still there")
		})
	}
}

// TestSilentClients: they are closed in time, and so is one that sends a byte now and then.
func TestSilentClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{})
		begun := time.Now()
		silent, slow := r.dial(true, ""), r.dial(false, "")
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for _, c := range rawpeer.Greeting(1, "NULL") {
				select {
				case <-stop:
					return
				case <-time.After(time.Second):
				}
				if _, err := slow.Write([]byte{c}); err != nil {
					return
				}
			}
		}()
		for _, conn := range []net.Conn{silent, slow} {
			if _, err := io.Copy(io.Discard, conn); err != nil {
				t.Error(err)
			}
			if d := time.Since(begun); d != zmtp.HandshakeTimeout {
				t.Errorf("closed after %v", d)
			}
		}
		synctest.Wait()
		if got := r.b.Status(false).Refused; got["silent"] != 2 {
			t.Errorf("refused: %v", got)
		}
	})
}

// TestFarAway: a node whose packets take two seconds each way is let in, encrypted or not.
func TestFarAway(t *testing.T) {
	for name, keys := range map[string]bool{"encrypted": true, "plain": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := &zmtp.ClientConfig{SocketType: "XSUB"}
				r := newPipeRig(t, Config{}, func(b *Broker) {
					if !keys {
						return
					}
					server, own := pair(t), pair(t)
					client.Curve = &zmtp.ClientKeys{Server: server.Public, Client: own}
					b.SetKeys(Keyring{Servers: []zmtp.KeyPair{server}, Clients: []zmtp.Key{own.Public}})
				})
				conn := distant(t, r.dial(true, ""), 2*time.Second)
				begun := time.Now()
				if _, err := zmtp.ClientHandshake(conn, client); err != nil {
					t.Fatalf("after %v: %v", time.Since(begun), err)
				}
				t.Logf("took %v", time.Since(begun))
				synctest.Wait()
				if got := len(r.b.Status(false).Refused); got != 0 {
					t.Errorf("refused: %v", r.b.Status(false).Refused)
				}
			})
		})
	}
}

func pair(t testing.TB) zmtp.KeyPair {
	t.Helper()
	k, err := zmtp.GenerateKeyPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// distant is a connection over a long way to where conn is: what is written to it, and what is to be read, takes that long.
func distant(t testing.TB, conn net.Conn, way time.Duration) net.Conn {
	near, far := net.Pipe()
	carry := func(to, from net.Conn) {
		type parcel struct {
			data []byte
			due  time.Time
		}
		under := make(chan parcel, 64)
		go func() {
			defer close(under)
			for buf := make([]byte, 4096); ; {
				n, err := from.Read(buf)
				if err != nil {
					return
				}
				under <- parcel{bytes.Clone(buf[:n]), time.Now().Add(way)}
			}
		}()
		defer func() { _ = to.Close() }()
		for p := range under {
			time.Sleep(time.Until(p.due))
			if _, err := to.Write(p.data); err != nil {
				_ = from.Close()
			}
		}
	}
	var both sync.WaitGroup
	both.Go(func() { carry(conn, far) })
	both.Go(func() { carry(far, conn) })
	t.Cleanup(func() {
		_ = near.Close()
		both.Wait()
	})
	return near
}

// TestOldestMakeRoom: of those who say nothing, there are never more than maxKnocking; who is let in does not count.
func TestOldestMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{})
		joined := r.join(rawpeer.XSUB(1), "")
		joined.listen()
		var open atomic.Int64
		var conns []net.Conn
		ended := make([]atomic.Bool, maxKnocking+50)
		for i := range maxKnocking + 50 {
			conn := r.dial(true, "")
			conns = append(conns, conn)
			open.Add(1)
			go func() {
				_, _ = io.Copy(io.Discard, conn)
				ended[i].Store(true)
				open.Add(-1)
			}()
		}
		synctest.Wait()
		if n := open.Load(); n != maxKnocking {
			t.Errorf("%d are open, want %d", n, maxKnocking)
		}
		for i := range ended {
			if ended[i].Load() != (i < 50) {
				t.Fatalf("connection %d: ended %v", i, ended[i].Load())
			}
		}
		if got := r.b.Status(false).Refused["pushed-out"]; got != 50 {
			t.Errorf("%d are counted", got)
		}
		r.join(rawpeer.XSUB(1), "").listen() // another one is let in
		synctest.Wait()
		if n := len(r.b.Status(true).Peers); n != 2 {
			t.Errorf("%d peers", n)
		}
		for _, c := range conns {
			_ = c.Close()
		}
	})
}

// TestFlood: ten thousand connections, some that say nothing and some that say anything, neither keep an honest client out
// nor cost much.
func TestFlood(t *testing.T) {
	if testing.Short() {
		t.Skip("opens ten thousand connections")
	}
	r := newRig(t, Config{})
	s, p := r.subscriber("t"), r.publisher()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	total := 10_000
	keep := int(min(limit.Cur/3, 4000)) // that are open on this side at a time; both sides are this process
	rnd := mrand.New(mrand.NewPCG(1, 2))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	conns := make([]net.Conn, keep)
	for i := range total {
		conn := r.dial(i%2 == 0, "")
		if rnd.IntN(2) == 0 {
			noise := make([]byte, rnd.IntN(200))
			for j := range noise {
				noise[j] = byte(rnd.Uint32())
			}
			_, _ = conn.Write(noise)
		}
		if old := conns[i%keep]; old != nil {
			_ = old.Close()
		}
		conns[i%keep] = conn
		if i%500 == 0 {
			n := r.subscriber("t")
			p.must(p.Send("t", fmt.Sprint(i)))
			n.want("t", fmt.Sprint(i))
			s.want("t", fmt.Sprint(i))
			_ = n.Conn.Close()
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := int64(after.HeapInuse+after.StackInuse) - int64(before.HeapInuse+before.StackInuse)
	t.Logf("%d connections, %d at a time: %d KiB", total, keep, used>>10)
	if used > 100<<20 {
		t.Errorf("%d bytes are in use because of them", used)
	}
	for _, c := range conns {
		_ = c.Close()
	}
}

// TestNoDescriptors: where the process may open no more files, accepting goes on when it may again.
func TestNoDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		ln := &fullListener{pipeListener: newPipeListener()}
		ln.left.Store(5)
		p := &port{b: b, ln: ln, config: b.handshake("XPUB", "XSUB"), serve: func(net.Conn, *zmtp.Peer) {}}
		ctx, cancel := context.WithCancel(t.Context())
		defer func() {
			cancel()
			_ = ln.Close()
		}()
		go p.accept(ctx, func(err error) { t.Error(err) })
		conn, err := ln.dial("")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := rawpeer.Shake(conn, rawpeer.XSUB(1)); err != nil {
			t.Error(err)
		}
		if n := b.refused.all()["no-room"]; n != 5 {
			t.Errorf("%d times without a descriptor", n)
		}
	})
}

// fullListener has no descriptors for the first few times.
type fullListener struct {
	*pipeListener
	left atomic.Int64
}

func (l *fullListener) Accept() (net.Conn, error) {
	if l.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.pipeListener.Accept()
}

// TestNewsAreRare: a client that is refused again and again is in the log once a minute.
func TestNewsAreRare(t *testing.T) {
	var r refusals
	now := time.Now()
	n := 0
	for i := range 1200 {
		if r.isNews("host reason", now.Add(time.Duration(i)*100*time.Millisecond)) {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d lines in two minutes", n)
	}
	for i := range 10 * maxNews {
		r.isNews(fmt.Sprint(i), now)
	}
	if len(r.said) > maxNews {
		t.Errorf("%d kept", len(r.said))
	}
}
