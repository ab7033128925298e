package engine

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// How long a node that had joined is taken to be joined while the broker cannot say so.
const (
	joinedFor    = 10 * time.Second // the broker is not there, or does not answer
	joinedBeyond = 5 * time.Second  // the broker is back, for this long beyond its grace period
	defaultGrace = 5 * time.Second  // of a broker that was told none
)

// notJoined is why a node is not healthy that runs, and is no member of its cluster's broker.
const notJoined = "has not joined the broker"

// notAnswering is why one is not healthy that has joined: its main loop hangs, or it was stopped.
func notAnswering(since time.Time) string {
	return "does not answer since " + since.Local().Format(time.TimeOnly)
}

// joins decides which nodes have joined the ZeroMQ broker of their cluster, from what all agents report
// together: a node may run on another host than its broker. A node has joined when the broker that its process
// connects to has it as a member, under the pid that its agent knows.
//
// Nothing is held against a node because something cannot be seen. While the broker's report is missing, old or
// not healthy, one that had joined is joined for joinedFor, and after that, as all others, neither joined nor
// not. When a broker comes back, those that had joined have its grace period and joinedBeyond to return. So the
// restart of a broker fails no rollout.
type joins struct {
	was   map[string]joined   // by key: processes that had joined
	spoke map[string]speaking // by key of a broker
}

type joined struct {
	pid int
	at  time.Time // last seen
}

// speaking is a broker's process, and since when it says who has joined.
type speaking struct {
	pid   int
	since time.Time
}

// brokerSeen is a broker as its agent sees it.
type brokerSeen struct {
	endpoints []string // xpub, xsub
	// speaks: it says who has joined, and that is no old news.
	speaks  bool
	young   bool // since so lately that those who had joined need not be back
	members []observed.Member
}

// see returns the fleet with Joined, Answering and Silent filled in, and with Healthy and Reason of the nodes that one of the
// first two is false for.
// reports are left as they are: those that nothing is added to are shared.
func (j *joins) see(reports map[string]observed.Report, now time.Time, stale time.Duration) map[string]observed.Report {
	brokers := j.brokers(reports, now, stale)
	if len(brokers) == 0 && len(j.was) == 0 {
		return reports
	}
	fleet, met := make(map[string]observed.Report, len(reports)), make(map[string]joined, len(j.was))
	for name, r := range reports {
		own := false
		for i := range r.Resources {
			s := &r.Resources[i]
			if s.PID == 0 || len(s.Parts["broker"]) == 0 {
				continue
			}
			key := s.Key()
			is, keep := j.decide(s, j.was[key], brokers[s.Cluster], now)
			if keep.pid != 0 {
				met[key] = keep
			}
			if is == nil {
				continue
			}
			if !own {
				r.Resources, own = slices.Clone(r.Resources), true
				s = &r.Resources[i]
			}
			mark(s, is)
			if m := brokerOf(s, brokers[s.Cluster]).member(s); m != nil && m.PID == s.PID {
				markAnswering(s, m)
			}
		}
		fleet[name] = r
	}
	j.was = met
	return fleet
}

// mark a node as joined, or not. One that does something else than run, or is in trouble, has its reason already.
func mark(s *observed.Resource, is *bool) {
	s.Joined = is
	if !*is && s.Healthy {
		s.Healthy, s.Reason = false, cmpOr(s.Reason, notJoined)
	}
}

// markAnswering says whether a node that has joined answers. Nobody can tell while the broker cannot.
func markAnswering(s *observed.Resource, m *observed.Member) {
	switch {
	case !m.Silent.IsZero():
		no := false
		s.Answering, s.Silent = &no, m.Silent
		if s.Healthy {
			s.Healthy, s.Reason = false, strings.TrimSuffix(notAnswering(m.Silent)+"; "+s.Reason, "; ")
		}
	case m.Answers:
		yes := true
		s.Answering = &yes
	}
}

// decide about one process; was is what is remembered of it, and the second result what is to be.
func (j *joins) decide(s *observed.Resource, was joined, brokers []brokerSeen, now time.Time) (*bool, joined) {
	yes, no := true, false
	if was.pid != s.PID {
		was = joined{}
	}
	b := brokerOf(s, brokers)
	switch {
	case !b.speaks && was.pid != 0 && now.Sub(was.at) <= joinedFor:
		return &yes, was
	case !b.speaks:
		return nil, was
	case b.member(s) != nil:
		return &yes, joined{pid: s.PID, at: now}
	case b.young && was.pid != 0:
		return &yes, was
	}
	return &no, joined{}
}

// brokerOf is the broker that the process connects to; one that does not speak, and has no members, where there is none.
func brokerOf(s *observed.Resource, brokers []brokerSeen) *brokerSeen {
	for i := range brokers {
		if b := &brokers[i]; b.speaks && slices.Equal(b.endpoints, s.Parts["broker"]) {
			return b
		}
	}
	return &brokerSeen{}
}

// member is the node's process among the members; nil where it is none. A member whose pid is unknown is taken to be it.
func (b *brokerSeen) member(s *observed.Resource) *observed.Member {
	i, _ := slices.BinarySearchFunc(b.members, s.Name, func(m observed.Member, n string) int { return strings.Compare(m.Name, n) })
	for ; i < len(b.members) && b.members[i].Name == s.Name; i++ {
		if pid := b.members[i].PID; pid == 0 || pid == s.PID {
			return &b.members[i]
		}
	}
	return nil
}

// brokers are those of all clusters.
func (j *joins) brokers(reports map[string]observed.Report, now time.Time, stale time.Duration) map[string][]brokerSeen {
	var out map[string][]brokerSeen
	var spoke map[string]speaking
	for inst, r := range reports {
		fresh := now.Sub(r.At) <= stale
		for i := range r.Resources {
			s := &r.Resources[i]
			if s.Type != string(desired.TypeBroker) {
				continue
			}
			if out == nil {
				out, spoke = map[string][]brokerSeen{}, map[string]speaking{}
			}
			b := brokerSeen{
				endpoints: slices.Concat(s.Parts["xpub"], s.Parts["xsub"]), members: s.Members,
				speaks: fresh && s.State == observed.Running && s.Healthy && s.PID != 0 && s.Members != nil,
			}
			key := inst + "/" + s.Key()
			since, again := j.spoke[key]
			if b.speaks && (!again || since.pid != s.PID) {
				since = speaking{pid: s.PID, since: now}
			}
			if since.pid != 0 {
				spoke[key] = since
			}
			b.young = b.speaks && now.Sub(since.since) < graceOf(s)+joinedBeyond
			out[s.Cluster] = append(out[s.Cluster], b)
		}
	}
	j.spoke = spoke
	return out
}

// graceOf is how long a broker takes a node for a member whose connection was lost.
func graceOf(s *observed.Resource) time.Duration {
	if v := s.Parts["grace"]; len(v) == 1 {
		if n, err := strconv.Atoi(v[0]); err == nil && n > 0 {
			return time.Duration(n) * time.Second
		}
	}
	return defaultGrace
}

// unjoined reports whether a process has run for longer than patience without joining.
func unjoined(s *observed.Resource, now time.Time, patience time.Duration) bool {
	return s != nil && s.State == observed.Running && s.Joined != nil && !*s.Joined && now.Sub(s.Since) > patience
}
