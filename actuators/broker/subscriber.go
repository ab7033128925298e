package broker

import (
	"errors"

	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

// Bounds of what a subscriber may ask for.
const (
	maxTopic         = 4 << 10
	maxSubscriptions = 100_000
	// maxTopicBytes is how long all topics of one may be together. Each publisher is told of all topics of all: what is here
	// bounds what waits there.
	maxTopicBytes = 4 << 20
	// maxInbound is how large a frame from a subscriber may be. A message that is no subscription is
	// ignored.
	maxInbound = 64 << 10
)

var (
	errInbound       = errors.New("frame too large for a subscriber")
	errSubscriptions = errors.New("too many subscriptions")
)

// subscriber is a connection on the XPUB port: a node's XSUB socket. It sends subscriptions, and is sent
// messages.
type subscriber struct {
	link
	slot int
	// holder of its subscriptions and what they tell of the node; nil once the connection has ended. Guarded by Broker.mu.
	*holder
}

// inbox is how many bytes of a subscriber's are read at once.
const inbox = 2 << 10

// read takes in subscriptions until the connection ends.
func (s *subscriber) read() error {
	buf := make([]byte, 0, inbox)
	message := false // in the middle of one
	for {
		for {
			flags, size, n, err := zmtp.ParseHeader(buf)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			if size > maxInbound {
				return errInbound
			}
			if len(buf) < n+size {
				if cap(buf) < n+size {
					buf = append(make([]byte, 0, n+size), buf...)
				}
				break
			}
			if message, err = s.frame(flags, buf[n:n+size], message); err != nil {
				return err
			}
			buf = buf[:copy(buf, buf[n+size:])]
		}
		n, err := s.conn.Read(buf[len(buf):cap(buf)])
		if n > 0 {
			s.seen.Store(true)
			buf = buf[:len(buf)+n]
		} else if err != nil {
			return err
		}
	}
}

// frame handles one; in says that it goes on with a message.
func (s *subscriber) frame(flags byte, body []byte, in bool) (bool, error) {
	if s.peer.Open != nil { // commands, too: what is not sealed is not believed
		var err error
		if flags, body, err = s.peer.Open.Open(body); err != nil {
			return in, err
		}
	}
	if flags&zmtp.FlagCommand != 0 {
		return in, s.commandFrame(body)
	}
	more := flags&zmtp.FlagMore != 0
	if in || more || len(body) == 0 {
		return more, nil // a message of the user's, which goes nowhere
	}
	switch body[0] {
	case 1:
		return false, s.change(true, body[1:])
	case 0:
		return false, s.change(false, body[1:])
	}
	return false, nil
}

func (s *subscriber) commandFrame(body []byte) error {
	name, data, err := zmtp.ParseCommand(body)
	if err != nil {
		return err
	}
	switch string(name) {
	case "SUBSCRIBE":
		return s.change(true, data)
	case "CANCEL":
		return s.change(false, data)
	}
	return s.answer(body)
}

// change subscribes to a topic, or ends that.
func (s *subscriber) change(on bool, topic []byte) error {
	if len(topic) > maxTopic {
		return errInbound
	}
	if !on {
		s.b.unsubscribe(s, string(topic))
		return nil
	}
	if !s.b.subscribe(s, string(topic)) {
		return errSubscriptions
	}
	return nil
}
