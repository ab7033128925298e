package zmtp

import (
	"encoding/binary"
	"errors"
	"math"
)

// Flags of a frame (RFC 37: flags).
const (
	FlagMore    byte = 1 // the message goes on in the next frame
	FlagLong    byte = 2 // the size has 8 bytes instead of one
	FlagCommand byte = 4
)

// MaxHeader is how many bytes a frame's header has at most: flags, and a size of 8 bytes.
const MaxHeader = 9

// maxSize keeps sizes, and the sum of one and a header, within int.
const maxSize = math.MaxInt / 2

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
	return binary.BigEndian.AppendUint64(append(dst, flags|FlagLong), uint64(size))
}

// HeaderSize is how many bytes AppendHeader appends.
func HeaderSize(size int) int {
	if size <= 255 {
		return 2
	}
	return MaxHeader
}

// ParseHeader reads the header that b begins with: n bytes, 0 where b is too short to tell. flags are without
// FlagLong. A long size of a short frame is good, as RFC 37 has it. Errors are ErrFlags and ErrSize. A size is what the
// peer says: it is to be bounded before memory is made for it.
func ParseHeader(b []byte) (flags byte, size, n int, err error) {
	if len(b) > 1 && b[0] <= FlagMore { // nearly all frames
		return b[0], int(b[1]), 2, nil
	}
	if len(b) == 0 {
		return 0, 0, 0, nil
	}
	flags = b[0]
	switch {
	case badFlags(flags):
		return 0, 0, 0, ErrFlags
	case flags&FlagLong == 0 && len(b) > 1:
		return flags, int(b[1]), 2, nil
	case flags&FlagLong == 0 || len(b) < MaxHeader:
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
