package systemd

import (
	"testing"

	"github.com/zeekrec/zeekrec/actuators/group"
	"github.com/zeekrec/zeekrec/desired"
)

func TestHowAServiceEnded(t *testing.T) {
	for _, tt := range []struct {
		code, status int32
		want         string
	}{
		{cldExited, 1, "exited with status 1"}, {cldKilled, 9, "killed by SIGKILL"}, {cldDumped, 11, "killed by SIGSEGV, core dumped"},
		{0, 0, "ended with an unknown status"},
	} {
		if got := exitOf(tt.code, tt.status).String(); got != tt.want {
			t.Errorf("%d, %d: %s, want %s", tt.code, tt.status, got, tt.want)
		}
	}
}

// Whoever reads a unit learns how its node is started, and no secret: the environment is in a file.
func TestServiceNamesAFileAndNoSecret(t *testing.T) {
	s := NewServices(&Manager{own: "zeekrec.service"})
	n := group.Name{Cluster: "dmz", Role: desired.RoleWorker}
	props := map[string]string{}
	for _, p := range s.properties(n, "w1", SliceName(n), []string{"/usr/bin/zeekrec", "exec-node", "/var/lib/service.json"}) {
		props[p.Name] = p.Value.String()
	}
	for name, want := range map[string]string{
		"Slice": `"zeek-dmz-worker.slice"`, "Restart": `"always"`, "RestartUSec": "@t 100000", "StartLimitBurst": "@u 5", "KillMode": `"mixed"`,
		"Description": `"Zeek node w1 of cluster dmz"`, "TasksMax": "@t 18446744073709551615", "Before": `["zeekrec.service"]`,
	} {
		if props[name] != want {
			t.Errorf("%s is %s, want %s", name, props[name], want)
		}
	}
	if _, ok := props["Environment"]; ok {
		t.Error("its environment is in the unit")
	}
}
