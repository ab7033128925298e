package admin_test

import (
	"strings"
	"testing"

	"github.com/zeekrec/zeekrec/actuators/broker"
	"github.com/zeekrec/zeekrec/actuators/broker/admin"
	"github.com/zeekrec/zeekrec/actuators/broker/internal/rawpeer"
	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
)

// answers plays zeekrec's script on worker-1: it knows one value, and answers a ping.
func answers(t *testing.T, sub, pub *rawpeer.Peer) {
	for {
		it, err := sub.Next()
		if err != nil {
			return
		}
		if len(it.Frames) != 4 {
			continue
		}
		e, err := zeekbus.ParseEvent(zeekbus.FormatBin, []byte(it.Message()[3]))
		if err != nil {
			t.Error(err)
			return
		}
		r := zeekbus.Reply{Number: string(e.Args[0].(zeekbus.String)), Node: "worker-1", Text: "unknown id"}
		switch string(e.Args[1].(zeekbus.String)) + " " + string(e.Args[2].(zeekbus.String)) {
		case "ping ":
			r.OK, r.Text = true, ""
		case "value Cluster::node":
			r.OK, r.Text = true, `"worker-1"`
		case "value X::silent":
			continue
		}
		m, err := zeekbus.NewMessage(r.Topic(), "zeromq_worker-1_host_4711_Nx", zeekbus.FormatBin, r.Event())
		if err != nil {
			t.Error(err)
			return
		}
		if pub.Write(rawpeer.AppendMessage(nil, m.AppendFrames(nil)...)) != nil {
			return
		}
	}
}

func TestQuestion(t *testing.T) {
	r := newRig(t, broker.Config{})
	sub, pub := r.node(t)
	go answers(t, sub, pub)
	for _, tt := range []struct{ id, value, refused string }{
		{"Cluster::node", `"worker-1"`, ""},
		{"nope", "", "unknown id"},
	} {
		got, err := r.client.Ask(t.Context(), admin.Question{Node: "worker-1", What: "value", ID: tt.id})
		if want := (admin.Answer{Node: "worker-1", ID: tt.id, Value: tt.value, Refused: tt.refused}); err != nil || got != want {
			t.Errorf("%s: %+v, %v", tt.id, got, err)
		}
	}
	for _, tt := range []struct{ node, id, why string }{
		{"nobody", "Cluster::node", "nobody is subscribed"},
		{"worker-1", "X::silent", "worker-1 did not answer"},
	} {
		if _, err := r.client.Ask(t.Context(), admin.Question{Node: tt.node, What: "value", ID: tt.id, TimeoutSeconds: 1}); err == nil || !strings.Contains(err.Error(), tt.why) {
			t.Errorf("%s of %s: %v", tt.id, tt.node, err)
		}
	}
	got, err := r.client.Ping(t.Context(), admin.Ping{Nodes: []string{"worker-1", "nobody"}})
	if took, ok := got.Answered["worker-1"]; err != nil || !ok || took < 0 || len(got.Answered) != 1 || len(got.Absent) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestPingOfWhoDoesNotAnswer(t *testing.T) {
	r := newRig(t, broker.Config{})
	r.node(t)
	got, err := r.client.Ping(t.Context(), admin.Ping{Nodes: []string{"worker-1"}, TimeoutMillis: 50})
	if err != nil || len(got.Answered) != 0 || len(got.Absent) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}
