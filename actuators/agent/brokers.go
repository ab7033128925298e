package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/zeekrec/zeekrec/desired/launch"
	"github.com/zeekrec/zeekrec/observed"
)

// BrokerControl is how the agent reaches a ZeroMQ broker that it runs. Every call obeys its context, and
// may be made while another one is under way.
type BrokerControl interface {
	Status(ctx context.Context) (BrokerStatus, error)
	// Apply has it use settings, in the form of launch.BrokerSettings, and accept these keys and no others, the
	// first being the one to use; none: it does not encrypt. To repeat it changes nothing.
	Apply(ctx context.Context, settings []byte, keys []launch.CurveKeys) error
	// Dead says that the process of a node has ended, so that nobody waits for it to come back.
	Dead(ctx context.Context, node string, pid int) error
	// Ping asks nodes for a sign of life, and returns when all have given one, or after within.
	Ping(ctx context.Context, nodes []string, within time.Duration) (Pinged, error)
	// Ask asks a node. An answer that refuses is no error; that none came is.
	Ask(ctx context.Context, q Question) (Answer, error)
}

// BrokerStatus is what a broker says of itself.
type BrokerStatus struct {
	Version string // of zeekrec
	PID     int    // 0 where it does not say
	Members []observed.Member
	// Dropped messages since it began, because the queues of those that they were for were full.
	Dropped uint64
}

// Bounds of what is told of processes that ended.
const (
	endedKept = 10 * time.Second // after that a broker has noticed by itself
	endedMost = 1000             // of a cluster
)

// brokers has the brokers that run here, and the processes of nodes that ended lately, by cluster.
type brokers struct {
	mu    sync.Mutex
	links map[string][]*brokerLink
	ended map[string][]ending
	next  int
}

// ending is a process of a node's that ended.
type ending struct {
	seq  int
	node string
	pid  int
	at   time.Time
}

func (b *brokers) add(l *brokerLink) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.links == nil {
		b.links = map[string][]*brokerLink{}
	}
	b.links[l.cluster] = append(b.links[l.cluster], l)
}

func (b *brokers) remove(l *brokerLink) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.links[l.cluster] = slices.DeleteFunc(b.links[l.cluster], func(o *brokerLink) bool { return o == l })
}

// wake lets the brokers of a cluster be asked at once: something of its nodes has changed.
func (b *brokers) wake(cluster string) {
	b.mu.Lock()
	links := slices.Clone(b.links[cluster])
	b.mu.Unlock()
	for _, l := range links {
		l.poke()
	}
}

// died tells the brokers of a cluster that the process of a node has ended; also those that start soon.
func (b *brokers) died(cluster, node string, pid int, now time.Time) {
	b.mu.Lock()
	if b.ended == nil {
		b.ended = map[string][]ending{}
	}
	b.next++
	es := append(b.recent(cluster, now), ending{seq: b.next, node: node, pid: pid, at: now})
	b.ended[cluster] = es[max(0, len(es)-endedMost):]
	b.mu.Unlock()
	b.wake(cluster)
}

// recent endings of a cluster, as a slice of the caller's. b.mu is held.
func (b *brokers) recent(cluster string, now time.Time) []ending {
	return slices.DeleteFunc(slices.Clone(b.ended[cluster]), func(e ending) bool { return now.Sub(e.at) > endedKept })
}

// endedAfter are the recent endings with a higher number.
func (b *brokers) endedAfter(seq int, cluster string, now time.Time) []ending {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(b.recent(cluster, now), func(e ending) bool { return e.seq <= seq })
}

// joinLately is how long after a start a process is likely to be joining.
const joinLately = 5 * time.Second

// joining reports whether nodes of a cluster are about to join its broker, of which members have, in order: then a
// rollout may be waiting for them.
func (a *Agent) joining(cluster string, members []observed.Member) bool {
	now := a.cfg.Now()
	for _, u := range a.allUnits() {
		if clusterOf(u.key) != cluster {
			continue
		}
		v, ok := u.current()
		if !ok || v.PID == 0 || len(v.Parts.Get("broker")) == 0 {
			continue
		}
		_, is := slices.BinarySearchFunc(members, observed.Member{Name: v.Name, PID: v.PID}, compareMembers)
		switch age := now.Sub(v.StartedAt); {
		case v.State == observed.Pending, age < joinLately, !is && age < a.cfg.Timings.StartDeadline:
			return true
		}
	}
	return false
}
