package agent

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/observed"
)

// Outputs returns the paths of a resource's stdout and stderr, which need not exist.
func (a *Agent) Outputs(cluster, name string) (stdout, stderr string, err error) {
	f, err := a.existing(cluster, name)
	return f.stdout(), f.stderr(), err
}

func (a *Agent) existing(cluster, name string) (folder, error) {
	if err := checkName("cluster", cluster); err != nil {
		return "", err
	}
	if err := checkName("resource", name); err != nil {
		return "", err
	}
	f := a.folder(cluster, name)
	if !isDir(string(f)) {
		return "", fmt.Errorf("cannot find %s/%s: instance %s never had it", cluster, name, a.cfg.Instance)
	}
	return f, nil
}

// Usage returns what the running processes use, by the key of their resource.
func (a *Agent) Usage() map[string]process.Usage {
	out := map[string]process.Usage{}
	for _, u := range a.allUnits() {
		v, ok := u.current()
		if !ok || v.PID == 0 {
			continue
		}
		if use, err := process.Stat(v.PID); err == nil {
			out[u.key] = use
		}
	}
	return out
}

// Diag collects what helps to understand a resource's troubles, by the name of a file for each. Values of
// environment variables are hidden, except those that zeekrec itself sets. No keys are in it: they are in no record.
func (a *Agent) Diag(cluster, name string) (map[string][]byte, error) {
	f, err := a.existing(cluster, name)
	if err != nil {
		return nil, err
	}
	d := diag{}
	told, err := readJSON[toldRecord](f.told())
	if told != nil {
		hideResource(&told.Resource)
	}
	d.json("told.json", told, err)
	last, err := readJSON[runningRecord](f.running())
	if last != nil {
		hideResource(&last.Resource)
		last.Command.Env = hideEnv(last.Command.Env)
	}
	d.json("running.json", last, err)
	for _, out := range []string{"stdout", "stderr"} {
		d[out] = []byte(strings.Join(lastOutput(filepath.Join(string(f), out)), "\n"))
	}
	events := slices.DeleteFunc(a.Report().Events, func(e observed.Event) bool { return e.Resource != cluster+"/"+name })
	d.json("events.json", events, nil)
	if u := a.supervised(cluster + "/" + name); u != nil {
		degraded, notes := u.condition.says()
		d.json("condition.json", struct {
			Rates    Rates    `json:"rates"`
			Degraded []string `json:"degraded"`
			Notes    []string `json:"notes"`
		}{u.condition.current(), degraded, notes}, nil)
	}
	if last == nil {
		return d, nil
	}
	d.file("status", last.Command.StatusFile)
	if last.Resource.Type == desired.TypeBroker {
		d.file("settings.json", f.broker().Settings)
		d.file("subscriptions.json", f.broker().Subscriptions)
	}
	if last.Resource.Type == desired.TypeArchiver {
		d.file("settings.json", f.archiver().Settings)
	}
	d.folder("generated/", last.Command.GenDir)
	d["folder"] = listing(last.Command.Dir)
	if process.Alive(last.Process) {
		for _, what := range []string{"status", "limits", "stat", "wchan"} {
			d.file("proc/"+what, fmt.Sprintf("/proc/%d/%s", last.Process.PID, what))
		}
		argv, err := process.Cmdline(last.Process.PID)
		d.json("proc/cmdline.json", argv, err)
	}
	return d, nil
}

// Encrypts reports whether processes of a resource have keys, as they were started last or are told to be: then
// their memory is nobody else's to see.
func (a *Agent) Encrypts(cluster, name string) (bool, error) {
	f, err := a.existing(cluster, name)
	if err != nil {
		return false, err
	}
	told, err := readJSON[toldRecord](f.told())
	if err != nil {
		return false, err
	}
	last, err := readJSON[runningRecord](f.running())
	if err != nil {
		return false, err
	}
	return told != nil && len(curveIDs(&told.Resource)) > 0 || last != nil && len(curveIDs(&last.Resource)) > 0, nil
}

type diag map[string][]byte

func (d diag) json(name string, v any, err error) {
	b, merr := json.MarshalIndent(v, "", "  ")
	switch {
	case err != nil:
		b = []byte(err.Error())
	case merr != nil:
		b = []byte(merr.Error())
	}
	d[name] = b
}

func (d diag) file(name, path string) {
	b, err := os.ReadFile(path)
	if err != nil {
		b = []byte(err.Error())
	}
	d[name] = b
}

func (d diag) folder(prefix, dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		d.file(prefix+e.Name(), filepath.Join(dir, e.Name()))
	}
}

// listing is what the working folder has: logs that were left, core dumps.
func listing(dir string) []byte {
	var b strings.Builder
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			fmt.Fprintf(&b, "%s %12d %s %s\n", info.Mode(), info.Size(), info.ModTime().UTC().Format("2006-01-02T15:04:05Z"), e.Name())
		}
	}
	return []byte(b.String())
}

const hidden = "(hidden)"

func hideResource(r *desired.Resource) {
	for i, p := range r.Parts {
		if p.Field == "env" {
			r.Parts[i] = &desired.Part{Field: p.Field, Relation: p.Relation, Values: hideEnv(p.Values)}
		}
	}
	if r.Node != nil {
		for k := range maps.Keys(r.Node.Env) {
			r.Node.Env[k] = hidden
		}
	}
}

// hideEnv keeps the values of what zeekrec sets; what a user sets may be a secret.
func hideEnv(env []string) []string {
	out := make([]string, len(env))
	for i, e := range env {
		switch k, _, _ := strings.Cut(e, "="); k {
		case "PATH", "HOME", "LANG", "TZ", "CLUSTER_NODE", "ZEEKPATH":
			out[i] = e
		default:
			out[i] = k + "=" + hidden
		}
	}
	return out
}
