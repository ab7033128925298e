package logs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// dateFormat is Log::default_rotation_date_format.
const dateFormat = "2006-01-02-15-04-05"

// Set is the logs of one node.
type Set struct {
	// Dir holds the open logs (Log::default_logdir); empty: the working folder.
	Dir string
	// RotationDir receives rotated logs and is created when needed; empty: Dir.
	RotationDir string
	// Interval is the time between rotations; 0: never, not even at the end.
	Interval time.Duration
	// Archiver says that names are made by archiver_rotation_format_func.
	Archiver bool
	// Metadata is archiver_log_metadata, e.g. "log_suffix=logger-1"; empty: none.
	Metadata string
	// Leftover says that logs have shadow files and that those of an earlier process
	// are rotated (LogAscii::enable_leftover_log_rotation).
	Leftover bool
	// JSON says that entries are JSON objects, without header (LogAscii::use_json).
	JSON bool

	open map[string]*openLog
}

type openLog struct {
	file *os.File
	name string
	path string
	at   time.Time
	// fields is how many a line has.
	fields int
}

// FieldsError says that a line has not as many fields as the lines of its log that were there before.
type FieldsError struct {
	Stream    string // its ID
	Want, Got int
}

// Error is what Zeek says to that.
func (e *FieldsError) Error() string {
	return fmt.Sprintf("Remote write failed: Local filter 'default' of stream '%s' has '%d' fields, got %d", e.Stream, e.Want, e.Got)
}

// Rotated is a log that was renamed.
type Rotated struct {
	Path        string // the stream's, e.g. "conn"
	From, To    string
	Open, Close time.Time
}

// Write appends an entry to the stream's log, which it opens when it is not. An entry that does not fit in there is a [FieldsError].
func (s *Set) Write(now time.Time, to Stream, values ...string) error {
	line, err := to.line(values, s.JSON)
	if err != nil {
		return err
	}
	l := s.open[to.Path]
	if l == nil {
		if l, err = s.create(now, to); err != nil {
			return err
		}
	}
	if l.fields != len(values) {
		return &FieldsError{Stream: to.ID, Want: l.fields, Got: len(values)}
	}
	if _, err := l.file.WriteString(line); err != nil {
		return fmt.Errorf("cannot write %s: %w", l.name, err)
	}
	return nil
}

func (s *Set) create(now time.Time, to Stream) (*openLog, error) {
	l := &openLog{name: filepath.Join(s.Dir, to.Path+".log"), path: to.Path, at: now, fields: len(to.Fields)}
	if s.shadows() {
		// Extension and the name of a postprocessing function: none here.
		if err := os.WriteFile(shadowOf(l.name), []byte(".log\n\n"), 0o644); err != nil {
			return nil, fmt.Errorf("cannot write shadow file: %w", err)
		}
	}
	f, err := os.OpenFile(l.name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot open log: %w", err)
	}
	l.file = f
	if !s.JSON {
		if _, err := f.WriteString(to.header(now.Format(dateFormat))); err != nil {
			f.Close()
			return nil, fmt.Errorf("cannot write %s: %w", l.name, err)
		}
	}
	if s.open == nil {
		s.open = make(map[string]*openLog)
	}
	s.open[to.Path] = l
	return l, nil
}

func (s *Set) shadows() bool { return s.Leftover && s.Interval > 0 }

// Rotate closes all open logs and renames them, sorted by path. Without an interval it only closes them.
func (s *Set) Rotate(now time.Time) ([]Rotated, error) {
	var rotated []Rotated
	for _, l := range s.closeAll(now) {
		if s.Interval == 0 {
			continue
		}
		r := Rotated{Path: l.path, From: l.name, Open: l.at, Close: now}
		if err := s.move(&r); err != nil {
			return rotated, err
		}
		rotated = append(rotated, r)
	}
	return rotated, nil
}

// Close closes all open logs where they are, shadow files included: what Zeek does
// with those that it writes after the last rotation.
func (s *Set) Close(now time.Time) { s.closeAll(now) }

func (s *Set) closeAll(now time.Time) []*openLog {
	var closed []*openLog
	for _, l := range s.open {
		if !s.JSON {
			// A full disk was already met by the entries; the line is a comment.
			_, _ = l.file.WriteString("#close\t" + now.Format(dateFormat) + "\n")
		}
		l.file.Close()
		closed = append(closed, l)
	}
	s.open = nil
	slices.SortFunc(closed, func(a, b *openLog) int { return strings.Compare(a.path, b.path) })
	return closed
}

// Leftovers rotates the logs that an earlier process left with a shadow file. They
// were opened when the shadow was written and closed when last written to.
func (s *Set) Leftovers(in *time.Location) ([]Rotated, error) {
	if !s.shadows() {
		return nil, nil
	}
	names, err := filepath.Glob(filepath.Join(s.Dir, ".shadow.*"))
	if err != nil {
		return nil, fmt.Errorf("cannot look for leftover logs: %w", err)
	}
	var rotated []Rotated
	for _, shadow := range names {
		base := strings.TrimPrefix(filepath.Base(shadow), ".shadow.")
		from := filepath.Join(s.Dir, base)
		opened, err := os.Stat(shadow)
		if err != nil {
			return rotated, fmt.Errorf("cannot read shadow file: %w", err)
		}
		written, err := os.Stat(from)
		if errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(shadow) // what stays is looked at again with the next start
			continue
		}
		if err != nil {
			return rotated, fmt.Errorf("cannot read leftover log: %w", err)
		}
		r := Rotated{Path: strings.TrimSuffix(base, ".log"), From: from, Open: opened.ModTime().In(in), Close: written.ModTime().In(in)}
		if err := s.move(&r); err != nil {
			return rotated, &LeftoverError{Log: from, Err: err}
		}
		rotated = append(rotated, r)
	}
	return rotated, nil
}

// LeftoverError says that a leftover log could not be renamed, which Zeek does not survive.
type LeftoverError struct {
	Log string
	Err error
}

func (e *LeftoverError) Error() string {
	return fmt.Sprintf("cannot rotate leftover %s: %v", e.Log, e.Err)
}

// Unwrap returns the cause.
func (e *LeftoverError) Unwrap() error { return e.Err }

func (s *Set) move(r *Rotated) error {
	dir := s.RotationDir
	if dir == "" {
		dir = s.Dir
	}
	if dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("cannot make rotation folder: %w", err)
		}
	}
	r.To = filepath.Join(dir, s.rotatedName(r)+".log")
	if err := os.Rename(r.From, r.To); err != nil {
		return fmt.Errorf("cannot rotate log: %w", err)
	}
	if err := os.Remove(shadowOf(r.From)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove shadow file: %w", err)
	}
	return nil
}

func (s *Set) rotatedName(r *Rotated) string {
	open := r.Open.Format(dateFormat)
	if !s.Archiver {
		return r.Path + "." + open
	}
	name := r.Path + "__" + open + "__" + r.Close.Format(dateFormat) + "__"
	if s.Metadata != "" {
		name += s.Metadata + "__"
	}
	return name
}

// Next returns the first rotation after now: the next multiple of the interval
// since midnight, as log_rotate_base_time has it. The interval must be positive.
func Next(now time.Time, interval time.Duration) time.Time {
	year, month, day := now.Date()
	midnight := time.Date(year, month, day, 0, 0, 0, 0, now.Location())
	return midnight.Add((now.Sub(midnight)/interval + 1) * interval)
}

func shadowOf(name string) string {
	return filepath.Join(filepath.Dir(name), ".shadow."+filepath.Base(name))
}
