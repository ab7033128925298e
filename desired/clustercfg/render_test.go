package clustercfg

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zeekrec/zeekrec/desired"
)

func TestConfigINI(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"order and case", "[w]\nenv = B=2 A='x y'\nrole=worker\ninterface=eth0\nmetrics_port=9001\ncpu_affinity=4\nscripts = b 'a a'\ninstance=a\nport=1\n[l]\nrole = logger\ninstance = a\n[instances]\nb = [::2]:2151\na\n",
			"[instances]\na\nb = ::2:2151\n\n[l]\ninstance = a\nrole = LOGGER\n\n" +
				"[w]\ninstance = a\nrole = WORKER\nport = 1\nscripts = \"a a\" b\ninterface = eth0\ncpu_affinity = 4\nenv = A=\"x y\" B=2\nmetrics_port = 9001\n\n"},
		{"what zeek-client loses", "[m]\nrole = manager\nscripts = '' 'a\"b' c\\\\d \"it's\"\nenv = A=100%% 'B C'=x D=' y'\n",
			"[instances]\nagent-test\n\n[m]\ninstance = agent-test\nrole = MANAGER\nscripts = \"\" \"a\\\"b\" \"c\\\\d\" \"it's\"\nenv = A=100%% \"B C\"=x D=\" y\"\n\n"},
		{"lines", "[m]\nrole = manager\nenv = A='x\n  y'\n", "[instances]\nagent-test\n\n[m]\ninstance = agent-test\nrole = MANAGER\nenv = A=\"x\n\ty\"\n\n"},
		{"names that [instances] cannot hold", "[m]\nrole = manager\ninstance = Sensor\n", "[m]\ninstance = Sensor\nrole = MANAGER\n\n"},
		{"nothing", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, _ := parse(test.in)
			if d := cmp.Diff(test.want, string(ConfigINI(c))); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestRoundTrip: what is written is read as the same.
func TestRoundTrip(t *testing.T) {
	files, err := filepath.Glob("testdata/*.cfg")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	n := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c, ds := parse(string(data))
		if desired.HasErrors(ds) || !writable(c) {
			continue
		}
		n++
		if d := roundTrip(c); d != "" {
			t.Errorf("%s:\n%s", file, d)
		}
	}
	if n < 20 {
		t.Errorf("only %d files without errors", n)
	}
}

// roundTrip returns how a cluster differs from what is read when it was written.
func roundTrip(c *desired.Cluster) string {
	again, ds := parse(string(ConfigINI(c)))
	if desired.HasErrors(ds) {
		return strings.Join(codes(ds), " ")
	}
	args := func(c *desired.Cluster) (out [][]string) {
		for _, n := range c.Nodes {
			out = append(out, n.Args)
		}
		return out
	}
	return cmp.Diff(string(ConfigJSON(c)), string(ConfigJSON(again))) + cmp.Diff(args(c), args(again))
}

func TestConfigJSONEscapes(t *testing.T) {
	c, _ := parse("[m]\nrole = manager\nenv = A=<&>é😀\n")
	want := `{"instances":[{"name":"agent-test"}],"nodes":[{"cpu_affinity":null,"env":{"A":"<&>\u00e9\ud83d\ude00"},"instance":"agent-test","interface":null,` +
		`"metrics_port":null,"name":"m","options":null,"port":null,"role":"MANAGER","scripts":null}]}`
	if d := cmp.Diff(want, string(ConfigJSON(c))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got := string(ConfigJSON(&desired.Cluster{})); got != `{"instances":[],"nodes":[]}` {
		t.Errorf("nothing is %s", got)
	}
}
