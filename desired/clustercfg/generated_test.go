package clustercfg

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/desired"
)

// generatedFiles is how many files TestGenerated tries.
const generatedFiles = 10_000

// TestGenerated makes files and asks Zeek's zeek-client itself, where there is one, what they say: the same nodes and
// instances are found here, and an error where it refuses a file or ends with an exception.
func TestGenerated(t *testing.T) {
	program := zeekClient(t)
	r := rand.New(rand.NewPCG(8, 2149))
	texts := make([]string, generatedFiles)
	for i := range texts {
		texts[i] = generate(r, i%2 == 0)
	}
	in, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/bin/python3", "testdata/parse.py", program, strings.TrimPrefix(testHost, "agent-"))
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cannot ask zeek-client: %v", err)
	}
	same, refused, crashed, n := 0, 0, 0, 0
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for ; lines.Scan(); n++ {
		var theirs struct {
			Config  any
			Refused bool
			Crash   string
		}
		if err := json.Unmarshal(lines.Bytes(), &theirs); err != nil {
			t.Fatal(err)
		}
		c, ds := parse(texts[n])
		switch {
		case theirs.Config == nil && !desired.HasErrors(ds):
			t.Errorf("zeek-client does not take it (%s), and there is no error here:\n%s", theirs.Crash, texts[n])
		case theirs.Config == nil && theirs.Refused:
			refused++
		case theirs.Config == nil:
			crashed++
		case c == nil:
			t.Errorf("zeek-client takes it, and here it is not read: %v\n%s", ds, texts[n])
		default:
			var ours any
			if err := json.Unmarshal(ConfigJSON(c), &ours); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(numbered(theirs.Config), numbered(ours)); d != "" {
				t.Errorf("(-zeek-client, +here):\n%s\n%s", d, texts[n])
			}
			same++
		}
	}
	if n != len(texts) || same < n/4 {
		t.Errorf("%d of %d files were tried, %d of them alike: that proves nothing", n, len(texts), same)
	}
	t.Logf("%d files: %d alike; errors: %d that zeek-client refuses, %d at which it ends with an exception", n, same, refused, crashed)
}

// numbered makes the ports of instances numbers: zeek-client has them as text, until it sends them.
func numbered(config any) any {
	for _, i := range config.(map[string]any)["instances"].([]any) {
		if port, ok := i.(map[string]any)["port"]; ok {
			i.(map[string]any)["port"] = fmt.Sprint(port)
		}
	}
	return config
}

// zeekClient finds Zeek's zeek-client and what it needs.
func zeekClient(t *testing.T) string {
	t.Helper()
	candidates := []string{"/opt/zeek/bin/zeek-client"}
	if path, err := exec.LookPath("zeek-client"); err == nil {
		candidates = append([]string{path}, candidates...)
	}
	for _, dir := range filepath.SplitList(os.Getenv("ZEEKREC_ZEEK_CLIENTS")) {
		candidates = append([]string{filepath.Join(dir, "zeek-client")}, candidates...)
	}
	for _, path := range candidates {
		if _, err := os.Stat(path); err == nil {
			if exec.Command("/usr/bin/python3", path, "--version").Run() == nil {
				return path
			}
			t.Skip("zeek-client cannot be run: it needs Python's websocket-client (Debian: python3-websocket)")
		}
	}
	t.Skip("there is no zeek-client here: not on the PATH, not in /opt/zeek/bin, and not in a folder of ZEEKREC_ZEEK_CLIENTS")
	return ""
}

// generate makes a cluster.cfg: a tame one is mostly valid, a wild one has something odd nearly everywhere.
func generate(r *rand.Rand, tame bool) string {
	g := &generator{Rand: r, odd: 0.2}
	if tame {
		g.odd = 0.01
	}
	var lines, instances []string
	if g.chance(0.5) {
		all := []string{"a", "b", "agent-x", "Agent-Y"}
		g.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		instances = all[:1+g.IntN(3)]
		if g.chance(0.7) {
			lines = append(lines, "[instances]")
			for _, name := range instances {
				lines = append(lines, name+g.pick("", "", " = 127.0.0.1:2151", " = ::1:2152", " = [::2]:2153", g.oddly(" = 10.0.0.1:99", " = 10.0.0.1:", "=:5")))
			}
		}
	}
	if g.chance(0.05) {
		lines = append(lines, "[DEFAULT]", g.key("env", "D=1"))
	}
	names := []string{"m", "l1", "l-2", "p", "w1", "w 2", "W3", "é", "node"}
	g.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	names = names[:g.IntN(7)]
	if len(names) > 0 && g.chance(g.odd/5) {
		names = append(names, names[0])
	}
	for _, name := range names {
		lines = append(lines, g.node(name, instances)...)
	}
	return strings.Join(lines, g.pick("\n", "\n", "\n", "\r\n")) + g.pick("\n", "")
}

type generator struct {
	*rand.Rand
	odd float64 // how often something is odd
}

func (g *generator) chance(p float64) bool      { return g.Float64() < p }
func (g *generator) pick(list ...string) string { return list[g.IntN(len(list))] }
func (g *generator) oddly(list ...string) string { // the first, unless something odd is due
	if g.chance(g.odd) {
		return g.pick(list[1:]...)
	}
	return list[0]
}

// anything is a value that fits nowhere in particular.
func (g *generator) anything() string {
	return g.pick("a", "x y", `"q r"`, "'s t'", `a\ b`, "%(role)s", "%%", "%", "1", "22", "+7", "1_0", " 5 ", "70000", "-1", "é", "a=b", "a:b", "#x", "v # c", "")
}

func (g *generator) key(k, v string) string {
	k = g.pick(k, k, k, strings.ToUpper(k), strings.ToUpper(k[:1])+k[1:])
	return fmt.Sprintf(g.pick("%s = %s", "%s=%s", "%s: %s", "  %s = %s", "%s =%s"), k, v)
}

func (g *generator) node(name string, instances []string) []string {
	lines := []string{"[" + name + "]"}
	if !g.chance(g.odd / 4) {
		role := g.oddly(g.pick("manager", "logger", "proxy", "worker"), "WORKER", "Worker", "Supervisor::PROXY", "none", "wroker", "")
		lines = append(lines, g.key(g.pick("role", "role", "role", "type"), role))
	}
	if len(instances) > 0 && !g.chance(g.odd/4) {
		lines = append(lines, g.key("instance", g.pick(instances...)))
	}
	for _, k := range []struct {
		name   string
		values []string
	}{
		{"port", []string{"1234", "5000", "+99", "1_000"}},
		{"metrics_port", []string{"9100"}},
		{"scripts", []string{"a b", "z a", `"x y" z`}},
		{"interface", []string{"eth0", "af_packet::eth1"}},
		{"cpu_affinity", []string{"3", "-2"}},
		{"env", []string{"A=B", `A="b c" D=e`, "X='y z'", "A=1 A=2"}},
	} {
		if g.chance(0.3) {
			lines = append(lines, g.key(k.name, g.oddly(g.pick(k.values...), g.anything())))
			if g.chance(g.odd / 4) {
				lines = append(lines, "\tmore")
			}
		}
	}
	if g.chance(0.05) {
		lines = append(lines, "unknown = 1")
	}
	if g.chance(g.odd / 6) {
		lines = append(lines, "novalue")
	}
	if g.chance(g.odd / 6) {
		lines = append(lines, lines[len(lines)-1])
	}
	if g.chance(0.2) {
		lines = append(lines, g.pick("# comment", "; c", ""))
	}
	return lines
}
