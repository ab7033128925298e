package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/zeekrec/zeekrec/actuators/group"
	"github.com/zeekrec/zeekrec/desired"
)

// Tree is a cgroup of version 2 that zeekrec may divide: zeek/CLUSTER/ROLE below it has the processes of a role, and
// zeekrec/ zeekrec itself, since version 2 wants processes in leaves only.
type Tree struct {
	dir  string // in the file system
	path string // in the hierarchy, as /proc/PID/cgroup has it
}

// memory is the controller without which there is no use in a tree; others that limits take may be missing.
const memory = "memory"

// Divide finds the cgroup that this process is in, and makes it a tree. The error says why it cannot be.
func Divide() (*Tree, error) {
	ps, ms, err := where(os.Getpid())
	if err != nil {
		return nil, err
	}
	t, err := treeOf(ps, ms)
	if err != nil {
		return nil, err
	}
	return t, t.divide(os.Getpid())
}

// treeOf finds the cgroup to divide: the one above where an earlier zeekrec has put itself.
func treeOf(ps []place, ms []mount) (*Tree, error) {
	for _, p := range ps {
		for _, m := range ms {
			path := p.path
			if filepath.Base(path) == "zeekrec" {
				path = filepath.Dir(path)
			}
			if dir, ok := m.folder(path); p.controllers == nil && m.version == 2 && ok {
				return &Tree{dir: dir, path: path}, nil
			}
		}
	}
	return nil, errors.New("no cgroup of version 2 is mounted")
}

func (t *Tree) divide(pid int) error {
	has, err := os.ReadFile(filepath.Join(t.dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	if !slices.Contains(strings.Fields(string(has)), memory) {
		return fmt.Errorf("%s accounts for no memory in version 2", t.dir)
	}
	in, err := os.ReadFile(filepath.Join(t.dir, "cgroup.procs"))
	if err != nil {
		return err
	}
	// Only the root of all may have processes and divide.
	if _, err := os.Stat(filepath.Join(t.dir, "cgroup.type")); err == nil {
		for _, p := range strings.Fields(string(in)) {
			if p != strconv.Itoa(pid) {
				return fmt.Errorf("%s is not for zeekrec alone: process %s is in it, too", t.dir, p)
			}
		}
		if err := t.put(filepath.Join(t.dir, "zeekrec"), pid); err != nil {
			return fmt.Errorf("cannot divide %s: %w", t.dir, err)
		}
	}
	return handOn(t.dir)
}

// handOn lets the groups below have the controllers.
func handOn(dir string) error {
	for _, c := range []string{memory, "cpu", "pids", "io"} {
		err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o600)
		if err != nil && c == memory {
			return fmt.Errorf("cannot divide %s: %w", dir, err)
		}
	}
	return nil
}

func (t *Tree) put(dir string, pid int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o600)
}

// Unit is the path of a group below the tree's.
func (t *Tree) Unit(n group.Name) string { return filepath.Join("zeek", n.Cluster, string(n.Role)) }

func (t *Tree) group(n group.Name) string { return filepath.Join(t.dir, t.Unit(n)) }

// Join puts a process into its group, which is made with the limits where there is none.
func (t *Tree) Join(ctx context.Context, n group.Name, l desired.GroupLimits, pid int) error {
	dir := t.group(n)
	if _, err := os.Stat(dir); err != nil {
		// From above, so that each has the controllers to hand on.
		for _, d := range []string{filepath.Join(t.dir, "zeek"), filepath.Dir(dir)} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				return err
			}
			if err := handOn(d); err != nil {
				return err
			}
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		var fields []string
		for _, f := range desired.GroupFields() {
			if l.Value(f) != "" {
				fields = append(fields, f)
			}
		}
		if err := t.Set(ctx, n, l, fields); err != nil {
			return err
		}
	}
	if err := t.put(dir, pid); err != nil {
		return fmt.Errorf("cannot put process %d into its group: %w", pid, err)
	}
	return nil
}

// Holds reports whether the process is in its group.
func (t *Tree) Holds(n group.Name, pid int) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	return err == nil && slices.ContainsFunc(places(b), func(p place) bool {
		return p.controllers == nil && p.path == filepath.Join(t.path, t.Unit(n))
	})
}

// State of the group.
func (t *Tree) State(_ context.Context, n group.Name) (group.State, error) {
	dir := t.group(n)
	if _, err := os.Stat(dir); err != nil {
		return group.State{}, nil //nolint:nilerr // there is none
	}
	s := group.State{Exists: true}
	for _, f := range files() {
		if b, err := os.ReadFile(filepath.Join(dir, f.name)); err == nil {
			f.read(&s.Limits, strings.Fields(string(b)))
		}
	}
	return s, nil
}

// Set changes limits of the group while its processes run.
func (t *Tree) Set(_ context.Context, n group.Name, l desired.GroupLimits, fields []string) error {
	for _, f := range files() {
		if !slices.Contains(fields, f.field) {
			continue
		}
		if err := os.WriteFile(filepath.Join(t.group(n), f.name), []byte(f.text(l)), 0o600); err != nil {
			return fmt.Errorf("cannot set %s: %w", f.field, err)
		}
	}
	return nil
}

// Stopping is never known: nobody tells.
func (t *Tree) Stopping(context.Context) bool { return false }

// file of a group that has a limit (cgroup-v2.rst in the kernel's documentation).
type file struct {
	field, name string
	text        func(l desired.GroupLimits) string
	read        func(l *desired.GroupLimits, words []string)
}

const (
	cpuPeriod     = 100_000 // microseconds, the kernel's default
	defaultWeight = 100
)

func files() []file {
	number := func(n int64) string {
		if n == 0 {
			return "max"
		}
		return strconv.FormatInt(n, 10)
	}
	weight := func(n int) string {
		if n == 0 {
			n = defaultWeight
		}
		return strconv.Itoa(n)
	}
	// last word as a number; "max" is 0.
	last := func(words []string) int64 {
		if len(words) == 0 {
			return 0
		}
		n, _ := strconv.ParseInt(words[len(words)-1], 10, 64)
		return n
	}
	return []file{
		{"memory_max", "memory.max", func(l desired.GroupLimits) string { return number(l.MemoryMax) }, func(l *desired.GroupLimits, w []string) { l.MemoryMax = last(w) }},
		{"memory_high", "memory.high", func(l desired.GroupLimits) string { return number(l.MemoryHigh) }, func(l *desired.GroupLimits, w []string) { l.MemoryHigh = last(w) }},
		{"cpu_quota", "cpu.max", func(l desired.GroupLimits) string {
			return number(int64(l.CPUQuota)*cpuPeriod/100) + " " + strconv.Itoa(cpuPeriod)
		}, func(l *desired.GroupLimits, w []string) {
			if period := last(w); len(w) == 2 && period > 0 {
				l.CPUQuota = int(100 * last(w[:1]) / period)
			}
		}},
		{"cpu_weight", "cpu.weight", func(l desired.GroupLimits) string { return weight(l.CPUWeight) }, func(l *desired.GroupLimits, w []string) { l.CPUWeight = int(last(w)) }},
		{"io_weight", "io.weight", func(l desired.GroupLimits) string { return weight(l.IOWeight) }, func(l *desired.GroupLimits, w []string) { l.IOWeight = int(last(w)) }},
		{"tasks_max", "pids.max", func(l desired.GroupLimits) string { return number(int64(l.TasksMax)) }, func(l *desired.GroupLimits, w []string) { l.TasksMax = int(last(w)) }},
	}
}
