package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
	"github.com/zeekrec/zeekrec/testdata/zeek/bus"
	"github.com/zeekrec/zeekrec/testdata/zeek/logs"
	"github.com/zeekrec/zeekrec/testdata/zeek/script"
)

// node is a Zeek process after its scripts are read.
type node struct {
	options  *options
	reporter reporter
	program  *script.Program
	faults   faults
	eaten    []byte // memory that a fault uses up
	status   statusFile
	getenv   func(string) string

	logs    *logs.Set // nil: logs nothing locally
	conn    int       // lines of conn.log so far
	packets packets
	// loggedFrom is when logging began; lines are due by its distance from now. loggedAt is when it was last looked.
	loggedFrom, loggedAt time.Time

	// What a node of a ZeroMQ cluster has besides; all nil without one.
	bus     *bus.Bus
	members *bus.Members
	outbox  *outbox // nil: no loggers to push to
	self    zeekbus.Hello
	format  zeekbus.Format

	// told are the options that it was told while it runs, toldFrom the file as it was read last, toldDue when it is again.
	told     map[string]string
	toldFrom string
	toldDue  time.Time

	stopBroker context.CancelFunc // nil: the broker is somewhere else
	brokerDone chan error
}

// live is the process from the end of parsing to its own end. The error is what
// Zeek prints when it cannot go on, or an exitStatus.
func (n *node) live(ctx context.Context) error {
	// Until it runs, Zeek dies of TERM like any program; so does the stand-in,
	// since it asks for the signals only then.
	if n.program.Loaded("/zeekrec-probe.zeek") {
		return n.probe()
	}
	if n.faults.hangStart {
		select {}
	}
	time.Sleep(n.faults.startTime)
	if err := n.open(ctx); err != nil {
		return err
	}
	if !n.options.hasIface && n.getenv("CLUSTER_NODE") == "" {
		return nil // nothing to wait for
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	n.status.set(stateRunning)
	return n.loop(signals)
}

// open does what may fail before the process runs, in Zeek's order: metrics,
// leftover logs, interface, cluster.
func (n *node) open(ctx context.Context) error {
	if err := n.listenMetrics(); err != nil {
		return err
	}
	if err := n.openLogs(); err != nil {
		return err
	}
	if n.options.hasIface {
		if err := openInterface(n.options.iface, n.reporter); err != nil {
			return err
		}
	}
	return n.joinCluster(ctx)
}

func (n *node) loop(signals <-chan os.Signal) error {
	crashAt, exitAt := timer(n.faults.crash), timer(n.faults.exit)
	var eatAt <-chan time.Time
	if n.faults.eats > 0 {
		eatAt = time.After(time.Second)
	}
	n.loggedFrom = time.Now()
	if err := n.logJoins(n.loggedFrom); err != nil {
		return err
	}
	rotateAt := n.nextRotation(n.loggedFrom)
	// One timer for all that is due at a time: a node that has nothing to do sleeps until something comes.
	alarm := time.NewTimer(0)
	for {
		select {
		case now := <-alarm.C:
			if !rotateAt.IsZero() && !now.Before(rotateAt) {
				if err := n.rotate(now, false); err != nil {
					return err
				}
				rotateAt = n.nextRotation(now)
			}
			if err := n.tick(now); err != nil {
				return err
			}
			alarm.Reset(n.pause(now, rotateAt))
		case <-n.bus.Ready():
			now := time.Now()
			if err := n.hear(now); err != nil {
				return err
			}
			alarm.Reset(n.pause(now, rotateAt))
		case s := <-signals:
			n.status.set(stateSignalled)
			if s == syscall.SIGHUP || n.faults.hangStop && n.faults.apply() {
				continue
			}
			return n.terminate()
		case <-crashAt:
			if n.faults.apply() {
				crash()
			}
		case <-eatAt:
			if n.faults.apply() {
				n.eaten = eat(n.faults.eats)
			}
		case <-exitAt:
			if n.faults.apply() {
				return exitStatus(n.faults.exitCode)
			}
		}
	}
}

// tick does what is due at a time, but for the rotation.
func (n *node) tick(now time.Time) error {
	if err := n.logTraffic(now); err != nil {
		return err
	}
	if err := n.follow(now); err != nil {
		return err
	}
	if n.members != nil {
		if err := n.do(now, n.members.Expire(now)); err != nil {
			return err
		}
	}
	if due := n.outbox.due(); !due.IsZero() && !now.Before(due) {
		return n.flush()
	}
	return nil
}

// pause is the time until something is due.
func (n *node) pause(now, rotateAt time.Time) time.Duration {
	pause := time.Hour
	for _, at := range []time.Time{rotateAt, n.trafficDue(), n.outbox.due(), n.expiryDue(), n.toldDue} {
		if !at.IsZero() {
			pause = min(pause, at.Sub(now))
		}
	}
	return max(0, pause)
}

func (n *node) expiryDue() time.Time {
	if n.members == nil {
		return time.Time{}
	}
	return n.members.NextExpiry()
}

func (n *node) terminate() error {
	n.status.set(stateTerminating)
	time.Sleep(n.faults.stopTime)
	n.reporter.say("received termination signal")
	if n.options.hasIface {
		n.reporter.say("0 packets received on interface " + deviceOf(n.options.iface) + ", 0 (0.00%) dropped, 0 (0.00%) not processed")
	}
	if err := n.leaveCluster(time.Now()); err != nil {
		return err
	}
	return n.closeLogs(time.Now())
}

// leaveCluster pushes the last lines and ends the connections; what a logger was sent until then it still writes.
func (n *node) leaveCluster(now time.Time) error {
	if n.bus == nil {
		return nil
	}
	if n.logs == nil {
		if err := n.logEnd(now); err != nil {
			return err
		}
		if err := n.flush(); err != nil {
			return err
		}
	}
	n.bus.Close()
	if n.stopBroker != nil {
		n.stopBroker()
		if err := <-n.brokerDone; err != nil {
			fmt.Fprintln(os.Stderr, n.reporter.problem("error", "%v", err))
		}
	}
	return n.hear(now)
}

// fatalLog words a log that could not be written or moved as Zeek does.
func (n *node) fatalLog(err error) error {
	if left, ok := errors.AsType[*logs.LeftoverError](err); ok {
		return n.reporter.problem("fatal error", "Found leftover/unprocessed log '%s', but failed to rotate it: %s", absolute(left.Log), reason(left.Err))
	}
	return n.reporter.problem("fatal error", "%v", err)
}
