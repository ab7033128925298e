package clustercfg

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/desired"
)

func TestValidateAll(t *testing.T) {
	const manager = "[m]\nrole = manager\ninstance = x\n"
	tests := []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"nothing in common", map[string]string{
			"a": "[m]\nrole = manager\ninstance = x\nport = 2200\n[w]\nrole = worker\ninstance = x\ninterface = eth0\n",
			"b": "[m]\nrole = manager\ninstance = y\nport = 2200\n[w]\nrole = worker\ninstance = y\ninterface = eth0\n",
		}, nil},
		{"port", map[string]string{
			"a": manager + "port = 2200\n",
			"b": manager + "metrics_port = 2200\n",
			"c": "[m]\nrole = manager\ninstance = y\nport = 2200\n",
		}, []string{
			"a.cfg:4: error: port 2200/tcp on instance 'x' is the port of node 'm', and the metrics port of node 'm' in b.cfg:4 [port-in-two-clusters]",
			"b.cfg:4: error: port 2200/tcp on instance 'x' is the metrics port of node 'm', and the port of node 'm' in a.cfg:4 [port-in-two-clusters]",
		}},
		{"metrics are off", map[string]string{
			"a": manager + "port = 2200\n",
			"b": "[zeekrec]\nmetrics = off\n" + manager + "metrics_port = 2200\n",
		}, nil},
		{"the agent's", map[string]string{
			"a": "[instances]\nx = 10.0.0.1:2151\n" + manager,
			"b": manager + "port = 2151\n",
		}, []string{
			"a.cfg:2: error: port 2151/tcp on instance 'x' is the agent's port, and the port of node 'm' in b.cfg:4 [port-in-two-clusters]",
			"b.cfg:4: error: port 2151/tcp on instance 'x' is the port of node 'm', and the agent's port in a.cfg:2 [port-in-two-clusters]",
		}},
		{"the broker's", map[string]string{
			"a": "[zeekrec.broker]\nxpub = tcp://10.0.0.1:5555\n" + manager,
			"b": "[zeekrec.broker]\nxsub = tcp://10.0.0.1:5555\n" + manager,
			"c": "[zeekrec.broker]\nmode = external\nxsub = tcp://10.0.0.1:5555\nxpub = tcp://10.0.0.1:5556\n" + manager,
		}, []string{
			"a.cfg: error: port 5555/tcp on instance 'x' is the broker's xpub, and the broker's xsub in b.cfg [port-in-two-clusters]",
			"b.cfg: error: port 5555/tcp on instance 'x' is the broker's xsub, and the broker's xpub in a.cfg [port-in-two-clusters]",
		}},
		{"the broker's, on another instance than the manager's", map[string]string{
			"a": "[instances]\nx = 10.0.0.1:1\ny = 10.0.0.2:1\n[zeekrec.broker]\ninstance = y\nxpub = tcp://10.0.0.2:5555\n" + manager,
			"b": "[instances]\ny = 10.0.0.2:1\n[m]\nrole = manager\ninstance = y\nport = 5555\n",
			"c": manager + "port = 5555\n",
		}, []string{
			"a.cfg: error: port 5555/tcp on instance 'y' is the broker's xpub, and the port of node 'm' in b.cfg:6 [port-in-two-clusters]",
			"b.cfg:6: error: port 5555/tcp on instance 'y' is the port of node 'm', and the broker's xpub in a.cfg [port-in-two-clusters]",
		}},
		{"interface", map[string]string{
			"a": manager + "[w]\nrole = worker\ninstance = x\ninterface = af_packet::eth0\n",
			"b": manager + "[v]\nrole = worker\ninstance = x\ninterface = eth0\n",
		}, []string{
			"a.cfg:7: warning: interface 'eth0' on instance 'x' is read by worker 'w', and by worker 'v' in b.cfg:7 [interface-in-two-clusters]",
			"b.cfg:7: warning: interface 'eth0' on instance 'x' is read by worker 'v', and by worker 'w' in a.cfg:7 [interface-in-two-clusters]",
		}},
		{"archives", map[string]string{
			"a": "[zeekrec.archive]\ndir = /logs\nlayout = {day}\n" + manager,
			"b": "[zeekrec.archive]\nlayout = {day}\ndir = /logs/\n" + manager,
			"c": "[zeekrec.archive]\ndir = /logs\n" + manager,
			"d": "[zeekrec.archive]\ndir = /logs\nlayout = {day}\n[m]\nrole = manager\ninstance = y\n",
		}, []string{
			"a.cfg:3: error: the logs of this cluster and of b.cfg:2 would mix: both are archived into /logs on instance 'x' [archive-in-two-clusters]",
			"b.cfg:2: error: the logs of this cluster and of a.cfg:3 would mix: both are archived into /logs on instance 'x' [archive-in-two-clusters]",
		}},
		{"address", map[string]string{
			"a": "[instances]\nx = 10.0.0.1:2151\n" + manager,
			"b": "[instances]\nx = 10.0.0.2:2151\n" + manager,
			"c": manager,
		}, []string{
			"a.cfg:2: warning: instance 'x' is at 10.0.0.1:2151 here, and at 10.0.0.2:2151 in b.cfg:2 [instance-differs]",
			"b.cfg:2: warning: instance 'x' is at 10.0.0.2:2151 here, and at 10.0.0.1:2151 in a.cfg:2 [instance-differs]",
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			clusters := []*desired.Cluster{nil} // of a file that could not be read
			for name, text := range test.files {
				c, ds := Parse(desired.ClusterFile{Name: name, File: name + ".cfg", Data: []byte(text)}, testHost)
				if desired.HasErrors(ds) {
					t.Fatal(ds)
				}
				clusters = append(clusters, c)
			}
			var got []string
			for _, d := range ValidateAll(clusters) {
				got = append(got, d.String())
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestValidate has what only comes by other ways than a file, where a name can be there twice.
func TestValidate(t *testing.T) {
	c := &desired.Cluster{
		File:      "api",
		Instances: []desired.Instance{{Name: "a"}, {Name: "a", Host: "10.0.0.1", Port: 2151}},
		Nodes: []desired.Node{
			{Name: "m", Role: desired.RoleManager, Instance: "a"},
			{Name: "m", Role: desired.RoleProxy, Instance: "a"},
		},
	}
	var got []string
	for _, d := range Validate(c) {
		got = append(got, d.Message)
	}
	if want := []string{"multiple instances named 'a'", "multiple nodes named 'm'"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestClosest(t *testing.T) {
	roles := []string{"manager", "logger", "proxy", "worker"}
	for word, want := range map[string]string{
		"wroker": "worker", "Worker ": "worker", "managr": "manager", "proxi": "proxy", "logers": "logger", "WORKER": "worker",
		"superintendent": "", "": "", "x": "", "prxoy": "proxy", strings.Repeat("worker", 20): "",
	} {
		if got := closest(word, roles); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func TestParseInt(t *testing.T) {
	for s, want := range map[string]int{"0": 0, "+99": 99, "-3": -3, "1_000": 1000, " 7\n": 7, "007": 7, "\u0663\u0664": 34, "\U0001D7D9": 1} {
		if n, ok := parseInt(s); !ok || n != want {
			t.Errorf("%q: %d %t, want %d", s, n, ok, want)
		}
	}
	for _, s := range []string{"", " ", "+", "-", "_1", "1_", "1__0", "+ 1", "--1", "0x1", "1.0", "1e3", "123/tcp", "\u00b2", "x"} {
		if n, ok := parseInt(s); ok {
			t.Errorf("%q is %d", s, n)
		}
	}
}
