package clustercfg

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/desired"
)

// TestBalance: a section with lb_procs stands for the workers that zeekctl makes of it.
func TestBalance(t *testing.T) {
	type worker struct {
		Name, Interface string
		CPU             int // -1: none
		Env             string
	}
	const ring = "PCAP_PF_RING_APPNAME=zeek-eth%d PCAP_PF_RING_CLUSTER_ID=%d PCAP_PF_RING_USE_CLUSTER_PER_FLOW_4_TUPLE=1"
	for name, x := range map[string]struct {
		text string
		want []worker
	}{
		"af_packet": {"[w]\nrole=worker\ninterface=eth0\nlb_method=af_packet\nlb_procs=4\npin_cpus = 2, 3,4", []worker{
			{"w-1", "af_packet::eth0", 2, ""}, {"w-2", "af_packet::eth0", 3, ""}, {"w-3", "af_packet::eth0", 4, ""}, {"w-4", "af_packet::eth0", 2, ""},
		}},
		"one":             {"[w]\nrole=worker\ninterface=eth0\nlb_method=af_packet\nlb_procs=1", []worker{{"w-1", "af_packet::eth0", -1, ""}}},
		"custom":          {"[w]\nrole=worker\ninterface=netmap::eth0\nlb_method=custom\nlb_procs=1", []worker{{"w-1", "netmap::eth0", -1, ""}}},
		"the first pin":   {"[w]\nrole=worker\ninterface=eth0\npin_cpus=5,6", []worker{{"w", "eth0", 5, ""}}},
		"interfaces":      {"[w]\nrole=worker\nlb_method=interfaces\nlb_procs=2\nlb_interfaces=eth1, eth2", []worker{{"w-1", "eth2", -1, ""}, {"w-2", "eth1", -1, ""}}},
		"myricom":         {"[w]\nrole=worker\ninterface=eth0\nlb_method=myricom\nlb_procs=2\nenv=SNF_FLAGS=0x2", []worker{{"w-1", "eth0", -1, "SNF_FLAGS=0x2 SNF_NUM_RINGS=2"}, {"w-2", "eth0", -1, "SNF_FLAGS=0x2 SNF_NUM_RINGS=2"}}},
		"two rings":       {"[v]\nrole=worker\ninterface=eth0\nlb_method=pf_ring\nlb_procs=1\n[w]\nrole=worker\ninterface=eth1\nlb_method=pf_ring\nlb_procs=1", []worker{{"v-1", "eth0", -1, fmt.Sprintf(ring, 0, 21)}, {"w-1", "eth1", -1, fmt.Sprintf(ring, 1, 22)}}},
		"zero copy":       {"[w]\nrole=worker\ninterface=zc:eth0\nlb_method=pf_ring\nlb_procs=2", []worker{{"w-1", "zc:eth0@0", -1, "PCAP_PF_RING_APPNAME=zeek-zc:eth0@0 PCAP_PF_RING_USE_CLUSTER_PER_FLOW_4_TUPLE=1 PCAP_PF_RING_ZC_RSS=1"}, {"w-2", "zc:eth0@1", -1, "PCAP_PF_RING_APPNAME=zeek-zc:eth0@1 PCAP_PF_RING_USE_CLUSTER_PER_FLOW_4_TUPLE=1 PCAP_PF_RING_ZC_RSS=1"}}},
		"the rest stays":  {"[w]\nrole=worker\ninterface=eth0\nlb_method=custom\nlb_procs=1\nscripts=b a\nenv=X=1", []worker{{"w-1", "eth0", -1, "X=1"}}},
		"nothing of that": {"[w]\nrole=worker\ninterface=eth0", []worker{{"w", "eth0", -1, ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			c, ds := Parse(desired.ClusterFile{Name: "x", File: "x.cfg", Data: []byte("[m]\nrole=manager\n" + x.text + "\n")}, "agent-a")
			if desired.HasErrors(ds) {
				t.Fatal(ds)
			}
			var got []worker
			for _, n := range c.Nodes {
				if n.Role != desired.RoleWorker {
					continue
				}
				w := worker{n.Name, n.Interface, -1, ""}
				if n.CPUAffinity != nil {
					w.CPU = *n.CPUAffinity
				}
				var env []string
				for k, v := range n.Env {
					env = append(env, k+"="+v)
				}
				slices.Sort(env)
				w.Env = strings.Join(env, " ")
				got = append(got, w)
			}
			if diff := cmp.Diff(x.want, got); diff != "" {
				t.Errorf("(-want, +got):\n%s", diff)
			}
			again, ds := Parse(desired.ClusterFile{Name: "x", File: "x.cfg", Data: ConfigINI(c)}, "agent-a")
			if desired.HasErrors(ds) || string(ConfigJSON(again)) != string(ConfigJSON(c)) {
				t.Errorf("written and read it is another cluster: %v\n%s", ds, ConfigINI(c))
			}
		})
	}
}

func TestBalanceErrors(t *testing.T) {
	for text, want := range map[string]string{
		"[w]\nrole=worker\ninterface=e\nlb_procs=2":                                                    "no-lb-method",
		"[w]\nrole=worker\ninterface=e\nlb_method=af_packet":                                           "no-lb-procs",
		"[w]\nrole=worker\ninterface=e\nlb_method=af_packet\nlb_procs=x":                               "bad-lb-procs",
		"[w]\nrole=worker\ninterface=e\nlb_method=af_packet\nlb_procs=0":                               "bad-lb-procs",
		"[w]\nrole=worker\ninterface=e\nlb_method=afpacket\nlb_procs=2":                                "unknown-lb-method",
		"[w]\nrole=worker\ninterface=af_packet::e\nlb_method=af_packet\nlb_procs=2":                    "prefixed-interface",
		"[w]\nrole=worker\nlb_method=interfaces\nlb_procs=2\nlb_interfaces=e":                          "bad-lb-interfaces",
		"[w]\nrole=worker\ninterface=e\nlb_interfaces=e":                                               "no-lb-method",
		"[w]\nrole=worker\ninterface=e\npin_cpus=1,x":                                                  "bad-cpu",
		"[w]\nrole=worker\ninterface=e\npin_cpus=1\ncpu_affinity=2":                                    "two-pins",
		"[w]\nrole=worker\ninterface=e\nlb_method=custom\nlb_procs=2\nmetrics_port=9000":               "one-port",
		"[p]\nrole=proxy\nlb_procs=2\nlb_method=af_packet":                                             "not-a-worker",
		"[w-1]\nrole=worker\ninterface=e\n[w]\nrole=worker\ninterface=e\nlb_method=custom\nlb_procs=1": "duplicate-node",
	} {
		_, ds := Parse(desired.ClusterFile{Name: "x", File: "x.cfg", Data: []byte("[m]\nrole=manager\n" + text + "\n")}, "agent-a")
		if !slices.ContainsFunc(ds, func(d desired.Diagnostic) bool { return d.Code == want && d.Severity == desired.Error && d.Hint != "" }) {
			t.Errorf("%q: %v, want %s", text, ds, want)
		}
	}
}

// TestOneMoreWorker: with one more worker, nothing changes for the others.
func TestOneMoreWorker(t *testing.T) {
	compiled := func(procs int) map[string]string {
		text := fmt.Sprintf("[m]\nrole=manager\n[w]\nrole=worker\ninterface=eth0\nlb_method=af_packet\nlb_procs=%d\npin_cpus=2,3,4,5\n", procs)
		c, ds := Parse(desired.ClusterFile{Name: "x", File: "x.cfg", Data: []byte(text)}, "agent-a")
		if desired.HasErrors(ds) {
			t.Fatal(ds)
		}
		out := map[string]string{}
		for _, r := range desired.Compile([]*desired.Cluster{c}, desired.Facts{Default: "agent-a"}, desired.Assignment{}, testTime()).Resources["x"] {
			if r.Role != desired.RoleWorker {
				continue
			}
			text := ""
			for _, p := range r.Parts {
				if p.Relation == desired.Equal {
					text += fmt.Sprintln(p.Field, p.Values)
				}
			}
			out[r.Name] = text
		}
		return out
	}
	four, five := compiled(4), compiled(5)
	if len(four) != 4 || len(five) != 5 {
		t.Fatalf("%d and %d workers", len(four), len(five))
	}
	for name, text := range four {
		if five[name] != text {
			t.Errorf("%s differs:\n%s\n%s", name, text, five[name])
		}
	}
	if !strings.Contains(five["w-5"], "fanout [24]") || !strings.Contains(four["w-1"], "fanout [24]") {
		t.Errorf("they are not of one fan-out group:\n%s%s", four["w-1"], five["w-5"])
	}
}

func testTime() time.Time { return time.Unix(1_800_000_000, 0) }
