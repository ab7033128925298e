package bus

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func TestSubjects(t *testing.T) {
	publish, subscribe := AgentSubjects("a.example")
	if want := []string{"zr.v1.report.a%2Eexample", "zr.v1.stream.a%2Eexample.>", "zr.v1.renew.a%2Eexample"}; !slices.Equal(publish, want) {
		t.Errorf("it publishes to %q", publish)
	}
	if want := []string{"zr.v1.ask.a%2Eexample", "zr.v1.want.a%2Eexample", "zr.v1.want._all", "zr.v1.cancel.a%2Eexample", "_INBOX_a%2Eexample.>"}; !slices.Equal(subscribe, want) {
		t.Errorf("it subscribes to %q", subscribe)
	}
	publish, subscribe = EnrolSubjects("x")
	if !slices.Equal(publish, []string{"zr.v1.enrol"}) || !slices.Equal(subscribe, []string{"_INBOX_enrol_x.>"}) {
		t.Errorf("who enrols has %q and %q", publish, subscribe)
	}
	for _, instance := range []string{"enrol_x", "_all", "_INBOX"} { // they are called like something else
		_, s := AgentSubjects(instance)
		for _, other := range []string{"_INBOX_enrol_x.>", "_INBOX.>"} {
			if slices.Contains(s, other) {
				t.Errorf("%s hears %s", instance, other)
			}
		}
		if s[1] == s[2] {
			t.Errorf("%s is everybody", instance)
		}
	}
	for subject, in := range map[string]bool{
		"_INBOX_a.x": true, "_INBOX_a.x.1": true, "_INBOX_a": false, "_INBOX_a.": false, "_INBOX_ab.x": false, "zr.v1.ask.b": false, "_INBOX_a.>": false, "": false,
	} {
		if InInbox("a", subject) != in {
			t.Errorf("%q in the inbox of a: %t", subject, !in)
		}
	}
}

// TestPermissions: an agent has no part in what is another's. That all works with these permissions is seen in all tests that have
// a bench.
func TestPermissions(t *testing.T) {
	b := newBench(t)
	b.agent("b", t.TempDir(), "1")
	a, enrol := func() *nats.Conn { return b.as("a") }, func() *nats.Conn {
		return b.connect("enrol", nats.CustomInboxPrefix(EnrolInboxPrefix("x1")))
	}
	subscribe := func(subject string) func(*nats.Conn) error {
		return func(c *nats.Conn) error { _, err := c.SubscribeSync(subject); return err }
	}
	publish := func(subject string) func(*nats.Conn) error {
		return func(c *nats.Conn) error { return c.PublishRequest(subject, c.NewRespInbox(), []byte("{}")) }
	}
	for _, c := range []struct {
		what string
		as   func() *nats.Conn
		do   func(*nats.Conn) error
		ok   bool
	}{
		{"hear what is asked of it", a, subscribe("zr.v1.ask.a"), true},
		{"hear what is asked of another", a, subscribe("zr.v1.ask.b"), false},
		{"hear what is asked of all", a, subscribe("zr.v1.ask.*"), false},
		{"hear that another's report is wanted", a, subscribe("zr.v1.want.b"), false},
		{"hear another's report", a, subscribe("zr.v1.report.b"), false},
		{"hear its own report", a, subscribe("zr.v1.report.a"), false},
		{"hear another's streams", a, subscribe("zr.v1.stream.b.*"), false},
		{"hear its own streams", a, subscribe("zr.v1.stream.a.>"), false},
		{"hear what is cancelled", a, subscribe("zr.v1.cancel.b"), false},
		{"hear who renews", a, subscribe("zr.v1.renew.*"), false},
		{"hear who enrols", a, subscribe("zr.v1.enrol"), false},
		{"have an inbox", a, subscribe("_INBOX_a.x.*"), true},
		{"have another's inbox", a, subscribe("_INBOX_b.>"), false},
		{"have the controller's inbox", a, subscribe("_INBOX.>"), false},
		{"have the inbox of who enrols", a, subscribe("_INBOX_enrol_x1.>"), false},
		{"hear all", a, subscribe(">"), false},
		{"hear all of zeekrec's", a, subscribe("zr.v1.>"), false},
		{"hear all in a group", a, func(c *nats.Conn) error { _, err := c.QueueSubscribeSync("zr.v1.>", "g"); return err }, false},
		{"hear of JetStream", a, subscribe("$JS.>"), false},
		{"hear of the system", a, subscribe("$SYS.>"), false},
		{"report", a, publish("zr.v1.report.a"), true},
		{"report as another", a, publish("zr.v1.report.b"), false},
		{"renew", a, publish("zr.v1.renew.a"), true},
		{"renew as another", a, publish("zr.v1.renew.b"), false},
		{"enrol", a, publish("zr.v1.enrol"), false},
		{"ask another", a, publish("zr.v1.ask.b"), false},
		{"ask itself", a, publish("zr.v1.ask.a"), false},
		{"want another's report", a, publish("zr.v1.want.b"), false},
		{"want all reports", a, publish("zr.v1.want._all"), false},
		{"cancel another's stream", a, publish("zr.v1.cancel.b"), false},
		{"send another's stream", a, publish("zr.v1.stream.b.x"), false},
		{"answer for another", a, publish("_INBOX.x.y"), false},
		{"answer another", a, publish("_INBOX_b.x.y"), false},
		{"use JetStream", a, publish("$JS.API.INFO"), false},
		{"ask the system", a, publish("$SYS.REQ.SERVER.PING"), false},
		{"say anything", a, publish("x"), false},
		{"enrol with a token", enrol, publish("zr.v1.enrol"), true},
		{"hear of it", enrol, subscribe("_INBOX_enrol_x1.y.*"), true},
		{"hear of others that enrol", enrol, subscribe("_INBOX_enrol_x2.>"), false},
		{"hear all that enrol", enrol, subscribe("zr.v1.enrol"), false},
		{"report with a token", enrol, publish("zr.v1.report.b"), false},
		{"renew with a token", enrol, publish("zr.v1.renew.b"), false},
		{"hear an agent's answers with a token", enrol, subscribe("_INBOX_b.>"), false},
	} {
		conn := c.as()
		if err := c.do(conn); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		if err := conn.FlushTimeout(10 * time.Second); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		err := conn.LastError()
		if (err == nil) != c.ok || err != nil && !strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
			t.Errorf("%s: %v", c.what, err)
		}
		conn.Close()
	}
}
