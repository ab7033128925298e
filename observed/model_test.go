package observed

import (
	"slices"
	"testing"
)

func TestCompareIsByClusterThenName(t *testing.T) {
	// '-' sorts before '/', so that the order of keys is another one.
	want := []Resource{{Cluster: "dmz", Name: "a"}, {Cluster: "dmz", Name: "b"}, {Cluster: "dmz-2", Name: "a"}}
	got := []Resource{want[2], want[1], want[0]}
	slices.SortFunc(got, func(x, y Resource) int { return x.Compare(&y) })
	for i := range want {
		if got[i].Key() != want[i].Key() {
			t.Errorf("%d: %s, want %s", i, got[i].Key(), want[i].Key())
		}
	}
	if c := want[0].Compare(&want[0]); c != 0 {
		t.Errorf("a resource compares to itself with %d", c)
	}
}
