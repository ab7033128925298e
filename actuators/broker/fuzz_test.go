package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/internal/rawpeer"
	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

// script is a connection on which bytes come as they are written down, cut into pieces.
type script struct {
	data   []byte
	cuts   []byte // how long each piece is, in turn; of 0 and where there are none: all that is left
	onRead func()
}

func (s *script) Read(b []byte) (int, error) {
	if s.onRead != nil {
		s.onRead()
	}
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	n := len(s.data)
	if len(s.cuts) > 0 {
		if s.cuts[0] != 0 {
			n = min(n, int(s.cuts[0])*int(s.cuts[0]))
		}
		s.cuts = append(s.cuts[1:len(s.cuts):len(s.cuts)], s.cuts[0])
	}
	n = copy(b, s.data[:n])
	s.data = s.data[n:]
	return n, nil
}

func (s *script) Write(b []byte) (int, error)      { return len(b), nil }
func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return pipeAddr("here:1") }
func (s *script) RemoteAddr() net.Addr             { return pipeAddr("there:1") }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// quietBroker serves nobody: a test calls what it wants to. Its queues have no limits.
func quietBroker(t testing.TB) (*Broker, *atomic.Int64) {
	b, err := New(Config{Settings: Settings{SndHWM: -1, QueueBytes: -1}})
	if err != nil {
		t.Fatal(err)
	}
	var held atomic.Int64
	b.pools.held = &held
	b.processes = func(string, int) life { return lifeUnknown }
	return b, &held
}

// attachSubscriber without a goroutine that reads or writes.
func attachSubscriber(b *Broker, conn net.Conn) *subscriber {
	s := &subscriber{}
	s.init(b, conn, &zmtp.Peer{Minor: 1})
	s.holder = newHolder(s)
	b.mu.Lock()
	defer b.mu.Unlock()
	s.slot = b.takeSlot()
	b.subscribers[s] = struct{}{}
	return s
}

// drain is all that waits in a queue.
func drain(q *queue) (out []byte) {
	q.mu.Lock()
	waits := len(q.spans) > 0
	q.mu.Unlock()
	if !waits {
		return nil
	}
	spans, _ := q.take(nil)
	msgs, n := 0, 0
	for i := range spans {
		out = append(out, spans[i].bytes()...)
		msgs += spans[i].msgs
		n += spans[i].len()
	}
	releaseAll(spans)
	q.wrote(msgs, n, limits{})
	return out
}

// refFrame reads a frame, independently of the broker: 0 for n where b does not hold all of it.
func refFrame(b []byte) (flags byte, body []byte, n int, bad bool) {
	if len(b) == 0 {
		return 0, nil, 0, false
	}
	flags = b[0]
	if flags > 7 || flags&5 == 5 {
		return 0, nil, 0, true
	}
	if len(b) < 2 {
		return 0, nil, 0, false
	}
	head, size := 2, uint64(b[1])
	if flags&2 != 0 {
		if len(b) < 9 {
			return 0, nil, 0, false
		}
		head, size = 9, binary.BigEndian.Uint64(b[1:])
	}
	if size > MaxMessage {
		return 0, nil, 0, true
	}
	if uint64(len(b)-head) < size {
		return flags, nil, 0, false
	}
	return flags, b[head : head+int(size)], head + int(size), false
}

// refMessages are the messages that data holds, as they are to be sent on. clean: data is right up to its end, where
// something may be incomplete.
func refMessages(data []byte) (messages [][]byte, clean bool) {
	var message []byte
	for {
		flags, body, n, bad := refFrame(data)
		switch {
		case bad:
			return messages, false
		case n == 0:
			return messages, flags&4 == 0 // an incomplete command may be refused for its size
		case flags&4 == 0:
			message = append(message, data[:n]...) // as it came, also with a longer header than it needs
			if flags&1 == 0 {
				messages, message = append(messages, message), nil
			}
		case !refPing(body):
			return messages, false
		}
		data = data[n:]
	}
}

func refPing(body []byte) bool {
	return len(body) <= 512 && (bytes.HasPrefix(body, []byte("\x04PONG")) || bytes.HasPrefix(body, []byte("\x04PING")) && len(body) >= 7 && len(body) <= 23)
}

// FuzzPublisher has anything come from a publisher after its handshake: what is whole goes on as it came, nothing else does,
// no more memory is taken than a few times what has come, and all of it is given back.
func FuzzPublisher(f *testing.F) {
	message := rawpeer.AppendMessage(nil, []byte("zeek.cluster.worker"), []byte("zeromq_worker-1_h_1_N"), []byte("broker-bin-v1"), make([]byte, 300))
	ping := rawpeer.AppendCommand(nil, "PING", []byte("\x00\x00context"))
	large := rawpeer.AppendMessage(nil, []byte("t"), make([]byte, 70<<10), make([]byte, 5))
	f.Add(message, []byte{})
	f.Add(append(ping, message...), []byte{1})
	f.Add(bytes.Repeat(message, 20), []byte{3, 7})
	f.Add(large, []byte{200, 1})
	f.Add(slices.Concat(rawpeer.AppendFrame(nil, 1, []byte("t")), ping, rawpeer.AppendFrame(nil, 1, make([]byte, 66<<10)), ping, ping, rawpeer.AppendFrame(nil, 0, []byte("end")), message), []byte{255})
	f.Add(slices.Concat(message, rawpeer.AppendFrame(nil, 1, make([]byte, 65<<10)), []byte{2, 0, 0, 0, 0, 0x3f, 0xff, 0xff, 0xff}, make([]byte, 100)), []byte{100})
	f.Add([]byte{2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, []byte{})
	f.Add([]byte{3, 0, 0, 0, 0, 0x40, 0, 0, 0}, []byte{})
	f.Add([]byte{4, 5, 4, 'P', 'I', 'N', 'G'}, []byte{})
	f.Fuzz(func(t *testing.T, data, cuts []byte) {
		b, held := quietBroker(t)
		sub := attachSubscriber(b, &script{})
		b.subscribe(sub, "")
		p := &publisher{}
		conn := &script{data: data, cuts: cuts}
		conn.onRead = func() {
			taken := len(p.c.buf)
			for i := range p.large.parts {
				if i == 0 || p.large.parts[i].c != p.large.parts[i-1].c {
					taken += len(p.large.parts[i].c.buf)
				}
			}
			come := len(data) - len(conn.data)
			if taken > 5*come+2*mediumChunk+largeChunk {
				t.Fatalf("%d bytes have come, and %d are taken", come, taken)
			}
		}
		p.init(b, conn, &zmtp.Peer{Minor: 1})
		b.attach(p)
		err := p.read()
		want, clean := refMessages(data)
		got := drain(&sub.q)
		all := bytes.Join(want, nil)
		if clean && errors.Is(err, io.EOF) && !bytes.Equal(got, all) || !bytes.HasPrefix(all, got) {
			t.Fatalf("%d bytes went on, want %d (clean %v, %v)", len(got), len(all), clean, err)
		}
		if clean != errors.Is(err, io.EOF) && clean {
			t.Fatalf("refused what is right: %v", err)
		}
		p.close()
		b.leave(p)
		sub.close()
		b.detach(sub)
		if n := held.Load(); n != 0 {
			t.Fatalf("%d chunks are held", n)
		}
	})
}

// refSubscriptions is what a publisher is to be told of what data asks for.
func refSubscriptions(data []byte) (told []string, clean bool) {
	has := map[string]bool{}
	inside := false
	change := func(on bool, topic string) {
		switch {
		case on:
			has[topic] = true
			told = append(told, "+"+topic)
		case has[topic]:
			delete(has, topic)
			told = append(told, "-"+topic)
		}
	}
	for {
		flags, body, n, bad := refFrame(data)
		switch {
		case bad || len(body) > maxInbound:
			return told, false
		case n == 0:
			return told, len(data) < 9 || flags&2 == 0 || binary.BigEndian.Uint64(data[1:]) <= maxInbound
		case flags&4 != 0:
			topic, on := bytes.CutPrefix(body, []byte("\x09SUBSCRIBE"))
			off := false
			if !on {
				topic, off = bytes.CutPrefix(body, []byte("\x06CANCEL"))
			}
			switch {
			case (on || off) && len(topic) <= maxTopic:
				change(on, string(topic))
			case on || off || !refPing(body):
				return told, false
			}
		case inside || flags&1 != 0:
			inside = flags&1 != 0
		case len(body) > 0 && body[0] <= 1:
			if len(body) > 1+maxTopic {
				return told, false
			}
			change(body[0] == 1, string(body[1:]))
		}
		data = data[n:]
	}
}

// FuzzSubscriber has anything come from a subscriber after its handshake: publishers hear of what it asks for, and of
// nothing else, and nothing of it stays when it has left.
func FuzzSubscriber(f *testing.F) {
	sub := func(t string) []byte { return rawpeer.AppendCommand(nil, "SUBSCRIBE", []byte(t)) }
	f.Add(slices.Concat(sub("a"), sub("b"), sub("a"), rawpeer.AppendCommand(nil, "CANCEL", []byte("a"))), []byte{})
	f.Add(slices.Concat(rawpeer.AppendMessage(nil, []byte("\x01topic")), rawpeer.AppendMessage(nil, []byte("\x00topic"))), []byte{1})
	f.Add(slices.Concat(rawpeer.AppendMessage(nil, []byte("\x01topic"), []byte("\x01more")), sub("x")), []byte{2, 3})
	f.Add(slices.Concat(sub("zeek.cluster.nodeid.zeromq_worker-1_h_1_N."), sub("zeek.cluster.node.worker-1."), sub("zeek.cluster.worker")), []byte{4})
	f.Add(slices.Concat(rawpeer.AppendFrame(nil, 1, make([]byte, 60<<10)), sub("x"), rawpeer.AppendFrame(nil, 0, []byte("\x01y"))), []byte{99})
	f.Add(rawpeer.AppendMessage(nil, make([]byte, 5000)), []byte{})
	f.Add([]byte{2, 0, 0, 0, 0, 0, 1, 0, 1}, []byte{})
	f.Add([]byte{4, 0}, []byte{})
	f.Fuzz(func(t *testing.T, data, cuts []byte) {
		if len(data) > 1<<20 {
			return
		}
		b, held := quietBroker(t)
		p := &publisher{}
		p.init(b, &script{}, &zmtp.Peer{Minor: 1})
		b.attach(p)
		drain(&p.q)
		sub := attachSubscriber(b, &script{data: data, cuts: cuts})
		sub.conn = &script{data: data, cuts: cuts}
		err := sub.read()
		want, clean := refSubscriptions(data)
		var got []string
		for told := drain(&p.q); len(told) > 0; {
			flags, body, n, bad := refFrame(told)
			if bad || n == 0 || flags&^2 != 4 {
				t.Fatalf("a publisher was told % x", told)
			}
			if topic, ok := bytes.CutPrefix(body, []byte("\x09SUBSCRIBE")); ok {
				got = append(got, "+"+string(topic))
			} else if topic, ok := bytes.CutPrefix(body, []byte("\x06CANCEL")); ok {
				got = append(got, "-"+string(topic))
			}
			told = told[n:]
		}
		if !slices.Equal(got, want) {
			t.Fatalf("told %q, want %q", got, want)
		}
		if clean && !errors.Is(err, io.EOF) {
			t.Fatalf("refused what is right: %v", err)
		}
		b.Status(true)
		sub.close()
		b.detach(sub)
		for _, g := range slices.Clone(b.ghosts) {
			b.giveUp(g, "the end of the test")
		}
		p.close()
		b.leave(p)
		if own := 2; len(b.table.topics) != own || len(b.table.sorted) != own || len(b.table.lengths) > own { // the broker's
			t.Fatalf("left in the table: %v", b.table.all())
		}
		if n := held.Load(); n != 0 {
			t.Fatalf("%d chunks are held", n)
		}
	})
}
