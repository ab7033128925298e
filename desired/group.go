package desired

import (
	"fmt"
	"strconv"
)

// GroupLimits bound all processes of one role of one cluster on one host together: that is what a cgroup is of, and what
// operators have to share out. A zero value is no limit. The rest of [zeekrec.limits.ROLE] (cpus, nice, open_files) is of
// each process.
type GroupLimits struct {
	MemoryMax  int64 `json:"memory_max,omitempty"`  // bytes; above it the kernel ends a process of the group
	MemoryHigh int64 `json:"memory_high,omitempty"` // bytes; above it the kernel slows the group down, and takes memory back
	CPUQuota   int   `json:"cpu_quota,omitempty"`   // percent of one CPU
	CPUWeight  int   `json:"cpu_weight,omitempty"`  // 1 to 10000; the kernel's default is 100
	IOWeight   int   `json:"io_weight,omitempty"`   // 1 to 10000; the kernel's default is 100
	TasksMax   int   `json:"tasks_max,omitempty"`   // threads
}

// groupPart is one limit as a part: its name is the key in [zeekrec.limits.ROLE].
type groupPart struct {
	field  string
	values func(l GroupLimits) []string
	why    string
}

// groupParts has one for each limit. All are live: the kernel takes them while the processes run.
func groupParts() []groupPart {
	return []groupPart{
		{"memory_max", func(l GroupLimits) []string { return sizeOf(l.MemoryMax) }, "cgroup: memory.max"},
		{"memory_high", func(l GroupLimits) []string { return sizeOf(l.MemoryHigh) }, "cgroup: memory.high"},
		{"cpu_quota", func(l GroupLimits) []string {
			if l.CPUQuota == 0 {
				return nil
			}
			return []string{strconv.Itoa(l.CPUQuota) + "%"}
		}, "cgroup: cpu.max"},
		{"cpu_weight", func(l GroupLimits) []string { return number(l.CPUWeight) }, "cgroup: cpu.weight"},
		{"io_weight", func(l GroupLimits) []string { return number(l.IOWeight) }, "cgroup: io.weight"},
		{"tasks_max", func(l GroupLimits) []string { return number(l.TasksMax) }, "cgroup: pids.max"},
	}
}

// GroupFields are the names of the limits of a group, in the order in which they are shown.
func GroupFields() []string {
	var out []string
	for _, p := range groupParts() {
		out = append(out, p.field)
	}
	return out
}

// Value of a limit by its name, as a plan shows it: "64M", "150%"; empty for none.
func (l GroupLimits) Value(field string) string {
	for _, p := range groupParts() {
		if p.field == field {
			if v := p.values(l); len(v) > 0 {
				return v[0]
			}
		}
	}
	return ""
}

// Take sets one limit to what it is in another.
func (l *GroupLimits) Take(field string, from GroupLimits) {
	switch field {
	case "memory_max":
		l.MemoryMax = from.MemoryMax
	case "memory_high":
		l.MemoryHigh = from.MemoryHigh
	case "cpu_quota":
		l.CPUQuota = from.CPUQuota
	case "cpu_weight":
		l.CPUWeight = from.CPUWeight
	case "io_weight":
		l.IOWeight = from.IOWeight
	case "tasks_max":
		l.TasksMax = from.TasksMax
	}
}

// GroupLimits of a resource's role.
func (r *Resource) GroupLimits() GroupLimits {
	switch {
	case r.Node != nil:
		return r.Node.Group
	case r.Broker != nil:
		return r.Broker.Group
	case r.Archiver != nil:
		return r.Archiver.Group
	}
	return GroupLimits{}
}

// sizeOf has the largest unit that leaves no rest: "64M", "1500K". They are powers of 1024, as in the file.
func sizeOf(bytes int64) []string {
	if bytes == 0 {
		return nil
	}
	units := "KMGT"
	unit := ""
	for i := 0; i < len(units) && bytes%1024 == 0; i++ {
		bytes /= 1024
		unit = units[i : i+1]
	}
	return []string{fmt.Sprint(bytes) + unit}
}
