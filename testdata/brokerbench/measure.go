package main

import (
	"context"
	"fmt"
	"time"

	"github.com/zeekrec/zeekrec/testdata/brokerbench/figures"
)

// full is one round at full speed.
type full struct {
	stretch
	// Peak of the broker's resident memory, in bytes.
	Peak int64 `json:"peak_bytes"`
}

// latency is one round at a fixed rate.
type latency struct {
	stretch
	P50     time.Duration `json:"p50_ns"`
	P99     time.Duration `json:"p99_ns"`  // 0: too few messages to tell
	P999    time.Duration `json:"p999_ns"` // likewise
	Samples uint64        `json:"samples"`
	// Sustained: what was sent has arrived, all of it and in time.
	Sustained bool `json:"sustained"`

	histogram figures.Histogram
}

// side is what one broker did in one case, round by round.
type side struct {
	Full    []full    `json:"full"`
	Latency []latency `json:"latency,omitempty"`
}

// result of a case for both brokers.
type result struct {
	Case testCase `json:"case"`
	Name string   `json:"name"`
	// PacedRate at which latencies were measured: messages published per second.
	PacedRate int  `json:"paced_rate,omitempty"`
	Libzmq    side `json:"libzmq"`
	Zeekrec   side `json:"zeekrec"`
	// Repeated rounds: the machine was busy with something else.
	Repeated int `json:"repeated,omitempty"`
}

// blocking is the policy that promises what libzmq's NODROP does: nothing is lost.
func blocking(who contender, ours contender) []string {
	if who.name == ours.name {
		return []string{"--policy", "block"}
	}
	return nil
}

// run measures a case: rounds at full speed, the brokers in turn, and then, with libzmq's clients, rounds at a fixed
// rate.
func (b *bench) run(ctx context.Context, c testCase, times *schedule) (result, error) {
	r := result{Case: c, Name: c.String()}
	at := func(who contender) (full, error) { return b.full(ctx, who, c, blocking(who, b.zeekrec)) }
	fulls, repeated, err := collect(b, times.until(float64(c.times())), at, func(f full) stretch { return f.stretch }, anything[full])
	if err != nil {
		return r, err
	}
	r.Repeated = repeated
	for _, pair := range fulls {
		r.Libzmq.Full = append(r.Libzmq.Full, pair[0])
		r.Zeekrec.Full = append(r.Zeekrec.Full, pair[1])
	}
	if c.Clients == nativeClients {
		return r, nil
	}
	until := times.until(float64(c.times()))
	slower := min(r.Libzmq.rate(), r.Zeekrec.rate()) / float64(c.fanOut())
	// Half of what the slower one can do. Where that is not sustained (clients that wait for each message cost more
	// than clients that are never idle), half of it again.
	for rate := int(slower / 2); rate > 0; rate /= 2 {
		at := func(who contender) (latency, error) { return b.paced(ctx, who, c, rate) }
		pairs, repeated, err := collect(b, until, at, func(l latency) stretch { return l.stretch }, sustained)
		if err != nil {
			return r, err
		}
		r.Repeated += repeated
		for _, pair := range pairs {
			r.Libzmq.Latency = append(r.Libzmq.Latency, pair[0])
			r.Zeekrec.Latency = append(r.Zeekrec.Latency, pair[1])
		}
		if len(pairs) > 0 {
			r.PacedRate = rate
			break
		}
	}
	return r, nil
}

func anything[T any]([2]T) bool { return true }

func sustained(pair [2]latency) bool { return pair[0].Sustained && pair[1].Sustained }

// full measures one broker at full speed.
func (b *bench) full(ctx context.Context, who contender, c testCase, policy []string) (f full, err error) {
	l, err := b.start(ctx, who, c, policy, false)
	if err != nil {
		return f, err
	}
	defer func() {
		if e := l.stop(); err == nil {
			err = e
		}
	}()
	if err := l.pubs.tell("rate 0"); err != nil {
		return f, err
	}
	if f.stretch, err = b.measure(ctx, l); err != nil {
		return f, err
	}
	f.Peak, err = peakMemory(l.broker.pid())
	return f, err
}

// measure waits for the time of warming up, and then for that of a window.
func (b *bench) measure(ctx context.Context, l *load) (stretch, error) {
	if err := pause(ctx, b.warm*l.c.times()); err != nil {
		return stretch{}, err
	}
	from, err := l.sample(ctx)
	if err != nil {
		return stretch{}, err
	}
	if err := pause(ctx, b.window*l.c.times()); err != nil {
		return stretch{}, err
	}
	to, err := l.sample(ctx)
	if err != nil {
		return stretch{}, err
	}
	return between(from, to), nil
}

// paced measures latencies of one broker at a rate of messages published per second.
func (b *bench) paced(ctx context.Context, who contender, c testCase, rate int) (r latency, err error) {
	l, err := b.start(ctx, who, c, blocking(who, b.zeekrec), true)
	if err != nil {
		return r, err
	}
	defer func() {
		if e := l.stop(); err == nil {
			err = e
		}
	}()
	if err := l.pubs.tell(fmt.Sprint("rate ", rate)); err != nil {
		return r, err
	}
	if err := pause(ctx, b.warm); err != nil {
		return r, err
	}
	before, err := askHistogram(ctx, l.subs)
	if err != nil {
		return r, err
	}
	from, err := l.sample(ctx)
	if err != nil {
		return r, err
	}
	if err := pause(ctx, b.window*c.times()); err != nil {
		return r, err
	}
	to, err := l.sample(ctx)
	if err != nil {
		return r, err
	}
	after, err := askHistogram(ctx, l.subs)
	if err != nil {
		return r, err
	}
	r.stretch = between(from, to)
	r.histogram = after.Since(before)
	r.P50, r.P99, r.P999 = r.quantile(0.5), r.quantile(0.99), r.quantile(0.999)
	r.Samples = r.histogram.Count()
	complete, err := l.drained(ctx)
	r.Sustained = complete && r.Rate > 0.95*float64(rate*c.fanOut())
	return r, err
}

// drained stops the publishers and waits a moment for everything that they have sent.
func (l *load) drained(ctx context.Context) (bool, error) {
	if err := l.pubs.tell("rate -1"); err != nil {
		return false, err
	}
	last := marks{}
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		if err := pause(ctx, 60*time.Millisecond); err != nil {
			return false, err
		}
		sent, err := askMarks(ctx, l.pubs)
		if err != nil {
			return false, err
		}
		got, err := askMarks(ctx, l.subs)
		if err != nil {
			return false, err
		}
		if got.messages == sent.messages*uint64(l.c.fanOut()) && sent.messages == last.messages {
			return true, nil
		}
		last = sent
	}
	return false, nil
}

// values of all rounds at full speed.
func (s side) values(of func(full) float64) []float64 {
	var v []float64
	for _, f := range s.Full {
		v = append(v, of(f))
	}
	return v
}

func (s side) rate() float64 {
	return figures.Median(s.values(func(f full) float64 { return f.Rate }))
}

func (s side) cpu() float64 {
	return figures.Median(s.values(func(f full) float64 { return f.CPU }))
}

func (s side) share() float64 {
	return figures.Median(s.values(func(f full) float64 { return f.Share }))
}

// peak memory is the largest of all rounds: it is a bound.
func (s side) peak() float64 {
	v := 0.0
	for _, f := range s.Full {
		v = max(v, float64(f.Peak))
	}
	return v
}

// pacedCPU is the CPU time per million messages in each round at the paced rate.
func (s side) pacedCPU() []float64 {
	var v []float64
	for _, l := range s.Latency {
		v = append(v, l.CPU)
	}
	return v
}

// quantile of one round; 0: less than ten messages were slower.
func (l latency) quantile(q float64) time.Duration { return l.histogram.Quantile(q, 10) }

// quantiles of each round, or the one of all rounds together where a round has too few messages; none when they are
// too few even so.
func (s side) quantiles(q float64) []float64 {
	var each []float64
	all := figures.Histogram{}
	for _, l := range s.Latency {
		all.Add(l.histogram)
		if d := l.quantile(q); d > 0 {
			each = append(each, float64(d))
		}
	}
	if len(each) == len(s.Latency) {
		return each
	}
	if d := all.Quantile(q, 3); d > 0 {
		return []float64{float64(d)}
	}
	return nil
}

func (s side) latency(q float64) float64 { return figures.Median(s.quantiles(q)) }

// Ratios of zeekrec's to libzmq's: of each round, whose two halves followed one another, and of these the median. What
// disturbs the machine for longer than a round disturbs both.

func (r result) rateRatio() float64 {
	return pairRatio(r.Zeekrec.values(func(f full) float64 { return f.Rate }), r.Libzmq.values(func(f full) float64 { return f.Rate }))
}

func (r result) cpuRatio() float64 {
	return pairRatio(r.Zeekrec.values(func(f full) float64 { return f.CPU }), r.Libzmq.values(func(f full) float64 { return f.CPU }))
}

func (r result) latencyRatio(q float64) float64 {
	return pairRatio(r.Zeekrec.quantiles(q), r.Libzmq.quantiles(q))
}

func (r result) peakRatio() float64 { return figures.Ratio(r.Zeekrec.peak(), r.Libzmq.peak()) }

// pairRatio is the median of the ratios of each two; of the medians where there are not as many of both.
func pairRatio(a, b []float64) float64 {
	if len(a) != len(b) {
		return figures.Ratio(figures.Median(a), figures.Median(b))
	}
	var each []float64
	for i := range a {
		each = append(each, figures.Ratio(a[i], b[i]))
	}
	return figures.Median(each)
}
