package local

import (
	"context"
	"time"

	"github.com/zeekrec/zeekrec/actuators/agent"
	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/actuators/vitals"
	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/observed"
)

// topMoment is how long CPU time is measured over.
const topMoment = 500 * time.Millisecond

// Top returns what the nodes that run use, sorted by name, and how they fared in the last minute. It takes half a second, over
// which CPU time is measured.
func (n *Nodes) Top(ctx context.Context) ([]api.Usage, error) {
	before, began := n.agent.Usage(), time.Now()
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-time.After(topMoment):
	}
	report, rates := n.agent.Report(), n.agent.Rates()
	after, took := n.agent.Usage(), time.Since(began).Seconds()
	out := []api.Usage{}
	for i := range report.Resources {
		if u, ok := usage(&report.Resources[i], before, after, took); ok {
			fares(&u, rates[u.Resource])
			out = append(out, u)
		}
	}
	return out, nil
}

func usage(r *observed.Resource, before, after map[string]process.Usage, took float64) (api.Usage, bool) {
	now, ok := after[r.Key()]
	if !ok || r.PID == 0 {
		return api.Usage{}, false
	}
	u := api.Usage{Resource: r.Key(), Role: r.Role, PID: r.PID, RSS: now.RSS, Threads: now.Threads, State: string(r.State), Degraded: r.Degraded}
	if was, ok := before[r.Key()]; ok && now.CPUSeconds >= was.CPUSeconds {
		u.CPU = 100 * (now.CPUSeconds - was.CPUSeconds) / took
	}
	return u, true
}

// fares fills in what the agent found when it examined the node last.
func fares(u *api.Usage, r agent.Rates) {
	u.Packets, u.Drops = counted(r.Counters.Received), counted(r.Counters.Dropped)
	u.PacketRate, u.DropRate = r.Packets, r.Dropped
	if r.Main != nil {
		u.MainLoop = new(100 * *r.Main)
	}
}

func counted(c vitals.Count) *uint64 {
	if !c.Known {
		return nil
	}
	return &c.N
}
