package logname

import (
	"regexp"
	"time"
)

// archived is <path>.<HH:MM:SS>-<HH:MM:SS>[-<suffix>][~n][.<extension>…].
var archived = regexp.MustCompile(`^[^./\x00][^/\x00]*\.\d\d:\d\d:\d\d-\d\d:\d\d:\d\d([-~.][^/\x00]*)?$`)

// IsArchived reports whether a name can be that of an archived log.
func IsArchived(name string) bool { return len(name) <= maxName && archived.MatchString(name) }

// ParseDay reads the name of a day's folder, YYYY-MM-DD; false for any other.
func ParseDay(name string) (time.Time, bool) {
	t, err := time.Parse(time.DateOnly, name)
	return t, err == nil && t.Format(time.DateOnly) == name
}
