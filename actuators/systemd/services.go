package systemd

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"github.com/zeekrec/zeekrec/actuators/group"
	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/desired"
)

// What systemd does on its own with a service that has ended: it starts it again at once, and gives up where that happens
// too often. Then it is zeekrec's turn, which waits longer and longer between two attempts.
const (
	restartAfter  = 100 * time.Millisecond
	restartBurst  = uint32(5)
	restartWithin = time.Minute
)

// Services are processes that systemd starts, and starts again. Their groups are slices, which are as the scopes of Scopes
// otherwise.
type Services struct{ m *Manager }

// NewServices makes groups of slices.
func NewServices(m *Manager) *Services { return &Services{m} }

// Unit is the name of a group's slice.
func (s *Services) Unit(n group.Name) string { return SliceName(n) }

// Service is the name of a node's unit.
func (s *Services) Service(cluster, node string) string { return ServiceName(cluster, node) }

// Join has nothing to do: a service is in its slice from the beginning.
func (s *Services) Join(context.Context, group.Name, desired.GroupLimits, int) error { return nil }

// Holds is true: a process that an older zeekrec has started stays where it is until it is started anew.
func (s *Services) Holds(group.Name, int) bool { return true }

// State of the slice.
func (s *Services) State(ctx context.Context, n group.Name) (group.State, error) {
	return s.m.state(ctx, SliceName(n), "Slice")
}

// Set changes limits of the slice while its processes run.
func (s *Services) Set(ctx context.Context, n group.Name, l desired.GroupLimits, fields []string) error {
	return s.m.set(ctx, SliceName(n), l, fields)
}

// Stopping reports whether the machine is being shut down.
func (s *Services) Stopping(ctx context.Context) bool { return s.m.Stopping(ctx) }

// Start lets systemd run argv as the service of a node, in the slice of its group. It returns when the launcher was
// executed. A unit of before that has not gone yet is waited for, and one that has failed is forgotten.
func (s *Services) Start(ctx context.Context, n group.Name, node string, l desired.GroupLimits, argv []string) error {
	name, slice := ServiceName(n.Cluster, node), SliceName(n)
	err := s.m.call(ctx, func(ctx context.Context, c *sd.Conn) error {
		limits := append([]sd.Property{sd.PropDescription(describe(n))}, toBus(l, startLimits(l))...)
		if err := start(ctx, c, slice, limits); err != nil && !is(err, "UnitExists") {
			return fmt.Errorf("cannot make %s: %w", slice, err)
		}
		for {
			err := start(ctx, c, name, s.properties(n, node, slice, argv))
			if err == nil || !is(err, "UnitExists", "TransactionIsDestructive") {
				return err
			}
			if _, err := c.StopUnitContext(ctx, name, "replace", nil); err != nil && !is(err, "NoSuchUnit") {
				return err
			}
			_ = c.ResetFailedUnitContext(ctx, name)
			if pause(ctx) != nil {
				return err
			}
		}
	})
	if err != nil {
		return fmt.Errorf("cannot start %s: %w", name, err)
	}
	return nil
}

func (s *Services) properties(n group.Name, node, slice string, argv []string) []sd.Property {
	p := func(name string, v any) sd.Property { return sd.Property{Name: name, Value: dbus.MakeVariant(v)} }
	props := []sd.Property{
		sd.PropDescription("Zeek node " + node + " of cluster " + n.Cluster), sd.PropSlice(slice), sd.PropType("exec"),
		sd.PropExecStart(argv, false),
		p("Restart", "always"), p("RestartUSec", uint64(restartAfter/time.Microsecond)),
		p("StartLimitIntervalUSec", uint64(restartWithin/time.Microsecond)), p("StartLimitBurst", restartBurst),
		p("TimeoutStopUSec", uint64(stopWithin/time.Microsecond)),
		// TERM is for Zeek; what it has started ends with it.
		p("KillMode", "mixed"), p("OOMPolicy", "continue"), p("TasksMax", unset), p("CollectMode", "inactive-or-failed"),
	}
	if s.m.own != "" {
		props = append(props, sd.PropBefore(s.m.own))
	}
	return props
}

// start a transient unit, and wait until systemd has.
func start(ctx context.Context, c *sd.Conn, name string, props []sd.Property) error {
	done := make(chan string, 1)
	if _, err := c.StartTransientUnitContext(ctx, name, "fail", props, done); err != nil {
		return err
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("systemd's answer is %q", result)
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Stop begins to stop the service of a node, and does not start it again. False: there is none.
func (s *Services) Stop(ctx context.Context, cluster, node string) (bool, error) {
	name, there := ServiceName(cluster, node), true
	err := s.m.call(ctx, func(ctx context.Context, c *sd.Conn) error {
		_, err := c.StopUnitContext(ctx, name, "replace", nil)
		if is(err, "NoSuchUnit") {
			there, err = false, nil
		}
		return err
	})
	if err != nil {
		return true, fmt.Errorf("cannot stop %s: %w", name, err)
	}
	return there, nil
}

// Runs reports whether systemd runs the service of a node, or is about to.
func (s *Services) Runs(ctx context.Context, cluster, node string) (bool, error) {
	name, runs := ServiceName(cluster, node), false
	err := s.m.call(ctx, func(ctx context.Context, c *sd.Conn) error {
		p, err := c.GetUnitPropertyContext(ctx, name, "ActiveState")
		if is(err, "NoSuchUnit") {
			return nil
		}
		if err == nil {
			state := p.Value.Value()
			// One that has just ended deactivates before it is started again.
			runs = state == "active" || state == "activating" || state == "deactivating"
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("cannot ask systemd for %s: %w", name, err)
	}
	return runs, nil
}

// What became of a process, as waitid(2) has it in si_code.
const (
	cldExited = 1
	cldKilled = 2
	cldDumped = 3
)

// Exit is how the main process of a service has ended, as long as the service has had no other one since.
func (s *Services) Exit(ctx context.Context, cluster, node string, pid int) (e process.Exit) {
	_ = s.m.call(ctx, func(ctx context.Context, c *sd.Conn) error {
		props, err := c.GetUnitTypePropertiesContext(ctx, ServiceName(cluster, node), "Service")
		if err != nil {
			return err
		}
		if p, _ := props["ExecMainPID"].(uint32); int(p) != pid {
			return nil
		}
		code, _ := props["ExecMainCode"].(int32)
		status, _ := props["ExecMainStatus"].(int32)
		e = exitOf(code, status)
		return nil
	})
	return e
}

func exitOf(code, status int32) process.Exit {
	switch code {
	case cldExited:
		return process.Exit{Known: true, Status: int(status)}
	case cldKilled, cldDumped:
		return process.Exit{Known: true, Signal: unix.Signal(status), Core: code == cldDumped}
	}
	return process.Exit{}
}
