//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// groupsEnv hands the name of the machine's cgroups to its first process.
const groupsEnv = "SYSTEMDTEST_GROUPS"

// hierarchy of cgroups that the host has mounted.
type hierarchy struct {
	mount   string // where: the last element is what the machine mounts it as, too
	options string // of a mount of version 1: "memory", "name=systemd"; empty: version 2
	own     string // folder of this process's group
}

// groups are the machine's, one leaf in each hierarchy.
type groups struct {
	name string
	all  []hierarchy
}

func newGroups(name string) (*groups, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	all := hierarchies(string(mounts), string(own))
	if len(all) == 0 {
		return nil, fmt.Errorf("cannot find where cgroups are mounted")
	}
	return &groups{name: name, all: all}, nil
}

// hierarchies joins what is mounted with where this process is in it.
func hierarchies(mounts, own string) []hierarchy {
	at := map[string]string{} // path of this process by controllers, as /proc/self/cgroup lists them; "" is version 2
	for line := range strings.Lines(own) {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 {
			at[f[1]] = f[2]
		}
	}
	var all []hierarchy
	for line := range strings.Lines(mounts) {
		left, right, _ := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if len(l) < 5 || len(r) < 3 || r[0] != "cgroup" && r[0] != "cgroup2" {
			continue
		}
		h := hierarchy{mount: l[4]}
		path, known := at[""], true
		if r[0] == "cgroup" {
			var controllers []string
			for o := range strings.SplitSeq(r[2], ",") {
				if o != "rw" && o != "ro" && o != "xattr" && o != "clone_children" && !strings.HasPrefix(o, "release_agent=") {
					controllers = append(controllers, o)
				}
			}
			h.options = strings.Join(controllers, ",")
			path, known = at[h.options]
		}
		rel, err := filepath.Rel(l[3], path)
		if !known || err != nil || strings.HasPrefix(rel, "..") {
			continue
		}
		h.own = filepath.Join(h.mount, rel)
		all = append(all, h)
	}
	return all
}

func (g *groups) leaf(h hierarchy) string { return filepath.Join(h.own, g.name) }

// make the leaves. Those of cpuset take a process only when they have been told CPUs and memory.
func (g *groups) make() error {
	for _, h := range g.all {
		if h.options == "" {
			// Where others are in the group as well, version 2 does not let it hand on controllers; then it has none.
			_ = os.WriteFile(filepath.Join(h.own, "cgroup.subtree_control"), []byte("+cpu +memory +pids +io"), 0)
		}
		leaf := g.leaf(h)
		if err := os.Mkdir(leaf, 0o755); err != nil && !os.IsExist(err) {
			return fmt.Errorf("cannot make a cgroup: %w", err)
		}
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			b, err := os.ReadFile(filepath.Join(h.own, name))
			if err != nil || len(bytes.TrimSpace(b)) == 0 {
				continue
			}
			if err := os.WriteFile(filepath.Join(leaf, name), b, 0); err != nil {
				return fmt.Errorf("cannot prepare a cgroup: %w", err)
			}
		}
	}
	return nil
}

// join puts this process into all of them.
func (g *groups) join() error {
	for _, h := range g.all {
		if err := os.WriteFile(filepath.Join(g.leaf(h), "cgroup.procs"), []byte("0"), 0); err != nil {
			return fmt.Errorf("cannot join the cgroup of %s: %w", h.mount, err)
		}
	}
	return nil
}

// remove them with all that systemd has made below. Processes that were killed just now may still be leaving.
func (g *groups) remove() {
	for _, h := range g.all {
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
			if removeTree(g.leaf(h)) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func removeTree(dir string) bool {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return true
	}
	for _, e := range entries {
		if e.IsDir() && !removeTree(filepath.Join(dir, e.Name())) {
			return false
		}
	}
	return os.Remove(dir) == nil
}
