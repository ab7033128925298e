package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// inlet is where a controller receives one stream: take has what arrives, copy passes it on.
type inlet struct {
	instance string
	arrived  chan arrival  // has room for the one that can be on its way
	broken   chan error    // has room for one
	over     chan struct{} // closed when copy has returned
	heard    atomic.Pointer[time.Time]

	// Of the goroutine that calls take.
	number uint64
	taken  chan struct{} // closed when the last piece was passed on
}

// arrival is a piece; taken is closed when it was passed on.
type arrival struct {
	piece
	taken chan struct{}
}

func newInlet(instance string) *inlet {
	i := &inlet{instance: instance, arrived: make(chan arrival, 1), broken: make(chan error, 1), over: make(chan struct{}), taken: make(chan struct{})}
	close(i.taken)
	i.hear()
	return i
}

func (i *inlet) hear() {
	now := time.Now()
	i.heard.Store(&now)
}

// take takes a piece and returns what to answer; false: nothing. It waits a moment for what was sent to be passed on. It is called
// by one goroutine.
func (i *inlet) take(data []byte) (ack string, ok bool) {
	i.hear()
	if err := i.accept(data); err != nil {
		select {
		case i.broken <- err:
		default: // one is enough
		}
		return "", false
	}
	wait := time.NewTimer(patience)
	defer wait.Stop()
	select {
	case <-i.taken:
		return ackNext, true
	case <-wait.C:
		return ackWait, true
	case <-i.over:
	}
	select {
	case <-i.taken: // the last one
		return ackNext, true
	default:
		return "", false
	}
}

// accept passes on what is new.
func (i *inlet) accept(data []byte) error {
	p, err := unpackPiece(data)
	switch {
	case err != nil:
		return err
	case p.kind == pieceKeep && p.number == i.number:
		return nil
	case p.kind == pieceKeep || p.number != i.number+1:
		return fmt.Errorf("piece %d came after piece %d", p.number, i.number)
	}
	select {
	case <-i.taken:
	default:
		return errors.New("it sends without waiting")
	}
	i.number, i.taken = p.number, make(chan struct{})
	select {
	case i.arrived <- arrival{p, i.taken}:
	case <-i.over:
	}
	return nil
}

// copy passes a stream on to w until its end, and returns how it ended. last: the agent knows that it has.
func (i *inlet) copy(ctx context.Context, w io.Writer) (last bool, err error) {
	defer close(i.over)
	quiet := time.NewTimer(silence)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case err := <-i.broken:
			return false, fmt.Errorf("cannot understand what %s sends: %w", i.instance, err)
		case <-quiet.C:
			left := silence - time.Since(*i.heard.Load())
			if left <= 0 {
				return false, fmt.Errorf("%s has sent nothing for %s: it, or the way to it, is broken", i.instance, silence)
			}
			quiet.Reset(left)
		case a := <-i.arrived:
			if a.kind == pieceLast {
				close(a.taken)
				return true, a.err(i.instance)
			}
			if err := passOn(w, a.data); err != nil {
				return false, err
			}
			close(a.taken)
		}
	}
}

func passOn(w io.Writer, data []byte) error {
	if _, err := w.Write(data); err != nil {
		return err
	}
	if f, ok := w.(interface{ Flush() }); ok {
		f.Flush()
	}
	return nil
}
