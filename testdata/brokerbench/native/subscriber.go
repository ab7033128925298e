package native

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// scanner counts messages in a stream of frames without looking into them.
type scanner struct {
	skip   int // bytes of the present frame's body that are still to come
	parts  int // frames of the present message
	last   bool
	head   [9]byte // of a frame that is not complete
	have   int
	small  []byte // body of a command, collected
	inside bool   // a command is being collected
}

// scan takes the next bytes of the stream. It returns how many messages ended in them, and calls command with the
// body of each command.
func (s *scanner) scan(b []byte, command func(body []byte) error) (messages int, err error) {
	for {
		if s.skip > 0 {
			n := min(s.skip, len(b))
			if s.inside {
				s.small = append(s.small, b[:n]...)
			}
			b = b[n:]
			if s.skip -= n; s.skip > 0 {
				return messages, nil
			}
		}
		if s.inside {
			s.inside = false
			if err := command(s.small); err != nil {
				return messages, err
			}
		} else if s.last {
			s.last = false
			if s.parts != 4 {
				return messages, fmt.Errorf("cannot make sense of a message of %d frames", s.parts)
			}
			s.parts = 0
			messages++
		}
		if len(b) == 0 {
			return messages, nil
		}
		flags, size, n := s.header(b)
		b = b[n:]
		if size < 0 {
			return messages, nil
		}
		s.skip = size
		if flags&flagCommand != 0 {
			if size > 255 {
				return messages, fmt.Errorf("cannot take a command of %d bytes", size)
			}
			s.inside, s.small = true, s.small[:0]
			continue
		}
		s.parts++
		s.last = flags&flagMore == 0
	}
}

// header of the next frame, and how many bytes of b it took. A size of -1: it is not complete, and b is used up.
func (s *scanner) header(b []byte) (flags byte, size, n int) {
	if s.have == 0 && len(b) >= len(s.head) {
		if b[0]&flagLong == 0 {
			return b[0], int(b[1]), 2
		}
		return b[0], int(binary.BigEndian.Uint64(b[1:])), 9
	}
	for _, c := range b {
		s.head[s.have] = c
		s.have++
		n++
		if long := s.head[0]&flagLong != 0; s.have >= 2 && !long || s.have == 9 {
			s.have = 0
			if !long {
				return s.head[0], int(s.head[1]), n
			}
			return s.head[0], int(binary.BigEndian.Uint64(s.head[1:])), n
		}
	}
	return 0, -1, n
}

// subscribers are the connections of one process.
type subscribers struct {
	o    options
	got  counters
	told counters // what publishers look at; nil: nobody does
}

// one subscriber: connected, subscribed, and reading until the end.
func (s *subscribers) one(ctx context.Context, i int, ready func()) error {
	conn, err := dial(ctx, s.o.connect, "XSUB")
	if err != nil {
		return err
	}
	defer closeWith(ctx, conn)()
	topics := s.o.topics()
	index := s.o.first + i
	for _, topic := range []string{topics[index%len(topics)], fmt.Sprintf("%s%d.", readyPrefix, index)} {
		if _, err := conn.Write(appendFrame(nil, 0, append([]byte{1}, topic...))); err != nil {
			return err
		}
	}
	ready()
	buf := make([]byte, 256<<10)
	var scan scanner
	for {
		n, err := conn.Read(buf)
		if err != nil {
			if errors.Is(err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
		messages, err := scan.scan(buf[:n], func(body []byte) error {
			if answer := pong(body); answer != nil {
				_, err := conn.Write(answer)
				return err
			}
			return nil
		})
		if err != nil {
			return err
		}
		s.got[i].Add(uint64(messages))
		if s.told != nil {
			s.told[index].Add(uint64(messages))
		}
	}
}
