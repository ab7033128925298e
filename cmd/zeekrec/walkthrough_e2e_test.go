package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/mgmt/certtest"
)

// walk is the walk-through of the management framework's documentation, on one machine with one client.
type walk struct {
	*rig
	agent, who string
	line       []string // the client's command line, up to its command
	second     string   // the interface of the second worker
}

// TestE2EWalkthrough: the commands of the walk-through in the framework's documentation, with a real Zeek, each version of
// zeek-client that there is, and plain and TLS connections: they print what is shown there, and end so.
func TestE2EWalkthrough(t *testing.T) {
	if os.Getenv("ZEEKREC_E2E") == "" {
		t.Skip("make e2e")
	}
	zeek, ok := realZeek()
	if !ok {
		t.Skip("needs a real Zeek on the PATH or in /opt/zeek/bin")
	}
	bin := build(t, "./cmd/zeekrec", "")
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("ZEEK_CONTROLLER_NAME", "")
	for _, client := range stockClients(t) {
		for _, over := range []string{"plain", "TLS", "TLS with certificates"} {
			t.Run(client.version+" over "+over, func(t *testing.T) {
				w := &walk{rig: newRig(t, bin, zeek), agent: "agent-" + host, who: client.version + " over " + over, line: client.connecting(over != "plain"), second: "lo"}
				w.more = []string{"--api-listen", "127.0.0.1:2149", "--name", w.agent}
				if over == "TLS with certificates" {
					ca := certtest.New(t)
					cert, key := ca.Issue(t, "localhost", "127.0.0.1")
					w.more = append(w.more, "--api-cert", cert, "--api-key", key, "--api-client-ca", ca.File)
					cert, key = ca.Issue(t, "somebody")
					w.line = append(w.line, "--set", "ssl.certificate="+cert, "--set", "ssl.keyfile="+key, "--set", "ssl.cafile="+ca.File)
				}
				if w.netns != "" {
					w.must(exec.Command("ip", "netns", "exec", w.netns, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0-far"))
					for _, i := range []string{"eth0", "eth0-far"} {
						w.must(exec.Command("ip", "netns", "exec", w.netns, "ip", "link", "set", i, "up"))
					}
					w.second = "eth0"
				}
				w.start()
				w.through()
			})
		}
	}
}

// do runs a command and compares what it prints.
func (w *walk) do(args string, code int, want string) string {
	w.t.Helper()
	began := time.Now()
	out := w.ask(w.who, append(append([]string{}, w.line...), strings.Fields(args)...), clientCall{args, code, want})
	w.t.Logf("%5.1f s  %s", time.Since(began).Seconds(), args)
	return out
}

// deploys is do for a deploy that goes well. On a machine that is so busy that Zeek takes too long to start, the answer says so before
// the client has waited for long enough; then it is asked for again, as a person would.
func (w *walk) deploys(args string) {
	w.t.Helper()
	for range 5 {
		began := time.Now()
		out := w.ask(w.who, append(append([]string{}, w.line...), strings.Fields(args)...), clientCall{args, anyCode, anyOutput})
		w.t.Logf("%5.1f s  %s", time.Since(began).Seconds(), args)
		if !strings.Contains(out, "still being rolled out") {
			if plain(out) != plain(w.results("")) {
				w.t.Errorf("%s: %s", args, out)
			}
			return
		}
		w.t.Log("         which was not long enough on this machine")
		args = "deploy"
	}
	w.t.Fatal("this machine is too busy")
}

func (w *walk) file(name, second string) {
	w.t.Helper()
	text := "[manager]\nrole = manager\n\n[logger]\nrole = logger\n\n[worker-01]\nrole = worker\ninterface = lo\n\n[worker-02]\nrole = worker\ninterface = " + second + "\n"
	if err := os.WriteFile(w.path(name), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// results of a deploy; bad is the node that did not start.
func (w *walk) results(bad string) string {
	nodes := map[string]any{}
	for _, n := range []string{"logger", "manager", "worker-01", "worker-02"} {
		nodes[n] = map[string]any{"instance": w.agent, "success": n != bad}
		if n == bad {
			nodes[n] = map[string]any{"instance": w.agent, "success": false, "stdout": "", "stderr": "…"}
		}
	}
	errs := []string{}
	if bad != "" {
		errs = []string{"request timed out"}
	}
	return asJSON(map[string]any{"errors": errs, "results": map[string]any{"id": "…", "nodes": nodes}})
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // nothing of these can fail
	}
	return string(b)
}

// nodes is what get-nodes prints while all run.
func (w *walk) nodes() string {
	row := func(role string, mgmt any, ports ...int) map[string]any {
		out := map[string]any{"cluster_role": role, "mgmt_role": mgmt, "pid": "…", "state": "RUNNING"}
		if role == "" {
			out["cluster_role"] = nil
		}
		for i, p := range ports {
			if p != 0 {
				out[[]string{"port", "metrics_port"}[i]] = p
			}
		}
		return out
	}
	return asJSON(map[string]any{"errors": []string{}, "results": map[string]any{w.agent: map[string]any{
		w.agent: row("", "AGENT"), "controller-" + strings.TrimPrefix(w.agent, "agent-"): row("", "CONTROLLER", 2151),
		"manager": row("MANAGER", nil, 2200, 9000), "logger": row("LOGGER", nil, 2201, 9001),
		"worker-01": row("WORKER", nil, 0, 9002), "worker-02": row("WORKER", nil, 0, 9003),
	}}})
}

// config is what get-config prints; ports, if there are any, are those of logger, manager and workers.
func (w *walk) config(deployed bool) string {
	out := "[instances]\n" + w.agent + "\n\n"
	for _, n := range []struct{ name, role, iface, ports string }{
		{"logger", "LOGGER", "", "port = 2201\nmetrics_port = 9001\n"}, {"manager", "MANAGER", "", "port = 2200\nmetrics_port = 9000\n"},
		{"worker-01", "WORKER", "interface = lo\n", "metrics_port = 9002\n"}, {"worker-02", "WORKER", "interface = " + w.second + "\n", "metrics_port = 9003\n"},
	} {
		if !deployed {
			n.ports = ""
		}
		out += "[" + n.name + "]\ninstance = " + w.agent + "\nrole = " + n.role + "\n" + n.iface + n.ports + "\n"
	}
	return out
}

func (w *walk) configJSON() string {
	node := func(name, role string, iface any) map[string]any {
		return map[string]any{
			"cpu_affinity": nil, "env": map[string]any{}, "instance": w.agent, "interface": iface, "metrics_port": nil, "name": name,
			"options": nil, "port": nil, "role": role, "scripts": nil,
		}
	}
	return asJSON(map[string]any{"id": "…", "instances": []any{map[string]any{"name": w.agent}}, "nodes": []any{
		node("logger", "LOGGER", nil), node("manager", "MANAGER", nil), node("worker-01", "WORKER", "lo"), node("worker-02", "WORKER", w.second),
	}})
}

// through goes the way of the documentation.
func (w *walk) through() {
	w.file("cluster.cfg", w.second)
	w.file("bad.cfg", "not-a-valid-interface")
	connected := asJSON(map[string]any{w.agent: map[string]any{"host": "127.0.0.1"}})
	w.eventually("the instance is connected", 3*waitLong, func() error {
		if out := w.ask(w.who, append(append([]string{}, w.line...), "get-instances"), clientCall{"get-instances", 0, anyOutput}); plain(out) != connected {
			return errors.New(out)
		}
		return nil
	})
	w.do("get-config", 1, "")
	w.deploys("deploy-config cluster.cfg")
	before := w.do("get-nodes", 0, w.nodes())
	w.do("stage-config cluster.cfg", 0, `{"errors":[],"results":{"id":"…"}}`)
	w.deploys("deploy")
	if after := w.do("get-nodes", 0, w.nodes()); after != before {
		w.t.Errorf("to deploy the same again restarted something:\n%s\n%s", before, after)
	}
	w.do("deploy-config bad.cfg", 1, w.results("worker-02"))
	w.deploys("deploy-config cluster.cfg")
	w.do("get-config", 0, w.config(false))
	w.do("get-config --as-json", 0, w.configJSON())
	w.do("get-config --deployed", 0, w.config(true))
	w.do("get-id-value LogAscii::use_json", 0, `{"errors":[],"results":{"logger":false,"manager":false,"worker-01":false,"worker-02":false}}`)
	w.streams(w.do("get-id-value Log::all_streams worker-01", 0, anyOutput))
	before = w.do("get-nodes", 0, w.nodes())
	w.do("restart manager", 0, `{"errors":[],"results":{"manager":true}}`)
	w.eventually("only the manager has another pid", 3*waitLong, func() error {
		after := w.ask(w.who, append(append([]string{}, w.line...), "get-nodes"), clientCall{"get-nodes", 0, anyOutput})
		if plain(after) != plain(w.nodes()) {
			return errors.New(after)
		}
		return onlyManager(before, after)
	})
	w.do("show-settings", 0, anyOutput)
	w.do("test-timeout --with-state", 0, `{"error":"request timed out","success":false}`)
	w.do("--set client.request_timeout_secs=2 test-timeout", 1, "")
}

// streams looks at a value with much in it.
func (w *walk) streams(printed string) {
	w.t.Helper()
	var v struct {
		Errors  []any
		Results map[string]map[string]struct{ Path, Policy string }
	}
	if err := json.Unmarshal([]byte(printed), &v); err != nil {
		w.t.Errorf("the value of Log::all_streams: %v", err)
		return
	}
	all := v.Results["worker-01"]
	if cluster := all["Cluster::LOG"]; len(v.Errors) > 0 || len(all) < 50 || cluster.Path != "cluster" || !strings.HasPrefix(cluster.Policy, "Cluster::log_policy") {
		w.t.Errorf("the value of Log::all_streams has %d streams, Cluster::LOG is %+v", len(all), cluster)
	}
}

func onlyManager(before, after string) error {
	var all [2]struct {
		Results map[string]map[string]struct{ PID int }
	}
	for i, s := range []string{before, after} {
		if err := json.Unmarshal([]byte(s), &all[i]); err != nil {
			return err
		}
	}
	for instance, nodes := range all[0].Results {
		for name, n := range nodes {
			if now := all[1].Results[instance][name].PID; (now == n.PID) == (name == "manager") {
				return fmt.Errorf("%s had pid %d and has %d", name, n.PID, now)
			}
		}
	}
	return nil
}
