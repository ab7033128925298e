package broker

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeekrec/zeekrec/actuators/broker/internal/rawpeer"
)

// zeekNode is a node as Zeek 8.2 has it, with both of its connections.
type zeekNode struct {
	r        *rig
	name, id string
	addr     string
	sub, pub *node
	told     <-chan rawpeer.Item // what its publishing socket is told
	got      <-chan rawpeer.Item // what its subscribing socket gets
}

func (r *rig) zeek(name, id, addr string) *zeekNode {
	r.t.Helper()
	z := &zeekNode{r: r, name: name, id: id, addr: addr}
	z.connectPub()
	z.connectSub()
	return z
}

func (z *zeekNode) presence() string { return "zeek.cluster.nodeid." + z.id + "." }

func (z *zeekNode) topics() []string {
	return []string{"zeek/table/", z.presence(), "zeek.cluster.node." + z.name + ".", "zeek.cluster.worker", "zeek.zeromq.internal." + z.id + ".1."}
}

func (z *zeekNode) connectPub() {
	z.pub = z.r.join(rawpeer.XPUB(1), z.addr)
	z.told = z.pub.listen()
}

func (z *zeekNode) connectSub() {
	z.sub = z.r.join(rawpeer.XSUB(1), z.addr)
	z.got = z.sub.listen()
	for _, t := range z.topics() {
		z.sub.must(z.sub.Subscribe(t))
	}
	synctest.Wait()
}

func (z *zeekNode) hello() {
	z.pub.must(z.pub.Send("zeek.cluster.manager", z.id, "broker-bin-v1", "hello"))
}

func (z *zeekNode) breakSub() { _ = z.sub.Conn.Close(); synctest.Wait() }
func (z *zeekNode) breakPub() { _ = z.pub.Conn.Close(); synctest.Wait() }

func (r *rig) ghosts() int {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	return len(r.b.ghosts)
}

// only keeps what begins with one of some prefixes.
func only(words []string, prefixes ...string) (out []string) {
	for _, w := range words {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(w, p) }) {
			out = append(out, w)
		}
	}
	return out
}

func wantWords(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// TestSubscriptionsAreForwarded: each, also one that is known, to every publisher; cancellations when nobody is left.
func TestSubscriptionsAreForwarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{})
		modern, ancient := r.join(rawpeer.XPUB(1), ""), r.join(rawpeer.XPUB(0), "")
		told := []<-chan rawpeer.Item{modern.listen(), ancient.listen()}
		expect := func(what string, words ...string) {
			t.Helper()
			for i, items := range told {
				got, _ := heard(items)
				if what == "at first" {
					sort.Strings(got) // in no order
				}
				wantWords(t, fmt.Sprintf("%s, to the publisher with 3.%d", what, 1-i), got, words...)
			}
		}
		expect("at first", "+zeek/control/", "+zeekrec/answer/")
		a, b := r.join(rawpeer.XSUB(1), ""), r.join(rawpeer.XSUB(0), "")
		a.listen()
		b.listen()
		for _, step := range []struct {
			what string
			do   func() error
			want []string
		}{
			{"a new one", func() error { return a.Subscribe("x") }, []string{"+x"}},
			{"again", func() error { return a.Subscribe("x") }, []string{"+x"}},
			{"by another, as a message", func() error { return b.SubscribeByMessage("x") }, []string{"+x"}},
			{"as a message by a peer with 3.1", func() error { return a.SubscribeByMessage("y") }, []string{"+y"}},
			{"cancelled by one", func() error { return a.Cancel("x") }, nil},
			{"cancelled by one who has it no more", func() error { return a.Cancel("x") }, nil},
			{"cancelled by the other, as a message", func() error { return b.CancelByMessage("x") }, []string{"-x"}},
			{"cancelled, and nobody had it", func() error { return b.CancelByMessage("x") }, nil},
			{"everything", func() error { return a.Subscribe("") }, []string{"+"}},
			{"a message of a user's", func() error { return a.Send("\x01no", "subscription") }, nil},
			{"neither", func() error { return a.Send("\x02no") }, nil},
			{"empty", func() error { return a.Send("") }, nil},
		} {
			if err := step.do(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // who is served first of two connections is not said
		}
		expect("all in turn", "+x", "+x", "+x", "+y", "-x", "+")
		_ = a.Conn.Close()
		got, _ := heard(told[0])
		sort.Strings(got)
		wantWords(t, "a connection that is no node's ends", got, "-", "-y")
	})
}

// TestFormsOfSubscriptions: a command for 3.1, a message for 3.0.
func TestFormsOfSubscriptions(t *testing.T) {
	r := newRig(t, Config{})
	modern, ancient := r.join(rawpeer.XPUB(1), ""), r.join(rawpeer.XPUB(0), "")
	own := []string{"+zeek/control/", "+zeekrec/answer/"} // the broker's, in any order
	for _, words := range [][]string{own, own, {"+topic"}} {
		if len(words) == 1 { // they are both attached
			r.subscriber("topic")
		}
		if it := modern.next(); it.Command != "SUBSCRIBE" || !slices.Contains(words, it.Subscription()) {
			t.Errorf("3.1 got %+v", it)
		}
		if it := ancient.next(); len(it.Frames) != 1 || !slices.Contains(words, it.Subscription()) {
			t.Errorf("3.0 got %+v", it)
		}
	}
}

// TestFullSetOnAttach: each topic once, those that Zeek waits for behind all others.
func TestFullSetOnAttach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{})
		for i := range 5 {
			n := r.join(rawpeer.XSUB(1), "")
			n.listen()
			for _, topic := range []string{fmt.Sprintf("zeek.zeromq.internal.%d.", i), "zz", fmt.Sprint("a", i), "zeek.cluster.worker"} {
				n.must(n.Subscribe(topic))
			}
		}
		got, _ := heard(r.join(rawpeer.XPUB(1), "").listen())
		if !slices.IsSortedFunc(got, func(a, b string) int {
			return strings.Compare(fmt.Sprint(strings.HasPrefix(a, "+"+internalPrefix)), fmt.Sprint(strings.HasPrefix(b, "+"+internalPrefix)))
		}) {
			t.Errorf("internal topics are not last: %q", got)
		}
		sort.Strings(got)
		want := []string{"+a0", "+a1", "+a2", "+a3", "+a4", "+zeek.cluster.worker", "+zeek/control/", "+zeekrec/answer/", "+zz"}
		for i := range 5 {
			want = append(want, fmt.Sprintf("+zeek.zeromq.internal.%d.", i))
		}
		sort.Strings(want)
		wantWords(t, "a publisher that attaches", got, want...)
	})
}

// TestFlapIsNoLeaving: a node whose connection breaks and comes back is not cancelled, whatever it repeats first, and is
// sent what is published meanwhile as soon as it is back.
func TestFlapIsNoLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{})
		other := r.zeek("manager", "zeromq_manager_h1_1_Na", "10.0.0.1:1")
		z := r.zeek("worker-1", "zeromq_worker-1_h2_2_Nb", "10.0.0.2:1")
		heard(other.told)
		for _, pause := range []time.Duration{0, 100 * time.Millisecond, DefaultGrace - 100*time.Millisecond} {
			z.breakSub()
			time.Sleep(pause)
			if m := r.b.Status(false).Members; len(m) != 2 || m[1].Connected || m[1].Host != "h2" || m[1].PID != 2 {
				t.Errorf("members: %+v", m)
			}
			z.connectSub()
			time.Sleep(2 * returnTime)
			got, _ := heard(other.told)
			wantWords(t, "cancelled", only(got, "-"))
			wantWords(t, "repeated", only(got, "+"+z.presence()), "+"+z.presence())
			if m := r.b.Status(false).Members; len(m) != 2 || !m[1].Connected {
				t.Errorf("members: %+v", m)
			}
			if r.ghosts() != 0 {
				t.Errorf("%d ghosts are left", r.ghosts())
			}
		}
	})
}

// TestFlapsInTheMiddle: connections that break before all subscriptions were repeated cancel nothing, and leave one ghost.
func TestFlapsInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{})
		other := r.zeek("manager", "zeromq_manager_h1_1_Na", "10.0.0.1:1")
		z := r.zeek("worker-1", "zeromq_worker-1_h2_2_Nb", "10.0.0.2:1")
		r.publisher().listen()
		heard(other.told)
		z.breakSub()
		for i := range 20 {
			n := r.join(rawpeer.XSUB(1), z.addr)
			n.listen()
			for _, topic := range z.topics()[:1+i%5] {
				n.must(n.Subscribe(topic))
			}
			synctest.Wait()
			time.Sleep(40 * time.Millisecond)
			_ = n.Conn.Close()
			synctest.Wait()
			if r.ghosts() > 1 {
				t.Fatalf("%d ghosts of one node", r.ghosts())
			}
		}
		got, _ := heard(other.told)
		wantWords(t, "cancelled while it flapped", only(got, "-"))
		z.connectSub()
		time.Sleep(2 * returnTime)
		got, _ = heard(other.told)
		wantWords(t, "cancelled when it was back", only(got, "-"))
	})
}

// TestBackBeforeTheEndIsNoticed: the new connection is there before the old one is known to have ended, and has not repeated
// everything when that happens.
func TestBackBeforeTheEndIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{})
		other := r.zeek("manager", "zeromq_manager_h1_1_Na", "10.0.0.1:1")
		z := r.zeek("worker-1", "zeromq_worker-1_h2_2_Nb", "10.0.0.2:1")
		heard(other.told)
		n := r.join(rawpeer.XSUB(1), z.addr)
		n.listen()
		for _, topic := range z.topics()[:2] {
			n.must(n.Subscribe(topic))
		}
		synctest.Wait()
		z.breakSub()
		for _, topic := range z.topics()[2:] {
			n.must(n.Subscribe(topic))
		}
		synctest.Wait()
		time.Sleep(2 * returnTime)
		got, _ := heard(other.told)
		wantWords(t, "cancelled", only(got, "-"))
		if r.ghosts() != 0 {
			t.Errorf("%d ghosts are left", r.ghosts())
		}
	})
}

// TestBackWithLess: what a node that is back does not want any more is cancelled.
func TestBackWithLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{})
		other := r.zeek("manager", "zeromq_manager_h1_1_Na", "10.0.0.1:1")
		z := r.zeek("worker-1", "zeromq_worker-1_h2_2_Nb", "10.0.0.2:1")
		z.sub.must(z.sub.Subscribe("extra"))
		heard(other.told)
		z.breakSub()
		z.connectSub()
		time.Sleep(2 * returnTime)
		got, _ := heard(other.told)
		wantWords(t, "cancelled", only(got, "-"), "-extra")
	})
}

// TestGraceEnds: who does not come back is cancelled then, its presence first, and what others want too is not.
func TestGraceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{Settings: Settings{Grace: 7 * time.Second}})
		other := r.zeek("manager", "zeromq_manager_h1_1_Na", "10.0.0.1:1")
		z := r.zeek("worker-1", "zeromq_worker-1_h2_2_Nb", "10.0.0.2:1")
		heard(other.told)
		z.breakSub()
		time.Sleep(6900 * time.Millisecond)
		got, _ := heard(other.told)
		wantWords(t, "before the end of the grace period", only(got, "-"))
		time.Sleep(200 * time.Millisecond)
		got, _ = heard(other.told)
		got = only(got, "-")
		if len(got) == 0 || got[0] != "-"+z.presence() {
			t.Fatalf("cancelled %q, want the presence first", got)
		}
		sort.Strings(got)
		wantWords(t, "cancelled", got, "-zeek.cluster.node.worker-1.", "-"+z.presence(), "-zeek.zeromq.internal."+z.id+".1.")
		if m := r.b.Status(false).Members; len(m) != 1 {
			t.Errorf("members: %+v", m)
		}
	})
}

// TestProcessesDecide: a process that was seen here and has ended is not waited for, one that lives is for longer, and one
// that never was here says nothing, although its machine has the same name.
func TestProcessesDecide(t *testing.T) {
	for _, c := range []struct {
		name          string
		joined, after life
		least, most   time.Duration
	}{
		{"ended", alive, dead, 0, 0},
		{"lives", alive, alive, aliveGraces * DefaultGrace, aliveGraces*DefaultGrace + time.Second},
		{"elsewhere", lifeUnknown, lifeUnknown, DefaultGrace, DefaultGrace + time.Second},
		{"never seen here", dead, dead, DefaultGrace, DefaultGrace + time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				now := c.joined
				r := newPipeRig(t, Config{}, func(b *Broker) {
					b.processes = func(host string, pid int) life {
						if host == "h_2" && pid == 4711 {
							return now
						}
						return lifeUnknown
					}
				})
				other := r.zeek("manager", "zeromq_manager_h1_1_Na", "10.0.0.1:1")
				z := r.zeek("worker_1", "zeromq_worker_1_h_2_4711_Nb", "10.0.0.2:1")
				heard(other.told)
				r.b.mu.Lock()
				now = c.after
				r.b.mu.Unlock()
				begun := time.Now()
				z.breakSub()
				for it := range other.told {
					if it.Subscription() == "-"+z.presence() {
						break
					}
					if it.Command == "PING" {
						other.pub.must(other.pub.Write(rawpeer.AppendCommand(nil, "PONG", nil)))
						other.sub.must(other.sub.Write(rawpeer.AppendCommand(nil, "PONG", nil)))
					}
				}
				if d := time.Since(begun); d < c.least || d > c.most {
					t.Errorf("cancelled after %v, want %v to %v", d, c.least, c.most)
				}
			})
		})
	}
}

// TestEndsWhileAGhost: the process of a node ends after its connection was lost, as it is when a process ends in order.
func TestEndsWhileAGhost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := alive
		r := newPipeRig(t, Config{}, func(b *Broker) { b.processes = func(string, int) life { return now } })
		other := r.zeek("manager", "zeromq_manager_h1_1_Na", "10.0.0.1:1")
		z := r.zeek("worker-1", "zeromq_worker-1_h2_2_Nb", "10.0.0.2:1")
		heard(other.told)
		z.breakSub()
		time.Sleep(time.Second)
		got, _ := heard(other.told)
		wantWords(t, "cancelled while it lives", only(got, "-"))
		r.b.mu.Lock()
		now = dead
		r.b.mu.Unlock()
		time.Sleep(100 * time.Millisecond)
		got, _ = heard(other.told)
		wantWords(t, "cancelled then", only(got, "-"+z.presence()), "-"+z.presence())
	})
}

// TestDead: an announced death cancels at once, before and after the connection's end is noticed, and no other process.
func TestDead(t *testing.T) {
	for _, c := range []struct {
		name      string
		pid       int
		announced bool // before the connection breaks
		at        time.Duration
	}{
		{"after", 4711, false, 0},
		{"before", 4711, true, 0},
		{"any process", 0, false, 0},
		{"any process, before", 0, true, DefaultGrace}, // the next one of the name is not meant
		{"another process", 4712, false, DefaultGrace},
		{"another process, before", 4712, true, DefaultGrace},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newPipeRig(t, Config{})
				other := r.zeek("manager", "zeromq_manager_h1_1_Na", "10.0.0.1:1")
				z := r.zeek("worker-1", "zeromq_worker-1_h2_4711_Nb", "10.0.0.2:1")
				heard(other.told)
				if c.announced {
					r.b.Dead("worker-1", c.pid)
					r.b.Dead("worker-2", 0)
				}
				z.breakSub()
				if !c.announced {
					r.b.Dead("worker-1", c.pid)
					r.b.Dead("worker-2", 0)
				}
				if c.at > 0 {
					time.Sleep(c.at - 10*time.Millisecond)
					got, _ := heard(other.told)
					wantWords(t, "too early", only(got, "-"))
				}
				time.Sleep(100 * time.Millisecond)
				got, _ := heard(other.told)
				wantWords(t, "cancelled", only(got, "-"+z.presence()), "-"+z.presence())
			})
		})
	}
}

// TestDeathOfAnEarlierProcess: in a container, the next process has the same pid.
func TestDeathOfAnEarlierProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{})
		other := r.zeek("manager", "zeromq_manager_h1_1_Na", "10.0.0.1:1")
		first := r.zeek("worker-1", "zeromq_worker-1_h2_7_Nb", "10.0.0.2:1")
		first.breakSub()
		r.b.Dead("worker-1", 7)
		time.Sleep(time.Second)
		next := r.zeek("worker-1", "zeromq_worker-1_h2_7_Nc", "10.0.0.2:1")
		heard(other.told)
		next.breakSub()
		time.Sleep(time.Second)
		got, _ := heard(other.told)
		wantWords(t, "cancelled", only(got, "-"))
	})
}

// TestSuccessor: the end of a process is told before the beginning of its successor, whichever of its topics comes first, and
// also when the old connection's end is noticed late.
func TestSuccessor(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprint("late=", late), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newPipeRig(t, Config{})
				other := r.zeek("manager", "zeromq_manager_h1_1_Na", "10.0.0.1:1")
				first := r.zeek("worker-1", "zeromq_worker-1_h2_2_Nb", "10.0.0.2:1")
				heard(other.told)
				if !late {
					first.breakSub()
				}
				next := r.zeek("worker-1", "zeromq_worker-1_h2_3_Nc", "10.0.0.2:1")
				if late {
					first.breakSub()
				}
				got, _ := heard(other.told)
				want := []string{"-" + first.presence(), "+" + next.presence()}
				if late {
					slices.Reverse(want)
				}
				wantWords(t, "told", only(got, "-zeek.cluster.nodeid.", "+zeek.cluster.nodeid."), want...)
				time.Sleep(time.Minute)
				if r.ghosts() != 0 {
					t.Error("a ghost is left")
				}
			})
		})
	}
}

// TestGoodbye: a node that ends its subscription to its own topic has left.
func TestGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{})
		other := r.zeek("manager", "zeromq_manager_h1_1_Na", "10.0.0.1:1")
		z := r.zeek("worker-1", "zeromq_worker-1_h2_2_Nb", "10.0.0.2:1")
		heard(other.told)
		z.sub.must(z.sub.Cancel(z.presence()))
		got, _ := heard(other.told)
		wantWords(t, "told", got, "-"+z.presence())
		z.breakSub()
		got, _ = heard(other.told)
		if n := len(only(got, "-")); n != 2 || r.ghosts() != 0 {
			t.Errorf("got %q, and %d ghosts", got, r.ghosts())
		}
	})
}

// TestMissedCancellation: a publisher whose connection was lost while a node was cancelled hears of it when it is back,
// also when others of its machine are lost for good, and nobody else does.
func TestMissedCancellation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Config{})
		for i, name := range []string{"worker-1", "worker-2"} { // on one machine, each the first that is lost in turn
			died := r.zeek("proxy", fmt.Sprintf("zeromq_proxy_h9_9_N%d", i), "10.0.0.9:1")
			companion := r.zeek("logger", fmt.Sprintf("zeromq_logger_h2_5_N%d", i), "10.0.0.2:5")
			z := r.zeek(name, "zeromq_"+name+"_h2_2_Nb", "10.0.0.2:1")
			companion.hello()
			z.hello()
			synctest.Wait()
			companion.breakSub()
			companion.breakPub()
			z.breakPub()
			died.breakSub()
			died.breakPub()
			r.b.Dead("proxy", 9)
			r.b.Dead("logger", 5)
			synctest.Wait()
			elsewhere, _ := heard(r.join(rawpeer.XPUB(1), "10.0.0.3:1").listen())
			wantWords(t, "a new one elsewhere", only(elsewhere, "-"))
			z.connectPub()
			got, _ := heard(z.told)
			if !slices.Contains(got, "-"+died.presence()) {
				t.Errorf("%s was told %q, want the end of %s", name, got, died.id)
			}
			z.hello()
			synctest.Wait()
			again, _ := heard(r.join(rawpeer.XPUB(1), "10.0.0.2:9").listen())
			wantWords(t, "a new one on the same machine, when all are back", only(again, "-"))
			z.breakPub()
			z.breakSub()
			r.b.Dead(name, 2)
			time.Sleep(2 * rememberCancelled)
			synctest.Wait()
		}
	})
}

// TestTooManySubscriptions: somebody who asks for too much, or for too long a topic, is disconnected.
func TestTooManySubscriptions(t *testing.T) {
	r := newRig(t, Config{})
	long := r.join(rawpeer.XSUB(1), "")
	long.must(long.Subscribe(strings.Repeat("x", maxTopic)))
	long.settle()
	long.must(long.Subscribe(strings.Repeat("x", maxTopic+1)))
	if _, err := long.Next(); err == nil {
		t.Error("a topic that is too long was taken")
	}
	lengthy := r.join(rawpeer.XSUB(1), "")
	go func() {
		for i := range maxTopicBytes/maxTopic + 2 {
			topic := fmt.Sprint(i, strings.Repeat("x", maxTopic))[:maxTopic]
			for range 2 { // the same again is nothing more
				if lengthy.Subscribe(topic) != nil {
					return
				}
			}
		}
	}()
	if it, err := lengthy.receive(); err == nil {
		t.Errorf("topics that are too long together were taken; got %+v", it)
	}
	many := r.join(rawpeer.XSUB(1), "")
	go func() {
		var b []byte
		for i := range maxSubscriptions + 2 {
			b = rawpeer.AppendCommand(b, "SUBSCRIBE", fmt.Append(nil, i))
		}
		_ = many.Write(b)
	}()
	if it, err := many.receive(); err == nil {
		t.Errorf("too many subscriptions were taken; got %+v", it)
	}
	eventually(t, "all are gone", func() bool { return len(r.b.Status(true).Peers) == 0 })
	eventually(t, "all are blamed", func() bool { return r.b.Status(false).Refused["misbehaved"] == 3 })
}

func TestNamesThatAreNone(t *testing.T) {
	r := newRig(t, Config{})
	for _, name := range []string{"\xff", "a\nb", "", strings.Repeat("x", maxName+1)} {
		n := r.subscriber("zeek.cluster.node."+name+".", "zeek.cluster.nodeid."+name+".")
		if m := r.b.Status(true).Members; len(m) != 0 {
			t.Errorf("%q is a member: %+v", name, m)
		}
		_ = n.Conn.Close()
	}
}
