// Package cmd_test holds what is true of the project as a whole.
package cmd_test

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/zeekrec/zeekrec/"

// TestArrows: packages import each other only the way that ARCHITECTURE.md draws.
func TestArrows(t *testing.T) {
	may := map[string][]string{
		"desired":                           {},
		"desired/clustercfg":                {"desired"},
		"desired/foreign":                   {"desired", "desired/clustercfg"},
		"desired/launch":                    {"desired"},
		"desired/source":                    {"desired"},
		"desired/source/git":                {"desired", "desired/source"},
		"observed":                          {},
		"reconciler":                        {"desired", "observed"},
		"reconciler/sim":                    {"reconciler", "desired", "observed"},
		"reconciler/engine":                 {"reconciler", "desired", "observed"},
		"reconciler/engine/journal":         {"reconciler/engine", "reconciler", "desired", "observed"},
		"reconciler/engine/news":            {"reconciler/engine", "reconciler", "desired", "observed"},
		"actuators/process":                 {},
		"actuators/agent":                   {"actuators/process", "actuators/group", "actuators/cgroup", "actuators/archive/logname", "actuators/vitals", "desired", "desired/launch", "observed"},
		"actuators/group":                   {"desired"},
		"actuators/cgroup":                  {"actuators/group", "desired"},
		"actuators/systemd":                 {"actuators/group", "actuators/cgroup", "actuators/process", "desired"},
		"actuators/archive":                 {"actuators/archive/logname"},
		"actuators/archive/admin":           {"actuators/archive", "actuators/archive/logname", "actuators/socket"},
		"actuators/archive/logname":         {},
		"actuators/socket":                  {},
		"actuators/vitals":                  {},
		"actuators/keys":                    {"actuators/broker/zmtp"},
		"actuators/broker":                  {"actuators/broker/zmtp", "actuators/broker/zeekbus"},
		"actuators/broker/admin":            {"actuators/broker", "actuators/socket", "actuators/broker/zmtp", "actuators/broker/zeekbus"},
		"actuators/broker/zmtp":             {},
		"actuators/broker/zeekbus":          {},
		"actuators/broker/internal/rawpeer": {},
	}
	for _, pkg := range packages(t, "./...") {
		if strings.HasPrefix(pkg, "cmd") {
			continue
		}
		allowed, known := may[pkg]
		if !known {
			t.Errorf("%s is in no room that this test knows: add it here and to ARCHITECTURE.md", pkg)
			continue
		}
		for _, dep := range packages(t, "-deps", "./"+pkg) {
			ok := dep == pkg
			for _, a := range allowed {
				ok = ok || dep == a
			}
			if !ok {
				t.Errorf("%s imports %s, which ARCHITECTURE.md does not allow", pkg, dep)
			}
		}
	}
}

// packages of the project that go list names, without the module's name.
func packages(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	var pkgs []string
	for line := range strings.Lines(string(out)) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), module); ok {
			pkgs = append(pkgs, p)
		}
	}
	return pkgs
}
