package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/zeekrec/zeekrec/cmd/internal/local"
	"github.com/zeekrec/zeekrec/reconciler/engine"
)

// world that a plan is computed against: the running zeekrec's; else what the state folder says; else one in
// which nothing runs. Its Note says which of the last two it is.
func (a *app) world(ctx context.Context) (w *engine.World, live bool, err error) {
	w, err = a.client().World(ctx)
	if err == nil {
		return w, true, nil
	}
	if !nothingHere(err) {
		return nil, false, err
	}
	now := time.Now()
	w, oerr := local.Offline(a.settings.stateDir, a.settings.name, now)
	switch {
	case oerr != nil:
		w = engine.EmptyWorld(a.settings.name, now)
		w.Note = fmt.Sprintf("zeekrec does not run, and its state cannot be read (%v): planned as if nothing ran", oerr)
	case w == nil:
		w = engine.EmptyWorld(a.settings.name, now)
		w.Note = fmt.Sprintf("zeekrec does not run, and there is no state in %s: planned as if nothing ran", a.settings.stateDir)
	default:
		w.Note = fmt.Sprintf("zeekrec does not run: planned against what the state in %s says", a.settings.stateDir)
	}
	return w, false, nil
}
