package agent

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/zeekrec/zeekrec/desired/launch"
	"github.com/zeekrec/zeekrec/observed"
)

// silentMisses is how many questions have to be in vain before a node is taken to be silent, besides Timings.Silent: the agent
// itself may have been held up.
const silentMisses = 2

// Pinged is what came of asking nodes for a sign of life. Those that are in neither did not answer.
type Pinged struct {
	Answered map[string]time.Duration // how long each took
	Absent   []string                 // not there to be asked
}

// pulse is what is known of which members answer. A Zeek whose main loop hangs, or that was stopped, keeps its connections: that
// it has joined says nothing. Its methods may be called at once.
type pulse struct {
	mu    sync.Mutex
	beats map[string]beat // by name
}

// beat is what is known of one process.
type beat struct {
	pid    int
	heard  time.Time // of it, lately; of one that never answered: when it was asked first
	spoke  bool      // it has answered
	missed int       // questions since
	silent bool      // said to be so
}

// note what came of asking members, in a question that was sent at a time.
func (p *pulse) note(asked []observed.Member, got Pinged, sent time.Time) {
	absent := map[string]bool{}
	for _, n := range got.Absent {
		absent[n] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.beats == nil {
		p.beats = map[string]beat{}
	}
	for _, m := range asked {
		b, known := p.beats[m.Name]
		if !known || b.pid != m.PID {
			b = beat{pid: m.PID, heard: sent}
		}
		took, answered := got.Answered[m.Name]
		switch {
		case answered:
			b.heard, b.spoke, b.missed = sent.Add(took), true, 0
		case absent[m.Name]:
			delete(p.beats, m.Name)
			continue
		default:
			b.missed++
		}
		p.beats[m.Name] = b
	}
}

// change is that a member has fallen silent, or speaks again.
type change struct {
	member observed.Member
	silent bool
	since  time.Time // nothing was heard before
}

// fill says of each of all members whether it answers, forgets who is no member any more, and returns what has changed. patience
// is how long a member may be silent.
func (p *pulse) fill(ms []observed.Member, now time.Time, patience time.Duration) (changes []change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	is := make(map[string]bool, len(ms))
	for i := range ms {
		m := &ms[i]
		b, ok := p.beats[m.Name]
		if !ok || b.pid != m.PID {
			continue // of another process with that name, perhaps
		}
		is[m.Name] = true
		silent := b.missed >= silentMisses && now.Sub(b.heard) > patience
		// What is silent is so until it answers: questions may cease.
		silent = silent || b.silent && b.missed > 0
		m.Answers = b.spoke && !silent
		if silent {
			m.Silent = b.heard
		}
		if silent != b.silent {
			changes = append(changes, change{*m, silent, b.heard})
			b.silent = silent
			p.beats[m.Name] = b
		}
	}
	for name := range p.beats {
		if !is[name] {
			delete(p.beats, name)
		}
	}
	return changes
}

// ping asks the members of the broker for a sign of life until ctx ends.
func (l *brokerLink) ping(ctx context.Context) {
	tick := time.NewTicker(l.agent.cfg.Timings.Ping)
	defer tick.Stop()
	for {
		if asked := l.agent.answering(l.cluster, l.current().members); len(asked) > 0 {
			l.pingThese(ctx, asked)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (l *brokerLink) pingThese(ctx context.Context, asked []observed.Member) {
	names := make([]string, len(asked))
	for i, m := range asked {
		names[i] = m.Name
	}
	sent := l.agent.cfg.Now()
	patience := l.agent.cfg.Timings.Ping * 5 / 6
	within, cancel := context.WithTimeout(ctx, patience+brokerAnswer)
	defer cancel()
	got, err := l.control.Ping(within, names, patience)
	if err != nil {
		// Of the nodes it says nothing.
		if ctx.Err() == nil {
			l.log.Debug("cannot ask nodes for a sign of life", "error", err)
		}
		return
	}
	l.pulse.note(asked, got, sent)
	if len(got.Answered) < len(asked) {
		l.poke() // somebody may be silent from now on
	}
}

// answering are the members that can be expected to answer: that run here, and were started with the script that does. To
// ask another one would make it report an error.
func (a *Agent) answering(cluster string, members []observed.Member) (out []observed.Member) {
	for _, m := range members {
		u := a.supervised(cluster + "/" + m.Name)
		if u == nil || !u.answers.Load() {
			continue
		}
		if v, ok := u.current(); ok && v.State == observed.Running && v.PID == m.PID && m.PID != 0 {
			out = append(out, m)
		}
	}
	return out
}

// supervised is the supervision of a resource; nil where there is none.
func (a *Agent) supervised(key string) *unit {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.units[key]
}

// tellOf what has changed makes events.
func (l *brokerLink) tellOf(changes []change) {
	for _, c := range changes {
		e := observed.Event{At: l.agent.cfg.Now(), Resource: l.cluster + "/" + c.member.Name, PID: c.member.PID}
		if c.silent {
			e.Kind, e.Text = "silent", "does not answer since "+c.since.Local().Format(time.TimeOnly)+", though it is connected"
		} else {
			e.Kind, e.Text = "answers", fmt.Sprintf("process %d answers again", c.member.PID)
		}
		l.agent.events.add(e)
		l.log.Info("event", "kind", e.Kind, "text", e.Text, "node", c.member.Name, "pid", e.PID)
	}
}

// hasAnswers reports whether the process was started with the script that answers.
func (u *unit) hasAnswers() bool {
	if u.proc == nil || u.last == nil || u.last.Command.GenDir == "" {
		return false
	}
	_, err := os.Stat(launch.AnswerFile(u.last.Command.GenDir))
	return err == nil
}
