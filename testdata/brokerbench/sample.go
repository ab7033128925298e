package main

import (
	"context"
	"fmt"
	"time"

	"github.com/zeekrec/zeekrec/testdata/brokerbench/figures"
)

// marks are what a generator answers to "mark": counts of all its sockets at one moment.
type marks struct {
	at                       int64 // nanoseconds, CLOCK_MONOTONIC
	messages, lost, disorder uint64
}

func askMarks(ctx context.Context, p *process) (marks, error) {
	var m marks
	text, err := p.ask(ctx, "mark")
	if err != nil {
		return m, err
	}
	if _, err := fmt.Sscan(text, &m.at, &m.messages, &m.lost, &m.disorder); err != nil {
		return m, fmt.Errorf("cannot read the counts %q: %w", text, err)
	}
	return m, nil
}

func askHistogram(ctx context.Context, p *process) (figures.Histogram, error) {
	text, err := p.ask(ctx, "hist")
	if err != nil {
		return nil, err
	}
	return figures.ParseHistogram(text)
}

// sample is the state of everything at one moment.
type sample struct {
	marks
	broker, peers, machine time.Duration // CPU time
}

func (l *load) sample(ctx context.Context) (sample, error) {
	var s sample
	var err error
	if s.marks, err = askMarks(ctx, l.subs); err != nil {
		return s, err
	}
	if s.broker, err = processCPU(l.broker.pid()); err != nil {
		return s, fmt.Errorf("%w%s", err, l.broker.said)
	}
	for _, p := range []*process{l.pubs, l.subs} {
		cpu, err := processCPU(p.pid())
		if err != nil {
			return s, fmt.Errorf("%w%s", err, p.said)
		}
		s.peers += cpu
	}
	s.machine, err = machineCPU()
	return s, err
}

// stretch is what happened between two samples.
type stretch struct {
	// Rate of messages delivered to all subscribers together, per second.
	Rate float64 `json:"rate"`
	// CPU seconds of the broker per million messages delivered.
	CPU float64 `json:"cpu_per_million"`
	// Share of the broker in what broker and generators computed.
	Share float64 `json:"broker_share"`
	// Cores that the broker kept busy.
	Cores float64 `json:"broker_cores"`
	// Foreign cores: kept busy by nobody of the measurement.
	Foreign float64 `json:"foreign_cores"`
	// Lost and Disorder: gaps in, and returns of, publishers' numbers. Not known of native generators.
	Lost     uint64 `json:"lost,omitempty"`
	Disorder uint64 `json:"disordered,omitempty"`
}

func between(a, b sample) stretch {
	seconds := float64(b.at-a.at) / 1e9
	messages := float64(b.messages - a.messages)
	broker, peers := (b.broker - a.broker).Seconds(), (b.peers - a.peers).Seconds()
	return stretch{
		Rate:     figures.Ratio(messages, seconds),
		CPU:      figures.Ratio(broker*1e6, messages),
		Share:    figures.Ratio(broker, broker+peers),
		Cores:    figures.Ratio(broker, seconds),
		Foreign:  max(0, figures.Ratio((b.machine-a.machine).Seconds()-broker-peers, seconds)),
		Lost:     b.lost - a.lost,
		Disorder: b.disorder - a.disorder,
	}
}
