package engine_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

const withBroker = "!broker manager logger-1 worker-1 worker-2"

// all nodes that run have joined, except those named.
func all(except ...string) func(map[string]*observed.Resource) []observed.Member {
	return func(running map[string]*observed.Resource) []observed.Member {
		ms := []observed.Member{}
		for _, k := range slices.Sorted(maps.Keys(running)) {
			if r := running[k]; r.PID != 0 && r.Type == "node" && !slices.Contains(except, r.Name) {
				ms = append(ms, observed.Member{Name: r.Name, PID: r.PID})
			}
		}
		return ms
	}
}

// join changes who has joined, and lets the engine see it.
func (b *bench) join(f func(map[string]*observed.Resource) []observed.Member) {
	b.hosts.behave(func() { b.hosts.members = f })
	b.hosts.touch()
	synctest.Wait()
}

// joined shows who has joined: "manager+ worker-1- broker?", in the order of the status.
func (b *bench) joined() string {
	var out []string
	for _, r := range b.status("dmz").Resources {
		sign := "?"
		if r.Joined != nil {
			sign = map[bool]string{true: "+", false: "-"}[*r.Joined]
		}
		out = append(out, r.Name+sign)
	}
	return strings.Join(out, " ")
}

func TestJoined(t *testing.T) {
	run(t, func(b *bench) {
		b.join(all())
		b.see(map[string]string{"dmz": withBroker})
		b.want("orders", b.hosts.took(), "start dmz/broker, start dmz/logger-1, start dmz/manager, start dmz/worker-1, start dmz/worker-2")
		b.want("joined", b.joined(), "broker? logger-1+ manager+ worker-1+ worker-2+")
		if s := b.status("dmz"); !s.Synced || !s.Healthy {
			t.Errorf("status %+v", s)
		}
		b.join(all("worker-1"))
		b.want("one is out", b.joined(), "broker? logger-1+ manager+ worker-1- worker-2+")
		s := b.status("dmz")
		i := slices.IndexFunc(s.Resources, func(r engine.ResourceStatus) bool { return r.Name == "worker-1" })
		if w := s.Resources[i]; s.Healthy || w.Healthy || w.State != observed.Running || w.Reason != "has not joined the broker" {
			t.Errorf("healthy %t, %+v", s.Healthy, w)
		}
		b.settle()
		b.want("orders", b.hosts.took(), "")
		b.join(all())
		if s := b.status("dmz"); !s.Healthy {
			t.Errorf("not healthy though all are back: %+v", s.Resources)
		}
	})
}

// The member is a process of the node's that has ended.
func TestJoinedIsTheProcess(t *testing.T) {
	run(t, func(b *bench) {
		b.join(all())
		b.see(map[string]string{"dmz": withBroker})
		old := b.hosts.pidOf("dmz/worker-1")
		b.join(func(running map[string]*observed.Resource) []observed.Member {
			return append(all("worker-1")(running), observed.Member{Name: "worker-1", PID: old})
		})
		b.want("before", b.joined(), "broker? logger-1+ manager+ worker-1+ worker-2+")
		b.hosts.set("dmz/worker-1", func(r *observed.Resource) { r.PID++ })
		synctest.Wait()
		b.want("after", b.joined(), "broker? logger-1+ manager+ worker-1- worker-2+")
	})
}

func TestWavesWaitUntilNodesHaveJoined(t *testing.T) {
	run(t, func(b *bench) {
		b.join(all("logger-1"))
		b.obs <- observation(map[string]string{"dmz": withBroker})
		time.Sleep(30 * time.Second)
		b.want("orders", b.hosts.took(), "start dmz/broker, start dmz/logger-1")
		b.join(all())
		b.settle()
		b.want("orders", b.hosts.took(), "start dmz/manager, start dmz/worker-1, start dmz/worker-2")
		b.want("outcomes", b.journal.outcomes(), "Succeeded")
	})
}

func TestRolloutThatDoesNotJoinFails(t *testing.T) {
	run(t, func(b *bench) {
		b.join(all())
		b.see(map[string]string{"dmz": withBroker})
		b.hosts.took()
		good := b.hosts.pidOf("dmz/worker-1")
		b.join(func(running map[string]*observed.Resource) []observed.Member { // what is started anew joins only when it is as it was
			ms := all("worker-1")(running)
			if w := running["dmz/worker-1"]; w.PID == good || len(w.Parts.Get("env")) == 0 {
				ms = append(ms, observed.Member{Name: "worker-1", PID: w.PID})
			}
			return ms
		})
		b.obs <- observation(map[string]string{"dmz": "!broker manager logger-1 worker-1=x worker-2=x"})
		time.Sleep(55 * time.Second)
		b.want("within the deadline", b.hosts.took()+b.journal.outcomes(), "restart dmz/worker-1Succeeded")
		b.settle()
		b.want("after it", b.hosts.took(), "restart dmz/worker-1")
		s := b.status("dmz")
		if why := "dmz/worker-1 runs, but has not joined the cluster's broker"; !strings.Contains(s.Reason, why) || s.Quarantined == "" || !s.Healthy {
			t.Errorf("want %q: %+v", why, s)
		}
		b.want("outcomes", b.journal.outcomes(), "Succeeded Failed RolledBack")
	})
}

// What cannot be seen is held against nobody, and a broker that was away lets nodes come back.
func TestJoinedWhileTheBrokerIsAway(t *testing.T) {
	run(t, func(b *bench) {
		b.join(all())
		b.see(map[string]string{"dmz": withBroker})
		const everybody, nobody = "broker? logger-1+ manager+ worker-1+ worker-2+", "broker? logger-1? manager? worker-1? worker-2?"
		away := func(r *observed.Resource) { r.PID, r.State, r.Healthy = 0, observed.Crashed, false }
		back := func(r *observed.Resource) { r.PID, r.State, r.Healthy = 5000, observed.Running, true }

		b.hosts.set("dmz/broker", away)
		time.Sleep(9 * time.Second)
		b.want("for a while", b.joined(), everybody)
		time.Sleep(3 * time.Second)
		b.want("for long", b.joined(), nobody)
		for _, r := range b.status("dmz").Resources {
			if r.Type == "node" && !r.Healthy {
				t.Errorf("not healthy: %+v", r)
			}
		}
		b.join(all("worker-1", "worker-2"))
		b.hosts.set("dmz/broker", back)
		synctest.Wait()
		b.want("it is back", b.joined(), everybody)
		time.Sleep(4 * time.Second)
		b.join(all("worker-2"))
		time.Sleep(5 * time.Second)
		b.want("before its patience is over", b.joined(), everybody)
		time.Sleep(3 * time.Second)
		b.want("after", b.joined(), "broker? logger-1+ manager+ worker-1+ worker-2-")

		// One that is not known to have joined has no such credit.
		b.hosts.set("dmz/broker", func(r *observed.Resource) { r.PID++ })
		synctest.Wait()
		b.want("the next", b.joined(), "broker? logger-1+ manager+ worker-1+ worker-2-")

		b.hosts.set("dmz/broker", func(r *observed.Resource) { r.Healthy = false }) // it does not answer
		time.Sleep(time.Second)
		b.want("no answer", b.joined(), "broker? logger-1+ manager+ worker-1+ worker-2?")
		b.hosts.behave(func() { b.hosts.silent = true })
		b.hosts.touch()
		time.Sleep(11 * time.Second)
		b.want("no report", b.joined(), nobody)
	})
}

// A broker with other endpoints says nothing of nodes that connect elsewhere.
func TestJoinedIsAboutTheBrokerThatTheNodeConnectsTo(t *testing.T) {
	run(t, func(b *bench) {
		b.join(all("worker-1", "worker-2"))
		b.obs <- observation(map[string]string{"dmz": withBroker})
		time.Sleep(time.Second)
		b.want("it counts", b.joined(), "broker? logger-1+ manager+ worker-1- worker-2-")
		b.hosts.set("dmz/worker-1", func(r *observed.Resource) {
			r.Parts = r.Parts.With("broker", "tcp://192.0.2.1:5555", "tcp://192.0.2.1:5556")
		})
		synctest.Wait()
		b.want("elsewhere", b.joined(), "broker? logger-1+ manager+ worker-1? worker-2-")
	})
}

// The manager's own broker says nothing.
func TestNobodyJoinsTheManagersBroker(t *testing.T) {
	run(t, func(b *bench) {
		b.join(all())
		b.see(map[string]string{"dmz": "manager logger-1 worker-1"})
		b.want("joined", b.joined(), "logger-1? manager? worker-1?")
		if s := b.status("dmz"); !s.Synced || !s.Healthy {
			t.Errorf("status %+v", s)
		}
	})
}

// The restart of the broker alone disturbs no rollout: nodes come back when they come back.
func TestRestartOfTheBrokerFailsNoRollout(t *testing.T) {
	run(t, func(b *bench) {
		b.join(all())
		b.see(map[string]string{"dmz": withBroker})
		b.hosts.took()
		if _, err := b.e.Restart(b.ctx, []string{"dmz/broker"}, false, "test", "test"); err != nil {
			t.Fatal(err)
		}
		b.join(all("manager", "worker-1", "worker-2"))
		time.Sleep(5 * time.Second)
		b.join(all())
		b.settle()
		b.want("orders", b.hosts.took(), "restart dmz/broker")
		b.want("outcomes", b.journal.outcomes(), "Succeeded Succeeded")
		if s := b.status("dmz"); !s.Healthy {
			t.Errorf("status %+v", s)
		}
	})
}

// An update of the broker is done when the broker took it, not when its agent did.
func TestUpdateOfTheBrokerIsWaitedFor(t *testing.T) {
	run(t, func(b *bench) {
		b.join(all())
		b.see(map[string]string{"dmz": withBroker})
		b.hosts.took()
		b.hosts.set("dmz/broker", func(r *observed.Resource) { r.Healthy, r.Told = false, "older" })
		time.Sleep(30 * time.Second)
		if s := b.status("dmz"); s.Rollout == nil || s.Healthy {
			t.Errorf("status %+v", s)
		}
		b.want("outcomes", b.journal.outcomes(), "Succeeded")
		b.hosts.set("dmz/broker", func(r *observed.Resource) { r.Healthy = true })
		b.settle()
		b.want("outcomes", b.journal.outcomes(), "Succeeded Succeeded")
	})
}

// A node that has joined and does not answer is not healthy, and nothing is restarted for that; one that is degraded is healthy.
func TestAnswering(t *testing.T) {
	run(t, func(b *bench) {
		since := time.Now()
		with := func(change func(m *observed.Member)) {
			b.join(func(running map[string]*observed.Resource) []observed.Member {
				ms := all()(running)
				for i := range ms {
					ms[i].Answers = true
					if ms[i].Name == "worker-1" {
						change(&ms[i])
					}
				}
				return ms
			})
		}
		worker := func() engine.ResourceStatus {
			s := b.status("dmz")
			return s.Resources[slices.IndexFunc(s.Resources, func(r engine.ResourceStatus) bool { return r.Name == "worker-1" })]
		}
		with(func(*observed.Member) {})
		b.see(map[string]string{"dmz": withBroker})
		b.hosts.took()
		if w := worker(); w.Answering == nil || !*w.Answering || w.Silent != nil || !w.Healthy {
			t.Errorf("answers: %+v", w)
		}
		with(func(m *observed.Member) { m.Answers, m.Silent = false, since })
		w := worker()
		if w.Answering == nil || *w.Answering || w.Silent == nil || !w.Silent.Equal(since) || w.Healthy || w.State != observed.Running ||
			w.Reason != "does not answer since "+since.Local().Format(time.TimeOnly) || !*w.Joined {
			t.Errorf("silent: %+v", w)
		}
		if b.status("dmz").Healthy {
			t.Error("the cluster is healthy")
		}
		b.settle()
		b.want("orders", b.hosts.took(), "")
		with(func(m *observed.Member) { m.Answers = false })
		if w := worker(); w.Answering != nil || !w.Healthy {
			t.Errorf("nobody can tell: %+v", w)
		}
		with(func(m *observed.Member) { m.PID, m.Answers, m.Silent = 0, false, since })
		if w := worker(); w.Answering != nil || !w.Healthy {
			t.Errorf("of which process, nobody can tell: %+v", w)
		}
		with(func(*observed.Member) {})
		b.hosts.set("dmz/worker-1", func(r *observed.Resource) {
			r.Degraded, r.Notes = []string{"drops 5% of its packets"}, []string{"no packets for 5 min"}
		})
		synctest.Wait()
		if w := worker(); !w.Healthy || !slices.Equal(w.Degraded, []string{"drops 5% of its packets"}) || !slices.Equal(w.Notes, []string{"no packets for 5 min"}) {
			t.Errorf("degraded: %+v", w)
		}
		b.settle()
		b.want("orders", b.hosts.took(), "")
	})
}
