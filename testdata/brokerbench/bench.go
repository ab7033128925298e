package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/zeekrec/zeekrec/testdata/brokerbench/native"
)

// bench has what all measurements need.
type bench struct {
	libzmq, zeekrec contender
	peer            string   // zmqpeer
	self            string   // this program, which is the native generator, too
	keys            []string // environment for CURVE
	folder          string   // for shared counters
	rounds          int
	warm, window    time.Duration
	spare           time.Duration // for rounds that are repeated
	budget          time.Duration // for all cases, without repetitions
	boxbench        string        // libsodium's speed; it may be missing
}

// env of a case's processes.
func (b *bench) env(curve bool) []string {
	if curve {
		return b.keys
	}
	return nil
}

// pair is the two contenders in the order of each round.
func (b *bench) pair() []contender { return []contender{b.libzmq, b.zeekrec} }

// load is a broker with what publishes and subscribes to it.
type load struct {
	c      testCase
	broker *broker
	pubs   *process
	subs   *process
}

// start runs a broker with all the publishers and subscribers of a case: when it returns, each publisher knows each
// subscriber, and nothing has been sent.
func (b *bench) start(ctx context.Context, who contender, c testCase, policy []string, paced bool) (_ *load, err error) {
	l := &load{c: c}
	defer func() {
		if err != nil {
			_ = l.stop()
			err = fmt.Errorf("cannot run %v with %s: %w", c, who.name, err)
		}
	}()
	if l.broker, err = who.start(ctx, b.env(c.Curve), policy...); err != nil {
		return nil, err
	}
	var shared []string
	window := 0
	if !paced {
		window = c.window()
	}
	if window > 0 {
		file := filepath.Join(b.folder, "taken")
		if err := os.WriteFile(file, make([]byte, native.SharedSize), 0o600); err != nil {
			return nil, err
		}
		shared = []string{"--shared", file}
	}
	if l.subs, err = b.startPeers(ctx, c, "sub", l.broker.xpub, append(shared, "--count", fmt.Sprint(c.Subs))); err != nil {
		return nil, err
	}
	if _, err = l.subs.expect(ctx, "ready"); err != nil {
		return nil, err
	}
	if window > 0 {
		shared = append(shared, "--window", fmt.Sprint(window))
	}
	if l.pubs, err = b.startPeers(ctx, c, "pub", l.broker.xsub, append(shared, "--count", fmt.Sprint(c.Pubs), "--ready", fmt.Sprint(c.Subs))); err != nil {
		return nil, err
	}
	_, err = l.pubs.expect(ctx, "ready")
	return l, err
}

// startPeers runs one process of publishers or subscribers.
func (b *bench) startPeers(ctx context.Context, c testCase, role, endpoint string, args []string) (*process, error) {
	program, words := b.peer, []string{role}
	if c.Clients == nativeClients {
		program, words = b.self, []string{"native", role}
	}
	words = append(words, "--connect", endpoint, "--size", fmt.Sprint(c.Size), "--spread", fmt.Sprint(c.Spread))
	if c.Spread > 0 {
		words = append(words, "--topic", "zeek.cluster.pool.worker")
	}
	return startProcess(ctx, string(c.Clients)+" "+role, b.env(c.Curve), program, append(words, args...)...)
}

// stop ends all of it; generators first, whose queues may be full.
func (l *load) stop() error {
	var first error
	for _, p := range []*process{l.pubs, l.subs} {
		if err := p.stop(os.Kill); first == nil {
			first = err
		}
	}
	if err := l.broker.stop(); first == nil {
		first = err
	}
	return first
}

// pause waits for a time of measuring.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
