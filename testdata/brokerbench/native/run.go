package native

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Run is the generator as a process: args are "pub" or "sub" and zmqpeer's options; it obeys the lines of in until
// they end, and answers on out. It returns when in ends, a connection fails, or ctx does.
func Run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 || args[0] != "pub" && args[0] != "sub" {
		return fmt.Errorf("cannot generate %q: it is pub or sub", args)
	}
	o, err := readOptions(args[0], args[1:])
	if err != nil {
		return err
	}
	var shared counters
	if o.shared != "" {
		if shared, err = mapCounters(o.shared); err != nil {
			return err
		}
	}
	counted := make(counters, o.count)
	pub := &publishers{o: o, sent: counted, taken: shared, running: make(chan struct{})}
	sub := &subscribers{o: o, got: counted, told: shared}
	one := pub.one
	if args[0] == "sub" {
		one = sub.one
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var answers sync.Mutex
	answer := func(format string, a ...any) {
		answers.Lock()
		defer answers.Unlock()
		fmt.Fprintf(out, format+"\n", a...)
	}
	group, gctx := errgroup.WithContext(ctx)
	var ready sync.WaitGroup
	ready.Add(o.count)
	for i := range o.count {
		group.Go(func() error { return one(gctx, i, ready.Done) })
	}
	go func() {
		ready.Wait()
		answer("ready")
	}()
	lines := make(chan error, 1)
	go func() { lines <- obey(in, counted, pub, answer) }()
	ended := make(chan error, 1)
	go func() { ended <- group.Wait() }()
	select {
	case err = <-lines:
	case err = <-ended:
	case <-ctx.Done():
	}
	return err
}

// obey answers until the lines end.
func obey(in io.Reader, counted counters, pub *publishers, answer func(string, ...any)) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch name {
		case "rate":
			if err := pub.rate(value); err != nil {
				return err
			}
		case "mark":
			var now unix.Timespec
			if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
				return err
			}
			answer("mark %d %d 0 0", now.Nano(), counted.total())
		default:
			return fmt.Errorf("cannot obey %q", lines.Text())
		}
	}
	return lines.Err()
}

// dial connects and shakes hands.
func dial(ctx context.Context, address, socketType string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", strings.TrimPrefix(address, "tcp://"))
	if err != nil {
		return nil, err
	}
	if err := shakeHands(conn, socketType); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("cannot join the broker as %s: %w", socketType, err)
	}
	return conn, nil
}

// closeWith closes a connection with ctx, or when the function that it returns is called.
func closeWith(ctx context.Context, conn net.Conn) func() {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	return func() {
		if stop() {
			_ = conn.Close()
		}
	}
}
