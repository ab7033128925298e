package main

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// TestLoggersComeAndGo: with spare endpoints (logger_slots) loggers join a running cluster and leave it, nobody else is touched,
// and every line that was written meanwhile is there once.
func TestLoggersComeAndGo(t *testing.T) {
	w := newWorks(t)
	w.settings["logger_slots"] = "2"
	w.begin()

	w.add("logger-2")
	w.change("a logger more", "logger-2", w.String())
	now := time.Now()
	w.asOne(now)
	w.takes("logger-2")

	w.remove("logger-1")
	w.change("the first one leaves", "-logger-1", w.String())
	w.asOne(time.Now())

	w.remove("logger-2")
	w.add("logger-3")
	w.change("another one takes over", "-logger-2 logger-3", w.String())
	w.asOne(time.Now())
	w.takes("logger-3")

	w.add("logger-1")
	w.change("the first one is back", "logger-1", w.String())
	w.asOne(time.Now())
	if lines := w.complaints(); len(lines) > 0 {
		t.Errorf("%q", lines)
	}
	before := pids(w.settled(""))
	if out, code := w.zeekrec("restart", "dmz/logger-3", "--reason", "to see"); code != 0 {
		t.Fatal(out)
	}
	w.cluster("logger-3 is another one", waitLong, func(c engine.ClusterStatus) error {
		if pids(c)["logger-3"] == before["logger-3"] || !c.Healthy {
			return errors.New(c.Reason)
		}
		return nil
	})
	w.asOne(time.Now())
	w.end()
	w.everyLineOnce()
}

// takes waits until a logger writes lines.
func (w *works) takes(logger string) {
	w.t.Helper()
	w.eventually(logger+" takes lines", waitLong, func() error {
		if len(w.notes(logger)) == 0 {
			return errors.New("it has not begun")
		}
		if n := len(w.linesAt(logger)); n == 0 {
			return fmt.Errorf("%d lines", n)
		}
		return nil
	})
}

// end stops the cluster as a person does, and waits until nothing of it runs.
func (w *works) end() {
	w.t.Helper()
	if out, code := w.zeekrec("stop", "dmz", "--reason", "the end"); code != 0 {
		w.t.Fatal(out)
	}
	w.cluster("all are stopped", 2*waitLong, func(c engine.ClusterStatus) error {
		for _, r := range c.Resources {
			if r.PID != 0 {
				return fmt.Errorf("%s runs", r.Name)
			}
		}
		return nil
	})
}
