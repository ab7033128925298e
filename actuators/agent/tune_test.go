//go:build linux

package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
	"github.com/zeekrec/zeekrec/observed"
)

// fakeProbe is a Zeek that is asked for its names: it has the option Weird::rate and the constant Log::json.
func fakeProbe(mode string) {
	if mode == "syntax" {
		fmt.Fprintln(os.Stderr, `error in /x/local.zeek, line 3: syntax error, at or near "}"`)
		unix.Exit(1)
	}
	gen, _, _ := strings.Cut(os.Getenv("ZEEKPATH"), ":")
	b, _ := os.ReadFile(filepath.Join(gen, "zeekrec-options.zeek"))
	rate := "1000"
	if m := regexp.MustCompile(`redef Weird::rate = (.*);`).FindSubmatch(b); m != nil {
		rate = string(m[1])
	}
	if strings.HasPrefix(rate, `"`) {
		fmt.Fprintln(os.Stderr, "error in zeekrec-options.zeek, line 3: type clash in assignment")
		unix.Exit(1)
	}
	// Somebody can count how often it is asked.
	if f, err := os.OpenFile(filepath.Join(gen, "..", "asked"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err == nil {
		_, _ = f.WriteString(".")
		_ = f.Close()
	}
	_ = os.WriteFile("probe.tmp", fmt.Appendf(nil, `{"logs":false,"names":{"Weird::rate":{"opt":true,"t":"count","json":%q},"Log::json":{"opt":false,"t":"bool"}}}`, rate), 0o644)
	_ = os.Rename("probe.tmp", launch.ProbeFile)
}

// fakeTune is a Zeek that follows its options.
func fakeTune(nodeDir, mode string) {
	last := ""
	for values := map[string]string{}; ; time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(launch.TuneFile(nodeDir))
		if err != nil || string(b) == last {
			continue
		}
		last = string(b)
		for line := range strings.Lines(last) {
			name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
			switch name {
			case "#":
			case launch.RevisionName:
				a, _ := json.Marshal(launch.Tuned{Revision: text, Values: values})
				_ = os.WriteFile(launch.TuneAnswerFile(nodeDir)+".tmp", a, 0o644)
				_ = os.Rename(launch.TuneAnswerFile(nodeDir)+".tmp", launch.TuneAnswerFile(nodeDir))
			default:
				if values[name] = text; mode == "stubborn" {
					values[name] = "7"
				}
			}
		}
	}
}

// tuned is the resource dmz/w1 with options, of which Weird::rate can be changed while it runs.
func tuned(options string, change ...func(*desired.Resource)) desired.Resource {
	return worker(append(change, func(r *desired.Resource) {
		r.Tunable = []string{}
		for _, l := range strings.Split(options, "; ") {
			name, value, ok := strings.Cut(l, " = ")
			if !ok {
				continue
			}
			r.Node.Options = append(r.Node.Options, desired.Option{Name: name, Value: value})
			if name == "Weird::rate" {
				r.Tunable = []string{name}
			}
		}
		if options != "" {
			part(desired.PartOptions, desired.Tune, strings.Split(options, "; ")...)(r)
		}
	})...)
}

// options are what the table tells the process, without revision and comment.
func (w *world) options() string {
	w.t.Helper()
	b, err := os.ReadFile(w.folder("dmz", "w1").tune())
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, launch.RevisionName) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return strings.Join(out, "; ")
}

func TestOptionsWhileItRuns(t *testing.T) {
	w := newWorld(t)
	one, two, three := tuned("Log::json = T"), tuned("Log::json = T; Weird::rate = 5"), tuned("Weird::rate = 6; Log::json = T")
	w.do(order(desired.Start, one, ""))
	was := w.untilState(observed.Running)
	if was.Tunable == nil || !was.Healthy || w.options() != "" {
		t.Errorf("%+v, table %q", was, w.options())
	}
	told := one
	for _, step := range []struct {
		r     desired.Resource
		table string
	}{
		{two, "Weird::rate 5"},
		{three, "Weird::rate 6"},
		{one, "Weird::rate 1000"}, // what a fresh start would have
		{two, "Weird::rate 5"},
	} {
		w.do(order(desired.Update, step.r, told.ID))
		told = step.r
		now, _ := w.get("dmz/w1")
		if now.Told != step.r.ID {
			t.Errorf("told %s", now.Told)
		}
		now = w.until("it has its options", func(r observed.Resource) bool { return r.Untaken == "" && r.Healthy })
		if got := w.options(); got != step.table || now.PID != was.PID || !slices.Equal(now.Parts.Get("options"), step.r.Part("options")) || now.Tunable == nil || slices.Contains(now.Tunable, "Weird::rate") != (len(step.r.Tunable) > 0) {
			t.Errorf("table %q, want %q; %+v", got, step.table, now)
		}
	}
	// A constant takes a restart, also where a plan says otherwise.
	w.refused(order(desired.Update, tuned("Weird::rate = 5"), told.ID), "another options")
	// What it has is known after a restart of the agent too, without asking anybody.
	asked, err := os.ReadFile(filepath.Join(w.clusterDir("dmz"), "gen", "asked"))
	if err != nil || len(asked) != 3 {
		t.Errorf("Zeek was asked %d times, for three sets of options: %v", len(asked), err)
	}
	w.stop()
	w.start()
	if now, _ := w.get("dmz/w1"); now.Untaken != "" || now.PID != was.PID || !slices.Equal(now.Parts.Get("options"), two.Part("options")) || w.options() != "Weird::rate 5" {
		t.Errorf("%+v, table %q", now, w.options())
	}
	// The next process has them from its start.
	killPID(t, was.PID)
	now := w.until("another one", func(r observed.Resource) bool { return r.PID != was.PID && r.State == observed.Running })
	if now.Started != two.ID || w.options() != "" || now.Untaken != "" {
		t.Errorf("%+v, table %q", now, w.options())
	}
	last, err := readJSON[runningRecord](w.folder("dmz", "w1").running())
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(last.Command.GenDir, "zeekrec-options.zeek")); err != nil || !strings.Contains(string(b), "redef Weird::rate = 5;") {
		t.Errorf("%v: %s", err, b)
	}
}

// TestOptionsNotTaken: nothing is taken for done that the process does not say.
func TestOptionsNotTaken(t *testing.T) {
	for mode, want := range map[string]string{"untuned": untold, "stubborn": "it does not take Weird::rate (a handler of it has other ideas)"} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t)
			one, two := tuned("", fake(mode)), tuned("Weird::rate = 5", fake(mode))
			w.do(order(desired.Start, one, ""))
			was := w.untilState(observed.Running)
			w.do(order(desired.Update, two, one.ID))
			now := w.until(want, func(r observed.Resource) bool { return strings.HasPrefix(r.Untaken, want) })
			if now.Healthy || now.PID != was.PID || now.Reason != now.Untaken {
				t.Errorf("%+v", now)
			}
			// The agent that comes next does not take it for done either.
			w.stop()
			w.start()
			w.until(want, func(r observed.Resource) bool { return strings.HasPrefix(r.Untaken, want) })
			// Back to what it has: nothing is to be told.
			if mode == "untuned" {
				w.do(order(desired.Update, one, two.ID))
				w.until("as at its start", func(r observed.Resource) bool { return r.Untaken == "" && r.Healthy })
			}
		})
	}
}

// TestOptionsOfAnOlderZeekrec: a process that cannot be told options is told none, and is not restarted for that.
func TestOptionsOfAnOlderZeekrec(t *testing.T) {
	w := newWorld(t)
	old := tuned("Weird::rate = 5")
	old.Tunable = nil
	w.do(order(desired.Start, old, ""))
	was := w.untilState(observed.Running)
	w.stop()
	w.start()
	if now, _ := w.get("dmz/w1"); now.PID != was.PID || now.Tunable != nil || now.Untaken != "" || !slices.Equal(now.Parts.Get("options"), old.Part("options")) {
		t.Errorf("%+v", now)
	}
	w.refused(order(desired.Update, tuned("Weird::rate = 6"), old.ID), "another options")
}

func TestNames(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n, err := w.Names(ctx, tuned(`Weird::rate = "five"`)) // asked without the options, which may be wrong
	if err != nil || n.Kinds["Weird::rate"] != desired.NameOption || n.Kinds["Log::json"] != desired.NameConstant {
		t.Errorf("%v, %v", n, err)
	}
	if _, err := w.Names(ctx, tuned("", fake("syntax"))); err == nil || !strings.Contains(err.Error(), "local.zeek, line 3: syntax error") {
		t.Error(err)
	}
	ps, err := w.CheckUpdate(ctx, []desired.Resource{tuned("Weird::rate = 5"), tuned(`Weird::rate = "five"`)})
	if err != nil || len(ps) != 1 || !ps[0].Permanent || !strings.Contains(ps[0].Message, "type clash") {
		t.Errorf("%v, %v", ps, err)
	}
}
