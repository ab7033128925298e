package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
)

// toldRecord is told.json: what the resource shall run.
type toldRecord struct {
	Resource desired.Resource `json:"resource"`
	// Hold is why it shall stay stopped; empty: it shall run.
	Hold   string    `json:"hold,omitempty"`
	Plan   string    `json:"plan,omitempty"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// runningRecord is running.json: what was started last. It is written before the program is executed,
// stays when the process has ended, and only ever counts up.
type runningRecord struct {
	Resource    desired.Resource `json:"resource"` // as it was started
	Incarnation int              `json:"incarnation"`
	Process     process.Identity `json:"process"`
	StartedAt   time.Time        `json:"started_at"`
	// Restarts by the agent itself since the last order.
	Restarts int `json:"restarts"`
	// Known are values of covering parts that it was told while running, with those of Resource.
	Known map[string][]string `json:"known,omitempty"`
	// Live are its live parts as it was told last; null: as in Resource.
	Live map[string][]string `json:"live"`
	// Tuned is which options it was seen to have, as optionsHash has it: those of its start, until it took others.
	Tuned string `json:"tuned,omitempty"`
	// InterfaceIndex of the interface that it captures on; 0 where none is known.
	InterfaceIndex int `json:"interface_index,omitempty"`
	// Zeek is the program; of a broker zeekrec's, without a version.
	Zeek    binary  `json:"zeek"`
	Command command `json:"command"`
}

// command is how it was started; a crash is healed with the very same. Keys are in none: they are added to the
// environment of each process, see Agent.secrets.
type command struct {
	Hash       string   `json:"hash"`
	GenDir     string   `json:"gen_dir"`
	Argv       []string `json:"argv"`
	Env        []string `json:"env"`
	Dir        string   `json:"dir"`
	QueueDir   string   `json:"queue_dir"`
	StatusFile string   `json:"status_file"`
	User       string   `json:"user,omitempty"`
	CPUs       []int    `json:"cpus,omitempty"`
	Nice       int      `json:"nice,omitempty"`
	OpenFiles  uint64   `json:"open_files,omitempty"`
}

// program is what was executed; empty where that is not known, of a process that was found by its mark.
func (c *command) program() string {
	if len(c.Argv) == 0 {
		return ""
	}
	return c.Argv[0]
}

func commandOf(l launch.Launch) command {
	return command{
		Hash: l.Hash, GenDir: l.GenDir, Argv: l.Argv, Env: l.Env, Dir: l.Dir, QueueDir: l.QueueDir,
		StatusFile: l.StatusFile, User: l.User, CPUs: l.CPUs, Nice: l.Nice, OpenFiles: l.OpenFiles,
	}
}

// folder is where a resource has its records, outputs and working folder.
type folder string

func (f folder) told() string                 { return filepath.Join(string(f), "told.json") }
func (f folder) running() string              { return filepath.Join(string(f), "running.json") }
func (f folder) broker() launch.BrokerFiles   { return launch.BrokerFilesOf(string(f)) }
func (f folder) members() string              { return launch.MembersFile(string(f)) }
func (f folder) tune() string                 { return launch.TuneFile(string(f)) }
func (f folder) tuneAnswer() string           { return launch.TuneAnswerFile(string(f)) }
func (f folder) lock() string                 { return filepath.Join(string(f), "node.lock") }
func (f folder) stdout() string               { return filepath.Join(string(f), "stdout") }
func (f folder) stderr() string               { return filepath.Join(string(f), "stderr") }
func (f folder) cluster() string              { return filepath.Dir(filepath.Dir(string(f))) }
func (f folder) resource() string             { return filepath.Base(string(f)) }
func (f folder) archiver() launch.HelperFiles { return launch.ArchiverFilesOf(string(f)) }

func (a *Agent) eventsFile() string { return filepath.Join(a.cfg.StateDir, "events.json") }

func (a *Agent) clusterDir(cluster string) string {
	return filepath.Join(a.cfg.StateDir, "clusters", cluster)
}

func (a *Agent) folder(cluster, name string) folder {
	return folder(filepath.Join(a.clusterDir(cluster), "nodes", name))
}

// checkName refuses what is no plain name of a folder, whoever sends it.
func checkName(kind, name string) error {
	if name == "" || name == "." || name == ".." || len(name) > 200 || strings.ContainsAny(name, "/\\\x00") || strings.HasPrefix(name, ".") {
		return fmt.Errorf("cannot use %q as the name of a %s: it is no name for a folder", name, kind)
	}
	return nil
}

// writeJSON puts a record on disk for good: it is there, whole, when this returns without an error.
func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	// 0600: environments may hold secrets.
	if err := renameio.WriteFile(path, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// readJSON reads a record; nil where there is none.
func readJSON[T any](path string) (*T, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := json.Unmarshal(b, v); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

// removeFile removes a record for good; one that is not there is as good.
func removeFile(path string) error {
	err := os.Remove(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a folder survive a loss of power.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
