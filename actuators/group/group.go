// Package group has the words for the processes of one role of one cluster on one host: they share a cgroup, and with it
// what the kernel bounds and shares out. It is pure; packages systemd and cgroup are what makes groups of processes.
//
//	d := group.Decide(wanted, setBefore, &state)
//	// set d.Set; show d.Drift
//
// # Invariants
//
//   - What somebody else has set on purpose is never set back: it is told, in words.
//   - A limit that nobody asked for is none of zeekrec's: it is neither set nor told.
package group

import (
	"fmt"

	"github.com/zeekrec/zeekrec/desired"
)

// Name of a group on a host.
type Name struct {
	Cluster string
	Role    desired.Role
}

// String is for logs: "dmz/worker".
func (n Name) String() string { return n.Cluster + "/" + string(n.Role) }

// State of a group, as the host has it.
type State struct {
	// Exists: the rest is known.
	Exists bool
	Limits desired.GroupLimits
	// Overruled has, by the name of a limit, the file of an administrator that sets it.
	Overruled map[string]string
}

// Decision is what follows of a group's state.
type Decision struct {
	// Set are the names of limits to set.
	Set []string
	// Drift says in words which limits are not as they are wanted, and stay so.
	Drift []string
}

// Decide compares the limits that are wanted with those that a group has. set is what was set last, which tells a limit
// that is still to be set from one that somebody has changed since.
func Decide(want, set desired.GroupLimits, s *State) Decision {
	var d Decision
	if !s.Exists {
		return d
	}
	for _, f := range desired.GroupFields() {
		w, is := want.Value(f), s.Limits.Value(f)
		if w == is {
			continue
		}
		switch file := s.Overruled[f]; {
		case file != "" && w != "":
			d.Drift = append(d.Drift, fmt.Sprintf("%s is %s by %s, and not %s as its cluster.cfg says", f, orNone(is), file, w))
		case file != "":
		case w != set.Value(f):
			d.Set = append(d.Set, f)
		case w != "":
			d.Drift = append(d.Drift, fmt.Sprintf("%s is %s, and not %s as its cluster.cfg says: somebody else has set it", f, orNone(is), w))
		}
	}
	return d
}

// Unenforced says of each limit that is wanted that nothing enforces it, and why.
func Unenforced(want desired.GroupLimits, why string) (out []string) {
	for _, f := range desired.GroupFields() {
		if w := want.Value(f); w != "" {
			out = append(out, fmt.Sprintf("%s = %s is not enforced: %s", f, w, why))
		}
	}
	return out
}

// OutOfMemory is why the kernel has ended a process of a group, for a sentence.
func OutOfMemory(n Name, l desired.GroupLimits) string {
	if l.MemoryMax == 0 {
		return "out of memory"
	}
	return fmt.Sprintf("out of memory (memory_max = %s of role %s)", l.Value("memory_max"), n.Role)
}

func orNone(value string) string {
	if value == "" {
		return "not set"
	}
	return value
}
