package systemd

import (
	"context"
	"fmt"
	"slices"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"github.com/zeekrec/zeekrec/actuators/cgroup"
	"github.com/zeekrec/zeekrec/actuators/group"
	"github.com/zeekrec/zeekrec/desired"
)

// stopWithin is how long systemd waits, when the machine is shut down and zeekrec has not stopped them itself, for the
// processes of a role to end, before it kills them: as long as zeekrec would.
const stopWithin = time.Minute

// Scopes are groups that zeekrec puts processes into.
type Scopes struct{ m *Manager }

// NewScopes makes groups of scopes.
func NewScopes(m *Manager) *Scopes { return &Scopes{m} }

// Unit is the name of a group's scope.
func (s *Scopes) Unit(n group.Name) string { return ScopeName(n) }

// Join puts a process into the scope of its group, which is made with the limits where there is none. It may run or wait
// to be executed; what it has allocated stays accounted where it was.
//
// A scope lives as long as its processes, so the last may just be leaving: then one answer is that there is no scope, the
// next that there is one already. It is tried until one of both is true.
func (s *Scopes) Join(ctx context.Context, n group.Name, l desired.GroupLimits, pid int) error {
	name, pids := ScopeName(n), []uint32{uint32(pid)}
	err := s.m.call(ctx, func(ctx context.Context, c *sd.Conn) error {
		for {
			err := c.AttachProcessesToUnit(ctx, name, "", pids)
			if err == nil || !is(err, "NoSuchUnit", "InvalidArgs", "NotSupported") {
				return err
			}
			err = s.start(ctx, c, n, l, pids)
			if err == nil || !is(err, "UnitExists", "TransactionIsDestructive", "LoadFailed") {
				return err
			}
			// A failed one is in the way until it is forgotten.
			_ = c.ResetFailedUnitContext(ctx, name)
			if pause(ctx) != nil {
				return err
			}
		}
	})
	if err != nil {
		return fmt.Errorf("cannot put process %d into %s: %w", pid, name, err)
	}
	return nil
}

// start makes the scope, of processes that live.
func (s *Scopes) start(ctx context.Context, c *sd.Conn, n group.Name, l desired.GroupLimits, pids []uint32) error {
	props := []sd.Property{
		sd.PropSlice(topSlice), sd.PropDescription(describe(n)), sd.PropPids(pids...),
		// Others can be put into it only where it is delegated. It has no order among its like: a scope that is named by
		// another one is not forgotten when its last process ends, and then there could be no new one.
		{Name: "Delegate", Value: dbus.MakeVariant(true)},
		// One that has failed is forgotten as well, for its name is needed again.
		{Name: "CollectMode", Value: dbus.MakeVariant("inactive-or-failed")},
		{Name: "TimeoutStopUSec", Value: dbus.MakeVariant(uint64(stopWithin / time.Microsecond))},
	}
	if s.m.own != "" {
		// So that zeekrec is stopped before, and stops them itself, as it alone knows how.
		props = append(props, sd.PropBefore(s.m.own))
	}
	if s.m.version >= 253 {
		// A scope would end all its processes otherwise, when the kernel has ended one. Before, it could not.
		props = append(props, sd.Property{Name: "OOMPolicy", Value: dbus.MakeVariant("continue")})
	}
	props = append(props, toBus(l, startLimits(l))...)
	return start(ctx, c, ScopeName(n), props)
}

// startLimits are those to state when a unit is made: what is wanted, and the number of tasks in any case, which systemd
// bounds otherwise. An upgrade of zeekrec must not bound what nobody asked to.
func startLimits(l desired.GroupLimits) []string {
	fields := []string{"tasks_max"}
	for _, f := range desired.GroupFields() {
		if l.Value(f) != "" {
			fields = append(fields, f)
		}
	}
	slices.Sort(fields)
	return slices.Compact(fields)
}

// Holds reports whether the process is in its group.
func (s *Scopes) Holds(n group.Name, pid int) bool { return cgroup.Within(pid, ScopeName(n)) }

// State of the scope.
func (s *Scopes) State(ctx context.Context, n group.Name) (group.State, error) {
	return s.m.state(ctx, ScopeName(n), "Scope")
}

// Set changes limits of the scope while its processes run.
func (s *Scopes) Set(ctx context.Context, n group.Name, l desired.GroupLimits, fields []string) error {
	return s.m.set(ctx, ScopeName(n), l, fields)
}

// Stopping reports whether the machine is being shut down.
func (s *Scopes) Stopping(ctx context.Context) bool { return s.m.Stopping(ctx) }

func (m *Manager) state(ctx context.Context, name, kind string) (st group.State, err error) {
	err = m.call(ctx, func(ctx context.Context, c *sd.Conn) error {
		active, err := c.GetUnitPropertyContext(ctx, name, "ActiveState")
		if is(err, "NoSuchUnit") || err == nil && active.Value.Value() != "active" {
			return nil
		}
		if err != nil {
			return err
		}
		props, err := c.GetUnitTypePropertiesContext(ctx, name, kind)
		if err != nil {
			return err
		}
		dropIns, err := c.GetUnitPropertyContext(ctx, name, "DropInPaths")
		if err != nil {
			return err
		}
		paths, _ := dropIns.Value.Value().([]string)
		st = group.State{Exists: true, Limits: fromBus(props), Overruled: overruled(paths)}
		return nil
	})
	if err != nil {
		return st, fmt.Errorf("cannot ask systemd for %s: %w", name, err)
	}
	return st, nil
}

func (m *Manager) set(ctx context.Context, name string, l desired.GroupLimits, fields []string) error {
	err := m.call(ctx, func(ctx context.Context, c *sd.Conn) error {
		return c.SetUnitPropertiesContext(ctx, name, true, toBus(l, fields)...)
	})
	if err != nil {
		return fmt.Errorf("cannot set limits of %s: %w", name, err)
	}
	return nil
}
