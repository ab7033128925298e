package broker

import (
	"errors"
	"fmt"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

// Policy says what happens to a message for a subscriber whose queue is full.
type Policy string

const (
	// Drop discards the message for that subscriber alone, and counts it. Publishers wait before that as long
	// as nobody else is kept from work by it, and then for at most a fiftieth of their time.
	Drop Policy = "drop"
	// Disconnect closes the subscriber's connection; it comes back and begins with an empty queue.
	Disconnect Policy = "disconnect"
	// Block lets the publisher wait, and with it everybody whom it publishes to. It is what libzmq's
	// proxy does with XPUB_NODROP.
	Block Policy = "block"
)

// Settings are what can be changed while the broker runs. All zero: the defaults.
type Settings struct {
	// SndHWM is how many messages a subscriber's queue holds: 1000. Negative: no limit.
	SndHWM int `json:"sndhwm,omitempty"`
	// QueueBytes is how many bytes it holds: 16 MiB. One message always finds room. Negative: no limit.
	QueueBytes int64 `json:"queue_bytes,omitempty"`
	// Policy when it is full: drop.
	Policy Policy `json:"policy,omitempty"`
	// Grace is how long a node whose connection was lost is taken to be there: 5 s.
	Grace time.Duration `json:"grace,omitempty"`
	// Heartbeat is the pause between PINGs; a peer silent for three of them is dead: 5 s. Negative: none.
	Heartbeat time.Duration `json:"heartbeat,omitempty"`
}

// The defaults of Settings.
const (
	DefaultSndHWM     = 1000
	DefaultQueueBytes = 16 << 20
	DefaultGrace      = 5 * time.Second
	DefaultHeartbeat  = 5 * time.Second
)

// Complete fills in the defaults, and refuses what makes no sense.
func (s Settings) Complete() (Settings, error) {
	if s.SndHWM == 0 {
		s.SndHWM = DefaultSndHWM
	}
	if s.QueueBytes == 0 {
		s.QueueBytes = DefaultQueueBytes
	}
	if s.Policy == "" {
		s.Policy = Drop
	}
	if s.Grace == 0 {
		s.Grace = DefaultGrace
	}
	if s.Heartbeat == 0 {
		s.Heartbeat = DefaultHeartbeat
	}
	switch s.Policy {
	case Drop, Disconnect, Block:
	default:
		return s, fmt.Errorf("cannot use policy %q: it is drop, disconnect or block", s.Policy)
	}
	if s.Grace < 0 {
		return s, errors.New("cannot use a negative grace period")
	}
	return s, nil
}

// Keyring is which keys are good. Several of each are accepted at once, for the time of a rotation.
type Keyring struct {
	Servers []zmtp.KeyPair
	Clients []zmtp.Key
}
