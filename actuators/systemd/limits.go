package systemd

import (
	"bufio"
	"math"
	"os"
	"strings"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"github.com/zeekrec/zeekrec/desired"
)

// unset is how systemd's properties say that there is no limit, or that a weight is the kernel's own.
const unset = uint64(math.MaxUint64)

// usecPerPercent of one CPU, in a second of CPUQuotaPerSecUSec.
const usecPerPercent = 10_000

// property is what systemd calls a limit: on the bus, and in unit files.
type property struct {
	field, bus, file string
	get              func(l desired.GroupLimits) uint64 // in the bus's unit; 0: no limit
	set              func(l *desired.GroupLimits, v uint64)
}

func properties() []property {
	return []property{
		{"memory_max", "MemoryMax", "MemoryMax", func(l desired.GroupLimits) uint64 { return uint64(l.MemoryMax) }, func(l *desired.GroupLimits, v uint64) { l.MemoryMax = int64(v) }},
		{"memory_high", "MemoryHigh", "MemoryHigh", func(l desired.GroupLimits) uint64 { return uint64(l.MemoryHigh) }, func(l *desired.GroupLimits, v uint64) { l.MemoryHigh = int64(v) }},
		{"cpu_quota", "CPUQuotaPerSecUSec", "CPUQuota", func(l desired.GroupLimits) uint64 { return uint64(l.CPUQuota) * usecPerPercent }, func(l *desired.GroupLimits, v uint64) { l.CPUQuota = int(v / usecPerPercent) }},
		{"cpu_weight", "CPUWeight", "CPUWeight", func(l desired.GroupLimits) uint64 { return uint64(l.CPUWeight) }, func(l *desired.GroupLimits, v uint64) { l.CPUWeight = int(v) }},
		{"io_weight", "IOWeight", "IOWeight", func(l desired.GroupLimits) uint64 { return uint64(l.IOWeight) }, func(l *desired.GroupLimits, v uint64) { l.IOWeight = int(v) }},
		{"tasks_max", "TasksMax", "TasksMax", func(l desired.GroupLimits) uint64 { return uint64(l.TasksMax) }, func(l *desired.GroupLimits, v uint64) { l.TasksMax = int(v) }},
	}
}

// toBus are the properties of the limits that are named; one that is zero is taken away.
func toBus(l desired.GroupLimits, fields []string) []sd.Property {
	var out []sd.Property
	for _, p := range properties() {
		for _, f := range fields {
			if f != p.field {
				continue
			}
			v := p.get(l)
			if v == 0 {
				v = unset
			}
			out = append(out, sd.Property{Name: p.bus, Value: dbus.MakeVariant(v)})
		}
	}
	return out
}

// fromBus reads the limits that a unit has.
func fromBus(props map[string]any) (l desired.GroupLimits) {
	for _, p := range properties() {
		if v, ok := props[p.bus].(uint64); ok && v != unset {
			p.set(&l, min(v, math.MaxInt64))
		}
	}
	return l
}

// isRuntime reports whether systemd itself has written a drop-in, for a limit that was set while the unit was there: by
// zeekrec, or by somebody with systemctl set-property, which cannot be told from the file.
func isRuntime(path string) bool {
	return strings.HasPrefix(path, "/run/systemd/transient/") || strings.HasPrefix(path, "/run/systemd/system.control/")
}

// overruled reads which limits an administrator's drop-ins set, of all drop-ins of a unit in systemd's order: the last counts.
func overruled(paths []string) map[string]string {
	out := map[string]string{}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it is gone; the next daemon-reload forgets it
		}
		for _, f := range settingsOf(string(b)) {
			out[f] = path
			if isRuntime(path) {
				delete(out, f)
			}
		}
	}
	return out
}

// settingsOf names the limits that a unit file or drop-in sets, in its order.
func settingsOf(text string) (fields []string) {
	for in := bufio.NewScanner(strings.NewReader(text)); in.Scan(); {
		key, _, found := strings.Cut(in.Text(), "=")
		if key = strings.TrimSpace(key); !found || strings.HasPrefix(key, "#") || strings.HasPrefix(key, ";") {
			continue
		}
		for _, p := range properties() {
			if key == p.file {
				fields = append(fields, p.field)
			}
		}
	}
	return fields
}
