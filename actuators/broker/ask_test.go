package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/internal/rawpeer"
	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
)

// controllee answers as a node does that loads frameworks/control/controllee.
type controllee struct {
	sub, pub *node
	name     string
	format   zeekbus.Format
}

func (r *rig) controllee(name string, format zeekbus.Format) *controllee {
	return &controllee{r.subscriber("zeek.cluster.node." + name + "."), r.publisher(), name, format}
}

// question is the next request.
func (c *controllee) question() zeekbus.Event {
	c.sub.t.Helper()
	m := c.sub.message()
	if len(m) != 4 || m[1] != senderID || m[2] != string(c.format) {
		c.sub.t.Fatalf("a request %q", m)
	}
	e, err := zeekbus.ParseEvent(c.format, []byte(m[3]))
	if err != nil {
		c.sub.t.Fatal(err)
	}
	return e
}

func (c *controllee) answer(event string, args ...string) {
	c.sub.t.Helper()
	e := zeekbus.Event{Name: "Control::" + event}
	for _, a := range args {
		e.Args = append(e.Args, zeekbus.String(a))
	}
	m, err := zeekbus.NewMessage("zeek/control/"+event+"/"+c.name, "zeromq_"+c.name+"_h_1_N", c.format, e)
	if err != nil {
		c.sub.t.Fatal(err)
	}
	c.pub.must(c.pub.Write(rawpeer.AppendMessage(nil, m.AppendFrames(nil)...)))
}

func (r *rig) ask(node, id, format string) <-chan string {
	out := make(chan string, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), testTime)
		defer cancel()
		s, err := r.b.Ask(ctx, node, id, format)
		if err != nil {
			s = "error: " + err.Error()
		}
		out <- s
	}()
	return out
}

func TestAsk(t *testing.T) {
	for _, format := range []zeekbus.Format{zeekbus.FormatBin, zeekbus.FormatJSON} {
		r := newRig(t, Config{})
		c := r.controllee("worker-1", format)
		asked := string(format)
		if format == zeekbus.FormatBin {
			asked = "" // the default
		}
		for _, v := range []struct{ id, value string }{{"Cluster::node", "worker-1"}, {"Cluster::nodes", "a table,\n of two lines\xff\n"}, {"Cluster::node", ""}} {
			got := r.ask("worker-1", v.id, asked)
			if e := c.question(); e.Name != "Control::id_value_request" || len(e.Args) != 1 || e.Args[0] != zeekbus.String(v.id) {
				t.Errorf("asked %+v", e)
			}
			// Answers to other questions, events that are none and what is no event go by.
			c.answer("id_value_response", "another", "x")
			c.answer("net_stats_response", "x")
			c.pub.must(c.pub.Send("zeek/control/id_value_response/worker-1", "me", string(format), "noise"))
			c.pub.must(c.pub.Send("zeek/control/id_value_response/worker-1", "one frame too few"))
			(&controllee{c.sub, c.pub, "worker-2", format}).answer("id_value_response", v.id, "of another node")
			want := v.value
			if format == zeekbus.FormatJSON {
				want = strings.ToValidUTF8(want, "") // as far as JSON goes
			}
			c.answer("id_value_response", v.id, want)
			if s := <-got; s != want {
				t.Errorf("%s: got %q, want %q", format, s, want)
			}
		}
		got := r.ask("worker-1", "", asked)
		if e := c.question(); e.Name != "Control::net_stats_request" || len(e.Args) != 0 {
			t.Errorf("asked %+v", e)
		}
		c.answer("net_stats_response", "1.0 recvd=1 dropped=0 link=1\n")
		if s := <-got; s != "1.0 recvd=1 dropped=0 link=1\n" {
			t.Errorf("got %q", s)
		}
	}
}

func TestAskSeveral(t *testing.T) {
	r := newRig(t, Config{})
	c := r.controllee("worker-1", zeekbus.FormatBin)
	var answers []<-chan string
	const n = 50
	for i := range n {
		answers = append(answers, r.ask("worker-1", fmt.Sprint("X::v", i), ""))
	}
	var ids []string
	for range n {
		ids = append(ids, string(c.question().Args[0].(zeekbus.String)))
	}
	for i := range ids { // in another order than they came
		c.answer("id_value_response", ids[n-1-i], "value of "+ids[n-1-i])
	}
	for i, a := range answers {
		if s := <-a; s != fmt.Sprint("value of X::v", i) {
			t.Errorf("%d: got %q", i, s)
		}
	}
}

func TestAskInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{Settings: Settings{SndHWM: 1, Policy: Block, Heartbeat: -1}})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := r.b.Ask(ctx, "nobody", "X::x", ""); !errors.Is(err, errNobody) {
			t.Errorf("a node that there is not: %v", err)
		}
		if _, err := r.b.Ask(ctx, "worker-1", "X::x", "no-format"); err == nil {
			t.Error("a format that there is not")
		}
		n := r.join(rawpeer.XSUB(1), "")
		n.must(n.Subscribe("zeek.cluster.node.worker-1."))
		synctest.Wait()
		var asking sync.WaitGroup
		asking.Go(func() {
			if _, err := r.b.Ask(ctx, "worker-1", "X::x", ""); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("no answer: %v", err)
			}
		})
		synctest.Wait()
		begun := time.Now()
		if _, err := r.b.Ask(ctx, "worker-1", "X::x", ""); !errors.Is(err, zeekbus.ErrAsked) {
			t.Errorf("the same twice: %v", err)
		}
		if _, err := r.b.Ask(ctx, "worker-1", "X::y", ""); !errors.Is(err, errFull) || time.Since(begun) > 0 {
			t.Errorf("a node that takes nothing: %v after %v", err, time.Since(begun))
		}
		asking.Wait()
		if n := r.b.asker.asks.Len(); n != 0 {
			t.Errorf("%d questions are left", n)
		}
		// It can be asked again after that, and the end of the broker ends a question.
		n.listen()
		synctest.Wait()
		asking.Go(func() {
			if _, err := r.b.Ask(t.Context(), "worker-1", "X::x", ""); err == nil {
				t.Error("an answer from nowhere")
			}
		})
		synctest.Wait()
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		asking.Wait()
	})
}

// TestOwnSubscriptionIsNeverDisconnected: a flood of answers that nobody asked for does not cost the broker its ears.
func TestOwnSubscriptionIsNeverDisconnected(t *testing.T) {
	r := newRig(t, Config{Settings: Settings{SndHWM: 1, QueueBytes: 1, Policy: Disconnect}})
	c := r.controllee("worker-1", zeekbus.FormatBin)
	for range 50 {
		for range 50 {
			c.answer("id_value_response", "nobody", "asked")
		}
		c.pub.settle()
	}
	got := r.ask("worker-1", "X::x", "")
	c.question()
	for {
		c.answer("id_value_response", "X::x", "heard") // one may be dropped
		select {
		case s := <-got:
			if s != "heard" {
				t.Errorf("got %q", s)
			}
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}
