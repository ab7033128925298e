package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
	"github.com/zeekrec/zeekrec/testdata/zeek/bus"
)

// reply is what zeekrec's own script, zeekrec-answer.zeek, answers to an event; false: nothing.
func (n *node) reply(now time.Time, e zeekbus.Event) (bus.Publication, bool) {
	if e.Name != zeekbus.EventAsk || len(e.Args) != 3 || !n.program.Loaded("/zeekrec-answer.zeek") {
		return bus.Publication{}, false
	}
	var args [3]string
	for i, a := range e.Args {
		s, ok := a.(zeekbus.String)
		if !ok {
			return bus.Publication{}, false
		}
		args[i] = string(s)
	}
	r := zeekbus.Reply{Number: args[0], Node: n.self.Name, OK: true}
	switch kind, arg := zeekbus.QuestionKind(args[1]), args[2]; {
	case kind == zeekbus.QuestionPing:
	case kind == zeekbus.QuestionNetStats:
		received, dropped := n.countPackets(now)
		r.Text = fmt.Sprintf(`{"time":%s,"stats":{"pkts_recvd":%d,"pkts_dropped":%d,"pkts_link":0,"bytes_recvd":0}}`, stamp(now), received, dropped)
	case kind != zeekbus.QuestionValue:
		r.OK, r.Text = false, fmt.Sprintf("unknown question %q", args[1])
	case strings.Contains(strings.ToLower(arg), "secretkey"):
		r.OK, r.Text = false, "not shown, since it is a secret"
	case arg == "Cluster::active_node_ids":
		ids := map[string][]string{}
		for role, of := range n.members.Active() {
			ids["Cluster::"+role] = of
		}
		r.Text = toJSON(ids)
	default:
		if v := n.lookup(arg); v == "<unknown id>" {
			r.OK, r.Text = false, "unknown id"
		} else {
			r.Text = valueJSON(v)
		}
	}
	return bus.Publication{Topic: r.Topic(), Event: r.Event()}, true
}

// valueJSON is to_json of a value that is printed so; of a string that looks like a number, it is wrong.
func valueJSON(printed string) string {
	switch printed {
	case "T":
		return "true"
	case "F":
		return "false"
	}
	if number, proto, ok := strings.Cut(printed, "/"); ok && isNumeral(number) {
		return fmt.Sprintf(`{"port":%s,"proto":%q}`, number, proto)
	}
	if isNumeral(printed) {
		return printed
	}
	return toJSON(printed)
}

func isNumeral(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil && strings.Trim(s, "-.0123456789") == ""
}

func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "null"
	}
	return string(b)
}
