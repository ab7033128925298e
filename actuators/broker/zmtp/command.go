package zmtp

import (
	"encoding/binary"
	"errors"
	"time"
)

// Names of commands.
const (
	commandReady     = "READY"
	commandError     = "ERROR"
	commandSubscribe = "SUBSCRIBE"
	commandCancel    = "CANCEL"
	commandPing      = "PING"
	commandPong      = "PONG"
)

const (
	maxContext = 16 // of a PING, in bytes (RFC 37: ping-context)
	ttlUnit    = time.Second / 10
)

// What is wrong with a command.
var (
	ErrCommand = errors.New("cannot read a command: its name is not whole")
	ErrPing    = errors.New("cannot read a PING: it is too short or too long")
)

// ParseCommand takes the body of a command's frame apart. The results are slices of it.
func ParseCommand(body []byte) (name, data []byte, err error) {
	if len(body) == 0 || body[0] == 0 || len(body) < 1+int(body[0]) {
		return nil, nil, ErrCommand
	}
	n := 1 + int(body[0])
	return body[1:n], body[n:], nil
}

// appendCommand appends the body of a command's frame.
func appendCommand(dst []byte, name string, data ...[]byte) []byte {
	dst = append(dst, byte(len(name)))
	dst = append(dst, name...)
	for _, d := range data {
		dst = append(dst, d...)
	}
	return dst
}

// appendCommandFrame appends a command with its header.
func appendCommandFrame(dst []byte, name string, data ...[]byte) []byte {
	size := 1 + len(name)
	for _, d := range data {
		size += len(d)
	}
	return appendCommand(AppendHeader(dst, FlagCommand, size), name, data...)
}

// AppendSubscribe appends the frame of a subscription, as ZMTP 3.1 has it.
func AppendSubscribe(dst, topic []byte) []byte {
	return appendCommandFrame(dst, commandSubscribe, topic)
}

// AppendCancel appends the frame that ends a subscription, as ZMTP 3.1 has it.
func AppendCancel(dst, topic []byte) []byte { return appendCommandFrame(dst, commandCancel, topic) }

// AppendLegacySubscription appends the frame of a subscription or of its end as ZMTP 3.0 has it: a message whose
// first byte is 1 or 0. libzmq sends that to 3.1 peers too, while a connection lasts (facts/zeromq.md §6).
func AppendLegacySubscription(dst []byte, subscribe bool, topic []byte) []byte {
	dst = AppendHeader(dst, 0, 1+len(topic))
	if subscribe {
		dst = append(dst, 1)
	} else {
		dst = append(dst, 0)
	}
	return append(dst, topic...)
}

// AppendPing appends the frame of a PING. Its receiver may take the sender for dead when it hears nothing for
// ttl, which is rounded up to tenths of a second, and is at most 6553.5 s; 0 is no limit. The context comes back with
// the PONG, 16 bytes of it at most.
func AppendPing(dst []byte, ttl time.Duration, context []byte) []byte {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], tenths(ttl))
	return appendCommandFrame(dst, commandPing, b[:], context[:min(len(context), maxContext)])
}

// AppendPong appends the frame of the answer to a PING.
func AppendPong(dst, context []byte) []byte { return appendCommandFrame(dst, commandPong, context) }

// ParsePing reads the data of a PING.
func ParsePing(data []byte) (ttl time.Duration, context []byte, err error) {
	if len(data) < 2 || len(data) > 2+maxContext {
		return 0, nil, ErrPing
	}
	return time.Duration(binary.BigEndian.Uint16(data)) * ttlUnit, data[2:], nil
}

// tenths rounds up: a short limit must not become none.
func tenths(ttl time.Duration) uint16 {
	const most = 1<<16 - 1
	if ttl >= most*ttlUnit {
		return most
	}
	return uint16((max(0, ttl) + ttlUnit - 1) / ttlUnit)
}
