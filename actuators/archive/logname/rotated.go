package logname

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Rotated is what the name of a rotated log says.
type Rotated struct {
	// Path is the log's, "conn".
	Path string
	// Open and Close are wall-clock times of the logger, kept in UTC.
	Open, Close time.Time
	// Suffix is the metadata entry log_suffix: the logger's name. Empty for none.
	Suffix string
	// Ext begins with a dot where there is one: ".log", ".log.gz".
	Ext string
}

// Format is how names of rotated logs are put together.
type Format struct {
	// Delimiter between the parts: "__".
	Delimiter string
	// Layout of the times, in the words of package time.
	Layout string
}

// Zeek is the format of Zeek's archiver_rotation_format_func, and zeek-archiver's default.
var Zeek = Format{Delimiter: "__", Layout: "2006-01-02-15-04-05"}

// suffixKey is the one key of the metadata that zeek-archiver understands.
const suffixKey = "log_suffix"

// maxName is NAME_MAX of Linux's file systems.
const maxName = 255

// Parse reads <path>__<open>__<close>__[<key>=<value>,…__]<ext>. zeek-archiver splits from the left, and so takes no
// path and no logger with the delimiter in its name; here the last two times that stand side by side decide. Errors
// say what is wrong with the name.
func (f Format) Parse(name string) (Rotated, error) {
	if strings.HasPrefix(name, ".") || strings.ContainsAny(name, "/\x00") || len(name) > maxName {
		return Rotated{}, errors.New("it is no name of a log")
	}
	parts := strings.Split(name, f.Delimiter)
	if len(parts) < 4 {
		return Rotated{}, fmt.Errorf("it has not the form <log>%[1]s<open>%[1]s<close>%[1]s<extension>", f.Delimiter)
	}
	var why error
	for i := len(parts) - 3; i > 0; i-- {
		r := Rotated{Path: strings.Join(parts[:i], f.Delimiter)}
		var opened, closed bool
		r.Open, opened = f.time(parts[i])
		r.Close, closed = f.time(parts[i+1])
		if !opened || !closed {
			continue
		}
		if why = r.rest(parts[i+2:], f.Delimiter); why == nil {
			return r, nil
		}
	}
	if why == nil {
		why = fmt.Errorf("it has no times of opening and closing like %s", f.Layout)
	}
	return Rotated{}, why
}

// time reads one time, written just as Format writes it.
func (f Format) time(s string) (time.Time, bool) {
	t, err := time.Parse(f.Layout, s)
	return t, err == nil && t.Format(f.Layout) == s
}

// rest is what follows the times: the extension, or metadata and the extension.
func (r *Rotated) rest(parts []string, delimiter string) error {
	r.Ext = parts[len(parts)-1]
	if r.Path == "" {
		return errors.New("nothing stands before its times")
	}
	if r.Ext != "" && r.Ext[0] != '.' {
		return fmt.Errorf("its extension %q does not begin with a dot", r.Ext)
	}
	if len(parts) == 1 {
		return nil
	}
	meta := strings.Join(parts[:len(parts)-1], delimiter)
	if meta == "" {
		return nil
	}
	for entry := range strings.SplitSeq(meta, ",") {
		key, value, ok := strings.Cut(entry, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !ok || key == "" || value == "" || strings.Contains(value, "=") {
			return fmt.Errorf("its metadata %q is not of the form key=value,key=value", meta)
		}
		if key == suffixKey {
			r.Suffix = value
		}
	}
	return nil
}

// Name is the name that Parse reads, as Zeek writes it.
func (f Format) Name(r Rotated) string {
	d := f.Delimiter
	name := r.Path + d + r.Open.Format(f.Layout) + d + r.Close.Format(f.Layout) + d
	if r.Suffix != "" {
		name += suffixKey + "=" + r.Suffix + d
	}
	return name + r.Ext
}

// Day is the folder that the log belongs in: the day of its opening, YYYY-MM-DD.
func (r Rotated) Day() string { return r.Open.Format(time.DateOnly) }

// Archived is the name of the log in there, without what compression adds.
func (r Rotated) Archived() string { return r.ArchivedAs(1) }

// ArchivedAs is the n-th name that the log may get, from 1: the first is zeek-archiver's, the others are for a log
// that meets another one of that name (an hour that the clock repeats, two loggers without a suffix).
func (r Rotated) ArchivedAs(n int) string {
	name := r.Path + "." + r.Open.Format(time.TimeOnly) + "-" + r.Close.Format(time.TimeOnly)
	if r.Suffix != "" {
		name += "-" + r.Suffix
	}
	if n > 1 {
		name += fmt.Sprintf("~%d", n)
	}
	return name + r.Ext
}
