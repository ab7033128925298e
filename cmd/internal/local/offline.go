package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
	"github.com/zeekrec/zeekrec/reconciler/engine/journal"
)

// told and running are the agent's records, as far as a look from outside needs them.
type told struct {
	Resource desired.Resource `json:"resource"`
	Hold     string           `json:"hold"`
}

type running struct {
	Resource    desired.Resource    `json:"resource"`
	Incarnation int                 `json:"incarnation"`
	Process     process.Identity    `json:"process"`
	StartedAt   time.Time           `json:"started_at"`
	Restarts    int                 `json:"restarts"`
	Since       map[string][]string `json:"since"`
	Zeek        observed.Zeek       `json:"zeek"`
}

// Offline is the world as the state folder alone shows it: what was accepted, what agents were told, and
// which of the processes are still there. Nil without an error: there is no state folder, or it is empty.
// Nothing is written, and the lock is not taken.
func Offline(stateDir, instance string, at time.Time) (*engine.World, error) {
	if _, err := os.Stat(filepath.Join(stateDir, "journal.jsonl")); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	state, err := journal.Load(stateDir)
	if err != nil {
		return nil, err
	}
	w := &engine.World{Source: state.Source, State: state, Fleet: map[string]observed.Report{}, Instance: instance, At: at}
	dirs, err := filepath.Glob(filepath.Join(strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`).Replace(stateDir), "clusters", "*", "nodes", "*"))
	if err != nil {
		return nil, fmt.Errorf("cannot read the state folder: %w", err)
	}
	report := observed.Report{Instance: instance, At: at, Host: observed.Host{Zeek: map[string]observed.Zeek{}}}
	for _, d := range dirs {
		r, ok, err := lookAt(d, report.Host.Zeek)
		if err != nil {
			return nil, err
		}
		if ok {
			report.Resources = append(report.Resources, r)
		}
	}
	slices.SortFunc(report.Resources, func(a, b observed.Resource) int { return strings.Compare(a.Key(), b.Key()) })
	w.Fleet[instance] = report
	return w, nil
}

// lookAt reads the records of one resource, and notes the Zeek that it was started with.
func lookAt(dir string, zeeks map[string]observed.Zeek) (o observed.Resource, ok bool, err error) {
	var t told
	var r running
	isTold, err := readRecord(filepath.Join(dir, "told.json"), &t)
	if err != nil {
		return o, false, err
	}
	ran, err := readRecord(filepath.Join(dir, "running.json"), &r)
	if err != nil {
		return o, false, err
	}
	alive := ran && process.Alive(r.Process)
	if !isTold && !alive {
		return o, false, nil
	}
	about := &t.Resource
	if alive || !isTold {
		about = &r.Resource
	}
	o = observed.Resource{
		Cluster: filepath.Base(filepath.Dir(filepath.Dir(dir))), Name: filepath.Base(dir), Type: string(about.Type), Role: string(about.Role),
		State: observed.Stopped, Incarnation: r.Incarnation, Restarts: r.Restarts, Parts: map[string][]string{},
	}
	if isTold {
		o.Told, o.Hold = t.Resource.ID, t.Hold
	}
	from := about
	if ran {
		o.Started, from = r.Resource.ID, &r.Resource
		if n := r.Resource.Node; n != nil && r.Zeek.Version != "" {
			r.Zeek.HasLocal = hasLocal(r.Zeek.ZeekPath)
			zeeks[n.Zeek] = r.Zeek
		}
	}
	for _, p := range from.Parts {
		o.Parts[p.Field] = p.Values
	}
	if ran {
		for field, values := range r.Since {
			if o.Parts[field] = values; len(values) == 0 {
				delete(o.Parts, field)
			}
		}
	}
	if alive {
		o.State, o.Healthy, o.PID, o.StartedAt, o.Since = observed.Running, true, r.Process.PID, r.StartedAt, r.StartedAt
		o.Version, o.StandIn = r.Zeek.Version, r.Zeek.StandIn
	}
	return o, true, nil
}

// hasLocal reports whether a local.zeek is on a search path.
func hasLocal(zeekPath string) bool {
	return slices.ContainsFunc(filepath.SplitList(zeekPath), func(dir string) bool {
		return filepath.IsAbs(dir) && exists(filepath.Join(dir, "local.zeek"))
	})
}

func readRecord(path string, v any) (bool, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot read the state folder: %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return true, nil
}
