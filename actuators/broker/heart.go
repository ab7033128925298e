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
			pause = DefaultHeartbeat
		}
		t := time.NewTimer(pause)
		select {
		case <-b.done:
			t.Stop()
			return
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

func (l *link) beat(ping []byte) {
	if l.peer.Minor == 0 || l.paused.Load() {
		return // it knows no PING; or it is the broker that does not read
	}
	if l.seen.Swap(false) {
		l.silent = 0
	} else if l.silent++; l.silent >= missedBeats {
		l.b.log.Warn("A peer is silent, and taken for dead", "peer", l.addr)
		l.close()
		return
	}
	l.control(ping, controlLimit)
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
