package engine

import (
	"maps"
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
	clusters map[string]*clusterJoins
	before   time.Time // when all of it was last so
	// said is what reports say of the resources that were marked as not healthy, by instance and index.
	said map[string]map[int]health
	// lent are the instances whose resources somebody else may be reading.
	lent map[string]bool
}

type health struct {
	healthy bool
	reason  string
}

// clusterJoins are those of one cluster.
type clusterJoins struct {
	was   map[string]joined   // by node: processes that had joined
	spoke map[string]speaking // by instance and name of a broker
	until time.Time           // from when on time alone may change what is decided; zero: never
	look  uint64              // counts how often the cluster was looked at
}

type joined struct {
	pid    int
	at     time.Time // last seen
	member bool      // it was one when it was looked at last, so it still is as long as nothing is new
	look   uint64    // the last one at which it was there
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
	grown   time.Time // until then it speaks since so lately that those who had joined need not be back
	members []observed.Member
}

// see brings fleet, the reports with Joined, Answering and Silent filled in, and with Healthy and Reason of the nodes that one of the
// first two is false for, to what reports say now. Those that are news are the reports that are others than before, whose clusters
// are touched; of all others hear has brought the time. Reports that are numbered are written into, see Agents; others are left as they are.
func (j *joins) see(reports map[string]*observed.Report, fleet map[string]observed.Report, news []string, a *attention, now time.Time, stale time.Duration) {
	if j.clusters == nil {
		j.clusters, j.said, j.lent = map[string]*clusterJoins{}, map[string]map[int]health{}, map[string]bool{}
	}
	for _, name := range news {
		fleet[name] = *reports[name]
		delete(j.said, name)
		delete(j.lent, name)
	}
	own := map[string]bool{} // whose resources were copied in this step
	for cluster := range a.places {
		c := j.clusters[cluster]
		if c == nil {
			c = &clusterJoins{was: map[string]joined{}}
			j.clusters[cluster] = c
		}
		if a.all || a.clusters[cluster] || !c.until.IsZero() && !now.Before(c.until) {
			j.seeCluster(c, cluster, reports, fleet, own, a.places[cluster], now, stale)
		}
	}
	maps.DeleteFunc(j.clusters, func(cluster string, _ *clusterJoins) bool { return len(a.places[cluster]) == 0 })
	j.before = now
}

// lend: somebody else is about to read the fleet.
func (j *joins) lend(fleet map[string]observed.Report) {
	if j.lent == nil {
		return // nothing was seen yet
	}
	for name := range fleet {
		j.lent[name] = true
	}
}

func (j *joins) seeCluster(c *clusterJoins, cluster string, reports map[string]*observed.Report, fleet map[string]observed.Report, own, places map[string]bool, now time.Time, stale time.Duration) {
	brokers := c.brokers(cluster, reports, places, now, stale)
	c.look++
	c.until = time.Time{}
	for i := range brokers {
		if now.Before(brokers[i].grown) {
			c.turns(brokers[i].grown)
		}
	}
	for name := range places {
		rs := fleet[name].Resources
		for i := firstOf(rs, cluster); i < len(rs) && rs[i].Cluster == cluster; i++ {
			s, said := rs[i], j.said[name]
			s.Joined, s.Answering, s.Silent = nil, nil, time.Time{}
			if raw, marked := said[i]; marked {
				s.Healthy, s.Reason = raw.healthy, raw.reason
			}
			raw := health{s.Healthy, s.Reason}
			if s.PID != 0 && len(s.Parts.Get("broker")) > 0 {
				was := c.was[s.Name]
				if was.member {
					was.at, was.member = j.before, false
				}
				b := brokerOf(&s, brokers)
				is, keep := j.decide(&s, was, b, now)
				if keep.pid != 0 {
					keep.look = c.look
					c.was[s.Name] = keep
					if end := keep.at.Add(joinedFor); !b.speaks && !now.After(end) {
						c.turns(end)
					}
				}
				if is != nil {
					mark(&s, is)
					if m := b.member(&s); m != nil && m.PID == s.PID {
						markAnswering(&s, m)
					}
				}
			}
			if sameMarks(&s, &rs[i]) {
				continue
			}
			if f := fleet[name]; !own[name] && (reports[name].Seen == 0 || j.lent[name]) { // others may still read what was there
				f.Resources, own[name] = slices.Clone(f.Resources), true
				fleet[name], rs = f, f.Resources
				delete(j.lent, name)
			}
			if raw == (health{s.Healthy, s.Reason}) {
				delete(said, i)
			} else {
				if said == nil {
					said = map[int]health{}
					j.said[name] = said
				}
				said[i] = raw
			}
			o := &rs[i] // nothing else of it is written: others may read the rest
			o.Joined, o.Answering, o.Silent, o.Healthy, o.Reason = s.Joined, s.Answering, s.Silent, s.Healthy, s.Reason
		}
	}
	maps.DeleteFunc(c.was, func(_ string, w joined) bool { return w.look != c.look })
}

// turns notes when time alone may change what is decided.
func (c *clusterJoins) turns(at time.Time) {
	if c.until.IsZero() || at.Before(c.until) {
		c.until = at
	}
}

// firstOf is where the resources of a cluster begin.
func firstOf(rs []observed.Resource, cluster string) int {
	i, _ := slices.BinarySearchFunc(rs, cluster, func(r observed.Resource, c string) int { return strings.Compare(r.Cluster, c) })
	return i
}

// sameMarks reports whether two views of one report's resource agree.
func sameMarks(a, b *observed.Resource) bool {
	same := func(x, y *bool) bool { return x == y || x != nil && y != nil && *x == *y }
	return same(a.Joined, b.Joined) && same(a.Answering, b.Answering) && a.Silent.Equal(b.Silent) && a.Healthy == b.Healthy && a.Reason == b.Reason
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
func (j *joins) decide(s *observed.Resource, was joined, b *brokerSeen, now time.Time) (*bool, joined) {
	yes, no := true, false
	if was.pid != s.PID {
		was = joined{}
	}
	switch {
	case !b.speaks && was.pid != 0 && now.Sub(was.at) <= joinedFor:
		return &yes, was
	case !b.speaks:
		return nil, was
	case b.member(s) != nil:
		return &yes, joined{pid: s.PID, at: now, member: true}
	case now.Before(b.grown) && was.pid != 0:
		return &yes, was
	}
	return &no, joined{}
}

// brokerOf is the broker that the process connects to; one that does not speak, and has no members, where there is none.
func brokerOf(s *observed.Resource, brokers []brokerSeen) *brokerSeen {
	for i := range brokers {
		if b := &brokers[i]; b.speaks && slices.Equal(b.endpoints, s.Parts.Get("broker")) {
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

// brokers are those of the cluster.
func (c *clusterJoins) brokers(cluster string, reports map[string]*observed.Report, places map[string]bool, now time.Time, stale time.Duration) []brokerSeen {
	var out []brokerSeen
	spoke := map[string]speaking{}
	for inst := range places {
		r := reports[inst]
		fresh := now.Sub(r.At) <= stale
		for i := firstOf(r.Resources, cluster); i < len(r.Resources) && r.Resources[i].Cluster == cluster; i++ {
			s := &r.Resources[i]
			if s.Type != string(desired.TypeBroker) {
				continue
			}
			b := brokerSeen{
				endpoints: slices.Concat(s.Parts.Get("xpub"), s.Parts.Get("xsub")), members: s.Members,
				speaks: fresh && s.State == observed.Running && s.Healthy && s.PID != 0 && s.Members != nil,
			}
			key := inst + "/" + s.Name
			since, again := c.spoke[key]
			if b.speaks && (!again || since.pid != s.PID) {
				since = speaking{pid: s.PID, since: now}
			}
			if since.pid != 0 {
				spoke[key] = since
			}
			if b.speaks {
				b.grown = since.since.Add(graceOf(s) + joinedBeyond)
			}
			out = append(out, b)
		}
	}
	c.spoke = spoke
	return out
}

// graceOf is how long a broker takes a node for a member whose connection was lost.
func graceOf(s *observed.Resource) time.Duration {
	if v := s.Parts.Get("grace"); len(v) == 1 {
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
