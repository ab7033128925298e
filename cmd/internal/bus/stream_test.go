package bus

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/observed"
)

const streamID = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// link joins the two ends of a stream without a network.
type link struct {
	in *inlet

	mu    sync.Mutex
	cut   bool // nothing comes through
	gone  bool // nobody listens
	kinds []pieceKind
	max   int
}

func (l *link) request(ctx context.Context, _ string, data []byte) ([]byte, error) {
	l.mu.Lock()
	cut, gone := l.cut, l.gone
	if len(data) > 0 {
		l.kinds = append(l.kinds, pieceKind(data[0]))
	}
	l.max = max(l.max, len(data))
	l.mu.Unlock()
	if gone {
		return nil, nats.ErrNoResponders
	}
	if !cut {
		if ack, ok := l.in.take(bytes.Clone(data)); ok {
			return []byte(ack), nil
		}
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func (l *link) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func (l *link) count(k pieceKind) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range l.kinds {
		if x == k {
			n++
		}
	}
	return n
}

// transfer runs both ends, and returns how the reading one ended.
func transfer(t *testing.T, l *link, w io.Writer, write func(context.Context, *outlet) error) (bool, error) {
	t.Helper()
	s := newStreams("a", l.request)
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.begin(ctx, streamID, write); err != nil {
		t.Fatal(err)
	}
	last, err := l.in.copy(t.Context(), w)
	l.set(func() { l.gone = true })
	s.cancel(streamID)
	s.close()
	cancel()
	return last, err
}

// TestQuietStream: a log to which nothing is added for an hour goes on.
func TestQuietStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := &link{in: newInlet("a")}, &bytes.Buffer{}
		last, err := transfer(t, l, w, func(_ context.Context, o *outlet) error {
			time.Sleep(time.Hour)
			_, err := o.Write([]byte("late"))
			return err
		})
		if n := l.count(pieceKeep); !last || err != nil || w.String() != "late" || n < 700 || n > 720 {
			t.Errorf("%t, %v, %q, %d times it said that it is there", last, err, w, n)
		}
	})
}

// TestUnflushed: what nobody flushed is on its way within a moment.
func TestUnflushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w, began := &link{in: newInlet("a")}, &stamped{}, time.Now()
		_, err := transfer(t, l, w, func(_ context.Context, o *outlet) error {
			_, err := o.Write([]byte("x"))
			time.Sleep(time.Minute)
			return err
		})
		if err != nil || len(w.at) != 1 || w.at[0].Sub(began) != keepAlive {
			t.Errorf("%v, at %v", err, w.at)
		}
	})
}

type stamped struct{ at []time.Time }

func (s *stamped) Write(p []byte) (int, error) {
	s.at = append(s.at, time.Now())
	return len(p), nil
}

// slow takes a pause with each piece.
type slow struct {
	bytes.Buffer
	pause time.Duration
}

func (s *slow) Write(p []byte) (int, error) {
	time.Sleep(s.pause)
	return s.Buffer.Write(p)
}

// TestSlowReader: who pauses for an hour (in less, say) misses nothing, and the writer is no more than a piece ahead.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w, began := &link{in: newInlet("a")}, &slow{pause: time.Hour}, time.Now()
		var wrote time.Duration
		last, err := transfer(t, l, w, func(_ context.Context, o *outlet) error {
			_, err := o.Write(large)
			wrote = time.Since(began)
			return err
		})
		if !last || err != nil || !bytes.Equal(w.Bytes(), large) || l.max != pieceHead+pieceSize || wrote < 3*time.Hour {
			t.Errorf("%t, %v, %d bytes, a piece had %d, written within %s", last, err, w.Len(), l.max, wrote)
		}
	})
}

// TestSilentAgent: an agent that is not heard any more is given up.
func TestSilentAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, began := &link{in: newInlet("a"), cut: true}, time.Now()
		var why error
		last, err := transfer(t, l, io.Discard, func(ctx context.Context, _ *outlet) error {
			<-ctx.Done()
			why = context.Cause(ctx)
			return nil
		})
		if last || err == nil || err.Error() != "a has sent nothing for 15s: it, or the way to it, is broken" || time.Since(began) != silence {
			t.Errorf("%t, %v after %s", last, err, time.Since(began))
		}
		if !errors.Is(why, errReaderGone) {
			t.Errorf("the agent goes on: %v", why)
		}
	})
}

// TestReaderGone: an agent ends when nobody takes what it sends, be it told or not.
func TestReaderGone(t *testing.T) {
	for _, c := range []struct {
		what string
		gone bool
		end  time.Duration
	}{{"nobody listens", true, keepAlive}, {"nobody answers", false, keepAlive + ackWithin}} {
		synctest.Test(t, func(t *testing.T) {
			l, began := &link{in: newInlet("a"), cut: true, gone: c.gone}, time.Now()
			s := newStreams("a", l.request)
			if err := s.begin(t.Context(), streamID, func(ctx context.Context, o *outlet) error {
				<-ctx.Done()
				if _, err := o.Write([]byte("x")); !errors.Is(err, errReaderGone) {
					t.Errorf("%s: it writes on: %v", c.what, err)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			s.close()
			if took := time.Since(began); took != c.end || l.count(pieceLast) != 0 {
				t.Errorf("%s: it took %s, and %d pieces after", c.what, took, l.count(pieceLast))
			}
		})
	}
}

// TestAgentEnds: it does not wait long for a controller that is not there.
func TestAgentEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &link{in: newInlet("a"), cut: true}
		s := newStreams("a", l.request)
		ctx, cancel := context.WithCancelCause(t.Context())
		if err := s.begin(ctx, streamID, func(ctx context.Context, _ *outlet) error { <-ctx.Done(); return nil }); err != nil {
			t.Fatal(err)
		}
		if err := s.begin(ctx, streamID, nil); err == nil || err.Error() != "there is a stream of that id already" {
			t.Errorf("the same again: %v", err)
		}
		began := time.Now()
		cancel(errAgentEnds)
		s.close()
		if took := time.Since(began); took != time.Second || l.count(pieceLast) != 1 {
			t.Errorf("it took %s, and %d last pieces", took, l.count(pieceLast))
		}
		if err := s.begin(ctx, streamID, nil); !errors.Is(err, errAgentEnds) {
			t.Errorf("one more: %v", err)
		}
	})
}

// TestInlet: what does not follow from what came before ends a stream.
func TestInlet(t *testing.T) {
	for _, c := range []struct {
		what   string
		pieces []piece
		want   string
	}{
		{"one is missing", []piece{{pieceData, 1, nil}, {pieceData, 3, nil}}, "piece 3 came after piece 1"},
		{"one comes twice", []piece{{pieceData, 1, nil}, {pieceData, 1, nil}}, "piece 1 came after piece 1"},
		{"the last is missing", []piece{{pieceData, 1, nil}, {pieceKeep, 2, nil}}, "piece 2 came after piece 1"},
		{"another kind", []piece{{'x', 1, nil}}, `a piece is of a kind that is not known: 'x'`},
		{"too large", []piece{{pieceData, 1, make([]byte, pieceSize+1)}}, "a piece is too large: it has 65537 bytes"},
		{"nothing with data", []piece{{pieceKeep, 0, []byte("x")}}, "a piece has data that is to have none"},
	} {
		in := newInlet("a")
		go func() {
			for _, p := range c.pieces {
				in.take(p.pack())
			}
		}()
		if last, err := in.copy(t.Context(), io.Discard); last || err == nil || err.Error() != "cannot understand what a sends: "+c.want {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestLastPiece(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("the disk is gone"), "a: the disk is gone"},
		{&api.Error{Text: "there is none", Code: api.CodeNotFound}, "there is none"},
		{&observed.Refused{Why: "no"}, (&observed.Refused{Why: "no"}).Error()},
		{errors.New(strings.Repeat("\x01", 1<<20)), "a: " + strings.Repeat("\x01", pieceSize/8)},
	} {
		p, err := lastPiece(7, c.err)
		if err != nil {
			t.Fatal(err)
		}
		if p, err = unpackPiece(p.pack()); err != nil || p.number != 7 {
			t.Fatal(err)
		}
		if err := p.err("a"); err.Error() != c.want {
			t.Errorf("%.40s became %.40s", c.err, err)
		}
	}
	for _, data := range []string{"{", "{}"} {
		if err := (&piece{pieceLast, 1, []byte(data)}).err("a"); err == nil {
			t.Errorf("%s is a good end", data)
		}
	}
}

// TestAnyWrites: whatever is written and flushed, in whatever parts, arrives.
func TestAnyWrites(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		parts := rapid.SliceOfN(rapid.IntRange(0, 3*pieceSize/2), 0, 6).Draw(r, "parts")
		flush := rapid.SliceOfN(rapid.Bool(), len(parts), len(parts)).Draw(r, "flush")
		l, w := &link{in: newInlet("a")}, &bytes.Buffer{}
		var sent []byte
		last, err := transfer(t, l, w, func(_ context.Context, o *outlet) error {
			for i, n := range parts {
				p := bytes.Repeat([]byte{byte(i)}, n)
				sent = append(sent, p...)
				if got, err := o.Write(p); err != nil || got != n {
					return errors.Join(err, io.ErrShortWrite)
				}
				if flush[i] {
					o.Flush()
				}
			}
			return nil
		})
		if !last || err != nil || !bytes.Equal(w.Bytes(), sent) || l.max > pieceHead+pieceSize {
			r.Fatalf("%t, %v, %d bytes of %d, a piece had %d", last, err, w.Len(), len(sent), l.max)
		}
	})
}
