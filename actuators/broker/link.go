package broker

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

// writeBatch is how many bytes go into one system call at most, and maxIOV how many pieces.
const (
	writeBatch = 256 << 10
	maxIOV     = 64
)

// link is one connection after its handshake, and what both kinds have in common: a queue of what is to be
// written, a goroutine that writes it, and signs of life.
type link struct {
	b       *Broker
	conn    net.Conn
	peer    *zmtp.Peer
	addr    string
	since   time.Time
	q       queue
	seen    atomic.Bool   // something came since the last beat
	written atomic.Uint64 // bytes handed to the connection
	paused  atomic.Bool   // a publisher that is not read from now: its silence says nothing
	silent  int           // beats without a sign of life; owned by the heart
	acked   uint64        // what its machine had confirmed at the last beat; owned by the heart
	stalled atomic.Int64  // since when it takes nothing of a full queue, in Unix nanoseconds; 0: it does, or it is not full
	once    sync.Once
}

func (l *link) init(b *Broker, conn net.Conn, peer *zmtp.Peer) {
	l.b, l.conn, l.peer = b, conn, peer
	l.addr = conn.RemoteAddr().String()
	l.since = b.now()
	l.q = newQueue(&b.pools)
}

// close ends the connection, and reports whether it was open. Its reader and its writer end by that.
func (l *link) close() (was bool) {
	l.once.Do(func() {
		was = true
		l.q.close()
		_ = l.conn.Close()
	})
	return was
}

// control queues a command, given as its body, as a frame for this peer.
func (l *link) control(frame []byte, limit int) {
	l.q.mu.Lock()
	ok, wake := l.q.putControl(frame, limit)
	l.q.mu.Unlock()
	if !ok {
		l.close()
		return
	}
	if wake {
		signalTo(l.q.wake)
	}
}

// write sends what is queued until the queue or the connection is closed.
func (l *link) write() {
	defer l.close()
	out := writer{link: l}
	defer out.end()
	var spans []span
	for {
		var ok bool
		if spans, ok = l.q.take(spans); !ok {
			return
		}
		if err := out.all(spans); err != nil {
			return
		}
	}
}

// writer writes spans: as they are, or sealed frame by frame.
type writer struct {
	*link
	iov  [][]byte
	bufs net.Buffers // iov, as it is used up

	// Of a sealed connection.
	walk   frames
	sealed []byte
}

func (w *writer) end() {
	w.walk.reset()
	w.sealed = nil
}

// all writes the spans and gives up their holds, also where it fails.
func (w *writer) all(spans []span) (err error) {
	defer func() {
		if err != nil {
			releaseAll(spans)
		}
	}()
	for len(spans) > 0 {
		n, bytes, msgs := 0, 0, 0
		for n < len(spans) && n < maxIOV && (bytes == 0 || bytes+spans[n].len() <= writeBatch) {
			bytes += spans[n].len()
			msgs += spans[n].msgs
			n++
		}
		if w.peer.Seal == nil {
			err = w.plain(spans[:n])
		} else {
			err = w.seal(spans[:n])
		}
		if err != nil {
			return err
		}
		w.written.Add(uint64(bytes))
		releaseAll(spans[:n])
		if w.q.wrote(msgs, bytes, w.b.limits()) {
			w.stalled.Store(w.b.now().UnixNano())
		} else {
			w.stalled.Store(0)
		}
		spans = spans[n:]
	}
	return nil
}

func (w *writer) plain(spans []span) error {
	if len(spans) == 1 {
		_, err := w.conn.Write(spans[0].bytes())
		return err
	}
	w.iov = w.iov[:0]
	for i := range spans {
		w.iov = append(w.iov, spans[i].bytes())
	}
	w.bufs = w.iov
	_, err := w.bufs.WriteTo(w.conn)
	return err
}

// keepSealed is how large the memory for sealed frames may stay.
const keepSealed = largeChunk

// seal encrypts each frame into one of its own. A frame may reach from one span into the next, also into
// one that comes with a later call.
func (w *writer) seal(spans []span) error {
	w.sealed = w.sealed[:0]
	for i := range spans {
		b := spans[i].bytes()
		for len(b) > 0 {
			var f frame
			var ok bool
			f, b, ok = w.walk.next(b)
			if !ok {
				break
			}
			w.sealed = w.peer.Seal.AppendMessage(w.sealed, f.flags, f.body)
			if len(w.sealed) >= mediumChunk {
				if err := w.flushSealed(); err != nil {
					return err
				}
			}
		}
	}
	return w.flushSealed()
}

func (w *writer) flushSealed() error {
	if len(w.sealed) == 0 {
		return nil
	}
	_, err := w.conn.Write(w.sealed)
	if cap(w.sealed) > keepSealed {
		w.sealed = nil
	} else {
		w.sealed = w.sealed[:0]
	}
	return err
}
