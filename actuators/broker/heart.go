package broker

import (
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

// missedBeats is how many heartbeats a peer may be silent for before it counts as dead. It is what its TTL tells it, too: a
// libzmq peer drops the connection when the broker is silent for as long.
const missedBeats = 3

// beat sends PINGs, and closes the connections of those who neither answer nor take anything. Without it a
// node whose machine has lost power is present until TCP gives up: Zeek configures no heartbeat.
func (b *Broker) beat() {
	for {
		pause := b.settings.Load().Heartbeat
		off := pause < 0
		if off {
			pause = time.Hour // Apply ends it
		}
		t := time.NewTimer(pause)
		select {
		case <-b.done:
			t.Stop()
			return
		case <-b.applied:
			t.Stop()
			continue
		case <-t.C:
		}
		if off {
			continue
		}
		ping := zmtp.AppendPing(nil, missedBeats*pause, nil)
		for _, l := range b.links() {
			l.beat(ping)
		}
	}
}

// beat judges the silence of a peer, and sends it a PING. A publisher that the broker does not read from now is not judged, but
// sent a PING all the same: it has a TTL for the broker.
func (l *link) beat(ping []byte) {
	if l.peer.Minor == 0 {
		return // it knows no PING
	}
	heard, taken := l.seen.Swap(false), l.took()
	if heard || taken || l.paused.Load() {
		l.silent = 0
	} else if l.silent++; l.silent >= missedBeats {
		l.b.log.Warn("A peer is silent, and taken for dead", "peer", l.addr)
		l.close()
		return
	}
	l.control(ping, controlLimit)
}

// progress of a connection's sending, as its machine knows it.
type progress struct {
	acked   uint64 // bytes that the other machine has confirmed
	waiting bool   // there are more than those
}

// took reports whether the peer's machine has confirmed something of a backlog since the last beat. Whoever has a backlog to read has not
// come to the PING behind it, and cannot have answered. What was merely handed to the kernel says nothing, and neither
// does the end of a backlog: a dead machine takes the first for minutes, a stopped process the second.
func (l *link) took() bool {
	var p progress
	if known, ok := sending(l.conn); ok {
		p = known
	} else {
		p.acked = l.written.Load()
	}
	moved := p.acked != l.acked
	l.acked = p.acked
	return moved && (p.waiting || l.q.busy())
}

func (b *Broker) links() []*link {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]*link, 0, len(b.subscribers)+len(b.publishers))
	for s := range b.subscribers {
		out = append(out, &s.link)
	}
	for p := range b.publishers {
		out = append(out, &p.link)
	}
	return out
}
