package broker

import (
	"bytes"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/internal/rawpeer"
)

// listen reads everything that comes, until the connection ends, and hands it on. The connection has no deadline any more.
func (n *node) listen() <-chan rawpeer.Item {
	_ = n.Conn.SetDeadline(time.Time{})
	items := make(chan rawpeer.Item, 10000)
	go func() {
		defer close(items)
		for {
			it, err := n.Next()
			if err != nil {
				return
			}
			items <- it
		}
	}()
	return items
}

// heard is what has come of a listening connection so far, in one word each.
func heard(items <-chan rawpeer.Item) (out []string, open bool) {
	synctest.Wait()
	for {
		select {
		case it, ok := <-items:
			if !ok {
				return out, false
			}
			switch s := it.Subscription(); {
			case s != "":
				out = append(out, s)
			case it.Command != "":
				out = append(out, it.Command)
			default:
				out = append(out, strings.Join(it.Message(), " "))
			}
		default:
			return out, true
		}
	}
}

func TestPingIsAnswered(t *testing.T) {
	r := newRig(t, Config{})
	for _, k := range []rawpeer.Kind{rawpeer.XSUB(1), rawpeer.XPUB(1)} {
		n := r.join(k, "")
		for _, context := range []string{"", "x", "0123456789abcdef"} {
			n.must(n.Write(rawpeer.AppendCommand(nil, "PING", []byte("\x00\x64"+context))))
			for {
				it := n.next()
				if it.Subscription() != "" {
					continue
				}
				if it.Command != "PONG" || string(it.Data) != context {
					t.Errorf("%s: got %+v for a PING with the context %q", k.SocketType, it, context)
				}
				break
			}
		}
	}
}

// TestSilentPeersAreDead: a peer that answers stays, one that does not is dead after three beats, and one that knows no
// PING is left alone.
func TestSilentPeersAreDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{})
		kinds := []rawpeer.Kind{rawpeer.XSUB(1), rawpeer.XPUB(1)}
		var silent []<-chan rawpeer.Item
		var pings []rawpeer.Item
		for _, k := range kinds {
			silent = append(silent, r.join(k, "").listen())
			n := r.join(k, "")
			_ = n.Conn.SetDeadline(time.Time{})
			go func() {
				for {
					if _, err := n.receive(); err != nil {
						return
					}
				}
			}()
		}
		old := r.join(rawpeer.XSUB(0), "").listen()
		begun := time.Now()
		for _, s := range silent {
			for it := range s { // until the broker closes it
				if it.Command == "PING" {
					pings = append(pings, it)
				}
			}
		}
		if d := time.Since(begun); d < 3*DefaultHeartbeat || d > 5*DefaultHeartbeat {
			t.Errorf("silent peers were closed after %v", d)
		}
		for _, it := range pings {
			if len(it.Data) < 2 || it.Data[0] != 0 || it.Data[1] != 150 {
				t.Errorf("a PING with the TTL % x, want 15 s", it.Data)
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		st := r.b.Status(true)
		if len(st.Peers) != 3 {
			t.Errorf("%d peers are left, want the two that answer and the one that knows no PING: %+v", len(st.Peers), st.Peers)
		}
		if got, open := heard(old); !open || len(got) != 0 {
			t.Errorf("the one that knows no PING got %q, open %v", got, open)
		}
	})
}

// TestSilentPeerWithTraffic: that messages go out to it does not make a peer live.
func TestSilentPeerWithTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{})
		s := r.subscriber("t")
		p := r.publisher()
		got := s.listen()
		live := p.listen()
		go func() {
			for it := range live {
				if it.Command == "PING" {
					_ = p.Write(rawpeer.AppendCommand(nil, "PONG", nil))
				}
			}
		}()
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(130 * time.Millisecond): // never at the moment of a beat
					_ = p.Send("t", "x")
				}
			}
		}()
		begun := time.Now()
		for range got { // until the broker closes it
		}
		if d := time.Since(begun); d > 5*DefaultHeartbeat {
			t.Errorf("closed after %v", d)
		}
	})
}

// TestSlowPeerIsNotDead: who still reads what was before the PING cannot have answered it.
func TestSlowPeerIsNotDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{})
		s := r.subscriber("t")
		p := r.publisher()
		_ = s.Conn.SetDeadline(time.Time{})
		payload := bytes.Repeat([]byte("x"), 8<<20)
		live := p.listen()
		go func() {
			for it := range live {
				if it.Command == "PING" {
					_ = p.Write(rawpeer.AppendCommand(nil, "PONG", nil))
				}
			}
		}()
		if err := p.Write(rawpeer.AppendMessage(nil, []byte("t"), payload)); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		// Beyond the client's own buffer.
		buf := make([]byte, 64<<10)
		for read := 0; read < len(payload); {
			time.Sleep(300 * time.Millisecond)
			n, err := s.Conn.Read(buf)
			if err != nil {
				t.Fatalf("closed after %v and %d bytes: %v", time.Since(begun), read, err)
			}
			read += n
		}
		if time.Since(begun) < 5*DefaultHeartbeat {
			t.Fatal("too fast to tell anything")
		}
	})
}

// TestBlockedPublisherIsNotDead: one that the broker does not read from, because a subscriber has no room or because
// nodes are waited for, is not judged, and still sent PINGs, because of its own TTL.
func TestBlockedPublisherIsNotDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{Settings: Settings{Policy: Block, SndHWM: 1}})
		s := r.subscriber("t")
		p := r.publisher()
		_ = s.Conn.SetDeadline(time.Time{})
		items := p.listen()
		var sent []error
		go func() {
			for range 10 {
				sent = append(sent, p.Send("t", "x")) // the first that finds no room stays
			}
		}()
		// The subscriber keeps itself alive, and reads nothing.
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Second):
					_ = s.Write(rawpeer.AppendCommand(nil, "PONG", nil))
				}
			}
		}()
		time.Sleep(10 * DefaultHeartbeat)
		got, open := heard(items)
		if !open {
			t.Fatal("the publisher's connection was closed")
		}
		if n := len(slices.DeleteFunc(got, func(s string) bool { return s != "PING" })); n < 9 {
			t.Errorf("%d PINGs", n)
		}
		go func() { _, _ = io.Copy(io.Discard, s.Conn) }()
		synctest.Wait()
		if len(sent) != 10 {
			t.Errorf("%d messages were sent in the end", len(sent))
		}
	})
}

// TestHeartbeatIsAppliedAtOnce: a change does not wait for the next beat.
func TestHeartbeatIsAppliedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{Settings: Settings{Heartbeat: -1}})
		items := r.join(rawpeer.XSUB(1), "").listen()
		time.Sleep(3 * time.Hour)
		if got, open := heard(items); len(got) != 0 || !open {
			t.Fatalf("got %q, open %v, without a heartbeat", got, open)
		}
		if err := r.b.Apply(Settings{Heartbeat: time.Second}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond)
		if got, _ := heard(items); !slices.Equal(got, []string{"PING"}) {
			t.Errorf("got %q", got)
		}
	})
}

// TestTookByTCP: what the kernel was given is no sign of life, what the other machine has confirmed is.
func TestTookByTCP(t *testing.T) {
	ln := listenLoopback(t)
	defer ln.Close()
	far, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, ok := sending(conn); !ok {
		t.Skip("this system does not tell")
	}
	l := &link{conn: conn, q: newQueue(&pools{})}
	if l.took() {
		t.Error("nothing was sent, and taken")
	}
	// Without a backlog: the other machine has all of it, and the process says nothing.
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is confirmed", func() bool { p, _ := sending(conn); return p.acked >= 5 && !p.waiting })
	if l.took() {
		t.Error("what the kernel confirmed counts as a sign of life")
	}
	// A backlog that stands.
	_ = conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	for {
		if _, err := conn.Write(make([]byte, 1<<20)); err != nil {
			break
		}
	}
	eventually(t, "nothing moves", func() bool { return !l.took() })
	// A backlog that moves.
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4<<10)
		for {
			if _, err := far.Read(buf); err != nil {
				return
			}
		}
	}()
	_ = conn.SetWriteDeadline(time.Now().Add(testTime))
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		for range 100 {
			_, _ = conn.Write(make([]byte, 1<<20))
		}
	}()
	eventually(t, "something moves", l.took)
	<-writing
	_ = conn.Close()
	<-done
}
