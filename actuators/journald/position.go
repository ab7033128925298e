package journald

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// position is how far a file was sent: the offset of the next byte, the process whose lines begin there, and which predecessor the file had then, by its inode, 0
// for none: another one says that the file was rotated since.
type position struct {
	offset int64
	pid    int
	before uint64
}

// positionWidth is what a position takes on disk: it is written in one piece, over the last one, for each line. A rename each time would cost more
// than the sending; and to be torn, it would have to be cut in the middle of its 53 bytes.
const positionWidth = 53

func (p position) bytes() []byte {
	return fmt.Appendf(nil, "%020d %010d %020d\n", p.offset, p.pid, p.before)
}

// readPosition of a file; false where there is none that makes sense.
func readPosition(f *os.File) (position, bool, error) {
	b := make([]byte, positionWidth)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return position{}, false, err
	}
	var p position
	if _, err := fmt.Sscanf(string(b[:n]), "%020d %010d %020d\n", &p.offset, &p.pid, &p.before); err != nil || n != positionWidth || p.offset < 0 {
		return position{}, false, nil
	}
	return p, true, nil
}
