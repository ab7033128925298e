package engine_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// pair is a second host beside the first one. Since it is gone nothing is heard of it, and nobody can reach it.
type pair struct {
	*hosts
	second *hosts
	gone   time.Time   // zero: it is there
	absent atomic.Bool // it has not reported yet
}

var errUnreachable = errors.New("cannot reach agent-b: no agent of that name is connected")

func (p *pair) away() (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone, !p.gone.IsZero()
}

func (p *pair) Reports() []*observed.Report {
	out := p.hosts.Reports()
	if p.absent.Load() {
		return out
	}
	out = append(out, p.second.Reports()...)
	if since, gone := p.away(); gone {
		out[1].At = since
	}
	return out
}

func (p *pair) Do(ctx context.Context, instance string, o desired.Order) error {
	_, gone := p.away()
	switch {
	case instance == p.instance:
		return p.hosts.Do(ctx, instance, o)
	case gone:
		return errUnreachable
	}
	defer p.touch()
	return p.second.Do(ctx, instance, o)
}

func (p *pair) Check(ctx context.Context, instance string, rs []desired.Resource) ([]observed.Problem, error) {
	if _, gone := p.away(); gone && instance != p.instance {
		return nil, errUnreachable
	}
	return p.hosts.Check(ctx, instance, rs)
}

// onTwo is parse, with the nodes whose names end with -b on agent-b.
func onTwo(f desired.ClusterFile, instance string) (*desired.Cluster, []desired.Diagnostic) {
	c, ds := parse(f, instance)
	c.Instances = []desired.Instance{{Name: "agent-a", Host: "192.0.2.1"}, {Name: "agent-b", Host: "192.0.2.2"}}
	for i := range c.Nodes {
		if strings.HasSuffix(c.Nodes[i].Name, "-b") {
			c.Nodes[i].Instance = "agent-b"
		}
	}
	return c, ds
}

// eachCheck is how long checks take on slow hosts.
const eachCheck = 3 * time.Second

// slow is a pair of hosts on which checks take their time; absent: the second has not reported yet.
func (b *bench) slow(absent bool) *pair {
	b.stop()
	p := &pair{hosts: b.hosts, second: newHosts()}
	p.second.instance = "agent-b"
	p.absent.Store(absent)
	p.behave(func() {
		p.check = func(context.Context) error {
			time.Sleep(eachCheck)
			return nil
		}
	})
	b.startOn(p, onTwo)
	return p
}

// begins waits until a rollout does something, which has to take about as long as one check.
func (b *bench) begins(p *pair) {
	b.t.Helper()
	began := time.Now()
	for p.took() == "" {
		if time.Since(began) > time.Minute {
			b.t.Fatalf("nothing was done; it waits: %s", b.status("dmz").Reason)
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
	}
	if took := time.Since(began); took < eachCheck || took > eachCheck+eachCheck/2 {
		b.t.Errorf("the rollout began after %s, and a check takes %s", took, eachCheck)
	}
	b.settle()
}

// Hosts check at the same time: a rollout over many waits for the slowest of them, and not for all one after the other.
func TestHostsCheckAtTheSameTime(t *testing.T) {
	run(t, func(b *bench) {
		p := b.slow(false)
		b.obs <- observation(map[string]string{"dmz": "manager logger-1 worker-1 worker-2-b"})
		b.begins(p)
	})
}

// A host that turns up while another one checks does not wait for that.
func TestAHostThatTurnsUpChecksAtOnce(t *testing.T) {
	run(t, func(b *bench) {
		p := b.slow(true)
		b.obs <- observation(map[string]string{"dmz": "manager logger-1 worker-1 worker-2-b"})
		time.Sleep(time.Second)
		p.absent.Store(false)
		p.touch()
		b.begins(p)
	})
}

// A host that cannot be reached holds up a rollout until it is known to be silent, and no longer: not until the pause between two
// preflights is over.
func TestPreflightIsNotWaitedForWhenAHostFallsSilent(t *testing.T) {
	run(t, func(b *bench) {
		b.stop()
		p := &pair{hosts: b.hosts, second: newHosts()}
		p.second.instance = "agent-b"
		b.startOn(p, onTwo)

		b.see(map[string]string{"dmz": "manager logger-1 worker-1 worker-2-b"})
		if p.up() == "" || p.second.up() != "worker-2-b" {
			t.Fatalf("%s and %s are up", p.up(), p.second.up())
		}
		p.took()
		p.second.took()
		p.behave(func() { p.gone = time.Now() })
		gone := time.Now()
		time.Sleep(3 * time.Second) // preflights are after 3, 8 and 18 s
		b.obs <- observation(map[string]string{"dmz": "manager logger-1 worker-1=new worker-2-b=new"})
		for p.took() == "" {
			if time.Since(gone) > time.Minute {
				t.Fatalf("nothing was done; it waits: %s", b.status("dmz").Reason)
			}
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
		}
		if waited := time.Since(gone); waited < 15*time.Second || waited > 15500*time.Millisecond {
			t.Errorf("the rollout went on after %s, and the host is silent after 15 s", waited)
		}
		b.settle()
		if took := p.second.took(); took != "" {
			t.Errorf("the host that is away was told: %s", took)
		}
		p.behave(func() { p.gone = time.Time{}; p.touch() })
		b.settle()
		b.want("it is back", p.second.took(), "restart dmz/worker-2-b")
	})
}
