package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// Status is what an archiver says of itself.
type Status struct {
	Version  string    `json:"version"`
	PID      int       `json:"pid"`
	Since    time.Time `json:"since"`
	Queue    string    `json:"queue"`
	Settings Settings  `json:"settings"`
	Backlog  Backlog   `json:"backlog"`
	// Files and Bytes of logs were archived within the last hour.
	FilesPerHour uint64 `json:"files_per_hour"`
	BytesPerHour uint64 `json:"bytes_per_hour"`
	// Archived is when the last one was; zero: none yet.
	Archived time.Time `json:"archived,omitzero"`
	Totals   Totals    `json:"totals"`
	Space    Space     `json:"space"`
	// LastError is the last that went wrong, whether or not it still does; nil: nothing yet.
	LastError *Trouble `json:"last_error,omitempty"`
	// Refused are files that cannot be archived, sorted by name, the first hundred.
	Refused []Refusal `json:"refused,omitempty"`
	// Degraded is what is wrong now, the worst first. Notes are what may be of interest.
	Degraded []string `json:"degraded,omitempty"`
	Notes    []string `json:"notes,omitempty"`
}

// Backlog is what waits in the queue, without what cannot be archived.
type Backlog struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
	// Oldest is when the file that waits for longest came; zero: none waits.
	Oldest time.Time `json:"oldest,omitzero"`
}

// Totals since the archiver was started. Read and Written are bytes of logs before and after; Failures are passes that
// ended early.
type Totals struct {
	Files    uint64 `json:"files"`
	Read     uint64 `json:"read"`
	Written  uint64 `json:"written"`
	Deleted  uint64 `json:"deleted"`
	Failures uint64 `json:"failures"`
}

// Trouble is something that went wrong.
type Trouble struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// Refusal is a file that cannot be archived.
type Refusal struct {
	Name   string    `json:"name"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// mostShown of the files that cannot be archived.
const mostShown = 100

// Status of now.
func (a *Archiver) Status() Status {
	now, s := a.now(), a.Settings()
	st := Status{Version: a.cfg.Version, PID: os.Getpid(), Since: a.since, Queue: a.queue, Settings: s}
	t := &a.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	st.Backlog, st.Archived, st.Space = t.backlog, t.last, t.free
	st.Totals = Totals{t.files, t.read, t.written, t.deletions, t.failures}
	for _, m := range t.minutes {
		if now.Unix()/60-m.of < 60 {
			st.FilesPerHour += m.files
			st.BytesPerHour += m.bytes
		}
	}
	if t.trouble.Text != "" {
		last := t.trouble
		st.LastError = &last
	}
	for name, r := range t.refused {
		st.Refused = append(st.Refused, Refusal{name, r.why, r.at})
	}
	slices.SortFunc(st.Refused, func(x, y Refusal) int { return strings.Compare(x.Name, y.Name) })
	st.Degraded = t.degraded(now, &s, st.Refused)
	st.Refused = st.Refused[:min(len(st.Refused), mostShown)]
	st.Notes = []string{st.summary(now)}
	return st
}

// degraded puts what is wrong now into words. t.mu is held.
func (t *tally) degraded(now time.Time, s *Settings, refused []Refusal) (out []string) {
	if !t.failing.IsZero() {
		out = append(out, t.trouble.Text)
	}
	if t.growth.grows(now, s.Interval) || t.backlog.Files > 0 && now.Sub(t.backlog.Oldest) > 2*s.Interval {
		out = append(out, fmt.Sprintf("the backlog grows: %s, the oldest since %s", t.backlog, age(now.Sub(t.backlog.Oldest))))
	}
	if t.room != enough && t.failing.IsZero() {
		out = append(out, fmt.Sprintf("little room is left: %s are free at %s, and min_free is %s", t.free, s.Root, s.MinFree))
	}
	if n := len(refused); n > 0 {
		text := fmt.Sprintf("a file of the queue cannot be archived: %s: %s", refused[0].Name, refused[0].Reason)
		if n > 1 {
			text = fmt.Sprintf("%d files of the queue cannot be archived, the first: %s: %s", n, refused[0].Name, refused[0].Reason)
		}
		out = append(out, text)
	}
	return out
}

// summary is a line for people.
func (st *Status) summary(now time.Time) string {
	text := "nothing waits"
	if st.Backlog.Files > 0 {
		text = fmt.Sprintf("%s waits, the oldest since %s", st.Backlog, age(now.Sub(st.Backlog.Oldest)))
		if st.Backlog.Files > 1 {
			text = strings.Replace(text, " waits", " wait", 1)
		}
	}
	if st.FilesPerHour > 0 {
		text += fmt.Sprintf("; %d files, %s in the last hour", st.FilesPerHour, Bytes(int64(st.BytesPerHour)))
	}
	if st.Space.Total > 0 {
		text += fmt.Sprintf("; %s free", st.Space)
	}
	return text
}

// String is "12 files (340 MB)".
func (b Backlog) String() string {
	noun := "files"
	if b.Files == 1 {
		noun = "file"
	}
	return fmt.Sprintf("%d %s (%s)", b.Files, noun, Bytes(b.Bytes))
}

func age(d time.Duration) string {
	d = max(d, 0)
	if d < time.Minute {
		return d.Truncate(time.Second).String()
	}
	return strings.TrimSuffix(d.Truncate(time.Minute).String(), "0s")
}

// count looks at what waits, and at how much room there is.
func (a *Archiver) count() {
	s := a.settings.Load()
	entries, err := a.disk.ReadDir(a.queue)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return // a pass says so
	}
	var b Backlog
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || !e.Type().IsRegular() || a.tally.isRefused(e.Name()) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue
		}
		b.Files++
		b.Bytes += info.Size()
		if at := queuedAt(info); b.Oldest.IsZero() || at.Before(b.Oldest) {
			b.Oldest = at
		}
	}
	a.tally.waits(b, a.now(), s.Interval)
	if space, err := a.disk.Space(s.Root); err == nil {
		queue, _ := a.disk.Space(a.queue)
		a.tally.space(space, judge(space, s.MinFree, 0, queue.Device == space.Device), a.now())
	}
}
