package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker"
)

// brokerTable is a broker's status for people.
func brokerTable(st broker.Status, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "broker %s, process %d, up %s\n", st.Version, st.PID, now.Sub(st.Since).Round(time.Second))
	fmt.Fprintf(&b, "xpub %s, xsub %s, %s\n", st.XPub, st.XSub, encryption(st.Curve))
	fmt.Fprintf(&b, "queues of %s, then %s\n", queueText(st.Settings), st.Settings.Policy)
	if st.Holding {
		b.WriteString("holding publishers back until those who were there before are back\n")
	}
	fmt.Fprintf(&b, "\n%d received, %d sent, %d dropped\n", st.Received.Messages, st.Sent.Messages, st.Dropped.Messages)
	table := func(head string, rows func(line func(format string, args ...any))) {
		b.WriteString("\n")
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, head)
		rows(func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) })
		_ = w.Flush()
	}
	if len(st.Members) > 0 {
		table("NODE\tROLE\tHOST\tPID\tJOINED", func(line func(string, ...any)) {
			for _, m := range st.Members {
				joined := now.Sub(m.Since).Round(time.Second).String() + " ago"
				if !m.Connected {
					joined = "connection lost " + joined
				}
				line("%s\t%s\t%s\t%d\t%s", m.Name, orDash(m.Role), orDash(m.Host), m.PID, joined)
			}
		})
	}
	if len(st.Peers) > 0 {
		table("CONNECTION\tNODE\tADDRESS\tMECHANISM\tMESSAGES\tQUEUED\tDROPPED", func(line func(string, ...any)) {
			for _, p := range st.Peers {
				stalled := ""
				if !p.Stalled.IsZero() {
					stalled = "  takes nothing since " + p.Stalled.Local().Format("15:04:05")
				}
				line("%s\t%s\t%s\t%s\t%d\t%d\t%d%s", p.Kind, orDash(p.Node), p.Address, p.Mechanism,
					p.Passed.Messages, p.Queued.Messages, p.Dropped.Messages, stalled)
			}
		})
	}
	if len(st.Topics) > 0 {
		table("TOPICS\tRECEIVED\tSENT\tDROPPED", func(line func(string, ...any)) {
			for _, t := range st.Topics {
				line("%s\t%d\t%d\t%d", t.Class, t.Received.Messages, t.Sent.Messages, t.Dropped.Messages)
			}
		})
	}
	return b.String()
}

func encryption(keys []string) string {
	if len(keys) == 0 {
		return "not encrypted"
	}
	if len(keys) == 1 {
		return "encrypted"
	}
	return fmt.Sprintf("encrypted, %d keys accepted", len(keys))
}

func queueText(s broker.Settings) string {
	msgs, bytes := "any number of messages", ""
	if s.SndHWM >= 0 {
		msgs = fmt.Sprintf("%d messages", s.SndHWM)
	}
	if s.QueueBytes >= 0 {
		bytes = fmt.Sprintf(" or %d MiB", s.QueueBytes>>20)
	}
	return msgs + bytes
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
