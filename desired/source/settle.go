package source

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

// A settler turns scans into updates. It knows neither files nor clocks: times come with the scans and
// the calls.
type settler struct {
	opts Options
	path string

	units map[string]*unit
	// state is what the last scan found of the source as a whole: empty while it can be read, else the
	// error's text. since is when the first scan in a row ended that found it so.
	state string
	since time.Time
	// device that the folder was on when it last held a cluster, and whether it was found empty on another
	// since. That lasts until it holds clusters again: a device's number is given to another soon.
	device    uint64
	unmounted bool

	// hinted and burst are the last hint, and the first of those that came without a quiet moment between.
	hinted, burst time.Time
	// unseen is the first hint since the last scan began; zero: none.
	unseen time.Time
	// asked is when somebody asked for a look that has not been answered; zero: nobody did.
	asked time.Time

	scanned      bool
	began, ended time.Time // the last scan
	glanced      time.Time // the last time that the folder was found in its place, or not
	unsteady     bool      // state is too young to be told
	waiting      bool      // all has settled, but events are still coming in
	poll         bool      // look often: something is wrong, or events do not tell
	sent         *Update
}

// A unit is one cluster's files on their way to being settled.
type unit struct {
	name, file string
	// stamp was seen by a scan that ended at since, and by every one after that; and none saw anybody
	// writing.
	stamp uint64
	since time.Time
	busy  bool
	// settled is what was last taken, and key its identity; an empty key means no such file.
	settled desired.ClusterFile
	key     string
	// dirty is since when scans see something else than settled; zero: they do not.
	dirty  time.Time
	writer bool // somebody was seen writing since then
	told   bool // that it takes long
}

func newSettler(path string, opts Options) *settler {
	return &settler{path: path, opts: opts, units: map[string]*unit{}}
}

// hint notes an event.
func (s *settler) hint(now time.Time) {
	if s.hinted.IsZero() || now.Sub(s.hinted) >= s.opts.Quiet {
		s.burst = now
	}
	s.hinted = now
	if s.unseen.IsZero() {
		s.unseen = now
	}
}

// ask wants a look now, and an update with its outcome.
func (s *settler) ask(now time.Time) { s.asked = now }

// begin notes that a scan begins: it sees everything that was hinted at until now.
func (s *settler) begin() { s.unseen = time.Time{} }

// An outcome is what is to be done after a scan.
type outcome struct {
	update *Update // to be sent; nil: nothing new
	// slow are clusters that take longer than MaxWait to settle; each is told once.
	slow []Pending
}

// take judges a scan. degraded says why events do not tell of everything; nil: they do.
func (s *settler) take(sc *scan, degraded error) outcome {
	err := s.judgeSource(sc)
	if state := text(err); !s.scanned || state != s.state {
		s.state, s.since = state, sc.ended
	}
	s.scanned, s.began, s.ended, s.glanced = true, sc.began, sc.ended, sc.ended
	s.unsteady, s.waiting = sc.began.Sub(s.since) < s.opts.Quiet, false
	s.poll = err != nil || degraded != nil || sc.remote

	var out outcome
	blocked := false
	if err != nil {
		s.forget()
	} else {
		blocked, out.slow = s.judge(sc)
	}
	if blocked || s.unsteady {
		return out
	}
	if sc.began.Sub(s.hinted) < s.opts.Quiet && sc.began.Sub(s.burst) < s.opts.MaxWait {
		s.waiting = true
		return out
	}
	out.update = s.offer(Update{Err: err, CheckedAt: sc.began, Degraded: degraded})
	return out
}

// judgeSource returns why the source as a whole cannot be read; nil: it can.
func (s *settler) judgeSource(sc *scan) error {
	switch {
	case sc.err != nil:
		return sc.err
	case len(sc.files) > 0:
		s.device, s.unmounted = sc.device, false
	case s.device != 0 && sc.device != s.device:
		s.unmounted = true
	}
	if !s.unmounted {
		return nil
	}
	return &Error{
		Subject: "the source " + s.path, Kind: Unmounted,
		Why:  "it is empty, and on another file system than before: what held the clusters is not mounted, or covered",
		Hint: "mount it again; if the clusters are really to go, start zeekrec again",
	}
}

// forget drops what was seen and has not settled: it says nothing about what will be there when the
// source can be read again.
func (s *settler) forget() {
	for _, u := range s.units {
		u.since = time.Time{}
		u.calm()
	}
}

// judge settles what can be settled, and reports whether something else is worth waiting for.
func (s *settler) judge(sc *scan) (blocked bool, slow []Pending) {
	seen := make(map[string]bool, len(sc.files))
	for _, si := range sc.files {
		seen[si.file.Name] = true
		u := s.units[si.file.Name]
		if u == nil {
			u = &unit{name: si.file.Name, file: si.file.File}
			s.units[u.name] = u
		}
		s.see(u, sc, si.file, identity(si.file), si.stamp, si.busy != "" || si.torn)
	}
	for name, u := range s.units {
		if !seen[name] {
			s.see(u, sc, desired.ClusterFile{}, "", 0, false)
		}
		switch {
		case u.dirty.IsZero() && u.key == "":
			delete(s.units, name)
		case u.dirty.IsZero():
			s.poll = s.poll || u.settled.Err != nil // what is wrong may be put right where no event tells of it
		default:
			wait := sc.ended.Sub(u.dirty)
			blocked = blocked || wait < s.opts.Hold
			if wait >= s.opts.MaxWait && !u.told {
				u.told = true
				slow = append(slow, u.pending())
			}
		}
	}
	return blocked, sortPending(slow)
}

// see notes what a scan saw of a cluster. An empty identity means that its file is not there.
func (s *settler) see(u *unit, sc *scan, cf desired.ClusterFile, id string, stamp uint64, busy bool) {
	if u.since.IsZero() || stamp != u.stamp || busy || u.busy {
		u.stamp, u.since = stamp, sc.ended
	}
	u.busy = busy
	u.writer = u.writer || busy
	switch {
	case id == u.key:
		u.calm() // whoever writes there has not changed anything yet
	case !busy && sc.began.Sub(u.since) >= s.opts.Quiet:
		u.settled, u.key = cf, id
		u.calm()
	case u.dirty.IsZero():
		u.dirty = sc.ended
	}
}

func (u *unit) calm() { u.dirty, u.writer, u.told = time.Time{}, false, false }

func (u *unit) pending() Pending {
	why := "it keeps changing"
	if u.writer {
		why = "somebody has it open for writing"
	}
	return Pending{Cluster: u.name, File: u.file, Since: u.dirty, Reason: why}
}

// identity of a cluster's content, or of the error in its place.
func identity(cf desired.ClusterFile) string {
	if cf.Err != nil {
		return "error " + cf.Err.Error()
	}
	return "revision " + cf.Revision()
}

// offer completes an update, and returns it if it says anything that the last one did not: other
// content, another error, or that somebody wanted to know.
func (s *settler) offer(u Update) *Update {
	if u.Err == nil {
		u.Snapshot, u.Pending = s.compose(u.CheckedAt)
	}
	answer := !s.asked.IsZero() && !u.CheckedAt.Before(s.asked)
	if last := s.sent; last != nil {
		if u.Snapshot.Same(last.Snapshot) {
			u.Snapshot = last.Snapshot
		}
		same := u.Snapshot == last.Snapshot && text(u.Err) == text(last.Err) &&
			text(u.Degraded) == text(last.Degraded) && slices.Equal(u.Pending, last.Pending)
		if same && !answer && u.CheckedAt.Sub(last.CheckedAt) < s.opts.Rescan {
			return nil
		}
	}
	if answer {
		s.asked = time.Time{}
	}
	s.sent = &u
	return &u
}

// compose makes a snapshot of what has settled, and lists what has not.
func (s *settler) compose(at time.Time) (*desired.Snapshot, []Pending) {
	snap := &desired.Snapshot{URL: s.path, At: at}
	var pending []Pending
	for _, u := range s.units {
		if !u.dirty.IsZero() {
			pending = append(pending, u.pending())
		}
		switch {
		case u.key != "":
			snap.Files = append(snap.Files, u.settled)
		default: // new, and never whole
			snap.Files = append(snap.Files, busyFile(u.name, u.file))
		}
	}
	slices.SortFunc(snap.Files, func(a, b desired.ClusterFile) int { return strings.Compare(a.Name, b.Name) })
	return snap, sortPending(pending)
}

// silent makes the update for a scan that does not come back.
func (s *settler) silent(now time.Time) *Update {
	err := &Error{
		Subject: "the source " + s.path, Kind: Unresponsive, Why: "the file system does not answer",
		Hint: "see whether the server or the disk that it is on is there",
	}
	s.state, s.since, s.began, s.ended, s.glanced = err.Error(), now, now, now, now
	s.scanned, s.unsteady, s.waiting, s.poll = true, false, false, true
	s.forget()
	return s.offer(Update{Err: err, CheckedAt: now})
}

// glance takes note of whether the folder is still in its place; if not, it is to be looked at.
func (s *settler) glance(now time.Time, inPlace bool) {
	s.glanced = now
	if !inPlace {
		s.hint(now)
	}
}

// next says when something is to be done: a look where that is due by then, else a glance.
func (s *settler) next() time.Time {
	due := s.due()
	if glance := s.glanced.Add(s.opts.Poll); glance.Before(due) {
		return glance
	}
	return due
}

// due says when to look next.
func (s *settler) due() time.Time {
	if !s.scanned {
		return time.Time{}
	}
	idle := s.opts.Rescan
	if s.poll {
		idle = min(idle, s.opts.Poll)
	}
	next := s.ended.Add(idle)
	sooner := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	if !s.unseen.IsZero() { // a little after the last hint, but not much after the first
		sooner(s.hinted.Add(s.opts.Quiet / 6))
		sooner(s.unseen.Add(s.opts.Quiet))
	}
	if s.unsteady {
		sooner(s.since.Add(s.opts.Quiet))
	}
	if s.waiting {
		sooner(s.hinted.Add(s.opts.Quiet))
		sooner(s.burst.Add(s.opts.MaxWait))
	}
	for _, u := range s.units {
		switch {
		case u.dirty.IsZero():
		case s.ended.Sub(u.dirty) >= s.opts.Hold && u.busy:
			sooner(s.ended.Add(s.opts.Poll))
		default:
			sooner(s.ended.Add(s.opts.Quiet))
			if hold := u.dirty.Add(s.opts.Hold); hold.After(s.ended) {
				sooner(hold)
			}
		}
	}
	if earliest := s.ended.Add(s.opts.Quiet / 6); next.Before(earliest) {
		next = earliest // whatever comes: no faster than this
	}
	if s.asked.After(s.began) {
		next = s.asked
	}
	return next
}

func sortPending(ps []Pending) []Pending {
	slices.SortFunc(ps, func(a, b Pending) int { return cmp.Compare(a.Cluster, b.Cluster) })
	return ps
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
