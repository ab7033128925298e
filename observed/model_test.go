package observed

import (
	"encoding/json"
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

// That no node has joined is something else than that nobody can tell, also behind a network.
func TestMembersOfNobodyAreNotUnknown(t *testing.T) {
	for _, want := range [][]Member{nil, {}, {{Name: "w1", PID: 7}}} {
		b, err := json.Marshal(Resource{Members: want})
		if err != nil {
			t.Fatal(err)
		}
		var got Resource
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if (got.Members == nil) != (want == nil) || !slices.Equal(got.Members, want) {
			t.Errorf("%#v became %#v", want, got.Members)
		}
	}
}
