package broker

import (
	"cmp"
	"os"
	"slices"
	"time"
)

// Status is what the broker knows now; with peers, all connections are in it.
func (b *Broker) Status(peers bool) Status {
	st := Status{
		Version: b.version, PID: os.Getpid(), Since: b.since, Settings: *b.settings.Load(),
		Members: []Member{}, Topics: b.counters.status(), Refused: b.refused.all(),
	}
	for _, k := range b.keys.Load().Servers {
		st.Curve = append(st.Curve, k.Public.Z85())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	st.XPub, st.XSub, st.Holding = b.xpub, b.xsub, !b.open
	st.Received, st.Sent, st.Dropped = b.goneIn, b.gone, b.goneLost
	member := func(n *nodeIdentity, connected bool, since time.Time) {
		if n.id == "" || n.name == "" {
			return
		}
		host, pid := n.process()
		st.Members = append(st.Members, Member{Name: n.name, ID: n.id, Role: n.role, Host: host, PID: pid, Connected: connected, Since: since})
	}
	nodes := map[string]string{} // by id
	for s := range b.subscribers {
		p := s.status("subscriber")
		st.Sent.add(p.Passed)
		st.Dropped.add(p.Dropped)
		if s.holder != nil {
			member(&s.node, true, s.since)
			p.Node, p.Subscriptions = s.node.name, len(s.topics)
			if s.node.id != "" {
				nodes[s.node.id] = s.node.name
			}
		}
		if peers {
			st.Peers = append(st.Peers, p)
		}
	}
	for _, g := range b.ghosts {
		if g.back == nil {
			member(&g.node, false, g.lost)
		}
	}
	for p := range b.publishers {
		ps := p.status("publisher")
		st.Received.add(ps.Passed)
		if peers {
			ps.Node = nodes[p.sender()]
			st.Peers = append(st.Peers, ps)
		}
	}
	slices.SortFunc(st.Members, compareMembers)
	slices.SortFunc(st.Peers, func(x, y PeerStatus) int {
		return cmp.Or(-cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Node, y.Node), cmp.Compare(x.Address, y.Address))
	})
	return st
}

func (l *link) status(kind string) PeerStatus {
	p := PeerStatus{Kind: kind, Address: l.addr, Mechanism: l.peer.Mechanism, Since: l.since}
	if kind == "publisher" {
		p.Passed = l.q.received()
		return p
	}
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	p.Passed, p.Dropped = l.q.sent, l.q.dropped
	p.Queued = Counts{uint64(l.q.msgs), uint64(l.q.bytes)}
	if t := l.stalled.Load(); t != 0 && l.b.now().Sub(time.Unix(0, t)) > stallTime {
		p.Stalled = time.Unix(0, t)
	}
	return p
}
