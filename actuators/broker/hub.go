package broker

import (
	"cmp"
	"slices"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

// This file has what is shared by all connections: subscriptions, the nodes that they speak of, and the
// publishers that are to hear of them. All of it is guarded by Broker.mu.

// ghost is a node whose connection was lost, or which was there when the broker ended. Its subscriptions
// stand, for its publishers' sake, until it is back, known to be dead, or given up.
type ghost struct {
	*holder
	lost time.Time
	// until it is given up; moved on while its process is known to live, up to last.
	until, last time.Time
	back        *holder // the connection that it came back by
}

// lostPublisher is a connection of a publisher that broke. What was cancelled since, its node has not heard.
type lostPublisher struct {
	host   string
	sender string // its id, where it had said it
	at     time.Time
}

// cancelled is a node's presence that was cancelled.
type cancelled struct {
	topic string
	id    string
	at    time.Time
}

// Bounds of what is remembered.
const (
	rememberCancelled = 2 * time.Minute
	maxCancelled      = 10000
	maxLost           = 10000
	// A ghost whose process is alive is kept for this many grace periods.
	aliveGraces = 12
	// What a node that is back does not subscribe to within this time, it does not want any more.
	returnTime = time.Second
)

// subscribe takes a subscription, and forwards it whether it is new or not.
// False: it has too many.
func (b *Broker) subscribe(s *subscriber, topic string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.holder == nil {
		return true // the connection has ended meanwhile
	}
	if _, again := s.topics[topic]; !again && !s.mayAdd(topic) {
		return false
	}
	isNode := s.node.id != ""
	s.node.learn(topic)
	if b.table.add(s.holder, topic) {
		b.generation.Add(1)
	}
	if topic == s.node.topic() || topic == nodePrefix+s.node.name+"." {
		b.recognize(s.holder, !isNode)
	}
	b.forward(true, topic)
	b.changed()
	return true
}

// recognize looks whether a node is one that was lost, or the successor of one: that one is dead then, which
// the others hear before they hear of the new one.
func (b *Broker) recognize(h *holder, first bool) {
	if h.node.id == "" {
		return
	}
	now := b.now()
	if host, pid := h.node.process(); !h.node.local && b.processes(host, pid) == alive {
		h.node.local = true
	}
	for _, g := range slices.Clone(b.ghosts) {
		switch {
		case g.node.id == h.node.id:
			if g.back != h {
				g.back, g.until = h, now.Add(returnTime)
			}
		case g.node.sameNode(&h.node):
			b.giveUp(g, "succeeded by "+h.node.id)
		}
	}
	if first {
		b.log.Info("Joined", "id", h.node.id)
	}
}

// unsubscribe ends one subscription.
func (b *Broker) unsubscribe(s *subscriber, topic string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.holder == nil {
		return
	}
	b.remove(s.holder, topic)
	if topic == s.node.topic() {
		s.node.id = "" // it has said goodbye itself
	}
	b.changed()
}

// remove ends a subscription, and forwards that when nobody is left who has it.
func (b *Broker) remove(h *holder, topic string) {
	last, ok := b.table.remove(h, topic)
	if !ok {
		return
	}
	b.generation.Add(1)
	if !last {
		return
	}
	b.forward(false, topic)
	if h.node.id != "" && topic == h.node.topic() {
		b.cancelled = append(b.cancelled, cancelled{topic, h.node.id, b.now()})
		if len(b.cancelled) > maxCancelled {
			b.cancelled = slices.Delete(b.cancelled, 0, len(b.cancelled)-maxCancelled)
		}
	}
}

// detach takes a subscriber's connection away. A node becomes a ghost; anybody else is gone.
func (b *Broker) detach(s *subscriber) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := s.holder
	s.holder = nil
	delete(b.subscribers, s)
	sent, dropped := s.q.totals()
	b.gone.add(sent)
	b.goneLost.add(dropped)
	b.freeSlot(s.slot)
	b.generation.Add(1)
	defer b.changed()
	if h == nil {
		return
	}
	h.sub = nil
	if b.stopping {
		return
	}
	if h.node.id == "" {
		b.dropAll(h)
		return
	}
	// It may be back by another connection already, and this one is only noticed now; or it has a successor.
	var back *holder
	for o := range b.subscribers {
		switch {
		case o.holder == nil:
		case o.node.sameNode(&h.node):
			b.log.Info("Gave up a node", "node", h.node.name, "id", h.node.id, "why", "succeeded by "+o.node.id)
			b.dropAll(h)
			return
		case o.node.id == h.node.id:
			back = o.holder
		}
	}
	if back == nil {
		b.log.Info("Lost the connection of a node", "node", h.node.name, "id", h.node.id)
	}
	b.judgeGhost(b.becomeGhost(h, back), b.now())
	signalTo(b.haunted)
}

// becomeGhost keeps the subscriptions of a node whose connection was lost. There is one ghost of a node: a connection that breaks
// before all of its subscriptions were repeated leaves those of the one before it as well.
func (b *Broker) becomeGhost(h, back *holder) *ghost {
	var g *ghost
	if i := slices.IndexFunc(b.ghosts, func(g *ghost) bool { return g.node.id == h.node.id }); i >= 0 {
		g = b.ghosts[i]
		g.name(&h.node)
		for topic := range h.topics {
			if g.mayAdd(topic) {
				b.table.add(g.holder, topic)
			}
		}
		for topic := range h.topics {
			b.remove(h, topic)
		}
	} else {
		g = &ghost{holder: h}
		b.ghosts = append(b.ghosts, g)
	}
	now := b.now()
	grace := b.settings.Load().Grace
	g.back, g.lost, g.until, g.last = back, now, now.Add(grace), now.Add(aliveGraces*grace)
	if back != nil {
		g.until = now.Add(returnTime)
	}
	return g
}

// name takes over what another connection of the same node told of it.
func (g *ghost) name(n *nodeIdentity) {
	g.node.name = cmp.Or(g.node.name, n.name)
	g.node.role = cmp.Or(g.node.role, n.role)
	g.node.local = g.node.local || n.local
}

// dropAll ends all subscriptions of one, the presence of a node first: nobody is to send to it any more.
func (b *Broker) dropAll(h *holder) {
	if h.node.id != "" {
		b.remove(h, h.node.topic())
	}
	for topic := range h.topics {
		b.remove(h, topic)
	}
}

// giveUp ends the waiting for a ghost.
func (b *Broker) giveUp(g *ghost, why string) {
	i := slices.Index(b.ghosts, g)
	if i < 0 {
		return
	}
	b.ghosts = slices.Delete(b.ghosts, i, i+1)
	if g.back == nil {
		b.log.Info("Gave up a node", "node", g.node.name, "id", g.node.id, "why", why)
	}
	b.dropAll(g.holder)
	b.changed()
	b.releaseIfComplete()
}

// judgeGhost looks at one that is lost: is it back, is its process dead, is its time over? It reports whether it
// still waits.
func (b *Broker) judgeGhost(g *ghost, now time.Time) bool {
	if g.back != nil {
		for topic := range g.topics {
			if _, ok := g.back.topics[topic]; !ok && now.Before(g.until) && g.back.sub != nil {
				return true // its subscriptions are on their way
			}
		}
		if g.back.sub == nil { // lost again
			g.back = nil
			return true
		}
		b.giveUp(g, "back")
		return false
	}
	if host, pid := g.node.process(); g.node.local {
		switch b.processes(host, pid) {
		case dead:
			b.giveUp(g, "its process has ended")
			return false
		case alive:
			if now.Before(g.last) {
				return true
			}
		}
	}
	if now.Before(g.until) {
		return true
	}
	b.giveUp(g, "it did not come back")
	return false
}

// Dead says that a node's process has ended: who waits for it need not any more. A pid of 0 is any process.
func (b *Broker) Dead(name string, pid int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range slices.Clone(b.ghosts) {
		if _, p := g.node.process(); g.node.name == name && g.back == nil && (pid == 0 || p == 0 || p == pid) {
			b.giveUp(g, "known to be dead")
		}
	}
	b.deaths = append(b.deaths, death{name, pid, b.now()})
	if len(b.deaths) > 100 {
		b.deaths = slices.Delete(b.deaths, 0, len(b.deaths)-100)
	}
}

// death was announced. It may come before the end of the connection is noticed.
type death struct {
	name string
	pid  int
	at   time.Time
}

// haunt looks after ghosts, as often as is worth it, until the broker ends.
func (b *Broker) haunt(done <-chan struct{}) {
	const pause = 50 * time.Millisecond
	tick := time.NewTimer(pause)
	defer tick.Stop()
	for {
		b.mu.Lock()
		now := b.now()
		for _, g := range slices.Clone(b.ghosts) {
			if g.back == nil && slices.ContainsFunc(b.deaths, func(d death) bool { return d.isOf(g) }) {
				b.giveUp(g, "known to be dead")
				continue
			}
			b.judgeGhost(g, now)
		}
		n := len(b.ghosts)
		b.forget(now)
		b.releaseIfComplete()
		b.mu.Unlock()
		if n == 0 {
			select {
			case <-done:
				return
			case <-b.haunted:
			}
			continue
		}
		tick.Reset(pause)
		select {
		case <-done:
			return
		case <-tick.C:
		}
	}
}

// isOf reports whether a death is that of a ghost's process. Pids come again: one that was announced before the node's connection
// was made is another's.
func (d death) isOf(g *ghost) bool {
	_, pid := g.node.process()
	return d.name == g.node.name && d.pid != 0 && d.pid == pid && !g.joined.After(d.at)
}

// forget what is too old to matter.
func (b *Broker) forget(now time.Time) {
	old := now.Add(-rememberCancelled)
	b.cancelled = slices.DeleteFunc(b.cancelled, func(c cancelled) bool { return c.at.Before(old) })
	b.lost = slices.DeleteFunc(b.lost, func(l lostPublisher) bool { return l.at.Before(old) })
	b.deaths = slices.DeleteFunc(b.deaths, func(d death) bool { return d.at.Before(old) })
}

// attach makes a publisher known: it hears of all subscriptions, and from now on of every change.
func (b *Broker) attach(p *publisher) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, topic := range b.missed(p) {
		p.control(subscriptionFrame(p.peer, false, topic), subscriptionLimit)
	}
	for _, topic := range b.table.all() {
		p.control(subscriptionFrame(p.peer, true, topic), subscriptionLimit)
	}
	b.publishers[p] = struct{}{}
}

// missed are presences that were cancelled while this publisher's node had no connection. A libzmq socket keeps
// what it was told across connections: without this it would take a node for present for ever. A node that was
// not there then is told nothing; it would only wonder.
func (b *Broker) missed(p *publisher) []string {
	now := b.now()
	b.forget(now)
	gone := make(map[string]bool, len(b.cancelled))
	for _, c := range b.cancelled {
		gone[c.id] = true
	}
	// Who it is shows in its first message only. Of those that were lost there it may be the one that was so first; who is
	// dead itself is none of them.
	var since time.Time
	host := hostOf(p.addr)
	for _, l := range b.lost {
		if l.host == host && !gone[l.sender] && (since.IsZero() || l.at.Before(since)) {
			since = l.at
		}
	}
	if since.IsZero() && b.recovered && now.Sub(b.since) < time.Minute {
		since = b.since // everybody was lost when the broker before this one ended
	}
	if since.IsZero() {
		return nil
	}
	var out []string
	for _, c := range b.cancelled {
		if _, again := b.table.topics[c.topic]; !again && !c.at.Before(since) {
			out = append(out, c.topic)
		}
	}
	return out
}

// returned says that a publisher has said who it is: its node is not lost any more.
func (b *Broker) returned(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost = slices.DeleteFunc(b.lost, func(l lostPublisher) bool { return l.sender == id })
}

// leave forgets a publisher.
func (b *Broker) leave(p *publisher) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.publishers[p]; !ok {
		return
	}
	delete(b.publishers, p)
	b.goneIn.add(p.q.received())
	b.lost = append(b.lost, lostPublisher{hostOf(p.addr), p.sender(), b.now()})
	if len(b.lost) > maxLost {
		b.lost = slices.Delete(b.lost, 0, len(b.lost)-maxLost)
	}
}

// forward tells all publishers of a subscription or of its end.
func (b *Broker) forward(subscribe bool, topic string) {
	var command, message []byte
	for p := range b.publishers {
		f := &command
		if p.peer.Minor == 0 {
			f = &message
		}
		if *f == nil {
			*f = subscriptionFrame(p.peer, subscribe, topic)
		}
		p.control(*f, subscriptionLimit)
	}
}

// subscriptionFrame in the form that a peer understands: a command since ZMTP 3.1, a message before.
func subscriptionFrame(p *zmtp.Peer, subscribe bool, topic string) []byte {
	switch {
	case p.Minor == 0:
		return zmtp.AppendLegacySubscription(nil, subscribe, []byte(topic))
	case subscribe:
		return zmtp.AppendSubscribe(nil, []byte(topic))
	}
	return zmtp.AppendCancel(nil, []byte(topic))
}

// slots are small numbers of subscribers, for sets of them as bits.
func (b *Broker) takeSlot() int {
	if n := len(b.free); n > 0 {
		s := b.free[n-1]
		b.free = b.free[:n-1]
		return s
	}
	b.slots++
	return b.slots - 1
}

func (b *Broker) freeSlot(s int) { b.free = append(b.free, s) }
