package native

import (
	"errors"
	"flag"
	"fmt"
)

// options of a process, named as zmqpeer's.
type options struct {
	connect, topic, shared            string
	count, first, ready, size, spread int
	window                            int
}

func readOptions(mode string, args []string) (options, error) {
	var o options
	f := flag.NewFlagSet(mode, flag.ContinueOnError)
	f.StringVar(&o.connect, "connect", "", "HOST:PORT of the broker")
	f.StringVar(&o.topic, "topic", "zeek.cluster.worker", "topic, or the first part of all")
	f.IntVar(&o.count, "count", 1, "connections")
	f.IntVar(&o.first, "first", 0, "number of the first one")
	f.IntVar(&o.ready, "ready", 0, "subscribers that publishers wait for")
	f.IntVar(&o.size, "size", 100, "bytes of payload")
	f.IntVar(&o.spread, "spread", 0, "topics to send to in turn")
	f.IntVar(&o.window, "window", 0, "messages on their way to the slowest subscriber, 0: no limit")
	f.StringVar(&o.shared, "shared", "", "file of what subscribers have got")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.connect == "" || o.count < 1 || o.first+o.count > maxConnections || o.ready > maxConnections {
		return o, fmt.Errorf("a generator wants --connect and a --count of at most %d", maxConnections)
	}
	if o.window > 0 && (o.shared == "" || o.ready < 1) {
		return o, errors.New("--window wants --shared and --ready")
	}
	return o, nil
}

// topics that a publisher sends to; subscriber i takes number i modulo their count.
func (o options) topics() []string {
	if o.spread == 0 {
		return []string{o.topic}
	}
	all := make([]string, o.spread)
	for i := range all {
		all[i] = fmt.Sprintf("%s.%d.", o.topic, i)
	}
	return all
}
