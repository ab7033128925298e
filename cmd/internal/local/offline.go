package local

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/zeekrec/zeekrec/actuators/agent"
	"github.com/zeekrec/zeekrec/observed"
	"github.com/zeekrec/zeekrec/reconciler/engine"
	"github.com/zeekrec/zeekrec/reconciler/engine/journal"
)

// Offline is the world as the state folder alone shows it: what was accepted, what agents were told, and
// which of the processes are still there. Nil without an error: there is no state folder, or it is empty.
// Nothing is written, and the lock is not taken.
func Offline(stateDir, instance string, at time.Time) (*engine.World, error) {
	if _, err := os.Stat(filepath.Join(stateDir, "journal.jsonl")); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	state, err := journal.Load(stateDir)
	if err != nil {
		return nil, err
	}
	report, err := agent.Offline(stateDir, instance, at)
	if err != nil {
		return nil, err
	}
	return &engine.World{Source: state.Source, State: state, Fleet: map[string]observed.Report{instance: report}, Instance: instance, At: at}, nil
}
