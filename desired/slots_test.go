package desired_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/zeekrec/zeekrec/desired"
)

// slotted makes a cluster whose loggers have spare ports.
func slotted(n int, words ...string) *desired.Cluster {
	c := nodes("c", slices.Concat([]string{"manager m", "worker w"}, words)...)
	c.Settings.LoggerSlots = n
	return c
}

// endpoints that a node of the cluster connects to for logs.
func endpoints(t *testing.T, out desired.Compiled, node string) []string {
	t.Helper()
	for _, r := range out.Resources["c"] {
		if r.Name == node {
			return r.Node.LogEndpoints
		}
	}
	t.Fatalf("no %s in %+v", node, out.Diagnostics)
	return nil
}

func portOf(out desired.Compiled, node string) int { return out.Assignment.Ports["c/"+node].Port }

// Loggers take the spare endpoints and leave them, and what senders connect to stays as it is.
func TestLoggersComeAndGo(t *testing.T) {
	first := compile(desired.Assignment{}, slotted(2, "logger l1"))
	known := endpoints(t, first, "w")
	if len(known) != 3 || !slices.Contains(known, fmt.Sprintf("127.0.0.1:%d", portOf(first, "l1"))) {
		t.Fatalf("%q", known)
	}
	if got := endpoints(t, first, "l1"); got != nil {
		t.Errorf("a logger connects to %q", got)
	}
	same := func(what string, out desired.Compiled) desired.Assignment {
		t.Helper()
		if got := endpoints(t, out, "w"); !slices.Equal(got, known) {
			t.Errorf("%s: %q, want %q", what, got, known)
		}
		return out.Assignment
	}
	three := compile(first.Assignment, slotted(2, "logger l1", "logger l2", "logger l3"))
	a := same("two come", three)
	if p := portOf(three, "l2"); !slices.Contains(known, fmt.Sprintf("127.0.0.1:%d", p)) {
		t.Errorf("l2 has port %d", p)
	}
	a = same("one leaves", compile(a, slotted(2, "logger l1", "logger l3")))
	back := compile(a, slotted(2, "logger l1", "logger l2", "logger l3"))
	if same("it returns", back); portOf(back, "l2") != portOf(three, "l2") {
		t.Errorf("it was at %d and is at %d", portOf(three, "l2"), portOf(back, "l2"))
	}
	other := compile(a, slotted(2, "logger l1", "logger l3", "logger l4"))
	a = same("another takes its place", other)
	if portOf(other, "l4") != portOf(three, "l2") {
		t.Errorf("l4 has port %d", portOf(other, "l4"))
	}
	// There is no slot left for l2.
	four := compile(a, slotted(2, "logger l1", "logger l2", "logger l3", "logger l4"))
	if got := endpoints(t, four, "w"); len(got) != 6 || !slices.Contains(got, fmt.Sprintf("127.0.0.1:%d", portOf(four, "l2"))) {
		t.Errorf("a fourth: %q", got)
	}
	if got := endpoints(t, compile(a, slotted(1, "logger l1")), "w"); !slices.Equal(got, known) {
		t.Errorf("fewer are asked for: %q", got)
	}
	if got := endpoints(t, compile(a, slotted(3, "logger l1")), "w"); len(got) != 4 {
		t.Errorf("more are asked for: %q", got)
	}
	off := compile(a, slotted(0, "logger l1"))
	if got := endpoints(t, off, "w"); got != nil || len(off.Assignment.LogSlots) != 0 {
		t.Errorf("none are asked for: %q", got)
	}
	if got := endpoints(t, compile(desired.Assignment{}, slotted(2)), "w"); got != nil {
		t.Errorf("the manager logs: %q", got)
	}
}

// A logger that was there before there were slots comes back to one of them, and not to its port of then.
func TestFormerLoggerTakesASlot(t *testing.T) {
	a := compile(desired.Assignment{}, slotted(0, "logger l1", "logger l2")).Assignment
	a = compile(a, slotted(0, "logger l1")).Assignment
	alone := compile(a, slotted(1, "logger l1"))
	out := compile(alone.Assignment, slotted(1, "logger l1", "logger l2"))
	if got, want := endpoints(t, out, "w"), endpoints(t, alone, "w"); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	// Without one it has its port again.
	again := compile(a, slotted(0, "logger l1", "logger l2"))
	if got, want := portOf(again, "l2"), a.Ports["c/l2"].Port; got != want {
		t.Errorf("port %d, want %d", got, want)
	}
}

// A slot that is stated for something else is given up.
func TestSlotsGiveWay(t *testing.T) {
	a := compile(desired.Assignment{}, slotted(1, "logger l1")).Assignment
	spare := a.LogSlots["c@agent-a"].Ports
	spare = slices.DeleteFunc(slices.Clone(spare), func(p int) bool { return p == a.Ports["c/l1"].Port })
	out := compile(a, slotted(1, "logger l1", fmt.Sprintf("proxy p:%d", spare[0])))
	if got := endpoints(t, out, "w"); strings.Contains(strings.Join(got, " "), fmt.Sprint(spare[0])) {
		t.Errorf("%q still has %d", got, spare[0])
	}
	out = compile(a, slotted(1, "logger l1", fmt.Sprintf("logger l2:%d", spare[0])))
	if got := endpoints(t, out, "w"); len(got) != 2 {
		t.Errorf("%q", got)
	}
}

// Whatever comes and goes, all loggers are at endpoints that are connected to, no two at one, and what was connected to
// before grows only where there was no room.
func TestSlotProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots := rapid.IntRange(1, 3).Draw(t, "slots")
		names := []string{"l1", "l2", "l3", "l4", "l5"}
		var a desired.Assignment
		var before []string
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			var words []string
			for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, len(names), rapid.ID[string]).Draw(t, "loggers") {
				words = append(words, "logger "+n)
			}
			out := compile(a, slotted(slots, words...))
			if desired.HasErrors(out.Diagnostics) {
				t.Fatal(out.Diagnostics)
			}
			var w desired.Resource
			for _, r := range out.Resources["c"] {
				if r.Name == "w" {
					w = r
				}
			}
			taken := map[string]bool{}
			for _, r := range out.Resources["c"] {
				if r.Role != desired.RoleLogger {
					continue
				}
				at := r.Part("listen")[0]
				if taken[at] || !slices.Contains(w.Node.LogEndpoints, at) {
					t.Fatalf("%s is at %s, of %q", r.Name, at, w.Node.LogEndpoints)
				}
				taken[at] = true
			}
			if grown := !slices.Equal(before, w.Node.LogEndpoints); grown && len(words) <= len(before) {
				t.Fatalf("%d loggers, and %q became %q", len(words), before, w.Node.LogEndpoints)
			}
			before, a = w.Node.LogEndpoints, out.Assignment
		}
	})
}
