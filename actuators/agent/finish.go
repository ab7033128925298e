package agent

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/desired"
)

// A Zeek that is sent TERM writes no log line any more that reaches it from then on: it closes its log files, and only then the
// socket to which the others send their logs (terminate_zeek in src/zeek-setup.cc, 8.2.2; their lines of about half a second are
// lost). So a logger finishes first. The others then have somebody else, or keep their lines until it is back.

// terminate ends the process of the resource: at once, or, where others send their logs to it, when it has written what was
// sent. It returns at once.
func (u *unit) terminate(ctx context.Context, ready bool) {
	port := u.collectsAt()
	if port == 0 || !ready || u.proc == nil {
		u.signal(unix.SIGTERM)
		return
	}
	proc, name := u.proc, u.dir.resource()
	u.talks.Go(func() {
		within, cancel := context.WithTimeout(ctx, u.agent.cfg.Timings.Finish)
		defer cancel()
		begun := u.now()
		n, err := u.agent.finish(within, proc.Identity(), port, clusterOf(u.key), name)
		switch {
		case err == nil:
			u.log.Debug("finished", "senders", n, "took", u.now().Sub(begun))
		case !errors.Is(err, process.ErrGone):
			u.log.Warn("log lines may be lost", "error", err)
		}
		if err := proc.Signal(unix.SIGTERM); err != nil && !errors.Is(err, process.ErrGone) {
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

// collectsAt is the port at which the process takes the others' logs; 0 where it takes none, or where they come by Zeek's Broker,
// whose connections are not for logs alone.
func (u *unit) collectsAt() int {
	if u.last == nil || slices.Equal(u.last.parts()["backend"], []string{string(desired.BackendBroker)}) {
		return 0
	}
	at := u.last.parts()["listen"]
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
