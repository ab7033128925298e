package agent

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeekrec/zeekrec/actuators/journald"
	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/desired"
)

const (
	outputLimit = 10 << 20 // of an output file, before it is rotated
	outputKeep  = 3
	// Where the journal has everything, a file is there for what zeekrec reads itself, the reason of a crash for example.
	journaledLimit = 256 << 10
	journaledKeep  = 1

	// journalPause is between looks at what processes have written.
	journalPause = 250 * time.Millisecond
)

// journaled is an output on its way to the journal.
type journaled struct {
	*journald.Follower
	unit    *unit
	done    atomic.Bool // the journal has all of it, as of the last look
	trouble string      // of the last step; read and written by the scribe alone
}

// scribe sends what processes write to the journal. A process is followed from before its start.
type scribe struct {
	agent *Agent
	to    journald.Sender // nil: nothing is sent

	mu      sync.Mutex
	outputs map[string]*journaled // by path; nil where it cannot be followed
}

// follow the outputs of a unit, whose process has a role: before its first start, or when it was found again.
func (s *scribe) follow(u *unit, role desired.Role) {
	if s.to == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for stream, path := range map[string]string{"stdout": u.dir.stdout(), "stderr": u.dir.stderr()} {
		if _, known := s.outputs[path]; known {
			continue
		}
		var priority func(string) journald.Priority
		if stream == "stderr" {
			priority = priorityOf
		}
		f, err := journald.Follow(journald.Config{
			Path: path, Marks: startedPID, Priority: priority, Bounding: &u.bounding,
			Source: journald.Source{Cluster: clusterOf(u.key), Node: u.dir.resource(), Role: string(role), Stream: stream},
		})
		if err != nil {
			u.log.Error("cannot send its output to the journal; it is in the files alone", "error", err)
			s.outputs[path] = nil
			continue
		}
		s.outputs[path] = &journaled{Follower: f, unit: u}
	}
}

func (s *scribe) of(path string) *journaled {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outputs[path]
}

// run sends until ctx ends. Where the journal takes nothing for a while, it waits: the files have everything.
func (s *scribe) run(ctx context.Context) {
	if s.to == nil {
		return
	}
	defer s.close()
	tick := time.NewTicker(journalPause)
	defer tick.Stop()
	for {
		for s.look(ctx) {
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look sends something of each output, also of processes that have ended, and reports whether there is more.
func (s *scribe) look(ctx context.Context) (more bool) {
	for _, u := range s.agent.allUnits() {
		if v, ok := u.current(); ok {
			s.follow(u, desired.Role(v.Role))
		}
	}
	for _, out := range s.all() {
		v, _ := out.unit.current()
		again, err := out.Step(ctx, s.to, v.PID)
		if ctx.Err() != nil {
			return false
		}
		out.done.Store(!again && err == nil)
		out.say(err)
		more = more || again
	}
	return more
}

func (s *scribe) all() []*journaled {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*journaled, 0, len(s.outputs))
	for _, o := range s.outputs {
		if o != nil {
			out = append(out, o)
		}
	}
	return out
}

// say what is new of its trouble.
func (o *journaled) say(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == o.trouble {
		return
	}
	if o.trouble = text; text != "" {
		o.unit.log.Warn("its output does not reach the journal; it is in the files, and sent later", "error", err)
	} else {
		o.unit.log.Info("its output reaches the journal again")
	}
}

func (s *scribe) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, out := range s.outputs {
		if out != nil {
			_ = out.Close()
		}
		s.outputs[path] = nil
	}
}

// priorityOf a line of stderr.
func priorityOf(line string) journald.Priority {
	switch {
	case reporterIn(line, "error") != "":
		return journald.Error
	case reporterIn(line, "warning") != "":
		return journald.Warning
	}
	return journald.Info
}

// startedPID is the process that a line of markOutputs speaks of.
func startedPID(line string) (pid int, ok bool) {
	line, ok = strings.CutPrefix(line, startMark)
	if !ok {
		return 0, false
	}
	_, rest, _ := strings.Cut(line, " ")
	_, err := fmt.Sscanf(rest, "zeekrec: started pid %d, incarnation", &pid)
	return pid, err == nil
}

// markOutputs adds a line to both outputs: what follows is the new process's (decisions 9).
func (u *unit) markOutputs(r *runningRecord) {
	line := fmt.Sprintf("%s%s zeekrec: started pid %d, incarnation %d",
		startMark, u.now().UTC().Format(time.RFC3339Nano), r.Process.PID, r.Incarnation)
	for _, path := range []string{u.dir.stdout(), u.dir.stderr()} {
		if err := process.AppendLine(path, line); err != nil {
			u.log.Warn("cannot mark the start in the output", "error", err)
		}
	}
}

// boundOutputs rotates what has become too large.
func (u *unit) boundOutputs() {
	for _, path := range []string{u.dir.stdout(), u.dir.stderr()} {
		limit, keep := int64(outputLimit), outputKeep
		if out := u.agent.scribe.of(path); u.agent.cfg.JournalOnly && out != nil && out.done.Load() {
			limit, keep = journaledLimit, journaledKeep
		}
		u.bounding.Lock()
		rotated, err := process.RotateOutput(path, limit, keep)
		u.bounding.Unlock()
		if err != nil {
			u.log.Warn("cannot bound an output", "error", err)
		}
		if rotated && keep == journaledKeep {
			for n := journaledKeep + 1; n <= outputKeep; n++ {
				_ = os.Remove(fmt.Sprintf("%s.%d", path, n)) // of the time before; they need not be there
			}
		}
	}
}
