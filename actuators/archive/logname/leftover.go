package logname

import (
	"strings"
	"time"
)

// shadowPrefix begins the name of the file that stands beside an open log where LogAscii::enable_leftover_log_rotation
// is on.
const shadowPrefix = ".shadow."

// ShadowOf returns the log that a shadow file belongs to; false where the name is no shadow file's.
func ShadowOf(name string) (log string, ok bool) {
	log, ok = strings.CutPrefix(name, shadowPrefix)
	return log, ok && log != ""
}

// Leftover is what a log that a logger has left is to be called, by Zeek's own rule (Ascii.cc, RotateLeftoverLogs): opened
// when its shadow file was made, closed when it was written to last, with the extension that the first line of the
// shadow file has. Times are in the location that the logger lives in; suffix is its name.
func Leftover(log string, shadow []byte, opened, written time.Time, suffix string) Rotated {
	r := Rotated{Path: log, Ext: ".log", Suffix: suffix, Open: wall(opened), Close: wall(written)}
	if ext, _, two := strings.Cut(string(shadow), "\n"); two && strings.HasPrefix(ext, ".") && !strings.Contains(ext, "/") {
		r.Ext = ext
	}
	// Zeek takes off what follows the last dot, and so leaves "conn.log" of "conn.log.gz"; the whole extension is meant.
	if path := strings.TrimSuffix(log, r.Ext); path != "" {
		r.Path = path
	}
	return r
}

// wall keeps the digits of a time, and lets the seconds stand: names have no more.
func wall(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}
