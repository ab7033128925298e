package main

import (
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
	"github.com/zeekrec/zeekrec/testdata/zeek/bus"
	"github.com/zeekrec/zeekrec/testdata/zeek/logs"
	"github.com/zeekrec/zeekrec/testdata/zeek/script"
)

// outbox is the log lines of a node that does not log itself, on their way to the loggers.
type outbox struct {
	bus      *bus.Bus
	id       string
	interval time.Duration // Log::flush_interval
	most     int           // Log::write_buffer_size
	streams  []*bundle     // in the order in which they were first written to
	since    time.Time     // of the oldest line; zero: there is none
}

type bundle struct {
	stream logs.Stream
	lines  [][]string
}

func newOutbox(b *bus.Bus, id string, p *script.Program) *outbox {
	return &outbox{bus: b, id: id, interval: p.Interval("Log::flush_interval", time.Second), most: p.Count("Log::write_buffer_size", 1000)}
}

// add keeps a line, and pushes those of its stream when there are enough. False: they were dropped.
func (o *outbox) add(now time.Time, to logs.Stream, values []string) (bool, error) {
	if o.since.IsZero() {
		o.since = now
	}
	var b *bundle
	for _, s := range o.streams {
		if s.stream.Path == to.Path {
			b = s
		}
	}
	if b == nil {
		b = &bundle{stream: to}
		o.streams = append(o.streams, b)
	}
	b.lines = append(b.lines, values)
	if len(b.lines) < o.most {
		return true, nil
	}
	return o.push(b)
}

// due is when flush has something to do; zero: never.
func (o *outbox) due() time.Time {
	if o == nil || o.since.IsZero() {
		return time.Time{}
	}
	return o.since.Add(o.interval)
}

// flush pushes everything. False: some of it was dropped.
func (o *outbox) flush() (pushed bool, err error) {
	pushed = true
	for _, b := range o.streams {
		ok, err := o.push(b)
		if err != nil {
			return false, err
		}
		pushed = pushed && ok
	}
	o.since = time.Time{}
	return pushed, nil
}

func (o *outbox) push(b *bundle) (bool, error) {
	if len(b.lines) == 0 {
		return true, nil
	}
	w, err := b.stream.ToLogWrite(b.lines)
	if err != nil {
		return false, err
	}
	b.lines = nil
	m, err := zeekbus.NewLogWrite(o.id, w)
	if err != nil {
		return false, err
	}
	return o.bus.Push(m), nil
}
