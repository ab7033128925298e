// Package cgroup reads what the kernel says of the cgroups of processes, of version 1 and 2, and is what groups processes
// where there is no systemd but a cgroup of version 2 that zeekrec may divide.
//
//	w, err := cgroup.WatchMemory(pid)
//	…                                   // the process was killed
//	if w.Killed() > 0 { … }             // the kernel had no memory left for the group
package cgroup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// place is one line of /proc/PID/cgroup.
type place struct {
	controllers []string // of version 1; none: version 2
	path        string
}

// places reads /proc/PID/cgroup, which has one line for each hierarchy: "4:memory:/zeek.slice", "0::/zeek.slice".
func places(text []byte) (out []place) {
	for in := bufio.NewScanner(bytes.NewReader(text)); in.Scan(); {
		f := strings.SplitN(in.Text(), ":", 3)
		if len(f) != 3 || !strings.HasPrefix(f[2], "/") {
			continue
		}
		p := place{path: f[2]}
		if f[1] != "" {
			p.controllers = strings.Split(f[1], ",")
		}
		out = append(out, p)
	}
	return out
}

// Within reports whether a process is in the cgroup of a unit, or below it: in the hierarchies that systemd keeps track of
// processes in.
func Within(pid int, unit string) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return false
	}
	for _, p := range places(b) {
		if p.controllers == nil || slices.Contains(p.controllers, "name=systemd") {
			if slices.Contains(strings.Split(p.path, "/"), unit) {
				return true
			}
		}
	}
	return false
}

// mount is a hierarchy as this process sees it.
type mount struct {
	version int
	options []string // of version 1
	root    string   // of the hierarchy, what is mounted
	at      string
}

// mounts reads /proc/self/mountinfo (proc_pid_mountinfo(5)).
func mounts(text []byte) (out []mount) {
	for in := bufio.NewScanner(bytes.NewReader(text)); in.Scan(); {
		left, right, ok := strings.Cut(in.Text(), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 3 {
			continue
		}
		switch r[0] {
		case "cgroup2":
			out = append(out, mount{version: 2, root: l[3], at: l[4]})
		case "cgroup":
			out = append(out, mount{version: 1, options: strings.Split(r[2], ","), root: l[3], at: l[4]})
		}
	}
	return out
}

// folder of a path of a hierarchy, where it is mounted.
func (m *mount) folder(path string) (string, bool) {
	rel, err := filepath.Rel(m.root, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return "", false
	}
	return filepath.Join(m.at, rel), true
}

// Memory is the memory accounting of a process's cgroup: of the one that the process was in when it was asked for.
type Memory struct {
	dir  string
	own  counter
	over counter // of the group above; only version 2 counts there what happens below
}

// counter of the processes that the kernel has ended.
type counter struct {
	file string
	n    uint64
}

// where a process is in each hierarchy, and where those are mounted.
func where(pid int) ([]place, []mount, error) {
	own, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return nil, nil, err
	}
	all, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, nil, err
	}
	return places(own), mounts(all), nil
}

// WatchMemory begins to count, at what has been counted by now.
func WatchMemory(pid int) (*Memory, error) {
	ps, ms, err := where(pid)
	if err != nil {
		return nil, err
	}
	m, err := memoryOf(ps, ms)
	if err != nil {
		return nil, fmt.Errorf("cannot find the memory accounting of process %d: %w", pid, err)
	}
	m.Killed()
	return m, nil
}

// memoryOf finds where memory is accounted: by version 1 where that has the controller, else by version 2.
func memoryOf(ps []place, ms []mount) (*Memory, error) {
	for _, p := range ps {
		for _, m := range ms {
			v1 := slices.Contains(p.controllers, "memory") && m.version == 1 && slices.Contains(m.options, "memory")
			if dir, ok := m.folder(p.path); v1 && ok {
				return &Memory{dir: dir, own: counter{file: filepath.Join(dir, "memory.oom_control")}}, nil
			}
		}
	}
	for _, p := range ps {
		for _, m := range ms {
			if dir, ok := m.folder(p.path); p.controllers == nil && m.version == 2 && ok {
				return &Memory{
					dir: dir, own: counter{file: filepath.Join(dir, "memory.events")},
					over: counter{file: filepath.Join(filepath.Dir(dir), "memory.events")},
				}, nil
			}
		}
	}
	return nil, errors.New("no hierarchy of cgroups is mounted that accounts for it")
}

// Group identifies the group: that of other processes in it is the same.
func (m *Memory) Group() string { return m.dir }

// Killed is how many processes of the group the kernel has ended for lack of memory since the last call.
//
// A group that has ended with its last process cannot be asked. With version 2 the one above it can, which counts for all
// below: then it may take for this group's what was a sibling's since the last call.
func (m *Memory) Killed() uint64 {
	own, there := m.own.more()
	over, _ := m.over.more()
	if there {
		return own
	}
	return over
}

// more than the last time; false where nobody counts.
func (c *counter) more() (uint64, bool) {
	if c.file == "" {
		return 0, false
	}
	b, err := os.ReadFile(c.file)
	if err != nil {
		return 0, false
	}
	n, ok := parseKills(b)
	if !ok {
		return 0, false
	}
	was := c.n
	c.n = n
	return n - min(was, n), true
}

// parseKills reads the line "oom_kill N" of both versions' files.
func parseKills(text []byte) (uint64, bool) {
	for in := bufio.NewScanner(bytes.NewReader(text)); in.Scan(); {
		if v, ok := strings.CutPrefix(in.Text(), "oom_kill "); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(v), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
