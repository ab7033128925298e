package foreign

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/desired"
)

// The set-ups that zeekctl's and the systemd generator's documentation and tests show, in our own words. What the originals start
// is in testdata/originals, a line for each process: -update asks the originals themselves for it, where they are, and
// TestOriginalsThemselves asks them again.

const managed = "[manager]\ntype=manager\nhost=localhost\n[proxy-1]\ntype=proxy\nhost=localhost\n"

// workers are sections of node.cfg.
func workers(names, lines string) string {
	out := ""
	for i, name := range strings.Fields(names) {
		out += "[" + name + "]\ntype=worker\nhost=localhost\n" + strings.ReplaceAll(lines, "ethN", "eth"+strconv.Itoa(i)) + "\n"
	}
	return out
}

func loggers(names string) string {
	out := ""
	for name := range strings.FieldsSeq(names) {
		out += "[" + name + "]\ntype=logger\nhost=localhost\n"
	}
	return out
}

var zeekctlSetups = map[string]ZeekctlFiles{
	"cluster without loggers":     {Nodes: []byte(managed + workers("worker-1 worker-2", "interface=ethN"))},
	"cluster with a logger":       {Nodes: []byte(loggers("logger") + managed + workers("worker-1 worker-2", "interface=ethN"))},
	"two loggers":                 {Nodes: []byte(loggers("logger-1 logger-2") + managed + workers("worker-1 worker-2", "interface=ethN"))},
	"five loggers":                {Nodes: []byte(loggers("logger-1 logger-2 logger-3 logger-4 logger-5") + managed + workers("worker-1", "interface=ethN"))},
	"two proxies":                 {Nodes: []byte(loggers("logger") + managed + "[proxy-2]\ntype=proxy\nhost=localhost\n" + workers("worker-1 worker-2", "interface=ethN"))},
	"names and their order":       {Nodes: []byte(loggers("logcollector") + "[central]\ntype=manager\nhost=localhost\n[communicator]\ntype=proxy\nhost=localhost\n" + workers("gatherer collector", "interface=ethN"))},
	"another port":                {Nodes: []byte(loggers("logger-1 logger-2") + managed + workers("worker-1", "interface=ethN")), Config: []byte("ZeekPort = 41234\n")},
	"no metrics":                  {Nodes: []byte(managed + workers("worker-1", "interface=ethN")), Config: []byte("metricsport = 0\n")},
	"arguments":                   {Nodes: []byte(managed + workers("worker-1", "interface=ethN\naux_scripts=one two")), Config: []byte("ZeekArgs = mytest myscript\nSitePolicyScripts = local.zeek more.zeek\n")},
	"Broker":                      {Nodes: []byte(loggers("logger") + managed + workers("worker-1", "interface=ethN")), Config: []byte("ClusterBackend = Broker\n")},
	"AF_PACKET":                   {Nodes: []byte(managed + workers("worker-1", "interface=ethN\nlb_method=af_packet\nlb_procs=4\npin_cpus=0,2\naf_packet_buffer_size=134217728\naf_packet_fanout_id=23"))},
	"AF_PACKET by hand":           {Nodes: []byte(managed + workers("worker-1", "interface=af_packet::ethN\nlb_method=custom\nlb_procs=1\naf_packet_block_size=0\naf_packet_checksum_validation_mode=CHECKSUM_OFF\naf_packet_enable_defrag=T\naf_packet_fanout_mode=AF_Packet::FANOUT_HASH\naf_packet_link_type=2"))},
	"a custom prefix":             {Nodes: []byte(managed + workers("worker-1", "interface=ethN\nlb_method=custom\nlb_procs=2")), Config: []byte("lb_custom.InterfacePrefix = netmap::\nlb_custom.InterfaceSuffix = /R\n")},
	"one interface each":          {Nodes: []byte(managed + workers("worker-1", "lb_procs=3\nlb_method=interfaces\nlb_interfaces=eth0, eth3,eth1"))},
	"myricom":                     {Nodes: []byte(managed + workers("worker-1", "interface=ethN\nlb_procs=11\nlb_method=myricom"))},
	"myricom with variables":      {Nodes: []byte(managed + workers("worker-1", "interface=ethN\nlb_procs=2\nlb_method=myricom\nenv_vars=SNF_FLAGS=0x2,VAR=123"))},
	"PF_RING":                     {Nodes: []byte(managed + workers("worker-1", "interface=ethN\nlb_procs=11\nlb_method=pf_ring"))},
	"PF_RING with two interfaces": {Nodes: []byte(managed + workers("worker-1 worker-2", "interface=ethN\nlb_procs=2\nlb_method=pf_ring"))},
	"PF_RING pinned":              {Nodes: []byte(managed + workers("worker-1", "interface=ethN\nlb_procs=4\nlb_method=pf_ring\npin_cpus=0,1,2"))},
	"PF_RING by 6-tuples":         {Nodes: []byte(managed + workers("worker-1", "interface=ethN\nlb_procs=2\nlb_method=pf_ring")), Config: []byte("pfringclustertype=6-tuple\n")},
	"PF_RING by inner 6-tuples":   {Nodes: []byte(managed + workers("worker-1", "interface=ethN\nlb_procs=2\nlb_method=pf_ring")), Config: []byte("pfringclustertype=inner-6-tuple\n")},
	"PF_RING with a variable":     {Nodes: []byte(managed + workers("worker-1", "interface=ethN\nlb_procs=2\nlb_method=pf_ring")), Config: []byte("env_vars=GVAR=global\n")},
	"PF_RING zero copy":           {Nodes: []byte(managed + workers("worker-1", "interface=zc:ethN\nlb_procs=2\nlb_method=pf_ring")), Config: []byte("PFRINGFirstAppInstance = 5\n")},
	"PF_RING DNA":                 {Nodes: []byte(managed + workers("worker-1", "interface=dna0\nlb_procs=2\nlb_method=pf_ring") + workers("worker-2", "interface=dnacluster:1\nlb_procs=2\nlb_method=pf_ring"))},
	"variables of a node":         {Nodes: []byte(managed + workers("worker-1", `interface=ethN`+"\n"+`env_vars=myVar1="some Node val",MYVAR3=nodeval3, Myvar4 = "one;value",myvar6='$HOME'`) + workers("worker-2", "interface=eth1"))},
	"variables of all":            {Nodes: []byte(managed + workers("worker-1", `interface=ethN`+"\n"+`env_vars=myVar1=its`)), Config: []byte(`env_vars=myVar1 = "some Global;val",MyVar2=anotherglobal` + "\n")},
}

// Without metrics_port = 0: the generator of Zeek 8.2 counts the ports up from there all the same; that of 9.0 has none then, as here.
var zeekConfSetups = map[string]string{
	"defaults":             "interface = eth0\n",
	"the smoke test":       "interface = af_packet::eth0\nworkers = 4\nworkers_cpu_list = 13,14\nproxies = 2\nloggers = 3\nuser = somebody\nargs = ignore_checksums=T\naddress = 127.0.2.1\nport = 20000\nmetrics_port = 30000\nmetrics_address = 10.0.0.1\nmanager_nice = -1\nworker_memory_max = 1G\n",
	"CPU list with ranges": "interface = eth0\nworkers = 4\nworkers_cpu_list = 0-1,8-9\n",
	"CPU list with stride": "interface = eth0\nworkers = 8\nworkers_cpu_list = 128-240:16\n",
	"CPU list, mixed":      "interface = eth0\nworkers = 4\nworkers_cpu_list = 42,1-2,43\n",
	"interface by index":   "interface = netmap::eth1}${worker_index}\nworkers = 4\nworkers_cpu_list = 7,8\n",
	"interface by CPU":     "interface = netmap::eth1}${worker_index0}@${worker_cpu}\nworkers = 4\nworkers_cpu_list = 7,8\n",
	"several of all":       "interface = af_packet::enp3s0\nworkers = 6\nloggers = 2\nproxies = 3\nargs = local extra -C\n",
	"another path":         "interface = eth0\nworkers = 1\next_path = /opt/mine/bin\n",
}

// TestOriginals: the processes of an import are those that the original starts.
func TestOriginals(t *testing.T) {
	for name, files := range zeekctlSetups {
		t.Run("zeekctl, "+name, func(t *testing.T) {
			got, ds := Zeekctl("x", files)
			compareOriginal(t, "zeekctl "+name, got, ds)
		})
	}
	for name, text := range zeekConfSetups {
		t.Run("zeek.conf, "+name, func(t *testing.T) {
			got, ds := ZeekConf("x", []ZeekConfFile{{File: "zeek.conf", Data: []byte(text)}})
			compareOriginal(t, "zeek.conf "+name, got, ds)
		})
	}
}

func compareOriginal(t *testing.T, name string, got Imported, ds []desired.Diagnostic) {
	t.Helper()
	if desired.HasErrors(ds) {
		t.Fatal(ds)
	}
	b, err := os.ReadFile(originalFile(name))
	if err != nil {
		t.Fatal(err)
	}
	want, have := strings.Split(strings.TrimSpace(string(b)), "\n"), processes(t, got.Text)
	if !slices.ContainsFunc(want, isBroker) {
		have = slices.DeleteFunc(have, isBroker) // the generator leaves it to Zeek's manager
	}
	slices.Sort(want)
	slices.Sort(have)
	if diff := gocmp.Diff(want, have); diff != "" {
		t.Errorf("(-the original's, +the import's):\n%s\nof\n%s", diff, got.Text)
	}
}

func isBroker(line string) bool { return strings.HasPrefix(line, "broker ") }

func originalFile(name string) string {
	return filepath.Join("testdata", "originals", strings.NewReplacer(" ", "-", ",", "").Replace(name)+".txt")
}

// TestOriginalsThemselves: what testdata/originals says of the originals they say themselves, where they are: zeekctl in the folder of
// ZEEKREC_ZEEKCTL, which has its package ZeekControl, and zeek-systemd-generator on the PATH or in /opt/zeek/bin.
func TestOriginalsThemselves(t *testing.T) {
	t.Run("zeekctl", func(t *testing.T) {
		root := os.Getenv("ZEEKREC_ZEEKCTL")
		if root == "" {
			t.Skip("there is no zeekctl here: no folder in ZEEKREC_ZEEKCTL")
		}
		for name, files := range zeekctlSetups {
			dir := t.TempDir()
			for file, b := range map[string][]byte{"node.cfg": files.Nodes, "zeekctl.cfg": files.Config} {
				if err := os.WriteFile(filepath.Join(dir, file), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command("/usr/bin/python3", "testdata/zeekctl.py", root, filepath.Join(dir, "node.cfg"), filepath.Join(dir, "zeekctl.cfg"))
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				t.Errorf("%s: cannot ask zeekctl: %v", name, err)
				continue
			}
			matchOriginal(t, "zeekctl "+name, string(out))
		}
	})
	t.Run("zeek-systemd-generator", func(t *testing.T) {
		path, err := exec.LookPath("zeek-systemd-generator")
		if err != nil {
			path = "/opt/zeek/bin/zeek-systemd-generator"
		}
		if _, err := os.Stat(path); err != nil {
			t.Skip("there is no zeek-systemd-generator here, neither on the PATH nor in /opt/zeek/bin")
		}
		for name, text := range zeekConfSetups {
			matchOriginal(t, "zeek.conf "+name, generatedUnits(t, path, text))
		}
	})
}

func matchOriginal(t *testing.T, name, said string) {
	t.Helper()
	path := originalFile(name)
	if *update {
		if err := os.WriteFile(path, []byte(said), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(b), said); diff != "" {
		t.Errorf("%s: (-%s, +the original):\n%s", name, path, diff)
	}
}

// generatedUnits are the processes of the units that the generator writes for a zeek.conf.
func generatedUnits(t *testing.T, generator, text string) string {
	t.Helper()
	dir := t.TempDir()
	conf, layout := filepath.Join(dir, "zeek.conf"), filepath.Join(dir, "layout.zeek")
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(generator, "--config", conf, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	makes := regexp.MustCompile(`(?m)^ExecStart=(\S*cluster-layout-generator .*) -o .*$`).FindStringSubmatch(read(t, dir, "zeek-setup.service"))
	if makes == nil {
		t.Fatal("the generated units make no layout")
	}
	args := append(strings.Fields(makes[1]), "-o", layout)
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var out strings.Builder
	entry := regexp.MustCompile(`\["(.*)"\] = \[\$node_type=Cluster::(\w+),(?:.*\$p=(\d+)/tcp)?(?:.*\$metrics_port=(\d+)/tcp)?`)
	for _, m := range entry.FindAllStringSubmatch(read(t, "", layout), -1) {
		name, role := m[1], strings.ToLower(m[2])
		unit := read(t, dir, "zeek-"+name+".service")
		if i := strings.LastIndexByte(name, '-'); unit == "" {
			unit = read(t, dir, "zeek-"+name[:i]+"@.service") + read(t, dir, "zeek-"+name[:i]+"@"+name[i+1:]+".service.d/10-zeek-systemd-generator.conf")
		}
		line := role + " " + name
		if iface := setting(unit, "Environment=INTERFACE="); iface != "" {
			line += " -i " + iface
		}
		if m[3] != "" {
			line += " port " + m[3]
		}
		line += " metrics " + cmp.Or(m[4], "0")
		if cpu := setting(unit, "CPUAffinity="); cpu != "" {
			line += " cpus [" + cpu + "]"
		}
		_, args, _ := strings.Cut(setting(unit, "ExecStart="), " ")
		args = strings.NewReplacer("-i ${INTERFACE} ", "", "policy/misc/systemd-generator", "", "frameworks/cluster/backend/zeromq", "").Replace(args)
		out.WriteString(line + " scripts " + strings.Join(strings.Fields(args), " ") + "\n")
	}
	return out.String()
}

// read returns a file, or nothing where there is none.
func read(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

// setting is what stands behind a key in a unit.
func setting(unit, key string) string {
	for line := range strings.Lines(unit) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), key); ok {
			return v
		}
	}
	return ""
}
