package broker

import "github.com/zeekrec/zeekrec/actuators/broker/zmtp"

// frame is one ZMTP frame that the broker itself has put together: its header is known to be right.
type frame struct {
	flags byte
	body  []byte
}

// frames takes a stream of frames apart that comes in pieces. A frame within one piece is used where it
// lies; one that is spread over several is gathered first.
type frames struct {
	part []byte // of a frame that is not complete
	need int    // bytes of it in all; 0 while not even its header is there
}

// reset forgets what was begun.
func (w *frames) reset() { w.part, w.need = nil, 0 }

// next returns the next frame, and what of b is left. False: b is used up, and the frame goes on in the next
// piece. The frame's body is good until the next call.
func (w *frames) next(b []byte) (f frame, rest []byte, ok bool) {
	if len(w.part) == 0 {
		if f, n := whole(b); n > 0 {
			return f, b[n:], true
		}
		w.need = 0
	}
	for {
		if w.need == 0 {
			// Byte by byte, up to the end of the header.
			if _, size, n, _ := zmtp.ParseHeader(w.part); n > 0 {
				w.need = n + size
				if cap(w.part) < w.need {
					w.part = append(make([]byte, 0, w.need), w.part...)
				}
				continue
			}
			if len(b) == 0 {
				return frame{}, nil, false
			}
			w.part = append(w.part, b[0])
			b = b[1:]
			continue
		}
		n := min(w.need-len(w.part), len(b))
		w.part = append(w.part, b[:n]...)
		b = b[n:]
		if len(w.part) < w.need {
			return frame{}, nil, false
		}
		f, _ = whole(w.part)
		if cap(w.part) > keepSealed {
			w.part = nil // f keeps it as long as it is used
		} else {
			w.part = w.part[:0]
		}
		w.need = 0
		return f, b, true
	}
}

// whole returns the frame that b begins with, and its length; 0 where it is not complete.
func whole(b []byte) (frame, int) {
	flags, size, n, err := zmtp.ParseHeader(b)
	if n == 0 || err != nil || len(b)-n < size {
		return frame{}, 0
	}
	return frame{flags, b[n : n+size]}, n + size
}
