package zmtp

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
)

// conns is a publisher and a subscriber that have shaken hands.
func conns(t *testing.T, curve bool) (pub, sub *Conn) {
	t.Helper()
	s, c, sc, cc := shake(t, serverOf(t), clientOf(t, curve))
	if s.err != nil || c.err != nil {
		t.Fatal(s.err, c.err)
	}
	return NewConn(sc, s.peer), NewConn(cc, c.peer)
}

// inBackground runs f, and gives what came of it.
func inBackground(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

func TestConn(t *testing.T) {
	mechanisms(t, func(t *testing.T, curve bool) {
		pub, sub := conns(t, curve)
		for _, minor := range []byte{0, 1} {
			sub.peer.Minor = minor
			for _, cancel := range []bool{false, true} {
				do := sub.Subscribe
				if cancel {
					do = sub.Cancel
				}
				done := inBackground(func() error { return do("topic") })
				got, err := pub.Recv()
				if err := errors.Join(err, <-done); err != nil {
					t.Fatal(err)
				}
				if !got.Subscription || got.Cancel != cancel || got.Topic != "topic" || got.Frames != nil {
					t.Errorf("minor version %d: %+v", minor, got)
				}
			}
		}
		messages := [][][]byte{
			{[]byte("one")}, {[]byte("topic"), nil, []byte("\x01")}, {nil}, {[]byte("\x01topic")},
			{[]byte("topic"), bytes.Repeat([]byte("large"), 1<<19)}, {bytes.Repeat([]byte("x"), connBuffer), []byte("y")},
		}
		done := inBackground(func() error {
			for _, m := range messages {
				if err := pub.Send(m...); err != nil {
					return err
				}
			}
			return pub.Flush()
		})
		for i, want := range messages {
			got, err := sub.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if got.Subscription || len(got.Frames) != len(want) {
				t.Fatalf("message %d: %d frames, want %d", i, len(got.Frames), len(want))
			}
			for j := range want {
				if !bytes.Equal(got.Frames[j], want[j]) {
					t.Errorf("message %d, frame %d: %.50q", i, j, got.Frames[j])
				}
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// A PING is answered also while the same connection is stuck in sending to a peer that does not receive before it has been
// answered, and without keeping Recv from receiving.
func TestPingWhileSending(t *testing.T) {
	mechanisms(t, func(t *testing.T, curve bool) {
		synctest.Test(t, func(t *testing.T) {
			pub, sub := conns(t, curve)
			sending := inBackground(func() error {
				if err := pub.Send([]byte("message")); err != nil {
					return err
				}
				return pub.Flush()
			})
			synctest.Wait() // it waits for someone to read
			received := inBackground(func() error { _, err := pub.Recv(); return err })
			for _, context := range []string{"first", "second"} {
				sub.mu.Lock()
				err := sub.put(FlagCommand, AppendPing(nil, 0, []byte(context))[2:])
				if err == nil {
					err = sub.w.Flush()
				}
				sub.mu.Unlock()
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := sub.Subscribe("behind them"); err != nil {
				t.Fatal(err)
			}
			if err := <-received; err != nil {
				t.Fatal(err)
			}
			if f := readFrame(t, sub.conn, sub.peer); f.body != "message" {
				t.Fatalf("got %v", f)
			}
			if f := readFrame(t, sub.conn, sub.peer); f.body != "\x04PONGsecond" || f.flags != FlagCommand {
				t.Fatalf("got %v", f)
			}
			if err := <-sending; err != nil {
				t.Fatal(err)
			}
		})
	})
}

func TestConnRefuses(t *testing.T) {
	tests := []struct {
		name, in string
		want     error
	}{
		{"flags", "\x08\x00", ErrFlags},
		{"a size that there is not", "\x02\xff\xff\xff\xff\xff\xff\xff\xff", ErrSize},
		{"a frame over the limit", "\x00\x65" + strings.Repeat("x", 101), errMessage},
		{"a message over the limit", "\x01\x40" + strings.Repeat("x", 64) + "\x00\x40" + strings.Repeat("x", 64), errMessage},
		{"a command without a name", "\x04\x01\x00", ErrCommand},
		{"a PING without a limit", "\x04\x05\x04PING", ErrPing},
		{"a subscription within a message", "\x01\x01a\x04\x0a\x09SUBSCRIBE", errWithin},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := NewConn(fuzzConn{nil, streamOf([]byte(test.in))}, &Peer{SocketType: "XSUB"})
			c.Limit = 100
			if r, err := c.Recv(); !errors.Is(err, test.want) {
				t.Errorf("%+v, %v; want %v", r, err, test.want)
			}
		})
	}
	t.Run("what is not sealed", func(t *testing.T) {
		for _, in := range []string{"\x00\x02\x01t", "\x04\x07\x04PING\x00\x00", "\x04\x0b\x09SUBSCRIBEt"} {
			c := NewConn(fuzzConn{nil, streamOf([]byte(in))}, &Peer{SocketType: "XSUB", Open: newOpener(&[KeySize]byte{}, true, 0)})
			if r, err := c.Recv(); !errors.Is(err, ErrNotSealed) {
				t.Errorf("%q: %+v, %v", in, r, err)
			}
		}
	})
}

func TestDial(t *testing.T) {
	l, endpoint := listen(t)
	t.Run("to a server that says nothing", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("enough")
		held := make(chan net.Conn, 1)
		go func() {
			c, err := l.Accept()
			if err == nil {
				_, _ = c.Read(make([]byte, 1)) // the handshake has begun
				held <- c
			}
			cancel(why)
		}()
		if _, err := Dial(ctx, endpoint, clientOf(t, true)); err == nil {
			t.Error("it shook hands with nobody")
		}
		_ = (<-held).Close()
	})
	t.Run("to what is no endpoint", func(t *testing.T) {
		if _, err := Dial(t.Context(), l.Addr().String(), clientOf(t, false)); err == nil || !strings.Contains(err.Error(), "tcp://") {
			t.Error(err)
		}
	})
	t.Run("to nobody", func(t *testing.T) {
		_ = l.Close()
		if _, err := Dial(t.Context(), endpoint, clientOf(t, false)); err == nil {
			t.Error("somebody was there")
		}
	})
}
