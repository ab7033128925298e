package fleet

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

// An agent that cannot dial out is dialled: the file states where it waits (NAME = HOST:PORT in [instances]). Who dials makes no difference to
// what is said then: over the connection the agent begins TLS as a client, and checks that it is its controller; so it can also join. An
// agent that dials out, too, is connected before it is dialled.

// dialEvery is how often agents are dialled that are not connected.
const dialEvery = 2 * time.Second

// dialer dials agents.
type dialer struct {
	connected func(agent string) bool
	// take has the connection until it ends.
	take func(ctx context.Context, conn net.Conn) error
	log  *slog.Logger

	mu sync.Mutex
	at map[string]map[string]string // by cluster, by agent
	// awaited are those of clusters whose file has no nodes yet, or is not there.
	awaited map[string]map[string]string
	// busy are those that are being dialled, or whose connection lasts.
	busy map[string]bool
	// reached are the ends of connections that last.
	reached map[string]netip.AddrPort
}

// seen notes where the agents of a cluster wait. Once it has nodes, its file is what counts.
func (d *dialer) seen(c *desired.Cluster) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.at == nil {
		d.at = map[string]map[string]string{}
	}
	d.at[c.Name] = waiting(c.Instances)
	if len(c.Nodes) > 0 {
		delete(d.awaited, c.Name)
	}
}

// await notes where the agents of a cluster without nodes wait.
func (d *dialer) await(cluster string, instances []desired.Instance) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.awaited == nil {
		d.awaited = map[string]map[string]string{}
	}
	d.awaited[cluster] = waiting(instances)
}

// waiting are the agents that wait to be dialled, and where.
func waiting(instances []desired.Instance) map[string]string {
	at := map[string]string{}
	for _, i := range instances {
		if i.Host != "" && i.Port != 0 {
			at[i.Name] = net.JoinHostPort(i.Host, strconv.Itoa(i.Port))
		}
	}
	return at
}

// todo are the agents to dial now, and where.
func (d *dialer) todo() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := map[string]string{}
	for _, by := range []map[string]map[string]string{d.awaited, d.at} {
		for _, at := range by {
			maps.Copy(all, at)
		}
	}
	maps.DeleteFunc(all, func(agent, _ string) bool { return d.busy[agent] || d.connected(agent) })
	return all
}

func (d *dialer) mark(agent string, busy bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.busy == nil {
		d.busy = map[string]bool{}
	}
	d.busy[agent] = busy
}

// hold has a connection taken until it ends.
func (d *dialer) hold(ctx context.Context, agent string, conn net.Conn) error {
	if at, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		d.mu.Lock()
		if d.reached == nil {
			d.reached = map[string]netip.AddrPort{}
		}
		d.reached[agent] = at.AddrPort()
		d.mu.Unlock()
		defer func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			delete(d.reached, agent)
		}()
	}
	return d.take(ctx, conn)
}

// where is the far end of the connection to an agent that was dialled; false where it was not.
func (d *dialer) where(agent string) (netip.AddrPort, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, ok := d.reached[agent]
	return at, ok
}

// run dials until ctx ends.
func (d *dialer) run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	look := time.NewTicker(dialEvery)
	defer look.Stop()
	for {
		for agent, at := range d.todo() {
			d.mark(agent, true)
			all.Go(func() {
				defer d.mark(agent, false)
				nd := net.Dialer{Timeout: dialTimeout}
				conn, err := nd.DialContext(ctx, "tcp", at)
				if err == nil {
					d.log.Info("An agent was dialled", "agent", agent, "at", at)
					err = d.hold(ctx, agent, conn)
				}
				if err != nil && ctx.Err() == nil {
					d.log.Debug("An agent cannot be dialled", "agent", agent, "at", at, "error", err)
				}
			})
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}
