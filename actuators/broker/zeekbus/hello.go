package zeekbus

import "fmt"

// The two events by which nodes come to know each other. When A sees the subscription to the id topic of B,
// it sends the first; having seen that of B too, it sends the second, which makes B raise node_up for A.
const (
	EventZeroMQHello  = "Cluster::Backend::ZeroMQ::hello"
	EventClusterHello = "Cluster::hello"
)

// Hello is the content of both.
type Hello struct {
	Name string // of the node that says hello
	ID   string // its id
}

// ZeroMQEvent is the first hello.
func (h Hello) ZeroMQEvent() Event { return h.event(EventZeroMQHello) }

// ClusterEvent is the second hello.
func (h Hello) ClusterEvent() Event { return h.event(EventClusterHello) }

func (h Hello) event(name string) Event {
	return Event{Name: name, Args: []Value{String(h.Name), String(h.ID)}}
}

// ParseHello reads either; e.Name says which it is. It errs for all other events.
func ParseHello(e Event) (Hello, error) {
	if e.Name != EventZeroMQHello && e.Name != EventClusterHello {
		return Hello{}, fmt.Errorf("cannot read event %q as a hello: it is none", clip(e.Name))
	}
	args, err := texts(e, 2)
	if err != nil {
		return Hello{}, err
	}
	return Hello{Name: args[0], ID: args[1]}, nil
}

// texts are the arguments of an event that has n strings.
func texts(e Event, n int) ([]string, error) {
	if len(e.Args) != n {
		return nil, fmt.Errorf("cannot read event %q: it has %d arguments, not %d", clip(e.Name), len(e.Args), n)
	}
	args := make([]string, n)
	for i, a := range e.Args {
		s, ok := a.(String)
		if !ok {
			return nil, fmt.Errorf("cannot read event %q: argument %d is no string", clip(e.Name), i+1)
		}
		args[i] = string(s)
	}
	return args, nil
}
