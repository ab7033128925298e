package bus

import (
	"context"
	"fmt"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
)

// stream begins a stream that goes on beside the call for it, until ctx ends.
func (s *server) stream(ctx context.Context, b *streamBody) error {
	var write func(context.Context, *outlet) error
	switch {
	case b.Left < 0:
		return errLate
	case b.Kind == streamLogs:
		var o api.LogOptions
		if b.Logs != nil {
			o = *b.Logs
		}
		write = func(ctx context.Context, w *outlet) error { return s.Nodes.Logs(ctx, b.Key, o, w) }
	case b.Kind == streamDiag:
		write = func(ctx context.Context, w *outlet) error { return s.Nodes.Diag(ctx, b.Key, nil, b.At, w) }
	case b.Kind == streamAsk && b.Ask != nil:
		write = func(ctx context.Context, w *outlet) error {
			v, err := s.Nodes.Ask(ctx, b.Ask.Cluster, b.Ask.Node, b.Ask.What, b.Ask.ID)
			if err == nil {
				_, err = w.Write(v)
			}
			return err
		}
	default:
		return fmt.Errorf("this agent does not know how to send %q: it is older than its controller", b.Kind)
	}
	if b.Left == 0 {
		return s.streams.begin(ctx, b.ID, write)
	}
	return s.streams.begin(ctx, b.ID, func(ctx context.Context, w *outlet) error {
		ctx, cancel := context.WithTimeoutCause(ctx, b.Left, errLate)
		defer cancel()
		if err := write(ctx, w); err != nil {
			return err
		}
		return context.Cause(ctx)
	})
}
