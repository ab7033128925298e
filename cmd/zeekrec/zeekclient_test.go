package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// stockClient is Zeek's own zeek-client, unchanged.
type stockClient struct {
	version string
	command []string
}

// stockClients finds them: in each folder of ZEEKREC_ZEEK_CLIENTS, which may be checkouts of several versions; else the one on
// the PATH or in /opt/zeek/bin. Each is run in a place where no settings file is its.
func stockClients(t *testing.T) []stockClient {
	t.Helper()
	var paths []string
	for _, dir := range filepath.SplitList(os.Getenv("ZEEKREC_ZEEK_CLIENTS")) {
		paths = append(paths, filepath.Join(dir, "zeek-client"))
	}
	if len(paths) == 0 {
		path, err := exec.LookPath("zeek-client")
		if err != nil {
			path = "/opt/zeek/bin/zeek-client"
		}
		if _, err := os.Stat(path); err != nil {
			t.Skip("there is no zeek-client here: not on the PATH, not in /opt/zeek/bin, and not in a folder of ZEEKREC_ZEEK_CLIENTS")
		}
		paths = []string{path}
	}
	t.Setenv("ZEEK_CLIENT_CONFIG_FILE", "/dev/null")
	var out []stockClient
	for _, path := range paths {
		c := stockClient{}
		for _, python := range []string{"/usr/bin/python3", "python3"} {
			if b, err := exec.Command(python, path, "--version").Output(); err == nil {
				c = stockClient{strings.TrimSpace(string(b)), []string{python, path}}
				break
			}
		}
		if c.version == "" {
			t.Skip(path + " cannot be run: it needs Python's websocket-client (Debian: python3-websocket)")
		}
		out = append(out, c)
	}
	return out
}

// connecting is the client's command line up to its command, over a plain or a TLS connection: 1.4.0 has TLS unless told otherwise, and
// what came after it has none.
func (c stockClient) connecting(tls bool) []string {
	line := append(slices.Clone(c.command), "--controller", "127.0.0.1:2149")
	switch {
	case c.version == "1.4.0" && !tls:
		return append(line, "--set", "ssl.disable=true")
	case c.version != "1.4.0" && tls:
		return append(line, "--set", "ssl.enable=yes")
	}
	return line
}

// clientCall is a command of zeek-client, how it ends, and what it prints: JSON or text, without what differs from run to run.
type clientCall struct {
	args string
	code int
	want string
}

// ask runs a command in the rig and compares. It returns what was printed.
func (r *rig) ask(who string, line []string, x clientCall) string {
	r.t.Helper()
	if r.netns != "" {
		line = append([]string{"ip", "netns", "exec", r.netns}, line...)
	}
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir = r.dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != x.code && x.code != anyCode {
		r.t.Errorf("%s, %s: exit code %d, want %d\n%s%s", x.args, who, got, x.code, out.String(), errs.String())
	}
	if diff := cmp.Diff(plain(x.want), plain(out.String())); diff != "" && x.want != anyOutput {
		r.t.Errorf("%s, %s (-want, +got):\n%s%s", x.args, who, diff, errs.String())
	}
	return out.String()
}

// What is looked at elsewhere.
const (
	anyOutput = "*"
	anyCode   = -1
)

const clientConfig = "[instances]\nagent-test\n\n[logger]\ninstance = agent-test\nrole = LOGGER\n\n[manager]\ninstance = agent-test\nrole = MANAGER\n\n" +
	"[worker-01]\ninstance = agent-test\nrole = WORKER\ninterface = lo\n\n[worker-02]\ninstance = agent-test\nrole = WORKER\ninterface = lo\n\n"

// TestZeekClient: Zeek's own zeek-client, unchanged, over plain and TLS connections: what its commands print, but for
// ids and pids, and how they end. zeekrec's own commands print the same.
func TestZeekClient(t *testing.T) {
	client := stockClients(t)[0]
	t.Setenv("ZEEK_CONTROLLER_NAME", "controller-test")
	r := newRig(t, build(t, "./cmd/zeekrec", ""), build(t, "./testdata/zeek", ""))
	r.more = []string{"--api-listen", "127.0.0.1:2149"}
	r.start()
	if err := os.WriteFile(r.path("good.cfg"), []byte(clientConfig), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path("bad.cfg"), []byte(strings.Replace(clientConfig, "interface = lo\n\n[worker-02]", "interface = nosuchif\n\n[worker-02]", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	own := []string{r.bin, "--state-dir", r.path("state")}
	deployed := func(bad string) string {
		node := func(name string) string {
			if name == bad {
				return `"` + name + `":{"instance":"agent-test","stderr":"…","stdout":"","success":false}`
			}
			return `"` + name + `":{"instance":"agent-test","success":true}`
		}
		errs := "[]"
		if bad != "" {
			errs = `["request timed out"]`
		}
		return `{"errors":` + errs + `,"results":{"id":"…","nodes":{` + node("logger") + "," + node("manager") + "," + node("worker-01") + "," + node("worker-02") + "}}}"
	}
	values := `{"errors":[],"results":{"logger":"logger","manager":"manager","worker-01":"worker-01","worker-02":"worker-02"}}`
	nodes := func(worker string) string {
		return `{"errors":[],"results":{"agent-test":{"agent-test":{"cluster_role":null,"mgmt_role":"AGENT","pid":"…","state":"RUNNING"},` +
			`"controller-test":{"cluster_role":null,"mgmt_role":"CONTROLLER","pid":"…","port":2151,"state":"RUNNING"},` +
			`"logger":{"cluster_role":"LOGGER","metrics_port":9001,"mgmt_role":null,"pid":"…","port":2201,"state":"RUNNING"},` +
			`"manager":{"cluster_role":"MANAGER","metrics_port":9000,"mgmt_role":null,"pid":"…","port":2200,"state":"RUNNING"},` +
			`"worker-01":{"cluster_role":"WORKER","metrics_port":9002,"mgmt_role":null,"pid":"…","state":"` + worker + `"},` +
			`"worker-02":{"cluster_role":"WORKER","metrics_port":9003,"mgmt_role":null,"pid":"…","state":"RUNNING"}}}}`
	}
	for _, x := range []clientCall{
		{"get-config", 1, ""},
		{"get-config --deployed", 1, ""},
		{"deploy", 1, `{"errors":["no configuration available to deploy"],"results":{}}`},
		{"get-instances", 0, `{"agent-test":{"host":"127.0.0.1"}}`},
		{"deploy-config good.cfg", 0, deployed("")},
		{"get-nodes", 0, nodes("RUNNING")},
		{"stage-config good.cfg", 0, `{"errors":[],"results":{"id":"…"}}`},
		{"deploy", 0, deployed("")},
		{"get-config", 0, clientConfig},
		{"get-config --deployed", 0, strings.NewReplacer("role = LOGGER\n", "role = LOGGER\nport = 2201\nmetrics_port = 9001\n", "role = MANAGER\n", "role = MANAGER\nport = 2200\nmetrics_port = 9000\n",
			"interface = lo\n\n[worker-02]", "interface = lo\nmetrics_port = 9002\n\n[worker-02]", "interface = lo\n\n", "interface = lo\nmetrics_port = 9003\n\n").Replace(clientConfig)},
		{"deploy-config bad.cfg", 1, deployed("worker-01")},
		{"get-nodes", 0, nodes("PENDING")},
		{"deploy-config good.cfg", 0, deployed("")},
		{"get-id-value Cluster::node", 0, values},
		{"get-id-value Cluster::node manager nobody", 1, `{"errors":[{"error":"unknown cluster node","source":"nobody"}],"results":{"manager":"manager"}}`},
		{"restart nobody", 1, `{"errors":[{"error":"unknown cluster node","source":"nobody"}],"results":{}}`},
	} {
		who := map[string][]string{
			"plain": client.connecting(false), "TLS": client.connecting(true),
		}
		switch command, _, _ := strings.Cut(x.args, " "); command {
		case "get-instances": // all ways to connect are tried with one command: each client takes its time to start
			who["zeekrec"], who["zeekrec over TLS"] = own, nil
		case "get-id-value":
			who["zeekrec"], who["zeekrec over TLS"] = own, nil
			delete(who, "TLS")
		case "get-nodes", "get-config", "stage-config", "deploy":
			who["zeekrec"] = own
			delete(who, "TLS")
		default:
			delete(who, "TLS")
		}
		for name, command := range who {
			args := strings.Fields(x.args)
			if name == "zeekrec over TLS" {
				command = own
				args = append(args, "--controller", "127.0.0.1:2149", "--set", "ssl.enable=yes")
			}
			r.ask(name, append(slices.Clone(command), args...), x)
		}
	}
	if b, err := os.ReadFile(filepath.Join(r.path("clusters"), "default.cfg")); err != nil || !bytes.Contains(b, []byte("[worker-02]")) {
		t.Errorf("the cluster's file is %s, %v", b, err)
	}
}

// plain is JSON in one form, without what differs from run to run.
func plain(s string) string {
	var v any
	if json.Unmarshal([]byte(s), &v) != nil {
		return s
	}
	b, _ := json.Marshal(v)
	for _, x := range []string{`("id":)"[^"]*"`, `("pid":)[0-9]+`, `("stderr":)"(?:[^"\\]|\\.)+"`} {
		b = regexp.MustCompile(x).ReplaceAll(b, []byte(`$1"…"`))
	}
	return string(b)
}
