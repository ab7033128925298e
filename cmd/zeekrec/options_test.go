package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
	"github.com/zeekrec/zeekrec/reconciler"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// tuneScript has options of all types.
//
//go:embed testdata/tune.zeek
var tuneScript string

// tuneRig is a cluster of real Zeeks that load tuneScript.
func tuneRig(t *testing.T, more string) (r *rig, content func(options ...string) string) {
	t.Helper()
	zeek, ok := realZeek()
	if !ok {
		t.Skip("needs a real Zeek on the PATH or in /opt/zeek/bin")
	}
	r = newRig(t, build(t, "./cmd/zeekrec", "-s -w"), zeek)
	if err := os.Mkdir(r.path("clusters", "dmz"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path("clusters", "dmz", "tune.zeek"), []byte(tuneScript), 0o644); err != nil {
		t.Fatal(err)
	}
	content = func(options ...string) string {
		all := "scripts = local tune\n" + more
		if len(options) > 0 {
			all += "\n[zeekrec.options]\n" + strings.Join(options, "\n") + "\n"
		}
		return config{workers: map[string]string{"worker-1": ""}, all: all}.String()
	}
	r.save(content())
	r.start()
	r.settled("")
	r.eventually("zeekrec knows Zeek's names", 3*waitLong, func() error {
		p := r.plan(content("Tune::number = 2"))
		if i := slices.IndexFunc(p.Diagnostics, func(d desired.Diagnostic) bool { return d.Code == "options-assumed" }); i >= 0 {
			return errors.New(p.Diagnostics[i].Message)
		}
		return nil
	})
	return r, content
}

// values of an identifier on all nodes; the second result is how many have answered.
func (r *rig) values(id string) (value string, nodes int, err error) {
	out, _ := r.zeekrec("get-id-value", id)
	var got struct {
		Errors  []any                      `json:"errors"`
		Results map[string]json.RawMessage `json:"results"`
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		return "", 0, err
	}
	if len(got.Errors) > 0 {
		return "", 0, fmt.Errorf("%v", got.Errors)
	}
	for node, v := range got.Results {
		if nodes++; value != "" && value != string(v) {
			return "", 0, fmt.Errorf("%s has %s, others %s", node, v, value)
		}
		value = string(v)
	}
	return value, nodes, nil
}

// have checks that all four nodes have these values.
func (r *rig) have(want ...string) {
	r.t.Helper()
	for _, w := range want {
		id, value, _ := strings.Cut(w, " = ")
		got, nodes, err := r.values(id)
		var compact strings.Builder
		for l := range strings.Lines(got) {
			compact.WriteString(strings.TrimSpace(l))
		}
		if err != nil || nodes != 4 || strings.ReplaceAll(compact.String(), ": ", ":") != value {
			r.t.Errorf("%s: %s on %d nodes, want %s on 4 (%v)", id, compact.String(), nodes, value, err)
		}
	}
}

// TestLiveOptions: with Zeek itself, options of every type that a file can have are changed on all nodes while these run, and
// read back.
func TestLiveOptions(t *testing.T) {
	r, content := tuneRig(t, "")

	first := []string{
		"Weird::sampling_rate = 100", "Tune::yes = T", "Tune::number = 1 + 41", "Tune::whole = -7", "Tune::real = 0.1", "Tune::span = 5 min",
		`Tune::text = " a, \\b\tc\" "`, "Tune::shape = /x,y(z|\\/)+/", "Tune::door = 53/udp", "Tune::host = [2001:db8::1]", "Tune::net = [2001:db8::]/32",
		"Tune::colour = Tune::BLUE", `Tune::words = set("b, c", "a", "")`, "Tune::numbers = set(3, 1, 2)", "Tune::hosts = set(192.0.2.7, [2001:db8::7])",
		"Tune::colours = set(Tune::GREEN, Tune::BLUE)", "Tune::spans = vector(1 sec, 2.5 hrs)", `Tune::list = vector("z", "a b", "z")`,
	}
	began := time.Now()
	r.change("options of all types", "", content(first...))
	t.Logf("%d options on 4 nodes: planned, saved, told and seen after %s", len(first), time.Since(began).Round(time.Millisecond))
	r.have(
		"Weird::sampling_rate = 100", "Tune::yes = true", "Tune::number = 42", "Tune::whole = -7", "Tune::real = 0.1", `Tune::span = "5.0 mins"`,
		`Tune::text = " a, \\b\tc\" "`, `Tune::door = {"port":53,"proto":"udp"}`, `Tune::host = "2001:db8::1"`, `Tune::net = "2001:db8::/32"`, `Tune::colour = "Tune::BLUE"`,
		`Tune::spans = ["1.0 sec","2.0 hrs 30.0 mins"]`, `Tune::list = ["z","a b","z"]`,
	)
	for _, w := range []string{"logger-1", "manager", "proxy-1", "worker-1"} {
		b, err := os.ReadFile(r.path("state", "clusters", "dmz", "nodes", w, "stdout"))
		if err != nil || strings.Count(string(b), "changed to 42") > 1 { // what is printed may come late
			t.Errorf("%s: %v\n%s", w, err, b)
		}
	}

	// One more change, and its time: from the file being saved until all nodes have it.
	before := r.settled("")
	r.save(content("Weird::sampling_rate = 200"))
	saved := time.Now()
	r.eventually("all have it", 2*waitLong, func() error {
		v, n, err := r.values("Weird::sampling_rate")
		if err == nil && (v != "200" || n != 4) {
			err = fmt.Errorf("%s on %d nodes", v, n)
		}
		return err
	})
	t.Logf("one option on 4 nodes, %s after the file was saved", time.Since(saved).Round(time.Millisecond))
	after := r.settled(before.Revision.Running)
	if got := changed(pids(before), pids(after)); got != "" {
		t.Errorf("disturbed: %q", got)
	}
	// What is in the file no more is what a start would make it.
	r.have("Tune::number = 1", `Tune::text = "a"`, "Tune::hosts = []", `Tune::words = ["a"]`, "Tune::spans = []", `Tune::colour = "Tune::RED"`)
	r.change("none", "", content())
	r.have("Weird::sampling_rate = 1000")

	t.Run("a value that Zeek refuses", func(t *testing.T) {
		before := r.settled("")
		r.save(content(`Weird::sampling_rate = "many"`))
		c := r.cluster("quarantined", 2*waitLong, func(c engine.ClusterStatus) error {
			if c.Quarantined == "" {
				return errors.New("not yet: " + c.Reason)
			}
			return nil
		})
		if !strings.Contains(c.Reason, "zeekrec-options.zeek, line") {
			t.Errorf("the reason is not the parser's: %s", c.Reason)
		}
		r.have("Weird::sampling_rate = 1000")
		if got := changed(pids(before), pids(c)); got != "" {
			t.Errorf("disturbed: %q", got)
		}
		r.save(content())
		r.settled(c.Revision.Wanted)
	})
}

// TestE2ELiveOptions: options outlive the processes that they were told to; constants restart those who use them, and the plan
// says so before.
func TestE2ELiveOptions(t *testing.T) {
	if os.Getenv("ZEEKREC_E2E") == "" {
		t.Skip("takes minutes: make e2e")
	}
	r, content := tuneRig(t, "")

	t.Run("the next process", func(t *testing.T) {
		r.change("an option", "", content("Tune::number = 3"))
		before := r.settled("")
		if err := syscall.Kill(pids(before)["worker-1"], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		r.cluster("a new one runs", 2*waitLong, func(c engine.ClusterStatus) error {
			if p := pids(c)["worker-1"]; p == 0 || p == pids(before)["worker-1"] || !c.Healthy || !c.Synced {
				return errors.New("not yet")
			}
			return nil
		})
		r.have("Tune::number = 3")
	})

	t.Run("zeekrec is killed", func(t *testing.T) {
		before := r.settled("")
		r.kill(syscall.SIGKILL)
		r.save(content("Tune::number = 4"))
		r.start()
		after := r.settled(before.Revision.Running)
		if got := changed(pids(before), pids(after)); got != "" {
			t.Errorf("disturbed: %q", got)
		}
		r.have("Tune::number = 4")
	})

	// Constants, and options that no file can have.
	r.change("a constant of those who write logs", "logger-1", content("Tune::number = 4", "LogAscii::use_json = T"))
	r.change("a constant of all, and a table", "logger-1 manager proxy-1 worker-1", content("Tune::number = 5", "LogAscii::use_json = T", "Tune::fixed = 2", `Tune::tab = table(["a"] = 1)`))
	r.have("Tune::number = 5", "Tune::fixed = 2", `Tune::tab = {"a":1}`)
	p := r.plan(content("Tune::number = 5", "LogAscii::use_json = F", "Tune::fixed = 2", `Tune::tab = table(["a"] = 1)`, "Tune::yes = T"))
	if got := disturbed(p); got != "logger-1" {
		t.Errorf("the plan disturbs %q", got)
	}
	for _, want := range []string{
		"changed while the nodes run: Tune::number, Tune::yes", "LogAscii::use_json is a constant: a change restarts logger-1",
		"Tune::fixed is a constant: a change restarts logger-1, manager, proxy-1, worker-1",
		"Tune::tab is an option, but of a type that Zeek reads from no file: a change restarts logger-1, manager, proxy-1, worker-1",
	} {
		if !slices.ContainsFunc(p.Diagnostics, func(d desired.Diagnostic) bool { return d.Message == want }) {
			t.Errorf("the plan does not say %q: %v", want, p.Diagnostics)
		}
	}
	if !slices.ContainsFunc(p.Clusters[0].Actions, func(a reconciler.Action) bool {
		return a.Kind == desired.Update && a.Reasons[0].Field == "options" && strings.Contains(a.Reasons[0].To, "Tune::yes = T")
	}) {
		t.Errorf("nobody is told: %v", p.Clusters[0].Actions)
	}
}

// TestE2ELiveOptionsBroker: where no node can be asked, what they write down is asked.
func TestE2ELiveOptionsBroker(t *testing.T) {
	if os.Getenv("ZEEKREC_E2E") == "" {
		t.Skip("takes minutes: make e2e")
	}
	r, content := tuneRig(t, "backend = broker\n")
	r.change("an option", "", content("Weird::sampling_rate = 100", `Tune::words = set("x")`))
	for _, n := range []string{"logger-1", "manager", "proxy-1", "worker-1"} {
		b, err := os.ReadFile(launch.TuneAnswerFile(r.path("state", "clusters", "dmz", "nodes", n)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := launch.ReadTuned(b)
		if err != nil || got.Values["Weird::sampling_rate"] != "100" || got.Values["Tune::words"] != `["x"]` || len(got.Refused) > 0 {
			t.Errorf("%s: %v, %v", n, got, err)
		}
	}
	r.change("back", "", content())
}
