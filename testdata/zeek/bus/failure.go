package bus

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"

	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

// Numbers of zmq.h: what the monitor of a socket tells of a handshake that failed.
const (
	failedNoDetail = 0x0800 // the connection broke; the value is an errno
	failedProtocol = 0x2000
	failedAuth     = 0x4000 // the value is the status that the server gave: 300, 400, 500

	unexpectedCommand = 0x10000001
	cryptographic     = 0x11000001
	mechanismMismatch = 0x11000002
)

// Failure is a handshake that failed, in the words of a ZeroMQ socket's monitor.
type Failure struct {
	Endpoint     string
	Event, Value int
}

// Fatal says that Zeek takes it for a mistake in its configuration, and ends.
func (f Failure) Fatal() bool { return f.Event != failedNoDetail }

// String is what Zeek says of it.
func (f Failure) String() string {
	return fmt.Sprintf("ZeroMQ: Handshake for socket %s failed: event=0x%x value=%d", f.Endpoint, f.Event, f.Value)
}

// handshakeFailure is what Zeek hears of an error of a handshake; false: nothing.
func handshakeFailure(endpoint string, err error) (Failure, bool) {
	f := Failure{Endpoint: endpoint}
	if r, ok := errors.AsType[*zmtp.RefusedError](err); ok {
		switch r.Reason {
		case "mechanism":
			f.Event, f.Value = failedProtocol, mechanismMismatch
		case "key":
			f.Event, f.Value = failedProtocol, cryptographic
		case "protocol", "too-large":
			f.Event, f.Value = failedProtocol, unexpectedCommand
		case "error":
			// The peer's last three characters are a status.
			f.Event = failedAuth
			f.Value, _ = strconv.Atoi(r.Text[max(0, len(r.Text)-3):])
			if f.Value == 0 {
				f.Event, f.Value = failedProtocol, unexpectedCommand
			}
		default:
			return f, false
		}
		return f, true
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return f, false // nobody there: that is no handshake
	}
	f.Event = failedNoDetail
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.EPIPE):
		f.Value = int(syscall.EPIPE)
	case errors.Is(err, syscall.ECONNRESET):
		f.Value = int(syscall.ECONNRESET)
	case errors.Is(err, os.ErrDeadlineExceeded):
		f.Value = int(syscall.ETIMEDOUT)
	default:
		return f, false
	}
	return f, true
}

// trafficFailure is what Zeek hears of an error after the handshake: CURVE counts as one all along.
func trafficFailure(endpoint string, err error) (Failure, bool) {
	if errors.Is(err, zmtp.ErrForged) || errors.Is(err, zmtp.ErrReplayed) || errors.Is(err, zmtp.ErrNotSealed) {
		return Failure{Endpoint: endpoint, Event: failedProtocol, Value: cryptographic}, true
	}
	return Failure{}, false
}
