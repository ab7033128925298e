package cli

import (
	"fmt"
	"time"
)

// clockSkew is for tests of agents whose host has a wrong clock, and set by the linker alone:
// -ldflags "-X …/cmd/internal/cli.clockSkew=-1h". An agent of such a build takes every time from a clock that is wrong by as much:
// certificates are verified by it, deadlines are kept by it, and reports are stamped with it. Nothing else sets it, so no build for use
// has it, and no user of one can.
var clockSkew string

// agentClock is what an agent and a join take the time from.
func agentClock() (func() time.Time, error) {
	if clockSkew == "" {
		return time.Now, nil
	}
	by, err := time.ParseDuration(clockSkew)
	if err != nil {
		return nil, fmt.Errorf("cannot run: this build was made for tests, with a clock that is wrong by %q: %w", clockSkew, err)
	}
	return func() time.Time { return time.Now().Add(by) }, nil
}
