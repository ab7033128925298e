package broker

import (
	"slices"
	"sort"
	"strings"
	"time"
)

// table is who is subscribed to what. A subscription is a prefix of topics, byte by byte. It is not safe for
// several goroutines at once.
type table struct {
	topics map[string]map[*holder]struct{}
	// lengths of the topics that there are, and how many have each: a topic is matched by asking for each of its
	// prefixes of such a length.
	lengths map[int]int
	sorted  []int
}

// holder has subscriptions: a connection, or what is left of one during the grace period.
type holder struct {
	topics map[string]struct{}
	bytes  int         // of all its topics
	sub    *subscriber // nil for one that is not connected
	node   nodeIdentity
	joined time.Time // when its connection was made; zero for one that is remembered from the broker before
}

func newTable() *table {
	return &table{topics: map[string]map[*holder]struct{}{}, lengths: map[int]int{}}
}

func newHolder(sub *subscriber) *holder {
	h := &holder{topics: map[string]struct{}{}, sub: sub}
	if sub != nil {
		h.joined = sub.since
	}
	return h
}

// mayAdd reports whether h may have one more topic.
func (h *holder) mayAdd(topic string) bool {
	return len(h.topics) < maxSubscriptions && h.bytes+len(topic) <= maxTopicBytes
}

// add subscribes h. False: it was already.
func (t *table) add(h *holder, topic string) bool {
	if _, ok := h.topics[topic]; ok {
		return false
	}
	h.topics[topic] = struct{}{}
	h.bytes += len(topic)
	hs := t.topics[topic]
	if hs == nil {
		hs = map[*holder]struct{}{}
		t.topics[topic] = hs
		if t.lengths[len(topic)]++; t.lengths[len(topic)] == 1 {
			t.sorted = append(t.sorted, len(topic))
			slices.Sort(t.sorted)
		}
	}
	hs[h] = struct{}{}
	return true
}

// remove ends a subscription. last says that nobody has it now; ok that h had it.
func (t *table) remove(h *holder, topic string) (last, ok bool) {
	if _, ok := h.topics[topic]; !ok {
		return false, false
	}
	delete(h.topics, topic)
	h.bytes -= len(topic)
	hs := t.topics[topic]
	delete(hs, h)
	if len(hs) > 0 {
		return false, true
	}
	delete(t.topics, topic)
	if t.lengths[len(topic)]--; t.lengths[len(topic)] == 0 {
		delete(t.lengths, len(topic))
		i, _ := slices.BinarySearch(t.sorted, len(topic))
		t.sorted = slices.Delete(t.sorted, i, i+1)
	}
	return true, true
}

// match returns the connected subscribers whose subscriptions a topic begins with, each once.
func (t *table) match(topic []byte) []*subscriber {
	var out []*subscriber
	for _, n := range t.sorted {
		if n > len(topic) {
			break
		}
		for h := range t.topics[string(topic[:n])] {
			if h.sub != nil && !slices.Contains(out, h.sub) {
				out = append(out, h.sub)
			}
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].slot < out[j].slot })
	return out
}

// internalPrefix of topics by which a node learns that all its other subscriptions have arrived: they go last.
const internalPrefix = "zeek.zeromq.internal."

// all topics, in the order in which a publisher that attaches is to hear of them.
func (t *table) all() []string {
	out := make([]string, 0, len(t.topics))
	for topic := range t.topics {
		out = append(out, topic)
	}
	slices.SortFunc(out, func(a, b string) int {
		ai, bi := strings.HasPrefix(a, internalPrefix), strings.HasPrefix(b, internalPrefix)
		if ai != bi {
			if ai {
				return 1
			}
			return -1
		}
		return strings.Compare(a, b)
	})
	return out
}
