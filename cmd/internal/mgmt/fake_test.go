package mgmt

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/clustercfg"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// fakeWorld is an engine with its nodes and the file of one cluster: what is written runs at once, unless told otherwise.
type fakeWorld struct {
	t        testing.TB
	mu       sync.Mutex
	agents   []string
	file     *desired.ClusterFile // nil: none
	written  int
	readOnly error
	// change what becomes of the cluster's status.
	change func(*engine.ClusterStatus)
	// pending nodes, by name.
	pending   map[string]string
	retried   int
	restarted []string
	stderr    map[string]string
	elsewhere []string // nodes on instances that are not connected
}

func newFakeWorld(t testing.TB) *fakeWorld {
	return &fakeWorld{t: t, agents: []string{"agent-a"}, pending: map[string]string{}, stderr: map[string]string{}}
}

func (f *fakeWorld) cluster() *desired.Cluster {
	if f.file == nil {
		return nil
	}
	c, ds := clustercfg.Parse(*f.file, "agent-a")
	if desired.HasErrors(ds) {
		return nil
	}
	return c
}

func (f *fakeWorld) Status(context.Context) (*engine.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &engine.Status{Source: engine.SourceStatus{State: "ok", CheckedAt: time.Now()}}
	for _, a := range f.agents {
		s.Agents = append(s.Agents, engine.AgentStatus{Name: a, State: "connected", PID: 41, Address: "10.0.0.1"})
	}
	c := f.cluster()
	if c == nil {
		return s, nil
	}
	cs := engine.ClusterStatus{Name: "default", Synced: true, Healthy: true}
	cs.Revision.Wanted = f.file.Revision()
	for i, n := range c.Nodes {
		cs.Resources = append(cs.Resources, engine.ResourceStatus{
			Name: n.Name, Type: "node", Role: string(n.Role), Instance: n.Instance, State: observed.Running, PID: 100 + i, Healthy: true,
		})
	}
	if f.change != nil {
		f.change(&cs)
	}
	s.Clusters = append(s.Clusters, cs)
	return s, nil
}

func (f *fakeWorld) Deployed(context.Context, string) (*engine.Deployed, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.cluster()
	if c == nil {
		return nil, nil
	}
	for i := range c.Nodes {
		if n := &c.Nodes[i]; n.Port == 0 && n.Role != desired.RoleWorker {
			n.Port = 2200 + i
		}
	}
	return &engine.Deployed{Revision: f.file.Revision(), Cluster: c, Pending: maps.Clone(f.pending)}, nil
}

func (f *fakeWorld) Sync(context.Context) error { return nil }

func (f *fakeWorld) Retry(context.Context, string, string) error {
	f.retried++
	return nil
}

func (f *fakeWorld) Restart(_ context.Context, scopes []string, _ bool, _, _ string) ([]string, error) {
	f.restarted = append(f.restarted, scopes...)
	return scopes, nil
}

func (f *fakeWorld) Ask(_ context.Context, q api.Ask) ([]api.NodeAnswer, error) {
	var out []api.NodeAnswer
	for _, n := range q.Nodes {
		a := api.NodeAnswer{Node: n, Value: []byte(`96`)}
		switch {
		case slices.Contains(f.elsewhere, n):
			a = api.NodeAnswer{Node: n, Error: "unknown cluster node"} // nothing is known of its process
		case q.ID != "bits_per_uid":
			a = api.NodeAnswer{Node: n, Error: "unknown id"}
		}
		out = append(out, a)
	}
	return out, nil
}

func (f *fakeWorld) Outputs(_ context.Context, key string, _ time.Time) (stdout, stderr string) {
	return "", f.stderr[key]
}

func (f *fakeWorld) Read(context.Context) (desired.ClusterFile, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return desired.ClusterFile{}, false, nil
	}
	return *f.file, true, nil
}

func (f *fakeWorld) Write(data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readOnly != nil {
		return f.readOnly
	}
	f.written++
	f.file = &desired.ClusterFile{Name: "default", File: "default.cfg", Data: slices.Clone(data)}
	return nil
}

func (f *fakeWorld) controller(dir string) *Controller {
	f.t.Helper()
	c, err := NewController(Config{
		Engine: f, Nodes: f, Target: f, Cluster: "default", Name: "controller-a", Instance: "agent-a", PID: 42, StateDir: dir,
		Parse: clustercfg.Parse, Log: slog.New(slog.DiscardHandler),
		Timings: Timings{Deploy: 2 * time.Second, Blocked: 50 * time.Millisecond, Expire: 10 * time.Millisecond},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// config of a cluster.cfg, as a client sends it.
func configOf(t testing.TB, id, text string) *Configuration {
	t.Helper()
	c, _ := clustercfg.Parse(desired.ClusterFile{Name: "x", File: "x.cfg", Data: []byte(text)}, "agent-a")
	if c == nil {
		t.Fatalf("cannot read %s", text)
	}
	return &Configuration{ID: id, Instances: c.Instances, Nodes: c.Nodes}
}

const smallCluster = "[manager]\nrole = manager\n\n[logger]\nrole = logger\n\n[worker-1]\nrole = worker\ninterface = eth0\n"

func writeFile(path string, b []byte) error { return os.WriteFile(path, b, 0o600) }
