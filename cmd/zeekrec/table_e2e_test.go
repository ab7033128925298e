package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

var updateTable = flag.Bool("update-table", false, "write desired/MINIMAL.md anew")

// tableRow is one row of the table of minimal restarts, as it is tried with Zeek.
type tableRow struct {
	name   string
	before func(*draft) // brings the cluster to where the change begins
	change func(*draft)
	// zeromq and broker are what has another process afterwards, with each backend; "-": the row is not for it.
	zeromq, broker string
	// known are complaints that belong to it.
	known string
}

// all nodes that newDraft has, in order.
const allNodes = "logger-1 manager proxy-1 worker-1 worker-2"

func set(node, key, value string) func(*draft) {
	return func(d *draft) { d.nodes[node][key] = value }
}

func setting(key, value string) func(*draft) { return func(d *draft) { d.settings[key] = value } }

func section(name, lines string) func(*draft) { return func(d *draft) { d.sections[name] = lines } }

func adds(name string) func(*draft) { return func(d *draft) { d.add(name) } }

func removes(name string) func(*draft) { return func(d *draft) { d.remove(name) } }

func renames(from, to string) func(*draft) {
	return func(d *draft) {
		d.nodes[to] = d.nodes[from]
		delete(d.nodes, from)
	}
}

func both(fs ...func(*draft)) func(*draft) {
	return func(d *draft) {
		for _, f := range fs {
			f(d)
		}
	}
}

// What nodes complain of with Broker, whenever somebody whom they are connected to stops, and of who is new and of no matter to
// them, so that they were not restarted for it. The latter is also said with membership = restart.
const (
	brokersPeer = `Broker::PEER_|unable to connect to remote peer`
	unexpected  = `Cluster::hello msg from unexpected node`
)

var tableRows = []tableRow{
	{name: "a worker's interface", change: set("worker-2", "interface", "zr1"), zeromq: "worker-2", broker: "worker-2"},
	{name: "a worker's environment", change: set("worker-2", "env", "A=1"), zeromq: "worker-2", broker: "worker-2"},
	{name: "a worker's scripts", change: set("worker-2", "scripts", "misc/capture-loss"), zeromq: "worker-2", broker: "worker-2"},
	{name: "a node's metrics port", change: set("worker-2", "metrics_port", "25199"), zeromq: "worker-2", broker: "worker-2"},
	{name: "CPU affinity", change: set("worker-2", "cpu_affinity", "0"), zeromq: "", broker: ""},
	{name: "nice, CPUs of a role", change: section("zeekrec.limits.worker", "nice = 1\ncpus = 0-1\n"), zeromq: "", broker: ""},
	{name: "a worker added", change: adds("worker-3"), zeromq: "worker-3", broker: "manager worker-3"},
	{name: "a worker renamed", before: adds("worker-3"), change: renames("worker-3", "worker-4"), zeromq: "-worker-3 worker-4", broker: "-worker-3 manager worker-4"},
	{name: "a worker removed", before: adds("worker-4"), change: removes("worker-4"), zeromq: "-worker-4", broker: "-worker-4"},
	{name: "a proxy added", change: adds("proxy-2"), zeromq: "proxy-2", broker: "manager proxy-2 worker-1 worker-2"},
	{name: "a proxy removed", before: adds("proxy-2"), change: removes("proxy-2"), zeromq: "-proxy-2", broker: "-proxy-2"},
	{name: "a logger added", change: adds("logger-2"), zeromq: "logger-2 manager proxy-1 worker-1 worker-2", broker: "logger-2 manager proxy-1 worker-1 worker-2"},
	{name: "a logger removed", before: adds("logger-2"), change: removes("logger-2"), zeromq: "-logger-2 manager proxy-1 worker-1 worker-2", broker: "-logger-2"},
	{name: "a logger added, with logger_slots", before: setting("logger_slots", "1"), change: adds("logger-2"), zeromq: "logger-2", broker: "-"},
	{name: "a logger removed, with logger_slots", before: both(setting("logger_slots", "1"), adds("logger-2")), change: removes("logger-2"), zeromq: "-logger-2", broker: "-"},
	{name: "the last logger removed", change: removes("logger-1"), zeromq: "-logger-1 manager proxy-1 worker-1 worker-2", broker: "-logger-1 manager proxy-1 worker-1 worker-2"},
	{name: "the first logger added", before: removes("logger-1"), change: adds("logger-1"), zeromq: allNodes, broker: allNodes},
	{name: "a logger's port", change: set("logger-1", "port", "25195"), zeromq: allNodes, broker: allNodes},
	{name: "the manager's port", change: set("manager", "port", "25196"), zeromq: "", broker: "manager proxy-1 worker-1 worker-2"},
	{name: "a proxy's port", change: set("proxy-1", "port", "25197"), zeromq: "", broker: "proxy-1 worker-1 worker-2"},
	{name: "shared scripts", change: setting("scripts", "local works misc/stats"), zeromq: allNodes, broker: allNodes},
	{name: "an option in [zeekrec.options]", change: section("zeekrec.options", "Notice::default_suppression_interval = 2hrs\n"), zeromq: "", broker: ""},
	{name: "a constant in [zeekrec.options]", change: section("zeekrec.options", "Works::rate = 90.0\n"), zeromq: allNodes, broker: allNodes},
	{name: "a constant of the log writer", change: section("zeekrec.options", "LogAscii::use_json = F\n"), zeromq: "logger-1", broker: "logger-1"},
	{name: "the loggers' rotation interval", change: section("zeekrec.archive", "enabled = no\ninterval = 30m\n"), zeromq: "logger-1", broker: "logger-1"},
	{name: "the broker's queues and grace", change: section("zeekrec.broker", "sndhwm = 2000\ngrace = 7s\n"), zeromq: "", broker: "-"},
	{name: "the broker's endpoints", change: section("zeekrec.broker", "xpub = tcp://127.0.0.1:25190\nxsub = tcp://127.0.0.1:25191\n"), zeromq: "broker " + allNodes, broker: "-"},
	{name: "encryption switched on", change: section("zeekrec.broker", "curve = on\n"), zeromq: allNodes, broker: "-"},
	{name: "the broker into the manager", change: section("zeekrec.broker", "mode = manager\n"), zeromq: "-broker " + allNodes, broker: "-"},
	{name: "a worker added, with membership = restart", before: setting("membership", "restart"), change: adds("worker-3"), zeromq: "manager worker-3", broker: "-", known: unexpected},
	{name: "a proxy added, with membership = restart", before: setting("membership", "restart"), change: adds("proxy-2"), zeromq: "manager proxy-2 worker-1 worker-2", broker: "-", known: unexpected},
	{name: "a switch of membership", change: setting("membership", "restart"), zeromq: "", broker: "-"},
}

// TestE2ETable tries every row of the table of minimal restarts with Zeek: what has another process afterwards, and that the
// cluster works as a whole then.
func TestE2ETable(t *testing.T) {
	if os.Getenv("ZEEKREC_E2E") == "" {
		t.Skip("takes minutes: make e2e")
	}
	results := map[string]map[string]string{"zeromq": {}, "broker": {}}
	t.Run("with", func(t *testing.T) {
		for backend, tried := range results {
			t.Run(backend, func(t *testing.T) {
				t.Parallel()
				tryTable(t, backend, tried)
			})
		}
	})
	if *updateTable && !t.Failed() {
		writeTable(t, results)
	}
}

func tryTable(t *testing.T, backend string, results map[string]string) {
	w := newWorks(t)
	w.settings["backend"] = backend
	w.confirms = true // that there is no logger
	home := w.clone()
	w.begin()
	for _, row := range tableRows {
		want := row.zeromq
		if backend == "broker" {
			want = row.broker
		}
		if want == "-" {
			continue
		}
		if !t.Run(row.name, func(t *testing.T) {
			outer := w.t
			w.t = t
			defer func() { w.t = outer }()
			w.known = nil
			w.draft = home.clone()
			if row.before != nil {
				row.before(w.draft)
			}
			w.goTo(w.String())
			w.asOne(time.Now())
			w.complaints()
			switch {
			case backend == "broker":
				w.known = []*regexp.Regexp{regexp.MustCompile(brokersPeer + "|" + unexpected)}
			case row.known != "":
				w.known = []*regexp.Regexp{regexp.MustCompile(row.known)}
			}
			row.change(w.draft)
			w.change(row.name, want, w.String())
			began := time.Now()
			w.asOne(began)
			if ls := w.complaints(); len(ls) > 0 {
				t.Errorf("%d complaints: %q", len(ls), ls[:min(len(ls), 5)])
			}
			results[row.name] = want
		}) {
			t.FailNow()
		}
	}
}

// goTo saves a content and waits until it runs.
func (w *works) goTo(content string) {
	w.t.Helper()
	w.save(content)
	w.eventually("what was saved is what is wanted", waitLong, func() error {
		if s, err := w.status(); err == nil {
			for i := range s.Clusters {
				w.confirm(&s.Clusters[i])
			}
		}
		if s := w.plan(content).Summary; s.Start+s.Stop+s.Restart+s.Update > 0 {
			return fmt.Errorf("to do: %+v", s)
		}
		return nil
	})
	w.settled("")
}

// writeTable makes the page that says what was seen.
func writeTable(t *testing.T, results map[string]map[string]string) {
	t.Helper()
	zeek, _ := realZeek()
	version, err := exec.Command(zeek, "--version").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `# What restarts, tried with Zeek

Written by `+"`make table`"+` (TestE2ETable) from what it saw: which processes were others afterwards, with %s, in a
cluster of a manager, a logger, a proxy and two workers. It goes on to the next row only if the cluster then works as a whole: SumStats
count every worker, a host that all workers report to known-hosts is logged once, log lines of every node arrive, and no node has
reported an error. Left out of account is what Zeek says with Broker whenever a peer stops ("unable to connect to remote peer", once a second
until it is back, or until its own next start), and that a hello came from an unexpected node, once for each node that was not restarted for a
newcomer since it has no use for its name: with Broker, and with membership = restart.

A leading minus is a process that was stopped. "nothing" means that no process was touched; an empty field, that the row is not for that
backend. Membership is live with ZeroMQ unless a row says otherwise; Broker has no such thing.

| change | ZeroMQ | Broker |
| --- | --- | --- |
`, strings.TrimSpace(strings.TrimPrefix(string(version), zeek)))
	cell := func(backend, name string) string {
		got, tried := results[backend][name]
		switch {
		case !tried:
			return ""
		case got == "":
			return "nothing"
		}
		return strings.ReplaceAll(got, " ", ", ")
	}
	for _, row := range tableRows {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", row.name, cell("zeromq", row.name), cell("broker", row.name))
	}
	if err := os.WriteFile("../../desired/MINIMAL.md", []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
