package mgmt

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestZeeksFirst(t *testing.T) {
	const iface = "fatal error: problem with interface eth9 (pcap_error: No such device exists (pcap_activate))"
	const parser = `error in /etc/zeek/clusters/default/local.zeek, line 1: unknown identifier EEEK, at or near "EEEK"`
	for _, tt := range []struct {
		name       string
		reasons    []string
		said, rest []string
	}{
		{name: "nothing"},
		{name: "zeekrec's alone", reasons: []string{"default.cfg: error: the file has no nodes [no-nodes]", "waits for agent-b"},
			rest: []string{"default.cfg: error: the file has no nodes [no-nodes]", "waits for agent-b"}},
		{name: "an interface", reasons: []string{"waits until it can start: default/worker-02: interface eth9 does not exist\n" + iface},
			said: []string{iface}, rest: []string{"waits until it can start: default/worker-02: interface eth9 does not exist"}},
		{name: "a script", reasons: []string{"the check failed: default/logger: " + parser + "\n(and 2 more like it)"},
			said: []string{parser}, rest: []string{"the check failed: default/logger: " + parser + "\n(and 2 more like it)"}},
		{name: "twice", reasons: []string{iface, "waits: " + iface}, said: []string{iface}, rest: []string{"waits: " + iface}},
		{name: "an error that is not Zeek's", reasons: []string{"the last error in its log was long ago"}, rest: []string{"the last error in its log was long ago"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said, rest := zeeksFirst(tt.reasons)
			if diff := cmp.Diff([][]string{tt.said, tt.rest}, [][]string{said, rest}); diff != "" {
				t.Error(diff)
			}
		})
	}
}
