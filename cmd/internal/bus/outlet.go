package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
)

// Why streams end at an agent.
var (
	errAgentEnds  = errors.New("the agent ends")
	errReaderGone = errors.New("nobody reads it any more")
	errLate       = errors.New("it took too long")
)

// requestFunc sends a request and returns the answer to it.
type requestFunc func(ctx context.Context, subject string, data []byte) ([]byte, error)

// streams are those of an agent that are under way.
type streams struct {
	instance string
	request  requestFunc

	mu     sync.Mutex
	closed bool
	byID   map[string]context.CancelCauseFunc
	wg     sync.WaitGroup
}

func newStreams(instance string, request requestFunc) *streams {
	return &streams{instance: instance, request: request, byID: map[string]context.CancelCauseFunc{}}
}

// begin has write write a stream until ctx ends, beside everything else.
func (s *streams) begin(ctx context.Context, id string, write func(context.Context, *outlet) error) error {
	if err := checkID(id); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return errAgentEnds
	case s.byID[id] != nil:
		return errors.New("there is a stream of that id already")
	case len(s.byID) >= streamsAtOnce:
		return &api.Error{
			Text: fmt.Sprintf("%s sends %d logs and bundles at once, and no more; end one of them (zeekrec logs -f), and try again", s.instance, streamsAtOnce),
			Code: api.CodeRefused,
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	s.byID[id] = cancel
	s.wg.Go(func() {
		defer func() {
			cancel(nil)
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.byID, id)
		}()
		o := &outlet{ctx: ctx, cancel: cancel, subject: streamSubject + token(s.instance) + "." + id, request: s.request}
		o.run(write)
	})
	return nil
}

// cancel ends a stream that nobody reads any more.
func (s *streams) cancel(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.byID[id]; c != nil {
		c(errReaderGone)
	}
}

// close waits for those that are under way, whose context has ended, and lets no more begin.
func (s *streams) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.wg.Wait()
}

// outlet is where one stream is written to. Write and Flush are of one goroutine; they return when the reader has taken what
// they sent.
type outlet struct {
	ctx     context.Context // of the stream
	cancel  context.CancelCauseFunc
	subject string
	request requestFunc

	mu     sync.Mutex // one piece is on its way
	buf    []byte
	number uint64 // of the last piece
}

// run writes, says every moment that there is somebody, and how it ended.
func (o *outlet) run(write func(context.Context, *outlet) error) {
	written := make(chan struct{})
	var alive sync.WaitGroup
	alive.Go(func() { o.keepAlive(written) })
	err := write(o.ctx, o)
	close(written)
	alive.Wait()
	o.Flush()
	if cause := context.Cause(o.ctx); cause != nil {
		err = cause // that it ended is no news of the node
	}
	if errors.Is(err, errReaderGone) {
		return
	}
	o.last(err)
}

func (o *outlet) keepAlive(until <-chan struct{}) {
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case <-until:
			return
		case <-o.ctx.Done():
			return
		case <-tick.C:
		}
		if !o.mu.TryLock() {
			continue // a piece is on its way
		}
		o.send(pieceKeep)
		o.mu.Unlock()
	}
}

// Write sends p in whole pieces; what is left over waits for more, or for Flush.
func (o *outlet) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	done := 0
	for done < len(p) {
		if o.ctx.Err() != nil {
			return done, context.Cause(o.ctx)
		}
		n := min(len(p)-done, pieceSize-len(o.buf))
		o.buf = append(o.buf, p[done:done+n]...)
		done += n
		if len(o.buf) == pieceSize {
			o.send(pieceData)
		}
	}
	if o.ctx.Err() != nil {
		return done, context.Cause(o.ctx)
	}
	return done, nil
}

// Flush sends what waits. Where that fails, the stream's context ends.
func (o *outlet) Flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.buf) > 0 && o.ctx.Err() == nil {
		o.send(pieceData)
	}
}

// send sends what waits, or with nothing a pieceKeep, and waits until it is taken. If it is not, the stream ends.
func (o *outlet) send(kind pieceKind) {
	if len(o.buf) > 0 {
		kind = pieceData
		o.number++
	}
	p := piece{kind, o.number, o.buf}
	if err := o.deliver(o.ctx, p, ackWithin); err != nil {
		o.cancel(err)
		return
	}
	o.buf = o.buf[:0]
}

// last tells the reader how it ended. Where the agent ends itself, there is only a moment for that.
func (o *outlet) last(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	within := ackWithin
	if errors.Is(err, errAgentEnds) {
		within = time.Second
	}
	p, perr := lastPiece(o.number+1, err)
	if perr != nil {
		return // the reader sees that nothing comes
	}
	_ = o.deliver(context.WithoutCancel(o.ctx), p, within) // nobody is left to be told that it was not read
}

// deliver sends a piece, and asks until it is taken.
func (o *outlet) deliver(ctx context.Context, p piece, within time.Duration) error {
	for {
		ctx, cancel := context.WithTimeoutCause(ctx, within, errReaderGone)
		ack, err := o.request(ctx, o.subject, p.pack())
		cause := context.Cause(ctx)
		cancel()
		switch {
		case err == nil && (string(ack) != ackWait || p.kind == pieceLast):
			return nil
		case err == nil: // who reads it takes its time
		case cause != nil:
			return cause
		case errors.Is(err, nats.ErrNoResponders):
			return errReaderGone
		default:
			return fmt.Errorf("cannot send a piece: %w", err)
		}
		p = piece{kind: pieceKeep, number: p.number}
	}
}
