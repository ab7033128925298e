package agent

import (
	"context"
	"slices"
	"time"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/desired"
)

// replaceHung kills the process, to be started again, where it has not answered for as long as its cluster allows. Left alone
// are those that a debugger is attached to: somebody is looking. A process that was merely stopped (SIGSTOP) is of no more use
// than another that hangs.
func (u *unit) replaceHung(ctx context.Context) {
	patience := u.hungPatience()
	if u.m.phase != running || u.proc == nil || patience <= 0 {
		return
	}
	pid := u.proc.Identity().PID
	since, ok := u.agent.hungSince(clusterOf(u.key), u.dir.resource(), pid, patience)
	if !ok {
		return
	}
	hold, err := process.Held(pid)
	if err != nil || hold.Tracer != 0 {
		return
	}
	f := &fault{Kind: faultHung, Text: "did not answer for " + u.now().Sub(since).Round(time.Second).String(), Since: since, Tail: lastOutput(u.dir.stderr())}
	if hold.Stopped {
		f.Text += ", stopped by a signal"
	}
	u.feed(ctx, hung, f)
}

// hungPatience is how long the process may be silent; 0: it is never replaced.
func (u *unit) hungPatience() time.Duration {
	if u.told == nil || u.told.Resource.Node == nil {
		return 0
	}
	switch s := u.told.Resource.Node.HungSeconds; {
	case s < 0:
		return 0
	case s > 0:
		return time.Duration(s) * time.Second
	}
	return desired.RestartHungDefault
}

// hungSince is since when a process has not answered, where that is for longer than patience.
func (a *Agent) hungSince(cluster, name string, pid int, patience time.Duration) (time.Time, bool) {
	a.brokers.mu.Lock()
	links := slices.Clone(a.brokers.links[cluster])
	a.brokers.mu.Unlock()
	for _, l := range links {
		if l.current().members == nil {
			continue // it does not answer itself
		}
		if since, ok := l.pulse.hung(name, pid, a.cfg.Now(), patience, a.cfg.Timings.Ping); ok {
			return since, true
		}
	}
	return time.Time{}, false
}

// hung reports whether a process has been silent for longer than patience, and since when, of one that is asked every pause.
//
// It takes questions, not only time: an agent that was held up itself has heard nobody. And it takes others that answer: where
// most are silent, it is the broker or the host that hangs, and to restart them all would make it worse.
func (p *pulse) hung(name string, pid int, now time.Time, patience, pause time.Duration) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, ok := p.beats[name]
	if !ok || b.pid != pid || !b.silent || now.Sub(b.heard) < patience || time.Duration(b.missed)*pause < patience/2 {
		return time.Time{}, false
	}
	silent := 0
	for _, o := range p.beats {
		if o.silent {
			silent++
		}
	}
	if 2*silent > len(p.beats) {
		return time.Time{}, false
	}
	return b.heard, true
}
