package broker

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/internal/rawpeer"
)

func (r *rig) peer(addr string) PeerStatus {
	for _, p := range r.b.Status(true).Peers {
		if p.Address == addr {
			return p
		}
	}
	return PeerStatus{}
}

// TestDropLeavesOthersAlone: with the default policy, somebody who reads nothing costs the others nothing but a fiftieth of
// their time, and what is dropped for it is counted.
func TestDropLeavesOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages, hwm = 5000, 100
		r := newPipeRig(t, Config{Settings: Settings{SndHWM: hwm, Heartbeat: -1}})
		stuck := r.join(rawpeer.XSUB(1), "10.0.0.9:1")
		stuck.must(stuck.Subscribe("t"))
		healthy := r.join(rawpeer.XSUB(1), "10.0.0.8:1")
		healthy.must(healthy.Subscribe("t"))
		got := healthy.listen()
		p := r.join(rawpeer.XPUB(1), "10.0.0.7:1")
		p.listen()
		synctest.Wait()

		begun := time.Now()
		for i := range messages {
			p.must(p.Send("t", fmt.Sprint(i)))
			time.Sleep(time.Millisecond)
		}
		took := time.Since(begun) - messages*time.Millisecond
		if limit := creditLimit + messages*time.Millisecond/25; took > limit {
			t.Errorf("publishing took %v more than it should, at most %v", took, limit)
		}
		words, _ := heard(got)
		if len(words) != messages || words[messages-1] != fmt.Sprint("t ", messages-1) {
			t.Errorf("the healthy one got %d messages", len(words))
		}
		st := r.peer("10.0.0.9:1")
		if st.Queued.Messages != hwm || st.Dropped.Messages != messages-hwm || st.Stalled.IsZero() {
			t.Errorf("the stuck one: %+v", st)
		}
		total := r.b.Status(false)
		if total.Dropped != st.Dropped || total.Received.Messages != messages || total.Sent.Messages != messages {
			t.Errorf("totals: %+v, %+v, %+v", total.Received, total.Sent, total.Dropped)
		}
		if c := total.Topics[0]; len(total.Topics) != 1 || c.Received.Messages != messages || c.Dropped != st.Dropped || c.Sent.Messages != messages+hwm {
			t.Errorf("topics: %+v", total.Topics)
		}

		// It goes on: what it is sent is the oldest, whole, and new messages are let in again.
		old, _ := heard(stuck.listen())
		if len(old) != hwm || old[0] != "t 0" || old[hwm-1] != fmt.Sprint("t ", hwm-1) {
			t.Errorf("it got %d messages, up to %q", len(old), old[max(0, len(old)-1)])
		}
		if st := r.peer("10.0.0.9:1"); !st.Stalled.IsZero() || st.Queued.Messages != 0 {
			t.Errorf("the stuck one goes on: %+v", st)
		}
	})
}

// TestDropForSlowReader: one that reads, but far too slowly, costs the others no more than one that reads nothing.
func TestDropForSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages, pause = 20_000, 100 * time.Microsecond
		r := newPipeRig(t, Config{Settings: Settings{SndHWM: 100, Heartbeat: -1}})
		slow := r.join(rawpeer.XSUB(1), "10.0.0.9:1")
		slow.must(slow.Subscribe("t"))
		_ = slow.Conn.SetDeadline(noDeadline)
		go func() {
			for buf := make([]byte, 50); ; time.Sleep(20 * time.Millisecond) {
				if _, err := slow.Conn.Read(buf); err != nil {
					return
				}
			}
		}()
		healthy := r.join(rawpeer.XSUB(1), "10.0.0.8:1")
		healthy.must(healthy.Subscribe("t"))
		got := make(chan int, 1)
		go func() {
			n := 0
			for n < messages {
				if it, err := healthy.Next(); err != nil {
					break
				} else if it.Command == "" {
					n++
				}
			}
			got <- n
		}()
		p := r.join(rawpeer.XPUB(1), "10.0.0.7:1")
		p.listen()
		synctest.Wait()

		begun := time.Now()
		for i := range messages {
			p.must(p.Send("t", fmt.Sprint(i)))
			time.Sleep(pause)
		}
		if n := <-got; n != messages {
			t.Errorf("the healthy one got %d messages", n)
		}
		took := time.Since(begun) - messages*pause
		if limit := creditLimit + messages*pause/25; took > limit {
			t.Errorf("publishing for %v took %v more than it should, at most %v", messages*pause, took, limit)
		}
		if st := r.peer("10.0.0.9:1"); st.Dropped.Messages == 0 || st.Passed.Messages == 0 {
			t.Errorf("the slow one: %+v", st)
		}
		_ = slow.Conn.Close()
		time.Sleep(time.Second) // its reader notices
	})
}

// TestDropWaitsForBursts: a short burst beyond the limit is not lost where the subscriber reads.
func TestDropWaitsForBursts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{Settings: Settings{SndHWM: 10}})
		s := r.join(rawpeer.XSUB(1), "10.0.0.8:1")
		s.must(s.Subscribe("t"))
		p := r.join(rawpeer.XPUB(1), "10.0.0.7:1")
		p.listen()
		synctest.Wait()
		var b []byte
		for i := range 100 {
			b = rawpeer.AppendMessage(b, []byte("t"), fmt.Append(nil, i))
		}
		go func() { _ = p.Write(b) }()
		time.Sleep(creditLimit / 2)
		words, _ := heard(s.listen())
		if len(words) != 100 {
			t.Errorf("%d of a burst of 100 arrived", len(words))
		}
	})
}

// TestByteLimit: the queue holds no more bytes than it may, but for one message.
func TestByteLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{Settings: Settings{SndHWM: -1, QueueBytes: 10_000, Heartbeat: -1}})
		s := r.join(rawpeer.XSUB(1), "10.0.0.9:1")
		s.must(s.Subscribe("t"))
		p := r.join(rawpeer.XPUB(1), "10.0.0.7:1")
		p.listen()
		synctest.Wait()
		big := bytes.Repeat([]byte("x"), 200_000)
		for range 20 {
			p.must(p.Write(rawpeer.AppendMessage(nil, []byte("t"), big[:1000])))
		}
		time.Sleep(time.Second)
		if st := r.peer("10.0.0.9:1"); st.Queued.Bytes > 10_000 || st.Queued.Messages != 9 || st.Dropped.Messages != 11 {
			t.Errorf("small ones: %+v", st)
		}
		words, _ := heard(s.listen())
		if len(words) != 9 {
			t.Errorf("got %d messages", len(words))
		}
	})
	for _, size := range []int{60_000, 200_000, 3 << 20} { // in one chunk, in several, in large ones
		synctest.Test(t, func(t *testing.T) {
			r := newPipeRig(t, Config{Settings: Settings{QueueBytes: 10_000, Heartbeat: -1}})
			s := r.join(rawpeer.XSUB(1), "10.0.0.9:1")
			s.must(s.Subscribe("t"))
			p := r.join(rawpeer.XPUB(1), "10.0.0.7:1")
			p.listen()
			synctest.Wait()
			big := bytes.Repeat([]byte("x"), size)
			p.must(p.Send("t", "before"))
			p.must(p.Write(rawpeer.AppendMessage(nil, []byte("t"), big)))
			p.must(p.Write(rawpeer.AppendMessage(nil, []byte("t"), big)))
			p.must(p.Send("t", "after"))
			time.Sleep(time.Second)
			words, _ := heard(s.listen())
			if len(words) < 2 || words[0] != "t before" || len(words[1]) != 2+size {
				t.Errorf("%d bytes: got %d messages", size, len(words))
			}
			if st := r.peer("10.0.0.9:1"); st.Dropped.Messages == 0 {
				t.Errorf("%d bytes: two of them were let in: %+v", size, st)
			}
		})
	}
}

// TestDisconnect: somebody whose queue is full loses its connection, comes back and begins anew.
func TestDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{Settings: Settings{SndHWM: 10, Policy: Disconnect}})
		other := r.zeek("manager", "zeromq_manager_h1_1_Na", "10.0.0.1:1")
		stuck := r.join(rawpeer.XSUB(1), "10.0.0.9:1")
		stuck.must(stuck.Subscribe("zeek.cluster.nodeid.zeromq_worker-1_h_1_N."))
		stuck.must(stuck.Subscribe("t"))
		p := r.join(rawpeer.XPUB(1), "10.0.0.7:1")
		p.listen()
		synctest.Wait()
		heard(other.told)
		begun := time.Now()
		for range 30 {
			p.must(p.Send("t"))
		}
		synctest.Wait()
		if d := time.Since(begun); d > 0 {
			t.Errorf("it was waited for, %v", d)
		}
		if st := r.peer("10.0.0.9:1"); st.Address != "" {
			t.Errorf("it is still there: %+v", st)
		}
		got, _ := heard(other.told)
		wantWords(t, "cancelled", only(got, "-")) // that is a flap like any other
		back := r.join(rawpeer.XSUB(1), "10.0.0.9:2")
		items := back.listen()
		back.must(back.Subscribe("zeek.cluster.nodeid.zeromq_worker-1_h_1_N."))
		back.must(back.Subscribe("t"))
		synctest.Wait()
		p.must(p.Send("t", "new"))
		words, _ := heard(items)
		wantWords(t, "the first thing it gets", words, "t new")
		if d := r.b.Status(false).Dropped.Messages; d == 0 {
			t.Error("nothing is counted as dropped")
		}
	})
}

// TestBlock: nothing is lost, the publisher waits.
func TestBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages = 500
		r := newPipeRig(t, Config{Settings: Settings{SndHWM: 10, Policy: Block, Heartbeat: -1}})
		slow, p := r.join(rawpeer.XSUB(1), "10.0.0.9:1"), r.join(rawpeer.XPUB(1), "10.0.0.7:1")
		slow.must(slow.Subscribe("t"))
		p.listen()
		synctest.Wait()
		sent := make(chan error, 1)
		go func() {
			var b []byte
			for i := range messages {
				b = rawpeer.AppendMessage(b, []byte("t"), fmt.Append(nil, i))
			}
			sent <- p.Write(append(b, rawpeer.AppendMessage(nil, []byte("u"))...))
		}()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if st := r.b.Status(false); st.Dropped.Messages != 0 {
			t.Fatalf("dropped %+v", st.Dropped)
		}
		words, _ := heard(slow.listen())
		if err := <-sent; err != nil || len(words) != messages || words[messages-1] != fmt.Sprint("t ", messages-1) {
			t.Errorf("got %d messages, %v", len(words), err)
		}
	})
}

// TestPolicyIsAppliedAtOnce: publishers that wait under the policy block do not once it is another one, all of them, nor when
// the limit is raised.
func TestPolicyIsAppliedAtOnce(t *testing.T) {
	for name, s := range map[string]Settings{
		"drop": {SndHWM: 10, Heartbeat: -1}, "disconnect": {SndHWM: 10, Heartbeat: -1, Policy: Disconnect},
		"a higher limit": {SndHWM: 1000, Heartbeat: -1, Policy: Block},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newPipeRig(t, Config{Settings: Settings{SndHWM: 10, Policy: Block, Heartbeat: -1}})
				stuck := r.join(rawpeer.XSUB(1), "10.0.0.9:1")
				stuck.must(stuck.Subscribe("t"))
				healthy := r.join(rawpeer.XSUB(1), "10.0.0.8:1")
				healthy.must(healthy.Subscribe("after"))
				got := healthy.listen()
				synctest.Wait()
				for range 3 {
					p := r.join(rawpeer.XPUB(1), "10.0.0.7:1")
					p.listen()
					go func() {
						for range 20 {
							_ = p.Send("t")
						}
						_ = p.Send("after")
					}()
				}
				time.Sleep(time.Minute)
				if words, _ := heard(got); len(words) != 0 {
					t.Fatalf("a publisher was not blocked: %q", words)
				}
				if err := r.b.Apply(s); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				if words, _ := heard(got); len(words) != 3 {
					t.Errorf("%d of 3 publishers went on", len(words))
				}
			})
		})
	}
}

// TestBlockedPublisherDoesNotHinderTheEnd of the broker.
func TestBlockedPublisherDoesNotHinderTheEnd(t *testing.T) {
	r := newRig(t, Config{Settings: Settings{SndHWM: 1, Policy: Block}})
	s := r.subscriber("t")
	_ = s.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	p := r.publisher()
	var sending sync.WaitGroup
	sending.Go(func() {
		payload := make([]byte, 1<<20)
		for p.Write(rawpeer.AppendMessage(nil, []byte("t"), payload)) == nil {
		}
	})
	eventually(t, "the subscriber is stalled", func() bool {
		for _, p := range r.b.Status(true).Peers {
			if !p.Stalled.IsZero() {
				return true
			}
		}
		return false
	})
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	sending.Wait()
}

func TestSettingsThatMakeNoSense(t *testing.T) {
	b, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	before := b.Status(false).Settings
	if before != (Settings{DefaultSndHWM, DefaultQueueBytes, Drop, DefaultGrace, DefaultHeartbeat}) {
		t.Errorf("defaults: %+v", before)
	}
	for _, s := range []Settings{{Policy: "none"}, {Grace: -1}} {
		if err := b.Apply(s); err == nil {
			t.Errorf("%+v was taken", s)
		}
	}
	if got := b.Status(false).Settings; got != before {
		t.Errorf("changed to %+v", got)
	}
}
