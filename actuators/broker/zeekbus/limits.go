package zeekbus

import (
	"fmt"
	"strconv"
)

// The bounds of what is parsed and of what is built, so that all that is built can be parsed again.
const (
	// MaxPayload bounds the bytes of one payload. The broker forwards larger ones, without looking inside.
	MaxPayload = 16 << 20
	// MaxDepth bounds how deep values are nested; a scalar has depth 1. Zeek's reader of broker-json-v1 takes
	// 128 levels of objects and arrays, and a table in a table has three of them.
	MaxDepth = 40
	// MaxValues bounds how many values there are in one payload, all levels together.
	MaxValues = 1 << 20
)

// FormatError says why a payload is not what its format says, and where.
type FormatError struct {
	Format Format
	Offset int // bytes from the start of the payload
	Reason string
}

// Error is "cannot parse broker-bin-v1: why, at byte 12".
func (e *FormatError) Error() string {
	format := string(e.Format)
	if e.Format != FormatBin && e.Format != FormatJSON && e.Format != FormatLog {
		// It came from a peer.
		format = strconv.Quote(clip(format))
	}
	return fmt.Sprintf("cannot parse %s: %s, at byte %d", format, e.Reason, e.Offset)
}

// clip keeps what a peer sent from filling a log.
func clip(s string) string {
	const most = 100
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// grow is the capacity to begin with for n elements that a payload only claims to have.
func grow(n int) int { return min(n, 64) }
