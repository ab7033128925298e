package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/internal/rawpeer"
	"github.com/zeekrec/zeekrec/actuators/broker/zeekbus"
)

// asked reads what a node was asked by Zeekrec::ask.
func (c *controllee) asked() zeekbus.Question {
	c.sub.t.Helper()
	e := c.question()
	if e.Name != zeekbus.EventAsk || len(e.Args) != 3 {
		c.sub.t.Fatalf("asked %+v", e)
	}
	arg := func(i int) string { return string(e.Args[i].(zeekbus.String)) }
	return zeekbus.Question{Node: c.name, Number: arg(0), Kind: zeekbus.QuestionKind(arg(1)), Arg: arg(2)}
}

func (c *controllee) reply(r zeekbus.Reply) {
	c.sub.t.Helper()
	m, err := zeekbus.NewMessage(r.Topic(), "zeromq_"+c.name+"_h_1_N", c.format, r.Event())
	c.pub.must(err)
	c.pub.must(c.pub.Write(rawpeer.AppendMessage(nil, m.AppendFrames(nil)...)))
}

func TestQuestion(t *testing.T) {
	r := newRig(t, Config{})
	c := r.controllee("worker-1", zeekbus.FormatBin)
	const n = 20
	type outcome struct {
		zeekbus.Reply
		err error
	}
	var got [n]chan outcome
	for i := range got {
		got[i] = make(chan outcome, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), testTime)
			defer cancel()
			reply, err := r.b.Question(ctx, zeekbus.Question{Node: "worker-1", Kind: zeekbus.QuestionValue, Arg: fmt.Sprint("X::v", i/2)}, "")
			got[i] <- outcome{reply, err}
		}()
	}
	var qs []zeekbus.Question
	for range n {
		q := c.asked()
		if slices.ContainsFunc(qs, func(o zeekbus.Question) bool { return o.Number == q.Number }) {
			t.Errorf("number %s twice", q.Number)
		}
		qs = append(qs, q)
	}
	slices.Reverse(qs) // answered in another order, each twice, and besides by who was not asked
	for _, q := range qs {
		c.reply(zeekbus.Reply{Number: q.Number, Node: "worker-2", OK: true, Text: "wrong"})
		c.reply(zeekbus.Reply{Number: "1", Node: "worker-1", OK: true, Text: "wrong"})
		for range 2 {
			c.reply(zeekbus.Reply{Number: q.Number, Node: "worker-1", OK: q.Arg != "X::v3", Text: "value of " + q.Arg})
		}
	}
	for i := range got {
		id := fmt.Sprint("X::v", i/2)
		if o := <-got[i]; o.err != nil || o.OK != (id != "X::v3") || o.Text != "value of "+id {
			t.Errorf("%s: %+v", id, o)
		}
	}
	r.b.asker.mu.Lock()
	defer r.b.asker.mu.Unlock()
	if n := len(r.b.asker.questions); n != 0 {
		t.Errorf("%d questions are left", n)
	}
}

// TestQuestionInTheClustersFormat: nodes take events in their own format alone, and what they publish shows which that is.
func TestQuestionInTheClustersFormat(t *testing.T) {
	r := newRig(t, Config{})
	r.b.sawFormat([]byte("no format"))
	if f := r.b.format(""); f != zeekbus.FormatBin {
		t.Errorf("before anything was seen: %s", f)
	}
	if f := r.b.format("stated"); f != "stated" {
		t.Errorf("stated: %s", f)
	}
	c := r.controllee("worker-1", zeekbus.FormatJSON)
	c.pub.must(c.pub.Send("topic", "sender", string(zeekbus.FormatJSON), "payload"))
	c.pub.settle()
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), testTime)
		defer cancel()
		_, err := r.b.Question(ctx, zeekbus.Question{Node: "worker-1", Kind: zeekbus.QuestionNetStats}, "")
		done <- err
	}()
	q := c.asked()
	c.reply(zeekbus.Reply{Number: q.Number, Node: "worker-1", OK: true, Text: "{}"})
	if err := <-done; err != nil {
		t.Error(err)
	}

	encrypted := newSealedRig(t, Settings{})
	encrypted.connect("XPUB").send(rawpeer.AppendMessage(nil, []byte("topic"), []byte("sender"), []byte(zeekbus.FormatJSON), []byte("payload")))
	eventually(t, "the format is known", func() bool { return encrypted.b.format("") == zeekbus.FormatJSON })
}

func TestQuestionInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{Settings: Settings{SndHWM: 1, Policy: Block, Heartbeat: -1}})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		ping := zeekbus.Question{Node: "worker-1", Kind: zeekbus.QuestionPing}
		if _, err := r.b.Question(ctx, ping, ""); !errors.Is(err, errNobody) {
			t.Errorf("a node that there is not: %v", err)
		}
		n := r.join(rawpeer.XSUB(1), "")
		n.must(n.Subscribe("zeek.cluster.node.worker-1."))
		synctest.Wait()
		if _, err := r.b.Question(ctx, ping, "no-format"); err == nil {
			t.Error("a format that there is not")
		}
		var asking sync.WaitGroup
		asking.Go(func() {
			if _, err := r.b.Question(ctx, ping, ""); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "worker-1 did not answer") {
				t.Errorf("no answer: %v", err)
			}
		})
		synctest.Wait()
		if _, err := r.b.Question(ctx, ping, ""); !errors.Is(err, errFull) {
			t.Errorf("a node that takes nothing: %v", err)
		}
		asking.Wait()
		n.listen()
		synctest.Wait()
		asking.Go(func() {
			if _, err := r.b.Question(t.Context(), ping, ""); err == nil || !strings.Contains(err.Error(), "has ended") {
				t.Errorf("after the end: %v", err)
			}
		})
		synctest.Wait()
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		asking.Wait()
		if n := len(r.b.asker.questions); n != 0 {
			t.Errorf("%d questions are left", n)
		}
	})
}

func TestQuestionsAreBounded(t *testing.T) {
	var a asker
	to := make(chan zeekbus.Reply, 1)
	numbers, err := a.expect(make([]string, maxQuestions), to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.expect([]string{"x"}, to); !errors.Is(err, errTooManyQuestions) {
		t.Errorf("one more: %v", err)
	}
	a.forget(numbers)
	if _, err := a.expect([]string{"x"}, to); err != nil {
		t.Error(err)
	}
}

// TestPing: all are asked at once, and who does not answer keeps nobody waiting for longer than the deadline.
func TestPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{Settings: Settings{Heartbeat: -1}})
		type peer struct{ sub, pub *node }
		join := func(name string) peer {
			p := peer{r.join(rawpeer.XSUB(1), ""), r.join(rawpeer.XPUB(1), "")}
			p.pub.listen()
			p.sub.must(p.sub.Subscribe("zeek.cluster.node." + name + "."))
			return p
		}
		answers := func(name string, after time.Duration, p peer) {
			for it := range p.sub.listen() {
				m := it.Message()
				e, err := zeekbus.ParseEvent(zeekbus.FormatBin, []byte(m[3]))
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(after)
				reply := zeekbus.Reply{Number: string(e.Args[0].(zeekbus.String)), Node: name, OK: true}
				b, err := zeekbus.NewMessage(reply.Topic(), "x", zeekbus.FormatBin, reply.Event())
				if err != nil {
					t.Error(err)
					return
				}
				if p.pub.Write(rawpeer.AppendMessage(nil, b.AppendFrames(nil)...)) != nil {
					return
				}
			}
		}
		quick, slow, hung := join("quick"), join("slow"), join("hung")
		go answers("quick", 0, quick)
		go answers("slow", time.Second, slow)
		hung.sub.listen()
		synctest.Wait()
		ping := func(limit time.Duration, nodes ...string) (Pinged, time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			began := time.Now()
			p, err := r.b.Ping(ctx, nodes, "")
			if err != nil {
				t.Error(err)
			}
			return p, time.Since(began)
		}
		if p, took := ping(time.Minute, "slow", "quick", "slow"); took != time.Second || len(p.Answered) != 2 || p.Answered["quick"] != 0 || p.Answered["slow"] != time.Second || p.Absent != nil {
			t.Errorf("%+v after %s", p, took)
		}
		if p, took := ping(3*time.Second, "hung", "nobody", "slow", "a"); took != 3*time.Second || len(p.Answered) != 1 || p.Answered["slow"] != time.Second || !slices.Equal(p.Absent, []string{"a", "nobody"}) {
			t.Errorf("%+v after %s", p, took)
		}
		if p, took := ping(time.Minute); took != 0 || len(p.Answered) != 0 {
			t.Errorf("%+v after %s", p, took)
		}
		if n := len(r.b.asker.questions); n != 0 {
			t.Errorf("%d questions are left", n)
		}
		var asking sync.WaitGroup
		asking.Go(func() {
			if _, err := r.b.Ping(t.Context(), []string{"hung"}, ""); err == nil {
				t.Error("no error after the end")
			}
		})
		synctest.Wait()
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		asking.Wait()
	})
}
