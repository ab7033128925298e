package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/observed"
)

// Offline is the report that an agent of the state folder would make, read from its records and the list of
// processes alone: for plans while no agent runs. Nothing is written. A process that is alive is taken to be
// healthy; what it waits for is not known.
func Offline(stateDir, instance string, at time.Time) (observed.Report, error) {
	r := observed.Report{Instance: instance, At: at, Host: observed.Host{Zeek: map[string]observed.Zeek{}}}
	clusters := filepath.Join(stateDir, "clusters")
	for _, cluster := range subfolders(clusters) {
		for _, node := range subfolders(filepath.Join(clusters, cluster, "nodes")) {
			if err := offline(folder(filepath.Join(clusters, cluster, "nodes", node)), cluster, &r); err != nil {
				return r, fmt.Errorf("cannot read the state folder: %w", err)
			}
		}
	}
	slices.SortFunc(r.Resources, func(x, y observed.Resource) int { return x.Compare(&y) })
	return r, nil
}

// offline adds one resource to the report, and the Zeek that it was started with.
func offline(f folder, cluster string, r *observed.Report) error {
	told, err := readJSON[toldRecord](f.told())
	if err != nil {
		return err
	}
	ran, err := readJSON[runningRecord](f.running())
	if err != nil {
		return err
	}
	alive := ran != nil && process.Alive(ran.Process)
	if told == nil && !alive {
		return nil
	}
	about := &runningRecord{}
	if ran != nil {
		about = ran
	} else {
		about.Resource = told.Resource
	}
	o := observed.Resource{
		Cluster: cluster, Name: f.resource(), Type: string(about.Resource.Type), Role: string(about.Resource.Role),
		State: observed.Stopped, Port: portOf(&about.Resource), Parts: about.parts(),
	}
	if told != nil {
		o.Told, o.Hold = told.Resource.ID, told.Hold
	}
	if ran != nil {
		o.Started, o.Incarnation, o.Restarts, o.Tunable = ran.Resource.ID, ran.Incarnation, ran.Restarts, ran.tunable(told)
		z := ran.Zeek
		if n := ran.Resource.Node; n != nil && z.Version != "" {
			r.Host.Zeek[n.Zeek] = observed.Zeek{Path: z.Path, Version: z.Version, ZeekPath: z.ZeekPath, HasLocal: hasLocal(z.ZeekPath), StandIn: z.StandIn}
		}
	}
	if alive {
		o.State, o.Healthy, o.PID, o.StartedAt, o.Since = observed.Running, true, ran.Process.PID, ran.StartedAt, ran.StartedAt
		o.Version, o.StandIn = ran.Zeek.Version, ran.Zeek.StandIn
	}
	r.Resources = append(r.Resources, o)
	return nil
}

// subfolders of a folder, sorted; none where it cannot be read.
func subfolders(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out
}
