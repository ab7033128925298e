package zmtp

import (
	"encoding/binary"
	"errors"
)

// Flags of a frame (RFC 37: flags).
const (
	FlagMore    byte = 1 // the message goes on in the next frame
	FlagLong    byte = 2 // the size has 8 bytes instead of one
	FlagCommand byte = 4
)

// MaxHeader is how many bytes a frame's header has at most: flags, and a size of 8 bytes.
const MaxHeader = 9

// maxSize keeps sizes, and sums of a few of them, within int.
const maxSize = 1 << 48

// What is wrong with a header.
var (
	ErrFlags = errors.New("cannot read a frame: flags that there are not")
	ErrSize  = errors.New("cannot read a frame: a size beyond all bounds")
)

// AppendHeader appends the header of a frame with a body of size bytes. FlagLong is set where it takes it.
func AppendHeader(dst []byte, flags byte, size int) []byte {
	if size <= 255 {
		return append(dst, flags&^FlagLong, byte(size))
	}
	dst = append(dst, flags|FlagLong)
	return binary.BigEndian.AppendUint64(dst, uint64(size))
}

// HeaderSize is how many bytes AppendHeader appends.
func HeaderSize(size int) int {
	if size <= 255 {
		return 2
	}
	return MaxHeader
}

// ParseHeader reads the header that b begins with: n bytes, 0 where b is too short to tell. flags are without
// FlagLong. Errors are ErrFlags and ErrSize.
func ParseHeader(b []byte) (flags byte, size, n int, err error) {
	if len(b) < 2 {
		if len(b) == 1 && badFlags(b[0]) {
			return 0, 0, 0, ErrFlags
		}
		return 0, 0, 0, nil
	}
	flags = b[0]
	if badFlags(flags) {
		return 0, 0, 0, ErrFlags
	}
	if flags&FlagLong == 0 {
		return flags, int(b[1]), 2, nil
	}
	if len(b) < MaxHeader {
		return 0, 0, 0, nil
	}
	u := binary.BigEndian.Uint64(b[1:])
	if u > maxSize {
		return 0, 0, 0, ErrSize
	}
	return flags &^ FlagLong, int(u), MaxHeader, nil
}

// badFlags: reserved bits have to be 0, and a command is one frame.
func badFlags(f byte) bool {
	return f&^(FlagMore|FlagLong|FlagCommand) != 0 || f&(FlagMore|FlagCommand) == FlagMore|FlagCommand
}
