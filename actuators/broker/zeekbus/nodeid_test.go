package zeekbus

import (
	"strings"
	"testing"
)

var nodeIDTests = []struct {
	id, name string
	want     NodeID
}{
	{"zeromq_worker-1_sensor1_4711_NWgRyB3", "worker-1", NodeID{"worker-1", "sensor1", 4711, "NWgRyB3", ""}},
	{"zeromq_worker-1_sensor1_4711_NWgRyB3", "", NodeID{"worker-1", "sensor1", 4711, "NWgRyB3", ""}},
	{"zeromq_worker_1_my_host_1_Na", "worker_1", NodeID{"worker_1", "my_host", 1, "Na", ""}},
	{"zeromq_worker_1_my_host_1_Na", "worker_1_my", NodeID{"worker_1_my", "host", 1, "Na", ""}},
	// Where the name is not known, the host is taken to have no underscore.
	{"zeromq_worker_1_my_host_1_Na", "", NodeID{"worker_1_my", "host", 1, "Na", ""}},
	{"zeromq_w_h_1_2_3_4", "w", NodeID{"w", "h_1_2", 3, "4", ""}},
	{"zeromq_w_h-websocket-1_7_Nb-websocket-12", "w", NodeID{"w", "h-websocket-1", 7, "Nb", "12"}},
	{"zeromq___1_N", "_", NodeID{}},
	{"zeromq_____1_N", "_", NodeID{"_", "_", 1, "N", ""}},
	{"zeromq_w_h.example.org_2147483647_N", "w", NodeID{"w", "h.example.org", 2147483647, "N", ""}},
}

func TestParseNodeID(t *testing.T) {
	for _, tt := range nodeIDTests {
		n, err := ParseNodeID(tt.id, tt.name)
		if n != tt.want || (err == nil) != (tt.want != NodeID{}) {
			t.Errorf("%s of %q: %+v, %v", tt.id, tt.name, n, err)
		}
		if err == nil && n.String() != tt.id {
			t.Errorf("%s became %s", tt.id, n)
		}
	}
}

func TestParseNodeIDRefuses(t *testing.T) {
	for id, why := range map[string]string{
		"":                                     "does not begin with zeromq_",
		"worker-1":                             "does not begin with zeromq_",
		"zeromq_":                              "too few parts",
		"zeromq_w":                             "too few parts",
		"zeromq_1_N":                           "too few parts",
		"zeromq_h_1_N":                         "too few parts",
		"zeromq_w__1_N":                        "too few parts",
		"zeromq__h_1_N":                        "too few parts",
		"zeromq_w_h_1_":                        "last part is empty",
		"zeromq_w_h_1_N x":                     "not of letters and digits",
		"zeromq_w_h_1_N-websocket-":            "WebSocket client is none",
		"zeromq_w_h_1_N-websocket-x":           "WebSocket client is none",
		"zeromq_w_h_01_N":                      "no process id",
		"zeromq_w_h_0_N":                       "no process id",
		"zeromq_w_h_-1_N":                      "no process id",
		"zeromq_w_h_+1_N":                      "no process id",
		"zeromq_w_h_2147483648_N":              "no process id",
		"zeromq_w_h_x_N":                       "no process id",
		"zeromq_" + strings.Repeat("\n", 1000): "too few parts",
	} {
		n, err := ParseNodeID(id, "")
		if err == nil || !strings.Contains(err.Error(), why) || n != (NodeID{}) {
			t.Errorf("%q: %+v, %v", id, n, err)
		}
		if err != nil && (len(err.Error()) > 400 || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%q: an error of %d bytes", id, len(err.Error()))
		}
	}
	if n, err := ParseNodeID("zeromq_w_h_1_N", "v"); err == nil || !strings.Contains(err.Error(), `not of node "v"`) {
		t.Errorf("%+v, %v", n, err)
	}
}
