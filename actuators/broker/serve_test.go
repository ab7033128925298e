package broker

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/internal/rawpeer"
)

// brokenListener fails when it is told to.
type brokenListener struct {
	*pipeListener
	broken chan struct{}
}

var errBroken = errors.New("broken")

func (l brokenListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.broken:
		return nil, errBroken
	}
}

// TestListenerFails: Serve ends by that, also while connections are there.
func TestListenerFails(t *testing.T) {
	b, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	xpub := brokenListener{newPipeListener(), make(chan struct{})}
	ended := make(chan error, 1)
	go func() { ended <- b.Serve(t.Context(), xpub, newPipeListener()) }()
	conn, err := xpub.dial("")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := rawpeer.Shake(conn, rawpeer.XSUB(1)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the subscriber is there", func() bool { return len(b.Status(true).Peers) == 1 })
	close(xpub.broken)
	select {
	case err := <-ended:
		if !errors.Is(err, errBroken) {
			t.Errorf("Serve: %v", err)
		}
	case <-time.After(testTime):
		t.Fatal("Serve does not end")
	}
}

// TestTotalsOnlyGrow: a connection that ends is counted neither twice nor not at all.
func TestTotalsOnlyGrow(t *testing.T) {
	r := newRig(t, Config{})
	stop, polled := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(polled)
		var last Status
		for {
			st := r.b.Status(false)
			if st.Sent.Messages < last.Sent.Messages || st.Received.Messages < last.Received.Messages {
				t.Errorf("totals fell from %+v, %+v to %+v, %+v", last.Received, last.Sent, st.Received, st.Sent)
				return
			}
			last = st
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for range 50 {
		s, p := r.subscriber("t"), r.publisher()
		for range 20 {
			p.must(p.Send("t"))
		}
		for range 20 {
			s.want("t")
		}
		_, _ = s.Conn.Close(), p.Conn.Close()
	}
	close(stop)
	<-polled
	eventually(t, "1000 messages in the totals", func() bool {
		st := r.b.Status(true)
		return len(st.Peers) == 0 && st.Sent.Messages == 1000 && st.Received == (Counts{1000, 3000})
	})
}

func TestListenRefusesEndpoints(t *testing.T) {
	for _, e := range []string{"", "127.0.0.1:5555", "tcp://", "tcp://127.0.0.1", "ipc:///x"} {
		if ln, err := Listen(t.Context(), e); err == nil {
			_ = ln.Close()
			t.Errorf("%q was taken", e)
		}
	}
	ln, err := Listen(t.Context(), "tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if _, err := Listen(t.Context(), endpoint(ln)); err == nil {
		t.Error("a port was opened twice")
	}
}
