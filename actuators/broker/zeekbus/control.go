package zeekbus

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Request is a question to one node, which frameworks/control/controllee answers there. It is a comparable
// value. The answer bears nothing of the question but the node and, for values, the id.
type Request struct {
	Node string
	Kind RequestKind
	// ID is the global identifier that is asked for, such as Cluster::node; only for AskIDValue.
	ID string
}

// RequestKind is which question.
type RequestKind uint8

// The questions.
const (
	// AskIDValue asks for the value of a global identifier, as Zeek prints it. Of one that there is not, the
	// answer says so in the place of the value.
	AskIDValue RequestKind = iota
	// AskNetStats asks for the counters of packets; see ParseNetStats.
	AskNetStats
	// AskPeerStatus asks for the peers of Zeek's Broker, of which a ZeroMQ cluster has none.
	AskPeerStatus
	numRequestKinds
)

// The names of the events, without module and "_request" or "_response".
var requestNames = [numRequestKinds]string{"id_value", "net_stats", "peer_status"}

const (
	controlModule  = "Control::"
	requestSuffix  = "_request"
	responseSuffix = "_response"
)

// String is "id_value Cluster::node of worker-1".
func (r Request) String() string {
	s := r.name()
	if r.Kind == AskIDValue {
		s += " " + r.ID
	}
	return s + " of " + r.Node
}

// plain is r as its answer tells it: without an id that is not asked for.
func (r Request) plain() Request {
	if r.Kind != AskIDValue {
		r.ID = ""
	}
	return r
}

func (r Request) name() string {
	if r.Kind < numRequestKinds {
		return requestNames[r.Kind]
	}
	return "unknown request"
}

// Topic is where the request is published: the topic of the node.
func (r Request) Topic() string { return NodeTopic(r.Node) }

// Event is what is published there.
func (r Request) Event() Event {
	e := Event{Name: controlModule + r.name() + requestSuffix}
	if r.Kind == AskIDValue {
		e.Args = []Value{String(r.ID)}
	}
	return e
}

// AnswerTopic is where the node publishes the answer. A subscription to PrefixControl covers them all.
func (r Request) AnswerTopic() string {
	return PrefixControl + r.name() + responseSuffix + "/" + r.Node
}

// ParseAnswer reads an answer, and says which request it answers. The node is the one that the topic names.
func ParseAnswer(topic []byte, e Event) (Request, string, error) {
	name, node, ok := ControlAnswer(topic)
	if !ok {
		return Request{}, "", fmt.Errorf("cannot read event %q as an answer: topic %q is not that of one", clip(e.Name), clip(string(topic)))
	}
	if e.Name != controlModule+name {
		return Request{}, "", fmt.Errorf("cannot read event %q as an answer: its topic is that of %q", clip(e.Name), clip(name))
	}
	for kind, n := range requestNames {
		if name != n+responseSuffix {
			continue
		}
		r := Request{Node: node, Kind: RequestKind(kind)}
		if r.Kind == AskIDValue {
			args, err := texts(e, 2)
			if err != nil {
				return Request{}, "", err
			}
			r.ID = args[0]
			return r, args[1], nil
		}
		args, err := texts(e, 1)
		if err != nil {
			return Request{}, "", err
		}
		return r, args[0], nil
	}
	return Request{}, "", fmt.Errorf("cannot read event %q as an answer: it answers no known question", clip(e.Name))
}

// NetStats are a node's counters of packets since it started.
type NetStats struct {
	// Time of the node's network clock, in seconds since 1970: that of the last packet while there is traffic.
	Time     float64
	Received uint64
	Dropped  uint64
	Link     uint64 // packets seen on the link, where the packet source knows
}

// ParseNetStats reads the answer to AskNetStats: "<time> recvd=N dropped=N link=N" and a newline.
func ParseNetStats(answer string) (s NetStats, err error) {
	bad := func() (NetStats, error) {
		return NetStats{}, fmt.Errorf("cannot read the net stats %q: not \"<time> recvd=N dropped=N link=N\"", clip(answer))
	}
	words := strings.Fields(answer)
	if len(words) != 4 {
		return bad()
	}
	if s.Time, err = strconv.ParseFloat(words[0], 64); err != nil {
		return bad()
	}
	for i, c := range []struct {
		key string
		to  *uint64
	}{{"recvd=", &s.Received}, {"dropped=", &s.Dropped}, {"link=", &s.Link}} {
		v, ok := strings.CutPrefix(words[i+1], c.key)
		if *c.to, err = strconv.ParseUint(v, 10, 64); err != nil || !ok {
			return bad()
		}
	}
	return s, nil
}

// The reasons of Asks.Add.
var (
	// ErrAsked is that the same request is outstanding already.
	ErrAsked = errors.New("the same is asked already")
	// ErrTooManyAsks is that MaxAsks are.
	ErrTooManyAsks = errors.New("too many requests are outstanding")
)

// MaxAsks bounds how many requests are outstanding.
const MaxAsks = 1024

// Asks are the requests that wait for an answer, one at a time of those that an answer could not tell apart,
// each with what the caller needs then. It knows no time: who adds one takes it out again with Drop when
// nothing came. An answer that comes after that counts for the next request of the same content. The zero
// value is ready. It is not safe for concurrent use.
type Asks[T any] struct {
	waiting map[Request]T
}

// Add notes that r was asked, before it is published. Errors wrap ErrAsked or ErrTooManyAsks.
func (a *Asks[T]) Add(r Request, then T) error {
	r = r.plain()
	if _, ok := a.waiting[r]; ok {
		return fmt.Errorf("cannot ask %s: %w", r, ErrAsked)
	}
	if len(a.waiting) >= MaxAsks {
		return fmt.Errorf("cannot ask %s: %w", r, ErrTooManyAsks)
	}
	if a.waiting == nil {
		a.waiting = map[Request]T{}
	}
	a.waiting[r] = then
	return nil
}

// Take returns what was added with the request that the event answers, and the answer. ok is false for what
// is no answer, or answers nothing that was asked.
func (a *Asks[T]) Take(topic []byte, e Event) (then T, answer string, ok bool) {
	r, answer, err := ParseAnswer(topic, e)
	if err != nil {
		return then, "", false
	}
	if then, ok = a.Drop(r); !ok {
		return then, "", false
	}
	return then, answer, true
}

// Drop takes r out, and returns what was added with it. ok is false when it is not outstanding.
func (a *Asks[T]) Drop(r Request) (then T, ok bool) {
	r = r.plain()
	then, ok = a.waiting[r]
	delete(a.waiting, r)
	return then, ok
}

// Len is how many are outstanding.
func (a *Asks[T]) Len() int { return len(a.waiting) }
