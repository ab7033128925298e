package zeekbus

import (
	"fmt"
	"strings"
)

// PrefixAnswer is where the answers to questions go; the broker subscribes to it.
const PrefixAnswer = "zeekrec/answer/"

// The two events of zeekrec's own script on the nodes, zeekrec-answer.zeek.
const (
	EventAsk    = "Zeekrec::ask"
	EventAnswer = "Zeekrec::answer"
)

// QuestionKind is what is asked.
type QuestionKind string

// The questions. Nodes refuse others.
const (
	// QuestionPing asks for nothing but an answer: that one comes says that the node's main loop goes round.
	QuestionPing QuestionKind = "ping"
	// QuestionValue asks for the value of a global identifier as JSON.
	QuestionValue QuestionKind = "value"
	// QuestionNetStats asks for the counters of packets as JSON.
	QuestionNetStats QuestionKind = "netstats"
)

// Question is what zeekrec's own script answers, which nodes have that zeekrec starts. Unlike a Request it bears a number,
// so that the same can be asked twice at a time. It is a comparable value.
type Question struct {
	Node string
	// Number is which question it is, for who asks; nodes return it.
	Number string
	Kind   QuestionKind
	// Arg is the identifier of QuestionValue.
	Arg string
}

// String is "value Cluster::node of worker-1".
func (q Question) String() string {
	return strings.TrimSuffix(string(q.Kind)+" "+clip(q.Arg), " ") + " of " + q.Node
}

// Topic is where the question is published: the topic of the node.
func (q Question) Topic() string { return NodeTopic(q.Node) }

// Event is what is published there.
func (q Question) Event() Event {
	return Event{Name: EventAsk, Args: []Value{String(q.Number), String(q.Kind), String(q.Arg)}}
}

// Reply answers a Question.
type Reply struct {
	Number string
	Node   string
	// OK: Text is what was asked for; else why it is not had.
	OK   bool
	Text string
}

// Event is what a node publishes at Topic.
func (r Reply) Event() Event {
	return Event{Name: EventAnswer, Args: []Value{String(r.Number), String(r.Node), Boolean(r.OK), String(r.Text)}}
}

// Topic is where a node publishes it.
func (r Reply) Topic() string { return PrefixAnswer + r.Node }

// ParseReply reads a reply. The node that it names is the one that its topic belongs to.
func ParseReply(topic []byte, e Event) (Reply, error) {
	if e.Name != EventAnswer {
		return Reply{}, fmt.Errorf("cannot read event %q as a reply: it is none", clip(e.Name))
	}
	if len(e.Args) != 4 {
		return Reply{}, fmt.Errorf("cannot read event %q: it has %d arguments, not 4", clip(e.Name), len(e.Args))
	}
	number, ok1 := e.Args[0].(String)
	node, ok2 := e.Args[1].(String)
	ok, ok3 := e.Args[2].(Boolean)
	text, ok4 := e.Args[3].(String)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return Reply{}, fmt.Errorf("cannot read event %q: its arguments are not two strings, a boolean and a string", clip(e.Name))
	}
	r := Reply{string(number), string(node), bool(ok), string(text)}
	if string(topic) != r.Topic() {
		return Reply{}, fmt.Errorf("cannot read event %q of %q: its topic %q is not that of the node", clip(e.Name), clip(r.Node), clip(string(topic)))
	}
	return r, nil
}
