package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/spf13/cobra"
)

// ownName names this process for whoever lists or ends processes by name.
func ownName(name string) {
	// It is for people; a system without /proc does without.
	_ = os.WriteFile("/proc/self/comm", []byte(name), 0)
}

func (a *app) brokerProbeCommand() *cobra.Command {
	var xpub, xsub string
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "probe --xpub tcp://HOST:PORT --xsub tcp://HOST:PORT",
		Short: "Send a message through a broker, and see it arrive",
		Long: `Send a message through a broker, anybody's, and see it arrive: subscribe to a topic that
nobody else has, publish to it, and say how long the message took. It does so without
encryption; a broker that wants CURVE lets it wait in vain.`,
		Example: `  zeekrec broker probe --xpub tcp://10.0.0.1:5555 --xsub tcp://10.0.0.1:5556`,
		Args:    cobra.NoArgs,
		RunE: a.action(func(ctx context.Context, _ []string) error {
			ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("nothing came within %s", timeout))
			defer cancel()
			took, err := probe(ctx, xpub, xsub)
			if err != nil {
				return fmt.Errorf("the broker does not relay: %w", err)
			}
			return a.print(fmt.Sprintf("relays: a message took %s\n", took.Round(time.Microsecond)))
		}),
	}
	c.Flags().StringVar(&xpub, "xpub", "", "where nodes' XSUB sockets connect to")
	c.Flags().StringVar(&xsub, "xsub", "", "where nodes' XPUB sockets connect to")
	c.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long to wait")
	_ = c.MarkFlagRequired("xpub")
	_ = c.MarkFlagRequired("xsub")
	return c
}

// probe measures the way of one message: from a PUB socket through the broker to a SUB socket.
func probe(ctx context.Context, xpub, xsub string) (time.Duration, error) {
	topic := "zeekrec.probe." + rand.Text() + "."
	sub := zmq4.NewSub(ctx, zmq4.WithDialerTimeout(time.Second), zmq4.WithDialerMaxRetries(0))
	pub := zmq4.NewPub(ctx, zmq4.WithDialerTimeout(time.Second), zmq4.WithDialerMaxRetries(0))
	defer func() { _ = errors.Join(sub.Close(), pub.Close()) }()
	type outcome struct {
		took time.Duration
		err  error
	}
	done := make(chan outcome, 1) // zmq4's calls do not all end with a context
	go func() {
		took, err := exchange(ctx, sub, pub, topic, xpub, xsub)
		done <- outcome{took, err}
	}()
	select {
	case o := <-done:
		return o.took, o.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

func exchange(ctx context.Context, sub, pub zmq4.Socket, topic, xpub, xsub string) (time.Duration, error) {
	if err := sub.Dial(xpub); err != nil {
		return 0, err
	}
	if err := sub.SetOption(zmq4.OptionSubscribe, topic); err != nil {
		return 0, err
	}
	if err := pub.Dial(xsub); err != nil {
		return 0, err
	}
	arrived := make(chan error, 1)
	go func() {
		_, err := sub.Recv()
		arrived <- err
	}()
	// A PUB socket drops what it has no subscription for yet: it is sent until it arrives.
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		sent := time.Now()
		if err := pub.SendMulti(zmq4.NewMsgFromString([]string{topic, "zeekrec-probe"})); err != nil {
			return 0, err
		}
		select {
		case err := <-arrived:
			return time.Since(sent), err
		case <-tick.C:
		case <-ctx.Done():
			return 0, errors.Join(context.Cause(ctx))
		}
	}
}
