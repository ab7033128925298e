package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/zeekrec/zeekrec/testdata/brokerbench/figures"
)

// The reconnect storm: subscribers who all close their connections and connect again, while 2 publishers and 3
// subscribers are at work. They hear a publisher of their own, who sends a message every 5 ms.
const (
	stormSubscribers = 200
	stormBeat        = 200 // messages per second to each of them
	stormTopic       = "bench.storm.beat"
)

// stormRun is one storm.
type stormRun struct {
	Broker string `json:"broker"`
	Curve  bool   `json:"curve"`
	// Median and Last: until a message has arrived at half of them, and at all, from when they began to close.
	Median time.Duration `json:"median_ns"`
	Last   time.Duration `json:"last_ns"`
	// CPU time of the broker for all of it.
	CPU time.Duration `json:"cpu_ns"`
	// Before and During: rates of the three who stayed, and their p99 latencies.
	Before    float64       `json:"before"`
	During    float64       `json:"during"`
	P99Before time.Duration `json:"p99_before_ns"`
	P99During time.Duration `json:"p99_during_ns"`
	Lost      uint64        `json:"lost"`
}

// storm runs one, at a rate of messages published per second.
func (b *bench) storm(ctx context.Context, who contender, curve bool, rate int) (r stormRun, err error) {
	r = stormRun{Broker: who.name, Curve: curve}
	l, err := b.start(ctx, who, testCase{Clients: libzmqClients, Curve: curve, Pubs: 2, Subs: 3, Size: 500}, nil, true)
	if err != nil {
		return r, err
	}
	var many, beat *process
	defer func() {
		for _, stop := range []func() error{
			func() error { return beat.stop(os.Kill) },
			func() error { return many.stop(os.Kill) },
			l.stop,
		} {
			if e := stop(); err == nil {
				err = e
			}
		}
	}()
	beat, err = startProcess(ctx, "the storm's publisher", b.env(curve), b.peer, "pub", "--connect", l.broker.xsub, "--topic", stormTopic)
	if err != nil {
		return r, err
	}
	if _, err := beat.expect(ctx, "ready"); err != nil {
		return r, err
	}
	if err := beat.tell(fmt.Sprint("rate ", stormBeat)); err != nil {
		return r, err
	}
	many, err = startProcess(ctx, "the storm's subscribers", b.env(curve), b.peer, "storm", "--connect", l.broker.xpub,
		"--count", fmt.Sprint(stormSubscribers), "--topic", stormTopic)
	if err != nil {
		return r, err
	}
	if _, err := many.expect(ctx, "ready"); err != nil {
		return r, err
	}
	if err := l.pubs.tell(fmt.Sprint("rate ", rate)); err != nil {
		return r, err
	}
	if err := pause(ctx, b.warm); err != nil {
		return r, err
	}
	steady, err := l.watch(ctx, func() error { return pause(ctx, b.window) })
	if err != nil {
		return r, err
	}
	during, err := l.watch(ctx, func() error {
		if err := many.tell("drop"); err != nil {
			return err
		}
		text, err := many.expect(ctx, "back")
		if err != nil {
			return err
		}
		_, err = fmt.Sscan(text, (*int64)(&r.Median), (*int64)(&r.Last))
		return err
	})
	if err != nil {
		return r, err
	}
	r.Before, r.During, r.CPU = steady.rate, during.rate, during.cpu
	r.P99Before, r.P99During = steady.latencies.Quantile(0.99, 10), during.latencies.Quantile(0.99, 10)
	r.Lost = steady.lost + during.lost
	return r, nil
}

// watched is what the steady subscribers saw while something else went on.
type watched struct {
	rate      float64
	lost      uint64
	cpu       time.Duration // of the broker
	latencies figures.Histogram
}

func (l *load) watch(ctx context.Context, while func() error) (w watched, err error) {
	early, err := askHistogram(ctx, l.subs)
	if err != nil {
		return w, err
	}
	from, err := l.sample(ctx)
	if err != nil {
		return w, err
	}
	if err := while(); err != nil {
		return w, err
	}
	to, err := l.sample(ctx)
	if err != nil {
		return w, err
	}
	late, err := askHistogram(ctx, l.subs)
	if err != nil {
		return w, err
	}
	s := between(from, to)
	return watched{rate: s.Rate, lost: s.Lost, cpu: to.broker - from.broker, latencies: late.Since(early)}, nil
}
