package broker

import (
	"errors"
	"net"

	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

// local is the broker's own place on the bus: it publishes, and receives what is for it, as a node does, but
// without a connection.
type local struct {
	sub *subscriber
}

func newLocal(b *Broker) *local {
	l := &local{}
	near, far := net.Pipe()
	_ = far.Close()
	peer := &zmtp.Peer{Mechanism: "local", Minor: 0}
	l.sub = &subscriber{}
	l.sub.init(b, near, peer)
	l.sub.holder = newHolder(l.sub)
	l.sub.slot = b.takeSlot()
	// All that the broker listens to: the answers of Zeek's control framework (facts/zeromq.md §2.6), and of zeekrec's own script.
	b.table.add(l.sub.holder, zeekbus.PrefixControl)
	b.table.add(l.sub.holder, zeekbus.PrefixAnswer)
	b.generation.Add(1)
	return l
}

func (l *local) close() { l.sub.close() }

// listen hands what arrives to whoever has asked for it, until close.
func (l *local) listen() {
	var spans []span
	var walk frames
	var message [][]byte
	for {
		var ok bool
		if spans, ok = l.sub.q.take(spans); !ok {
			return
		}
		msgs, bytes := 0, 0
		for i := range spans {
			msgs += spans[i].msgs
			bytes += spans[i].len()
			for b := spans[i].bytes(); len(b) > 0; {
				var f frame
				if f, b, ok = walk.next(b); !ok {
					break
				}
				message = append(message, append([]byte(nil), f.body...))
				if f.flags&zmtp.FlagMore == 0 {
					l.sub.b.asker.heard(message)
					message = message[:0]
				}
			}
		}
		l.sub.q.wrote(msgs, bytes, l.sub.b.limits())
		releaseAll(spans)
	}
}

// Why nothing was published.
var (
	errNobody = errors.New("nobody is subscribed to its topic")
	errFull   = errors.New("its queue is full")
)

// publish sends a message to whoever is subscribed to its first frame, and has room for it: whatever the policy, nobody is waited
// for. It fails where that is nobody.
func (l *local) publish(parts ...[]byte) error {
	size := 0
	for _, p := range parts {
		size += zmtp.MaxHeader + len(p)
	}
	b := l.sub.b
	c := b.pools.get(size)
	defer c.release()
	buf := c.buf[:0]
	for i, p := range parts {
		flags := zmtp.FlagMore
		if i == len(parts)-1 {
			flags = 0
		}
		buf = append(zmtp.AppendHeader(buf, flags, len(p)), p...)
	}
	b.mu.Lock()
	subs := b.table.match(matchable(parts[0]))
	b.mu.Unlock()
	if len(subs) == 0 {
		return errNobody
	}
	class := b.counters.class(parts[0])
	class.received(1, len(buf))
	sent := 0
	for _, sub := range subs {
		if sub.putWhole([]span{{c: c, to: len(buf)}}, len(buf), b.limits()) {
			class.sent(1, len(buf))
			sent++
		} else {
			sub.drop(1, len(buf))
			class.dropped(1, len(buf))
		}
	}
	if sent == 0 {
		return errFull
	}
	return nil
}
