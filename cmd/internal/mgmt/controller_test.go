package mgmt

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// ask makes a request of a controller and returns what its answer has behind the request's id.
func ask(t *testing.T, c *Controller, name string, args ...Value) Value {
	t.Helper()
	e, err := c.Handle(t.Context(), Event{Name: apiPrefix + name + "_request", Args: append([]Value{String("r1")}, args...)}, "test")
	if err != nil {
		t.Fatal(err)
	}
	if e == nil || e.Name != apiPrefix+name+"_response" || len(e.Args) != 2 || e.Args[0] != String("r1") {
		t.Fatalf("%s is answered by %v", name, e)
	}
	return e.Args[1]
}

// said are the texts of the failures among results, and the data of the successes.
func said(t *testing.T, v Value) (failures, successes []string) {
	t.Helper()
	rs, err := resultsOf(v)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rs {
		who := strings.TrimSpace(r.Instance + " " + r.Node)
		text, _ := r.Data.(String)
		if r.Success {
			successes = append(successes, strings.TrimSpace(who+" "+string(text)))
		} else {
			failures = append(failures, strings.TrimSpace(who+" "+r.Error))
		}
	}
	return failures, successes
}

// TestStage: the framework's rules with its texts, all errors at once and sorted; what is wrong is not kept.
func TestStage(t *testing.T) {
	for name, x := range map[string]struct {
		text string
		want []string
	}{
		"valid": {smallCluster, nil},
		"empty": {"", nil},
		"an instance is not declared": {
			"[instances]\nagent-a\n[manager]\nrole=manager\ninstance=agent-b\n[w]\nrole=worker\ninterface=e\ninstance=agent-c\n",
			[]string{"node 'manager' has undeclared instance name 'agent-b'", "node 'w' has undeclared instance name 'agent-c'"},
		},
		"names collide": {
			"[instances]\nagent-a\n[agent-a]\nrole=manager\ninstance=agent-a\n",
			[]string{"node and instance names collide: agent-a"},
		},
		"ports": {
			"[instances]\nagent-a = 127.0.0.1:3000\n[m]\nrole=manager\ninstance=agent-a\nport=3000\n[p]\nrole=proxy\ninstance=agent-a\nport=2150\n[q]\nrole=proxy\ninstance=agent-a\nport=2150\n",
			[]string{
				"multiple nodes on instance 'agent-a' using port 2150/tcp", "node 'm' port 3000/tcp conflicts with agent port on instance 'agent-a'",
				"node 'p' port 2150/tcp conflicts with controller port", "node 'q' port 2150/tcp conflicts with controller port",
			},
		},
		"zeekrec's own rules": {"[w]\nrole=worker\n", []string{"no node has the role manager", "worker 'w' has no interface"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newFakeWorld(t).controller(t.TempDir())
			failures, successes := said(t, ask(t, c, "stage_configuration", configOf(t, "c1", x.text).Value()))
			if diff := cmp.Diff(x.want, failures); diff != "" {
				t.Errorf("(-want, +got):\n%s", diff)
			}
			r, err := resultOf(ask(t, c, "get_configuration", Bool(false)))
			switch {
			case err != nil:
				t.Fatal(err)
			case x.want == nil && (!slices.Equal(successes, []string{"c1"}) || !r.Success):
				t.Errorf("it was not staged: %v, %v", successes, r)
			case x.want != nil && r.Error != errNoStaged:
				t.Errorf("it was staged all the same: %v", r)
			}
		})
	}
}

// TestStageInjection: nothing that a client writes into a name or a value becomes something else in the file.
func TestStageInjection(t *testing.T) {
	evil := []string{"x]\n[zeekrec]\nzeek = /bin/evil", "a\nargs = -e evil", "x\n[y]\nrole = worker", "é%(x)s", "]", "#x", " x ", "x\x00y", "zeekrec.options", "../../x", ""}
	for _, s := range evil {
		for name, change := range map[string]func(*Configuration){
			"name":      func(c *Configuration) { c.Nodes[0].Name = s },
			"interface": func(c *Configuration) { c.Nodes[2].Interface = s },
			"script":    func(c *Configuration) { c.Nodes[0].Scripts = []string{s} },
			"env":       func(c *Configuration) { c.Nodes[0].Env = map[string]string{s: s} },
			"instance":  func(c *Configuration) { c.Instances[0].Name = s },
			"id":        func(c *Configuration) { c.ID = s },
		} {
			w := newFakeWorld(t)
			c := w.controller(t.TempDir())
			config := configOf(t, "c1", smallCluster)
			change(config)
			ask(t, c, "stage_configuration", config.Value())
			ask(t, c, "deploy")
			if w.file == nil {
				continue // refused
			}
			got := w.cluster()
			if got == nil {
				t.Fatalf("%s %q: what was written is invalid:\n%s", name, s, w.file.Data)
			}
			if what := differs(config, got); what != "" || got.Settings.Zeek != "" || len(got.Nodes[0].Args) > 0 {
				t.Errorf("%s %q became something else: %s\n%s", name, s, what, w.file.Data)
			}
		}
	}
}

// TestDeploy: the file is written, keeps zeekrec's own sections, and the answer has all nodes and the id.
func TestDeploy(t *testing.T) {
	w := newFakeWorld(t)
	own := "[zeekrec]\nmetrics = no   # not here\n\n[zeekrec.options]\n# as JSON\nLogAscii::use_json = T\n"
	w.file = &desired.ClusterFile{Name: "default", File: "default.cfg", Data: []byte("# mine\n" + own + "\n[old]\nrole = manager\n")}
	dir := t.TempDir()
	c := w.controller(dir)
	if failures, _ := said(t, ask(t, c, "deploy")); !slices.Equal(failures, []string{errNothingToDo}) {
		t.Errorf("a deploy of nothing: %q", failures)
	}
	ask(t, c, "stage_configuration", configOf(t, "c1", smallCluster).Value())
	failures, successes := said(t, ask(t, c, "deploy"))
	if want := []string{"agent-a logger", "agent-a manager", "agent-a worker-1", "c1"}; len(failures) > 0 || !slices.Equal(successes, want) {
		t.Errorf("it is answered %q and %q, want %q", failures, successes, want)
	}
	if !strings.Contains(string(w.file.Data), "[zeekrec]\nmetrics = no   # not here\n\n[zeekrec.options]\n# as JSON\nLogAscii::use_json = T\n") || strings.Contains(string(w.file.Data), "old") {
		t.Errorf("the file is now\n%s", w.file.Data)
	}
	// Again, by another process: the same file, so nothing changes; it is tried again all the same.
	c = w.controller(dir)
	before := string(w.file.Data)
	if failures, _ := said(t, ask(t, c, "deploy")); len(failures) > 0 || string(w.file.Data) != before || w.retried != 1 {
		t.Errorf("the same again: %q, retried %d times", failures, w.retried)
	}
	// The deployed configuration has the ports and the id.
	r, err := resultOf(ask(t, c, "get_configuration", Bool(true)))
	if err != nil || !r.Success {
		t.Fatal(r, err)
	}
	got, err := configurationOf(r.Data)
	if err != nil || got.ID != "c1" || nodeNames(got.cluster("x"))["manager"].Port == 0 || got.Instances[0].Host != loopback {
		t.Errorf("the deployed configuration is %+v, %v", got, err)
	}
	// Edited by hand, it is another.
	w.file = &desired.ClusterFile{Name: "default", File: "default.cfg", Data: append(w.file.Data, "# edited\n"...)}
	if r, _ = resultOf(ask(t, c, "get_configuration", Bool(true))); r.Data.(Vector)[0] != String(w.file.Revision()) {
		t.Errorf("the id is %v, want the revision", r.Data.(Vector)[0])
	}
}

func TestDeployRefused(t *testing.T) {
	w := newFakeWorld(t)
	c := w.controller(t.TempDir())
	ask(t, c, "stage_configuration", configOf(t, "c1", smallCluster).Value())
	w.readOnly = NoTarget{"https://example.org/zeek.git"}.Write(nil)
	failures, successes := said(t, ask(t, c, "deploy"))
	if len(failures) != 1 || !strings.Contains(failures[0], "the source is the Git repository https://example.org/zeek.git") || len(successes) > 0 {
		t.Errorf("%q, %q", failures, successes)
	}
	// Nothing is stopped by an empty configuration, which is what zeek-client sends for a file that it cannot read.
	w.readOnly = nil
	ask(t, c, "deploy")
	before := w.written
	ask(t, c, "stage_configuration", (&Configuration{ID: "c2"}).Value())
	failures, _ = said(t, ask(t, c, "deploy"))
	if len(failures) != 1 || !strings.Contains(failures[0], "zeekrec stop default") || w.written != before {
		t.Errorf("%q, %d writes", failures, w.written-before)
	}
}

// TestDeployOnlyOne: two at a time are refused as the framework does.
func TestDeployOnlyOne(t *testing.T) {
	w := newFakeWorld(t)
	c := w.controller(t.TempDir())
	ask(t, c, "stage_configuration", configOf(t, "c1", smallCluster).Value())
	began := make(chan struct{})
	w.change = func(cs *engine.ClusterStatus) { // it does not come to an end
		cs.Synced = false
		select {
		case <-began:
		default:
			close(began)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = c.Handle(context.WithoutCancel(t.Context()), Event{Name: apiPrefix + "deploy_request", Args: []Value{String("first")}}, "test")
	}()
	<-began
	failures, _ := said(t, ask(t, c, "deploy"))
	if !slices.Equal(failures, []string{"earlier deployment first still pending"}) {
		t.Errorf("%q", failures)
	}
	<-done
}

// TestDeployFails: one node is not up, and its outputs say why.
func TestDeployFails(t *testing.T) {
	w := newFakeWorld(t)
	c := w.controller(t.TempDir())
	ask(t, c, "stage_configuration", configOf(t, "c1", smallCluster).Value())
	w.stderr["default/worker-1"] = "# 2026-01-02T03:04:05Z zeekrec: start 1\nfatal error: problem with interface eth0\n"
	w.change = func(cs *engine.ClusterStatus) {
		cs.Synced, cs.Healthy = false, false
		cs.Last = &engine.LastRollout{To: cs.Revision.Wanted, Outcome: engine.Failed, Reason: "worker-1 has failed", At: time.Now()}
		for i := range cs.Resources {
			if r := &cs.Resources[i]; r.Name == "worker-1" {
				r.State, r.Healthy, r.PID = observed.Failed, false, 0
			}
		}
	}
	v := ask(t, c, "deploy")
	failures, successes := said(t, v)
	if !slices.Equal(failures, []string{"agent-a worker-1", "agent-a " + errTimedOut}) || !slices.Equal(successes, []string{"agent-a logger", "agent-a manager", "c1"}) {
		t.Errorf("%q, %q", failures, successes)
	}
	rs, _ := resultsOf(v)
	i := slices.IndexFunc(rs, func(r Result) bool { return r.Node == "worker-1" })
	if _, stderr, ok := OutputsOf(rs[i]); !ok || stderr != "fatal error: problem with interface eth0" {
		t.Errorf("its outputs are %q, %v", stderr, ok)
	}
}

// TestJudge: what has become of a revision.
func TestJudge(t *testing.T) {
	began := time.Now()
	after := began.Add(time.Second)
	text := "cannot read it"
	ok := func(change func(*engine.Status, *engine.ClusterStatus)) *engine.Status {
		s := &engine.Status{Source: engine.SourceStatus{State: "ok", CheckedAt: after}, Clusters: []engine.ClusterStatus{{Name: "c", Synced: true, Healthy: true}}}
		s.Clusters[0].Revision.Wanted = "new"
		change(s, &s.Clusters[0])
		return s
	}
	for name, x := range map[string]struct {
		status *engine.Status
		want   outcome
		waits  string
	}{
		"all well":      {ok(func(*engine.Status, *engine.ClusterStatus) {}), outcome{done: true}, ""},
		"not seen yet":  {ok(func(_ *engine.Status, c *engine.ClusterStatus) { c.Revision.Wanted = "old" }), outcome{}, ""},
		"no cluster":    {ok(func(s *engine.Status, _ *engine.ClusterStatus) { s.Clusters = nil }), outcome{}, ""},
		"source fails":  {ok(func(s *engine.Status, _ *engine.ClusterStatus) { s.Source.State, s.Source.Error = "error", &text }), outcome{done: true, held: text}, ""},
		"file rejected": {ok(func(_ *engine.Status, c *engine.ClusterStatus) { c.Since, c.Reason = &began, "bad" }), outcome{done: true, held: "bad"}, ""},
		"guarded":       {ok(func(_ *engine.Status, c *engine.ClusterStatus) { c.Waiting, c.Reason = "new", "guard" }), outcome{done: true, held: "guard"}, ""},
		"pinned":        {ok(func(_ *engine.Status, c *engine.ClusterStatus) { c.Pinned, c.Reason = "old", "pin" }), outcome{done: true, held: "pin"}, ""},
		"suspended":     {ok(func(_ *engine.Status, c *engine.ClusterStatus) { c.Suspended, c.Reason = true, "sus" }), outcome{done: true, held: "sus"}, ""},
		"quarantined":   {ok(func(_ *engine.Status, c *engine.ClusterStatus) { c.Quarantined, c.Reason = "new", "q" }), outcome{done: true, failed: "q"}, ""},
		"going back": {ok(func(_ *engine.Status, c *engine.ClusterStatus) {
			c.Quarantined, c.Rollout = "new", &engine.RolloutStatus{}
		}), outcome{}, ""},
		"blocked": {ok(func(_ *engine.Status, c *engine.ClusterStatus) {
			c.Synced, c.Rollout = false, &engine.RolloutStatus{Waiting: "a disk"}
		}), outcome{}, "a disk"},
		"failed": {ok(func(_ *engine.Status, c *engine.ClusterStatus) {
			c.Last = &engine.LastRollout{To: "new", Outcome: engine.Failed, Reason: "f", At: after}
		}), outcome{done: true, failed: "f"}, ""},
		"failed long ago": {ok(func(_ *engine.Status, c *engine.ClusterStatus) {
			c.Last = &engine.LastRollout{To: "new", Outcome: engine.Failed, Reason: "f", At: began.Add(-time.Hour)}
		}), outcome{done: true}, ""},
		"a node is down for good": {ok(func(_ *engine.Status, c *engine.ClusterStatus) {
			c.Healthy, c.Resources = false, []engine.ResourceStatus{{State: observed.Failed}}
		}), outcome{done: true}, ""},
		"a node starts": {ok(func(_ *engine.Status, c *engine.ClusterStatus) {
			c.Healthy, c.Resources = false, []engine.ResourceStatus{{State: observed.Pending}}
		}), outcome{}, ""},
	} {
		if got, waits := judge(x.status, "c", "new", began); got != x.want || waits != x.waits {
			t.Errorf("%s: %+v, waits for %q; want %+v, %q", name, got, waits, x.want, x.waits)
		}
	}
}

// TestLook: nodes, instances, values, restarts, with the framework's texts and quirks.
func TestLook(t *testing.T) {
	w := newFakeWorld(t)
	c := w.controller(t.TempDir())
	first := func(v Value) string {
		failures, _ := said(t, v)
		return strings.Join(failures, "; ")
	}
	if got := first(ask(t, c, "get_id_value", String("x"), Set{})); got != errNoCluster {
		t.Errorf("a value of nobody: %q", got)
	}
	if got := first(ask(t, c, "restart", Set{})); got != errNoDeployment {
		t.Errorf("a restart of nobody: %q", got)
	}
	w.file = &desired.ClusterFile{Name: "default", File: "default.cfg", Data: []byte(smallCluster)}
	w.pending["worker-1"] = "interface"
	rs, err := resultsOf(ask(t, c, "get_nodes"))
	if err != nil || len(rs) != 1 || rs[0].Instance != "agent-a" {
		t.Fatal(rs, err)
	}
	var got []NodeStatus
	for _, v := range rs[0].Data.(Vector) {
		s, err := nodeStatusOf(v)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, s)
	}
	want := []NodeStatus{
		{"agent-a", "RUNNING", "AGENT", "NONE", 41, 0, 0},
		{"controller-a", "RUNNING", "CONTROLLER", "NONE", 42, 2151, 0},
		{"logger", "RUNNING", "NONE", "LOGGER", 100, 2200, 0},
		{"manager", "RUNNING", "NONE", "MANAGER", 101, 2201, 0},
		{"worker-1", "PENDING", "NONE", "WORKER", 102, 0, 0},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("nodes (-want, +got):\n%s", diff)
	}
	failures, successes := said(t, ask(t, c, "get_id_value", String("bits_per_uid"), Set{String("manager"), String("nobody")}))
	if !slices.Equal(failures, []string{"nobody " + errUnknownNode}) || !slices.Equal(successes, []string{"agent-a manager 96"}) {
		t.Errorf("values: %q, %q", failures, successes)
	}
	w.elsewhere = []string{"logger"}
	failures, successes = said(t, ask(t, c, "get_id_value", String("bits_per_uid"), Set{}))
	if !slices.Equal(failures, []string{"agent-a logger cluster node logger not in running state"}) || len(successes) != 2 {
		t.Errorf("values with a node that is out of reach: %q, %q", failures, successes)
	}
	if failures, _ = said(t, ask(t, c, "restart", Set{String("nobody"), String("logger")})); !slices.Equal(failures, []string{"nobody " + errUnknownNode}) || !slices.Equal(w.restarted, []string{"default/logger"}) {
		t.Errorf("restarts: %q, %q", failures, w.restarted)
	}
	if r, err := resultOf(ask(t, c, "test_timeout", Bool(true))); err != nil || r.Success || r.Error != errTimedOut {
		t.Errorf("test-timeout: %v, %v", r, err)
	}
	if e, err := c.Handle(t.Context(), Event{Name: apiPrefix + "test_timeout_request", Args: []Value{String("r"), Bool(false)}}, "test"); e != nil || err != nil {
		t.Errorf("test-timeout without state is answered: %v, %v", e, err)
	}
	w.agents = nil
	for _, name := range []string{"get_nodes", "restart"} {
		args := []Value{Set{}}
		if name == "get_nodes" {
			args = nil
		}
		if got := first(ask(t, c, name, args...)); got != errNoInstances {
			t.Errorf("%s without agents: %q", name, got)
		}
	}
}

func TestNotUnderstood(t *testing.T) {
	c := newFakeWorld(t).controller(t.TempDir())
	for _, e := range []Event{
		{}, {Name: apiPrefix + "test_noop_request", Args: []Value{String("r")}}, {Name: apiPrefix + "deploy_request"},
		{Name: apiPrefix + "deploy_request", Args: []Value{Count(1)}}, {Name: apiPrefix + "restart_request", Args: []Value{String("r")}},
		{Name: apiPrefix + "restart_request", Args: []Value{String("r"), Set{Count(1)}}},
		{Name: apiPrefix + "stage_configuration_request", Args: []Value{String("r"), Vector{String("c"), Set{}, Set{Vector{}}}}},
		{Name: apiPrefix + "deploy_response", Args: []Value{String("r"), Vector{}}},
	} {
		if answer, err := c.Handle(t.Context(), e, "test"); err == nil || answer != nil {
			t.Errorf("%v: %v, %v", e, answer, err)
		}
	}
}

// TestDamagedStore: a damaged file is put aside, and the controller works.
func TestDamagedStore(t *testing.T) {
	dir := t.TempDir()
	w := newFakeWorld(t)
	ask(t, w.controller(dir), "stage_configuration", configOf(t, "c1", smallCluster).Value())
	path := dir + "/management-default.json"
	if err := writeFile(path, []byte(`{"staged":{"config":{`)); err != nil {
		t.Fatal(err)
	}
	config := w.controller(t.TempDir()).Config
	config.StateDir = dir
	c, err := NewController(config)
	if _, damaged := errors.AsType[*Damaged](err); !damaged || c == nil {
		t.Fatal(c, err)
	}
	if failures, _ := said(t, ask(t, c, "deploy")); !slices.Equal(failures, []string{errNothingToDo}) {
		t.Errorf("%q", failures)
	}
}
