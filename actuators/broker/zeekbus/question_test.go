package zeekbus

import (
	"strings"
	"testing"
)

func TestQuestion(t *testing.T) {
	q := Question{Node: "worker-1", Number: "7", Kind: QuestionValue, Arg: "Cluster::node"}
	if q.Topic() != "zeek.cluster.node.worker-1." || q.String() != "value Cluster::node of worker-1" {
		t.Errorf("%s at %s", q, q.Topic())
	}
	if s := (Question{Node: "a", Kind: QuestionPing}).String(); s != "ping of a" {
		t.Error(s)
	}
	for _, format := range []Format{FormatBin, FormatJSON} {
		for _, want := range []Reply{{"7", "worker-1", true, `{"a":"ü"}`}, {"8", "a", false, "unknown id"}, {"", "a", true, ""}} {
			m, err := NewMessage(want.Topic(), "sender", format, want.Event())
			if err != nil {
				t.Fatal(err)
			}
			e, err := m.Event()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := ParseReply(m.Topic, e); err != nil || got != want {
				t.Errorf("%s: %+v, %v", format, got, err)
			}
		}
	}
}

func TestParseReplyRefuses(t *testing.T) {
	good := Reply{"7", "a", true, ""}
	with := func(change func(*Event)) Event {
		e := good.Event()
		change(&e)
		return e
	}
	for why, v := range map[string]struct {
		topic string
		e     Event
	}{
		"it is none":                 {good.Topic(), q0.Event()},
		"it has 3 arguments":         {good.Topic(), with(func(e *Event) { e.Args = e.Args[:3] })},
		"its arguments are not two":  {good.Topic(), with(func(e *Event) { e.Args[2] = Count(1) })},
		"its arguments are not":      {good.Topic(), with(func(e *Event) { e.Args[0] = Count(1) })},
		"arguments are not two stri": {good.Topic(), with(func(e *Event) { e.Args[1] = Boolean(true) })},
		"are not two strings":        {good.Topic(), with(func(e *Event) { e.Args[3] = nil })},
		"is not that of the node":    {"zeekrec/answer/b", good.Event()},
		"is not that of the":         {"zeekrec/answer/aa", good.Event()},
	} {
		if _, err := ParseReply([]byte(v.topic), v.e); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", why, err)
		}
	}
}

var q0 = Question{Node: "a", Number: "1", Kind: QuestionPing}
