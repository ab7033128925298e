package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/desired"
	"github.com/zeekrec/zeekrec/desired/launch"
	"github.com/zeekrec/zeekrec/observed"
)

// ArchiverControl is how the agent reaches an archiver that it runs. Every call obeys its context.
type ArchiverControl interface {
	Status(ctx context.Context) (ArchiverStatus, error)
	// Apply has it use settings, in the form of launch.ArchiverSettings. To repeat it changes nothing.
	Apply(ctx context.Context, settings []byte) error
}

// ArchiverStatus is what an archiver says of itself.
type ArchiverStatus struct {
	Version string // of zeekrec
	PID     int    // 0 where it does not say
	Archive observed.Archive
	// Degraded is what is wrong, the worst first; Notes are what may be of interest.
	Degraded, Notes []string
}

// archiverLink asks one process of an archiver how it is, and tells it what it is to be, in a goroutine of its own.
type archiverLink struct {
	pid     int
	control ArchiverControl
	agent   *Agent
	log     *slog.Logger
	changed func() // called after state has
	wake    chan struct{}
	leave   context.CancelFunc

	mu    sync.Mutex
	wish  []byte // what it is still to be told; nil: nothing
	state archiverState
}

// archiverState is what is known of an archiver's process.
type archiverState struct {
	answered time.Time       // the last time; zero: never
	status   *ArchiverStatus // nil: it does not answer; nobody changes it
	silent   string          // why it does not answer
	untold   string          // why it has not taken what it is told; empty: it has
}

// trouble is why the archiver is not what it should be; empty: it is.
func (s *archiverState) trouble() string {
	if s.status == nil {
		return s.silent
	}
	return s.untold
}

func (s archiverState) version() string {
	if s.status == nil {
		return ""
	}
	return s.status.Version
}

// describe adds what the archiver says to the report.
func (s archiverState) describe(v *observed.Resource) {
	v.Version = s.version()
	if s.status != nil {
		a := s.status.Archive
		v.Archive, v.Degraded, v.Notes = &a, s.status.Degraded, s.status.Notes
	}
}

func (l *archiverLink) current() archiverState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// tell hands over what the archiver is to be; it is told again and again until it has taken it.
func (l *archiverLink) tell(settings []byte) {
	l.mu.Lock()
	l.wish, l.state.untold = settings, "is being told its settings"
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default: // about to be
	}
}

// run talks to the archiver until ctx ends.
func (l *archiverLink) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		case <-timer.C:
		}
		was := l.current()
		l.apply(ctx)
		l.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		is := l.current()
		if was.silent != is.silent || was.untold != is.untold || !reflect.DeepEqual(was.status, is.status) {
			l.changed()
		}
		pause := l.agent.cfg.Timings.Tick
		if is.trouble() != "" {
			pause = l.agent.cfg.Timings.Poll
		}
		timer.Reset(pause)
	}
}

func (l *archiverLink) apply(ctx context.Context) {
	l.mu.Lock()
	wish := l.wish
	l.mu.Unlock()
	if wish == nil {
		return
	}
	within, cancel := context.WithTimeout(ctx, brokerAnswer)
	err := l.control.Apply(within, wish)
	cancel()
	if ctx.Err() != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case &l.wish[0] != &wish[0]: // another one came meanwhile
	case err == nil:
		l.wish, l.state.untold = nil, ""
	default:
		l.state.untold = "it has not taken its settings: " + err.Error()
	}
}

// ask renews what is known.
func (l *archiverLink) ask(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, brokerAnswer)
	s, err := l.control.Status(within)
	cancel()
	if err == nil && s.PID != 0 && s.PID != l.pid {
		err = fmt.Errorf("process %d answers in its place", s.PID)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.agent.cfg.Now()
	switch {
	case err == nil:
		l.state.answered, l.state.status, l.state.silent = now, &s, ""
	case l.state.status == nil || now.Sub(l.state.answered) > brokerPatience:
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.New("no answer within " + brokerAnswer.String())
		}
		l.state.status, l.state.silent = nil, "it does not answer: "+err.Error()
	}
}

// openArchiver begins to talk to the unit's process where that is an archiver, and tells it what it is to be.
func (u *unit) openArchiver(ctx context.Context) {
	if u.proc == nil || u.last == nil || u.last.Resource.Type != desired.TypeArchiver || u.agent.cfg.Archivers == nil {
		return
	}
	ctx, leave := context.WithCancel(ctx)
	u.archiver = &archiverLink{
		pid: u.proc.Identity().PID, control: u.agent.cfg.Archivers(u.dir.archiver().Admin), agent: u.agent, log: u.log,
		wake: make(chan struct{}, 1), leave: leave, state: archiverState{silent: "it does not answer yet"},
		changed: func() {
			select {
			case u.news <- struct{}{}:
			default: // the unit is about to look
			}
		},
	}
	u.tellArchiver()
	u.talks.Go(func() { u.archiver.run(ctx) })
}

// closeArchiver ends the talk; the process goes on, or has ended.
func (u *unit) closeArchiver() {
	if u.archiver != nil {
		u.archiver.leave()
		u.archiver = nil
	}
}

// tellArchiver hands on what the archiver was told last. What an orphan is to be, nobody knows.
func (u *unit) tellArchiver() {
	if u.archiver == nil || u.told == nil || u.told.Resource.Archiver == nil {
		return
	}
	if err := u.putArchiverSettings(); err != nil {
		u.log.Warn("cannot write the archiver's settings; it is told them all the same", "error", err)
	}
	u.archiver.tell(launch.ArchiverSettings(&u.told.Resource, u.agent.cfg.ArchiveDir))
}

// putArchiverSettings writes what an archiver reads at its start, and makes the folder that it archives into where that is
// missing: the archiver's user may not be allowed to.
func (u *unit) putArchiverSettings() error {
	r := &u.told.Resource
	dir := r.Archiver.Dir
	if dir == "" {
		dir = u.agent.cfg.ArchiveDir
	}
	root := desired.ArchiveRoot(dir, r.Archiver.Layout, r.Cluster, r.Instance)
	if _, err := os.Stat(root); errors.Is(err, os.ErrNotExist) {
		err := os.MkdirAll(root, 0o755)
		if err == nil {
			err = handOver(root, u.agent.userOf(r))
		}
		if err != nil {
			u.log.Warn("cannot make the folder to archive into; the archiver tries it, too", "folder", root, "error", err)
		}
	}
	return renameio.WriteFile(u.dir.archiver().Settings, launch.ArchiverSettings(r, u.agent.cfg.ArchiveDir), 0o644)
}

// makeArchiverRoom puts what an archiver expects to find in its folder, and removes the last one's socket. Healing goes on
// with the settings that are there where the disk takes no others: it is told them as soon as it runs.
func (u *unit) makeArchiverRoom(healing bool) error {
	if err := removeFile(u.dir.archiver().Admin); err != nil {
		return err
	}
	err := u.putArchiverSettings()
	if err == nil {
		return nil
	}
	if _, missing := os.Stat(u.dir.archiver().Settings); missing != nil || !healing {
		return err
	}
	u.log.Error("cannot renew the archiver's settings; healing goes on", "error", err)
	return nil
}

// sweepLogs puts into the queue what a logger left in its folder when it ended, unless it is about to be started again:
// then Zeek does so itself, by the same rule. It is called where the unit has no process, and before it can have one.
func (u *unit) sweepLogs() {
	if u.proc != nil || u.last == nil || u.last.Resource.Node == nil || u.last.Resource.Node.RotationSeconds == 0 ||
		u.m.phase != stopped && u.m.phase != failed {
		return
	}
	if held, err := process.LockHeld(u.dir.lock()); held || err != nil {
		return // somebody we do not know of may still write
	}
	queue := u.last.Command.QueueDir
	if queue == "" {
		queue = filepath.Join(u.dir.cluster(), "queue")
	}
	in := time.Local
	if u.last.Resource.Node.TZ == "UTC" {
		in = time.UTC
	}
	n, err := sweepLeftovers(u.last.Command.Dir, queue, u.dir.resource(), in)
	if err != nil {
		u.log.Error("cannot put what the logger left into the queue; it stays in its folder", "folder", u.last.Command.Dir, "error", err)
	}
	if n > 0 {
		u.log.Info("put what the logger left into the queue", "folder", u.last.Command.Dir, "files", n)
	}
}
