package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/zeekrec/zeekrec/actuators/keys"
	"github.com/zeekrec/zeekrec/cmd/internal/bus"
)

// connectAtOnce bounds how many agents of this process make their first connection at the same time.
const connectAtOnce = 64

// runAgents is the process of simulated agents. It ends with ctx.
func runAgents(ctx context.Context, o options) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	h := &network{clusters: map[string]*membership{}}
	began := time.Now()
	var left sync.WaitGroup
	left.Add(o.shape.agents())
	go func() {
		left.Wait()
		fmt.Printf("agents: all have connected %.2f s after they began\n", time.Since(began).Seconds())
	}()
	var g errgroup.Group
	room := make(chan struct{}, connectAtOnce)
	for c := range o.shape.clusters {
		for i := range o.shape.hosts {
			g.Go(func() error {
				name := instanceName(c, i)
				conf, err := tlsConfig(o.dir, name)
				if err != nil {
					return err
				}
				room <- struct{}{}
				conn, err := nats.Connect(o.url, nats.Secure(conf), nats.TLSHandshakeFirst(), nats.Name(name), nats.CustomInboxPrefix(bus.InboxPrefix(name)), nats.MaxReconnects(-1), nats.ReconnectWait(250*time.Millisecond),
					nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond), nats.Timeout(10*time.Second))
				<-room
				left.Done()
				if err != nil {
					log.Error("An agent is missing", "agent", name, "error", err) // the others go on until they are ended
					return fmt.Errorf("cannot connect %s: %w", name, err)
				}
				defer conn.Close()
				dir := filepath.Join(o.dir, "agents", name)
				if err := os.MkdirAll(dir, 0o700); err != nil {
					return err
				}
				a := newHost(name, address(c, i), h)
				go a.run(ctx)
				return bus.Serve(ctx, conn, bus.Config{Instance: name, Agent: a, Keys: keys.Open(dir), Dir: dir, Boot: "1", Log: log})
			})
		}
	}
	return g.Wait()
}
