//go:build linux

package agent

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// TestStartsInTurn: what has ended while no agent ran, as with a machine that was restarted, starts role by role, each when the one before is ready; and
// one that does not come up keeps nobody from running.
func TestStartsInTurn(t *testing.T) {
	named := func(name string, role desired.Role, change ...func(*desired.Resource)) desired.Resource {
		return worker(append(change, func(r *desired.Resource) { r.Name, r.Role = name, role })...)
	}
	w := newWorld(t)
	all := []desired.Resource{named("logger", desired.RoleLogger), named("manager", desired.RoleManager), named("w1", desired.RoleWorker), named("w2", desired.RoleWorker)}
	running := func(key string) observed.Resource {
		var got observed.Resource
		w.eventually(key+" runs", func() bool { var ok bool; got, ok = w.get(key); return ok && got.State == observed.Running })
		return got
	}
	for _, r := range all {
		w.do(order(desired.Start, r, ""))
		running(r.Key())
	}
	w.stop()
	for _, r := range all {
		v, _ := w.get(r.Key())
		killPID(t, v.PID)
	}
	w.start()
	started := map[string]observed.Resource{}
	for _, r := range all {
		started[r.Name] = running(r.Key())
	}
	ready := func(name string) os.FileInfo {
		t.Helper()
		rec, err := readJSON[runningRecord](w.folder("dmz", name).running())
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(rec.Command.StatusFile)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	for _, pair := range [][2]string{{"logger", "manager"}, {"manager", "w1"}, {"manager", "w2"}} {
		if before, at := ready(pair[0]).ModTime(), started[pair[1]].StartedAt; at.Before(before) {
			t.Errorf("%s was started %s before %s was ready", pair[1], before.Sub(at), pair[0])
		}
	}

	// The logger ends with an error that another start does not mend.
	w.stop()
	for _, r := range all {
		v, _ := w.get(r.Key())
		killPID(t, v.PID)
	}
	told, err := readJSON[toldRecord](w.folder("dmz", "logger").told())
	if err != nil {
		t.Fatal(err)
	}
	told.Resource = named("logger", desired.RoleLogger, fake("interface"))
	if err := writeJSON(filepath.Join(string(w.folder("dmz", "logger")), "told.json"), told); err != nil {
		t.Fatal(err)
	}
	w.start()
	running("dmz/w1")
	if v, _ := w.get("dmz/logger"); v.State == observed.Running {
		t.Errorf("the logger: %+v", v)
	}
}
