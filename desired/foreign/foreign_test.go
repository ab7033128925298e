package foreign

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/clustercfg"
)

var update = flag.Bool("update", false, "write the golden files anew")

// process is what a node of an import would be started with.
func processes(t *testing.T, text []byte) []string {
	t.Helper()
	c, ds := clustercfg.Parse(desired.ClusterFile{Name: "x", File: "x.cfg", Data: text}, "agent-a")
	if desired.HasErrors(ds) {
		t.Fatalf("the import is invalid: %v\n%s", ds, text)
	}
	facts := desired.Facts{Default: "agent-a", Instances: map[string]desired.InstanceFacts{}}.WithAssumedKeys([]*desired.Cluster{c})
	for n, i := range c.Instances {
		facts.Instances[i.Name] = desired.InstanceFacts{Addresses: []string{fmt.Sprintf("10.0.0.%d", n+1)}}
	}
	out := desired.Compile([]*desired.Cluster{c}, facts, desired.Assignment{}, time.Time{})
	if desired.HasErrors(out.Diagnostics) {
		t.Fatal(out.Diagnostics)
	}
	var lines []string
	for _, r := range out.Resources["x"] {
		if r.Archiver != nil {
			continue // none of the originals' processes
		}
		if r.Node == nil {
			lines = append(lines, fmt.Sprintf("broker %s %s", r.Broker.XPub, r.Broker.XSub))
			continue
		}
		port := 0
		for _, n := range r.Node.Layout.Nodes {
			if n.Name == r.Name {
				port = n.Port
			}
		}
		line := fmt.Sprintf("%s %s", r.Role, r.Name)
		if r.Node.Interface != "" {
			line += " -i " + r.Node.Interface
		}
		if port != 0 {
			line += fmt.Sprintf(" port %d", port)
		}
		line += fmt.Sprintf(" metrics %d", r.Node.MetricsPort)
		if len(r.Node.CPUs) > 0 {
			line += fmt.Sprintf(" cpus %v", r.Node.CPUs)
		}
		line += " scripts " + strings.Join(append(slices.Clone(r.Node.Scripts), r.Node.Args...), " ")
		for _, k := range slices.Sorted(maps.Keys(r.Node.Env)) {
			line += fmt.Sprintf(" %s=%q", k, r.Node.Env[k])
		}
		lines = append(lines, line)
	}
	return lines
}

// TestZeekctl: each node gets the name, interface, environment, CPU and ports that zeekctl would give it.
func TestZeekctl(t *testing.T) {
	const head = "[manager]\ntype=manager\nhost=localhost\n[proxy-1]\ntype=proxy\nhost=localhost\n"
	for name, x := range map[string]struct {
		files ZeekctlFiles
		want  []string // of the processes, what they contain
		note  string
	}{
		"a cluster, ports in the order of the file": {
			ZeekctlFiles{Nodes: []byte("[logger-b]\ntype=logger\nhost=localhost\n[logger-a]\ntype=logger\nhost=127.0.0.1\n" + head + "[w]\ntype=worker\nhost=localhost\ninterface=eth0\n")},
			[]string{
				"broker tcp://127.0.0.1:27760 tcp://127.0.0.1:27761", "manager manager port 27763 metrics 9991", "logger logger-b port 27764 metrics 9992",
				"logger logger-a port 27765 metrics 9993", "proxy proxy-1 port 27766 metrics 9994", "worker w -i eth0 metrics 9995 scripts local.zeek",
			}, "",
		},
		"af_packet": {
			ZeekctlFiles{Nodes: []byte(head + "[w]\ntype=worker\nhost=localhost\ninterface=eth0\nlb_method=af_packet\nlb_procs=2\npin_cpus=3,4\naf_packet.buffer_size=1048576\n")},
			[]string{
				"worker w-1 -i af_packet::eth0 metrics 9993 cpus [3] scripts local.zeek AF_Packet::buffer_size=1048576",
				"worker w-2 -i af_packet::eth0 metrics 9994 cpus [4]",
			}, "",
		},
		"PF_RING on two interfaces": {
			ZeekctlFiles{
				Nodes:  []byte(head + "[w]\ntype=worker\nhost=localhost\ninterface=eth0\nlb_procs=2\nlb_method=pf_ring\n[v]\ntype=worker\nhost=localhost\ninterface=eth1\nlb_procs=1\nlb_method=pf_ring\n"),
				Config: []byte("PFRINGClusterID = 30\nPFRINGClusterType = 6-tuple\n"),
			},
			[]string{
				`worker w-1 -i eth0 metrics 9993 scripts local.zeek PCAP_PF_RING_APPNAME="zeek-eth0" PCAP_PF_RING_CLUSTER_ID="30" PCAP_PF_RING_USE_CLUSTER_PER_FLOW="1"`,
				`worker v-1 -i eth1 metrics 9995 scripts local.zeek PCAP_PF_RING_APPNAME="zeek-eth1" PCAP_PF_RING_CLUSTER_ID="31"`,
			}, "",
		},
		"myricom, with a variable of its own": {
			ZeekctlFiles{Nodes: []byte(head + "[w]\ntype=worker\nhost=localhost\ninterface=eth0\nlb_procs=2\nlb_method=myricom\nenv_vars=SNF_FLAGS=0x2,VAR=123\n")},
			[]string{`worker w-2 -i eth0 metrics 9994 scripts local.zeek SNF_FLAGS="0x2" SNF_NUM_RINGS="2" VAR="123"`}, "",
		},
		"environments": {
			ZeekctlFiles{
				Nodes:  []byte(head + "[w]\ntype=worker\nhost=localhost\ninterface=eth0\nenv_vars=a=\"some Node val\",B=x, C = \"one;value\"\naux_scripts=z-first a-second\n"),
				Config: []byte("Env_Vars = B=global, D=100%%\nZeekArgs = -C\nZeekPort = 47760\nMetricsPort = 0\nSitePolicyScripts = local.zeek extra\n"),
			},
			[]string{
				"broker tcp://127.0.0.1:47760", `manager manager port 47763 metrics 0`,
				`worker w -i eth0 metrics 0 scripts local.zeek extra z-first a-second -C B="x" C="one;value" D="100%%" a="some Node val"`,
			}, "",
		},
		"a variable in an environment": {
			ZeekctlFiles{Nodes: []byte(head + "[w]\ntype=worker\nhost=localhost\ninterface=eth0\nenv_vars=A='$B',P=$PATH:/mine\n")},
			[]string{`worker w -i eth0 metrics 9993 scripts local.zeek A="$B" P="$PATH:/mine"`}, "what begins with $",
		},
		"options without a counterpart": {
			ZeekctlFiles{
				Nodes:    []byte(head + "[w]\ntype=worker\nhost=localhost\ninterface=eth0\ncolour=blue\n"),
				Config:   []byte("LogDir = ${Base}/logs\nBase = /data\nMailTo = root@x\nCronCmd = /bin/true\nLogExpireInterval = 30 day\nMinDiskSpace = 7\nMemLimit = 1048576\n"),
				Networks: []byte("# mine\n10.0.0.0/8 private\nfe80::/64\n"),
			},
			[]string{"worker w"}, "croncmd = /bin/true",
		},
		"several hosts": {
			ZeekctlFiles{Nodes: []byte("[m]\ntype=manager\nhost=10.0.0.1\n[p]\ntype=proxy\nhost=10.0.0.1\n[w]\ntype=worker\nhost=10.0.0.2\ninterface=eth0\n")},
			[]string{"broker tcp://10.0.0.1:27760 tcp://10.0.0.1:27761", "worker w -i eth0"}, "agents on the hosts",
		},
		"standalone": {
			ZeekctlFiles{Nodes: []byte("[zeek]\ntype=standalone\nhost=localhost\ninterface=eth0\n")},
			[]string{"broker tcp://127.0.0.1:27760 tcp://127.0.0.1:27761", "manager manager port 27762 metrics 9991", "worker zeek -i eth0 metrics 9992"}, "standalone",
		},
		"the Broker backend": {
			ZeekctlFiles{Nodes: []byte(head), Config: []byte("ClusterBackend = Broker\n")},
			[]string{"manager manager port 27761", "proxy proxy-1 port 27762"}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, ds := Zeekctl("x", x.files)
			if desired.HasErrors(ds) {
				t.Fatal(ds)
			}
			have := processes(t, got.Text)
			for _, want := range x.want {
				if !slices.ContainsFunc(have, func(s string) bool { return strings.Contains(s, want) }) {
					t.Errorf("there is no process %q among\n%s\nof\n%s", want, strings.Join(have, "\n"), got.Text)
				}
			}
			notes := strings.Join(got.Notes, "\n")
			if !strings.Contains(notes, x.note) || x.note == "" && notes != "" {
				t.Errorf("the notes are %q, want %q", notes, x.note)
			}
			for _, n := range got.Notes {
				_, text, _ := strings.Cut(n, ": ")
				if !strings.Contains(string(got.Text), comment(n)) && !strings.Contains(string(got.Text), comment(text)) {
					t.Errorf("the note %q is not in the text", n)
				}
			}
			golden(t, name, got.Text)
		})
	}
}

func golden(t *testing.T, name string, text []byte) {
	t.Helper()
	path := filepath.Join("testdata", strings.NewReplacer(" ", "-", ",", "").Replace(name)+".cfg")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(text)); diff != "" {
		t.Errorf("differs from %s (-want, +got):\n%s", path, diff)
	}
}

func TestZeekctlErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "no nodes",
		"[m]\ntype=manager\n":         "no host",
		"[m]\nhost=x\n":               "no type",
		"[m]\ntype=Manager\nhost=x\n": `no type "Manager"`,
		"[m]\ntype=manager\nhost=x\nlb_procs=2\nlb_method=custom\n":                  "load balancing is for workers",
		"[m]\ntype=manager\nhost=x\n[w]\ntype=worker\nhost=x\nlb_method=af_packet\n": "needs lb_procs",
		"[w]\ntype=worker\nhost=x\n":                                                 "0 managers",
		"[a]\ntype=manager\nhost=x\n[A]\ntype=proxy\nhost=x\n":                       "several nodes",
		"[a]\ntype=standalone\nhost=x\n[b]\ntype=proxy\nhost=x\n":                    "only one",
		"[m]\ntype=manager\nhost=x\nenv_vars=abc\n":                                  "not NAME=VALUE",
		"[m]\ntype=manager\nhost\n":                                                  "has no value",
	} {
		_, ds := Zeekctl("x", ZeekctlFiles{Nodes: []byte(text)})
		if !slices.ContainsFunc(ds, func(d desired.Diagnostic) bool { return strings.Contains(d.Message, want) }) {
			t.Errorf("%q: %v, want %q", text, ds, want)
		}
	}
}

// TestZeekConf: both styles, several interfaces, several hosts, templates.
func TestZeekConf(t *testing.T) {
	for name, x := range map[string]struct {
		files []ZeekConfFile
		want  []string
		note  string
	}{
		"zeek.conf without sections": {
			[]ZeekConfFile{{File: "zeek.conf", Data: []byte("# mine\ninterface = af_packet::eth0\nworkers = 3\nworkers_cpu_list = 0-2:2\nproxies = 2\n")}},
			[]string{
				"manager manager port 27760 metrics 9991", "logger logger-1 port 27761 metrics 9992", "proxy proxy-2 port 27763 metrics 9994",
				"worker worker-1 -i af_packet::eth0 metrics 9995 cpus [0]", "worker worker-2 -i af_packet::eth0 metrics 9996 cpus [2]", "worker worker-3 -i af_packet::eth0 metrics 9997 cpus [0]",
			}, "",
		},
		"zeek.conf templates": {
			[]ZeekConfFile{{File: "zeek.conf", Data: []byte("interface = napatech::${worker_index0}\nworkers = 2\nworkers_cpu_list = 4,5\nworker_env = A=${worker_cpu} B=\\${x}\n")}},
			[]string{`worker worker-2 -i napatech::1 metrics 9995 cpus [5] scripts local A="5" B="${x}"`}, "",
		},
		"zeek.conf two interfaces": {
			[]ZeekConfFile{{File: "zeek.conf", Data: []byte("[zeek]\nmanager = 1\nloggers = 1\nargs = local more\nenv = X=1\n  Y=2\nport = 30000\nmetrics_port = 0\nmanager_nice = -3\nworker_memory_max = 1\n\n[interface lan]\ninterface = af_packet::eth0\nworkers = 2\n\n[interface wan]\ninterface = af_packet::eth1\nworker_args = wan.zeek\n\n[other]\nx = y\n")}},
			[]string{
				"manager manager port 30000 metrics 0 scripts local more", "logger logger-1 port 30001", `worker worker-lan-2 -i af_packet::eth0 metrics 0 scripts local more X="1" Y="2"`,
				"worker worker-wan-1 -i af_packet::eth1 metrics 0 scripts wan.zeek local more",
			}, "worker_memory_max = 1",
		},
		"zeek.conf two hosts": {
			[]ZeekConfFile{
				{File: "b.zeek.conf", Host: "b", Data: []byte("[zeek]\n[interface lan]\ninterface = eth0\nworkers = 1\n")},
				{File: "a.zeek.conf", Host: "a", Data: []byte("[zeek]\nmanager = 1\nloggers = 1\nproxies = 1\n")},
			},
			[]string{"manager manager port 27760", "logger a-logger-1 port 27761", "proxy a-proxy-1 port 27762", "worker b-worker-lan-1 -i eth0 metrics 9991"}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, ds := ZeekConf("x", x.files)
			if desired.HasErrors(ds) {
				t.Fatal(ds)
			}
			have := processes(t, got.Text)
			for _, want := range x.want {
				if !slices.ContainsFunc(have, func(s string) bool { return strings.Contains(s, want) }) {
					t.Errorf("there is no process %q among\n%s\nof\n%s", want, strings.Join(have, "\n"), got.Text)
				}
			}
			if notes := strings.Join(got.Notes, "\n"); !strings.Contains(notes, x.note) || x.note == "" && notes != "" {
				t.Errorf("the notes are %q, want %q", notes, x.note)
			}
			golden(t, name, got.Text)
		})
	}
}

func TestZeekConfErrors(t *testing.T) {
	for text, want := range map[string]string{
		"interface\n":                             "has no =",
		"interface = e\nworkers = many\n":         "not a number of workers",
		"interface = ${nothing}\n":                "no variable",
		"interface = e\nworkers_cpu_list = 3-2\n": "workers_cpu_list",
		"port = x\ninterface = e\n":               "not a number",
		"interface = e\n[zeek]\nmanager = 1\n":    "stand before a section",
		"interface = e\nenv = ABC\n":              "not NAME=VALUE",
	} {
		_, ds := ZeekConf("x", []ZeekConfFile{{File: "zeek.conf", Data: []byte(text)}})
		if !slices.ContainsFunc(ds, func(d desired.Diagnostic) bool { return strings.Contains(d.Message, want) }) {
			t.Errorf("%q: %v, want %q", text, ds, want)
		}
	}
}

// TestCPULists: lists, ranges and strides, and what is none.
func TestCPULists(t *testing.T) {
	for text, want := range map[string][]int{
		"": nil, "1": {1}, "3,2,2,4": {3, 2, 2, 4}, "1,3-5": {1, 3, 4, 5}, "9,10-12:1,18-24:2,19-22:3": {9, 10, 11, 12, 18, 20, 22, 24, 19, 22},
	} {
		if got, err := cpuList(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"a", ",", "-", ":", "1,", "1,,2", "-2", "2-", "2-3-", "3-2", "1-2:", "1-2:0", "1-2:-2", "1:", "1:1", "1-2:1:2", "1-2::1"} {
		if got, err := cpuList(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

// TestThereAndBack: what was exported is imported as the same processes, but for the ports that both number.
func TestThereAndBack(t *testing.T) {
	const text = "[zeekrec]\nuser = zeek\n[manager]\nrole=manager\n[logger-1]\nrole=logger\n[proxy-1]\nrole=proxy\n[worker-main]\nrole=worker\ninterface=eth0\nlb_method=af_packet\nlb_procs=3\npin_cpus=1,2,3\nenv=A=\"b c\"\nscripts=extra\n"
	c, ds := clustercfg.Parse(desired.ClusterFile{Name: "x", File: "x.cfg", Data: []byte(text)}, "agent-a")
	if desired.HasErrors(ds) {
		t.Fatal(ds)
	}
	conf, notes, err := ExportZeekConf(c)
	if err != nil || len(notes) > 0 {
		t.Fatal(err, notes)
	}
	back, ds := ZeekConf("x", []ZeekConfFile{{File: "zeek.conf", Data: conf}})
	if desired.HasErrors(ds) || len(back.Notes) > 0 {
		t.Fatal(ds, back.Notes)
	}
	got, want := processes(t, back.Text), []string{
		"logger logger-1 port 27761 metrics 9992 scripts local", "manager manager port 27760 metrics 9991 scripts local", "proxy proxy-1 port 27762 metrics 9993 scripts local",
		`worker worker-main-1 -i af_packet::eth0 metrics 9994 cpus [1] scripts extra local A="b c"`,
		`worker worker-main-2 -i af_packet::eth0 metrics 9995 cpus [2] scripts extra local A="b c"`,
		`worker worker-main-3 -i af_packet::eth0 metrics 9996 cpus [3] scripts extra local A="b c"`,
	}
	got = slices.DeleteFunc(got, func(s string) bool { return strings.HasPrefix(s, "broker") })
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want, +got):\n%s\n%s\n%s", diff, conf, back.Text)
	}
}

func FuzzImport(f *testing.F) {
	f.Add([]byte("[manager]\ntype=manager\nhost=localhost\n[w]\ntype=worker\nhost=x\ninterface=eth0\nlb_procs=2\nlb_method=af_packet\n"), []byte("a = ${b}\nb = ${a}\n"))
	f.Add([]byte("[zeek]\nmanager=1\n[interface x]\ninterface=${worker_index}\n"), []byte("ZeekPort = 1"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		for _, got := range []func() (Imported, []desired.Diagnostic){
			func() (Imported, []desired.Diagnostic) {
				return Zeekctl("x", ZeekctlFiles{Nodes: a, Config: b, Networks: b})
			},
			func() (Imported, []desired.Diagnostic) {
				return ZeekConf("x", []ZeekConfFile{{File: "a", Data: a}, {File: "b", Host: "b", Data: b}})
			},
		} {
			_, _ = got()
		}
	})
}
