package journald

import (
	"context"
	"fmt"
	"strconv"

	"github.com/coreos/go-systemd/v22/journal"
)

// Priority of a line, as syslog has it.
type Priority int

// The priorities that lines of nodes have.
const (
	Error   Priority = 3
	Warning Priority = 4
	Info    Priority = 6
)

// Source is who writes into a file.
type Source struct {
	Cluster string
	Node    string // or "broker", or an archiver's name
	Role    string
	Stream  string // stdout or stderr
}

// Entry is one line for the journal.
type Entry struct {
	Source
	// PID of the process that wrote it; 0: not known.
	PID      int
	Priority Priority
	Line     string
}

// Fields of the entry, besides MESSAGE and PRIORITY.
func (e *Entry) Fields() map[string]string {
	f := map[string]string{
		"ZEEK_CLUSTER": e.Cluster, "ZEEK_NODE": e.Node, "ZEEK_ROLE": e.Role, "ZEEK_STREAM": e.Stream,
		"SYSLOG_IDENTIFIER": fmt.Sprintf("zeek-%s-%s", e.Cluster, e.Node),
	}
	if e.PID != 0 {
		f["SYSLOG_PID"] = strconv.Itoa(e.PID)
		// Of root alone does journald take it: it adds the unit, the command line, and so on of that process.
		f["OBJECT_PID"] = strconv.Itoa(e.PID)
	}
	return f
}

// Sender takes entries. Send returns when the journal has one, or ctx's cause.
type Sender interface {
	Send(ctx context.Context, e Entry) error
}

// Daemon is the journal of this machine. Use it from one goroutine.
type Daemon struct {
	// pending is the outcome of a Send that nobody waits for any more.
	pending chan error
}

// Here reports whether this machine has a journal that takes entries.
func Here() bool { return journal.Enabled() }

// Send hands an entry over. journald may let it wait for as long as it likes, and so the library has no deadline; ctx ends the wait.
func (j *Daemon) Send(ctx context.Context, e Entry) error {
	if j.pending != nil {
		select {
		case <-j.pending: //nolint:errcheck // whoever sent that has gone
			j.pending = nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	done := make(chan error, 1)
	go func() { done <- journal.Send(e.Line, journal.Priority(e.Priority), e.Fields()) }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("cannot send to the journal: %w", err)
		}
		return nil
	case <-ctx.Done():
		j.pending = done
		return context.Cause(ctx)
	}
}
