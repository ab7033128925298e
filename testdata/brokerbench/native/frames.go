package native

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Bits of a frame's first byte.
const (
	flagMore    = 1
	flagLong    = 2
	flagCommand = 4
)

// readyPrefix begins the topic by which publishers count subscribers.
const readyPrefix = "bench.ready."

// appendFrame appends one frame.
func appendFrame(b []byte, flags byte, body []byte) []byte {
	if len(body) > 255 {
		b = append(b, flags|flagLong)
		b = binary.BigEndian.AppendUint64(b, uint64(len(body)))
	} else {
		b = append(b, flags, byte(len(body)))
	}
	return append(b, body...)
}

// message is one of Zeek's: topic, sender's id, format, payload.
func message(topic string, publisher, size int) []byte {
	payload := make([]byte, size)
	for i := range payload {
		payload[i] = byte(i)
	}
	m := appendFrame(nil, flagMore, []byte(topic))
	m = appendFrame(m, flagMore, fmt.Appendf(nil, "zeromq_worker-%02d_bench.example.net_4711_NrJt5f3Xy", publisher))
	m = appendFrame(m, flagMore, []byte("broker-bin-v1"))
	return appendFrame(m, 0, payload)
}

// command is a command frame.
func command(name string, data []byte) []byte {
	body := append([]byte{byte(len(name))}, name...)
	return appendFrame(nil, flagCommand, append(body, data...))
}

// frame is one as it was read.
type frame struct {
	flags byte
	body  []byte // valid until the next one is read
}

// parseFrame returns the frame at the start of b and how many bytes it takes; 0: it is not complete.
func parseFrame(b []byte) (frame, int) {
	if len(b) < 2 {
		return frame{}, 0
	}
	head, size := 2, uint64(b[1])
	if b[0]&flagLong != 0 {
		if len(b) < 9 {
			return frame{}, 0
		}
		head, size = 9, binary.BigEndian.Uint64(b[1:])
	}
	if uint64(len(b)-head) < size {
		return frame{}, 0
	}
	return frame{flags: b[0], body: b[head : head+int(size)]}, head + int(size)
}

// pong is the answer to a PING command's body (with its name), nil for any other.
func pong(body []byte) []byte {
	const head = "\x04PING"
	if len(body) < len(head)+2 || string(body[:len(head)]) != head {
		return nil
	}
	return command("PONG", body[len(head)+2:])
}

// shakeHands greets as libzmq does, and returns when the other side is ready.
func shakeHands(conn net.Conn, socketType string) error {
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	greeting := make([]byte, 64)
	greeting[0], greeting[9], greeting[10], greeting[11] = 0xff, 0x7f, 3, 1
	copy(greeting[12:], "NULL")
	data := append([]byte{byte(len("Socket-Type"))}, "Socket-Type"...)
	data = binary.BigEndian.AppendUint32(data, uint32(len(socketType)))
	data = append(data, socketType...)
	data = append(data, byte(len("Identity")))
	data = append(data, "Identity\x00\x00\x00\x00"...)
	if _, err := conn.Write(append(greeting, command("READY", data)...)); err != nil {
		return err
	}
	answer := make([]byte, 64+2)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	if answer[0] != 0xff || answer[10] != 3 || answer[64] != flagCommand {
		return errors.New("the broker does not speak ZMTP 3 NULL")
	}
	ready := make([]byte, answer[65])
	if _, err := io.ReadFull(conn, ready); err != nil {
		return err
	}
	if string(ready[:min(6, len(ready))]) != "\x05READY" {
		return fmt.Errorf("the broker says %q instead of READY", ready)
	}
	return conn.SetDeadline(time.Time{})
}
