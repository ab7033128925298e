package bus

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

// retryInterval is ZMQ_RECONNECT_IVL; as much again, at random, is added to it.
const retryInterval = 100 * time.Millisecond

// socket is one that connects, and comes back whenever its connection is lost.
type socket struct {
	endpoint string
	config   zmtp.ClientConfig
	// out is what waits to be sent; it outlasts connections.
	out *queue[[][]byte]
	// immediate: only a connection makes a queue, and what is in it ends with that (ZMQ_IMMEDIATE).
	immediate bool
	// topics are told with each new connection.
	topics []string
	// hear is called with all that is received; what is in it is good until it returns.
	hear func(zmtp.Received)
	// failed is told of handshakes that failed, and of seals that were broken.
	failed func(Failure)

	connected atomic.Bool
}

// run connects until ctx ends, or until closing when nothing waits to be sent.
func (s *socket) run(ctx context.Context, closing <-chan struct{}) {
	for {
		conn, err := s.dial(ctx, closing)
		failure := handshakeFailure
		if err == nil {
			if err = s.serve(ctx, closing, conn); err == nil {
				return
			}
			failure = trafficFailure
		}
		if f, ok := failure(s.endpoint, err); ok && ctx.Err() == nil && !isClosed(closing) {
			s.failed(f)
		}
		wait := time.NewTimer(retryInterval + rand.N(retryInterval))
		select {
		case <-wait.C:
		case <-ctx.Done():
		case <-s.idle(closing):
		}
		wait.Stop()
		if ctx.Err() != nil || s.out.empty() && isClosed(closing) {
			return
		}
	}
}

// dial connects and shakes hands. Once closing it goes on only for what waits to be sent.
func (s *socket) dial(ctx context.Context, closing <-chan struct{}) (*zmtp.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-closing:
			if s.out.empty() {
				cancel()
			}
		case <-ctx.Done():
		}
	}()
	return zmtp.Dial(ctx, s.endpoint, &s.config)
}

// idle is closing while nothing waits to be sent, and else never happens.
func (s *socket) idle(closing <-chan struct{}) <-chan struct{} {
	if s.out.empty() {
		return closing
	}
	return nil
}

// serve has a connection until it breaks: the error; or until closing, when all is sent: none.
func (s *socket) serve(ctx context.Context, closing <-chan struct{}, conn *zmtp.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	broken := make(chan error, 1)
	go func() {
		for {
			r, err := conn.Recv()
			if err != nil {
				broken <- err
				return
			}
			s.hear(r)
		}
	}()
	ended, err := s.send(closing, conn, broken)
	s.connected.Store(false)
	_ = conn.Close()
	if !ended {
		// What the reader met says more than what the writer did.
		err = <-broken
	}
	if s.immediate {
		s.out.take()
	}
	return err
}

// send sends until the connection breaks. Whether it is the reader who says so tells ended.
func (s *socket) send(closing <-chan struct{}, conn *zmtp.Conn, broken <-chan error) (ended bool, err error) {
	for _, topic := range s.topics {
		if err := conn.Subscribe(topic); err != nil {
			return false, err
		}
	}
	s.connected.Store(true)
	for {
		for {
			m, ok := s.out.pop()
			if !ok {
				break
			}
			if err := conn.Send(m...); err != nil {
				return false, err
			}
		}
		if err := conn.Flush(); err != nil {
			return false, err
		}
		if isClosed(closing) && s.out.empty() {
			return true, nil
		}
		select {
		case err := <-broken:
			return true, err
		case <-s.out.some:
		case <-closing:
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
