package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/zeekrec/zeekrec/testdata/brokerbench/figures"
)

// The stalled subscriber: 2 publishers, 3 subscribers, of which the last is stopped with SIGSTOP.
const (
	stallBefore = 1500 * time.Millisecond
	stallAfter  = 3 * time.Second
	stallSlot   = 100 * time.Millisecond
	stallEnd    = 1500 * time.Millisecond // the last of stallAfter, when every buffer is full
)

// stallRun is what the other two subscribers got, in messages per second of both together.
type stallRun struct {
	Broker string  `json:"broker"`
	Load   string  `json:"load"`
	Before float64 `json:"before"`
	After  float64 `json:"after"` // on average since it was stopped
	End    float64 `json:"end"`   // in the last 1.5 s of it
	Worst  float64 `json:"worst"` // in the worst half second
	Lost   uint64  `json:"lost"`  // by the other two
}

// kept is the share of their rate that the others keep: since it was stopped, or in the end, whichever is less.
func (r stallRun) kept() float64 { return figures.Ratio(min(r.After, r.End), r.Before) }

// typicalStalls are, of each load and broker, the run in which the others kept the median share of their rate.
func typicalStalls(all []stallRun) []stallRun {
	type kind struct{ load, broker string }
	var order []kind
	runs := map[kind][]stallRun{}
	for _, s := range all {
		k := kind{s.Load, s.Broker}
		if runs[k] == nil {
			order = append(order, k)
		}
		runs[k] = append(runs[k], s)
	}
	var some []stallRun
	for _, k := range order {
		slices.SortFunc(runs[k], func(a, b stallRun) int { return cmp.Compare(a.kept(), b.kept()) })
		some = append(some, runs[k][len(runs[k])/2])
	}
	return some
}

// stall runs one broker with its default policy; rate 0 is full speed.
func (b *bench) stall(ctx context.Context, who contender, rate int) (r stallRun, err error) {
	c := testCase{Clients: libzmqClients, Pubs: 2, Subs: 2, Size: 500}
	r = stallRun{Broker: who.name, Load: "full speed"}
	if rate > 0 {
		r.Load = fmt.Sprintf("%d/s", rate)
	}
	l := &load{c: c}
	var stopped *process
	defer func() {
		if e := stopped.stop(os.Kill); err == nil {
			err = e
		}
		if e := l.stop(); err == nil {
			err = e
		}
	}()
	if l.broker, err = who.start(ctx, nil); err != nil {
		return r, err
	}
	if l.subs, err = b.startPeers(ctx, c, "sub", l.broker.xpub, []string{"--count", "2"}); err != nil {
		return r, err
	}
	if stopped, err = b.startPeers(ctx, c, "sub", l.broker.xpub, []string{"--count", "1", "--first", "2"}); err != nil {
		return r, err
	}
	if l.pubs, err = b.startPeers(ctx, c, "pub", l.broker.xsub, []string{"--count", "2", "--ready", "3"}); err != nil {
		return r, err
	}
	for _, p := range []*process{l.subs, stopped, l.pubs} {
		if _, err := p.expect(ctx, "ready"); err != nil {
			return r, err
		}
	}
	if err := l.pubs.tell(fmt.Sprint("rate ", rate)); err != nil {
		return r, err
	}
	if err := pause(ctx, b.warm); err != nil {
		return r, err
	}
	before, err := slots(ctx, l.subs, stallBefore)
	if err != nil {
		return r, err
	}
	if err := stopped.signal(syscall.SIGSTOP); err != nil {
		return r, err
	}
	after, err := slots(ctx, l.subs, stallAfter)
	if err != nil {
		return r, err
	}
	if err := l.broker.alive(); err != nil {
		return r, err
	}
	r.Before, r.After, r.End = rateOf(before), rateOf(after), rateOf(after[len(after)-int(stallEnd/stallSlot)-1:])
	r.Worst = worst(after, 5)
	r.Lost = after[len(after)-1].lost - before[0].lost
	return r, nil
}

// slots asks for the counts at once and then after each slot of a time.
func slots(ctx context.Context, p *process, d time.Duration) ([]marks, error) {
	tick := time.NewTicker(stallSlot)
	defer tick.Stop()
	var all []marks
	for {
		m, err := askMarks(ctx, p)
		if err != nil {
			return nil, err
		}
		if all = append(all, m); len(all) > int(d/stallSlot) {
			return all, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// rateOf is the rate from the first to the last of some counts.
func rateOf(m []marks) float64 {
	a, b := m[0], m[len(m)-1]
	return figures.Ratio(float64(b.messages-a.messages)*1e9, float64(b.at-a.at))
}

// worst rate of n slots in a row.
func worst(m []marks, n int) float64 {
	w := rateOf(m[:n+1])
	for i := range len(m) - n {
		w = min(w, rateOf(m[i:i+n+1]))
	}
	return w
}
