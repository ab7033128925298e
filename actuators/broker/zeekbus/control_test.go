package zeekbus

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMessage(t *testing.T) {
	m, err := NewMessage("topic", "sender", FormatBin, Event{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	frames := m.AppendFrames([][]byte{[]byte("before")})
	if len(frames) != 5 || string(frames[1]) != "topic" || string(frames[2]) != "sender" || string(frames[3]) != "broker-bin-v1" {
		t.Errorf("%q", frames)
	}
	again, err := SplitMessage(frames[1:])
	if err != nil || !cmp.Equal(m, again) {
		t.Errorf("%+v, %v", again, err)
	}
	if e, err := again.Event(); err != nil || e.Name != "x" {
		t.Errorf("%+v, %v", e, err)
	}
	for _, n := range []int{0, 1, 3, 5} {
		if _, err := SplitMessage(make([][]byte, n)); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%d frames, not 4", n)) {
			t.Errorf("%d frames: %v", n, err)
		}
	}
	again.Format = []byte("else\n")
	if _, err := again.Event(); err == nil || err.Error() != `cannot parse "else\n": not a format of events, at byte 0` {
		t.Error(err)
	}
	for why, e := range map[string]Event{
		"without a name":       {},
		"a network timestamp":  {Name: "x", Meta: []Meta{{NetworkTimestamp, Count(1)}}},
		"there is a nil Value": {Name: "x", Args: []Value{nil}},
	} {
		if _, err := NewMessage("", "", FormatJSON, e); err == nil || !strings.Contains(err.Error(), why) || !strings.HasPrefix(err.Error(), "cannot publish") {
			t.Errorf("%s: %v", why, err)
		}
	}
	if _, err := NewMessage("", "", FormatLog, Event{Name: "x"}); err == nil {
		t.Error("an event in the format of logs")
	}
}

func TestParseEventRefuses(t *testing.T) {
	v := Count(1)
	name := String("x")
	for why, bad := range map[string]Value{
		"not a message of three parts":           Vector{v, v},
		"not a message of three":                 v,
		"another version":                        Vector{Count(2), v, Vector{name, Vector{}}},
		"another version than 1":                 Vector{Vector{}, v, Vector{name, Vector{}}},
		"no event":                               Vector{v, Count(5), Vector{name, Vector{}}},
		"without two or three parts":             Vector{v, v, Vector{name}},
		"an event without two":                   Vector{v, v, name},
		"an event without a name":                Vector{v, v, Vector{String(""), Vector{}}},
		"an event without a nam":                 Vector{v, v, Vector{Enum("x"), Vector{}}},
		"an event without arguments":             Vector{v, v, Vector{name, Set{}}},
		"metadata that are no vector":            Vector{v, v, Vector{name, Vector{}, name}},
		"metadata that are no pairs":             Vector{v, v, Vector{name, Vector{}, Vector{Vector{v}}}},
		"metadata that are no pair":              Vector{v, v, Vector{name, Vector{}, Vector{v}}},
		"metadata without an id":                 Vector{v, v, Vector{name, Vector{}, Vector{Vector{name, v}}}},
		"a network timestamp that is none":       Vector{v, v, Vector{name, Vector{}, Vector{Vector{v, v}}}},
		"an event without two or three parts, a": Vector{v, v, Vector{name, Vector{}, Vector{}, Vector{}}},
	} {
		for format, f := range formats {
			b, err := f.append(nil, bad)
			if err != nil {
				t.Fatal(err)
			}
			e, err := ParseEvent(format, b)
			if err == nil || !strings.Contains(err.Error(), why) || e.Name != "" {
				t.Errorf("%s: %+v, %v", why, e, err)
			}
		}
	}
}

func TestHello(t *testing.T) {
	h := Hello{Name: "worker-1", ID: "zeromq_worker-1_h_1_N"}
	for name, e := range map[string]Event{EventZeroMQHello: h.ZeroMQEvent(), EventClusterHello: h.ClusterEvent()} {
		if got, err := ParseHello(e); err != nil || got != h || e.Name != name {
			t.Errorf("%s: %+v, %v", e.Name, got, err)
		}
		e.Args = e.Args[:1]
		if _, err := ParseHello(e); err == nil || !strings.Contains(err.Error(), "1 arguments, not 2") {
			t.Error(err)
		}
		e.Args = []Value{String("x"), Count(1)}
		if _, err := ParseHello(e); err == nil || !strings.Contains(err.Error(), "argument 2 is no string") {
			t.Error(err)
		}
	}
	if _, err := ParseHello(Event{Name: "Cluster::node_up"}); err == nil {
		t.Error("no error")
	}
}

func answer(r Request, args ...Value) (topic []byte, e Event) {
	return []byte(r.AnswerTopic()), Event{Name: strings.Replace(r.Event().Name, "_request", "_response", 1), Args: args}
}

func TestAsks(t *testing.T) {
	var asks Asks[int]
	value := Request{Node: "worker-1", Kind: AskIDValue, ID: "a"}
	stats := Request{Node: "worker-1", Kind: AskNetStats}
	requests := []Request{value, {Node: "worker-1", Kind: AskIDValue, ID: "b"}, {Node: "worker-2", Kind: AskIDValue, ID: "a"}, stats,
		{Node: "worker-1", Kind: AskPeerStatus}}
	for i, r := range requests {
		if err := asks.Add(r, i); err != nil {
			t.Fatal(err)
		}
		if err := asks.Add(r, -1); !errors.Is(err, ErrAsked) || !strings.Contains(err.Error(), r.String()) {
			t.Errorf("twice: %v", err)
		}
	}
	if err := asks.Add(Request{Node: "worker-1", Kind: AskNetStats, ID: "ignored"}, -1); !errors.Is(err, ErrAsked) {
		t.Errorf("net stats have no id: %v", err)
	}
	if value.String() != "id_value a of worker-1" || stats.String() != "net_stats of worker-1" || value.Topic() != "zeek.cluster.node.worker-1." {
		t.Error(value, stats, value.Topic())
	}
	// What answers nothing leaves everything as it is.
	topic, e := answer(value, String("a"), String("v"))
	for name, bad := range map[string]func(topic *[]byte, e *Event){
		"another topic": func(topic *[]byte, _ *Event) { *topic = []byte("zeek.control.id_value_response.worker-1") },
		"another event": func(_ *[]byte, e *Event) { e.Name = "Control::net_stats_response" },
		"a request": func(topic *[]byte, e *Event) {
			*topic, e.Name = []byte("zeek/control/id_value_request/worker-1"), "Control::id_value_request"
		},
		"an unknown answer": func(topic *[]byte, e *Event) {
			*topic, e.Name = []byte("zeek/control/shutdown_response/worker-1"), "Control::shutdown_response"
		},
		"another node":      func(topic *[]byte, _ *Event) { *topic = []byte("zeek/control/id_value_response/worker-3") },
		"another id":        func(_ *[]byte, e *Event) { e.Args = []Value{String("c"), String("v")} },
		"too few arguments": func(_ *[]byte, e *Event) { e.Args = []Value{String("a")} },
		"another type":      func(_ *[]byte, e *Event) { e.Args = []Value{String("a"), Count(1)} },
		"no arguments":      func(topic *[]byte, e *Event) { *topic, *e = answer(stats) },
	} {
		topic, e := topic, e
		bad(&topic, &e)
		if i, a, ok := asks.Take(topic, e); ok || a != "" {
			t.Errorf("%s: %d %q", name, i, a)
		}
	}
	if asks.Len() != len(requests) {
		t.Errorf("%d left", asks.Len())
	}
	for i, r := range requests {
		args := []Value{String("v")}
		if r.Kind == AskIDValue {
			args = []Value{String(r.ID), String("v")}
		}
		topic, e := answer(r, args...)
		if got, a, ok := asks.Take(topic, e); got != i || a != "v" || !ok {
			t.Errorf("%s: %d %q %t", r, got, a, ok)
		}
		if _, _, ok := asks.Take(topic, e); ok {
			t.Errorf("%s: taken twice", r)
		}
	}
	if err := asks.Add(stats, 7); err != nil {
		t.Error(err)
	}
	if i, ok := asks.Drop(stats); i != 7 || !ok {
		t.Error(i, ok)
	}
	if _, ok := asks.Drop(stats); ok || asks.Len() != 0 {
		t.Error("still there")
	}
	for i := range MaxAsks {
		if err := asks.Add(Request{Node: fmt.Sprint(i)}, i); err != nil {
			t.Fatal(err)
		}
	}
	if err := asks.Add(stats, 0); !errors.Is(err, ErrTooManyAsks) {
		t.Error(err)
	}
}

func TestParseNetStats(t *testing.T) {
	s, err := ParseNetStats("1795253374.694585 recvd=10 dropped=2 link=18446744073709551615\n")
	if want := (NetStats{1795253374.694585, 10, 2, 1<<64 - 1}); err != nil || s != want {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range []string{"", "1 recvd=1 dropped=2", "1 recvd=1 dropped=2 link=3 x", "x recvd=1 dropped=2 link=3", "1 recvd=-1 dropped=2 link=3",
		"1 dropped=2 recvd=1 link=3", "1 1 2 3"} {
		if s, err := ParseNetStats(bad); err == nil || s != (NetStats{}) {
			t.Errorf("%q: %+v", bad, s)
		}
	}
}
