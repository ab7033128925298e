package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/zeekrec/zeekrec/actuators/journald"
	"github.com/zeekrec/zeekrec/actuators/vitals"
	"github.com/zeekrec/zeekrec/desired"
)

// Config is what an agent is made of. StateDir, Instance and Launcher are required.
type Config struct {
	// StateDir is zeekrec's state folder. Whoever makes the agent holds it: two agents on one folder at
	// the same time are not provided for.
	StateDir string
	// Instance is the agent's name; orders for others are refused.
	Instance string
	// DefaultZeek is the program to run where a cluster names none; empty: zeek on PATH.
	DefaultZeek string
	// DefaultUser is whom processes become of a cluster that names nobody; empty: they stay who the agent is. A change counts for what is
	// started after it, and restarts nothing.
	DefaultUser string
	// Launcher is the command that ends in process.ExecNode.
	Launcher []string
	// Self is the program that runs brokers and archivers; empty: this one.
	Self string
	// Keys of clusters that encrypt; nil: there are none.
	Keys Keys
	// Brokers reaches the broker whose admin socket is at the path; nil: brokers are neither asked nor told, and
	// healthy as long as they run.
	Brokers func(socket string) BrokerControl
	// ArchiveDir is where logs are archived of clusters that name no folder. Empty: archive in the state folder.
	ArchiveDir string
	// Archivers reaches the archiver whose admin socket is at the path; nil: archivers are neither asked nor told, and
	// healthy as long as they run.
	Archivers func(socket string) ArchiverControl
	// Groups keep the processes of a role together, and bound what they use; nil: nothing does, and Ungrouped is why.
	Groups    Groups
	Ungrouped string
	// Journal takes what processes write to their outputs, as well as the files; nil: it is in the files alone. JournalOnly: files are
	// kept small where the journal has all that was in them.
	Journal     journald.Sender
	JournalOnly bool
	// Version of zeekrec, for the report.
	Version string
	Log     *slog.Logger     // nil: none
	Now     func() time.Time // nil: time.Now
	Timings Timings          // zero fields get their defaults
	// Interfaces lists the network interfaces; nil: those of the machine.
	Interfaces func() ([]net.Interface, error)
	// Scrape asks the telemetry of a process at ADDRESS:PORT; nil: vitals.Scrape.
	Scrape func(ctx context.Context, address string) (vitals.Counters, error)
	// AskZeek returns what a zeek binary says of itself; nil: it is run.
	AskZeek func(ctx context.Context, path string) desired.ZeekFacts
}

// Timings are the agent's deadlines and pauses, with the defaults of decision 14.
type Timings struct {
	StartDeadline time.Duration // to become ready: 60 s
	StopDeadline  time.Duration // after TERM, before KILL: 60 s
	Finish        time.Duration // for a logger to write what was sent to it, before TERM: 5 s
	Poll          time.Duration // of the status file during a start, and of a broker while nodes join it: 100 ms
	Tick          time.Duration // of interfaces, causes of failure, outputs and brokers: 1 s
	Ping          time.Duration // nodes are asked for a sign of life: 3 s; they have 5/6 of it to answer
	Silent        time.Duration // a node that gives none for so long does not answer: 8 s

	Examine time.Duration // how processes fare: 10 s

	BackoffStep time.Duration // the first pause that is not none: 1 s; it doubles
	BackoffMax  time.Duration // 60 s
	CrashReset  time.Duration // up for this long, and earlier crashes are forgotten: 60 s
	CrashWindow time.Duration // CrashLimit crashes within are a loop: 60 s
	CrashLimit  int           // 5
	RetryFailed time.Duration // 5 min

	Scan  time.Duration // for processes that others started, and of programs that were replaced: 5 s
	Sweep time.Duration // of generated files that nothing uses: 1 h
	Check time.Duration // for one `zeek -a`: 60 s
	// Leftovers of an ended process get TERM, and KILL after this: 2 s.
	Leftovers time.Duration
}

func (t Timings) withDefaults() Timings {
	for _, d := range []struct {
		to    *time.Duration
		value time.Duration
	}{
		{&t.StartDeadline, time.Minute}, {&t.StopDeadline, time.Minute}, {&t.Finish, 5 * time.Second},
		{&t.Poll, 100 * time.Millisecond}, {&t.Tick, time.Second},
		{&t.Ping, 3 * time.Second}, {&t.Silent, 8 * time.Second}, {&t.Examine, 10 * time.Second},
		{&t.BackoffStep, time.Second}, {&t.BackoffMax, time.Minute},
		{&t.CrashReset, time.Minute}, {&t.CrashWindow, time.Minute}, {&t.RetryFailed, 5 * time.Minute},
		{&t.Scan, 5 * time.Second}, {&t.Sweep, time.Hour}, {&t.Check, time.Minute}, {&t.Leftovers, 2 * time.Second},
	} {
		if *d.to == 0 {
			*d.to = d.value
		}
	}
	if t.CrashLimit == 0 {
		t.CrashLimit = 5
	}
	return t
}

// Bounds of what is kept.
const (
	eventsKeep = 500
	diskNeeded = 64 << 20 // free bytes that a start of something new takes
)

func (c *Config) complete() error {
	if c.StateDir == "" || c.Instance == "" || len(c.Launcher) == 0 {
		return errors.New("cannot make an agent: StateDir, Instance and Launcher are required")
	}
	var err error
	if c.StateDir, err = filepath.Abs(c.StateDir); err != nil {
		return fmt.Errorf("cannot make an agent: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(c.StateDir, "clusters"), 0o755); err != nil {
		return fmt.Errorf("cannot make the state folder: %w", err)
	}
	if c.ArchiveDir == "" {
		c.ArchiveDir = filepath.Join(c.StateDir, "archive")
	}
	if c.ArchiveDir, err = filepath.Abs(c.ArchiveDir); err != nil {
		return fmt.Errorf("cannot make an agent: %w", err)
	}
	if c.Self == "" {
		// Where it cannot be told, nodes run all the same; a broker's start says what is missing.
		c.Self, _ = os.Executable()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Interfaces == nil {
		c.Interfaces = net.Interfaces
	}
	if c.Scrape == nil {
		c.Scrape = vitals.Scrape
	}
	if c.AskZeek == nil {
		c.AskZeek = askZeek
	}
	c.Timings = c.Timings.withDefaults()
	return nil
}
