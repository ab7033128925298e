package broker

import (
	"context"
	"fmt"
	"sync"

	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
)

// senderID is how the broker signs what it publishes itself. No node has such an id.
const senderID = "zeekrec-broker"

// asker keeps the questions that are on their way.
type asker struct {
	run string // of the broker, so that no number comes again

	mu        sync.Mutex
	asks      zeekbus.Asks[chan string]
	questions map[string]questioned // by number
	last      uint64
}

// format of events: the one that is stated, or seen, or Zeek's default.
func (b *Broker) format(stated string) zeekbus.Format {
	if stated != "" {
		return zeekbus.Format(stated)
	}
	if f := b.seenFormat.Load(); f != nil {
		return *f
	}
	return zeekbus.FormatBin
}

// sawFormat learns from a message that a node has published. All nodes of a cluster have to have the same.
func (b *Broker) sawFormat(frame []byte) {
	for _, f := range []zeekbus.Format{zeekbus.FormatBin, zeekbus.FormatJSON} {
		if string(frame) == string(f) {
			b.seenFormat.Store(&f)
		}
	}
}

// Ask asks a node for the value of a global identifier ("Cluster::node"), as Zeek prints it, or with an empty id
// for its packet counters. format is that of the cluster's events; empty: as for Question. It takes
// frameworks/control/controllee on the node, and ends with ctx.
func (b *Broker) Ask(ctx context.Context, node, id, format string) (string, error) {
	r := zeekbus.Request{Node: node, Kind: zeekbus.AskIDValue, ID: id}
	if id == "" {
		r.Kind = zeekbus.AskNetStats
	}
	answer := make(chan string, 1)
	b.asker.mu.Lock()
	err := b.asker.asks.Add(r, answer)
	b.asker.mu.Unlock()
	if err != nil {
		return "", err
	}
	defer func() {
		b.asker.mu.Lock()
		defer b.asker.mu.Unlock()
		// By its own channel only: the same may have been asked again since.
		if c, ok := b.asker.asks.Drop(r); ok && c != answer {
			_ = b.asker.asks.Add(r, c)
		}
	}()
	m, err := zeekbus.NewMessage(r.Topic(), senderID, b.format(format), r.Event())
	if err != nil {
		return "", err
	}
	if err := b.local.publish(m.AppendFrames(nil)...); err != nil {
		return "", fmt.Errorf("cannot ask %s: %w", node, err)
	}
	select {
	case s := <-answer:
		return s, nil
	case <-ctx.Done():
		return "", fmt.Errorf("%s did not answer; does it load frameworks/control/controllee? %w", node, context.Cause(ctx))
	case <-b.done:
		return "", fmt.Errorf("cannot ask %s: the broker has ended", node)
	}
}

// heard looks whether a message is an answer that somebody waits for.
func (a *asker) heard(frames [][]byte) {
	m, err := zeekbus.SplitMessage(frames)
	if err != nil {
		return
	}
	a.mu.Lock()
	idle := a.asks.Len() == 0 && len(a.questions) == 0
	a.mu.Unlock()
	if idle {
		return
	}
	e, err := m.Event()
	if err != nil {
		return
	}
	r, none := zeekbus.ParseReply(m.Topic, e)
	a.mu.Lock()
	defer a.mu.Unlock()
	if none == nil {
		a.replied(r)
		return
	}
	if answer, text, ok := a.asks.Take(m.Topic, e); ok {
		answer <- text // it has room for one, and takes one
	}
}
