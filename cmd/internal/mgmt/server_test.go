package mgmt

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// serve runs a server on a port until the test ends.
func serve(t testing.TB, h Handler, change func(*Listener)) (address string) {
	t.Helper()
	config, err := ServerTLS(t.TempDir(), TLSFiles{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	open := &Listener{Listener: l, TLS: config, Plain: true}
	if change != nil {
		change(open)
	}
	s := NewServer(func(*http.Request) (Handler, error) { return h, nil }, "0.1", slog.New(slog.DiscardHandler))
	go func() { done <- s.Serve(ctx, open) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// instancesWork makes a request and reports how long it took.
func instancesWork(t testing.TB, e Endpoint) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := Dial(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	is, err := c.Instances(ctx)
	if err != nil || len(is) != 1 || is[0].Name != "agent-a" || is[0].Host != loopback {
		t.Fatal(is, err)
	}
	return time.Since(began)
}

// TestPlainAndTLS: both on one port, where both are wanted.
func TestPlainAndTLS(t *testing.T) {
	insecure := &tls.Config{InsecureSkipVerify: true}
	c := newFakeWorld(t).controller(t.TempDir())
	at := serve(t, c, nil)
	instancesWork(t, Endpoint{Address: at})
	instancesWork(t, Endpoint{Address: at, TLS: insecure})
	only := serve(t, c, func(l *Listener) { l.Plain = false })
	instancesWork(t, Endpoint{Address: only, TLS: insecure})
	if _, err := Dial(t.Context(), Endpoint{Address: only}); err == nil {
		t.Error("a plain connection is served where TLS is required")
	}
	plain := serve(t, c, func(l *Listener) { l.TLS = nil })
	instancesWork(t, Endpoint{Address: plain})
	if _, err := Dial(t.Context(), Endpoint{Address: plain, TLS: insecure}); err == nil {
		t.Error("TLS is served where there is none")
	}
	old := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}
	if _, err := Dial(t.Context(), Endpoint{Address: at, TLS: old}); err == nil {
		t.Error("TLS 1.2 is served")
	}
}

// TestHandshake: what is wrong is answered, and may be mended; another path is refused; pages of others are.
func TestHandshake(t *testing.T) {
	at := serve(t, newFakeWorld(t).controller(t.TempDir()), nil)
	ws, _, err := websocket.Dial(t.Context(), "ws://"+at+Path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	talk := func(send, want string) {
		t.Helper()
		if err := ws.Write(t.Context(), websocket.MessageText, []byte(send)); err != nil {
			t.Fatal(err)
		}
		_, b, err := ws.Read(t.Context())
		if err != nil || !strings.Contains(string(b), want) {
			t.Fatalf("%q is answered %s, %v; want %s", send, b, err, want)
		}
	}
	talk(`{}`, `"code":"deserialization_failed"`)
	talk(`["a", 1]`, `"code":"deserialization_failed"`)
	talk(`["zeek/management/controller"]`, `{"type":"ack","endpoint":"zeekrec","version":"0.1"}`)
	talk(`nonsense`, `"code":"deserialization_failed"`)
	talk(`{"type":"data-message","topic":"x","@data-type":"vector","data":[]}`, `"code":"deserialization_failed"`)

	other, _, err := websocket.Dial(t.Context(), "ws://"+at+"/elsewhere", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, b, err := other.Read(t.Context()); err != nil || !strings.Contains(string(b), `"code":"invalid_uri"`) {
		t.Errorf("%s, %v", b, err)
	}
	if _, _, err := other.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("another path ends with %v", err)
	}
	if _, _, err := websocket.Dial(t.Context(), "ws://"+at+Path, &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"http://evil.example"}}}); err == nil {
		t.Error("a page of another host may use the API")
	}
	own := http.Header{"Origin": {"http://" + at}} // as zeek-client has it
	if _, _, err := websocket.Dial(t.Context(), "ws://"+at+Path, &websocket.DialOptions{HTTPHeader: own}); err != nil {
		t.Errorf("zeek-client's origin is refused: %v", err)
	}
}

// TestAnswersOnlyToWhoAsked: another client that listens hears nothing.
func TestAnswersOnlyToWhoAsked(t *testing.T) {
	at := serve(t, newFakeWorld(t).controller(t.TempDir()), nil)
	listening, err := Dial(t.Context(), Endpoint{Address: at})
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	var asking sync.WaitGroup
	for range 20 {
		asking.Go(func() { instancesWork(t, Endpoint{Address: at}) })
	}
	asking.Wait()
	// It hears its own answer first, so nothing else came before.
	b, _ := Event{Name: apiPrefix + "get_nodes_request", Args: []Value{String("mine")}}.Message()
	if err := listening.ws.Write(t.Context(), websocket.MessageText, b); err != nil {
		t.Fatal(err)
	}
	if e, err := listening.Receive(t.Context()); err != nil || len(e.Args) == 0 || e.Args[0] != String("mine") {
		t.Errorf("it hears %v, %v", e, err)
	}
}

// raw opens a connection and upgrades it, without looking at the answer.
func raw(t testing.TB, at string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", Path, at)
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp, err)
	}
	return c, r
}

// TestGigabyte: a message of 1 GB is cut off at the limit, several at a time, and memory stays bounded.
func TestGigabyte(t *testing.T) {
	at := serve(t, newFakeWorld(t).controller(t.TempDir()), nil)
	stop := make(chan struct{})
	peak := make(chan uint64, 1)
	go func() {
		var most uint64
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
			select {
			case <-stop:
				peak <- most
				return
			case <-time.After(10 * time.Millisecond): // between two samples
			}
		}
	}()
	var sending sync.WaitGroup
	for range 4 {
		c, _ := raw(t, at)
		sending.Go(func() {
			head := append([]byte{0x81, 0xff}, binary.BigEndian.AppendUint64(nil, 1<<30)...)
			_, _ = c.Write(append(head, 0, 0, 0, 0)) // masked with nothing
			chunk := make([]byte, 1<<16)
			sent := 0
			_ = c.SetWriteDeadline(time.Now().Add(60 * time.Second))
			for sent < 1<<30 {
				n, err := c.Write(chunk)
				sent += n
				if err != nil {
					break
				}
			}
			if sent > 4*maxMessage { // what the kernel buffers is counted, too
				t.Errorf("%d bytes of one message were taken", sent)
			}
		})
	}
	instancesWork(t, Endpoint{Address: at})
	sending.Wait()
	close(stop)
	most := <-peak
	if most > 256<<20 {
		t.Errorf("the heap grew to %d MiB", most>>20)
	}
	t.Logf("4 messages of 1 GB at a time: the heap was %d MiB at most", most>>20)
	instancesWork(t, Endpoint{Address: at})
}

// TestTenThousand: connections that say nothing, that stop in the middle of a request or of a message, and that
// speak and then say nothing: nobody else is kept out, and few of them are held.
func TestTenThousand(t *testing.T) {
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	at := serve(t, newFakeWorld(t).controller(t.TempDir()), nil)
	starts := []string{"", "G", "GET /v1/messages/json HTTP/1.1\r\nHost: x\r\nX: ", "\x16", "\x16\x03\x01\x02\x00\x01", "nonsense\r\n\r\n"}
	n := 10_000
	if testing.Short() {
		n = 1000
	}
	conns := make([]net.Conn, 0, n)
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	slowest := time.Duration(0)
	for i := range n {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		conns = append(conns, c)
		_, _ = io.WriteString(c, starts[i%len(starts)])
		if i%1000 == 999 {
			slowest = max(slowest, instancesWork(t, Endpoint{Address: at, Attempts: 3, Retry: time.Millisecond}))
		}
	}
	var after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&after)
	grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	if grown > 64<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	if slowest > 10*time.Second {
		t.Errorf("somebody else waited for %s", slowest)
	}
	t.Logf("%d connections: the heap grew by %d KiB, both ends; others waited for %s at most", n, grown>>10, slowest)
}

// TestSlowLoris: more connections than are held dribble their requests; another is served.
func TestSlowLoris(t *testing.T) {
	at := serve(t, newFakeWorld(t).controller(t.TempDir()), nil)
	ctx, cancel := context.WithCancel(t.Context())
	var dribbling sync.WaitGroup
	for range 2 * maxConns {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		dribbling.Go(func() {
			defer c.Close()
			for {
				if _, err := io.WriteString(c, "G"); err != nil {
					return
				}
				select {
				case <-ctx.Done():
					return
				case <-time.After(20 * time.Millisecond): // which is what a slow loris does
				}
			}
		})
	}
	slowest := time.Duration(0)
	for range 5 {
		slowest = max(slowest, instancesWork(t, Endpoint{Address: at, Attempts: 3, Retry: time.Millisecond}))
	}
	cancel()
	dribbling.Wait()
	t.Logf("%d connections dribble: others waited for %s at most", 2*maxConns, slowest)
}

// TestRandomFrames: connections that send random frames after the upgrade, well formed and not, with random parts of
// messages: nobody else is kept waiting, and no memory is kept.
func TestRandomFrames(t *testing.T) {
	at := serve(t, newFakeWorld(t).controller(t.TempDir()), nil)
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r := rand.New(rand.NewPCG(21, 49))
	parts := examples(t)
	parts = append(parts, `["zeek/management/controller"]`, "{", "]", `"`, strings.Repeat("[", 5000))
	sent := 0
	for range 300 {
		c, answers := raw(t, at)
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		go func() { _, _ = io.Copy(io.Discard, answers) }()
		for range r.IntN(20) {
			payload := []byte(parts[r.IntN(len(parts))])
			payload = payload[:r.IntN(len(payload)+1)]
			for range r.IntN(3) {
				if len(payload) > 0 {
					payload[r.IntN(len(payload))] = byte(r.Uint32())
				}
			}
			frame := []byte{byte(r.Uint32()), 0x80 | byte(min(len(payload), 125))}
			if r.IntN(4) > 0 {
				frame[0] = 0x81 // a whole message of text
			}
			if len(payload) > 125 {
				frame = binary.BigEndian.AppendUint16([]byte{frame[0], 0x80 | 126}, uint16(len(payload)))
			}
			if _, err := c.Write(append(append(frame, 0, 0, 0, 0), payload...)); err != nil {
				break // it was ended, as is due
			}
			sent++
		}
		_ = c.Close()
	}
	took := instancesWork(t, Endpoint{Address: at, Attempts: 3, Retry: time.Millisecond})
	runtime.GC()
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	t.Logf("%d frames on 300 connections; then an answer takes %s", sent, took)
}

// TestVictims: who has to make room.
func TestVictims(t *testing.T) {
	now := time.Now()
	at := func(age time.Duration, spoke bool, busy int) *conn {
		return &conn{since: now.Add(-age), spoke: spoke, busy: busy}
	}
	silent, older := at(time.Second, false, 0), at(2*time.Second, false, 0)
	idle, idler := at(time.Minute, true, 0), at(time.Hour, true, 0)
	fresh, busy := at(time.Second, true, 0), at(time.Hour, true, 1)
	for _, x := range []struct {
		held []*conn
		want *conn
	}{
		{[]*conn{silent, older, idle, idler}, older}, {[]*conn{idle, idler, fresh, busy}, idler}, {[]*conn{fresh, busy}, nil},
	} {
		s := conns{held: map[*conn]bool{}}
		for _, c := range x.held {
			s.held[c] = true
		}
		if got := s.victim(now); got != x.want {
			t.Errorf("%v has to go, want %v", got, x.want)
		}
	}
}

// FuzzFrames: whatever follows the upgrade, the server goes on.
func FuzzFrames(f *testing.F) {
	at := serve(f, newFakeWorld(f).controller(f.TempDir()), nil)
	f.Add([]byte{0x81, 0x82, 0, 0, 0, 0, '[', ']'})
	f.Add([]byte{0x88, 0x80, 0, 0, 0, 0})
	f.Add([]byte{0x89, 0x80, 1, 2, 3, 4})
	f.Add([]byte{0x01, 0x81, 0, 0, 0, 0, '[', 0x80, 0x81, 0, 0, 0, 0, ']'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, r := raw(t, at)
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = c.Write(b)
		_ = c.(*net.TCPConn).CloseWrite()
		if _, err := io.Copy(io.Discard, r); errors.Is(err, context.DeadlineExceeded) {
			t.Fatal("it hangs")
		}
		_ = c.Close()
	})
}
