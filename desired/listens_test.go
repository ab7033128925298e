package desired

import (
	"slices"
	"testing"
)

func TestListens(t *testing.T) {
	var r Resource
	for field, v := range map[string]string{
		"xsub": "tcp://*:5556", "xpub": "tcp://127.0.0.1:5555", "metrics": "0.0.0.0:9000", "listen": "[::1]:2200",
		"broker": "tcp://127.0.0.1:5557", "loggers": "127.0.0.1:2201", // those of others
	} {
		r.Parts = append(r.Parts, &Part{Field: field, Values: []string{v}})
	}
	r.Seal()
	want := []string{"[::1]:2200", "0.0.0.0:9000", "127.0.0.1:5555", ":5556"}
	if got := r.Listens(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := ListensOf(func(f string) []string { return map[string][]string{"metrics": {"[::]:9"}}[f] }); !slices.Equal(got, []string{"[::]:9"}) {
		t.Errorf("got %v", got)
	}
}
