package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// booted exists where systemd is the init (sd_booted(3)).
const booted = "/run/systemd/system"

// callWithin bounds one call: systemd answers within milliseconds, or is in trouble.
const callWithin = 5 * time.Second

// again is how soon something is tried again that failed because a unit was just about to go.
const again = 20 * time.Millisecond

// ErrNotBooted is said where systemd is not the init of this system.
var ErrNotBooted = errors.New("systemd is not the init of this system")

// Manager is a connection to the service manager, which is made anew when it is lost. Its methods may be called at once.
type Manager struct {
	life    context.Context
	version int    // of systemd
	own     string // unit that this process is in; empty: not known, or not a service

	mu   sync.Mutex
	conn *sd.Conn
}

// Connect finds the service manager: through its own socket, which takes root, else over the system bus. The connection
// ends with ctx.
func Connect(ctx context.Context) (*Manager, error) {
	if info, err := os.Lstat(booted); err != nil || !info.IsDir() {
		return nil, ErrNotBooted
	}
	m := &Manager{life: ctx}
	err := m.call(ctx, func(ctx context.Context, c *sd.Conn) error {
		v, err := c.GetManagerProperty("Version")
		if err != nil {
			return err
		}
		m.version = versionOf(v)
		if name, err := c.GetUnitNameByPID(ctx, uint32(os.Getpid())); err == nil && strings.HasSuffix(name, ".service") {
			m.own = name
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot reach systemd: %w", err)
	}
	return m, nil
}

// versionOf "\"252 (252.38-1)\"" is 252.
func versionOf(text string) int {
	text = strings.TrimLeft(text, `"`)
	end := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(text)
	}
	n, _ := strconv.Atoi(text[:end])
	return n
}

// Version of systemd, as a phrase.
func (m *Manager) Version() string { return "systemd " + strconv.Itoa(m.version) }

// Stopping reports whether the machine is being shut down. Where systemd does not say, it is not.
func (m *Manager) Stopping(ctx context.Context) bool {
	state := ""
	err := m.call(ctx, func(ctx context.Context, c *sd.Conn) error {
		p, err := c.SystemStateContext(ctx)
		if err == nil {
			state, _ = p.Value.Value().(string)
		}
		return err
	})
	return err == nil && state == "stopping"
}

// call runs f with a connection, within callWithin. A connection that was lost is made once more.
func (m *Manager) call(ctx context.Context, f func(context.Context, *sd.Conn) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, callWithin, fmt.Errorf("systemd did not answer within %s", callWithin))
	defer cancel()
	for first := true; ; first = false {
		c, err := m.connection(ctx)
		if err != nil {
			return because(ctx, err)
		}
		if err = f(ctx, c); err == nil {
			return nil
		}
		if c.Connected() && !errors.Is(err, dbus.ErrClosed) {
			return because(ctx, err)
		}
		m.drop(c)
		if !first {
			return because(ctx, err)
		}
	}
}

func because(ctx context.Context, err error) error {
	switch why := context.Cause(ctx); {
	case ctx.Err() == nil || errors.Is(err, why):
		return err
	case errors.Is(err, ctx.Err()):
		return why
	default:
		return fmt.Errorf("%w, lastly: %w", why, err)
	}
}

func (m *Manager) connection(ctx context.Context) (*sd.Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conn != nil && m.conn.Connected() {
		return m.conn, nil
	}
	if m.conn != nil {
		m.conn.Close()
		m.conn = nil
	}
	// The connection ends with the context that it is made with: with the manager's, and while it is made also with the caller's.
	life, end := context.WithCancel(m.life)
	stop := context.AfterFunc(ctx, end)
	c, err := dial(life)
	if !stop() && err == nil {
		c.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		end()
		return nil, err
	}
	context.AfterFunc(m.life, end)
	m.conn = c
	return c, nil
}

func dial(ctx context.Context) (*sd.Conn, error) {
	if os.Geteuid() != 0 {
		return sd.NewSystemConnectionContext(ctx)
	}
	c, err := sd.NewSystemdConnectionContext(ctx)
	if err == nil {
		return c, nil
	}
	if c, busErr := sd.NewSystemConnectionContext(ctx); busErr == nil {
		return c, nil
	}
	return nil, err
}

func (m *Manager) drop(c *sd.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conn == c {
		m.conn = nil
	}
	c.Close()
}

// is reports whether systemd has answered with one of the errors, by the last part of their names.
func is(err error, names ...string) bool {
	e, ok := errors.AsType[dbus.Error](err)
	if !ok {
		return false
	}
	for _, n := range names {
		if strings.HasSuffix(e.Name, "."+n) {
			return true
		}
	}
	return false
}

// pause waits a moment, or says why there is no time left.
func pause(ctx context.Context) error {
	t := time.NewTimer(again)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
