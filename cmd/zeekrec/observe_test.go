package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// asked is what get-id-value prints.
type asked struct {
	Errors []struct {
		Error  string
		Source *string
	}
	Results map[string]json.RawMessage
}

// value asks for one, and checks the exit code.
func (r *rig) value(args ...string) asked {
	r.t.Helper()
	stdout, code := r.zeekrec(append([]string{"get-id-value"}, args...)...)
	var v asked
	if err := json.Unmarshal([]byte(stdout), &v); err != nil {
		r.t.Fatalf("get-id-value %v: %v\n%s", args, err, stdout)
	}
	if (code == 1) != (len(v.Errors) > 0) || code > 1 {
		r.t.Errorf("get-id-value %v ends with %d: %s", args, code, stdout)
	}
	return v
}

// errors are "NODE: why", sorted.
func (v asked) errors() string {
	var out []string
	for _, e := range v.Errors {
		out = append(out, *e.Source+": "+e.Error)
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func node(c engine.ClusterStatus, name string) engine.ResourceStatus {
	i := slices.IndexFunc(c.Resources, func(r engine.ResourceStatus) bool { return r.Name == name })
	if i < 0 {
		return engine.ResourceStatus{}
	}
	return c.Resources[i]
}

// TestObserve asks a cluster of real Zeeks, and stops one in its tracks.
func TestObserve(t *testing.T) {
	zeek, ok := realZeek()
	if !ok {
		t.Skip("needs a real Zeek on the PATH or in /opt/zeek/bin")
	}
	r := newRig(t, build(t, "./cmd/zeekrec", "-s -w"), zeek)
	r.save(config{workers: map[string]string{"worker-1": "interface = lo\n", "worker-2": "interface = lo\n"}}.String())
	r.start()
	r.settled("")
	c := r.cluster("all answer", waitLong, func(c engine.ClusterStatus) error {
		for _, n := range c.Resources {
			if n.Type == "node" && (n.Answering == nil || !*n.Answering) {
				return fmt.Errorf("%s does not", n.Name)
			}
		}
		return nil
	})
	var nodes []string
	for _, n := range c.Resources {
		if n.Type == "node" {
			nodes = append(nodes, n.Name)
		}
	}

	began := time.Now()
	v := r.value("Cluster::node")
	t.Logf("asked %d nodes for a value in %s", len(nodes), time.Since(began).Round(time.Millisecond))
	for _, n := range nodes {
		if string(v.Results[n]) != fmt.Sprintf("%q", n) {
			t.Errorf("Cluster::node of %s is %s", n, v.Results[n])
		}
	}
	if len(v.Results) != len(nodes) {
		t.Errorf("%d results of %d nodes", len(v.Results), len(nodes))
	}
	var streams map[string]any
	if err := json.Unmarshal(r.value("Log::all_streams", "worker-1").Results["worker-1"], &streams); err != nil || streams["Conn::LOG"] == nil {
		t.Errorf("Log::all_streams: %v, %v", streams, err)
	}
	var layout map[string]map[string]any
	if err := json.Unmarshal(r.value("dmz/Cluster::nodes", "manager").Results["manager"], &layout); err != nil || layout["worker-2"]["node_type"] != "Cluster::WORKER" {
		t.Errorf("Cluster::nodes: %v, %v", layout, err)
	}
	for _, tt := range []struct{ id, node, want string }{
		{"No::such", "manager", "manager: unknown id"},
		{"Cluster::Node", "manager", "manager: no ID value"},
		{"Cluster::node", "nobody", "nobody: unknown cluster node"},
		{"Cluster::Backend::ZeroMQ::curve_client_secretkey", "manager", "manager: not shown, since it is a secret"},
	} {
		if got := r.value(tt.id, tt.node).errors(); got != tt.want {
			t.Errorf("%s of %s: %q, want %q", tt.id, tt.node, got, tt.want)
		}
	}

	stdout, code := r.zeekrec("netstats", "--json")
	var stats struct {
		Results map[string]struct {
			Time     float64
			Received uint64
		}
	}
	if err := json.Unmarshal([]byte(stdout), &stats); err != nil || code != 0 || len(stats.Results) != 2 || stats.Results["dmz/worker-1"].Received == 0 {
		t.Errorf("netstats ends with %d, %v: %s", code, err, stdout)
	}

	// A worker that is stopped keeps its connections, and is seen all the same.
	pid := node(c, "worker-1").PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	c = r.cluster("worker-1 is seen not to answer", waitLong, func(c engine.ClusterStatus) error {
		if w := node(c, "worker-1"); w.Answering == nil || *w.Answering {
			return fmt.Errorf("%+v", w)
		}
		return nil
	})
	took := time.Since(stopped)
	t.Logf("seen after %s (%s)", took.Round(time.Millisecond), loadavg())
	if took > unhurried(10*time.Second) {
		t.Errorf("it took %s to see that worker-1 does not answer", took)
	}
	if w := node(c, "worker-1"); w.Healthy || c.Healthy || w.PID != pid || w.Joined == nil || !*w.Joined || !strings.HasPrefix(w.Reason, "does not answer since ") {
		t.Errorf("%+v", w)
	}
	began = time.Now()
	if v := r.value("Cluster::node"); len(v.Results) != len(nodes)-1 || !strings.HasPrefix(v.errors(), "worker-1: worker-1 does not answer since ") {
		t.Errorf("asked meanwhile: %+v", v)
	} else if d := time.Since(began); d > 5*time.Second {
		t.Errorf("the others had to wait for it: %s", d)
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	r.cluster("worker-1 answers again", waitLong, func(c engine.ClusterStatus) error {
		if w := node(c, "worker-1"); w.Answering == nil || !*w.Answering || w.PID != pid || !c.Healthy {
			return fmt.Errorf("%+v", w)
		}
		return nil
	})

	// One that does not run.
	if out, code := r.zeekrec("stop", "worker-2", "--reason", "test"); code != 0 {
		t.Fatalf("stop ends with %d: %s", code, out)
	}
	r.cluster("worker-2 is stopped", waitLong, func(c engine.ClusterStatus) error {
		if w := node(c, "worker-2"); w.PID != 0 {
			return fmt.Errorf("%+v", w)
		}
		return nil
	})
	if v := r.value("Cluster::node"); len(v.Results) != len(nodes)-1 || v.errors() != "worker-2: cluster node worker-2 not in running state" {
		t.Errorf("one is stopped: %+v", v)
	}
	// None of the questions was an error to anybody.
	for _, n := range nodes {
		b, err := os.ReadFile(r.path("state", "clusters", "dmz", "nodes", n, "stderr"))
		if err != nil || strings.Contains(string(b), "error") {
			t.Errorf("stderr of %s: %v\n%s", n, err, b)
		}
	}
}
