package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/zeekrec/zeekrec/testdata/zeek/logs"
	"github.com/zeekrec/zeekrec/testdata/zeek/script"
)

// node is a Zeek process after its scripts are read.
type node struct {
	options  *options
	reporter reporter
	program  *script.Program
	faults   faults
	status   statusFile
	getenv   func(string) string

	logs *logs.Set // nil: logs nothing locally
	conn int       // lines of conn.log so far
	// loggedFrom is when logging began; lines are due by its distance from now.
	loggedFrom time.Time
}

// live is the process from the end of parsing to its own end. The error is what
// Zeek prints when it cannot go on, or an exitStatus.
func (n *node) live() error {
	// Until it runs, Zeek dies of TERM like any program; so does the stand-in,
	// since it asks for the signals only then.
	if n.faults.hangStart {
		select {}
	}
	time.Sleep(n.faults.startTime)
	if err := n.open(); err != nil {
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
func (n *node) open() error {
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
	return n.joinCluster()
}

func (n *node) loop(signals <-chan os.Signal) error {
	crashAt, exitAt := timer(n.faults.crash), timer(n.faults.exit)
	// One timer for the next line and the next rotation: a node that does not log
	// sleeps until a signal comes.
	alarm := time.NewTimer(0)
	if n.logs == nil {
		alarm.Stop()
	} else if err := n.logJoins(time.Now()); err != nil {
		return err
	}
	rotateAt := n.nextRotation(time.Now())
	for {
		select {
		case now := <-alarm.C:
			if !rotateAt.IsZero() && !now.Before(rotateAt) {
				if err := n.rotate(now, false); err != nil {
					return err
				}
				rotateAt = n.nextRotation(now)
			}
			if err := n.logTraffic(now); err != nil {
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
		case <-exitAt:
			if n.faults.apply() {
				return exitStatus(n.faults.exitCode)
			}
		}
	}
}

func (n *node) terminate() error {
	n.status.set(stateTerminating)
	time.Sleep(n.faults.stopTime)
	n.reporter.say("received termination signal")
	if n.options.hasIface {
		n.reporter.say("0 packets received on interface " + deviceOf(n.options.iface) + ", 0 (0.00%) dropped, 0 (0.00%) not processed")
	}
	return n.closeLogs(time.Now())
}

// fatalLog words a log that could not be written or moved as Zeek does.
func (n *node) fatalLog(err error) error {
	if left, ok := errors.AsType[*logs.LeftoverError](err); ok {
		return n.reporter.problem("fatal error", "Found leftover/unprocessed log '%s', but failed to rotate it: %s", absolute(left.Log), reason(left.Err))
	}
	return n.reporter.problem("fatal error", "%v", err)
}
