package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

const three = "manager logger-1 worker-1 "

// weird is a Zeek with one option and one constant.
func weird(b *bench) {
	b.hosts.behave(func() {
		b.hosts.names = map[string]desired.NameKind{"Weird::rate": desired.NameOption, "Log::json": desired.NameConstant}
	})
}

func TestOptionsAreToldAndConstantsRestart(t *testing.T) {
	run(t, func(b *bench) {
		weird(b)
		b.see(map[string]string{"dmz": three + "!option=Log::json=F"})
		b.hosts.took()
		b.see(map[string]string{"dmz": three + "!option=Log::json=F !option=Weird::rate=5"})
		b.want("told", b.hosts.updates(), "logger-1 manager worker-1")
		b.want("disturbed", b.hosts.took(), "")
		b.see(map[string]string{"dmz": three + "!option=Log::json=F !option=Weird::rate=6"})
		b.want("told", b.hosts.updates(), "logger-1 manager worker-1")
		// The zeekrec that comes next knows as much.
		b.stop()
		b.start()
		b.see(map[string]string{"dmz": three + "!option=Log::json=F"})
		b.want("told", b.hosts.updates(), "logger-1 manager worker-1")
		b.want("disturbed", b.hosts.took(), "")
		b.see(map[string]string{"dmz": three + "!option=Log::json=T"})
		b.want("disturbed", b.hosts.took(), "restart dmz/logger-1, restart dmz/manager, restart dmz/worker-1")
		if s := b.status("dmz"); !s.Synced || !s.Healthy {
			t.Errorf("status %+v", s)
		}
	})
}

func TestUnknownOptionIsNotAccepted(t *testing.T) {
	run(t, func(b *bench) {
		weird(b)
		b.see(map[string]string{"dmz": three})
		b.hosts.took()
		b.see(map[string]string{"dmz": three + "!option=Weird::rte=5"})
		b.want("disturbed", b.hosts.took(), "")
		b.want("told", b.hosts.updates(), "")
		if s := b.status("dmz"); !s.Healthy || !strings.Contains(b.journal.rejected(), `unknown option "Weird::rte": did you mean "Weird::rate"?`) {
			t.Errorf("%s; status %+v", b.journal.rejected(), s)
		}
	})
}

// TestOptionsNotTakenRevert: an update is done when the nodes have it; where they have not in time, the last good revision is
// the target again.
func TestOptionsNotTakenRevert(t *testing.T) {
	run(t, func(b *bench) {
		weird(b)
		b.see(map[string]string{"dmz": three})
		b.hosts.took()
		b.hosts.behave(func() { b.hosts.untaken = "it does not take Weird::rate" })
		b.see(map[string]string{"dmz": three + "!option=Weird::rate=5"})
		b.hosts.behave(func() { b.hosts.untaken = "" })
		b.settle()
		s := b.status("dmz")
		if s.Quarantined == "" || !strings.Contains(s.Reason, "is not ready 1m0s after its update began") {
			t.Errorf("status %+v", s)
		}
		b.want("disturbed", b.hosts.took(), "")
		b.want("outcomes", b.journal.outcomes(), "Succeeded Failed RolledBack")
	})
}

// TestValueThatZeekRefuses is found before anybody is told.
func TestValueThatZeekRefuses(t *testing.T) {
	run(t, func(b *bench) {
		weird(b)
		b.see(map[string]string{"dmz": three})
		b.hosts.took()
		b.hosts.behave(func() {
			b.hosts.problems = func(r *desired.Resource) *observed.Problem {
				return &observed.Problem{Resource: r.Key(), Permanent: true, Message: "zeekrec-options.zeek, line 3: type clash"}
			}
		})
		b.see(map[string]string{"dmz": three + `!option=Weird::rate="five"`})
		b.want("told", b.hosts.updates(), "")
		b.want("disturbed", b.hosts.took(), "")
		if s := b.status("dmz"); !strings.Contains(s.Reason, "type clash") {
			t.Errorf("status %+v", s)
		}
	})
}

// TestZeekThatCannotSay: then a change is a restart, but for what the processes themselves are known to take.
func TestZeekThatCannotSay(t *testing.T) {
	run(t, func(b *bench) {
		weird(b)
		b.see(map[string]string{"dmz": three + "!option=Weird::rate=5"})
		b.hosts.took()
		b.stop()
		b.start()
		b.hosts.behave(func() { b.hosts.namesErr = errors.New("syntax error") })
		b.see(map[string]string{"dmz": three + "!option=Weird::rate=5"})
		b.want("nothing has changed", b.hosts.took(), "")
		b.see(map[string]string{"dmz": three + "!option=Weird::rate=6"})
		b.want("told", b.hosts.updates(), "logger-1 manager worker-1")
		b.see(map[string]string{"dmz": three + "!option=Weird::rate=6 !option=Weird::other=1"})
		b.want("disturbed", b.hosts.took(), "restart dmz/logger-1, restart dmz/manager, restart dmz/worker-1")
	})
}

// TestZeekThatDoesNotAnswer: while Zeek is asked for its names, nothing of its cluster is disturbed; other clusters, their
// acceptance and removal included, and what a person stops do not wait for it; and when the question's time is over, it goes on.
func TestZeekThatDoesNotAnswer(t *testing.T) {
	rate := func(n int) string { return three + "!option=Weird::rate=" + strconv.Itoa(n) }
	run(t, func(b *bench) {
		weird(b)
		b.see(map[string]string{"dmz": rate(5), "lan": "manager worker-1", "old": "manager"})
		b.stop()
		b.hosts.took()
		up := b.hosts.up()
		b.hosts.behave(func() { b.hosts.answer = make(chan struct{}) })
		b.start() // the next zeekrec knows nothing yet

		// A new revision of another cluster, one that is removed (and confirmed), and one of its own.
		b.see(map[string]string{"dmz": rate(6), "lan": "manager worker-1 worker-2"})
		if err := b.e.Confirm(b.ctx, "old", "", "ann"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		disturbed := strings.Split(b.hosts.took(), ", ")
		slices.Sort(disturbed)
		b.want("disturbed", strings.Join(disturbed, ", "), "restart lan/manager, start lan/worker-2, stop old/manager")
		b.want("up", b.hosts.up(), strings.ReplaceAll(up, " old/manager", "")+" lan/worker-2")
		s := b.status("dmz")
		if !s.Healthy || s.Quarantined != "" || len(s.Resources) != 3 {
			t.Errorf("status %+v", s)
		}
		for _, r := range s.Resources {
			if r.Orphaned || !r.Healthy {
				t.Errorf("%+v", r)
			}
		}
		if s := b.status("lan"); !s.Synced || !s.Healthy {
			t.Errorf("status %+v", s)
		}
		// What a person stops is stopped.
		if err := b.e.Hold(b.ctx, []string{"dmz/worker-1"}, "cable work", "ann", time.Time{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		b.want("disturbed", b.hosts.took(), "stop dmz/worker-1")

		b.settle()
		// After 90 s nobody waits any more: the processes say themselves that they take Weird::rate.
		b.want("told", b.hosts.updates(), "logger-1 manager")
		b.want("disturbed", b.hosts.took(), "")
		if s := b.status("dmz"); !s.Synced {
			t.Errorf("status %+v", s)
		}
	})
}

// TestWithheld: a revision that was accepted by a zeekrec that ended, and changes names of which this one does not know what they
// are, disturbs nobody before Zeek has said it, or its time is over.
func TestWithheld(t *testing.T) {
	for _, answers := range []bool{true, false} {
		t.Run(fmt.Sprintf("answers=%t", answers), func(t *testing.T) {
			run(t, func(b *bench) {
				weird(b)
				b.see(map[string]string{"dmz": three})
				b.hosts.took()
				if err := b.e.Suspend(b.ctx, "dmz", "maintenance", "ann", time.Time{}); err != nil {
					t.Fatal(err)
				}
				b.see(map[string]string{"dmz": three + "!option=Weird::rate=5"})
				b.stop()
				answer := make(chan struct{})
				b.hosts.behave(func() { b.hosts.answer = answer })
				b.start()
				if err := b.e.Resume(b.ctx, "dmz", "ann"); err != nil {
					t.Fatal(err)
				}
				b.settle()
				b.want("told", b.hosts.updates(), "")
				b.want("disturbed", b.hosts.took(), "")
				if s := b.status("dmz"); s.Reason != "waits until Zeek has said which options it has" || !s.Healthy || s.Synced || s.Suspended || len(s.Resources) != 3 {
					t.Errorf("status %+v", s)
				}
				told, disturbed := "", "restart dmz/logger-1, restart dmz/manager, restart dmz/worker-1"
				if answers {
					close(answer)
					told, disturbed = "logger-1 manager worker-1", ""
				}
				b.settle()
				b.want("told", b.hosts.updates(), told)
				b.want("disturbed", b.hosts.took(), disturbed)
				if s := b.status("dmz"); !s.Healthy || !s.Synced {
					t.Errorf("status %+v", s)
				}
			})
		})
	}
}

// TestZeekThatNeverAnswers holds its cluster up for the time of one question for each new revision, and for nothing else.
func TestZeekThatNeverAnswers(t *testing.T) {
	run(t, func(b *bench) {
		weird(b)
		b.hosts.behave(func() { b.hosts.answer = make(chan struct{}) })
		files := map[string]string{"dmz": three + "!option=Weird::rate=5"}
		b.see(files)
		b.want("started", b.hosts.took(), "")
		b.settle() // 120 s
		b.want("started", b.hosts.took(), "start dmz/logger-1, start dmz/manager, start dmz/worker-1")
		// Facts change for other reasons, long after: what is gone comes again at once.
		b.settle()
		b.settle()
		b.hosts.behave(func() { delete(b.hosts.res, "dmz/worker-1") })
		files["lan"] = "manager"
		b.obs <- observation(files)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		healed := strings.Split(b.hosts.took(), ", ")
		slices.Sort(healed) // clusters do not wait for each other
		b.want("healed", strings.Join(healed, ", "), "start dmz/worker-1, start lan/manager")
	})
}

// TestKnownNamesAreBounded: a source that changes scripts all day does not fill the memory.
func TestKnownNamesAreBounded(t *testing.T) {
	run(t, func(b *bench) {
		weird(b)
		for i := range 40 {
			b.see(map[string]string{"dmz": "manager worker-1=" + strconv.Itoa(i) + " !option=Weird::rate=5"})
		}
		w, err := b.e.World(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(w.Names["agent-a"]); n < 2 || n > 32 {
			t.Errorf("%d are known", n)
		}
		b.hosts.took()
		b.see(map[string]string{"dmz": "manager worker-1=39 !option=Weird::rate=6"})
		b.want("told", b.hosts.updates(), "manager worker-1")
		b.want("disturbed", b.hosts.took(), "")
	})
}

// TestPlansWaitForNames: what a plan is made from has the answers of Zeek that are due, but does not wait for ever.
func TestPlansWaitForNames(t *testing.T) {
	run(t, func(b *bench) {
		weird(b)
		answer := make(chan struct{})
		b.hosts.behave(func() { b.hosts.answer = answer })
		b.see(map[string]string{"dmz": three})
		began := time.Now()
		w, err := b.e.World(b.ctx)
		if err != nil || len(w.Names) > 0 || time.Since(began) != 15*time.Second {
			t.Errorf("after %s: %v, %v", time.Since(began), w.Names, err)
		}
		began = time.Now()
		time.AfterFunc(2*time.Second, func() { close(answer) })
		w, err = b.e.World(b.ctx)
		if err != nil || len(w.Names["agent-a"]) == 0 || time.Since(began) != 2*time.Second {
			t.Errorf("after %s: %v, %v", time.Since(began), w.Names, err)
		}
	})
}
