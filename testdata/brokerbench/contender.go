package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"
)

// contender is one of the two brokers that are compared.
type contender struct {
	name    string
	program string
	args    []string // before the endpoints
}

// broker is a contender that runs.
type broker struct {
	*process
	xpub, xsub string // endpoints: subscribers connect to xpub, publishers to xsub
}

// start runs it on ports that are free, and returns when it listens. extra are further arguments; env has the keys,
// if any.
func (c contender) start(ctx context.Context, env []string, extra ...string) (*broker, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	b := &broker{xpub: "tcp://" + ports[0], xsub: "tcp://" + ports[1]}
	args := append(append([]string{}, c.args...), "--xpub", b.xpub, "--xsub", b.xsub)
	if b.process, err = startProcess(ctx, c.name, env, c.program, append(args, extra...)...); err != nil {
		return nil, err
	}
	for _, address := range ports {
		if err := b.listens(ctx, address); err != nil {
			_ = b.stop()
			return nil, err
		}
	}
	return b, nil
}

// listens waits until something accepts connections.
func (b *broker) listens(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	for {
		if err := b.alive(); err != nil {
			return err
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen on %s: %w%s", b.name, address, err, b.said)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (b *broker) stop() error {
	if b == nil {
		return nil
	}
	return b.process.stop(syscall.SIGTERM)
}

// freePorts finds n addresses of the loopback that nobody listens on.
func freePorts(n int) ([]string, error) {
	var addresses []string
	var held []net.Listener // until all are found: no port twice
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("cannot find a free port: %w", err)
		}
		held = append(held, l)
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

// newKeys asks zmqpeer for the key pairs of a cluster, in Zeek's environment variables.
func newKeys(ctx context.Context, peer string) ([]string, error) {
	p, err := startProcess(ctx, "zmqpeer keys", nil, peer, "keys")
	if err != nil {
		return nil, err
	}
	var env []string
	for line := range p.lines {
		if strings.HasPrefix(line, keyPrefix) {
			env = append(env, line)
		}
	}
	if len(env) != 4 {
		return nil, fmt.Errorf("zmqpeer made %d keys instead of 4%s", len(env), p.said)
	}
	return env, nil
}
