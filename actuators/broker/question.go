package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
)

// maxQuestions bounds how many are outstanding, pings included.
const maxQuestions = 16 << 10

// errTooManyQuestions is that maxQuestions are.
var errTooManyQuestions = errors.New("too many questions are outstanding")

// questioned is who waits for a reply.
type questioned struct {
	node string
	to   chan<- zeekbus.Reply // has room for it
}

// Question asks a node what zeekrec's own script answers there, and ends with ctx. q's Number is of no matter: any number of
// questions to a node may be under way. A reply that is not OK is no error. format is that of the cluster's events; empty:
// that of the events that pass, and Zeek's default before there were any.
func (b *Broker) Question(ctx context.Context, q zeekbus.Question, format string) (zeekbus.Reply, error) {
	to := make(chan zeekbus.Reply, 1)
	numbers, err := b.asker.expect([]string{q.Node}, to)
	if err != nil {
		return zeekbus.Reply{}, fmt.Errorf("cannot ask %s: %w", q.Node, err)
	}
	defer b.asker.forget(numbers)
	q.Number = numbers[0]
	if err := b.put(q, b.format(format)); err != nil {
		return zeekbus.Reply{}, fmt.Errorf("cannot ask %s: %w", q.Node, err)
	}
	select {
	case r := <-to:
		return r, nil
	case <-ctx.Done():
		return zeekbus.Reply{}, fmt.Errorf("%s did not answer: %w", q.Node, context.Cause(ctx))
	case <-b.done:
		return zeekbus.Reply{}, fmt.Errorf("cannot ask %s: the broker has ended", q.Node)
	}
}

// Pinged is what came of a ping. Nodes that are in neither did not answer.
type Pinged struct {
	// Answered has how long each took.
	Answered map[string]time.Duration
	// Absent are nodes that could not be asked, since they are not there: sorted.
	Absent []string
}

// Ping asks nodes for nothing but an answer, all at once. It ends when all have answered, or with ctx, which is no error. The
// nodes have to have zeekrec's own script, or each reports an error.
func (b *Broker) Ping(ctx context.Context, nodes []string, format string) (Pinged, error) {
	nodes = slices.Compact(slices.Sorted(slices.Values(nodes)))
	to := make(chan zeekbus.Reply, len(nodes))
	numbers, err := b.asker.expect(nodes, to)
	if err != nil {
		return Pinged{}, fmt.Errorf("cannot ping: %w", err)
	}
	defer b.asker.forget(numbers)
	p := Pinged{Answered: make(map[string]time.Duration, len(nodes))}
	began, f, left := b.now(), b.format(format), 0
	for i, n := range nodes {
		err := b.put(zeekbus.Question{Node: n, Number: numbers[i], Kind: zeekbus.QuestionPing}, f)
		switch {
		case err == nil:
			left++
		case errors.Is(err, errNobody):
			p.Absent = append(p.Absent, n)
		case errors.Is(err, errFull): // it takes nothing, and so does not answer
		default:
			return Pinged{}, err
		}
	}
	for ; left > 0; left-- {
		select {
		case r := <-to:
			p.Answered[r.Node] = b.now().Sub(began)
		case <-ctx.Done():
			return p, nil
		case <-b.done:
			return Pinged{}, errors.New("cannot ping: the broker has ended")
		}
	}
	return p, nil
}

// put publishes a question.
func (b *Broker) put(q zeekbus.Question, f zeekbus.Format) error {
	m, err := zeekbus.NewMessage(q.Topic(), senderID, f, q.Event())
	if err != nil {
		return err
	}
	return b.local.publish(m.AppendFrames(nil)...)
}

// expect numbers a question to each node.
func (a *asker) expect(nodes []string, to chan<- zeekbus.Reply) ([]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.questions)+len(nodes) > maxQuestions {
		return nil, errTooManyQuestions
	}
	if a.questions == nil {
		a.questions = map[string]questioned{}
	}
	numbers := make([]string, len(nodes))
	for i, n := range nodes {
		a.last++
		numbers[i] = a.run + strconv.FormatUint(a.last, 10)
		a.questions[numbers[i]] = questioned{n, to}
	}
	return numbers, nil
}

func (a *asker) forget(numbers []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range numbers {
		delete(a.questions, n)
	}
}

// replied hands a reply to who waits for it. a.mu is held.
func (a *asker) replied(r zeekbus.Reply) {
	q, ok := a.questions[r.Number]
	if !ok || q.node != r.Node {
		return
	}
	delete(a.questions, r.Number) // once
	q.to <- r
}
