package cli

import (
	"context"
	"errors"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/api"
)

// why are the flags of commands that are kept in the history with a reason, and may end by themselves.
type why struct {
	reason string
	lasts  time.Duration
}

// do sends a command to the running zeekrec and says what was done.
func (a *app) do(ctx context.Context, command string, r api.Request, done string) error {
	if _, err := a.client().Do(ctx, command, r); err != nil {
		return err
	}
	a.say("%s", done)
	return nil
}

// lasting adds how long something lasts to what is said of it.
func lasting(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return ", until " + t.Local().Format(time.DateTime)
}

var errNoScope = errors.New("cannot tell what is meant: name clusters or nodes (CLUSTER, CLUSTER/NODE, NODE)")
