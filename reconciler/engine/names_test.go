package engine_test

import (
	"errors"
	"strings"
	"testing"

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
