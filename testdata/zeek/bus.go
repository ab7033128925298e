package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
	"github.com/zeekrec/zeekrec/testdata/zeek/bus"
	"github.com/zeekrec/zeekrec/testdata/zeek/logs"
	"github.com/zeekrec/zeekrec/testdata/zeek/script"
)

// hear does what follows from everything that has come from the bus.
func (n *node) hear(now time.Time) error {
	for _, in := range n.bus.Take() {
		var err error
		switch {
		case in.Failure != nil:
			if in.Failure.Fatal() {
				return zeekSays("fatal error in %s, line 694: %s", zeromqScript, in.Failure)
			}
			err = n.report(now, "warning", zeromqScript+", line 691", in.Failure.String())
		case in.LogWrite != nil:
			err = n.logRemote(now, *in.LogWrite)
		case in.Event != nil:
			err = n.hearEvent(now, *in.Event)
		case in.Cancel:
			err = n.do(now, n.members.Cancelled(in.Subscription))
		default:
			err = n.do(now, n.members.Subscribed(now, in.Subscription))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (n *node) hearEvent(now time.Time, m zeekbus.Message) error {
	if string(m.Format) != string(n.format) {
		return n.report(now, "error", "", fmt.Sprintf("ProcessEventMessage: Wrong format: %s vs %s", m.Format, n.format))
	}
	e, err := m.Event()
	if err != nil {
		return n.report(now, "error", "", fmt.Sprintf("Failed to unserialize message: %s: %v", m.Topic, err))
	}
	if h, err := zeekbus.ParseHello(e); err == nil {
		return n.do(now, n.members.Greeted(now, e.Name, h))
	}
	// Of other events the stand-in does not know which of them the scripts have declared; it has no handler for them.
	if answer, ok := n.answer(now, e); ok {
		n.publish(answer)
	} else if answer, ok := n.reply(now, e); ok {
		n.publish(answer)
	}
	return nil
}

// do does what the scripts would do next.
func (n *node) do(now time.Time, e bus.Effects) error {
	for _, r := range e.Reports {
		if err := n.report(now, r.Level, script.Prefix+"/"+r.Place, r.Text); err != nil {
			return err
		}
	}
	for _, p := range e.Publish {
		n.publish(p)
	}
	for _, text := range e.Log {
		if err := n.log(now, logs.Cluster, stamp(now), n.self.Name, text); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) publish(p bus.Publication) {
	m, err := zeekbus.NewMessage(p.Topic, n.self.ID, n.format, p.Event)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	n.bus.Publish(m)
}

// report says something by way of Zeek's reporter, on stderr and in reporter.log. An empty place is what the reporter makes of it.
func (n *node) report(now time.Time, level, place, text string) error {
	if place == "" {
		place = n.reporter.place
		fmt.Fprintln(os.Stderr, n.reporter.problem(level, "%s", text))
	} else {
		fmt.Fprintf(os.Stderr, "%s in %s: %s\n", level, place, text)
	}
	return n.log(now, logs.Reporter, stamp(now), "Reporter::"+strings.ToUpper(level), text, orEmpty(place))
}

// log writes a line, here or, where others log, to them.
func (n *node) log(now time.Time, to logs.Stream, values ...string) error {
	if n.logs != nil {
		if err := n.logs.Write(now, to, values...); err != nil {
			return n.fatalLog(err)
		}
		return nil
	}
	if n.outbox == nil {
		return nil
	}
	pushed, err := n.outbox.add(now, to, slices.Clone(values))
	return n.pushed(pushed, err)
}

// flush pushes the lines that wait.
func (n *node) flush() error {
	if n.outbox == nil {
		return nil
	}
	pushed, err := n.outbox.flush()
	return n.pushed(pushed, err)
}

func (n *node) pushed(ok bool, err error) error {
	if err != nil {
		return n.reporter.problem("fatal error", "%v", err)
	}
	if !ok {
		// It would not reach reporter.log either.
		fmt.Fprintln(os.Stderr, n.reporter.problem("error", "Failed to send log write. HWM reached?"))
	}
	return nil
}

// logRemote writes what another node has pushed.
func (n *node) logRemote(now time.Time, m zeekbus.Message) error {
	w, err := m.LogWrite()
	if err != nil {
		return n.report(now, "error", "", fmt.Sprintf("Failed to unserialize log message: %v", err))
	}
	if n.logs == nil {
		return nil
	}
	stream, lines, err := logs.FromLogWrite(w)
	if err != nil {
		return n.report(now, "error", "", err.Error())
	}
	for _, values := range lines {
		err := n.logs.Write(now, stream, values...)
		if refused, ok := errors.AsType[*logs.FieldsError](err); ok {
			return n.report(now, "error", "", refused.Error())
		}
		if err != nil {
			return n.fatalLog(err)
		}
	}
	return nil
}

func orEmpty(text string) string {
	if text == "" {
		return logs.Empty
	}
	return text
}
