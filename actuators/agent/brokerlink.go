package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zeekrec/zeekrec/actuators/vitals"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
	"github.com/zeekrec/zeekrec/observed"
)

// Deadlines of talking to a broker.
const (
	brokerAnswer = time.Second
	// brokerPatience is how long an earlier answer counts where there is none now.
	brokerPatience = 3 * time.Second
	// brokerYoung is how long after its start a broker is asked often: nodes are coming back to it.
	brokerYoung = 10 * time.Second
)

// brokerLink asks one process of a broker how it is, and tells it what it is to be, in a goroutine of its own:
// a broker that does not answer delays nobody.
type brokerLink struct {
	cluster string
	pid     int
	control BrokerControl
	began   time.Time

	agent *Agent
	log   *slog.Logger
	// changed is called after state has.
	changed func()
	wake    chan struct{}

	pulse pulse // of the members

	// Owned by the goroutine.
	told    int // number of the last ending that it heard of
	owed    []ending
	dropped vitals.Window

	mu    sync.Mutex
	wish  *desired.BrokerSpec // what it is still to be told; nil: nothing. Nobody changes it.
	state brokerState
}

// brokerState is what is known of a broker's process.
type brokerState struct {
	answered time.Time // the last time; zero: never
	version  string
	members  []observed.Member // nil: it does not answer
	silent   string            // why it does not answer
	untold   string            // why it has not taken what it is told; empty: it has
	dropping string            // what it has dropped lately; empty: nothing
}

// trouble is why the broker is not what it should be; empty: it is.
func (s *brokerState) trouble() string {
	if s.members == nil {
		return s.silent
	}
	return s.untold
}

func newBrokerLink(a *Agent, cluster string, pid int, control BrokerControl, log *slog.Logger, changed func()) *brokerLink {
	return &brokerLink{
		cluster: cluster, pid: pid, control: control, began: a.cfg.Now(), agent: a, log: log, changed: changed,
		wake: make(chan struct{}, 1), state: brokerState{silent: "it does not answer yet"},
	}
}

// poke lets it be asked at once.
func (l *brokerLink) poke() {
	select {
	case l.wake <- struct{}{}:
	default: // about to be
	}
}

// tell hands over what the broker is to be; it is told again and again until it has taken it.
func (l *brokerLink) tell(s *desired.BrokerSpec) {
	l.mu.Lock()
	l.wish, l.state.untold = s, "is being told its settings"
	l.mu.Unlock()
	l.poke()
}

// current is what is known now. Nobody changes what it points to.
func (l *brokerLink) current() brokerState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// run talks to the broker until ctx ends.
func (l *brokerLink) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		case <-timer.C:
		}
		was := l.current()
		l.tellEndings(ctx)
		l.apply(ctx)
		l.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		if is := l.current(); !is.same(&was) {
			l.changed()
		}
		timer.Reset(l.pause())
	}
}

func (s *brokerState) same(o *brokerState) bool {
	return s.version == o.version && s.silent == o.silent && s.untold == o.untold && s.dropping == o.dropping &&
		(s.members == nil) == (o.members == nil) && slices.Equal(s.members, o.members)
}

// pause until it is asked again: short while nodes are likely to join, since a rollout may wait for them.
func (l *brokerLink) pause() time.Duration {
	t := &l.agent.cfg.Timings
	if l.agent.cfg.Now().Sub(l.began) < brokerYoung || l.agent.joining(l.cluster, l.current().members) {
		return t.Poll
	}
	return t.Tick
}

// tellEndings says which processes of nodes have ended, of those that ended a moment ago.
func (l *brokerLink) tellEndings(ctx context.Context) {
	now := l.agent.cfg.Now()
	for _, e := range l.agent.brokers.endedAfter(l.told, l.cluster, now) {
		l.told = e.seq
		l.owed = append(l.owed, e)
	}
	ctx, cancel := context.WithTimeout(ctx, brokerAnswer) // for all of them
	defer cancel()
	l.owed = slices.DeleteFunc(l.owed, func(e ending) bool {
		err := l.control.Dead(ctx, e.node, e.pid)
		if err != nil {
			l.log.Debug("cannot tell the broker that a process has ended", "node", e.node, "pid", e.pid, "error", err)
		}
		return err == nil || now.Sub(e.at) > endedKept
	})
}

// apply tells it what it is to be, where it has not taken that yet.
func (l *brokerLink) apply(ctx context.Context) {
	l.mu.Lock()
	wish := l.wish
	l.mu.Unlock()
	if wish == nil {
		return
	}
	err := l.applyNow(ctx, wish)
	if ctx.Err() != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.wish != wish: // another one came meanwhile
	case err == nil:
		l.wish, l.state.untold = nil, ""
	default:
		l.state.untold = "it has not taken its settings: " + err.Error()
	}
}

func (l *brokerLink) applyNow(ctx context.Context, s *desired.BrokerSpec) error {
	// All or nothing: to leave out keys that cannot be read now would lock nodes out that use them.
	keys, err := l.agent.keysOf(l.cluster, s.Curve)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, brokerAnswer)
	defer cancel()
	return l.control.Apply(ctx, launch.BrokerSettings(s), keys)
}

// ask renews what is known.
func (l *brokerLink) ask(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, brokerAnswer)
	s, err := l.control.Status(within)
	cancel()
	if err == nil && s.PID != 0 && s.PID != l.pid {
		err = fmt.Errorf("process %d answers in its place", s.PID)
	}
	now := l.agent.cfg.Now()
	if err == nil {
		l.dropped.Add(now, s.Dropped)
	}
	dropping := ""
	if n, _ := l.dropped.Sum(now); n > 0 {
		dropping = "has dropped " + about(n, "message") + " in the last minute, since nodes do not keep up"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.dropping = dropping
	switch {
	case err == nil:
		l.state.answered, l.state.version, l.state.silent = now, s.Version, ""
		l.state.members = slices.SortedFunc(slices.Values(s.Members), compareMembers)
		if l.state.members == nil {
			l.state.members = []observed.Member{}
		}
		l.tellOf(l.pulse.fill(l.state.members, now, l.agent.cfg.Timings.Silent))
	case l.state.members == nil || now.Sub(l.state.answered) > brokerPatience:
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.New("no answer within " + brokerAnswer.String())
		}
		l.state.members, l.state.silent = nil, "it does not answer: "+err.Error()
	}
}

func compareMembers(x, y observed.Member) int {
	if c := strings.Compare(x.Name, y.Name); c != 0 {
		return c
	}
	return x.PID - y.PID
}
