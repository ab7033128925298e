package desired

import (
	"slices"
	"testing"
)

func TestGroupLimitsAreShownAsTheyAreWritten(t *testing.T) {
	l := GroupLimits{MemoryMax: 64 << 20, MemoryHigh: 1500 << 10, CPUQuota: 150, CPUWeight: 200, IOWeight: 50, TasksMax: 512}
	want := []string{"64M", "1500K", "150%", "200", "50", "512"}
	var got, none []string
	for _, f := range GroupFields() {
		got, none = append(got, l.Value(f)), append(none, (GroupLimits{}).Value(f))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if !slices.Equal(none, make([]string, len(want))) {
		t.Errorf("no limits are shown as %q", none)
	}
	if got := (GroupLimits{MemoryMax: 1000}).Value("memory_max"); got != "1000" {
		t.Errorf("a size without a unit is shown as %q", got)
	}
	if got := l.Value("nice"); got != "" {
		t.Errorf("what is no limit of a group has the value %q", got)
	}
}

// Take knows every field that there is: one that it forgot would never be applied.
func TestGroupLimitsAreTakenOneByOne(t *testing.T) {
	from := GroupLimits{MemoryMax: 1, MemoryHigh: 2, CPUQuota: 3, CPUWeight: 4, IOWeight: 5, TasksMax: 6}
	var to GroupLimits
	for i, f := range GroupFields() {
		to.Take(f, from)
		if to.Value(f) != from.Value(f) {
			t.Errorf("%s was not taken", f)
		}
		if last := i == len(GroupFields())-1; (to == from) != last {
			t.Errorf("after %s there is %+v", f, to)
		}
	}
}
