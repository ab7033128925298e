package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
	"github.com/zeekrec/zeekrec/cmd/internal/identity"
	"github.com/zeekrec/zeekrec/cmd/internal/local"
	"github.com/zeekrec/zeekrec/reconciler/engine/journal"
)

// The exit codes; they are a promise.
const (
	exitFailed = 1
	exitToDo   = 2
	exitStale  = 3
	exitHeld   = 4
	exitUsage  = 64
)

// failure ends a command with a code. Without err it has been said already why.
type failure struct {
	code  int
	err   error
	hints []string
}

// Error is the cause's.
func (f *failure) Error() string {
	if f.err == nil {
		return fmt.Sprintf("exit code %d", f.code)
	}
	return f.err.Error()
}

// Unwrap gives the cause.
func (f *failure) Unwrap() error { return f.err }

// usage makes an error one of usage.
func usage(err error, hints ...string) error {
	return &failure{code: exitUsage, err: err, hints: hints}
}

// withHint adds a way out to an error.
func withHint(err error, hints ...string) error {
	return &failure{code: exitFailed, err: err, hints: hints}
}

// report says what went wrong, and returns the exit code.
func (a *app) report(cmd *cobra.Command, err error) int {
	f, ok := errors.AsType[*failure](err)
	if !ok {
		f = &failure{code: exitFailed, err: err}
		if !a.acted {
			f.code = exitUsage
		}
	}
	if f.err == nil {
		return f.code
	}
	a.say("%v", f.err)
	hints := append(f.hints, hintsFor(f.err)...)
	if f.code == exitUsage && len(hints) == 0 {
		hints = []string{"see: " + cmd.CommandPath() + " --help"}
	}
	for _, h := range hints {
		a.say("hint: %s", h)
	}
	return f.code
}

// hintsFor errors that any command may meet.
func hintsFor(err error) []string {
	if u, ok := errors.AsType[*api.Unreachable](err); ok && u.Server != "" {
		if errors.Is(err, identity.ErrNotTheController) {
			return []string{"the token is from another zeekrec, or that one has a new certificate authority; a new token is made on its host: zeekrec tokens new"}
		}
		return []string{"this needs that server, and what is on this machine is not looked at instead (--server, ZEEKREC_SERVER); does it run with --serve, at this port, and does no firewall stand between?"}
	} else if ok {
		return []string{"is `zeekrec run` or `zeekrec controller` running? if it runs with another state folder, name it with --state-dir"}
	}
	if _, ok := errors.AsType[*local.NoZeek](err); ok {
		return []string{
			"point at one with --zeek PATH, with the environment variable ZEEKREC_ZEEK, or with `zeek = PATH` in [zeekrec] of a .cfg",
			"without a Zeek, a stand-in shows what zeekrec does: see `make demo` in the source tree",
		}
	}
	if b, ok := errors.AsType[*local.Bound](err); ok {
		return []string{
			"if you mean it: zeekrec run --confirm " + b.Now + " (nodes of " + b.Was + " are then left running, and shown as orphaned)",
			"or give each source a state folder of its own with --state-dir",
		}
	}
	if errors.Is(err, journal.ErrLocked) {
		return []string{"look at it with `zeekrec status`; to run a second one beside it, give it a --state-dir of its own"}
	}
	return nil
}
