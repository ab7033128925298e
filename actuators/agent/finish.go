package agent

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// A Zeek that is sent TERM writes no log line any more that reaches it from then on: it closes its log files, and only then the
// socket to which the others send their logs (terminate_zeek in src/zeek-setup.cc, 8.2.2; their lines of about half a second are
// lost). So a logger finishes first. The others then have somebody else, or keep their lines until it is back.

// terminate ends the process of the resource: at once, or, where others send their logs to it, when it has written what was
// sent. It returns at once.
func (u *unit) terminate(ctx context.Context, ready bool) {
	port := u.collectsAt()
	if port == 0 || !ready || u.proc == nil {
		if u.proc == nil {
			return
		}
		if err := u.endProcess(ctx, u.proc); err != nil && !errors.Is(err, process.ErrGone) {
			u.log.Warn("cannot signal", "signal", "TERM", "error", err)
		}
		return
	}
	proc, name := u.proc, u.dir.resource()
	u.talks.Go(func() {
		within, cancel := context.WithTimeout(ctx, u.agent.cfg.Timings.Finish)
		defer cancel()
		begun := u.now()
		u.agent.waitForOthers(within, proc.Identity(), port, u.key)
		n, err := u.agent.finish(within, proc.Identity(), port, clusterOf(u.key), name)
		switch {
		case err == nil:
			u.log.Debug("finished", "senders", n, "took", u.now().Sub(begun))
		case !errors.Is(err, process.ErrGone):
			u.log.Warn("log lines may be lost", "error", err)
		}
		if err := u.endProcess(ctx, proc); err != nil && !errors.Is(err, process.ErrGone) {
			u.log.Warn("cannot signal", "signal", "TERM", "error", err)
		}
	})
}

// finish lets a logger read what was sent to it, and write it.
func (a *Agent) finish(ctx context.Context, id process.Identity, port int, cluster, name string) (senders int, err error) {
	senders, err = process.CloseDoor(ctx, id, port)
	if err != nil || senders == 0 {
		return senders, err
	}
	// What was read waits for the main loop, in order: an answer to a question says that all before it was written. Where nobody
	// can ask, nothing is known of that.
	link, err := a.brokerOf(cluster, name)
	if u := a.supervised(cluster + "/" + name); err != nil || u == nil || !u.answers.Load() {
		return senders, nil
	}
	within := a.cfg.Timings.Finish
	if d, ok := ctx.Deadline(); ok {
		within = min(within, time.Until(d))
	}
	_, err = link.control.Ping(ctx, []string{name}, within)
	return senders, err
}

// zmtpGreeting is how many bytes a peer says before the handshake (ZMTP 3.1, RFC 37).
const zmtpGreeting = 64

// othersPoll is how often is looked whether senders have found another logger, othersWait how long that is waited for. libzmq tries
// again every 0.1 s (ZMQ_RECONNECT_IVL).
const (
	othersPoll = 20 * time.Millisecond
	othersWait = 3 * time.Second
)

// waitForOthers returns when those who send their logs to a logger send them to another one of this host, too, where there is one
// that runs: with logger_slots a sender that has nobody loses what it writes, and one that has just come up may not be connected to
// by all. It gives up silently, after all the logger is to end.
func (a *Agent) waitForOthers(ctx context.Context, id process.Identity, port int, key string) {
	var others []observed.Resource
	immediate := false
	for _, u := range a.allUnits() {
		v, ok := u.current()
		if !ok || u.key == key || v.Cluster != clusterOf(key) || v.PID == 0 || v.State != observed.Running {
			continue
		}
		immediate = immediate || v.Parts["log_immediate"] != nil
		if v.Role == string(desired.RoleLogger) && listensAt(v.Parts) != 0 {
			others = append(others, v)
		}
	}
	if !immediate || len(others) == 0 {
		return
	}
	counts := make([]func() (int, error), len(others))
	for i, v := range others {
		counts[i] = func() (int, error) {
			id, err := process.Identify(v.PID)
			if err != nil {
				return 0, err
			}
			return process.Visitors(id, listensAt(v.Parts), zmtpGreeting)
		}
	}
	untilOthersHave(ctx, func() (int, error) { return process.Visitors(id, port, zmtpGreeting) }, counts)
}

// untilOthersHave returns when one of the others has had as many senders as the first twice in a row, so that the last step of the last
// one's handshake is done, or when nobody sends to the first, or it cannot be asked, or after othersWait.
func untilOthersHave(ctx context.Context, mine func() (int, error), others []func() (int, error)) {
	ctx, cancel := context.WithTimeout(ctx, othersWait)
	defer cancel()
	look := time.NewTicker(othersPoll)
	defer look.Stop()
	for had := false; ; {
		n, err := mine()
		if err != nil || n == 0 {
			return
		}
		have := slices.ContainsFunc(others, func(count func() (int, error)) bool {
			theirs, err := count()
			return err == nil && theirs >= n
		})
		if have && had {
			return
		}
		had = have
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

// collectsAt is the port at which the process takes the others' logs; 0 where it takes none, or where they come by Zeek's Broker,
// whose connections are not for logs alone.
func (u *unit) collectsAt() int {
	if u.last == nil || slices.Equal(u.last.parts()["backend"], []string{string(desired.BackendBroker)}) {
		return 0
	}
	return listensAt(u.last.parts())
}

// listensAt is the port of the first address that a process listens at; 0 where there is none.
func listensAt(parts map[string][]string) int {
	at := parts["listen"]
	if len(at) == 0 {
		return 0
	}
	_, p, err := net.SplitHostPort(at[0])
	if err != nil {
		return 0
	}
	port, _ := strconv.Atoi(p)
	return port
}

// reopenDoor lets senders in again to a logger that was found again: whoever began to stop it has gone.
func (u *unit) reopenDoor() {
	port := u.collectsAt()
	if port == 0 || u.proc == nil {
		return
	}
	if err := process.OpenDoor(u.proc.Identity(), port); err != nil && !errors.Is(err, process.ErrGone) {
		u.log.Debug("cannot see to it that senders are let in", "error", err)
	}
}
